//! [`ClientTls`]: the TLS of a cluster's connections.
//!
//! At each handshake it is asked what is in force: our identity, secrets, files, roots. rustls' configuration
//! is made of whom we believe, once, and again when that changes; a handshake takes a copy of it (pointers)
//! and puts in who we are at this very moment, what is offered, and a place for the verifier's answer.
//!
//! What it does not do: resume sessions, and choose by what the peer says it would accept.

use super::client_io::{LateWord, SecureIo};
use super::client_material::{ByRoots, Kept};
use super::client_refused::{InWords, NotSecured, Showed, closed_on, failed};
use super::client_verify::{Asked, Believed, Expected, InHandshake, Verifier};
use super::client_watch::{Evidence, Watched};
use crate::clock;
use crate::connect::BoxedIo;
use crate::identity::{Credentials, Identity, crypto};
use crate::observe::TlsReport;
use crate::observe::events::Security;
use arc_swap::ArcSwap;
use mesh_core::WallTime;
use mesh_core::identity::Peer;
use mesh_core::model::Address;
use mesh_core::model::tls::{ResolvedTls, SecretError, UpstreamTls};
use mesh_core::outcome::ConnectFailure;
use mesh_core::update::Secrets;
use parking_lot::Mutex;
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ProtocolVersion, SignatureScheme};
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// The TLS of all connections under one policy. It stays the same while the policy does.
pub(crate) struct ClientTls {
    policy: Arc<UpstreamTls>,
    secrets: Arc<ArcSwap<Secrets>>,
    credentials: Credentials,
    kept: Kept,
    made: Mutex<Option<Made>>,
    watched: Mutex<Watched>,
    /// Why open connections are verified by what was in force before, as it was told.
    stays: Mutex<Option<String>>,
}

/// What was made of whom we believe.
#[derive(Clone)]
struct Made {
    verifier: Arc<Verifier>,
    config: Arc<ClientConfig>,
}

/// Where a connection goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct To<'a> {
    pub(crate) address: &'a Address,
    /// The endpoint's name, if it has one.
    pub(crate) hostname: Option<&'a Arc<str>>,
    /// The protocols that are offered, the best first.
    pub(crate) offers: &'a [&'a str],
}

/// A secured connection.
pub(crate) struct Secured {
    pub(crate) io: BoxedIo,
    /// What was agreed on by ALPN.
    pub(crate) agreed: Option<Vec<u8>>,
    pub(crate) security: Security,
    pub(crate) tls: Arc<TlsReport>,
    pub(crate) evidence: Evidence,
    /// What the peer may still say of us.
    pub(crate) late: Late,
}

/// How an end of the connection before its first use is told.
pub(crate) struct Late {
    word: LateWord,
    showed: Showed,
}

impl Late {
    /// What the peer said of us.
    pub(crate) fn said(&self) -> Option<NotSecured> {
        self.word.get().cloned()
    }

    /// What it must have meant when it closed without a word, by which this became of the handshake of HTTP.
    pub(crate) fn meant(&self, became: Option<&io::Error>) -> Option<NotSecured> {
        closed_on(&self.showed, became)
    }
}

impl ClientTls {
    pub(crate) fn new(
        policy: Arc<UpstreamTls>,
        secrets: Arc<ArcSwap<Secrets>>,
        credentials: Credentials,
    ) -> Self {
        Self {
            policy,
            secrets,
            credentials,
            kept: Kept::default(),
            made: Mutex::default(),
            watched: Mutex::default(),
            stays: Mutex::default(),
        }
    }

    /// The policy.
    pub(crate) const fn policy(&self) -> &Arc<UpstreamTls> {
        &self.policy
    }

    pub(super) const fn watched(&self) -> &Mutex<Watched> {
        &self.watched
    }

    /// Whether a handshake could begin now: an identity or a secret that is missing is found before anybody
    /// is connected to.
    pub(crate) async fn check(&self) -> Result<(), NotSecured> {
        let now = clock::wall();
        let (resolved, secrets) = self.resolved()?;
        self.own(&resolved).await?;
        self.made(&resolved, &secrets, now).await.map(drop)
    }

    /// The verifier of what is in force, for connections that are open. Nobody is believed on because something else is
    /// bad: an identity that is missing, or lists that can't be used.
    pub(super) async fn verifier(&self, now: WallTime) -> Result<Arc<Verifier>, NotSecured> {
        let secrets = self.secrets.load_full();
        let resolved = self.policy.resolve(&secrets);
        let resolved = resolved.or_else(|_missing| self.policy.resolve_trust(&secrets));
        let resolved = resolved.map_err(unresolved)?;
        let by = self.by(&resolved, &secrets);
        let believed = self.kept.still_believed(by, &self.credentials).await?;
        Ok(self.made_of(believed, &resolved, now)?.verifier)
    }

