//! What happens in a mesh without a new configuration: ejections, their ends, sweeps.

use super::prepare::ejected_bits;
use super::updater::Entry;
use super::{Attach, Updater};
use crate::event::Event;
use crate::outlier;
use crate::random::Random;
use crate::time::Timestamp;
use std::sync::Arc;

/// What a turn of maintenance did.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Turn {
    /// What happened, for logs and metrics, with the cluster that it happened in.
    pub events: Vec<(Arc<str>, Event)>,
}

impl<A: Attach> Updater<A> {
    /// When [`handle_timeout`](Self::handle_timeout) wants to be called next, and why.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Timestamp, &'static str)> {
        self.entries.values().filter_map(|entry| entry.detector.poll_timeout()).min()
    }

    /// Does what is due: sweeps, ends of ejections.
    pub fn handle_timeout(&mut self, now: Timestamp, random: &mut impl Random) -> Turn {
        self.turn(now, random, |entry, now, random| {
            let (due, _) = entry.detector.poll_timeout()?;
            (due <= now).then(|| entry.detector.handle_timeout(&*entry.set, now, random))
        })
    }

    /// Decides about endpoints that crossed a threshold, in every cluster that
    /// [`LiveCluster::record`](super::LiveCluster::record) marked.
    pub fn handle_attention(&mut self, now: Timestamp, random: &mut impl Random) -> Turn {
        self.turn(now, random, |entry, now, random| {
            let marked = entry.live.take_attention();
            marked.then(|| entry.detector.handle_attention(&*entry.set, now, random))
        })
    }

    fn turn<R: Random>(
        &mut self,
        now: Timestamp,
        random: &mut R,
        step: impl Fn(&mut Entry<A>, Timestamp, &mut R) -> Option<outlier::Turn>,
    ) -> Turn {
        let mut turn = Turn::default();
        let mut entries = std::mem::take(&mut self.entries);
        for (name, entry) in &mut entries {
            let Some(changes) = step(entry, now, random) else { continue };
            turn.events.extend(changes.events.into_iter().map(|event| (Arc::clone(name), event)));
            if changes.changed.is_empty() {
                continue;
            }
            entry.take_ejections(&changes.changed, now);
            self.publish_picker(entry);
        }
        self.entries = entries;
        turn
    }
}

impl<A: Attach> Entry<A> {
    /// Takes ejections and their ends over into the balancer; who is back takes traffic from now on.
    pub(super) fn take_ejections(&mut self, changed: &[u32], now: Timestamp) {
        for endpoint in changed.iter().filter_map(|index| self.set.endpoint(*index)) {
            if !endpoint.monitor().is_ejected() {
                endpoint.set_available_since(now);
            }
        }
        let ejected = ejected_bits(&self.set);
        self.ejected = ejected.count();
        self.balancer = self.balancer.as_ref().map(|balancer| balancer.with_ejected(&ejected));
    }
}
