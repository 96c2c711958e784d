//! [`Inputs`]: what the TLS of a filter chain is made of: its policy with all that it names put in.
//!
//! Two inputs are compared at each handshake: as long as they are equal, the configuration made of them
//! stays. Identities are equal when they are the same one; of files the content counts, looked at once a
//! second at most. A file that no chain names any more is let go of, and a certificate with its private key.

use crate::identity::named::{self, FRESH, One, of_identity, of_pair, origin, origin_of_pair};
use crate::identity::spiffe::{self, SpiffeTexts};
use crate::identity::{self, Credentials, Identities, Identity, NoIdentity};
use crate::source::read::{MAX_BYTES, finished, read_bytes};
use mesh_core::model::SanMatcher;
use mesh_core::model::secret::SecretSource;
use mesh_core::model::tls::{
    DownstreamTls, ResolvedIdentity, ResolvedRoots, ResolvedTls, SecretError, TlsIdentity,
    TlsRoots, UpstreamTls,
};
use mesh_core::update::Secrets;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::Metadata;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::task::spawn_blocking;
use tokio::time::Instant;

/// How often a file is looked at, at most.
const LOOK: Duration = Duration::from_secs(1);

/// Everything that a configuration of rustls depends on.
#[derive(Clone)]
pub(super) struct Inputs {
    pub(super) policy: Arc<DownstreamTls>,
    /// What we show.
    pub(super) own: Arc<Identity>,
    /// `None`: clients are not asked for certificates.
    pub(super) trust: Option<Trust>,
    pub(super) san: Vec<SanMatcher>,
    /// Clients without a certificate are refused.
    pub(super) wants_certificate: bool,
    /// What the policy's own lists revoke, in PEM.
    pub(super) crl: Option<Arc<[u8]>>,
}

/// Whom we believe.
#[derive(Clone)]
pub(super) enum Trust {
    /// Of an identity, with its lists of revoked certificates.
    Identity(Arc<identity::Trust>, Arc<str>),
    Pem(Arc<[u8]>, Arc<str>),
    /// The roots of trust domains.
    Spiffe(SpiffeTexts, Arc<str>),
    System,
}

/// Which parts of [`Inputs`] can be used by themselves. An identity in force can.
#[derive(Clone, Copy, Debug)]
pub(super) struct Good {
    pub(super) trust: bool,
    pub(super) crl: bool,
}

/// Why a chain has no TLS to offer now. Its handshakes fail.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum ServerTlsError {
    /// Its policy names no identity.
    #[error(
        "the filter chain has TLS and no identity to show: configure `identity`, or a certificate of its own"
    )]
    Nobody,
    /// The mesh's identity, or a provider's, is not there.
    #[error("{whose}: {error}")]
    NoIdentity {
        /// Whose.
        whose: Arc<str>,
        /// Why.
        error: NoIdentity,
    },
    /// There is no certificate provider of this name (gRFC A29).
    #[error("there is no certificate provider `{0}`: name one of the bootstrap file")]
    NoProvider(Arc<str>),
    /// A secret is missing or of the wrong kind.
    #[error("{0}")]
    Secret(SecretError),
    /// A file of what it shows is not there any more.
    #[error("{0}")]
    Gone(Arc<str>),
    /// Material can't be read or used.
    #[error("{origin}: {reason}")]
    Unusable {
        /// Which, and from where.
        origin: Arc<str>,
        /// What is wrong.
        reason: Arc<str>,
    },
}

impl PartialEq for Inputs {
    fn eq(&self, other: &Self) -> bool {
        let same = Arc::ptr_eq(&self.policy, &other.policy) || self.policy == other.policy;
        same && Arc::ptr_eq(&self.own, &other.own)
            && self.trust == other.trust
            && self.san == other.san
            && self.crl == other.crl
    }
}

impl PartialEq for Trust {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Identity(one, _), Self::Identity(two, _)) => Arc::ptr_eq(one, two),
            (Self::Pem(one, _), Self::Pem(two, _)) => one == two,
            (Self::Spiffe(one, _), Self::Spiffe(two, _)) => one == two,
            (Self::System, Self::System) => true,
            (Self::Identity(..) | Self::Pem(..) | Self::Spiffe(..) | Self::System, _) => false,
        }
    }
}

/// Files that were read, with their last content: those that a chain names, and no others.
#[derive(Default)]
pub(super) struct Files(Mutex<Held>);

#[derive(Default)]
struct Held {
    /// What each chain named last.
    named: BTreeMap<Arc<str>, BTreeSet<Arc<Path>>>,
    /// The certificates that chains name, by the names of the chains, with those of the certificates.
    certificates: BTreeMap<Arc<str>, (Arc<str>, Arc<One>)>,
    read: BTreeMap<Arc<Path>, Read>,
}

#[derive(Clone)]
struct Read {
    looked: Instant,
    stamp: Stamp,
    content: Arc<[u8]>,
}

impl Held {
    fn is_named(&self, path: &Path) -> bool {
        self.named.values().any(|paths| paths.contains(path))
    }

