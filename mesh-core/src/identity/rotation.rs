//! When a certificate has to be renewed, when to warn, and when it is over.
//!
//! Most outages of a mesh's identity are renewals that stopped and that nobody saw. So a renewal is
//! asked for at half of the certificate's life, asked for again until it succeeds, and told of as the
//! rest of the life runs out; at its end the certificate is expired, and whoever uses it fails closed.
//!
//! - A renewal is due at [`RotationOptions::renew_at`] of the life, give or take
//!   [`RotationOptions::jitter`], so that a fleet that started together does not renew together (SPIRE:
//!   half of the life, ± 10 %; Istio: half, ± 1 %).
//! - A failed one is tried again after 1 s, 2 s, 4 s, … up to 60 s, and never later than after a tenth
//!   of the life that is left (1 s at least); each wait is shortened by up to a fifth by chance.
//! - Warnings come when 50, 25 and 10 % of the life are left, if a renewal was due by then.
//! - Clocks jump. What is due follows the wall clock, which is looked at every minute at least; a
//!   jump of more than 5 s is told, in both directions, and what was over may be valid again. Warnings that
//!   lie ahead after a jump back are given when their time comes, as if they had never been given.
//!
//! ```text
//!            handle_certificate                   handle_timeout: due
//! (start) ──────────────────────▶ resting ──────────────────────────────▶ asked ──┐ handle_failure
//!                                    ▲                                      ▲  └──▶ waiting
//!                                    └──────── handle_certificate ──────────┴────────┘ handle_timeout
//! ```
//!
//! What it does not do: fetch, check or publish certificates.

use crate::random::Random;
use crate::time::{Timestamp, WallTime};
use std::time::Duration;

/// The warnings: percent of the life that are left.
const WARNINGS: [u8; 3] = [50, 25, 10];
/// The longest time between two looks at the wall clock.
const RECHECK: Duration = Duration::from_secs(60);
/// Clocks that differ by this much have not jumped: wall time has whole seconds and is adjusted.
const TOLERANCE: Duration = Duration::from_secs(5);
/// Bounds of the wait after a failed renewal.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// The time in which a certificate is valid, both ends included (RFC 5280 section 4.1.2.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "closed by RFC 5280, `Validity`")]
pub struct Validity {
    /// Its first second.
    pub not_before: WallTime,
    /// Its last second.
    pub not_after: WallTime,
}

impl Validity {
    /// How long it lasts; zero when it ends before it begins.
    #[must_use]
    pub const fn life(self) -> Duration {
        self.not_after.saturating_duration_since(self.not_before)
    }

    /// Where `wall` is.
    #[must_use]
    pub fn standing(self, wall: WallTime) -> Standing {
        if wall > self.not_after {
            Standing::Expired
        } else if wall < self.not_before {
            Standing::NotYetValid
        } else {
            Standing::Valid
        }
    }

    /// The instant at which `permille` of the life have passed.
    fn at_permille(self, permille: u64) -> WallTime {
        let passed = u128::from(self.life().as_secs()) * u128::from(permille) / 1000;
        let passed = u64::try_from(passed).unwrap_or(u64::MAX);
        WallTime::from_unix_seconds(self.not_before.as_unix_seconds().saturating_add(passed))
    }
}

/// Whether a certificate can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "closed: before, within, after")]
pub enum Standing {
    /// Its time has not begun; the wall clock may be behind.
    NotYetValid,
    /// It can be used.
    Valid,
    /// Its time is over. Whoever uses it fails closed.
    Expired,
}

/// When a certificate is renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RotationOptions {
    /// The share of the life after which it is renewed, in thousandths, at most 1000; `None`: it can't
    /// be, so every warning counts. Default: 500.
    pub renew_at: Option<u16>,
    /// How far that moves by chance, in thousandths of it, at most 1000. Default: 100.
    pub jitter: u16,
}

impl Default for RotationOptions {
    fn default() -> Self {
        Self { renew_at: Some(500), jitter: 100 }
    }
}

/// Something to do or to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a driver has to act on each")]
pub enum RotationEvent {
    /// Fetch a new certificate, and answer with [`Rotation::handle_certificate`] or
    /// [`Rotation::handle_failure`].
    Renew(RenewReason),
    /// The certificate was not renewed in time.
    Warning {
        /// How much of its life is left at most: 50, 25 or 10.
        percent: u8,
        /// How long it is still valid.
        left: Duration,
    },
    /// It is no longer valid: fail closed.
    Expired,
    /// It is not valid yet: fail closed.
    NotYetValid {
        /// When it will be.
        starts_in: Duration,
    },
    /// It is valid (again), by the wall clock.
    Valid,
    /// The wall clock jumped.
    ClockJumped {
        /// Into the future.
        forward: bool,
        /// How far.
        by: Duration,
    },
}

/// Why a certificate is to be renewed now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "closed: what can make a renewal due")]
pub enum RenewReason {
    /// Its time has come.
    Due,
    /// It has ended.
    Expired,
    /// The last try failed.
    Retry {
        /// How many tries in a row have failed.
        failures: u32,
    },
    /// Somebody asked for it.
    Forced,
}

