//! [`ServerTls`]: the TLS of a listener's filter chains, as rustls wants it.
//!
//! At each handshake what a chain's policy names is looked up: the identity in force, roots, secrets. A
//! configuration of rustls is made only when one of them is another one, so a renewed certificate serves
//! new handshakes at once, and a handshake costs a comparison.
//!
//! - TLS 1.2 and 1.3, as rustls has them by default. No tickets and no resumption: rustls does not verify a
//!   peer again whose session it resumes, and certificates of a mesh are short.
//! - No common protocol (ALPN) is no error: the connection goes on without one, as Envoy's do. rustls ends
//!   it, so there are two configurations, and what the client offers chooses.

use super::server_material::{Gathered, Inputs, Trust, unusable};
use super::server_refused::{ClientRefusal, ClientRefused};
use super::server_verify::{ClientVerifier, Demands, REFUSED};
use crate::clock;
use crate::identity::anchors::{Anchors, Listed};
use crate::identity::chain::{Lists, Unlisted};
use crate::identity::named::{FRESH, Slots};
use crate::identity::{Certificate, CertificateError, Credentials, Roots, crypto};
use crate::source::read::finished;
use bytes::Bytes;
use mesh_core::WallTime;
use mesh_core::identity::Peer;
use mesh_core::identity::san::CompiledSanMatchers;
use mesh_core::model::tls::DownstreamTls;
use mesh_core::update::Secrets;
use parking_lot::Mutex;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use rustls::server::{Accepted, ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tokio_rustls::server::TlsStream;

pub(crate) use super::server_material::ServerTlsError;

/// What a job that makes it came to.
const PANICKED: &str = "making it panicked; it is made again a second later";

/// Who is where: what a look-up needs.
pub(crate) struct Around<'a> {
    pub(crate) secrets: &'a Secrets,
    pub(crate) credentials: &'a Credentials,
}

/// The configurations of a listener's chains, by their names.
#[derive(Default)]
pub(crate) struct ServerTls(Mutex<BTreeMap<Arc<str>, Arc<Chain>>>);

/// What is known of a chain.
struct Chain {
    /// By which it was asked for last.
    policy: Mutex<Arc<DownstreamTls>>,
    slots: Slots,
    made: Mutex<Option<Arc<ChainTls>>>,
    failed: Mutex<Option<Failed>>,
    /// Held by whoever makes it: one at a time, so that nothing older takes the place of something newer.
    turn: tokio::sync::Mutex<()>,
}

/// Inputs of which nothing could be made.
struct Failed {
    inputs: Inputs,
    error: ServerTlsError,
    /// When they are tried again: the system's roots may be there by then.
    until: Instant,
}

/// The TLS of one chain, as long as nothing changes.
pub(crate) struct ChainTls {
    inputs: Inputs,
    config: Arc<ServerConfig>,
    without_alpn: Arc<ServerConfig>,
    /// The URI names of what is shown.
    own_uris: Arc<[Arc<str>]>,
    verifier: Option<Arc<ClientVerifier>>,
}

/// Why a handshake failed.
#[derive(Debug)]
pub(crate) enum HandshakeError {
    Client(Box<ClientRefused>),
    Tls(rustls::Error),
    Io(io::Error),
}

impl ServerTls {
    /// The TLS of `chain`, made anew if something changed.
    pub(crate) async fn of(
        &self,
        chain: &Arc<str>,
        policy: &Arc<DownstreamTls>,
        around: Around<'_>,
    ) -> Result<Arc<ChainTls>, ServerTlsError> {
        let chain = self.chain(chain, policy);
        if let Ok(made) = chain.find(policy, &around).await? {
            return Ok(made);
        }
        let _turn = chain.turn.lock().await;
        match chain.find(policy, &around).await? {
            Ok(made) => Ok(made),
            Err(inputs) => chain.make(inputs).await,
        }
    }

    fn chain(&self, name: &Arc<str>, policy: &Arc<DownstreamTls>) -> Arc<Chain> {
        let mut chains = self.0.lock();
        let chain = chains.entry(Arc::clone(name)).or_insert_with(|| {
            let (slots, turn) = (Slots::default(), tokio::sync::Mutex::default());
            let (made, failed) = (Mutex::default(), Mutex::default());
            Arc::new(Chain { policy: Mutex::new(Arc::clone(policy)), slots, made, failed, turn })
        });
        *chain.policy.lock() = Arc::clone(policy);
        Arc::clone(chain)
    }

    /// Until when nothing is made of a chain's inputs, because it failed.
    #[cfg(test)]
    pub(super) fn failed_until(&self, chain: &str) -> Option<Instant> {
        let chain = Arc::clone(self.0.lock().get(chain)?);
        let failed = chain.failed.lock();
        failed.as_ref().map(|failed| failed.until)
    }

    /// Forgets the chains that have other policies by now, and what these named. A chain without a policy is not there, or
    /// not secured.
    pub(crate) fn keep(&self, policy: impl Fn(&str) -> Option<Arc<DownstreamTls>>) {
        let is_of = |name: &str, chain: &Chain| {
            policy(name).is_some_and(|policy| policy == *chain.policy.lock())
        };
        self.0.lock().retain(|name, chain| is_of(name, chain));
    }
}

