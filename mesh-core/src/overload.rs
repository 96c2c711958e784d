//! [`Overload`]: whether a process is so near its limits that it refuses work, before it is ended for it.
//!
//! A process that asks for more memory than its control group has is killed, with all that it carries; one without
//! file descriptors accepts nobody, and reaches nobody. Refusing a share of the work costs less than either. It is
//! Envoy's overload manager with two resources, and with what a mesh can do about each.
//!
//! ```text
//!            used ≥ 90 % of the limit              refused: memory: requests and connections
//!  at ease ──────────────────────────> in need     refused: descriptors: connections
//!     <─────────────────────────────
//!            used < 85 % of the limit
//! ```
//!
//! An allocator may keep for itself what was freed, so that memory stays used when the work that needed it is long
//! gone. So memory has a second way back: when it has not grown for a second, work is taken again, which may use what
//! was freed, and is refused as soon as it needs more ([`Overload::STEP`]). From 97 % on there is only the first way.
//!
//! Readings are arguments, and so is the time. Without a limit, or without a reading, nothing is refused.

use crate::time::Timestamp;
use std::fmt;
use std::time::Duration;

/// What a process may run out of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "closed: what is read of the system")]
pub enum Resource {
    /// Memory that is resident, against the limit of the control group, or of the process.
    Memory,
    /// File descriptors, against the limit of the process.
    Descriptors,
}

impl Resource {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Memory, Self::Descriptors];

    /// The label `resource` of metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Descriptors => "descriptors",
        }
    }
}

/// How much of a resource there is, and is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "two numbers")]
pub struct Reading {
    /// What is used.
    pub used: u64,
    /// How much there may be.
    pub limit: u64,
}

impl Reading {
    /// What is used, in whole per cent of the limit.
    #[must_use]
    pub fn per_cent(self) -> u64 {
        self.parts(100)
    }

    /// What is used, where the limit has so many parts.
    fn parts(self, parts: u64) -> u64 {
        let used = u128::from(self.used) * u128::from(parts) / u128::from(self.limit.max(1));
        u64::try_from(used).unwrap_or(u64::MAX)
    }
}

/// That work begins to be refused, or is taken again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "what there is to tell")]
pub struct Change {
    /// For want of what.
    pub resource: Resource,
    /// Whether it is refused from now on.
    pub refuses: bool,
    /// By which reading; `None`: there is none any more.
    pub reading: Option<Reading>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match (self.resource, self.refuses) {
            (Resource::Memory, true) => {
                "new connections and requests are refused for want of memory"
            }
            (Resource::Descriptors, true) => {
                "new connections are refused for want of file descriptors"
            }
            (Resource::Memory, false) => "there is memory again: nothing is refused for want of it",
            (Resource::Descriptors, false) => {
                "there are file descriptors again: nothing is refused for want of them"
            }
        };
        f.write_str(what)?;
        match self.reading {
            Some(reading) => {
                write!(f, " ({} of {}, {} %)", reading.used, reading.limit, reading.per_cent())
            }
            None => Ok(()),
        }
    }
}

/// When work is refused, in per cent of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "two thresholds")]
pub struct Thresholds {
    /// From here on it is.
    pub refuse: u8,
    /// Below here it is not any more.
    pub resume: u8,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self { refuse: 90, resume: 85 }
    }
}

/// What is refused now, and when to look again.
#[derive(Clone, Debug, Default)]
pub struct Overload {
    thresholds: Thresholds,
    refuses: [bool; Resource::ALL.len()],
    readings: [Option<Reading>; Resource::ALL.len()],
    memory: Memory,
}

/// How memory goes on once it was refused.
#[derive(Clone, Copy, Debug, Default)]
struct Memory {
    /// While it is refused: the most that was used, in per cent of a per cent, and since when.
    most: (u64, Timestamp),
    /// While it is taken although more is used than the threshold: so much was, in per cent of a per cent.
    stays: Option<u64>,
}

impl Overload {
    /// How long until the next reading of a process at ease.
    pub const AT_EASE: Duration = Duration::from_millis(250);

    /// How long until the next one where more than half of a limit is used.
    pub const NEAR: Duration = Duration::from_millis(50);

    /// How fast memory may grow, in bytes a second: the next reading is before what is left could be used.
    pub const FASTEST: u64 = 1 << 30;

    /// No reading is sooner after another.
    pub const SOONEST: Duration = Duration::from_millis(10);

