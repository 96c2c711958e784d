//! [`FileSource`]: files, read when they change.
//!
//! Three small parts do the work: `watch_file` says that something happened, `read` says what is
//! there, `reload` (pure) says when to read and what the result means. Here they meet the clock.
//!
//! - All files are read and parsed together: a change of any is a new version of the whole. So is one of a file
//!   that they name beside them, if the parser says which ([`Beside`]).
//! - The version is the content hash (`xxhsum -H64`), so two processes with the same files say so.
//! - What is bad, removed or unreadable is reported once, and the last good stays in force.
//! - Reading and parsing happen on a blocking thread, never on one that serves calls. One that panics is reported once,
//!   and tried again a second later.
//!
//! What it doesn't do: know a format. The parser is an argument.

use super::Source;
use super::beside::Beside;
use super::read::{Reading, finished, read};
use super::reload::{Read, Reload, Verdict};
use super::sink::{RejectCause, Rejected, Sink};
use super::watch_file::Watch;
use futures_core::future::BoxFuture;
use mesh_core::time::saturating_nanos;
use mesh_core::update::Origin;
use mesh_core::{ConfigUpdate, Timestamp};
use std::collections::BTreeSet;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

/// When files are read again whose reading panicked.
const AGAIN: Duration = Duration::from_secs(1);

/// Texts with their paths in, a configuration or what is wrong with them out. The origin is filled
/// in by the source.
type Parse = dyn Fn(&[(PathBuf, String)]) -> Result<ConfigUpdate, Rejected> + Send + Sync;

/// One configuration in one or more files, followed as they change.
///
/// Files may be edited in place, replaced by a rename, be symbolic links or lie behind some, as
/// Kubernetes mounts them; they may be missing at first. A file may have 16 MiB at most.
///
/// A path may be a directory: it stands for the `*.yaml` in it, in the order of their names, without those
/// whose name begins with a dot; at most 1024. Files that are added to it or removed from it are a change like
/// another; an empty directory, or none, is reported, and the last good stays. So that a file that is replaced
/// in two steps is not missed for a moment, a file must be gone for 250 ms before it counts.
pub struct FileSource {
    paths: Arc<[PathBuf]>,
    parse: Arc<Parse>,
    beside: Arc<Beside>,
    poll_interval: Duration,
    watch: fn() -> Watch,
}

impl FileSource {
    /// Time between two readings when the system reports no change.
    pub const POLL_INTERVAL: Duration = Duration::from_secs(3);

    /// Follows `paths`; `parse` gets the text of all of their files, in this order, whenever one changed.
    ///
    /// `parse` runs on a blocking thread. If it panics, the content counts as invalid.
    #[must_use]
    pub fn with_parser<P>(paths: impl IntoIterator<Item = impl Into<PathBuf>>, parse: P) -> Self
    where
        P: Fn(&[(PathBuf, String)]) -> Result<ConfigUpdate, Rejected> + Send + Sync + 'static,
    {
        Self {
            paths: paths.into_iter().map(Into::into).collect(),
            parse: Arc::new(parse),
            beside: Arc::default(),
            poll_interval: Self::POLL_INTERVAL,
            watch: Watch::new,
        }
    }

    /// Follows as well what the parser reads by `beside`.
    #[must_use]
    pub fn beside(mut self, beside: Arc<Beside>) -> Self {
        self.beside = beside;
        self
    }

    /// Reads this often without an event, at least every 10 ms. Default
    /// [`POLL_INTERVAL`](Self::POLL_INTERVAL).
    #[must_use]
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.poll_interval = interval.max(Duration::from_millis(10));
        self
    }

    async fn run(self, sink: Sink) {
        let origin = Instant::now();
        let now = || Timestamp::from_nanos(saturating_nanos(origin.elapsed()));
        let mut reload = Reload::new(self.poll_interval, now());
        let mut report = Report::new(&self.paths, sink);
        let mut in_force = Vec::new();
        let mut watch = (self.watch)();
        let mut happened = watch.happened();
        loop {
            let (due, why) = reload.poll_timeout();
            let wait = due.saturating_duration_since(now());
            tokio::select! {
                biased;
                () = report.sink.closed() => return,
                // Before the events: a stream of them must not keep us from reading.
                () = sleep(wait) => {}
                () = report.sink.interests().reload_wanted() => {
                    reload.handle_event(now());
                    continue;
                }
                () = happened.notified() => {
                    reload.handle_event(now());
                    continue;
                }
            }
            let (paths, parse, judged) = (self.paths.clone(), self.parse.clone(), reload.judged());
            let beside = self.beside.clone();
            let job = spawn_blocking(move || {
                // Watched first: what changes while we read is then an event.
                let named = beside.paths();
                watch.follow(&[&*paths, &named].concat());
                let loaded = Loaded::load(&paths, &*parse, &beside, judged);
                // What it names only now changes unseen for once, until the next reading.
                if beside.paths() != named {
                    watch.follow(&[&*paths, &beside.paths()].concat());
                }
                (watch, loaded)
            });
            let Some((returned, loaded)) = finished(job).await else {
                // The watch went with it.
                watch = (self.watch)();
                happened = watch.happened();
                reload.handle_no_read(now());
                reload.read_by(now() + AGAIN);
                report.fell();
                continue;
            };
            watch = returned;
            let verdict =
                reload.handle_read(loaded.fingerprint, loaded.read(judged, &in_force), now());
            tracing::trace!(why, ?verdict, "read the configuration");
            if verdict == Verdict::Publish {
                in_force.clone_from(&loaded.files);
            }
            let is_in_force = judged[0] == Some(loaded.fingerprint);
            report.handle(verdict, loaded);
            report.stands(is_in_force && verdict == Verdict::Unchanged);
        }
    }
}