    /// The same; `None`: it can't be had, so that open connections stay with what verified them last. That is told once.
    pub(super) async fn verifier_in_force(&self, now: WallTime) -> Option<Arc<Verifier>> {
        let found = self.verifier(now).await;
        let why = found.as_ref().err().map(ToString::to_string);
        let mut stays = self.stays.lock();
        if let Some(why) = why.as_ref().filter(|why| stays.as_ref() != Some(why)) {
            tracing::warn!(
                target: "mesh::tls",
                "open connections stay with what verified them last: {why}"
            );
        }
        *stays = why;
        found.ok()
    }

    /// Does the handshake on `io`.
    ///
    /// # Errors
    /// Why not.
    ///
    /// # Cancel safety
    /// Dropping it drops the connection.
    pub(crate) async fn secure(&self, io: BoxedIo, to: To<'_>) -> Result<Secured, NotSecured> {
        let now = clock::wall();
        let (resolved, secrets) = self.resolved()?;
        let own = self.own(&resolved).await?;
        let Made { verifier, config } = self.made(&resolved, &secrets, now).await?;
        let (expected, sent) = expected(&self.policy, to.address, to.hostname.map(|name| &**name))?;
        let found = OnceLock::new();
        let check = Arc::new(InHandshake { verifier, expected, found });
        let shows =
            Arc::new(Shows { own, asked: AtomicBool::default(), is_unfit: AtomicBool::default() });
        let config = for_one(&config, &check, &shows, to.offers, sent.is_some());
        let name = sent.unwrap_or_else(nobody);
        match TlsConnector::from(Arc::new(config)).connect(name, io).await {
            Ok(stream) => secured(stream, to, &check, &shows, now),
            Err(error) => match check.found.get() {
                Some(Err(refused)) => Err(refused.clone()),
                _ => Err(failed(&error, &shows.showed(now))),
            },
        }
    }

    async fn own(&self, resolved: &ResolvedTls) -> Result<Option<Arc<Identity>>, NotSecured> {
        let identity = (&self.policy.identity, &resolved.identity);
        self.kept.own(identity, &self.credentials).await
    }

    /// The policy with its secrets put in, and these.
    fn resolved(&self) -> Result<(ResolvedTls, Arc<Secrets>), NotSecured> {
        let secrets = self.secrets.load_full();
        let resolved = self.policy.resolve(&secrets);
        let resolved = resolved.inspect_err(|_missing| self.kept.shows_nothing());
        Ok((resolved.map_err(unresolved)?, secrets))
    }

    fn by<'a>(&'a self, resolved: &'a ResolvedTls, secrets: &'a Secrets) -> ByRoots<'a> {
        ByRoots { named: &self.policy.roots, secrets, resolved }
    }

    async fn made(
        &self,
        resolved: &ResolvedTls,
        secrets: &Secrets,
        now: WallTime,
    ) -> Result<Made, NotSecured> {
        let by = self.by(resolved, secrets);
        let believed = self.kept.believed(by, &self.credentials).await?;
        self.made_of(believed, resolved, now)
    }

    fn made_of(
        &self,
        believed: Believed,
        resolved: &ResolvedTls,
        now: WallTime,
    ) -> Result<Made, NotSecured> {
        let before = self.made.lock().clone();
        if let Some(made) = before.filter(|made| made.verifier.is_of(&believed, &resolved.san)) {
            return Ok(made);
        }
        let provider = crypto::provider().ok_or_else(|| {
            let text = crate::identity::InvalidIdentity::NoCrypto;
            NotSecured::new(ConnectFailure::TlsUnavailable, text)
        })?;
        let algorithms = provider.signature_verification_algorithms;
        let asked = Asked { names: &resolved.san, unless_sent: resolved.auto_sni_san_validation };
        let verifier = Arc::new(Verifier::new(believed, asked, algorithms, now)?);
        let (expected, found) = (Expected::Nothing, OnceLock::new());
        let check = Arc::new(InHandshake { verifier: Arc::clone(&verifier), expected, found });
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| NotSecured::new(ConnectFailure::TlsUnavailable, error))?
            .dangerous()
            .with_custom_certificate_verifier(check)
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        let made = Made { verifier, config: Arc::new(config) };
        *self.made.lock() = Some(made.clone());
        Ok(made)
    }
}

fn unresolved(error: SecretError) -> NotSecured {
    NotSecured::new(ConnectFailure::SecretUnavailable, error)
}

/// The configuration of one handshake.
fn for_one(
    config: &ClientConfig,
    check: &Arc<InHandshake>,
    shows: &Arc<Shows>,
    offers: &[&str],
    sends_name: bool,
) -> ClientConfig {
    let mut config = config.clone();
    config.dangerous().set_certificate_verifier(Arc::clone(check) as _);
    config.client_auth_cert_resolver = Arc::clone(shows) as _;
    config.alpn_protocols = offers.iter().map(|offer| offer.as_bytes().to_vec()).collect();
    config.enable_sni = sends_name;
    config
}

