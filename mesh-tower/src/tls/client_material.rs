//! What a handshake is made with: our own pair, and whom we believe, as of this moment.
//!
//! An identity in force is asked for at each handshake, so a renewed one serves the next. What secrets and
//! files hold is parsed when it changes. A file is looked at when a handshake wants it, at most once a
//! second, off the call path, whether it is there or not. What can't be read, or does not fit together (files
//! are replaced one after the other), changes nothing, wherever it comes from: the last good one serves until
//! its own end, also of another file. It is told once.

use super::client_refused::NotSecured;
use super::client_verify::Believed;
use super::spiffe::{self, SpiffeTexts};
use crate::identity::anchors::Listed;
use crate::identity::chain::{Lists, Unlisted};
use crate::identity::{
    Certificate, CertificateError, Credentials, Identities, Identity, Roots, authorities,
    certificates, crypto, private_key, revocation_lists,
};
use crate::source::read::{MAX_BYTES, read_bytes};
use mesh_core::WallTime;
use mesh_core::identity::rotation::Standing;
use mesh_core::model::secret::{SecretCertificate, SecretSource};
use mesh_core::model::tls::{ResolvedIdentity, ResolvedRoots, ResolvedTls, SpiffeBundles};
use mesh_core::outcome::ConnectFailure;
use parking_lot::Mutex;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::time::Instant;

/// No file is looked at more often.
const LOOK: Duration = Duration::from_secs(1);

/// Who we are towards one cluster. `Debug` shows no key.
#[derive(Clone)]
pub(super) enum Own {
    /// An identity in force.
    Identity(Arc<Identity>),
    /// A pair of a secret or of files.
    Pair(Arc<Pair>),
}

/// A chain, its key, and what its first certificate says.
pub(super) struct Pair {
    key: Arc<CertifiedKey>,
    certificate: Certificate,
}

impl Own {
    pub(super) fn key(&self) -> &Arc<CertifiedKey> {
        match self {
            Self::Identity(identity) => identity.key(),
            Self::Pair(pair) => &pair.key,
        }
    }

    pub(super) fn certificate(&self) -> &Certificate {
        match self {
            Self::Identity(identity) => identity.certificate(),
            Self::Pair(pair) => &pair.certificate,
        }
    }

    /// When it ends.
    pub(super) fn end(&self) -> WallTime {
        match self {
            Self::Identity(identity) => identity.validity().not_after,
            Self::Pair(pair) => pair.certificate.validity.not_after,
        }
    }
}

/// A chain and its key, in PEM.
type Texts = (Arc<[u8]>, Arc<[u8]>);

