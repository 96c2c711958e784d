//! [`FileIdentity`]: certificates in files, read when they change.
//!
//! Whoever renews them replaces several files, one after the other: what is read in between does not fit
//! together. As with configuration, what is bad for a moment is held and looked at again, and told only
//! when it stays so (`source::reload`, pure); what is in force serves meanwhile.

use super::chain::Lists;
use super::error::Part;
use super::material::in_part;
use super::{
    IdentitySink, IdentitySource, InvalidIdentity, Material, Roots, Verified, authorities,
    bundle_map, certificates, private_key, revocation_lists,
};
use crate::clock;
use crate::source::Rejected;
use crate::source::read::{Reading, finished, read_files};
use crate::source::reload::Verdict::{Hold, Publish, Report, Restored, Unchanged};
use crate::source::reload::{Read, Reload, Verdict};
use crate::source::watch_file::Watch;
use futures_core::future::BoxFuture;
use mesh_core::identity::RotationOptions;
use rustls::pki_types::CertificateRevocationListDer;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::spawn_blocking;
use tokio::time::sleep_until;

/// A chain of certificates, its key and the roots, in files that are followed as they change: in PEM, and a
/// map of trust bundles in JSON.
///
/// They may be replaced by renames or lie behind symbolic links, as Kubernetes mounts them. One file may be
/// named for several parts. A file may have 16 MiB at most.
#[derive(Clone, Debug)]
pub struct FileIdentity {
    files: Vec<(Holds, PathBuf)>,
    foreign_roots: bool,
    poll_interval: Duration,
    pub(super) hook: Hook,
}

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holds {
    Chain,
    Key,
    Roots,
    Bundles,
    Revoked,
}

/// Why there is no identity in the files.
#[derive(Debug)]
enum Fault {
    Files(Rejected),
    /// And the lists of revoked certificates, as far as those can be used.
    Invalid(Arc<[PathBuf]>, InvalidIdentity, Vec<CertificateRevocationListDer<'static>>),
}

/// What is left to be done by the next reading.
#[derive(Debug, Default)]
struct Owed {
    /// Somebody waits for an answer.
    answer: bool,
    /// What is bad may be good at another time.
    may_ripen: bool,
    /// What was revoked since is in force without the rest.
    is_narrowed: bool,
}

/// What came of reading; `None`: this content was judged before.
type Judged = Option<Result<Verified, Fault>>;

impl FileIdentity {
    /// Time between two readings when the system reports no change.
    pub const POLL_INTERVAL: Duration = Duration::from_secs(3);

    /// Follows the files of a chain (the workload's certificate first), its private key, and the roots that
    /// peers are verified by. Lists of revoked certificates beside the roots count
    /// ([`and_revoked`](Self::and_revoked)).
    #[must_use]
    pub fn new(
        certificates: impl Into<PathBuf>,
        private_key: impl Into<PathBuf>,
        roots: impl Into<PathBuf>,
    ) -> Self {
        Self::pair(certificates, private_key).with(Holds::Roots, roots.into())
    }

    /// Follows a chain and its private key only. Without [roots](Self::and_roots) or
    /// [bundles](Self::and_trust_bundles) no peer is believed.
    #[must_use]
    pub fn pair(certificates: impl Into<PathBuf>, private_key: impl Into<PathBuf>) -> Self {
        let nobody = Self::of(Vec::new());
        nobody.with(Holds::Chain, certificates.into()).with(Holds::Key, private_key.into())
    }

    /// Follows roots only: there is nothing to show to peers.
    #[must_use]
    pub fn roots(roots: impl Into<PathBuf>) -> Self {
        Self::of(vec![(Holds::Roots, roots.into())])
    }

    /// Follows a SPIFFE trust bundle map only: there is nothing to show to peers.
    #[must_use]
    pub fn trust_bundles(map: impl Into<PathBuf>) -> Self {
        Self::of(vec![(Holds::Bundles, map.into())])
    }

    /// With roots in PEM.
    #[must_use]
    pub fn and_roots(self, roots: impl Into<PathBuf>) -> Self {
        self.with(Holds::Roots, roots.into())
    }

    /// With roots by trust domain, in a SPIFFE trust bundle map. It takes the place of roots in PEM, which are
    /// not even read (gRFC A87); [`bundle_map`](super::bundle_map()) has its rules.
    #[must_use]
    pub fn and_trust_bundles(self, map: impl Into<PathBuf>) -> Self {
        self.with(Holds::Bundles, map.into())
    }

    /// With lists of revoked certificates in PEM; several files may be named. Our own certificate is refused
    /// when one of them revokes it.
    #[must_use]
    pub fn and_revoked(self, lists: impl Into<PathBuf>) -> Self {
        self.with(Holds::Revoked, lists.into())
    }

