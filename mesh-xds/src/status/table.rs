//! [`Table`]: the copy of what is known, by type and name, and the counts over it.
//!
//! Counts are kept as states change, so that a scrape costs what there are series, and not what there are
//! resources.

use super::Durations;
use super::label::{Labels, cache_state};
use super::recorder::Came;
use crate::ResourceType;
use crate::protocol::{ResourceState, ResourceStatus};
use bytes::Bytes;
use mesh_core::{Timestamp, WallTime};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What is known of one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ResourceDump {
    /// Its type.
    pub kind: ResourceType,
    /// Its name.
    pub name: Arc<str>,
    /// The server that this is known of.
    pub server: Arc<str>,
    /// Its authority: of an `xdstp:` name; `#old` for others; `#other` for those beyond
    /// [`MAX_AUTHORITIES`](super::MAX_AUTHORITIES).
    pub authority: Arc<str>,
    /// Its state.
    pub state: ResourceState,
    /// The version of the last good value; `None`: none is held.
    pub version: Option<Arc<str>>,
    /// The last good value as it was received, without keys; of a secret, its name only.
    pub body: Option<Bytes>,
    /// When the last good value came that differs from the one before, in content or version.
    pub last_updated: Option<WallTime>,
    /// What is wrong with it, if anything is.
    pub error: Option<ResourceFailure>,
    /// It is in force from a copy on disk that was written then, and the server has not sent it since; version and
    /// value are those of the copy.
    pub stale: Option<WallTime>,
}

/// A value from a copy on disk.
#[derive(Clone, Debug)]
pub(super) struct Copied {
    pub(super) version: Arc<str>,
    pub(super) body: Bytes,
    pub(super) written: WallTime,
}

/// What is wrong with a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ResourceFailure {
    /// Every mistake, or what the server said of it.
    pub details: Arc<str>,
    /// The version that was refused; `None`: the server had none.
    pub version: Option<Arc<str>>,
    /// When it was refused last.
    pub at: WallTime,
}

/// What is known of one server.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerStatus {
    /// Its URI.
    pub uri: Arc<str>,
    /// Whether there is a working stream (gRFC A78); `None`: there was none yet.
    pub connected: Option<bool>,
    /// How often it went from healthy to unhealthy (gRFC A78).
    pub failures: u64,
    /// Of each type of which something came.
    pub types: Vec<TypeStatus>,
}

/// What came from one server of one type.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TypeStatus {
    /// The type.
    pub kind: ResourceType,
    /// Resources that were good, those that were equal to what was held too.
    pub valid: u64,
    /// Resources that were refused.
    pub invalid: u64,
    /// The version of the last response that was accepted, and when that was.
    pub last_good: Option<(Arc<str>, WallTime)>,
}

/// How many resources there are of an authority, a type and a state.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ResourceCount {
    /// See [`ResourceDump::authority`].
    pub authority: Arc<str>,
    /// The type.
    pub kind: ResourceType,
    /// See [`cache_state`].
    pub cache_state: &'static str,
    /// How many.
    pub count: u64,
}

/// What is known.
#[derive(Debug, Default)]
pub(super) struct Table {
    servers: Vec<Server>,
    resources: BTreeMap<(ResourceType, Arc<str>), Known>,
    /// What is in force from a copy on disk, until a server has sent it. No protocol knows of it.
    copies: BTreeMap<(ResourceType, Arc<str>), Copied>,
    labels: Labels,
    counts: BTreeMap<(Arc<str>, ResourceType, &'static str), u64>,
    /// Good values so far.
    accepted: u64,
    /// When the first response came that is in no configuration yet.
    waiting: [Option<Timestamp>; ResourceType::ALL.len()],
    published: Durations,
}

/// One server.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) uri: Arc<str>,
    pub(super) connected: Option<bool>,
    pub(super) failures: u64,
    types: [OfType; ResourceType::ALL.len()],
}

/// One server and type.
#[derive(Debug, Default)]
pub(super) struct OfType {
    pub(super) valid: u64,
    pub(super) invalid: u64,
    pub(super) last_good: Option<(Arc<str>, WallTime)>,
    /// When the first response came that was not answered yet.
    pub(super) owed: Option<Timestamp>,
}

/// One name, and what each server that is asked for it has to do with it; never without one.
#[derive(Debug)]
struct Known {
    authority: Arc<str>,
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    server: usize,
    state: ResourceState,
    version: Option<Arc<str>>,
    body: Option<Bytes>,
    last_updated: Option<WallTime>,
    error: Option<ResourceFailure>,
    /// The number of the good value that came last.
    accepted: u64,
}

