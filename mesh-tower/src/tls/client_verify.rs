//! [`Verifier`]: whether an endpoint's certificate is good. Pure: the time is an argument.
//!
//! The rules, in the order in which they are checked:
//!
//! 1. The certificate can be read.
//! 2. There are roots for it: all of them, or those of its own trust domain ([`anchors`](crate::identity::anchors)).
//! 3. It leads to one of them, is valid now, is for servers, and neither it nor one between it and the root
//!    was revoked ([`chain`](crate::identity::chain)).
//! 4. It has one of the names that are asked for (gRFC A29: any of them, in place of the host name; by Envoy's
//!    validator of SPIFFE ids, among its URIs). If none
//!    is asked for, or if an SNI was sent that counts instead (gRFC A101: `auto_sni_san_validation`), it is
//!    for the SNI. With neither names nor an SNI it is for the endpoint's hostname, without one for its
//!    address, or, by roots of an identity, whoever they sign for.
//! 5. Whether it was revoked is known: by lists of an identity who is on none is good (gRFC A69), by those of a
//!    cluster (`crl`) each issuer needs one (Envoy). It is the last one, for it says nothing about the peer.
//!
//! An IP address as SNI is not sent (RFC 6066 section 3), and is proven like one that was.

use super::client_refused::{InWords, NotSecured};
use super::server_refused::OutOfTime;
use crate::identity::anchors::{Anchors, Authority, Listed, NobodySigns};
use crate::identity::chain::{Chain, Lists, Unlisted, in_words};
use crate::identity::{Certificate, Roots};
use mesh_core::WallTime;
use mesh_core::identity::Peer;
use mesh_core::identity::san::CompiledSanMatchers;
use mesh_core::model::matcher::StringPattern;
use mesh_core::model::san::SanMatcher;
use mesh_core::outcome::ConnectFailure;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use webpki::EndEntityCert;