    /// The chain need not lead to the roots: those who issue for us and for our peers differ. Default: it must.
    #[must_use]
    pub const fn with_foreign_roots(mut self) -> Self {
        self.foreign_roots = true;
        self
    }

    const fn of(files: Vec<(Holds, PathBuf)>) -> Self {
        Self { files, foreign_roots: false, poll_interval: Self::POLL_INTERVAL, hook: Hook::NONE }
    }

    /// Puts a file in the place of what holds the same; there may be several lists of revoked certificates.
    fn with(mut self, holds: Holds, path: PathBuf) -> Self {
        let replaced = match holds {
            Holds::Chain | Holds::Key | Holds::Revoked => None,
            Holds::Roots if self.files.iter().any(|(held, _)| *held == Holds::Bundles) => {
                return self;
            }
            Holds::Roots | Holds::Bundles => Some([Holds::Roots, Holds::Bundles]),
        };
        self.files.retain(|(held, _)| replaced.is_none_or(|replaced| !replaced.contains(held)));
        self.files.push((holds, path));
        self
    }

    /// Reads this often without an event, at least every 10 ms. Default
    /// [`POLL_INTERVAL`](Self::POLL_INTERVAL).
    #[must_use]
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.poll_interval = interval.max(Duration::from_millis(10));
        self
    }

    async fn run(self, sink: IdentitySink) {
        let mut reload = Reload::new(self.poll_interval, clock::now());
        let mut watch = Watch::new();
        let files = Arc::new(self);
        let mut happened = watch.happened();
        let mut owed = Owed::default();
        loop {
            let (due, _) = reload.poll_timeout();
            tokio::select! {
                biased;
                // Before the events: a stream of them must not keep us from reading.
                () = sleep_until(clock::instant(due)) => {}
                () = happened.notified() => {
                    reload.handle_event(clock::now());
                    continue;
                }
                () = sink.wanted() => owed.answer = true,
            }
            let judged = owed.judged(reload.judged());
            let (files, verifier) = (Arc::clone(&files), sink.clone());
            let job = spawn_blocking(move || {
                let paths: Arc<[PathBuf]> =
                    files.files.iter().map(|(_, path)| path.clone()).collect();
                // Watched first: what changes while we read is then an event.
                watch.follow(&paths);
                let (fingerprint, found) = files.judge(&paths, &verifier, judged);
                (watch, fingerprint, found)
            });
            let Some((returned, fingerprint, found)) = finished(job).await else {
                // The watch went with it.
                watch = Watch::new();
                happened = watch.happened();
                owed.answer = false;
                reload.handle_no_read(clock::now());
                sink.failed(&"reading the files panicked; they are read again");
                continue;
            };
            watch = returned;
            let is_good = match &found {
                Some(found) => found.is_ok(),
                None => judged[0] == Some(fingerprint),
            };
            let outcome = if is_good { Read::Good } else { Read::Bad };
            let now = clock::now();
            let verdict = reload.handle_read(fingerprint, outcome, now);
            let ripens = found.as_ref().and_then(|found| found.as_ref().err()?.ripens());
            if let Some(after) = ripens {
                reload.read_by(now + after);
            }
            owed.may_ripen = ripens.is_some();
            owed.tell(&sink, verdict, found);
        }
    }

    /// Reads and verifies; not what was judged before. It blocks.
    fn judge(
        &self,
        paths: &Arc<[PathBuf]>,
        verifier: &IdentitySink,
        judged: [Option<u64>; 2],
    ) -> (u64, Judged) {
        self.hook.reads();
        let Reading { fingerprint, texts } = read_files(paths.to_vec());
        if judged.contains(&Some(fingerprint)) {
            return (fingerprint, None);
        }
        let found = texts.map_err(Fault::Files).and_then(|texts| {
            let material = self.material(texts.iter().map(|(_, text)| text.as_str()));
            material
                .and_then(|material| verifier.verify(material))
                .map_err(|error| Fault::Invalid(Arc::clone(paths), error, self.lists(&texts)))
        });
        (fingerprint, Some(found))
    }