impl Table {
    /// The number of a server; that of before if it is known.
    pub(super) fn server(&mut self, uri: &Arc<str>) -> usize {
        if let Some(known) = self.servers.iter().position(|server| server.uri == *uri) {
            return known;
        }
        let uri = Arc::clone(uri);
        self.servers.push(Server {
            uri,
            connected: None,
            failures: 0,
            types: <[OfType; ResourceType::ALL.len()]>::default(),
        });
        self.servers.len() - 1
    }

    pub(super) fn server_mut(&mut self, server: usize) -> &mut Server {
        &mut self.servers[server]
    }

    /// Notes what is known of a resource by now, and what came of it.
    pub(super) fn put(
        &mut self,
        server: usize,
        found: &ResourceStatus<'_>,
        came: Came,
        now: WallTime,
    ) {
        let labels = &mut self.labels;
        let known = self
            .resources
            .entry((found.kind, Arc::clone(found.name)))
            .or_insert_with(|| Known { authority: labels.take(found.name), entries: Vec::new() });
        let key = (found.kind, Arc::clone(found.name));
        let before = known.cache_state(self.copies.contains_key(&key));
        if matches!(came, Came::Good(_)) {
            self.copies.remove(&key);
        }
        let place = known.entries.iter().position(|entry| entry.server == server);
        let place = place.unwrap_or_else(|| {
            known.entries.push(Entry::new(server));
            known.entries.len() - 1
        });
        if matches!(came, Came::Good(_)) {
            self.accepted += 1;
            known.entries[place].accepted = self.accepted;
        }
        known.entries[place].update(found, came, now);
        let after = known.cache_state(self.copies.contains_key(&key));
        let authority = Arc::clone(&known.authority);
        self.count(&authority, found.kind, before, after);
    }

    /// A value from a copy on disk is in force, until a server has sent it; `None`: no longer.
    pub(super) fn copied(&mut self, kind: ResourceType, name: &Arc<str>, copy: Option<Copied>) {
        let key = (kind, Arc::clone(name));
        let is_copied = copy.is_some();
        let was_copied = match copy {
            Some(copy) => self.copies.insert(key.clone(), copy).is_some(),
            None => self.copies.remove(&key).is_some(),
        };
        let Some(known) = self.resources.get(&key) else { return };
        let (before, after) = (known.cache_state(was_copied), known.cache_state(is_copied));
        let authority = Arc::clone(&known.authority);
        self.count(&authority, kind, before, after);
    }

    /// The client has ended, and with it what it had from a copy.
    pub(super) fn forget_copies(&mut self) {
        let all: Vec<_> = self.copies.keys().cloned().collect();
        all.iter().for_each(|(kind, name)| self.copied(*kind, name, None));
    }

    /// Nothing is known of a resource by this server any more.
    pub(super) fn remove(&mut self, server: usize, kind: ResourceType, name: &Arc<str>) {
        let key = (kind, Arc::clone(name));
        let Some(known) = self.resources.get_mut(&key) else { return };
        let is_copied = self.copies.contains_key(&key);
        let before = known.cache_state(is_copied);
        known.entries.retain(|entry| entry.server != server);
        let (authority, after) = (Arc::clone(&known.authority), known.cache_state(is_copied));
        if known.entries.is_empty() {
            self.labels.give_back(&authority);
            self.resources.remove(&key);
        }
        self.count(&authority, kind, before, after);
    }

    /// The names that this server has something to do with.
    pub(super) fn of_server(&self, server: usize) -> Vec<(ResourceType, Arc<str>)> {
        let has = |known: &Known| known.entries.iter().any(|entry| entry.server == server);
        let of = self.resources.iter().filter(|(_, known)| has(known));
        of.map(|(key, _)| key.clone()).collect()
    }

