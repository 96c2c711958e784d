//! Key sets: fetched by one at a time, kept, and fetched again before they end.
//!
//! ```text
//!            cache_duration           as long again
//!  fetched ───────────────> stale ───────────────────> over
//!   good                    good, and fetched anew      waited for
//! ```
//!
//! - A server that hangs, fails or sends garbage changes nothing for whoever has good keys: they stay until
//!   their own end.
//! - A file that is used is read anew every [`FILE_LOOK`], so that a key that was taken out is gone; one that can't be read
//!   leaves its last good keys.
//! - A key that is not in the set is looked for again, at most every [`UNKNOWN_KEY`], whether that succeeds or not:
//!   whoever rotates keys signs with the new one at once.
//! - After a failure nobody is asked for `failed_refetch` (Envoy: 1 s), and who wants keys gets none at
//!   once.
//! - Keys that are wanted early (Envoy: `async_fetch`) are fetched without a request, now and whenever it is time, as
//!   long as a configuration wants them.
//! - A fetch ends, whatever becomes of it: it has its time, of a file as of a server ([`LONGEST`]), and one that
//!   panics or is dropped has failed.

use super::call::{Caller, uri};
use crate::{MeshBody, clock};
use arc_swap::{ArcSwap, ArcSwapOption};
use http::{Request, StatusCode, Uri};
use mesh_core::Timestamp;
use mesh_core::filter::ask::AskFailureKind;
use mesh_core::filter::jwt::{KeySet, Keys, MAX_JWKS, Token};
use mesh_core::model::http_filter::{JwksSource, RemoteJwks};
use parking_lot::Mutex;
use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::runtime::Handle;
use tokio::sync::watch;

/// How long a fetch may take that is given no time, and a file may be read.
const LONGEST: Duration = Duration::from_secs(60);
/// The most sources whose key sets are kept: those that were used last. Each is of a configuration that is, or just was, in
/// force; of more, those that are let go of are fetched anew when they are wanted.
const MAX_SETS: usize = 1024;
/// How often a set is fetched anew for a key that it has not.
const UNKNOWN_KEY: Duration = Duration::from_secs(5);
/// Keys that are wanted early are fetched no more often without a request.
const EARLY_LEAST: Duration = Duration::from_secs(1);
/// When a file that can't be used is read again.
const FILE_RETRY: Duration = Duration::from_secs(1);
/// How often a file that is used is read anew: what a configuration is made of may be replaced, and its path the same.
const FILE_LOOK: Duration = Duration::from_secs(10);

/// The key sets of all providers.
pub(super) struct KeyStore {
    caller: Caller,
    runtime: Handle,
    /// Read by requests, written when a provider's keys are wanted for the first time.
    sets: ArcSwap<Vec<Known>>,
    adding: Mutex<()>,
}

/// A source as a configuration has it, and its key set. Alike ones, of this configuration or of one after another, have
/// the same; so a request only looks at where its source is.
#[derive(Clone)]
struct Known {
    source: Arc<JwksSource>,
    entry: Arc<Entry>,
}

/// One key set.
struct Entry {
    source: Arc<JwksSource>,
    good: ArcSwapOption<Good>,
    used: AtomicU64,
    flight: Mutex<Flight>,
    /// Counts the fetches that ended.
    ended: watch::Sender<u64>,
}

struct Good {
    keys: Arc<KeySet>,
    fetched: Timestamp,
    stale: Timestamp,
    over: Timestamp,
}

#[derive(Default)]
struct Flight {
    running: bool,
    /// Nobody is asked before; `None`: any time.
    not_before: Option<Timestamp>,
    /// When a fetch for a key that is not in the set began last.
    for_unknown: Option<Timestamp>,
    /// Somebody looks after it, whether requests come or not.
    is_kept: bool,
}

/// What a fetch is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum For {
    /// There are no keys, or they are old.
    Keys,
    /// The set has not the key of a token.
    UnknownKey,
}

/// What there is of the keys that a token wants.
#[derive(Debug)]
pub(super) enum Sought {
    Keys(Arc<KeySet>),
    /// They are being fetched.
    Coming,
    /// There are none, and nobody can be asked now.
    None,
}

impl Known {
    /// Whether no configuration has the source any more.
    fn is_gone(&self) -> bool {
        let own = 1 + usize::from(Arc::ptr_eq(&self.source, &self.entry.source));
        Arc::strong_count(&self.source) <= own
    }
}

