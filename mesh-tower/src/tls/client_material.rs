//! What a handshake is made with: our own pair, and whom we believe, as of this moment.
//!
//! An identity in force is asked for at each handshake, so a renewed one serves the next. A certificate that a cluster
//! names itself is one, too: what secrets and files hold is taken in at each handshake
//! ([`named`](crate::identity::named)). Roots and lists are parsed when they change. A file is looked at when a handshake wants it, at most once a
//! second, off the call path, whether it is there or not. What can't be read, or does not fit together (files
//! are replaced one after the other), changes nothing, wherever it comes from: the last good one serves until
//! its own end, also of another file, and of roots of another kind. Each of roots, lists and certificates tells once what
//! is wrong with it ([`Slot`]), and again when it was good in between.

use super::client_refused::NotSecured;
use super::client_verify::Believed;
use crate::identity::anchors::usable;
use crate::identity::chain::{Lists, Unlisted};
use crate::identity::named::{FRESH, Held, One, of_pair, origin, origin_of_pair};
use crate::identity::spiffe::{self, SpiffeTexts};
use crate::identity::{
    CertificateError, Credentials, Identities, Identity, NoIdentity, Roots, authorities,
    revocation_lists,
};
use crate::source::read::{MAX_BYTES, finished, read_bytes};
use mesh_core::model::secret::SecretSource;
use mesh_core::model::tls::{
    ResolvedIdentity, ResolvedRoots, ResolvedTls, SpiffeBundles, TlsIdentity,
};
use mesh_core::outcome::ConnectFailure;
use parking_lot::Mutex;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::time::Instant;

/// No file is looked at more often.
const LOOK: Duration = Duration::from_secs(1);

