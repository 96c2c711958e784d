//! [`FileIdentity`]: certificates in files, read when they change.
//!
//! Whoever renews them replaces several files, one after the other: what is read in between does not fit
//! together. As with configuration, what is bad for a moment is held and looked at again, and told only
//! when it stays so (`source::reload`, pure); what is in force serves meanwhile.

use super::{Identity, IdentitySink, IdentitySource, InvalidIdentity, Material};
use crate::clock;
use crate::source::Rejected;
use crate::source::read::{Reading, read};
use crate::source::reload::{Read, Reload, Verdict};
use crate::source::watch_file::Watch;
use futures_core::future::BoxFuture;
use mesh_core::identity::RotationOptions;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::spawn_blocking;
use tokio::time::sleep_until;

/// A chain of certificates, its key and the roots, in PEM files that are followed as they change.
///
/// They may be replaced by renames or lie behind symbolic links, as Kubernetes mounts them. One file may be
/// named for several parts. A file may have 16 MiB at most.
#[derive(Clone, Debug)]
pub struct FileIdentity {
    /// Certificates, key, roots.
    paths: Arc<[PathBuf]>,
    poll_interval: Duration,
}

/// Why there is no identity in the files.
#[derive(Debug)]
enum Fault {
    Files(Rejected),
    Invalid(Arc<[PathBuf]>, InvalidIdentity),
}

/// What came of reading; `None`: this content was judged before.
type Judged = Option<Result<Identity, Fault>>;

impl FileIdentity {
    /// Time between two readings when the system reports no change.
    pub const POLL_INTERVAL: Duration = Duration::from_secs(3);

    /// Follows the files of a chain (the workload's certificate first), its private key, and the roots that
    /// peers are verified by.
    #[must_use]
    pub fn new(
        certificates: impl Into<PathBuf>,
        private_key: impl Into<PathBuf>,
        roots: impl Into<PathBuf>,
    ) -> Self {
        let paths = Arc::new([certificates.into(), private_key.into(), roots.into()]);
        Self { paths, poll_interval: Self::POLL_INTERVAL }
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
        let happened = watch.happened();
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
                () = sink.wanted() => {}
            }
            let (paths, verifier, judged) = (self.paths.clone(), sink.clone(), reload.judged());
            let job = spawn_blocking(move || {
                // Watched first: what changes while we read is then an event.
                watch.follow(&paths);
                let (fingerprint, found) = judge(&paths, &verifier, judged);
                (watch, fingerprint, found)
            });
            // The job does not panic; it is cancelled only with the runtime.
            let Ok((returned, fingerprint, found)) = job.await else { return };
            watch = returned;
            let is_good = match &found {
                Some(found) => found.is_ok(),
                None => judged[0] == Some(fingerprint),
            };
            let outcome = if is_good { Read::Good } else { Read::Bad };
            match (reload.handle_read(fingerprint, outcome, clock::now()), found) {
                (Verdict::Publish, Some(Ok(identity))) => sink.publish_verified(identity),
                (Verdict::Report, Some(Err(fault))) => sink.failed(&fault),
                (Verdict::Restored, _) => sink.restored(),
                _ => {}
            }
        }
    }
}

/// Reads and verifies; not what was judged before. It blocks.
fn judge(
    paths: &Arc<[PathBuf]>,
    verifier: &IdentitySink,
    judged: [Option<u64>; 2],
) -> (u64, Judged) {
    let Reading { fingerprint, texts } = read(paths);
    if judged.contains(&Some(fingerprint)) {
        return (fingerprint, None);
    }
    let found = texts.map_err(Fault::Files).and_then(|texts| {
        let [(_, chain), (_, key), (_, roots)] = texts.as_slice() else {
            return Err(Fault::Files(Rejected::invalid(["a file is missing".to_owned()])));
        };
        Material::from_pem(chain.as_bytes(), key.as_bytes(), roots.as_bytes())
            .and_then(|material| verifier.verify(material))
            .map_err(|error| Fault::Invalid(Arc::clone(paths), error))
    });
    (fingerprint, Some(found))
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

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Files(rejected) => f.write_str(&rejected.diagnostics.join("; ")),
            Self::Invalid(paths, error) => {
                for (at, path) in paths.iter().enumerate() {
                    let comma = if at == 0 { "" } else { ", " };
                    write!(f, "{comma}{}", path.display())?;
                }
                write!(f, ": {error}")
            }
        }
    }
}