/// Lists of revoked certificates.
type Crl = Arc<[CertificateRevocationListDer<'static>]>;

/// Who signs, and the lists beside.
type Signers = (Roots, Crl);

/// What was read for one cluster, kept until it changes.
#[derive(Default)]
pub(super) struct Kept {
    files: Mutex<BTreeMap<Arc<Path>, File>>,
    pair: Mutex<Slot<Texts, Arc<Pair>>>,
    roots: Mutex<Slot<Arc<[u8]>, Signers>>,
    bundles: Mutex<Slot<SpiffeTexts, (Roots, Arc<Listed>)>>,
    crl: Mutex<Slot<Arc<[u8]>, Crl>>,
    told: Mutex<Option<String>>,
}

/// What was made of the bytes that were seen last, and the last of it that was good.
struct Slot<B, M> {
    seen: Option<(B, Result<M, CertificateError>)>,
    good: Option<M>,
}

impl<B, M> Default for Slot<B, M> {
    fn default() -> Self {
        Self { seen: None, good: None }
    }
}

/// What a slot comes to, and what it had that was good.
type Found<M> = (Result<M, NotSecured>, Option<M>);

#[derive(Clone)]
struct File {
    looked: Instant,
    /// The last that could be read, or why none could.
    content: Result<Arc<[u8]>, NotSecured>,
}

impl<B: PartialEq, M: Clone> Slot<B, M> {
    /// What was read of `origin` comes to, and what was good before, if it is not.
    fn of(
        &mut self,
        read: Result<B, NotSecured>,
        origin: &str,
        make: impl FnOnce(&B) -> Result<M, CertificateError>,
    ) -> Found<M> {
        self.of_now((read, origin), make, |_| true)
    }

    /// The same of what is good for a time only: `holds` is asked each time whether that is now.
    fn of_now(
        &mut self,
        (read, origin): (Result<B, NotSecured>, &str),
        make: impl FnOnce(&B) -> Result<M, CertificateError>,
        holds: impl Fn(&M) -> bool,
    ) -> Found<M> {
        let bytes = match read {
            Ok(bytes) => bytes,
            Err(error) => return (Err(error), self.good.clone()),
        };
        if self.seen.as_ref().is_none_or(|(seen, _)| *seen != bytes) {
            let made = make(&bytes);
            self.seen = Some((bytes, made));
        }
        let made = self.seen.as_ref().map(|(_, made)| made.clone());
        let made = made.unwrap_or(Err(CertificateError::NoCertificate));
        if let Some(made) = made.as_ref().ok().filter(|made| holds(made)) {
            self.good = Some(made.clone());
        }
        (made.map_err(|error| unusable(origin, &error)), self.good.clone())
    }
}

impl Kept {
    /// Who we are now; `None`: nobody is to be shown.
    ///
    /// # Errors
    /// There is nobody who is valid at `now`: it fails closed.
    pub(super) async fn own(
        &self,
        identity: &ResolvedIdentity,
        credentials: &Credentials,
        now: WallTime,
    ) -> Result<Option<Own>, NotSecured> {
        let own = match identity {
            ResolvedIdentity::None => return Ok(None),
            ResolvedIdentity::Mesh => Own::Identity(current(mesh(credentials)?, MESH)?),
            ResolvedIdentity::Provider(name) => {
                Own::Identity(current(provider(credentials, name)?, &of_provider(name))?)
            }
            ResolvedIdentity::Certificate(certificate) => {
                Own::Pair(self.pair(certificate, now).await?)
            }
            _ => return Err(unusable("our identity", &"it is of a kind that is not known here")),
        };
        Ok(Some(own))
    }

    async fn pair(
        &self,
        certificate: &SecretCertificate,
        now: WallTime,
    ) -> Result<Arc<Pair>, NotSecured> {
        let origin = origin("our certificate", &certificate.chain);
        let texts = self.texts(certificate).await;
        let make = |(chain, key): &Texts| pair(chain, key);
        let is_valid =
            |pair: &Arc<Pair>| pair.certificate.validity.standing(now) == Standing::Valid;
        let (made, good) = self.pair.lock().of_now((texts, &origin), make, is_valid);
        match (made, good.filter(is_valid)) {
            (Ok(made), _) if is_valid(&made) => Ok(made),
            // As of an identity: what is over, or has not begun, does not take the place of what is valid.
            (Ok(_), Some(good)) => {
                self.tell(format!("{origin} is not valid now: look at its time and at the clock"));
                Ok(good)
            }
            (Ok(made), None) => Err(not_now(&made.certificate, &origin, now)),
            (Err(error), good) => self.good_of(Err(error), good),
        }
    }

    async fn texts(&self, certificate: &SecretCertificate) -> Result<Texts, NotSecured> {
        let chain = self.content(&certificate.chain).await?;
        Ok((chain, self.content(&certificate.private_key).await?))
    }

    /// Lets go of the files that are not named any more, private keys among them.
    pub(super) fn keep(&self, resolved: &ResolvedTls) {
        let files = resolved.sources().filter_map(|source| match source {
            SecretSource::File(path) => Some(&**path),
            _ => None,
        });
        let named: BTreeSet<&Path> = files.collect();
        self.files.lock().retain(|path, _| named.contains(&**path));
    }

    /// Whom we believe now.
    ///
    /// # Errors
    /// There is nothing that was good.
    pub(super) async fn believed(
        &self,
        resolved: &ResolvedTls,
        credentials: &Credentials,
    ) -> Result<Believed, NotSecured> {
        let believed = self.by_roots(&resolved.roots, credentials).await?;
        Ok(believed.and_lists(self.lists(resolved).await?))
    }

    /// The same for connections that are open: roots that were withdrawn do not wait for lists. Those that can't be used
    /// say nothing about anybody.
    ///
    /// # Errors
    /// There are no roots that were good.
    pub(super) async fn still_believed(
        &self,
        resolved: &ResolvedTls,
        credentials: &Credentials,
    ) -> Result<Believed, NotSecured> {
        let believed = self.by_roots(&resolved.roots, credentials).await?;
        let lists = self.lists(resolved).await;
        Ok(believed.and_lists(lists.unwrap_or_else(|_unusable| Some(Crl::default()))))
    }

    /// The lists that the policy names, or a secret of it.
    async fn lists(&self, resolved: &ResolvedTls) -> Result<Option<Crl>, NotSecured> {
        let Some(source) = &resolved.crl else { return Ok(None) };
        let origin = origin("the revocation lists", source);
        let read = self.content(source).await;
        let (made, good) =
            self.crl.lock().of(read, &origin, |bytes| usable_lists(revocation_lists(bytes)?));
        self.good_of(made, good).map(Some)
    }

    async fn by_roots(
        &self,
        roots: &ResolvedRoots,
        credentials: &Credentials,
    ) -> Result<Believed, NotSecured> {
        match roots {
            ResolvedRoots::System => Ok(plain(system().await?, "the system".into())),
            ResolvedRoots::Mesh => of_identity(mesh(credentials)?, MESH),
            ResolvedRoots::Provider(name) => {
                of_identity(provider(credentials, name)?, &of_provider(name))
            }
            ResolvedRoots::Pem(source) => {
                let origin = origin("the roots", source);
                let read = self.content(source).await;
                let (made, good) = self.roots.lock().of(read, &origin, |bytes| {
                    let (roots, beside) = authorities(bytes)?;
                    let roots = Roots::Any(roots.into());
                    usable(&roots)?;
                    Ok((roots, usable_lists(beside)?))
                });
                let (roots, beside) = self.good_of(made, good)?;
                let crl = Some(beside).filter(|beside| !beside.is_empty());
                Ok(Believed { crl, ..plain(roots, origin) })
            }
            ResolvedRoots::Spiffe(bundles) => {
                let read = self.bundles(bundles).await;
                let (made, good) = self.bundles.lock().of(read, spiffe::ORIGIN, |texts| {
                    let (roots, listed) = texts.roots()?;
                    usable(&roots)?;
                    listed.values().try_for_each(|lists| usable_lists(lists.clone()).map(drop))?;
                    Ok((roots, Arc::new(listed)))
                });
                let (roots, listed) = self.good_of(made, good)?;
                let plain = plain(roots, spiffe::ORIGIN.into());
                Ok(Believed { of_identity: true, only_uris: true, listed, ..plain })
            }
            _ => Err(unusable("the roots", &"they are of a kind that is not known here")),
        }
    }

    async fn bundles(&self, bundles: &SpiffeBundles) -> Result<SpiffeTexts, NotSecured> {
        let mut texts = SpiffeTexts::default();
        for (domain, source) in bundles.sources() {
            texts.0.insert(domain.cloned(), self.content(source).await?);
        }
        Ok(texts)
    }

    fn good_of<M>(&self, made: Result<M, NotSecured>, good: Option<M>) -> Result<M, NotSecured> {
        match (made, good) {
            (Err(error), Some(good)) => {
                self.tell(error.to_string());
                Ok(good)
            }
            (made, _) => made,
        }
    }

    async fn content(&self, source: &SecretSource) -> Result<Arc<[u8]>, NotSecured> {
        match source {
            SecretSource::Inline(bytes) => Ok(Arc::clone(bytes)),
            SecretSource::File(path) => self.file(path).await,
            _ => Err(unusable("a secret", &"it is neither here nor in a file")),
        }
    }

    async fn file(&self, path: &Arc<Path>) -> Result<Arc<[u8]>, NotSecured> {
        let now = Instant::now();
        let before = self.files.lock().get(path).cloned();
        if let Some(file) = before.as_ref().filter(|file| now < file.looked + LOOK) {
            return file.content.clone();
        }
        let job = Arc::clone(path);
        let read = tokio::task::spawn_blocking(move || read_bytes(&job, MAX_BYTES)).await;
        let read = read.map_err(|_ended| unusable("a file", &"the runtime ends"))?;
        let content = match (read.and_then(not_too_large), before.map(|file| file.content)) {
            (Ok(bytes), Some(Ok(before))) if *bytes == *before => Ok(before),
            (Ok(bytes), _) => Ok(bytes.into()),
            (Err(error), Some(Ok(before))) => {
                self.tell(format!("{}: {error}", path.display()));
                Ok(before)
            }
            (Err(error), _) => Err(unusable(&path.display(), &error)),
        };
        let file = File { looked: now, content: content.clone() };
        self.files.lock().insert(Arc::clone(path), file);
        content
    }

    fn tell(&self, what: String) {
        let mut told = self.told.lock();
        if told.as_ref() != Some(&what) {
            tracing::warn!(target: "mesh::tls", "the last good one stays: {what}");
            *told = Some(what);
        }
    }
}

const MESH: &str = "the mesh's identity";

fn not_too_large(bytes: Vec<u8>) -> io::Result<Vec<u8>> {
    match bytes.len() as u64 > MAX_BYTES {
        true => Err(io::Error::other("the file is larger than 16 MiB")),
        false => Ok(bytes),
    }
}

fn of_provider(name: &str) -> String {
    format!("the certificate provider `{name}`")
}

fn mesh(credentials: &Credentials) -> Result<&Identities, NotSecured> {
    credentials.own().ok_or_else(|| {
        let text = "the mesh has no identity, and the cluster's TLS wants it: give it one \
                    (`Builder::identity`, or `identity:` of the configuration)";
        NotSecured::new(ConnectFailure::IdentityUnavailable, text)
    })
}

fn provider<'c>(credentials: &'c Credentials, name: &str) -> Result<&'c Identities, NotSecured> {
    credentials.provider(name).ok_or_else(|| {
        let text = format_args!(
            "there is no certificate provider `{name}`: name it in the bootstrap file, or give it by \
             `Builder::certificate_provider`"
        );
        NotSecured::new(ConnectFailure::IdentityUnavailable, text)
    })
}