    /// How long memory must not have grown, for work to be taken that may use what was freed.
    pub const QUIET: Duration = Duration::from_secs(1);

    /// How much memory may grow then, in per cent of the limit, before work is refused again.
    pub const STEP: u64 = 2;

    /// From how many per cent on memory has to fall before work is taken again.
    pub const LAST: u64 = 97;

    /// Nothing is refused.
    #[must_use]
    pub const fn new(thresholds: Thresholds) -> Self {
        let memory = Memory { most: (0, Timestamp::ZERO), stays: None };
        Self { thresholds, refuses: [false; 2], readings: [None; 2], memory }
    }

    /// Takes in a reading; `None`: nobody knows, or there is no limit. What changes by it.
    pub fn handle_reading(
        &mut self,
        resource: Resource,
        reading: Option<Reading>,
        now: Timestamp,
    ) -> Option<Change> {
        let per_cent = reading.map_or(0, Reading::per_cent);
        let before = self.refuses[resource as usize];
        let threshold = if before { self.thresholds.resume } else { self.thresholds.refuse };
        let is_over = per_cent >= u64::from(threshold);
        let refuses = match (resource, reading) {
            (Resource::Memory, Some(reading)) => self.memory.refuses(before, is_over, reading, now),
            _ => is_over,
        };
        self.readings[resource as usize] = reading;
        self.refuses[resource as usize] = refuses;
        (before != refuses).then_some(Change { resource, refuses, reading })
    }

    /// Whether connections are refused.
    #[must_use]
    pub fn refuses_connections(&self) -> bool {
        self.refuses.contains(&true)
    }

    /// Whether requests are refused.
    #[must_use]
    pub const fn refuses_requests(&self) -> bool {
        self.refuses[Resource::Memory as usize]
    }

    /// The last reading.
    #[must_use]
    pub const fn reading(&self, resource: Resource) -> Option<Reading> {
        self.readings[resource as usize]
    }

    /// How many connections may be accepted until the next reading, each of which may need a second one; `None`: any
    /// number.
    #[must_use]
    pub fn room(&self) -> Option<u64> {
        Some(self.left(Resource::Descriptors)? / 2)
    }

    /// How long until the next reading: near a limit it is sooner.
    #[must_use]
    pub fn again(&self) -> Duration {
        let most = self.readings.iter().flatten().map(|reading| reading.per_cent()).max();
        let again = if most.is_some_and(|most| most >= 50) { Self::NEAR } else { Self::AT_EASE };
        let left = self.left(Resource::Memory).map(|bytes| {
            let millis = bytes.saturating_mul(1000) / Self::FASTEST;
            Duration::from_millis(millis).max(Self::SOONEST)
        });
        left.map_or(again, |left| left.min(again))
    }

    /// How much may be used until work is refused; `None`: any amount.
    fn left(&self, resource: Resource) -> Option<u64> {
        let Reading { used, limit } = self.reading(resource)?;
        let most = u128::from(limit) * u128::from(self.thresholds.refuse) / 100;
        Some(u64::try_from(most).unwrap_or(limit).saturating_sub(used))
    }
}

impl Memory {
    /// Whether work is refused: by the thresholds `is_over`, and it was `before`.
    fn refuses(&mut self, before: bool, is_over: bool, reading: Reading, now: Timestamp) -> bool {
        let used = reading.parts(10_000);
        if !is_over {
            self.stays = None;
            return false;
        }
        if !before {
            let is_within = self.stays.is_some_and(|stays| used <= stays + Overload::STEP * 100);
            if !is_within {
                self.most = (used, now);
            }
            return !is_within;
        }
        if used > self.most.0 {
            self.most = (used, now);
        }
        let is_quiet = now.saturating_duration_since(self.most.1) >= Overload::QUIET;
        let resumes = is_quiet && used < Overload::LAST * 100;
        if resumes {
            self.stays = Some(used);
        }
        !resumes
    }
}

