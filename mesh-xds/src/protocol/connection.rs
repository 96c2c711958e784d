//! When there is a stream, and how long until the next.
//!
//! ```text
//!          watched                    handle_connected
//!   Idle ───────────▶ Connecting ─────────────────────────▶ Open
//!    ▲  ▲  Connect        │ closed, or not open in time       │ closed, or mute
//!    │  └──────────────┐  ▼                                   ▼
//!    └─ nothing        Waiting ◀──────────────────────────────┘
//!       watched           │ ▲
//!                         └─┘ pause over: Connect
//!
//!   the stream had       the next one starts                                     told
//!   ───────────────────  ──────────────────────────────────────────────────────  ─────────────
//!   a response           at once, but 1 s after the start of the one before      nothing
//!   no response          1 s · 1.6ⁿ, at most 120 s, ±20 %, after its end         Unreachable
//!   UNIMPLEMENTED        at once in the other variant, if this was the preferred VariantChanged
//! ```
//!
//! gRFC A57: a stream that ends after a response is no error and needs no back-off; the first response
//! resets the back-off.

use super::error_text::bounded;
use super::event::{Action, CloseReason, Event};
use super::options::{Options, Variant};
use mesh_core::{Random, Timestamp};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// gRPC: connection-backoff, `MULTIPLIER`.
const MULTIPLIER: f64 = 1.6;
/// gRPC: connection-backoff, `JITTER`.
const JITTER: f64 = 0.2;

/// The state of the one stream.
#[derive(Debug)]
pub(crate) struct Connection {
    phase: Phase,
    variant: Variant,
    /// Streams in a row without a response.
    failures: u32,
    /// When the last stream was begun.
    started: Timestamp,
    /// No stream is begun before.
    not_before: Timestamp,
    told: Told,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing was watched yet, or nothing any more when a stream could have begun.
    Idle,
    Waiting,
    Connecting {
        until: Timestamp,
    },
    Open {
        answered: bool,
        mute: Option<Timestamp>,
    },
}

/// What watchers think of the server.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    Nothing,
    Reachable,
    Unreachable(Arc<str>),
}

/// A timer of the stream that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    Connect,
    ConnectTimeout,
    Mute,
}

impl Connection {
    pub(crate) const fn new(variant: Variant) -> Self {
        Self {
            phase: Phase::Idle,
            variant,
            failures: 0,
            started: Timestamp::ZERO,
            not_before: Timestamp::ZERO,
            told: Told::Nothing,
        }
    }

    pub(crate) const fn variant(&self) -> Variant {
        self.variant
    }

    /// Why the server counts as unreachable, if it does.
    pub(crate) const fn unreachable(&self) -> Option<&Arc<str>> {
        match &self.told {
            Told::Unreachable(error) => Some(error),
            Told::Nothing | Told::Reachable => None,
        }
    }

