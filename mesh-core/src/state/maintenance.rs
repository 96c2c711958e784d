//! What happens in a mesh without a new configuration: ejections, their ends, sweeps, overflows.
//!
//! Only clusters that have something to say are looked at: those in the queue of [attention], and
//! those whose time has come.
//!
//! [attention]: super::attention

use super::prepare::ejected_bits;
use super::updater::Entry;
use super::{Attach, Updater};
use crate::event::Event;
use crate::outlier;
use crate::random::Random;
use crate::time::Timestamp;
use std::collections::BTreeSet;
use std::sync::Arc;

/// What a turn of maintenance did.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Turn {
    /// What happened, for logs and metrics, with the cluster that it happened in.
    pub events: Vec<(Arc<str>, Event)>,
    /// How many more events there were in a cluster: one with 100,000 outliers tells of
    /// [`MAX_EVENTS`](outlier::Turn::MAX_EVENTS) at once.
    pub suppressed: Vec<(Arc<str>, u32)>,
}

impl Turn {
    /// Adds what happened in a cluster.
    pub(super) fn add(&mut self, cluster: &Arc<str>, events: Vec<Event>, suppressed: u32) {
        self.events.extend(events.into_iter().map(|event| (Arc::clone(cluster), event)));
        if suppressed > 0 {
            self.suppressed.push((Arc::clone(cluster), suppressed));
        }
    }
}

/// Why a cluster is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    Attention,
    Timeout,
}

impl<A: Attach> Updater<A> {
    /// When [`handle_timeout`](Self::handle_timeout) wants to be called next, and why.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Timestamp, &'static str)> {
        let due = self.due.first().and_then(|(_, name)| self.entries.get(name)?.poll_timeout());
        let leaving = self.leaving.check_at().map(|at| (at, "leaving clusters"));
        due.into_iter().chain(leaving).min_by_key(|(at, _)| *at)
    }

    /// Does what is due: sweeps, ends of ejections, ends of clusters that were removed.
    pub fn handle_timeout(&mut self, now: Timestamp, random: &mut impl Random) -> Turn {
        if self.leaving.check_at().is_some_and(|at| at <= now) {
            self.free_retired();
            self.leaving.checked(now);
        }
        let due = self.due.iter().take_while(|(at, _)| *at <= now);
        let due: Vec<_> = due.map(|(_, name)| Arc::clone(name)).collect();
        self.look_at(due, Cause::Timeout, now, random)
    }

    /// Decides about endpoints that crossed a threshold and limits that began to refuse, in every
    /// cluster that calls have marked: [`LiveCluster::record`](super::LiveCluster::record) said so, or
    /// [`Attach::writer`] was woken.
    pub fn handle_attention(&mut self, now: Timestamp, random: &mut impl Random) -> Turn {
        let marked: BTreeSet<_> = self.marks.1.try_iter().collect();
        self.look_at(marked, Cause::Attention, now, random)
    }

    fn look_at<R: Random>(
        &mut self,
        names: impl IntoIterator<Item = Arc<str>>,
        cause: Cause,
        now: Timestamp,
        random: &mut R,
    ) -> Turn {
        let mut turn = Turn::default();
        for name in names {
            let Some(mut entry) = self.entries.remove(&name) else { continue };
            let mut changes = entry.step(cause, now, random);
            entry.overflows.handle(entry.live.breaker(), now, &mut changes.events);
            if changes.has_changes() {
                entry.take_ejections(&changes.changed, now);
                self.publish_picker(&entry, &mut changes.events);
            }
            turn.add(&name, changes.events, changes.suppressed);
            self.arm(&name, &mut entry);
            self.entries.insert(name, entry);
        }
        turn
    }

    /// Notes when the cluster wants to be looked at next.
    pub(super) fn arm(&mut self, name: &Arc<str>, entry: &mut Entry<A>) {
        let next = entry.poll_timeout().map(|(at, _)| at);
        if entry.due == next {
            return;
        }
        self.disarm(name, entry);
        if let Some(at) = next {
            self.due.insert((at, Arc::clone(name)));
        }
        entry.due = next;
    }

    /// The cluster is not looked at any more.
    pub(super) fn disarm(&mut self, name: &Arc<str>, entry: &mut Entry<A>) {
        if let Some(at) = entry.due.take() {
            self.due.remove(&(at, Arc::clone(name)));
        }
    }
}

impl<A: Attach> Entry<A> {
    fn poll_timeout(&self) -> Option<(Timestamp, &'static str)> {
        let timeouts = [self.detector.poll_timeout(), self.overflows.poll_timeout()];
        timeouts.into_iter().flatten().min()
    }

    fn step(&mut self, cause: Cause, now: Timestamp, random: &mut impl Random) -> outlier::Turn {
        let (detector, set) = (&mut self.detector, &*self.set);
        match cause {
            Cause::Attention if self.live.take_attention() => {
                detector.handle_attention(set, now, random)
            }
            Cause::Timeout if detector.poll_timeout().is_some_and(|(due, _)| due <= now) => {
                detector.handle_timeout(set, now, random)
            }
            Cause::Attention | Cause::Timeout => outlier::Turn::default(),
        }
    }

    /// Takes ejections and their ends over into the balancer; who is back takes traffic from now on.
    pub(super) fn take_ejections(&mut self, changed: &[u32], now: Timestamp) {
        for endpoint in changed.iter().filter_map(|index| self.set.watched(*index)) {
            if !endpoint.monitor().is_ejected() {
                endpoint.set_available_since(now);
            }
        }
        self.ejected = ejected_bits(&self.set);
        self.balancer = self.balancer.as_ref().map(|balancer| balancer.with_ejected(&self.ejected));
    }
}