    /// Lets go of what nobody names.
    fn let_go(&mut self) {
        let mut read = std::mem::take(&mut self.read);
        read.retain(|path, _| self.is_named(path));
        self.read = read;
    }
}

impl fmt::Debug for Files {
    /// Paths alone: there are keys among the files.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.lock().read.keys()).finish()
    }
}

impl Files {
    /// `chain` names the files of `resolved` from now on.
    fn name(&self, chain: &Arc<str>, resolved: &ResolvedTls) {
        let paths = resolved.sources().filter_map(|source| match source {
            SecretSource::File(path) => Some(Arc::clone(path)),
            _ => None,
        });
        let paths: BTreeSet<_> = paths.collect();
        let mut held = self.0.lock();
        if held.named.get(chain) != Some(&paths) {
            held.named.insert(Arc::clone(chain), paths);
            held.let_go();
        }
    }

    /// Forgets what no policy names any more: of chains that are not there, or are not secured, all of it.
    pub(super) fn keep(&self, policy: impl Fn(&str) -> Option<Arc<DownstreamTls>>) {
        let mut held = self.0.lock();
        held.named.retain(|chain, _| policy(chain).is_some());
        held.certificates.retain(|chain, (name, _)| {
            policy(chain).and_then(|policy| of_identity(&policy.identity)).as_ref() == Some(name)
        });
        held.let_go();
    }

    /// `chain` shows none of its own, or not now.
    fn shows_another(&self, chain: &Arc<str>) {
        self.0.lock().certificates.remove(chain);
    }

    /// The certificate of this name, held as long as `chain` names it.
    fn certificate(
        &self,
        chain: &Arc<str>,
        name: &Arc<str>,
        credentials: &Credentials,
    ) -> Arc<One> {
        let mut held = self.0.lock();
        match held.certificates.get(chain) {
            Some((known, one)) if known == name => Arc::clone(one),
            _ => {
                let one = credentials.named(name);
                held.certificates.insert(Arc::clone(chain), (Arc::clone(name), Arc::clone(&one)));
                one
            }
        }
    }

    async fn content(&self, source: &SecretSource) -> Result<Arc<[u8]>, ServerTlsError> {
        match source {
            SecretSource::Inline(bytes) => Ok(Arc::clone(bytes)),
            SecretSource::File(path) => {
                self.read(path).await.map_err(|error| unusable(&path.display(), &error))
            }
            _ => Err(unusable(&"a secret", &"it is neither here nor in a file")),
        }
    }

    /// A file that can't be read any more is an error: what it held may have been withdrawn.
    async fn read(&self, path: &Arc<Path>) -> io::Result<Arc<[u8]>> {
        let now = Instant::now();
        let before = self.0.lock().read.get(path).cloned();
        if let Some(read) = before.as_ref().filter(|read| now.duration_since(read.looked) < LOOK) {
            return Ok(Arc::clone(&read.content));
        }
        let about = tokio::fs::metadata(&**path).await?;
        let stamp = stamp(&about);
        let content = match before.filter(|read| read.stamp == stamp) {
            Some(read) => read.content,
            None => whole(path).await?,
        };
        let read = Read { looked: now, stamp, content: Arc::clone(&content) };
        let mut held = self.0.lock();
        // Another handshake may have come with other paths meanwhile.
        if held.is_named(path) {
            held.read.insert(Arc::clone(path), read);
        }
        Ok(content)
    }
}

/// What changes with a file's content: also where all files have one time, another one is at the path, or was changed.
type Stamp = (Option<SystemTime>, u64, [u64; 4]);

fn stamp(about: &Metadata) -> Stamp {
    #[cfg(unix)]
    let which = {
        use std::os::unix::fs::MetadataExt as _;
        [
            about.dev(),
            about.ino(),
            about.ctime().cast_unsigned(),
            about.ctime_nsec().cast_unsigned(),
        ]
    };
    #[cfg(not(unix))]
    let which = [0; 4];
    (about.modified().ok(), about.len(), which)
}

async fn whole(path: &Arc<Path>) -> io::Result<Arc<[u8]>> {
    let job = Arc::clone(path);
    let read = spawn_blocking(move || read_bytes(&job, MAX_BYTES));
    let panicked = || io::Error::other("reading it panicked; it is read again");
    let content = finished(read).await.ok_or_else(panicked)??;
    match content.len() as u64 > MAX_BYTES {
        true => Err(io::Error::other("the file is larger than 16 MiB")),
        false => Ok(content.into()),
    }
}

pub(super) fn unusable(origin: &dyn fmt::Display, reason: &dyn fmt::Display) -> ServerTlsError {
    ServerTlsError::Unusable {
        origin: origin.to_string().into(),
        reason: reason.to_string().into(),
    }
}

impl Inputs {
    /// These, with the text that was good before in the place of one that is not: each by itself, so that a root that
    /// was taken out does not wait for a list, nor a renewed identity for roots. `None`: the policy is another one, or
    /// what is not good is no text. Whose identity is gone is not believed on.
    pub(super) fn mended_by(&self, before: &Self, good: Good) -> Option<Self> {
        let mut mended = self.clone();
        if !good.trust {
            let is_text =
                |trust: &Option<Trust>| matches!(trust, Some(Trust::Pem(..) | Trust::Spiffe(..)));
            if !is_text(&self.trust) || !is_text(&before.trust) {
                return None;
            }
            // They are of one secret.
            (mended.trust, mended.san) = (before.trust.clone(), before.san.clone());
            mended.wants_certificate = before.wants_certificate;
        }
        if !good.crl {
            mended.crl = Some(before.crl.clone()?);
        }
        (self.policy == before.policy).then_some(mended)
    }

