//! Attempts that overlap.
//!
//! With `hedge_on_per_try_timeout` (Envoy: `HedgePolicy`) an attempt that passes its per-try timeout
//! stays out, another one starts beside it, and the first acceptable answer wins. Everywhere else at
//! most one attempt is out at a time, and this set has one member.
//!
//! - A hedge is a retry: it takes from `num_retries` and from the retry budget, whatever `retry_on`
//!   says (Envoy: `shouldHedgeRetryPerTryTimeout`). It starts at once; the timeout was its pause.
//! - At most [`MAX_IN_FLIGHT`] attempts are out at the same time.
//! - An attempt is replaced once: what it fails with later is not tried again.

use super::AttemptId;
use crate::time::Timestamp;
use std::time::Duration;

/// The most attempts of one call that are out at the same time.
pub const MAX_IN_FLIGHT: usize = 4;

/// One attempt that is out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempt {
    pub(super) id: AttemptId,
    /// Whether the gate holds a retry slot for it.
    pub(super) holds_slot: bool,
    /// Its own limit has been acted on and does not fire again.
    pub(super) timed_out: bool,
    /// A hedge has started in its place.
    pub(super) replaced: bool,
    /// It has no connection yet: its own limits don't run.
    pub(super) waiting: bool,
    /// From when its per-try timeout runs.
    pub(super) since: Timestamp,
    /// When it last gave a sign of life.
    pub(super) active: Timestamp,
}

/// Which limit of an attempt is the next to pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AttemptLimit {
    /// Ends the attempt.
    PerTry,
    /// Leaves the attempt and starts another beside it.
    Hedge,
    /// Ends an attempt that has been silent.
    Idle,
}

impl AttemptLimit {
    /// The name that `poll_timeout` gives it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::PerTry => "per_try_timeout",
            Self::Hedge => "hedge",
            Self::Idle => "per_try_idle_timeout",
        }
    }
}

/// The attempts that are out.
#[derive(Clone, Debug, Default)]
pub(super) struct InFlight {
    attempts: [Option<Attempt>; MAX_IN_FLIGHT],
}

impl InFlight {
    /// Adds `attempt`, when there is room.
    pub(super) fn insert(&mut self, attempt: Attempt) {
        debug_assert!(!self.is_full(), "whoever starts an attempt has looked for room");
        if let Some(free) = self.attempts.iter_mut().find(|slot| slot.is_none()) {
            *free = Some(attempt);
        }
    }

    /// Takes out `id`, when it is there.
    pub(super) fn remove(&mut self, id: AttemptId) -> Option<Attempt> {
        self.attempts.iter_mut().find(|slot| slot.is_some_and(|attempt| attempt.id == id))?.take()
    }

    /// The attempt `id`, when it is out.
    pub(super) fn find(&mut self, id: AttemptId) -> Option<&mut Attempt> {
        self.attempts.iter_mut().flatten().find(|attempt| attempt.id == id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Attempt> {
        self.attempts.iter().flatten()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.attempts.iter().all(Option::is_none)
    }

    pub(super) fn is_full(&self) -> bool {
        self.attempts.iter().all(Option::is_some)
    }

    /// Empties the set and says how many retry slots its members held.
    pub(super) fn clear(&mut self) -> usize {
        let held = self.iter().filter(|attempt| attempt.holds_slot).count();
        *self = Self::default();
        held
    }

    /// The next limit of each member that has not passed one yet: when, which, and whose.
    pub(super) fn limits(
        &self,
        per_try: Option<(AttemptLimit, Duration)>,
        idle: Option<Duration>,
    ) -> impl Iterator<Item = (Timestamp, AttemptLimit, AttemptId)> {
        let running = self.iter().filter(|attempt| !attempt.timed_out && !attempt.waiting);
        running.filter_map(move |attempt| {
            let per_try = per_try.map(|(which, limit)| (attempt.since + limit, which));
            let idle = idle.map(|limit| (attempt.active + limit, AttemptLimit::Idle));
            let (at, which) = per_try.into_iter().chain(idle).min_by_key(|(at, _)| *at)?;
            Some((at, which, attempt.id))
        })
    }
}