impl KeyStore {
    pub(super) fn new(caller: Caller, runtime: Handle) -> Self {
        Self { caller, runtime, sets: ArcSwap::default(), adding: Mutex::new(()) }
    }

    /// The keys for `token`, as far as they are here; fetches those that are not, or soon will not be.
    pub(super) fn get(self: &Arc<Self>, keys: &Keys, token: &Token, now: Timestamp) -> Sought {
        let source = match keys {
            Keys::Here(keys) => return Sought::Keys(Arc::clone(keys)),
            Keys::At(source) => source,
            // Keys that are somewhere that is newer than this.
            _ => return Sought::None,
        };
        let entry = self.entry(source, now);
        match entry.good.load_full().filter(|good| now < good.over) {
            Some(good) => {
                let fits = good.keys.for_token(token).next().is_some();
                let asks_again = now >= good.fetched + UNKNOWN_KEY;
                if !fits && asks_again && self.fetch(&entry, For::UnknownKey, now) {
                    return Sought::Coming;
                }
                if now >= good.stale {
                    self.fetch(&entry, For::Keys, now);
                }
                Sought::Keys(Arc::clone(&good.keys))
            }
            None if self.fetch(&entry, For::Keys, now) => Sought::Coming,
            None => Sought::None,
        }
    }

    /// Waits for the keys for `token`: for one fetch at most.
    pub(super) async fn wait(self: &Arc<Self>, keys: &Keys, token: &Token) -> Option<Arc<KeySet>> {
        let Keys::At(source) = keys else {
            return match self.get(keys, token, clock::now()) {
                Sought::Keys(keys) => Some(keys),
                Sought::Coming | Sought::None => None,
            };
        };
        let asked = clock::now();
        let entry = self.entry(source, asked);
        // Before it is asked for, so that no end is missed.
        let mut ended = entry.ended.subscribe();
        match self.get(keys, token, clock::now()) {
            Sought::Keys(keys) => return Some(keys),
            Sought::None => return None,
            Sought::Coming => {}
        }
        ended.changed().await.ok()?;
        // What has come since is good, however briefly.
        let is_good = |good: &Arc<Good>| clock::now() < good.over || good.fetched >= asked;
        entry.good.load_full().filter(is_good).map(|good| Arc::clone(&good.keys))
    }

