//! [`Reporter`]: one stream of load reports to one server (LRS), as a machine without time or transport.
//!
//! A control plane that balances globally has to know what each client sends where, and what it dropped.
//! Counters are cheap to read and easy to get wrong: counted twice over two streams, lost with a cluster,
//! below zero after a change. So what was counted comes in as totals that only grow, and what is reported
//! is the difference to what was reported before. Nothing else is kept.
//!
//! ```text
//!   handle_watch ───────────────────▶ ┌───────────────────────┐ ──▶ poll_request  the node, then reports
//!   handle_connected, handle_closed ▶ │ clusters: totals that │ ──▶ poll_action   Connect, Close
//!   handle_response ────────────────▶ │ were reported; what   │ ──▶ poll_event    what happened
//!   handle_timeout ─────────────────▶ │ the server asks for   │ ──▶ poll_timeout  when, and why
//!                                     └───────────────────────┘
//! ```
//!
//! Rules (gRFC A27 "LRS"; `service/load_stats/v3/lrs.proto`; gRPC's C-core where they say nothing):
//!
//! - The first request of a stream has the node, with the client feature
//!   `envoy.lrs.supports_send_all_clusters`, and no load. Reports begin with the server's answer, and their
//!   interval, at least 1 s, and clusters are what it says; a later answer that says something else starts
//!   the interval anew.
//! - A cluster is reported under its name and that of its endpoints (EDS), each locality of it apart.
//! - A report holds what was counted since the last one, and over which time. It counts as reported when it
//!   is taken for sending; what the server does not ask for goes on adding up.
//! - What is dropped is told by category, and in the total, which also has what the circuit breaker's
//!   `max_requests` refused (gRFC A32).
//! - A cluster that has nothing to say and had nothing the last time is left out; a request is sent all the
//!   same.
//! - A cluster that is not reported any more is reported until nothing of it is in progress, and then
//!   forgotten: once, in the usual case.
//! - `report_endpoint_granularity` does nothing, as in gRPC.
//! - Back-off is that of ADS ([`protocol`](crate::protocol), `connection.rs`).
//!
//! What it does not do: count, encode, or choose a server. Loads of ORCA (gRFC A64, A85) are not reported.

mod cluster;
mod load;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

pub use load::{ClusterLoad, LoadKey, LocalityLoad};

use crate::bootstrap::LRS_CLIENT_FEATURE;
use crate::protocol::{Action, CloseReason, Connection, Due, Event, Options};
use cluster::Entry;
use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::load_stats::v3::{LoadStatsRequest, LoadStatsResponse};
use mesh_core::{Random, Timestamp};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// The shortest interval between two reports; less is taken for this (gRPC's C-core).
pub const MIN_INTERVAL: Duration = Duration::from_secs(1);
/// The longest one; more is taken for this.
pub const MAX_INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);
/// The most clusters that are no longer reported and whose last load waits for a stream. Further ones are
/// forgotten at once.
pub const MAX_ENDED: usize = 1024;

/// One stream of load reports.
#[derive(Debug)]
pub struct Reporter {
    node: Node,
    options: Options,
    stream: Connection,
    clusters: BTreeMap<LoadKey, Entry>,
    /// The first request of the stream is still to be sent.
    is_new: bool,
    /// What the server of this stream asks for; `None`: it has not said so yet.
    asked: Option<Asked>,
    actions: VecDeque<Action>,
    events: VecDeque<Event>,
    forgotten: Vec<LoadKey>,
}

/// What a server asks for.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    interval: Duration,
    clusters: Clusters,
    /// When the next report is due.
    due: Timestamp,
}

#[derive(Debug, PartialEq, Eq)]
enum Clusters {
    All,
    Named(BTreeSet<String>),
}

impl Clusters {
    fn has(&self, key: &LoadKey) -> bool {
        match self {
            Self::All => true,
            Self::Named(names) => names.contains(&*key.cluster),
        }
    }
}

impl Reporter {
    /// A machine without a stream, for this node.
    #[must_use]
    pub fn new(mut node: Node, options: Options) -> Self {
        node.client_features.push(LRS_CLIENT_FEATURE.to_owned());
        Self {
            node,
            stream: Connection::new(options.variant),
            options,
            clusters: BTreeMap::new(),
            is_new: false,
            asked: None,
            actions: VecDeque::new(),
            events: VecDeque::new(),
            forgotten: Vec::new(),
        }
    }

    /// The clusters that are reported from now on are these, and no others. Their totals begin at zero,
    /// unless they were reported before and are not forgotten yet: then they go on.
    pub fn handle_watch(&mut self, keys: &BTreeSet<LoadKey>, now: Timestamp) {
        for key in keys {
            let entry = self.clusters.entry(key.clone());
            entry.or_insert_with(|| Entry::new(now)).ended = false;
        }
        let mut ended = 0;
        self.clusters.retain(|key, entry| {
            entry.ended = !keys.contains(key);
            ended += usize::from(entry.ended);
            let kept = ended <= MAX_ENDED || !entry.ended;
            if !kept {
                self.forgotten.push(key.clone());
            }
            kept
        });
        if !keys.is_empty() {
            self.stream.want(&self.options, now, &mut self.actions);
        }
    }

