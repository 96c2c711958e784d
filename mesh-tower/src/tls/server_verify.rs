//! [`ClientVerifier`]: whether a client's certificate is good.
//!
//! rustls has a verifier of its own, which knows no names of clients and no trust domains. The rules here,
//! in the order in which they are checked:
//!
//! 1. The certificate can be read.
//! 2. There are roots for it: all of them, or those of its own trust domain (gRFC A87).
//! 3. It leads to one of them, is valid now, and is for clients (RFC 5280 section 6).
//! 4. Neither it nor one between it and the root was revoked ([`chain`](crate::identity::chain)): by lists of
//!    an identity who is on none is good (gRFC A69), by those of a listener (`crl`) each issuer needs one that
//!    is not over (Envoy, which checks whole chains).
//! 5. It has one of the names that are asked for, if any are.
//!
//! The client hears of it by the alert of TLS that fits. What we tell is left for whoever runs the handshake
//! in [`REFUSED`]: rustls' own errors have no place for it.

use super::server_refused::{CameCertificate, ClientRefusal, ClientRefused, TriedRoots};
use crate::identity::chain::{Chain, Lists, in_words};
use crate::identity::{Certificate, Roots};
use mesh_core::WallTime;
use mesh_core::identity::san::CompiledSanMatchers;
use mesh_core::identity::{Peer, TrustDomain};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, SignatureScheme};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use webpki::EndEntityCert;

tokio::task_local! {
    /// Why the client of this handshake was refused.
    pub(super) static REFUSED: RefCell<Option<Box<ClientRefused>>>;
}

/// What clients must prove.
#[derive(Debug)]
pub(super) struct ClientVerifier {
    anchors: Anchors,
    /// What the client is told of whom we believe.
    hints: Vec<DistinguishedName>,
    names: CompiledSanMatchers,
    /// None: nothing is revoked.
    revoked: Vec<Lists>,
    required: bool,
    tried: TriedRoots,
    algorithms: WebPkiSupportedAlgorithms,
}