/// Whom we believe, as it was read.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Believed {
    /// Who signs.
    pub(super) roots: Roots,
    /// What they took back.
    pub(super) revoked: Arc<[CertificateRevocationListDer<'static>]>,
    /// What the cluster's own lists revoke (Envoy: `crl`, and those beside `trusted_ca`); `None`: it has none.
    pub(super) crl: Option<Arc<[CertificateRevocationListDer<'static>]>>,
    /// The lists beside the roots of each trust domain.
    pub(super) listed: Arc<Listed>,
    /// Where it comes from, in words.
    pub(super) origin: Arc<str>,
    /// Names are looked for among URIs alone (Envoy: `envoy.tls.cert_validator.spiffe`).
    pub(super) only_uris: bool,
    /// They are of an identity: whoever they sign for is somebody of a mesh.
    pub(super) of_identity: bool,
}

impl Believed {
    /// With these lists as well: Envoy has one store for them and for those beside roots.
    pub(super) fn and_lists(
        mut self,
        lists: Option<Arc<[CertificateRevocationListDer<'static>]>>,
    ) -> Self {
        self.crl = match (self.crl, lists) {
            (Some(beside), Some(own)) => Some(beside.iter().chain(&*own).cloned().collect()),
            (beside, own) => own.or(beside),
        };
        self
    }
}

/// Which names are asked for.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    /// Any of these; none: what else is expected.
    pub(super) names: &'a [SanMatcher],
    /// Only where no SNI is sent, which counts instead (gRFC A101: `auto_sni_san_validation`).
    pub(super) unless_sent: bool,
}

/// What endpoints must prove.
pub(super) struct Verifier {
    believed: Believed,
    asked: Vec<SanMatcher>,
    unless_sent: bool,
    names: CompiledSanMatchers,
    anchors: Anchors,
    revoked: Vec<Lists>,
    /// Since when this is believed.
    since: WallTime,
    algorithms: WebPkiSupportedAlgorithms,
}

/// Who is expected: the name that was sent, or the endpoint's, or the address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// The SNI.
    Name(ServerName<'static>),
    /// Nothing was sent; the endpoint has this name.
    Hostname(ServerName<'static>),
    /// Nothing was sent; the endpoint has no name, and this address.
    Address(ServerName<'static>),
    /// Nothing was sent, and a Unix socket has no address that a certificate can have.
    Nothing,
}

impl Verifier {
    /// # Errors
    /// No root, or no list, can be used; or a pattern is wrong.
    pub(super) fn new(
        believed: Believed,
        asked: Asked<'_>,
        algorithms: WebPkiSupportedAlgorithms,
        since: WallTime,
    ) -> Result<Self, NotSecured> {
        let unusable = |text: String| {
            let origin = &believed.origin;
            NotSecured::new(ConnectFailure::SecretUnavailable, format_args!("{origin}: {text}"))
        };
        let anchors = Anchors::new(&believed.roots, &believed.listed);
        let anchors = anchors.map_err(|error| unusable(error.to_string()))?;
        if anchors.is_missing() {
            return Err(unusable("there is no root certificate that can be used".into()));
        }
        let names = CompiledSanMatchers::new(asked.names).map_err(|(at, error)| {
            unusable(format!("name {at} that the peer must prove: {error}"))
        })?;
        let own = std::iter::once(Lists::read(&believed.revoked, Unlisted::Good));
        let strict = believed.crl.iter().map(|lists| Lists::read(lists, Unlisted::Refused));
        let revoked: Result<Vec<_>, _> = own.chain(strict).collect();
        let revoked =
            revoked.map_err(|error| unusable(format!("a list of revoked ones: {error}")))?;
        let (asked, unless_sent) = (asked.names.to_vec(), asked.unless_sent);
        Ok(Self { believed, asked, unless_sent, names, anchors, revoked, since, algorithms })
    }

    /// Whether it would be made of this again; the rest is the policy's, which stays the same.
    pub(super) fn is_of(&self, believed: &Believed, asked: &[SanMatcher]) -> bool {
        self.believed == *believed && self.asked == asked
    }

    pub(super) const fn algorithms(&self) -> &WebPkiSupportedAlgorithms {
        &self.algorithms
    }

    /// Whether a peer that showed `chain` is who is expected; what its certificate says.
    ///
    /// # Errors
    /// The first rule of the module's list that it breaks.
    pub(super) fn verify(
        &self,
        chain: &[CertificateDer<'_>],
        expected: &Expected,
        now: WallTime,
    ) -> Result<Certificate, NotSecured> {
        let Some((first, others)) = chain.split_first() else {
            let text = "the peer showed no certificate";
            return Err(NotSecured::new(ConnectFailure::TlsProtocol, text));
        };
        let certificate = Certificate::parse(first).map_err(|error| {
            let text = format_args!("the peer's certificate can't be read: {error}");
            NotSecured::new(ConnectFailure::Tls, text)
        })?;
        let refuse = |(failure, why): (ConnectFailure, String)| {
            let (came, tried) = (InWords(&certificate, now), Tried(self, now));
            let expected = Wanted(self, expected);
            let text =
                format_args!("{why}; who came: {came}; expected: {expected}; tried: {tried}");
            NotSecured::new(failure, text)
        };
        let authority = self.anchors.of(&certificate).map_err(nobody_signs).map_err(refuse)?;
        let entity = EndEntityCert::try_from(first).map_err(|error| refuse(chain_error(&error)))?;
        let unknown = match self.leads_to(&entity, others, authority, now) {
            Err((failure, why)) if failure != ConnectFailure::TlsRevocationUnknown => {
                return Err(refuse((failure, why)));
            }
            found => found,
        };
        self.is_expected(&entity, &certificate, expected).map_err(refuse)?;
        unknown.map_err(refuse)?;
        Ok(certificate)
    }

    fn leads_to(
        &self,
        entity: &EndEntityCert<'_>,
        others: &[CertificateDer<'_>],
        authority: &Authority,
        now: WallTime,
    ) -> Result<(), (ConnectFailure, String)> {
        let now = UnixTime::since_unix_epoch(Duration::from_secs(now.as_unix_seconds()));
        let usage = webpki::KeyUsage::server_auth();
        let (algorithms, anchors) = (self.algorithms.all, authority.anchors.as_slice());
        let lives = authority.lives.as_slice();
        let chain = Chain { entity, others, anchors, lives, usage, algorithms, now };
        let revoked = self.revoked.iter().chain(&authority.revoked);
        chain.verify(revoked).map_err(|error| chain_error(&error))
    }

    /// Whether one of the names must be there, or else what is expected.
    fn asks_for_names(&self, expected: &Expected) -> bool {
        let counts_instead = self.unless_sent && matches!(expected, Expected::Name(_));
        !self.asked.is_empty() && !counts_instead
    }

    fn is_expected(
        &self,
        entity: &EndEntityCert<'_>,
        certificate: &Certificate,
        expected: &Expected,
    ) -> Result<(), (ConnectFailure, String)> {
        if self.asks_for_names(expected) {
            let names = match self.believed.only_uris {
                true => certificate.names.only_uris(),
                false => certificate.names.clone(),
            };
            let peer = Peer::Certified(Arc::new(names));
            let checked = self.names.check(&peer);
            return checked.map_err(|mismatch| (ConnectFailure::TlsName, mismatch.to_string()));
        }
        let (name, what) = match expected {
            Expected::Name(name) => (name, "for the server name that was asked for"),
            _ if self.believed.of_identity => return Ok(()),
            Expected::Hostname(name) => (name, "for the endpoint's hostname"),
            Expected::Address(address) => (address, "for the endpoint's address"),
            Expected::Nothing => {
                let text =
                    "nothing says whom to expect: give the cluster `san` or `sni`".to_owned();
                return Err((ConnectFailure::TlsName, text));
            }
        };
        entity.verify_is_valid_for_subject_name(name).map_err(|_mismatch| {
            let text = format!(
                "the peer's certificate is not {what}: set the cluster's `san` or `sni` if another is meant"
            );
            (ConnectFailure::TlsName, text)
        })
    }
}

/// Why nobody may sign for it, in our words.
fn nobody_signs(why: NobodySigns) -> (ConnectFailure, String) {
    match why {
        NobodySigns::NoSpiffeId(error) => (ConnectFailure::TlsName, error.to_string()),
        NobodySigns::SignsOthers => {
            let text = "the peer's key may sign other certificates (key usage), which no SVID's may: issue \
                        it without keyCertSign and cRLSign";
            (ConnectFailure::Tls, text.to_owned())
        }
        NobodySigns::NoBundle(domain) => {
            let text = format!(
                "there are no roots of the peer's trust domain `{domain}`: federate with it, if it is meant"
            );
            (ConnectFailure::TlsUntrusted, text)
        }
    }
}

/// What the verifier of chains said, in our words.
fn chain_error(error: &webpki::Error) -> (ConnectFailure, String) {
    use webpki::Error;
    let apart = |earlier: &UnixTime, later: &UnixTime| later.as_secs() - earlier.as_secs();
    let text = match error {
        Error::CertExpired { time, not_after } => {
            let ago = apart(not_after, &(*time).max(*not_after));
            format!(
                "the peer's certificate, or one of its chain, ended {ago} s ago: it must be renewed"
            )
        }
        Error::CertNotValidYet { time, not_before } => {
            let starts = apart(time, &(*not_before).max(*time));
            format!(
                "the peer's certificate, or one of its chain, begins in {starts} s: look at the clocks"
            )
        }
        Error::UnknownIssuer => "the peer's certificate does not lead to a root".to_owned(),
        Error::CertRevoked => "the peer's certificate, or one of its chain, was revoked".to_owned(),
        Error::UnknownRevocationStatus => "nothing says whether the peer's certificate, or one of its chain, was revoked: give `crl` the list of each issuer".to_owned(),
        Error::CrlExpired { time, next_update } => {
            let ago = apart(next_update, &(*time).max(*next_update));
            format!("a list of revoked certificates ended {ago} s ago: it must be renewed")
        }
        error => format!("the peer's certificate is not good: {}", in_words(error)),
    };
    let failure = match error {
        Error::CertExpired { .. } => ConnectFailure::TlsExpired,
        Error::CertNotValidYet { .. } => ConnectFailure::TlsNotYetValid,
        Error::CertRevoked => ConnectFailure::TlsRevoked,
        Error::UnknownRevocationStatus | Error::CrlExpired { .. } => {
            ConnectFailure::TlsRevocationUnknown
        }
        Error::UnknownIssuer | Error::InvalidSignatureForPublicKey => ConnectFailure::TlsUntrusted,
        _ => ConnectFailure::Tls,
    };
    (failure, text)
}

/// Who was expected.
struct Wanted<'a>(&'a Verifier, &'a Expected);

/// The most names that an error shows.
const SHOWN: usize = 4;

impl fmt::Display for Wanted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(verifier, expected) = self;
        if verifier.asks_for_names(expected) {
            for (at, asked) in verifier.asked.iter().take(SHOWN).enumerate() {
                let or = if at == 0 { "" } else { " or " };
                write!(f, "{or}{}", pattern(&asked.matcher.pattern))?;
            }
            return match verifier.asked.len().saturating_sub(SHOWN) {
                0 => Ok(()),
                more => write!(f, " or {more} more"),
            };
        }
        match expected {
            Expected::Name(name) => write!(f, "`{}`", name.to_str()),
            _ if verifier.believed.of_identity => f.write_str("whoever the roots sign for"),
            Expected::Hostname(name) | Expected::Address(name) => {
                write!(f, "`{}`", name.to_str())
            }
            Expected::Nothing => f.write_str("nobody"),
        }
    }
}

fn pattern(pattern: &StringPattern) -> String {
    match pattern {
        StringPattern::Exact(text) => format!("`{text}`"),
        StringPattern::Prefix(text) => format!("`{text}…`"),
        StringPattern::Suffix(text) => format!("`…{text}`"),
        StringPattern::Contains(text) => format!("`…{text}…`"),
        StringPattern::Regex(pattern) => format!("`{}` (regex)", pattern.0),
    }
}

/// Which roots were tried.
struct Tried<'a>(&'a Verifier, WallTime);

impl fmt::Display for Tried<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(verifier, now) = self;
        let (count, origin) = (verifier.anchors.iter().count(), &verifier.believed.origin);
        let age = now.saturating_duration_since(verifier.since).as_secs();
        let over = OutOfTime(verifier.anchors.out_of_time(*now));
        write!(f, "{count} roots of {origin}{over}, which are {age} s old here")
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier")
            .field("roots", &self.believed.roots)
            .field("asked", &self.asked)
            .finish_non_exhaustive()
    }
}

/// The verifier in one handshake: what comes of it is kept, because rustls' errors have no place for it.
#[derive(Debug)]
pub(super) struct InHandshake {
    pub(super) verifier: Arc<Verifier>,
    pub(super) expected: Expected,
    pub(super) found: OnceLock<Result<Certificate, NotSecured>>,
}

impl ServerCertVerifier for InHandshake {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _sent: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let mut chain = vec![CertificateDer::from_slice(end_entity)];
        chain.extend(intermediates.iter().map(|der| CertificateDer::from_slice(der)));
        let now = WallTime::from_unix_seconds(now.as_secs());
        let found = self.found.get_or_init(|| self.verifier.verify(&chain, &self.expected, now));
        match found {
            Ok(_) => Ok(ServerCertVerified::assertion()),
            Err(error) => Err(rustls::Error::InvalidCertificate(error.alert())),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, self.verifier.algorithms())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, self.verifier.algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.algorithms().supported_schemes()
    }
}