    /// Gathers what the policy of a chain needs now.
    pub(super) async fn gather(
        (chain, policy): (&Arc<str>, &Arc<DownstreamTls>),
        secrets: &Secrets,
        credentials: &Credentials,
        files: &Files,
    ) -> Result<Self, ServerTlsError> {
        // Both sides name identities and roots alike, so one function puts the secrets in.
        let mut alike = UpstreamTls::default();
        alike.identity = policy.identity.clone();
        alike.roots = policy.roots.clone().unwrap_or(TlsRoots::System);
        alike.san = policy.san.clone();
        alike.crl = policy.crl.clone();
        let resolved = alike.resolve(secrets);
        let resolved = resolved.inspect_err(|_missing| files.shows_another(chain));
        let resolved = resolved.map_err(ServerTlsError::Secret)?;
        files.name(chain, &resolved);
        let own = own((chain, &policy.identity), &resolved.identity, credentials, files).await?;
        let trust = match policy.roots {
            Some(_) => Some(trust(&resolved.roots, credentials, files).await?),
            None => None,
        };
        let crl = match &resolved.crl {
            Some(source) => Some(files.content(source).await?),
            None => None,
        };
        let wants_certificate = policy.wants_certificate(Some(&resolved));
        let (policy, san) = (Arc::clone(policy), resolved.san);
        Ok(Self { policy, own, trust, san, wants_certificate, crl })
    }
}

async fn own(
    (of_chain, policy): (&Arc<str>, &TlsIdentity),
    identity: &ResolvedIdentity,
    credentials: &Credentials,
    files: &Files,
) -> Result<Arc<Identity>, ServerTlsError> {
    if !matches!(identity, ResolvedIdentity::Certificate(_)) {
        files.shows_another(of_chain);
    }
    let certificate = match identity {
        ResolvedIdentity::Mesh => return current(None, credentials),
        ResolvedIdentity::Provider(name) => return current(Some(name), credentials),
        ResolvedIdentity::Certificate(certificate) => certificate,
        _ => return Err(ServerTlsError::Nobody),
    };
    let name = of_pair(policy, certificate);
    let one = files.certificate(of_chain, &name, credentials);
    one.look(Some(&named::Held::Pair(certificate.clone())), FRESH).await;
    // What is gone may have been withdrawn.
    if let Some(why) = one.withdrawn() {
        return Err(ServerTlsError::Gone(why.into()));
    }
    let whose = origin_of_pair("the certificate", certificate);
    one.current().map_err(|error| ServerTlsError::NoIdentity { whose, error })
}

async fn trust(
    roots: &ResolvedRoots,
    credentials: &Credentials,
    files: &Files,
) -> Result<Trust, ServerTlsError> {
    let provider = match roots {
        ResolvedRoots::System => return Ok(Trust::System),
        ResolvedRoots::Mesh => None,
        ResolvedRoots::Provider(name) => Some(name),
        ResolvedRoots::Pem(source) => {
            let content = files.content(source).await?;
            return Ok(Trust::Pem(content, origin("the roots", source)));
        }
        ResolvedRoots::Spiffe(bundles) => {
            let mut texts = SpiffeTexts::default();
            for (domain, source) in bundles.sources() {
                texts.0.insert(domain.cloned(), files.content(source).await?);
            }
            return Ok(Trust::Spiffe(texts, spiffe::ORIGIN.into()));
        }
        _ => return Err(unusable(&"the roots", &"they are of a kind that is not known here")),
    };
    let (identities, whose) = whose(provider, credentials)?;
    match identities.trust() {
        Ok(trust) => Ok(Trust::Identity(trust, whose)),
        Err(error) => Err(ServerTlsError::NoIdentity { whose, error }),
    }
}

/// The identity in force of the mesh, or of a provider.
fn current(
    provider: Option<&Arc<str>>,
    credentials: &Credentials,
) -> Result<Arc<Identity>, ServerTlsError> {
    let (identities, whose) = whose(provider, credentials)?;
    identities.current().map_err(|error| ServerTlsError::NoIdentity { whose, error })
}

/// The identities of the mesh, or of a provider, and whose they are.
fn whose<'c>(
    provider: Option<&Arc<str>>,
    credentials: &'c Credentials,
) -> Result<(&'c Identities, Arc<str>), ServerTlsError> {
    let Some(name) = provider else {
        let own = credentials.own().ok_or(ServerTlsError::Nobody)?;
        return Ok((own, Arc::from("the mesh's identity")));
    };
    let found = credentials.provider(name);
    let found = found.ok_or_else(|| ServerTlsError::NoProvider(Arc::clone(name)))?;
    Ok((found, format!("the certificate provider `{name}`").into()))
}