    pub(crate) const fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open { .. })
    }

    /// Whether there is a stream, or an attempt to open one, that can end.
    pub(crate) const fn is_live(&self) -> bool {
        matches!(self.phase, Phase::Open { .. } | Phase::Connecting { .. })
    }

    /// Whether the open stream has had a response.
    pub(crate) const fn is_answered(&self) -> bool {
        matches!(self.phase, Phase::Open { answered: true, .. })
    }

    /// Something is watched: begins a stream, unless one is there or a pause is on.
    pub(crate) fn want(
        &mut self,
        options: &Options,
        now: Timestamp,
        actions: &mut VecDeque<Action>,
    ) {
        if self.phase != Phase::Idle {
            return;
        }
        match now < self.not_before {
            true => self.phase = Phase::Waiting,
            false => self.begin(options, now, actions),
        }
    }

    fn begin(&mut self, options: &Options, now: Timestamp, actions: &mut VecDeque<Action>) {
        self.phase = Phase::Connecting { until: now + options.connect_timeout };
        self.started = now;
        actions.push_back(Action::Connect(self.variant));
    }

    /// The stream is open. `false`: none was being opened.
    pub(crate) fn handle_connected(&mut self) -> bool {
        let opening = matches!(self.phase, Phase::Connecting { .. });
        if opening {
            self.phase = Phase::Open { answered: false, mute: None };
        }
        opening
    }

    /// Something unknown was asked for: the server must not be mute.
    pub(crate) fn handle_asked(&mut self, options: &Options, now: Timestamp) {
        if let Phase::Open { answered: false, mute: mute @ None } = &mut self.phase {
            *mute = Some(now + options.mute_timeout);
        }
    }

    /// A response came. `false`: no stream is open.
    pub(crate) fn handle_response(&mut self, events: &mut VecDeque<Event>) -> bool {
        let Phase::Open { answered, mute } = &mut self.phase else { return false };
        (*answered, *mute) = (true, None);
        self.failures = 0;
        if self.told != Told::Reachable {
            self.told = Told::Reachable;
            events.push_back(Event::Reachable);
        }
        true
    }

    /// The stream has ended; `true`: it is now spoken in the other variant.
    pub(crate) fn end(
        &mut self,
        reason: CloseReason,
        options: &Options,
        now: Timestamp,
        random: &mut impl Random,
        events: &mut VecDeque<Event>,
    ) -> bool {
        let answered = self.is_answered();
        self.phase = Phase::Waiting;
        let (error, unimplemented) = match reason {
            CloseReason::Ended => ("the server ended the stream without a response".into(), false),
            CloseReason::Failed(error) => (bounded(&error), false),
            CloseReason::Unimplemented(error) => (bounded(&error), true),
        };
        let spaced = self.started + options.min_stream_interval;
        if answered {
            self.not_before = spaced.max(now);
        } else if unimplemented && self.variant == options.variant {
            self.variant = self.variant.other();
            // It can't happen twice, so it needs no pause.
            self.not_before = now;
            events.push_back(Event::VariantChanged { to: self.variant, error });
            return true;
        } else {
            self.failures = self.failures.saturating_add(1);
            self.not_before = spaced.max(now + backoff(options, self.failures, random));
            self.told = Told::Unreachable(error.clone());
            events.push_back(Event::Unreachable { error, failures: self.failures });
        }
        false
    }

    /// After a pause: begins the next stream, if anything is `wanted`.
    pub(crate) fn handle_pause_over(
        &mut self,
        wanted: bool,
        options: &Options,
        now: Timestamp,
        actions: &mut VecDeque<Action>,
    ) {
        if self.phase == Phase::Waiting && self.not_before <= now {
            match wanted {
                true => self.begin(options, now, actions),
                false => self.phase = Phase::Idle,
            }
        }
    }

    /// Leaves the open stream, for the next one to begin when it may. `false`: none is open.
    pub(super) fn restart(&mut self, options: &Options) -> bool {
        let open = self.is_open();
        if open {
            self.phase = Phase::Waiting;
            self.not_before = self.not_before.max(self.started + options.min_stream_interval);
        }
        open
    }

    /// Nothing is watched any more. `true`: a stream has to be left. What its failures were counts on,
    /// so that whoever watches again does not hurry a server that is down.
    pub(super) fn rest(&mut self, options: &Options) -> bool {
        let live = self.is_live();
        if live {
            self.not_before = self.not_before.max(self.started + options.min_stream_interval);
        }
        self.phase = Phase::Idle;
        self.told = Told::Nothing;
        live
    }

    /// The server is not mute: nothing that it was asked for is wanted any more.
    pub(crate) fn excuse(&mut self) {
        if let Phase::Open { mute, .. } = &mut self.phase {
            *mute = None;
        }
    }

    /// The timer of the stream.
    pub(crate) fn next(&self) -> Option<(Timestamp, &'static str, Due)> {
        match self.phase {
            Phase::Idle => None,
            Phase::Waiting => {
                let why = if self.failures > 0 { "backoff" } else { "stream_interval" };
                Some((self.not_before, why, Due::Connect))
            }
            Phase::Connecting { until } => Some((until, "connect_timeout", Due::ConnectTimeout)),
            Phase::Open { mute, .. } => mute.map(|at| (at, "mute_timeout", Due::Mute)),
        }
    }
}

/// The pause after so many streams without a response, counted from 1 (gRPC: connection-backoff).
fn backoff(options: &Options, failures: u32, random: &mut impl Random) -> Duration {
    let exponent = failures.saturating_sub(1).min(1_000) as i32;
    let initial = options.initial_backoff.as_nanos() as f64;
    let longest = options.max_backoff.as_nanos() as f64;
    let pause = (initial * MULTIPLIER.powi(exponent)).min(longest);
    let spread = 1.0 - JITTER + 2.0 * JITTER * random.unit();
    // Out of range saturates, and what is no number is 0.
    Duration::from_nanos((pause * spread) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mesh_core::random::SplitMix64;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_pause_is_within_a_fifth_of_its_step(seed: u64, failures in 1u32..5_000) {
            let step = 1.6f64.powi(failures.min(60) as i32 - 1).min(120.0);
            let pause = backoff(&Options::default(), failures, &mut SplitMix64::new(seed));
            prop_assert!((step * 0.799..=step * 1.2).contains(&pause.as_secs_f64()), "{pause:?}");
        }

        #[test]
        fn no_pause_overflows(seed: u64, initial: u64, longest: u64, failures: u32) {
            let options = Options {
                initial_backoff: Duration::new(initial, 1),
                max_backoff: Duration::new(longest, 1),
                ..Options::default()
            };
            let _: Duration = backoff(&options, failures, &mut SplitMix64::new(seed));
        }
    }
}
