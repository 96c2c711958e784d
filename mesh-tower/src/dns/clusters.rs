//! [`DnsClusters`]: many clusters, one task, one change at a time.
//!
//! The task is the caller's: lookups run inside [`DnsClusters::next`], so nothing is spawned here
//! and dropping the value ends every lookup. Names are looked up once for all clusters that share
//! their name and timing. What came in since the last `next` is told as one change per cluster.

use super::resolve::{Answer, Resolve, ResolveError};
use super::schedule::Schedule;
use super::watched::{Known, LookupKey, Watched};
use futures_core::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use mesh_core::Timestamp;
use mesh_core::model::{Address, Cluster, ClusterLoadAssignment, Discovery, DnsOptions};
use mesh_core::random::SplitMix64;
use mesh_core::time::saturating_nanos;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout};

/// A cluster whose endpoints are what its names resolve to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DnsCluster {
    /// The cluster's name.
    pub name: Arc<str>,
    /// The names and when they are looked up.
    pub options: DnsOptions,
    /// What becomes of the addresses.
    pub kind: DnsKind,
}

impl DnsCluster {
    /// The cluster `name`.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>, options: DnsOptions, kind: DnsKind) -> Self {
        Self { name: name.into(), options, kind }
    }

    /// What `cluster` asks for; `None` when its endpoints do not come from DNS.
    #[must_use]
    pub fn of(cluster: &Cluster) -> Option<Self> {
        let (options, kind) = match &cluster.discovery {
            Discovery::StrictDns(options) => (options, DnsKind::Strict),
            Discovery::LogicalDns(options) => (options, DnsKind::Logical),
            _ => return None,
        };
        Some(Self::new(cluster.name.clone(), options.clone(), kind))
    }
}

/// What becomes of the addresses of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DnsKind {
    /// Each is an endpoint (Envoy: `STRICT_DNS`).
    Strict,
    /// One of them is the one endpoint (Envoy: `LOGICAL_DNS`).
    Logical,
}

/// Something to know about one cluster.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct DnsChange {
    /// The cluster's name.
    pub cluster: Arc<str>,
    /// What happened.
    pub event: DnsEvent,
}

/// What happened to a cluster.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum DnsEvent {
    /// These are the endpoints from now on; they differ from the last ones. Nobody: each name was
    /// looked up once, and none has an address.
    Endpoints(Arc<ClusterLoadAssignment>),
    /// These are the addresses of a logical cluster's name from now on, best first, to connect to
    /// whichever answers. What else changes by them follows.
    Addresses(Arc<[Address]>),
    /// A lookup failed. Endpoints stay as they are.
    Failed {
        /// Why, and for which name.
        error: ResolveError,
        /// Whether there are endpoints of an earlier answer.
        kept: bool,
    },
    /// After `Failed`: every name of the cluster resolves again, the endpoints are current.
    Recovered,
}

/// Watches the names of many clusters.
#[derive(Debug)]
pub struct DnsClusters {
    resolver: Arc<dyn Resolve>,
    origin: Instant,
    random: SplitMix64,
    clusters: BTreeMap<Arc<str>, Watched>,
    lookups: BTreeMap<LookupKey, Lookup>,
    /// The lookups that wait for their time.
    due: BTreeSet<(Timestamp, LookupKey)>,
    in_flight: FuturesUnordered<BoxFuture<'static, Finished>>,
    /// Clusters that something may be said of, in order of arrival.
    queue: VecDeque<Arc<str>>,
    /// Lookups started so far: tells the result of a removed and re-added name from the new one's.
    serial: u64,
}

impl DnsClusters {
    /// Lookups in flight at any time, over all clusters; the others wait their turn.
    pub const MAX_LOOKUPS: usize = 16;
    /// A lookup that takes longer counts as [`ResolveError::Timeout`].
    pub const LOOKUP_LIMIT: Duration = Duration::from_secs(10);

    /// Watches nothing yet.
    ///
    /// Times are tokio's; the runtime is the one that polls [`next`](Self::next).
    #[must_use]
    pub fn new(resolver: Arc<dyn Resolve>) -> Self {
        Self {
            resolver,
            origin: Instant::now(),
            random: SplitMix64::new(fastrand::u64(..)),
            clusters: BTreeMap::new(),
            lookups: BTreeMap::new(),
            due: BTreeSet::new(),
            in_flight: FuturesUnordered::new(),
            queue: VecDeque::new(),
            serial: 0,
        }
    }

    /// Watches exactly `specs` from now on; of two with one name, the last.
    ///
    /// What is unchanged keeps its answers and its timing. A changed cluster keeps its endpoints
    /// until its new names were answered, and names that it shares with the old or with another
    /// cluster are not looked up again (Envoy: a changed cluster warms while the old one serves).
    pub fn set(&mut self, specs: impl IntoIterator<Item = DnsCluster>) {
        let mut old = std::mem::take(&mut self.clusters);
        for spec in specs {
            let name = spec.name.clone();
            let known = self.clusters.remove(&name).or_else(|| old.remove(&name));
            let (watched, changed) = match known {
                Some(mut watched) => {
                    let changed = watched.update(spec);
                    (watched, changed)
                }
                None => (Watched::new(spec), true),
            };
            self.clusters.insert(name.clone(), watched);
            if changed {
                self.enqueue(&name);
            }
        }
        self.connect_lookups();
    }

    /// The endpoints of `cluster` that were last given out by [`next`](Self::next): nobody after a
    /// first failure; `None`: not known yet, or no such cluster.
    ///
    /// A configuration that arrives says nothing of them: fill them in before it is applied.
    #[must_use]
    pub fn endpoints(&self, cluster: &str) -> Option<Arc<ClusterLoadAssignment>> {
        self.clusters.get(cluster)?.current().cloned()
    }