impl Source for FileSource {
    fn start(self: Box<Self>, sink: Sink) -> BoxFuture<'static, ()> {
        Box::pin(self.run(sink))
    }
}

impl fmt::Debug for FileSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileSource")
            .field("paths", &self.paths)
            .field("poll_interval", &self.poll_interval)
            .finish_non_exhaustive()
    }
}

/// What came of reading and parsing.
struct Loaded {
    fingerprint: u64,
    /// What was read.
    files: Vec<PathBuf>,
    /// `None`: this content was judged before.
    parsed: Option<Result<ConfigUpdate, Rejected>>,
}

impl Loaded {
    fn load(paths: &[PathBuf], parse: &Parse, beside: &Beside, judged: [Option<u64>; 2]) -> Self {
        let Reading { fingerprint: documents, texts } = read(paths);
        let fingerprint = beside.fingerprint_now(documents);
        let files = texts.iter().flatten().map(|(path, _)| path.clone()).collect();
        if judged.contains(&Some(fingerprint)) {
            return Self { fingerprint, files, parsed: None };
        }
        beside.forget();
        let parsed = texts.and_then(|texts| {
            // A parser that fell over must not end the reloading of what follows.
            catch_unwind(AssertUnwindSafe(|| parse(&texts)))
                .unwrap_or_else(|_| Err(Rejected::invalid(["the parser panicked".to_owned()])))
        });
        // Of what the parser saw: it may have changed since.
        Self { fingerprint: beside.fingerprint(documents), files, parsed: Some(parsed) }
    }

    /// What it is, after the files that are in force.
    fn read(&self, [published, _]: [Option<u64>; 2], in_force: &[PathBuf]) -> Read {
        let is_here = || self.files.iter().collect::<BTreeSet<_>>();
        match &self.parsed {
            None if published == Some(self.fingerprint) => Read::Good,
            None | Some(Err(_)) => Read::Bad,
            Some(Ok(_)) if is_here().is_superset(&in_force.iter().collect()) => Read::Good,
            Some(Ok(_)) => Read::Fewer,
        }
    }
}

/// Tells the sink and the log.
struct Report {
    sink: Sink,
    /// The paths, as one name.
    source: Arc<str>,
    published: Option<Origin>,
    /// The last reading panicked, which was reported.
    has_fallen: bool,
}

impl Report {
    fn new(paths: &[PathBuf], sink: Sink) -> Self {
        let names = paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>();
        Self { sink, source: names.join(", ").into(), published: None, has_fallen: false }
    }

    fn handle(&mut self, verdict: Verdict, loaded: Loaded) {
        let version = format!("{:016x}", loaded.fingerprint);
        match (verdict, loaded.parsed) {
            (Verdict::Publish, Some(Ok(mut update))) => {
                update.origin = Origin::new(self.source.clone(), version);
                tracing::info!(source = &*self.source, version = &*update.origin.version, "loaded");
                self.published = Some(update.origin.clone());
                self.sink.publish(update);
            }
            (Verdict::Report, Some(Err(mut rejected))) => {
                // Without content there is no version of it.
                let version = match rejected.cause {
                    RejectCause::Invalid => version,
                    RejectCause::Missing | RejectCause::Unreadable => String::new(),
                };
                rejected.origin = Origin::new(self.source.clone(), version);
                self.reject(rejected);
            }
            (Verdict::Restored, _) => self.restored(),
            (Verdict::Unchanged | Verdict::Hold | Verdict::Publish | Verdict::Report, _) => {}
        }
    }

    /// Nothing could be read, for the reading panicked.
    fn fell(&mut self) {
        if !std::mem::replace(&mut self.has_fallen, true) {
            let why = "reading the files panicked; they are read again".to_owned();
            let mut rejected = Rejected::new(RejectCause::Unreadable, [why]);
            rejected.origin = Origin::new(self.source.clone(), "");
            self.reject(rejected);
        }
    }

    /// A reading has come to its end; `is_as_before`: what is there is in force.
    fn stands(&mut self, is_as_before: bool) {
        if std::mem::take(&mut self.has_fallen) && is_as_before {
            self.restored();
        }
    }

    fn reject(&self, mut rejected: Rejected) {
        rejected.kept = match self.is_refused() {
            true => self.sink.in_force(),
            false => self.published.clone(),
        };
        tracing::warn!("{rejected}");
        self.sink.reject(rejected);
    }

    /// The files are what was published last. That may have been refused since: a parser does not know all
    /// that the mesh needs.
    fn restored(&self) {
        let Some(origin) = &self.published else { return };
        if self.is_refused() {
            let why = "it is again what the mesh refused before".to_owned();
            let mut rejected = Rejected::invalid([why]);
            rejected.origin = origin.clone();
            return self.reject(rejected);
        }
        tracing::info!(source = &*self.source, version = &*origin.version, "restored");
        self.sink.restored(origin.clone());
    }

    /// Whether the mesh could not put into force what was published last.
    fn is_refused(&self) -> bool {
        self.published.is_some() && self.sink.refused() == self.published
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests;