    /// Fetches keys before a request needs them, if that was not done yet, and from then on whenever it is time.
    #[expect(
        clippy::disallowed_methods,
        reason = "it ends with the store, and with the configurations that want it"
    )]
    pub(super) fn want(self: &Arc<Self>, source: &Arc<JwksSource>, now: Timestamp) {
        let entry = self.entry(source, now);
        if entry.good.load().is_none() {
            self.fetch(&entry, For::Keys, now);
        }
        if !std::mem::replace(&mut entry.flight.lock().is_kept, true) {
            drop(self.runtime.spawn(Self::keep(Arc::downgrade(self), entry)));
        }
    }

    /// Has keys fetched whenever it is time, as long as a configuration has their source.
    async fn keep(store: Weak<Self>, entry: Arc<Entry>) {
        let mut ended = entry.ended.subscribe();
        loop {
            while entry.flight.lock().running {
                // The sender is in the entry.
                let _ended = ended.changed().await;
            }
            let due = entry.due().max(clock::now() + EARLY_LEAST);
            tokio::time::sleep_until(clock::instant(due)).await;
            let Some(store) = store.upgrade() else { return };
            if !store.is_kept(&entry) {
                return;
            }
            let now = clock::now();
            if now >= entry.due() {
                store.fetch(&entry, For::Keys, now);
            }
        }
    }

    /// Whether it is to be looked after any longer. Whoever wants it later finds out whether anybody does.
    fn is_kept(&self, entry: &Arc<Entry>) -> bool {
        let mut flight = entry.flight.lock();
        let sets = self.sets.load_full();
        let mut own = sets.iter().filter(|known| Arc::ptr_eq(&known.entry, entry));
        flight.is_kept = own.any(|known| !known.is_gone());
        flight.is_kept
    }

    fn entry(&self, source: &Arc<JwksSource>, now: Timestamp) -> Arc<Entry> {
        let entry = find(&self.sets.load(), source).unwrap_or_else(|| self.add(source));
        entry.used.store(now.as_nanos(), Ordering::Relaxed);
        entry
    }

    /// A source that no request came with before: once per configuration.
    #[cold]
    fn add(&self, source: &Arc<JwksSource>) -> Arc<Entry> {
        let _one_at_a_time = self.adding.lock();
        let sets = self.sets.load_full();
        if let Some(entry) = find(&sets, source) {
            return entry;
        }
        let alike = sets.iter().find(|known| known.source == *source);
        let entry = match alike {
            Some(known) => Arc::clone(&known.entry),
            None => Arc::new(Entry::new(Arc::clone(source))),
        };
        // Those of configurations that are gone, to which this set belonged before.
        let is_gone = |known: &Known| Arc::ptr_eq(&known.entry, &entry) && known.is_gone();
        let mut sets: Vec<_> = sets.iter().filter(|known| !is_gone(known)).cloned().collect();
        if sets.len() >= MAX_SETS {
            let used = |known: &Known| known.entry.used.load(Ordering::Relaxed);
            sets.sort_by_key(|known| std::cmp::Reverse(used(known)));
            sets.truncate(MAX_SETS - 1);
        }
        sets.push(Known { source: Arc::clone(source), entry: Arc::clone(&entry) });
        self.sets.store(Arc::new(sets));
        entry
    }

    /// The sources that are known.
    #[cfg(test)]
    pub(super) fn sources(&self) -> Vec<Arc<JwksSource>> {
        self.sets.load().iter().map(|known| Arc::clone(&known.source)).collect()
    }

    /// Begins to fetch, unless somebody does; whether keys are coming.
    #[expect(
        clippy::disallowed_methods,
        reason = "the store owns it, and it ends with what it fetches"
    )]
    fn fetch(self: &Arc<Self>, entry: &Arc<Entry>, what: For, now: Timestamp) -> bool {
        let mut flight = entry.flight.lock();
        if flight.running {
            return true;
        }
        if flight.not_before.is_some_and(|not_before| now < not_before) {
            return false;
        }
        if what == For::UnknownKey {
            if flight.for_unknown.is_some_and(|last| now < last + UNKNOWN_KEY) {
                return false;
            }
            flight.for_unknown = Some(now);
        }
        flight.running = true;
        // A runtime that has ended drops the task here, and with it the fetch.
        drop(flight);
        let (store, flying) = (Arc::clone(self), Flying(Some(Arc::clone(entry))));
        // A task of its own: a request that is given up must not take others' keys with it.
        drop(self.runtime.spawn(flying.fetch(store)));
        true
    }

    async fn fetched(&self, source: &JwksSource) -> Result<KeySet, Arc<str>> {
        let timeout = match source {
            // Zero says that there is no limit, and nobody is waited for without one.
            JwksSource::Remote(remote) if !remote.http_uri.timeout.is_zero() => {
                remote.http_uri.timeout
            }
            _ => LONGEST,
        };
        let late = |_elapsed| Arc::from(format!("no answer within {timeout:?}"));
        let bytes = tokio::time::timeout(timeout, self.bytes(source)).await.map_err(late)??;
        KeySet::parse(&bytes).map_err(|wrong| Arc::from(wrong.to_string()))
    }

    async fn bytes(&self, source: &JwksSource) -> Result<bytes::Bytes, Arc<str>> {
        match source {
            JwksSource::File(path) => read(path).await,
            JwksSource::Remote(remote) => self.get_remote(remote).await,
            // Those that are in the configuration are never sought.
            _ => Err(Arc::from("the keys are nowhere")),
        }
    }

    async fn get_remote(&self, remote: &RemoteJwks) -> Result<bytes::Bytes, Arc<str>> {
        let text = |kind: AskFailureKind| Arc::from(kind.to_string());
        let parsed = remote.http_uri.uri.parse::<Uri>().ok();
        let authority = parsed.as_ref().and_then(Uri::authority).map_or("", |name| name.as_str());
        let path = parsed.as_ref().and_then(Uri::path_and_query).map_or("/", |path| path.as_str());
        let mut request = Request::new(MeshBody::empty());
        *request.uri_mut() = uri(authority, &remote.http_uri.cluster, path).map_err(text)?;
        let sent = self.caller.send(&remote.http_uri.cluster, request, MAX_JWKS).await;
        let (response, _) = sent.map_err(text)?;
        match response.status() {
            StatusCode::OK => Ok(response.into_body()),
            status => Err(Arc::from(format!("status {status}"))),
        }
    }
}

/// The key set of this very source.
fn find(sets: &[Known], source: &Arc<JwksSource>) -> Option<Arc<Entry>> {
    let known = sets.iter().find(|known| Arc::ptr_eq(&known.source, source));
    known.map(|known| Arc::clone(&known.entry))
}