/// Lists of revoked certificates.
type Crl = Arc<[CertificateRevocationListDer<'static>]>;

/// Who signs, as it was read: the text, where it comes from in words, and which kind it is.
#[derive(Clone, PartialEq)]
enum RootTexts {
    Pem(Arc<[u8]>, Arc<str>),
    Spiffe(SpiffeTexts),
}

/// What was read for one cluster, kept until it changes.
#[derive(Default)]
pub(super) struct Kept {
    files: Mutex<BTreeMap<Arc<Path>, File>>,
    /// The certificate that is named, by its name.
    pair: Mutex<Option<(Arc<str>, Arc<One>)>>,
    /// One for all kinds: a secret that becomes another kind, and can't be used, changes nothing.
    roots: Mutex<Slot<RootTexts, Believed>>,
    crl: Mutex<Slot<Arc<[u8]>, Crl>>,
}

/// What was made of the bytes that were seen last, and the last of it that was good.
struct Slot<B, M> {
    seen: Option<(B, Result<M, CertificateError>)>,
    good: Option<M>,
    /// What is wrong, as it was told, while the last good one stays.
    told: Option<String>,
}

impl<B, M> Default for Slot<B, M> {
    fn default() -> Self {
        Self { seen: None, good: None, told: None }
    }
}

#[derive(Clone)]
struct File {
    looked: Instant,
    content: Result<Arc<[u8]>, NotSecured>,
}

impl<B: PartialEq, M: Clone> Slot<B, M> {
    /// What was read of `origin` comes to, or what was good before, if it is not.
    ///
    /// # Errors
    /// Nothing was good before.
    fn of(
        &mut self,
        read: Result<B, NotSecured>,
        origin: &str,
        make: impl FnOnce(&B) -> Result<M, CertificateError>,
    ) -> Result<M, NotSecured> {
        let made = read.and_then(|bytes| {
            if self.seen.as_ref().is_none_or(|(seen, _)| *seen != bytes) {
                let made = make(&bytes);
                self.seen = Some((bytes, made));
            }
            let made = self.seen.as_ref().map(|(_, made)| made.clone());
            let made = made.unwrap_or(Err(CertificateError::NoCertificate));
            made.map_err(|error| unusable(origin, &error))
        });
        match (made, &self.good) {
            (Ok(made), _) => {
                (self.good, self.told) = (Some(made.clone()), None);
                Ok(made)
            }
            (Err(error), Some(good)) => {
                let why = error.to_string();
                if self.told.as_ref() != Some(&why) {
                    tracing::warn!(target: "mesh::tls", "the last good one stays: {why}");
                    self.told = Some(why);
                }
                Ok(good.clone())
            }
            (Err(error), None) => Err(error),
        }
    }
}

impl RootTexts {
    fn believed(&self) -> Result<Believed, CertificateError> {
        match self {
            Self::Pem(bytes, origin) => {
                let (roots, beside) = authorities(bytes)?;
                let roots = Roots::Any(roots.into());
                usable(&roots)?;
                let crl = Some(usable_lists(beside)?).filter(|beside| !beside.is_empty());
                Ok(Believed { crl, ..plain(roots, Arc::clone(origin)) })
            }
            Self::Spiffe(texts) => {
                let (roots, listed) = texts.roots()?;
                usable(&roots)?;
                listed.values().try_for_each(|lists| usable_lists(lists.clone()).map(drop))?;
                let (plain, listed) = (plain(roots, spiffe::ORIGIN.into()), Arc::new(listed));
                Ok(Believed { of_identity: true, only_uris: true, listed, ..plain })
            }
        }
    }
}

impl Kept {
    /// Who we are now, by what a policy says of it; `None`: nobody is to be shown.
    ///
    /// # Errors
    /// There is nobody who is valid now: it fails closed.
    pub(super) async fn own(
        &self,
        (named, identity): (&TlsIdentity, &ResolvedIdentity),
        credentials: &Credentials,
    ) -> Result<Option<Arc<Identity>>, NotSecured> {
        Ok(Some(match identity {
            ResolvedIdentity::None => return Ok(None),
            ResolvedIdentity::Mesh => current(mesh(credentials)?, MESH)?,
            ResolvedIdentity::Provider(name) => {
                current(provider(credentials, name)?, &of_provider(name))?
            }
            ResolvedIdentity::Certificate(certificate) => {
                let name = of_pair(named, certificate);
                let one = self.named(&name, credentials);
                one.look(Some(&Held::Pair(certificate.clone())), FRESH).await;
                let origin = origin_of_pair("our certificate", certificate);
                one.current().map_err(|error| not_now(&error, &origin))?
            }
            _ => return Err(unusable("our identity", &"it is of a kind that is not known here")),
        }))
    }

    /// The certificate of this name, held as long as it is the one that is named.
    fn named(&self, name: &Arc<str>, credentials: &Credentials) -> Arc<One> {
        let mut pair = self.pair.lock();
        match &*pair {
            Some((held, one)) if held == name => Arc::clone(one),
            _ => {
                let one = credentials.named(name);
                *pair = Some((Arc::clone(name), Arc::clone(&one)));
                one
            }
        }
    }

    /// Lets go of the certificate: it is not there any more, and neither is its key here.
    pub(super) fn shows_nothing(&self) {
        *self.pair.lock() = None;
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
        let mut crl = self.crl.lock();
        crl.of(read, &origin, |bytes| usable_lists(revocation_lists(bytes)?)).map(Some)
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
                let read = read.map(|bytes| RootTexts::Pem(bytes, Arc::clone(&origin)));
                self.roots.lock().of(read, &origin, RootTexts::believed)
            }
            ResolvedRoots::Spiffe(bundles) => {
                let read = self.bundles(bundles).await.map(RootTexts::Spiffe);
                self.roots.lock().of(read, spiffe::ORIGIN, RootTexts::believed)
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
        let read = tokio::task::spawn_blocking(move || read_bytes(&job, MAX_BYTES));
        let read = finished(read).await;
        let read = read.ok_or_else(|| unusable(&path.display(), &PANICKED))?;
        let content = match (read.and_then(not_too_large), before.map(|file| file.content)) {
            (Ok(bytes), Some(Ok(before))) if *bytes == *before => Ok(before),
            (Ok(bytes), _) => Ok(bytes.into()),
            (Err(error), _) => Err(unusable(&path.display(), &error)),
        };
        let file = File { looked: now, content: content.clone() };
        self.files.lock().insert(Arc::clone(path), file);
        content
    }
}

const MESH: &str = "the mesh's identity";

/// What a job that reads came to.
const PANICKED: &str = "reading it panicked; the next handshake reads it again";

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

/// Whether lists can be used is known before they take the place of those that can.
fn usable_lists(
    lists: Vec<CertificateRevocationListDer<'static>>,
) -> Result<Crl, CertificateError> {
    Lists::read(&lists, Unlisted::Refused).map(|_read| lists.into())
}

/// Why a certificate that a cluster names can't be shown.
fn not_now(error: &NoIdentity, origin: &str) -> NotSecured {
    let failure = match error {
        NoIdentity::NotYet { .. } => ConnectFailure::SecretUnavailable,
        _ => ConnectFailure::IdentityUnavailable,
    };
    NotSecured::new(failure, format_args!("{origin}: {error}"))
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
    let found = finished(tokio::task::spawn_blocking(rustls_native_certs::load_native_certs)).await;
    let found = found.ok_or_else(|| unusable("the system's roots", &PANICKED))?;
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