/// The least of several limits of memory, of which some are none: a control group's `max`, or a number so large that
/// it is none (version 1).
#[must_use]
pub fn least_limit(limits: impl IntoIterator<Item = Option<u64>>) -> Option<u64> {
    /// More than any machine has.
    const NONE: u64 = 1 << 60;
    limits.into_iter().flatten().filter(|limit| (1..NONE).contains(limit)).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(used: u64) -> Option<Reading> {
        Some(Reading { used, limit: 1000 })
    }

    const NOW: Timestamp = Timestamp::ZERO;

    /// Whether requests are refused, by what is used each half second.
    #[track_caller]
    fn check(used: &[u64], expected: &[u8]) {
        let (mut overload, mut now) = (Overload::default(), NOW);
        let refused = used.iter().map(|used| {
            now = now + Duration::from_millis(500);
            overload.handle_reading(Resource::Memory, of(*used), now);
            u8::from(overload.refuses_requests())
        });
        assert_eq!(refused.collect::<Vec<_>>(), expected, "{used:?}");
    }

    #[test]
    fn memory_that_does_not_grow_may_be_what_was_freed() {
        check(&[910, 910, 910, 910, 910], &[1, 1, 0, 0, 0]);
        check(&[910, 920, 930, 930, 930, 950, 951], &[1, 1, 1, 1, 0, 0, 1]);
        // It may grow by no more than a step each time, and not to the end.
        check(
            &[910, 905, 905, 930, 930, 930, 960, 970, 970, 970, 969],
            &[1, 1, 0, 1, 1, 0, 1, 1, 1, 1, 0],
        );
        // Who was at ease again begins anew.
        check(&[910, 910, 910, 800, 899, 900], &[1, 1, 0, 0, 0, 1]);
    }

    #[test]
    fn work_is_refused_from_one_threshold_to_another() {
        let mut overload = Overload::default();
        let readings = [500, 899, 900, 880, 1200, 850, 849, 899, 900];
        let refused = readings.map(|used| {
            let change = overload.handle_reading(Resource::Memory, of(used), NOW);
            assert_eq!(overload.refuses_requests(), overload.refuses_connections());
            let told = change.map(|change| change.refuses);
            (overload.refuses_requests(), told)
        });
        let (yes, no) = (true, false);
        assert_eq!(
            refused,
            [
                (no, None),
                (no, None),
                (yes, Some(yes)),
                (yes, None),
                (yes, None),
                (yes, None),
                (no, Some(no)),
                (no, None),
                (yes, Some(yes)),
            ]
        );
        // Who does not know how it is refuses nothing.
        let change = overload.handle_reading(Resource::Memory, None, NOW).unwrap();
        assert!(!change.refuses && !overload.refuses_requests());
    }

    #[test]
    fn descriptors_are_those_of_connections() {
        let mut overload = Overload::default();
        let change = overload.handle_reading(Resource::Descriptors, of(950), NOW).unwrap();
        assert_eq!(
            change.to_string(),
            "new connections are refused for want of file descriptors (950 of 1000, 95 %)"
        );
        assert!(overload.refuses_connections() && !overload.refuses_requests());
        assert_eq!(overload.reading(Resource::Descriptors), of(950));
        assert_eq!(overload.room(), Some(0));
        overload.handle_reading(Resource::Descriptors, of(100), NOW);
        assert_eq!(overload.room(), Some(400));
        overload.handle_reading(Resource::Descriptors, None, NOW);
        assert_eq!(overload.room(), None);
    }

    #[test]
    fn near_a_limit_it_is_looked_at_more_often() {
        let mut overload = Overload::default();
        assert_eq!(overload.again(), Overload::AT_EASE);
        let mib = |used: u64| Some(Reading { used: used << 20, limit: 1000 << 20 });
        overload.handle_reading(Resource::Memory, mib(499), NOW);
        assert_eq!(overload.again(), Overload::AT_EASE);
        overload.handle_reading(Resource::Descriptors, of(500), NOW);
        assert_eq!(overload.again(), Overload::NEAR);
        // A process that grows by 1 GiB a second has used them before that.
        for (used, millis) in [(849, 49), (874, 25), (895, 10), (990, 10)] {
            overload.handle_reading(Resource::Memory, mib(used), NOW);
            assert_eq!(overload.again(), Duration::from_millis(millis), "{used}");
        }
        // Of a small limit little is left from the beginning.
        let small = Some(Reading { used: 20 << 20, limit: 44 << 20 });
        overload.handle_reading(Resource::Memory, small, NOW);
        assert_eq!(overload.again(), Duration::from_millis(19));
    }

    #[test]
    fn limits_that_are_none_do_not_count() {
        assert_eq!(least_limit([None, Some(9_223_372_036_854_771_712), Some(0)]), None);
        assert_eq!(least_limit([Some(2_000), None, Some(1_000)]), Some(1_000));
        assert_eq!(Reading { used: u64::MAX, limit: 0 }.per_cent(), u64::MAX);
    }
}