    /// The stream is open.
    pub fn handle_connected(&mut self) {
        self.is_new = self.stream.handle_connected();
        self.asked = None;
    }

    /// The server says what it wants to know.
    pub fn handle_response(&mut self, response: &LoadStatsResponse, now: Timestamp) {
        if !self.stream.handle_response(&mut self.events) {
            return;
        }
        let interval = interval(response);
        let clusters = match response.send_all_clusters {
            true => Clusters::All,
            false => Clusters::Named(response.clusters.iter().cloned().collect()),
        };
        match &mut self.asked {
            Some(asked) if (asked.interval, &asked.clusters) == (interval, &clusters) => {}
            asked => *asked = Some(Asked { interval, clusters, due: now + interval }),
        }
    }

    /// The stream has ended, or could not be opened.
    pub fn handle_closed(&mut self, reason: CloseReason, now: Timestamp, random: &mut impl Random) {
        let reason = match reason {
            // There is no other variant to try.
            CloseReason::Unimplemented(error) => CloseReason::Failed(error),
            reason => reason,
        };
        (self.is_new, self.asked) = (false, None);
        if self.stream.is_live() {
            let events = &mut self.events;
            let _same_variant = self.stream.end(reason, &self.options, now, random, events);
        }
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Timestamp, random: &mut impl Random) {
        match self.stream.next().filter(|(at, ..)| *at <= now) {
            Some((.., Due::Connect)) => {
                let wanted = self.clusters.values().any(|entry| !entry.ended);
                self.stream.handle_pause_over(wanted, &self.options, now, &mut self.actions);
            }
            Some((.., Due::ConnectTimeout)) => {
                let limit = self.options.connect_timeout;
                self.actions.push_back(Action::Close);
                let error = format!("no stream could be opened within {limit:?}");
                self.handle_closed(CloseReason::Failed(error.into()), now, random);
            }
            Some((.., Due::Mute)) => self.stream.excuse(),
            None => {}
        }
    }

    /// What is to be done with the transport.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// What happened to the stream: [`Event::Reachable`] and [`Event::Unreachable`].
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// A cluster whose totals are not read any more. If it is watched again, they begin at zero.
    pub fn poll_forgotten(&mut self) -> Option<LoadKey> {
        self.forgotten.pop()
    }

    /// When [`handle_timeout`](Self::handle_timeout) and [`poll_request`](Self::poll_request) want to be
    /// called, and why; `None`: never, as things stand.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Timestamp, &'static str)> {
        let stream = self.stream.next().map(|(at, why, _)| (at, why));
        let report = self.asked.as_ref().map(|asked| (asked.due, "load_report"));
        stream.into_iter().chain(report).min_by_key(|(at, _)| *at)
    }

    /// The next request to send. `read` says what was counted of a cluster in all, since it was watched.
    ///
    /// What a report holds counts as reported: take it only to send it.
    pub fn poll_request(
        &mut self,
        now: Timestamp,
        mut read: impl FnMut(&LoadKey) -> ClusterLoad,
    ) -> Option<LoadStatsRequest> {
        if std::mem::take(&mut self.is_new) {
            let node = Some(self.node.clone());
            return Some(LoadStatsRequest { node, cluster_stats: Vec::new() });
        }
        let asked = self.asked.as_mut().filter(|asked| asked.due <= now)?;
        asked.due = now + asked.interval;
        let mut cluster_stats = Vec::new();
        let forgotten = &mut self.forgotten;
        self.clusters.retain(|key, entry| {
            let is_over = if asked.clusters.has(key) {
                let load = read(key);
                cluster_stats.extend(entry.report(key, &load, now));
                load.is_idle()
            } else {
                true
            };
            let kept = !(entry.ended && is_over);
            if !kept {
                forgotten.push(key.clone());
            }
            kept
        });
        Some(LoadStatsRequest { node: None, cluster_stats })
    }

    /// How many clusters it has totals of.
    #[must_use]
    pub fn len(&self) -> usize {
        self.clusters.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.clusters.is_empty()
    }
}

/// The interval that a server asks for, within bounds; what is none is the shortest.
fn interval(response: &LoadStatsResponse) -> Duration {
    let said = response.load_reporting_interval.as_ref();
    let said = said.and_then(|said| {
        let (seconds, nanos) = (u64::try_from(said.seconds).ok()?, u32::try_from(said.nanos).ok()?);
        Duration::from_secs(seconds).checked_add(Duration::from_nanos(u64::from(nanos)))
    });
    said.unwrap_or_default().clamp(MIN_INTERVAL, MAX_INTERVAL)
}