    fn count(
        &mut self,
        authority: &Arc<str>,
        kind: ResourceType,
        before: Option<&'static str>,
        after: Option<&'static str>,
    ) {
        if before == after {
            return;
        }
        if let Some(state) = after {
            *self.counts.entry((Arc::clone(authority), kind, state)).or_default() += 1;
        }
        let Some(state) = before else { return };
        let key = (Arc::clone(authority), kind, state);
        if let Some(count) = self.counts.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&key);
            }
        }
    }

    /// A value of this type came that goes into the next configuration.
    pub(super) fn waits(&mut self, kind: ResourceType, since: Timestamp) {
        self.waiting[kind.index()].get_or_insert(since);
    }

    pub(super) fn published(&mut self, now: Timestamp) {
        for (published, waiting) in self.published.iter_mut().zip(&mut self.waiting) {
            if let Some(since) = waiting.take() {
                let took = now.saturating_duration_since(since);
                *published = Some(published.unwrap_or_default().max(took));
            }
        }
    }

    pub(super) fn take_published(&mut self) -> Durations {
        std::mem::take(&mut self.published)
    }

    pub(super) fn resources(&self) -> Vec<ResourceDump> {
        let all = self.resources.iter();
        all.filter_map(|(key, known)| {
            let entry = known.shown()?;
            let copied = self.copies.get(key).filter(|_| entry.version.is_none());
            let of_copy = |copied: &Copied| (copied.version.clone(), copied.body.clone());
            let (version, body) = copied.map(of_copy).unzip();
            let stale = copied.map(|copied| copied.written);
            Some(ResourceDump {
                kind: key.0,
                name: Arc::clone(&key.1),
                server: Arc::clone(&self.servers[entry.server].uri),
                authority: Arc::clone(&known.authority),
                state: entry.state,
                version: entry.version.clone().or(version),
                body: entry.body.clone().or(body),
                last_updated: entry.last_updated.or(stale),
                error: entry.error.clone(),
                stale,
            })
        })
        .collect()
    }

    pub(super) fn servers(&self) -> Vec<ServerStatus> {
        let types = |server: &Server| {
            let types = ResourceType::ALL.into_iter().zip(&server.types);
            let known = types.filter(|(_, of)| of.valid + of.invalid > 0 || of.last_good.is_some());
            known
                .map(|(kind, OfType { valid, invalid, last_good, .. })| TypeStatus {
                    kind,
                    valid: *valid,
                    invalid: *invalid,
                    last_good: last_good.clone(),
                })
                .collect()
        };
        let status = |server: &Server| ServerStatus {
            uri: Arc::clone(&server.uri),
            connected: server.connected,
            failures: server.failures,
            types: types(server),
        };
        self.servers.iter().map(status).collect()
    }

    pub(super) fn counts(&self) -> Vec<ResourceCount> {
        let count = |(key, count): (&(Arc<str>, ResourceType, &'static str), &u64)| ResourceCount {
            authority: Arc::clone(&key.0),
            kind: key.1,
            cache_state: key.2,
            count: *count,
        };
        self.counts.iter().map(count).collect()
    }
}

impl Server {
    pub(super) fn of(&mut self, kind: ResourceType) -> &mut OfType {
        &mut self.types[kind.index()]
    }

    /// No response is owed an answer any more: the stream is gone.
    pub(super) fn owe_nothing(&mut self) {
        self.types.iter_mut().for_each(|of| of.owed = None);
    }
}

impl Known {
    /// What is shown: of what is held, that which came last; else what the first server says.
    fn shown(&self) -> Option<&Entry> {
        let worth = |entry: &&Entry| {
            let held = entry.version.is_some();
            (held, if held { entry.accepted } else { 0 }, usize::MAX - entry.server)
        };
        self.entries.iter().max_by_key(worth)
    }

    /// `is_copied`: a value from a copy on disk is in force.
    fn cache_state(&self, is_copied: bool) -> Option<&'static str> {
        let held = |entry: &Entry| is_copied || entry.version.is_some();
        self.shown().map(|entry| cache_state(entry.state, held(entry)))
    }
}

impl Entry {
    const fn new(server: usize) -> Self {
        Self {
            server,
            state: ResourceState::Requested,
            version: None,
            body: None,
            last_updated: None,
            error: None,
            accepted: 0,
        }
    }

    fn update(&mut self, found: &ResourceStatus<'_>, came: Came, now: WallTime) {
        self.state = found.state;
        let refused = matches!(came, Came::Bad);
        if found.version.is_none() {
            (self.version, self.body, self.last_updated) = (None, None, None);
        } else {
            if let Came::Good(body) = came {
                if self.body.as_ref() != Some(&body) || self.version.as_ref() != found.version {
                    self.last_updated = Some(now);
                }
                self.body = Some(body);
            }
            self.version = found.version.cloned();
        }
        self.error = found.error.map(|(details, version)| {
            let before = self.error.as_ref().filter(|before| before.details == *details);
            let at = before.filter(|_| !refused).map_or(now, |before| before.at);
            ResourceFailure { details: Arc::clone(details), version: version.cloned(), at }
        });
    }
}