impl Chain {
    /// What was made of what is in force now; or else that.
    async fn find(
        &self,
        policy: &Arc<DownstreamTls>,
        around: &Around<'_>,
    ) -> Result<Result<Arc<ChainTls>, Inputs>, ServerTlsError> {
        let Around { secrets, credentials } = around;
        let Gathered { inputs, is_newest } =
            Inputs::gather(policy, secrets, credentials, &self.slots).await?;
        let before = self.made.lock().clone();
        let inputs = match &before {
            Some(before) if !is_newest => inputs.with_names_of(&before.inputs),
            _ => inputs,
        };
        if let Some(made) = before.filter(|made| made.inputs == inputs) {
            return Ok(Ok(made));
        }
        let is_same = |failed: &&Failed| failed.inputs == inputs && Instant::now() < failed.until;
        let error = self.failed.lock().as_ref().filter(is_same).map(|failed| failed.error.clone());
        error.map_or(Ok(Err(inputs)), Err)
    }

    async fn make(&self, inputs: Inputs) -> Result<Arc<ChainTls>, ServerTlsError> {
        let of = inputs.clone();
        // A new root store of the system is read from files.
        let made = finished(tokio::task::spawn_blocking(|| ChainTls::new(of))).await;
        let panicked = || Err(unusable(&"the TLS of the filter chain", &PANICKED));
        match made.unwrap_or_else(panicked) {
            Ok(made) => {
                let made = Arc::new(made);
                *self.failed.lock() = None;
                *self.made.lock() = Some(Arc::clone(&made));
                Ok(made)
            }
            Err(error) => {
                let (until, told) = (Instant::now() + FRESH, error.clone());
                *self.failed.lock() = Some(Failed { inputs, error: told, until });
                Err(error)
            }
        }
    }
}

impl fmt::Debug for ServerTls {
    /// Nothing of the material.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.lock().keys()).finish()
    }
}

impl ChainTls {
    pub(super) fn new(inputs: Inputs) -> Result<Self, ServerTlsError> {
        let provider = crypto::provider()
            .ok_or_else(|| unusable(&"TLS", &crate::identity::InvalidIdentity::NoCrypto))?;
        let (key, own_uris) =
            (Arc::clone(inputs.own.key()), inputs.own.certificate().names.uris.as_slice().into());
        let verifier = match &inputs.trust {
            Some(trust) => Some(Arc::new(verifier(trust, &inputs, &provider)?)),
            None => None,
        };
        let builder = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable(&"TLS", &error))?;
        let builder = match &verifier {
            Some(verifier) => builder.with_client_cert_verifier(Arc::clone(verifier) as _),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::new(Always(key)));
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        let without_alpn = Arc::new(config.clone());
        let protocols = inputs.policy.alpn.iter();
        config.alpn_protocols = protocols.map(|name| name.as_bytes().to_vec()).collect();
        let config = Arc::new(config);
        Ok(Self { inputs, config, without_alpn, own_uris, verifier })
    }

    /// The URI names of the certificate that is shown.
    pub(crate) const fn own_uris(&self) -> &Arc<[Arc<str>]> {
        &self.own_uris
    }

    /// The end of the certificate that is shown.
    pub(crate) fn own_end(&self) -> WallTime {
        self.inputs.own.validity().not_after
    }

    /// Verifies a client again that showed these certificates, in DER.
    ///
    /// # Errors
    /// It would not be accepted now.
    pub(super) fn verify_again(
        &self,
        shown: &[Bytes],
        now: WallTime,
    ) -> Result<(), Box<ClientRefused>> {
        let Some(verifier) = &self.verifier else { return Ok(()) };
        let shown: Vec<_> = shown.iter().map(|der| CertificateDer::from(&**der)).collect();
        match shown.split_first() {
            Some((first, others)) => verifier.verify(first, others, now),
            // Names may be wanted by now.
            None if self.inputs.wants_certificate => {
                Err(verifier.refuse(ClientRefusal::NoCertificate, None))
            }
            None => Ok(()),
        }
    }

    /// The configuration for a client that says this.
    fn config(&self, hello: &ClientHello<'_>) -> &Arc<ServerConfig> {
        let ours = &self.config.alpn_protocols;
        let common = hello.alpn().is_some_and(|mut offered| {
            offered.any(|offered| ours.iter().any(|ours| ours == offered))
        });
        if common { &self.config } else { &self.without_alpn }
    }

    /// Runs the rest of the handshake.
    pub(crate) async fn handshake<I: AsyncRead + AsyncWrite + Unpin>(
        &self,
        accepted: Accepted,
        io: I,
    ) -> Result<TlsStream<I>, HandshakeError> {
        let config = Arc::clone(self.config(&accepted.client_hello()));
        let start = tokio_rustls::server::StartHandshake::from_parts(accepted, io);
        let run = async {
            let done = start.into_stream(config).await;
            (done, REFUSED.with(RefCell::take))
        };
        match REFUSED.scope(RefCell::new(None), run).await {
            (Ok(stream), _) => Ok(stream),
            (Err(_), Some(refused)) => Err(HandshakeError::Client(refused)),
            (Err(error), None) => Err(self.failed(error)),
        }
    }

    fn failed(&self, error: io::Error) -> HandshakeError {
        let Some(tls) = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>())
        else {
            return HandshakeError::Io(error);
        };
        match (tls, &self.verifier) {
            (rustls::Error::NoCertificatesPresented, Some(verifier)) => {
                HandshakeError::Client(verifier.refuse(ClientRefusal::NoCertificate, None))
            }
            (tls, _) => HandshakeError::Tls(tls.clone()),
        }
    }
}