fn current(identities: &Identities, origin: &str) -> Result<Arc<Identity>, NotSecured> {
    identities.current().map_err(|error| {
        NotSecured::new(ConnectFailure::IdentityUnavailable, format_args!("{origin}: {error}"))
    })
}

/// Whom an identity believes, and what it revokes. It does not end with our own certificate: where we show
/// that, it is asked for by itself.
fn of_identity(identities: &Identities, origin: &str) -> Result<Believed, NotSecured> {
    let trust = identities.trust().map_err(|error| {
        NotSecured::new(ConnectFailure::IdentityUnavailable, format_args!("{origin}: {error}"))
    })?;
    let (roots, revoked) = (trust.roots().clone(), Arc::clone(trust.shared_lists()));
    let plain = plain(roots, origin.into());
    Ok(Believed { revoked, of_identity: true, ..plain })
}

fn plain(roots: Roots, origin: Arc<str>) -> Believed {
    let (revoked, listed) = (Arc::default(), Arc::default());
    Believed { roots, revoked, crl: None, listed, origin, only_uris: false, of_identity: false }
}

fn pair(chain: &[u8], key: &[u8]) -> Result<Arc<Pair>, CertificateError> {
    let (chain, key) = (certificates(chain)?, private_key(key)?);
    let certificate = Certificate::parse(chain.first().ok_or(CertificateError::NoCertificate)?)?;
    let broken = |error: &dyn fmt::Display| CertificateError::NotX509 { reason: error.to_string() };
    let provider = crypto::provider().ok_or_else(|| broken(&"nobody encrypts"))?;
    let key = CertifiedKey::from_der(chain, key, &provider).map_err(|error| match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => CertificateError::KeyMismatch,
        error => broken(&error),
    })?;
    Ok(Arc::new(Pair { key: Arc::new(key), certificate }))
}