/// A fetch on its way, which ends exactly once: as what came, or, when its task ends before that, as a failure.
struct Flying(Option<Arc<Entry>>);

impl Flying {
    async fn fetch(mut self, store: Arc<KeyStore>) {
        let Some(entry) = &self.0 else { return };
        let fetched = store.fetched(&entry.source).await;
        if let Some(entry) = self.0.take() {
            entry.ended(fetched);
        }
    }
}

impl Drop for Flying {
    /// What it asked panicked, or the runtime ends.
    fn drop(&mut self) {
        if let Some(entry) = self.0.take() {
            entry.ended(Err(Arc::from("the fetch was given up")));
        }
    }
}

async fn read(path: &Path) -> Result<bytes::Bytes, Arc<str>> {
    let unread = |error: std::io::Error| Arc::from(format!("{}: {error}", path.display()));
    // Before opening: opening a FIFO waits for a writer, and its thread with it.
    if !tokio::fs::metadata(path).await.map_err(unread)?.is_file() {
        let path = path.display();
        return Err(Arc::from(format!(
            "{path}: keys are read from a regular file, and it is none"
        )));
    }
    let file = tokio::fs::File::open(path).await.map_err(unread)?;
    let mut bytes = Vec::new();
    // One byte more than is taken, so that a file that is too large is seen.
    let most = u64::try_from(MAX_JWKS).unwrap_or(u64::MAX).saturating_add(1);
    file.take(most).read_to_end(&mut bytes).await.map_err(unread)?;
    Ok(bytes.into())
}

impl Entry {
    fn new(source: Arc<JwksSource>) -> Self {
        Self {
            source,
            good: ArcSwapOption::empty(),
            used: AtomicU64::new(0),
            flight: Mutex::default(),
            ended: watch::Sender::new(0),
        }
    }

    /// A fetch ended: keys take the place of those before, a failure takes nobody's.
    fn ended(&self, fetched: Result<KeySet, Arc<str>>) {
        let now = clock::now();
        let mut not_before = None;
        match fetched {
            Ok(keys) => {
                let (stale, over) = self.ends(now);
                // What was checked by the same keys is known by them.
                let same = self.good.load_full().filter(|good| *good.keys == keys);
                let keys = same.map_or_else(|| Arc::new(keys), |good| Arc::clone(&good.keys));
                let good = Good { keys, fetched: now, stale, over };
                self.good.store(Some(Arc::new(good)));
            }
            Err(why) => {
                let kept = self.good.load().is_some();
                tracing::warn!(
                    target: "mesh::filter",
                    source = %Named(&self.source), kept, %why,
                    "a key set could not be fetched"
                );
                not_before = Some(now + self.retry(kept));
            }
        }
        {
            let mut flight = self.flight.lock();
            (flight.running, flight.not_before) = (false, not_before);
        }
        self.ended.send_modify(|ended| *ended = ended.wrapping_add(1));
    }

    /// When it is time to fetch it anew; in the past: now.
    fn due(&self) -> Timestamp {
        let stale = self.good.load().as_ref().map_or(Timestamp::ZERO, |good| good.stale);
        stale.max(self.flight.lock().not_before.unwrap_or(Timestamp::ZERO))
    }

    fn ends(&self, now: Timestamp) -> (Timestamp, Timestamp) {
        match &*self.source {
            JwksSource::Remote(remote) => {
                let stale = now + remote.cache_duration;
                (stale, stale + remote.cache_duration)
            }
            _ => (now + FILE_LOOK, Timestamp::MAX),
        }
    }

    /// When it is fetched again after a failure, with good keys or without any.
    fn retry(&self, kept: bool) -> Duration {
        match &*self.source {
            JwksSource::Remote(remote) => remote.failed_refetch,
            _ if kept => FILE_LOOK,
            _ => FILE_RETRY,
        }
    }
}

/// A source as logs name it.
struct Named<'s>(&'s JwksSource);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            JwksSource::Remote(remote) => {
                write!(f, "{} of cluster `{}`", remote.http_uri.uri, remote.http_uri.cluster)
            }
            JwksSource::File(path) => path.display().fmt(f),
            _ => f.write_str("the configuration"),
        }
    }
}

impl fmt::Debug for KeyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyStore").field("sets", &self.sets.load().len()).finish_non_exhaustive()
    }
}