impl fmt::Debug for ChainTls {
    /// Nothing of the material.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChainTls").field("policy", &self.inputs.policy).finish_non_exhaustive()
    }
}

/// What the other end proved, its certificates in DER, and the end of its own one.
pub(crate) fn proven<I>(stream: &TlsStream<I>) -> (Peer, Vec<Bytes>, Option<WallTime>) {
    let shown = stream.get_ref().1.peer_certificates().unwrap_or_default();
    // What was verified can be read.
    let names = shown.first().and_then(|first| Certificate::parse(first).ok());
    let end = names.as_ref().map(|read| read.validity.not_after);
    let peer = names.map_or(Peer::Tls, |read| Peer::Certified(Arc::new(read.names)));
    let shown = shown.iter().map(|der| Bytes::copy_from_slice(der));
    (peer, shown.collect(), end)
}

/// The same key for everybody.
#[derive(Debug)]
struct Always(Arc<CertifiedKey>);

impl ResolvesServerCert for Always {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

/// Who signs for clients, and the lists beside them.
struct Signers {
    anchors: Anchors,
    beside: Vec<CertificateRevocationListDer<'static>>,
    origin: Arc<str>,
}

fn signers(trust: &Trust) -> Result<Signers, ServerTlsError> {
    let (mut listed, mut beside) = (Listed::new(), Vec::new());
    let (roots, origin) = match trust {
        Trust::Identity(trust, whose) => (trust.roots().clone(), Arc::clone(whose)),
        Trust::Named(named) => {
            match named.of_domains {
                true => listed = Listed::clone(&named.listed),
                false => beside = named.trust.revoked().to_vec(),
            }
            (named.trust.roots().clone(), Arc::clone(&named.origin))
        }
        Trust::System => (Roots::Any(system()?), Arc::from("the system")),
    };
    let anchors = Anchors::new(&roots, &listed).map_err(|error| unusable(&origin, &error))?;
    match anchors.is_missing() {
        true => Err(unusable(&origin, &"there is no root certificate that can be used")),
        false => Ok(Signers { anchors, beside, origin }),
    }
}

fn verifier(
    trust: &Trust,
    inputs: &Inputs,
    provider: &CryptoProvider,
) -> Result<ClientVerifier, ServerTlsError> {
    let Signers { anchors, beside, origin } = signers(trust)?;
    let demands = Demands {
        names: names(inputs)?,
        only_uris: matches!(trust, Trust::Named(named) if named.of_domains),
        revoked: revoked(trust, beside, inputs)?,
        required: inputs.wants_certificate,
        origin,
        since: clock::wall(),
    };
    Ok(ClientVerifier::new(anchors, demands, provider.signature_verification_algorithms))
}

fn names(inputs: &Inputs) -> Result<CompiledSanMatchers, ServerTlsError> {
    CompiledSanMatchers::new(&inputs.san)
        .map_err(|(at, error)| unusable(&format!("san[{at}]"), &error))
}

/// The lists of an identity that is believed; and the policy's own with those beside its roots, which Envoy puts into
/// one store. None at all in the policy's own text would mean that nobody is known not to be revoked.
fn revoked(
    trust: &Trust,
    mut beside: Vec<CertificateRevocationListDer<'static>>,
    inputs: &Inputs,
) -> Result<Vec<Lists>, ServerTlsError> {
    let wrong = |error: CertificateError| unusable(&"the revocation lists", &error);
    let mut all = Vec::new();
    if let Trust::Identity(trust, _) = trust {
        all.push(Lists::read(trust.revoked(), Unlisted::Good).map_err(wrong)?);
    }
    beside.extend(inputs.crl.iter().flat_map(|lists| lists.iter()).cloned());
    if !beside.is_empty() {
        all.push(Lists::read(&beside, Unlisted::Refused).map_err(wrong)?);
    }
    Ok(all)
}

/// Whom the system trusts. Files of it that can't be read are told if there is nothing else.
fn system() -> Result<Arc<[CertificateDer<'static>]>, ServerTlsError> {
    let found = rustls_native_certs::load_native_certs();
    match (found.certs.is_empty(), found.errors.first()) {
        (true, Some(error)) => Err(unusable(&"the system's roots", error)),
        (_, _) => Ok(found.certs.into()),
    }
}