    /// The lists of revoked certificates in these files; none, if one can't be used.
    fn lists(&self, texts: &[(PathBuf, String)]) -> Vec<CertificateRevocationListDer<'static>> {
        let files = self.files.iter().zip(texts);
        let lists = files.map(|((holds, _), (_, text))| match holds {
            Holds::Revoked => revocation_lists(text.as_bytes()),
            Holds::Roots => authorities(text.as_bytes()).map(|(_, lists)| lists),
            Holds::Chain | Holds::Key | Holds::Bundles => Ok(Vec::new()),
        });
        let lists: Result<Vec<_>, _> = lists.collect();
        Lists::usable(lists.map(|lists| lists.concat()).unwrap_or_default())
    }

    /// Of the texts of the files, in their order.
    fn material<'a>(
        &self,
        texts: impl Iterator<Item = &'a str>,
    ) -> Result<Material, InvalidIdentity> {
        let (mut chain, mut key, mut roots, mut revoked) = (None, None, None, Vec::new());
        for ((holds, _), text) in self.files.iter().zip(texts) {
            let pem = text.as_bytes();
            match holds {
                Holds::Chain => chain = Some(in_part(Part::Certificates, certificates(pem))?),
                Holds::Key => key = Some(in_part(Part::PrivateKey, private_key(pem))?),
                Holds::Roots => {
                    let (signers, mut lists) = in_part(Part::Roots, authorities(pem))?;
                    roots = Some(Roots::Any(signers.into()));
                    revoked.append(&mut lists);
                }
                Holds::Bundles => roots = Some(bundle_map(text)?),
                Holds::Revoked => {
                    revoked.append(&mut in_part(Part::RevocationLists, revocation_lists(pem))?);
                }
            }
        }
        let material = Material::of(chain.zip(key), roots).with_revoked(revoked);
        Ok(if self.foreign_roots { material.with_foreign_roots() } else { material })
    }
}

impl IdentitySource for FileIdentity {
    fn start(self: Box<Self>, sink: IdentitySink) -> BoxFuture<'static, ()> {
        Box::pin(self.run(sink))
    }

    /// Never: somebody else renews them.
    fn rotation(&self) -> RotationOptions {
        let mut options = RotationOptions::default();
        options.renew_at = None;
        options
    }
}

impl Owed {
    /// What need not be judged again, of what was judged before: in force, and reported.
    const fn judged(&self, [in_force, reported]: [Option<u64>; 2]) -> [Option<u64>; 2] {
        match self {
            Self { is_narrowed: true, .. } => [None, None],
            Self { answer: true, .. } | Self { may_ripen: true, .. } => [in_force, None],
            Self { .. } => [in_force, reported],
        }
    }

    /// Tells what a reading means.
    fn tell(&mut self, sink: &IdentitySink, verdict: Verdict, found: Judged) {
        let was_wanted = self.answer && verdict != Hold;
        self.answer &= !was_wanted;
        if let (Report | Unchanged, Some(Err(Fault::Invalid(_, _, lists)))) = (verdict, &found) {
            self.is_narrowed |= sink.revoke(lists);
        }
        match (verdict, found) {
            (Publish, Some(Ok(identity))) => {
                self.is_narrowed = false;
                sink.publish_verified(identity);
            }
            (Restored, Some(Ok(identity))) if self.is_narrowed => {
                self.is_narrowed = false;
                sink.publish_verified(identity);
            }
            (Report, Some(Err(fault))) => sink.failed(&fault),
            (Unchanged, Some(Err(fault))) if was_wanted => sink.failed_again(&fault),
            (Restored, _) => {
                sink.restored();
                sink.unchanged();
            }
            (Unchanged, _) if was_wanted => sink.unchanged(),
            _ => {}
        }
    }
}

impl Fault {
    /// When it may be none any more although nothing changes but the time; `None`: never.
    const fn ripens(&self) -> Option<Duration> {
        match self {
            Self::Invalid(_, error, _) => error.ripens(),
            Self::Files(_) => None,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Files(rejected) => f.write_str(&rejected.diagnostics.join("; ")),
            Self::Invalid(paths, error, _) => {
                for (at, path) in paths.iter().enumerate() {
                    let comma = if at == 0 { "" } else { ", " };
                    write!(f, "{comma}{}", path.display())?;
                }
                write!(f, ": {error}")
            }
        }
    }
}

/// What a test has happen at a reading: nothing, but in tests.
#[cfg(not(test))]
#[derive(Clone, Copy, Debug)]
pub(super) struct Hook;

#[cfg(not(test))]
impl Hook {
    pub(super) const NONE: Self = Self;

    #[expect(clippy::unused_self, reason = "in tests it knows more")]
    pub(super) const fn reads(self) {}
}

/// The next reading panics if it is so.
#[cfg(test)]
#[derive(Clone, Debug)]
pub(super) struct Hook(pub(super) Option<Arc<std::sync::atomic::AtomicBool>>);

#[cfg(test)]
impl Hook {
    pub(super) const NONE: Self = Self(None);

    pub(super) fn reads(&self) {
        let panics = self
            .0
            .as_ref()
            .is_some_and(|hook| hook.swap(false, std::sync::atomic::Ordering::SeqCst));
        assert!(!panics, "the test wants it");
    }
}
