//! [`Phases`]: where the time of a call went.

use super::names::label_values;
use mesh_core::time::saturating_nanos;
use std::fmt;
use std::time::Duration;

label_values! {
    /// A part of a call's time.
    ///
    /// [`Routing`](Self::Routing) and [`Backoff`](Self::Backoff) happen to the call, the others to each
    /// attempt.
    #[non_exhaustive]
    pub enum Phase {
        /// Virtual host, route and cluster were chosen; measured of calls that carry a report, because
        /// the clock would cost more than most routings.
        Routing = "routing",
        /// The attempt waited for an endpoint, or for a connection that was being made or was full.
        Waiting = "waiting",
        /// The connection was made, without TLS.
        Connect = "connect",
        /// The TLS handshake.
        Tls = "tls",
        /// From the request's head being handed to the connection to the response's head.
        FirstByte = "first_byte",
        /// From the response's head to the end of the response's body, read or not.
        Body = "body",
        /// The call waited before a retry.
        Backoff = "backoff",
    }
}

/// How long each [`Phase`] took, as far as it happened and was measured.
///
/// 56 bytes, copied and never allocated.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Phases {
    nanos: [u64; Phase::ALL.len()],
}

/// Marks a phase that did not happen. As a duration it is 584 years.
const ABSENT: u64 = u64::MAX;

impl Phases {
    /// No phase measured.
    #[must_use]
    pub const fn new() -> Self {
        Self { nanos: [ABSENT; Phase::ALL.len()] }
    }

    /// How long `phase` took; `None`: it did not happen, or was not measured.
    #[must_use]
    pub const fn get(&self, phase: Phase) -> Option<Duration> {
        match self.nanos[phase as usize] {
            ABSENT => None,
            nanos => Some(Duration::from_nanos(nanos)),
        }
    }

    /// Adds `duration` to `phase`: a call may wait for several back-offs.
    pub fn add(&mut self, phase: Phase, duration: Duration) {
        let nanos = &mut self.nanos[phase as usize];
        let before = if *nanos == ABSENT { 0 } else { *nanos };
        *nanos = before.saturating_add(saturating_nanos(duration)).min(ABSENT - 1);
    }

    /// The phases that happened, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Phase, Duration)> {
        Phase::ALL.iter().filter_map(|phase| Some((*phase, self.get(*phase)?)))
    }
}

impl Default for Phases {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Phases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_that_took_no_time_is_not_one_that_did_not_happen() {
        let mut phases = Phases::new();
        assert_eq!(phases.iter().count(), 0);
        phases.add(Phase::Waiting, Duration::ZERO);
        phases.add(Phase::Backoff, Duration::from_millis(2));
        phases.add(Phase::Backoff, Duration::from_millis(3));
        let seen: Vec<_> = phases.iter().collect();
        let expected =
            [(Phase::Waiting, Duration::ZERO), (Phase::Backoff, Duration::from_millis(5))];
        assert_eq!(seen, expected);
        phases.add(Phase::Body, Duration::MAX);
        phases.add(Phase::Body, Duration::MAX);
        assert!(phases.get(Phase::Body) > Some(Duration::from_secs(1 << 34)));
        assert_eq!(size_of::<Phases>(), 56);
    }
}