/// Where a renewal stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Renewal {
    Resting,
    Asked,
    /// It failed, and is tried again then.
    Waiting(Timestamp),
}

/// When a first certificate is asked for again that could not be had, or not be used: as a renewal that failed.
#[derive(Clone, Debug, Default)]
pub struct FirstTry {
    failures: u32,
    at: Option<Timestamp>,
}

impl FirstTry {
    /// There is none that can be used.
    pub fn handle_failure(&mut self, now: Timestamp, random: &mut impl Random) {
        self.at = Some(now + retry_after(self.failures, None, random));
        self.failures = self.failures.saturating_add(1);
    }

    /// Time has passed: why to ask again, if it is to be done now.
    pub fn handle_timeout(&mut self, now: Timestamp) -> Option<RenewReason> {
        self.at.take_if(|at| *at <= now).map(|_| RenewReason::Retry { failures: self.failures })
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called next; `None`: after a failure.
    #[must_use]
    pub const fn poll_timeout(&self) -> Option<Timestamp> {
        self.at
    }
}

/// How long to wait after so many failures before the last, of a certificate with so much of its life `left`.
fn retry_after(failures: u32, left: Option<Duration>, random: &mut impl Random) -> Duration {
    let (least, most) = RETRY;
    let doubled = least.saturating_mul(1 << failures.min(6)).min(most);
    let wait = match left.map(|left| left / 10).filter(|left| !left.is_zero()) {
        None => doubled,
        Some(left) => doubled.min(left).max(least),
    };
    wait - wait.mul_f64(0.2 * random.unit())
}

/// The renewals of one certificate and its successors.
#[derive(Clone, Debug)]
pub struct Rotation {
    options: RotationOptions,
    validity: Validity,
    /// When the certificate in force is to be renewed.
    due: Option<WallTime>,
    renewal: Renewal,
    failures: u32,
    /// How many of the warnings were given or passed.
    warned: usize,
    standing: Standing,
    seen: (Timestamp, WallTime),
}

impl Rotation {
    /// Watches over a certificate from `now`, which is `wall` by the wall clock. Call
    /// [`handle_timeout`](Self::handle_timeout) at once: the certificate may be over already.
    #[must_use]
    pub fn new(
        options: RotationOptions,
        validity: Validity,
        now: Timestamp,
        wall: WallTime,
        random: &mut impl Random,
    ) -> Self {
        let mut rotation = Self {
            options,
            validity,
            due: None,
            renewal: Renewal::Resting,
            failures: 0,
            warned: 0,
            standing: Standing::Valid,
            seen: (now, wall),
        };
        rotation.take(validity, random);
        rotation
    }

    /// The time of the certificate in force.
    #[must_use]
    pub const fn validity(&self) -> Validity {
        self.validity
    }

    /// When the certificate in force is to be renewed; `None`: it can't be.
    #[must_use]
    pub const fn due(&self) -> Option<WallTime> {
        self.due
    }

    /// How many renewals failed since the last good one.
    #[must_use]
    pub const fn failures(&self) -> u32 {
        self.failures
    }

    /// The last warning that holds: percent of the life that are left at most.
    #[must_use]
    pub fn warning(&self) -> Option<u8> {
        WARNINGS.iter().take(self.warned).copied().rfind(|percent| self.is_late(*percent))
    }

    /// A new certificate is in force. When it is due at once (the source gave the old one again), it
    /// counts as a failed renewal, so that nothing spins.
    pub fn handle_certificate(
        &mut self,
        validity: Validity,
        now: Timestamp,
        wall: WallTime,
        random: &mut impl Random,
    ) -> Vec<RotationEvent> {
        let failures = self.failures;
        let warned = (self.validity == validity).then_some(self.warned);
        self.take(validity, random);
        self.warned = warned.unwrap_or(self.warned);
        if self.due.is_some_and(|due| due <= wall) {
            self.failures = failures;
            self.handle_failure(now, wall, random);
        }
        self.look(now, wall)
    }

    /// The renewal that was asked for failed.
    pub fn handle_failure(&mut self, now: Timestamp, wall: WallTime, random: &mut impl Random) {
        let left = self.validity.not_after.saturating_duration_since(wall);
        let wait = retry_after(self.failures, Some(left), random);
        self.failures = self.failures.saturating_add(1);
        self.renewal = Renewal::Waiting(now + wait);
    }

    /// The source was asked, and what is in force is what it has. When that is due, it counts as a failed renewal, so
    /// that nothing spins.
    pub fn handle_unchanged(&mut self, now: Timestamp, wall: WallTime, random: &mut impl Random) {
        if self.due.is_some_and(|due| due <= wall) {
            self.handle_failure(now, wall, random);
        } else {
            (self.renewal, self.failures) = (Renewal::Resting, 0);
        }
    }

    /// Somebody wants a new certificate now: also while one is being fetched, for whoever was asked may hang.
    pub const fn handle_forced(&mut self) -> RotationEvent {
        self.renewal = Renewal::Asked;
        RotationEvent::Renew(RenewReason::Forced)
    }