/// Whether there is a root that can be used among these, and among those of each trust domain: it is known
/// before they take the place of those that can.
fn usable(roots: &Roots) -> Result<(), CertificateError> {
    let some = |roots: &[CertificateDer<'static>]| {
        let read = roots.iter().map(webpki::anchor_from_trusted_cert);
        let found = read.reduce(|found, next| found.or(next)).transpose();
        found.map(drop).map_err(|error| CertificateError::NotX509 { reason: error.to_string() })
    };
    match roots {
        Roots::Any(roots) => some(roots),
        Roots::ByTrustDomain(bundles) => bundles.values().try_for_each(|roots| some(roots)),
    }
}

/// Whether lists can be used is known before they take the place of those that can.
fn usable_lists(
    lists: Vec<CertificateRevocationListDer<'static>>,
) -> Result<Crl, CertificateError> {
    Lists::read(&lists, Unlisted::Refused).map(|_read| lists.into())
}

/// Of a certificate that is over, or has not begun.
fn not_now(certificate: &Certificate, origin: &str, now: WallTime) -> NotSecured {
    let (start, end) = (certificate.validity.not_before, certificate.validity.not_after);
    let text = match now > end {
        true => {
            let ago = now.saturating_duration_since(end).as_secs();
            format!("{origin} ended {ago} s ago: it must be renewed")
        }
        false => {
            let starts_in = start.saturating_duration_since(now).as_secs();
            format!("{origin} begins in {starts_in} s: look at the clocks")
        }
    };
    NotSecured::new(ConnectFailure::IdentityUnavailable, text)
}

