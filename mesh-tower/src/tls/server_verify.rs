//! [`ClientVerifier`]: whether a client's certificate is good.
//!
//! rustls has a verifier of its own, which knows no names of clients and no trust domains. The rules here,
//! in the order in which they are checked:
//!
//! 1. The certificate can be read.
//! 2. There are roots for it: all of them, or those of its own trust domain ([`anchors`](crate::identity::anchors)).
//! 3. It leads to one of them, is valid now, and is for clients (RFC 5280 section 6).
//! 4. Neither it nor one between it and the root was revoked ([`chain`](crate::identity::chain)): by lists of
//!    an identity who is on none is good (gRFC A69), by those of a listener (`crl`) each issuer needs one that
//!    is not over (Envoy, which checks whole chains).
//! 5. It has one of the names that are asked for, if any are; by Envoy's validator of SPIFFE ids, among its URIs. Of one whose
//!    revocation is not known that is asked first: it says more.
//!
//! The client hears of it by the alert of TLS that fits. What we tell is left for whoever runs the handshake
//! in [`REFUSED`]: rustls' own errors have no place for it.

use super::server_refused::{CameCertificate, ClientRefusal, ClientRefused, TriedRoots};
use crate::clock;
use crate::identity::Certificate;
use crate::identity::anchors::{Anchors, Authority, NobodySigns};
use crate::identity::chain::{Chain, Lists, in_words};
use mesh_core::WallTime;
use mesh_core::identity::Peer;
use mesh_core::identity::san::CompiledSanMatchers;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, SignatureScheme};
use std::cell::RefCell;
use std::collections::BTreeSet;
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
    only_uris: bool,
    /// None: nothing is revoked.
    revoked: Vec<Lists>,
    required: bool,
    tried: TriedRoots,
    algorithms: WebPkiSupportedAlgorithms,
}

/// What a verifier is made of.
pub(super) struct Demands {
    pub(super) names: CompiledSanMatchers,
    /// Names are looked for among URIs alone (Envoy: `envoy.tls.cert_validator.spiffe`).
    pub(super) only_uris: bool,
    pub(super) revoked: Vec<Lists>,
    pub(super) required: bool,
    pub(super) origin: Arc<str>,
    pub(super) since: WallTime,
}

impl ClientVerifier {
    pub(super) fn new(
        anchors: Anchors,
        demands: Demands,
        algorithms: WebPkiSupportedAlgorithms,
    ) -> Self {
        let Demands { names, only_uris, revoked, required, origin, since } = demands;
        let tried = TriedRoots { count: anchors.iter().count(), out_of_time: 0, origin, since };
        let hints = hints(&anchors);
        Self { anchors, hints, names, only_uris, revoked, required, tried, algorithms }
    }

    /// The refusal of a client that came with this certificate.
    pub(super) fn refuse(
        &self,
        reason: ClientRefusal,
        came: Option<&Certificate>,
    ) -> Box<ClientRefused> {
        let (came, mut roots) = (came.map(CameCertificate::new), self.tried.clone());
        roots.out_of_time = self.anchors.out_of_time(clock::wall());
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
        let authority = self.anchors.of(&certificate).map_err(nobody_signs).map_err(refuse)?;
        // That nothing is known of his revocation does not hide that he is somebody else.
        let unknown = match self.leads_to(first, others, authority, now) {
            Err(reason) if !says_nothing(&reason) => return Err(refuse(reason)),
            found => found,
        };
        self.has_name(&certificate).map_err(refuse)?;
        unknown.map_err(refuse)
    }

    fn has_name(&self, certificate: &Certificate) -> Result<(), ClientRefusal> {
        if self.names.is_empty() {
            return Ok(());
        }
        let names = match self.only_uris {
            true => certificate.names.only_uris(),
            false => certificate.names.clone(),
        };
        let checked = self.names.check(&Peer::Certified(Arc::new(names)));
        checked.map_err(|mismatch| ClientRefusal::Names(Box::new(mismatch)))
    }

    fn leads_to(
        &self,
        first: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        authority: &Authority,
        now: UnixTime,
    ) -> Result<(), ClientRefusal> {
        let entity = EndEntityCert::try_from(first)
            .map_err(|error| refusal(&error, ClientRefusal::Other))?;
        let usage = webpki::KeyUsage::client_auth();
        let algorithms = self.algorithms.all;
        let (entity, anchors) = (&entity, authority.anchors.as_slice());
        let lives = authority.lives.as_slice();
        let chain = Chain { entity, others, anchors, lives, usage, algorithms, now };
        let revoked = self.revoked.iter().chain(&authority.revoked);
        chain.verify(revoked).map_err(|error| refusal(&error, ClientRefusal::Other))
    }
}

/// Whether a refusal is for what is not known, and not for what is.
const fn says_nothing(reason: &ClientRefusal) -> bool {
    matches!(reason, ClientRefusal::RevocationUnknown | ClientRefusal::RevocationListExpired(_))
}

/// The most bytes of hints; clients can do without.
const MAX_HINTS: usize = 1 << 14;

/// Whom the client may show certificates of: each name once, and none if they are too long for a message of TLS
/// (RFC 8446 section 4.2.4).
fn hints(anchors: &Anchors) -> Vec<DistinguishedName> {
    let subjects: BTreeSet<&[u8]> = anchors.iter().map(|anchor| &*anchor.subject).collect();
    match subjects.iter().map(|subject| subject.len()).sum::<usize>() > MAX_HINTS {
        true => Vec::new(),
        false => subjects.into_iter().map(DistinguishedName::in_sequence).collect(),
    }
}

fn nobody_signs(why: NobodySigns) -> ClientRefusal {
    match why {
        NobodySigns::NoSpiffeId(error) => ClientRefusal::NoSpiffeId(error),
        NobodySigns::SignsOthers => ClientRefusal::SignsOthers,
        NobodySigns::NoBundle(domain) => ClientRefusal::NoBundle(domain),
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
        ClientRefusal::NotForClients | ClientRefusal::SignsOthers => {
            CertificateError::InvalidPurpose
        }
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