    /// Waits for the next change. Lookups make progress only while this is polled.
    ///
    /// Never completes while nothing is watched.
    ///
    /// # Cancel safety
    /// Cancel safe: lookups in flight go on with the next call, and no change is lost.
    pub async fn next(&mut self) -> DnsChange {
        loop {
            if let Some(change) = self.pop_change() {
                return change;
            }
            self.start_due();
            let wake = self.poll_timeout();
            tokio::select! {
                biased;
                Some(finished) = self.in_flight.next() => self.handle_finished(finished),
                () = sleep_until_some(wake) => {}
            }
        }
    }

    /// Gives every lookup its users, starts those that are new and drops those without a user.
    fn connect_lookups(&mut self) {
        let now = self.now();
        for lookup in self.lookups.values_mut() {
            lookup.users.clear();
        }
        for (name, watched) in &self.clusters {
            for key in watched.keys() {
                let lookup = self.lookups.entry(key.clone()).or_insert_with(|| {
                    self.due.insert((now, key.clone()));
                    Lookup::new(key, now)
                });
                lookup.users.insert(name.clone());
            }
        }
        self.lookups.retain(|_, lookup| !lookup.users.is_empty());
        self.due.retain(|(_, key)| self.lookups.contains_key(key));
    }

    fn pop_change(&mut self) -> Option<DnsChange> {
        while let Some(cluster) = self.queue.pop_front() {
            let Some(watched) = self.clusters.get_mut(&cluster) else { continue };
            watched.queued = false;
            if let Some(event) = watched.take_event(&self.lookups) {
                // There may be more to say, after the others had their turn.
                self.enqueue(&cluster);
                return Some(DnsChange { cluster, event });
            }
        }
        None
    }

    fn start_due(&mut self) {
        let now = self.now();
        while self.in_flight.len() < Self::MAX_LOOKUPS
            && self.due.first().is_some_and(|(at, _)| *at <= now)
        {
            let Some((_, key)) = self.due.pop_first() else { return };
            let Some(lookup) = self.lookups.get_mut(&key) else { continue };
            self.serial += 1;
            lookup.serial = self.serial;
            lookup.schedule.start();
            let resolving = timeout(Self::LOOKUP_LIMIT, self.resolver.resolve(&key.name));
            let serial = self.serial;
            self.in_flight.push(Box::pin(async move {
                let late = |_| Err(ResolveError::Timeout { name: key.name.clone() });
                let result = resolving.await.unwrap_or_else(late);
                Finished { key, serial, result }
            }));
        }
    }

    /// When the next lookup is due; `None` when there is none, or no room for one.
    fn poll_timeout(&self) -> Option<Instant> {
        if self.in_flight.len() >= Self::MAX_LOOKUPS {
            return None;
        }
        let (at, _) = self.due.first()?;
        self.origin.checked_add(at.saturating_duration_since(Timestamp::ZERO))
    }

    fn handle_finished(&mut self, finished: Finished) {
        let now = self.now();
        let Finished { key, serial, result } = finished;
        // Else the name was removed meanwhile, and may have come back.
        let Some(lookup) = self.lookups.get_mut(&key).filter(|l| l.serial == serial) else {
            return;
        };
        lookup.handle_result(&key.name, result, now, &mut self.random);
        let failed = lookup.known.failure().is_some();
        if let Some((at, why)) = lookup.schedule.poll_timeout() {
            tracing::trace!(name = %key.name, failed, why, ?at, "looked up");
            self.due.insert((at, key));
        }
        for user in &lookup.users {
            let Some(watched) = self.clusters.get_mut(user) else { continue };
            if failed {
                watched.handle_failure();
            }
            if !std::mem::replace(&mut watched.queued, true) {
                self.queue.push_back(user.clone());
            }
        }
    }

    fn enqueue(&mut self, cluster: &Arc<str>) {
        if let Some(watched) = self.clusters.get_mut(cluster)
            && !std::mem::replace(&mut watched.queued, true)
        {
            self.queue.push_back(cluster.clone());
        }
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_nanos(saturating_nanos(self.origin.elapsed()))
    }
}

/// One name that is looked up for some clusters.
#[derive(Debug)]
struct Lookup {
    schedule: Schedule,
    known: Known,
    /// The clusters that use it.
    users: BTreeSet<Arc<str>>,
    /// Of the newest lookup; 0 before the first.
    serial: u64,
}

impl Lookup {
    fn new(key: &LookupKey, now: Timestamp) -> Self {
        Self {
            schedule: Schedule::new(
                key.refresh_rate,
                key.respect_ttl.then_some(key.min_refresh_rate),
                now,
            ),
            known: Known::default(),
            users: BTreeSet::new(),
            serial: 0,
        }
    }

    fn handle_result(
        &mut self,
        name: &Arc<str>,
        result: Result<Answer, ResolveError>,
        now: Timestamp,
        random: &mut SplitMix64,
    ) {
        // Half an answer is asked for again at the refresh rate, whatever the half's TTL.
        let ttl = result.as_ref().ok().filter(|answer| !answer.incomplete).and_then(|a| a.ttl);
        self.known.handle_result(name, result);
        match self.known.failure() {
            None => self.schedule.handle_answer(ttl, now, random),
            Some(error) => self.schedule.handle_failure(error.negative_ttl(), now, random),
        }
    }
}

impl AsRef<Known> for Lookup {
    fn as_ref(&self) -> &Known {
        &self.known
    }
}

/// The end of a lookup.
#[derive(Debug)]
struct Finished {
    key: LookupKey,
    serial: u64,
    result: Result<Answer, ResolveError>,
}

async fn sleep_until_some(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => pending().await,
    }
}

#[cfg(test)]
mod tests;