/// Who is expected at an endpoint, and which name is sent (gRFC A101).
pub(super) fn expected(
    policy: &UpstreamTls,
    address: &Address,
    hostname: Option<&str>,
) -> Result<(Expected, Option<ServerName<'static>>), NotSecured> {
    let hostname = hostname.map(without_root);
    if let Some(text) = policy.server_name(hostname).map(without_root) {
        let name = ServerName::try_from(text.to_owned()).map_err(|_invalid| {
            let text = format_args!(
                "`{text}` is no name that can be asked for: set the cluster's `sni`, or the endpoint's hostname"
            );
            NotSecured::new(ConnectFailure::TlsName, text)
        })?;
        let sent = matches!(name, ServerName::DnsName(_)).then(|| name.clone());
        return Ok((Expected::Name(name), sent));
    }
    // It need not be a name of DNS where it is not sent: it may be for hashing alone.
    let hostname = hostname.and_then(|name| ServerName::try_from(name.to_owned()).ok());
    let expected = match (hostname, address) {
        (Some(hostname), _) => Expected::Hostname(hostname),
        (None, Address::Socket(address)) => {
            Expected::Address(ServerName::IpAddress(address.ip().into()))
        }
        (None, Address::Unix(_)) => Expected::Nothing,
    };
    Ok((expected, None))
}

/// Certificates and SNI speak of names without the dot at their end (RFC 6066 section 3).
fn without_root(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

/// rustls wants some name even where none is sent; what is proven is [`Expected`].
fn nobody() -> ServerName<'static> {
    ServerName::IpAddress(std::net::Ipv4Addr::UNSPECIFIED.into())
}

fn secured(
    stream: TlsStream<BoxedIo>,
    to: To<'_>,
    check: &InHandshake,
    shows: &Shows,
    now: WallTime,
) -> Result<Secured, NotSecured> {
    let (_, connection) = stream.get_ref();
    let agreed = connection.alpn_protocol().map(<[u8]>::to_vec);
    let chain = connection.peer_certificates().unwrap_or_default();
    let chain: Arc<[CertificateDer<'static>]> = chain.iter().cloned().collect();
    let Some(Ok(certificate)) = check.found.get() else {
        let text = "the handshake ended without a look at the peer's certificate";
        return Err(NotSecured::new(ConnectFailure::Tls, text));
    };
    let showed = shows.showed(now);
    let peer = Peer::Certified(Arc::new(certificate.names.clone()));
    let (name, theirs): (Arc<str>, _) = (Arc::from(peer.name()), certificate.validity.not_after);
    let shown = shows.own.as_ref().filter(|_| showed.asked && !showed.is_unfit);
    let suite = connection.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str());
    let tls = Arc::new(TlsReport {
        version: match connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
            Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
            _ => "",
        },
        cipher: suite.unwrap_or_default(),
        mutual: shown.is_some(),
        peer: Arc::clone(&name),
        peer_until: theirs,
    });
    let (security, until) = match shown {
        Some(own) => (Security::MutualTls(name), theirs.min(own.validity().not_after)),
        None => (Security::Tls(name), theirs),
    };
    let (verifier, address) = (Arc::clone(&check.verifier), to.address.clone());
    let evidence = Evidence { verifier, chain, address, hostname: to.hostname.cloned(), until };
    let (io, word) = SecureIo::new(stream, showed.clone());
    let late = Late { word, showed };
    Ok(Secured { io: Box::new(io), agreed, security, tls, evidence, late })
}

/// Shows who we are, and notes that it was asked for.
struct Shows {
    own: Option<Arc<Identity>>,
    asked: AtomicBool,
    /// Our key makes no signature that the peer takes.
    is_unfit: AtomicBool,
}

impl Shows {
    fn showed(&self, now: WallTime) -> Showed {
        let ours = self.own.as_ref().map(|own| InWords(own.certificate(), now).to_string().into());
        let asked = self.asked.load(Ordering::Relaxed);
        Showed { asked, ours, is_unfit: self.is_unfit.load(Ordering::Relaxed) }
    }
}

impl ResolvesClientCert for Shows {
    fn resolve(
        &self,
        _root_hint_subjects: &[&[u8]],
        schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        self.asked.store(true, Ordering::Relaxed);
        let own = self.own.as_ref()?;
        // rustls would show nothing, and not say so.
        let fits = own.key().key.choose_scheme(schemes).is_some();
        self.is_unfit.store(!fits, Ordering::Relaxed);
        fits.then(|| Arc::clone(own.key()))
    }

    /// Always: rustls does not ask otherwise, and we want to know whether the peer did.
    fn has_certs(&self) -> bool {
        true
    }
}

impl fmt::Debug for Shows {
    /// Whether there is something to show.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shows").field("own", &self.own.is_some()).finish_non_exhaustive()
    }
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls").field("policy", &self.policy).finish_non_exhaustive()
    }
}