/// Roots as they are needed.
#[derive(Debug)]
enum Anchors {
    Any(Vec<TrustAnchor<'static>>),
    ByTrustDomain(BTreeMap<TrustDomain, Vec<TrustAnchor<'static>>>),
}

/// What a verifier is made of.
pub(super) struct Demands {
    pub(super) names: CompiledSanMatchers,
    pub(super) revoked: Vec<Lists>,
    pub(super) required: bool,
    pub(super) origin: Arc<str>,
    pub(super) since: WallTime,
}

impl ClientVerifier {
    pub(super) fn new(
        roots: &Roots,
        demands: Demands,
        algorithms: WebPkiSupportedAlgorithms,
    ) -> Self {
        let anchors = Anchors::new(roots);
        let Demands { names, revoked, required, origin, since } = demands;
        let tried = TriedRoots { count: anchors.iter().count(), origin, since };
        let hints = anchors.iter().map(|anchor| DistinguishedName::in_sequence(&anchor.subject));
        let hints = hints.collect();
        Self { anchors, hints, names, revoked, required, tried, algorithms }
    }

    /// Whether there is any root that can be used.
    pub(super) fn is_hopeless(&self) -> bool {
        self.anchors.iter().next().is_none()
    }

    /// The refusal of a client that came with this certificate.
    pub(super) fn refuse(
        &self,
        reason: ClientRefusal,
        came: Option<&Certificate>,
    ) -> Box<ClientRefused> {
        let (came, roots) = (came.map(CameCertificate::new), self.tried.clone());
        Box::new(ClientRefused { reason, came, roots })
    }

    /// Whether a client with these certificates, its own first, is good now.
    ///
    /// # Errors
    /// The first rule of the module's list that it breaks.
    pub(super) fn verify(
        &self,
        first: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: WallTime,
    ) -> Result<(), Box<ClientRefused>> {
        let now = UnixTime::since_unix_epoch(Duration::from_secs(now.as_unix_seconds()));
        self.check(first, others, now)
    }

    fn check(
        &self,
        first: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Box<ClientRefused>> {
        let certificate = Certificate::parse(first)
            .map_err(|error| self.refuse(ClientRefusal::Unreadable(error.to_string()), None))?;
        let refuse = |reason| self.refuse(reason, Some(&certificate));
        let anchors = self.anchors.of(&certificate).map_err(refuse)?;
        self.leads_to(first, others, anchors, now).map_err(refuse)?;
        let peer = Peer::Certified(Arc::new(certificate.names.clone()));
        match self.names.is_empty() {
            true => Ok(()),
            false => self
                .names
                .check(&peer)
                .map_err(|mismatch| refuse(ClientRefusal::Names(Box::new(mismatch)))),
        }
    }

    fn leads_to(
        &self,
        first: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        anchors: &[TrustAnchor<'static>],
        now: UnixTime,
    ) -> Result<(), ClientRefusal> {
        let entity = EndEntityCert::try_from(first)
            .map_err(|error| refusal(&error, ClientRefusal::Other))?;
        let usage = webpki::KeyUsage::client_auth();
        let algorithms = self.algorithms.all;
        let (entity, revoked) = (&entity, &self.revoked);
        let chain = Chain { entity, others, anchors, usage, algorithms, now };
        chain.verify(revoked).map_err(|error| refusal(&error, ClientRefusal::Other))
    }
}

impl Anchors {
    /// A root that can't be read is as good as none: the others may do.
    fn new(roots: &Roots) -> Self {
        let read = |root: &CertificateDer<'static>| {
            webpki::anchor_from_trusted_cert(root).ok().map(|anchor| anchor.to_owned())
        };
        match roots {
            Roots::Any(roots) => Self::Any(roots.iter().filter_map(read).collect()),
            Roots::ByTrustDomain(bundles) => {
                let bundles = bundles.iter().map(|(domain, roots)| {
                    (domain.clone(), roots.iter().filter_map(read).collect())
                });
                Self::ByTrustDomain(bundles.collect())
            }
        }
    }

    fn of(&self, certificate: &Certificate) -> Result<&[TrustAnchor<'static>], ClientRefusal> {
        match self {
            Self::Any(anchors) => Ok(anchors),
            Self::ByTrustDomain(bundles) => {
                let id = certificate.names.spiffe_id().map_err(ClientRefusal::NoSpiffeId)?;
                let domain = id.trust_domain();
                let anchors = bundles.get(&domain).map(Vec::as_slice);
                anchors.ok_or(ClientRefusal::NoBundle(domain))
            }
        }
    }

    fn iter(&self) -> impl Iterator<Item = &TrustAnchor<'static>> {
        let (any, bundles) = match self {
            Self::Any(anchors) => (Some(anchors.iter()), None),
            Self::ByTrustDomain(bundles) => (None, Some(bundles.values().flatten())),
        };
        any.into_iter().flatten().chain(bundles.into_iter().flatten())
    }
}

/// What the verifier said, in our words.
fn refusal(error: &webpki::Error, other: fn(String) -> ClientRefusal) -> ClientRefusal {
    use webpki::Error;
    let apart = |earlier: &UnixTime, later: &UnixTime| {
        Duration::from_secs(later.as_secs().saturating_sub(earlier.as_secs()))
    };
    match error {
        Error::CertExpired { time, not_after } => ClientRefusal::Expired(apart(not_after, time)),
        Error::CertNotValidYet { time, not_before } => {
            ClientRefusal::NotYetValid(apart(time, not_before))
        }
        Error::UnknownIssuer => ClientRefusal::UnknownIssuer,
        Error::CertRevoked => ClientRefusal::Revoked,
        Error::UnknownRevocationStatus => ClientRefusal::RevocationUnknown,
        Error::CrlExpired { time, next_update } => {
            ClientRefusal::RevocationListExpired(apart(next_update, time))
        }
        Error::RequiredEkuNotFoundContext(_) => ClientRefusal::NotForClients,
        error => other(in_words(error)),
    }
}

/// The error of rustls whose alert says the most of it to the client (RFC 8446 section 6.2).
fn alert(reason: &ClientRefusal) -> CertificateError {
    match reason {
        ClientRefusal::Unreadable(_) => CertificateError::BadEncoding,
        ClientRefusal::Expired(_) => CertificateError::Expired,
        ClientRefusal::NotYetValid(_) => CertificateError::NotValidYet,
        ClientRefusal::Revoked => CertificateError::Revoked,
        ClientRefusal::RevocationUnknown | ClientRefusal::RevocationListExpired(_) => {
            CertificateError::UnknownRevocationStatus
        }
        ClientRefusal::NotForClients => CertificateError::InvalidPurpose,
        ClientRefusal::UnknownIssuer | ClientRefusal::NoBundle(_) => {
            CertificateError::UnknownIssuer
        }
        ClientRefusal::NoCertificate
        | ClientRefusal::NoSpiffeId(_)
        | ClientRefusal::Names(_)
        | ClientRefusal::Other(_) => CertificateError::ApplicationVerificationFailure,
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.required
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.check(end_entity, intermediates, now)
            .map(|()| ClientCertVerified::assertion())
            .map_err(|refused| {
                let alert = alert(&refused.reason);
                // Without a handshake that listens, the alert has to do.
                let _nobody_listens = REFUSED.try_with(|slot| slot.replace(Some(refused)));
                rustls::Error::InvalidCertificate(alert)
            })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