    /// Time has passed: what is to be done and told, in this order.
    pub fn handle_timeout(&mut self, now: Timestamp, wall: WallTime) -> Vec<RotationEvent> {
        self.look(now, wall)
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called next: in a minute at the latest,
    /// for the wall clock may jump.
    #[must_use]
    pub fn poll_timeout(&self) -> Timestamp {
        let (seen, wall) = self.seen;
        let level = WARNINGS.get(self.warned).map(|percent| self.warning_at(*percent));
        let after = WallTime::from_unix_seconds(
            self.validity.not_after.as_unix_seconds().saturating_add(1),
        );
        let due = self.due.filter(|_| self.renewal == Renewal::Resting);
        let walls = [due, level, Some(after), Some(self.validity.not_before)];
        let next = walls.into_iter().flatten().filter(|at| *at > wall);
        let next = next.map(|at| seen + at.saturating_duration_since(wall));
        let retry = match self.renewal {
            Renewal::Waiting(at) => Some(at),
            Renewal::Resting | Renewal::Asked => None,
        };
        next.chain(retry).fold(seen + RECHECK, Ord::min)
    }

    /// Puts a certificate in force.
    fn take(&mut self, validity: Validity, random: &mut impl Random) {
        self.validity = validity;
        self.due = self.options.renew_at.map(|share| {
            let share = u64::from(share.min(1000));
            let most = share * u64::from(self.options.jitter.min(1000)) / 1000;
            let moved = random.below(2 * most + 1);
            validity.at_permille((share + moved).saturating_sub(most).min(1000))
        });
        self.renewal = Renewal::Resting;
        self.failures = 0;
        self.warned = 0;
    }

    fn warning_at(&self, percent: u8) -> WallTime {
        self.validity.at_permille(1000 - 10 * u64::from(percent))
    }

    /// Whether it should have been renewed before so little of its life was left.
    fn is_late(&self, percent: u8) -> bool {
        self.due.is_none_or(|due| due < self.warning_at(percent))
    }

    fn look(&mut self, now: Timestamp, wall: WallTime) -> Vec<RotationEvent> {
        let mut events = Vec::new();
        let jump = self.jump(now, wall);
        if let Some(RotationEvent::ClockJumped { forward: false, .. }) = jump {
            // What was passed by a wrong clock lies ahead again. What was reached only now is not passed yet.
            let reached = WARNINGS.iter().filter(|percent| self.warning_at(**percent) <= wall);
            self.warned = self.warned.min(reached.count());
        }
        events.extend(jump);
        self.seen = (now, wall);
        events.extend(self.stand(wall));
        events.extend(self.warn(wall));
        events.extend(self.renew(now, wall));
        events
    }

    /// Whether the wall clock went another way than time.
    fn jump(&self, now: Timestamp, wall: WallTime) -> Option<RotationEvent> {
        let (seen, seen_wall) = self.seen;
        let passed = now.saturating_duration_since(seen);
        let expected = seen_wall.as_unix_seconds().saturating_add(passed.as_secs());
        let expected = WallTime::from_unix_seconds(expected);
        let forward = wall > expected;
        let by = match forward {
            true => wall.saturating_duration_since(expected),
            false => expected.saturating_duration_since(wall),
        };
        (by > TOLERANCE).then_some(RotationEvent::ClockJumped { forward, by })
    }

    fn stand(&mut self, wall: WallTime) -> Option<RotationEvent> {
        let standing = self.validity.standing(wall);
        if std::mem::replace(&mut self.standing, standing) == standing {
            return None;
        }
        Some(match standing {
            Standing::Valid => RotationEvent::Valid,
            Standing::Expired => RotationEvent::Expired,
            Standing::NotYetValid => RotationEvent::NotYetValid {
                starts_in: self.validity.not_before.saturating_duration_since(wall),
            },
        })
    }

    /// The lowest level that was reached, once. Those that lie before the time of renewal are none.
    fn warn(&mut self, wall: WallTime) -> Option<RotationEvent> {
        let mut found = None;
        while let Some(percent) = WARNINGS.get(self.warned).copied() {
            let at = self.warning_at(percent);
            if wall < at {
                break;
            }
            self.warned += 1;
            if self.is_late(percent) {
                found = Some(percent);
            }
        }
        if self.standing == Standing::Expired {
            return None;
        }
        let left = self.validity.not_after.saturating_duration_since(wall);
        found.map(|percent| RotationEvent::Warning { percent, left })
    }

    fn renew(&mut self, now: Timestamp, wall: WallTime) -> Option<RotationEvent> {
        let reason = match self.renewal {
            Renewal::Asked => return None,
            Renewal::Waiting(at) if at > now => return None,
            Renewal::Waiting(_) => RenewReason::Retry { failures: self.failures },
            Renewal::Resting => match self.due {
                Some(due) if wall >= due && self.standing == Standing::Expired => {
                    RenewReason::Expired
                }
                Some(due) if wall >= due => RenewReason::Due,
                _ => return None,
            },
        };
        self.renewal = Renewal::Asked;
        Some(RotationEvent::Renew(reason))
    }
}

#[cfg(test)]
mod tests;