fn origin(what: &str, source: &SecretSource) -> Arc<str> {
    match source {
        SecretSource::File(path) => format!("{what} in {}", path.display()).into(),
        _ => format!("{what} in the configuration").into(),
    }
}

fn unusable(origin: &(impl fmt::Display + ?Sized), reason: &dyn fmt::Display) -> NotSecured {
    NotSecured::new(ConnectFailure::SecretUnavailable, format_args!("{origin}: {reason}"))
}

/// The roots of the system, read once in the life of the process.
async fn system() -> Result<Roots, NotSecured> {
    static SYSTEM: OnceLock<Arc<[CertificateDer<'static>]>> = OnceLock::new();
    if let Some(roots) = SYSTEM.get() {
        return Ok(Roots::Any(Arc::clone(roots)));
    }
    let found = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs).await;
    let found = found.map_err(|_ended| unusable("the system's roots", &"the runtime ends"))?;
    if found.certs.is_empty() {
        let reasons: Vec<_> = found.errors.iter().map(ToString::to_string).collect();
        let text = format!(
            "there are none: install the system's CA certificates, or set SSL_CERT_FILE {}",
            reasons.join("; ")
        );
        return Err(unusable("the system's roots", &text));
    }
    Ok(Roots::Any(Arc::clone(SYSTEM.get_or_init(|| found.certs.into()))))
}
