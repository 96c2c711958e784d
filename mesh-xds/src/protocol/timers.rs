//! The timers of resources, in the order in which they fire.

use crate::ResourceType;
use mesh_core::Timestamp;
use std::collections::BTreeSet;
use std::sync::Arc;

/// What a timer of a resource is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Why {
    /// The server has had time enough to send it (gRFC A57).
    DoesNotExist,
    /// Its time to live is over.
    Ttl,
}

/// A timer that is due.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Due {
    at: Timestamp,
    pub(super) why: Why,
    pub(super) kind: ResourceType,
    pub(super) name: Arc<str>,
}

/// At most two timers for each resource.
#[derive(Debug, Default)]
pub(super) struct Timers(BTreeSet<Due>);

impl Timers {
    /// Sets the timer whose time is kept in `slot`, or with `None` stops it.
    pub(super) fn set(
        &mut self,
        slot: &mut Option<Timestamp>,
        at: Option<Timestamp>,
        why: Why,
        kind: ResourceType,
        name: &Arc<str>,
    ) {
        if *slot == at {
            return;
        }
        if let Some(at) = slot.take() {
            self.0.remove(&Due { at, why, kind, name: name.clone() });
        }
        if let Some(at) = at {
            self.0.insert(Due { at, why, kind, name: name.clone() });
        }
        *slot = at;
    }

    /// The next timer.
    pub(super) fn next(&self) -> Option<(Timestamp, &'static str)> {
        self.0.first().map(|due| {
            let why = match due.why {
                Why::DoesNotExist => "does_not_exist",
                Why::Ttl => "ttl",
            };
            (due.at, why)
        })
    }

    /// Takes a timer whose time has come.
    pub(super) fn pop(&mut self, now: Timestamp) -> Option<Due> {
        let due = self.0.first().is_some_and(|due| due.at <= now);
        if due { self.0.pop_first() } else { None }
    }
}
