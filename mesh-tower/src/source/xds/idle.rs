//! [`Idle`]: which authorities no call uses any more.
//!
//! Calls count themselves anyway, by virtual host, and calls that have to ask for an authority are counted
//! by [`Demand`](crate::source::Demand). So nothing is written down for this when a call is made: the
//! counters are looked at now and then, and an authority whose counters stood still for long enough, with
//! no call in flight, is unused. Counters may also fall (a route that is gone takes its own along): any
//! change is a use.
//!
//! Two authorities whose virtual hosts have the same name are counted together, and stay for each other.

use mesh_core::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How often counters are looked at, for authorities that may be unused for `after`: the last look is at
/// most a quarter of it late.
pub(super) fn period(after: Duration) -> Duration {
    (after / 4).min(Duration::from_secs(60))
}

/// What is seen of an authority.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Use {
    /// Calls that were begun, and questions.
    pub(super) count: u64,
    /// Whether calls are in flight.
    pub(super) is_busy: bool,
}

/// The authorities, and since when nothing was seen of each.
#[derive(Debug)]
pub(super) struct Idle {
    after: Duration,
    seen: BTreeMap<Arc<str>, (u64, Timestamp)>,
}

impl Idle {
    pub(super) const fn new(after: Duration) -> Self {
        Self { after, seen: BTreeMap::new() }
    }

    /// Looks at all authorities that may be let go of; those that are unused by now. An authority that is
    /// not among `uses` is forgotten.
    pub(super) fn handle_uses(
        &mut self,
        uses: BTreeMap<Arc<str>, Use>,
        now: Timestamp,
    ) -> Vec<Arc<str>> {
        let mut unused = Vec::new();
        self.seen.retain(|authority, _| uses.contains_key(authority));
        for (authority, seen) in uses {
            let new = (seen.count, now);
            let last = self.seen.entry(Arc::clone(&authority)).or_insert(new);
            if seen.is_busy || last.0 != seen.count {
                *last = new;
            } else if now.saturating_duration_since(last.1) >= self.after {
                unused.push(authority);
            }
        }
        unused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks once a minute; each look is `authority:count`, with `!` while calls are in flight, or nothing.
    /// The minutes at which something is unused, after ten.
    #[track_caller]
    fn check(looks: &[&str], expected: &[(usize, &str)]) {
        let mut idle = Idle::new(Duration::from_secs(600));
        let mut unused = Vec::new();
        for (minute, look) in looks.iter().enumerate() {
            let read = |text: &str| {
                let (name, count) = text.split_once(':').unwrap();
                let count = count.trim_end_matches('!').parse().unwrap();
                (Arc::from(name), Use { count, is_busy: text.ends_with('!') })
            };
            let uses = look.split_whitespace().map(read).collect();
            let now = Timestamp::from_millis(minute as u64 * 60_000);
            unused.extend(idle.handle_uses(uses, now).into_iter().map(|name| (minute, name)));
        }
        let expected: Vec<_> =
            expected.iter().map(|(minute, name)| (*minute, Arc::from(*name))).collect();
        assert_eq!(unused, expected, "{looks:?}");
    }

    #[test]
    fn what_stood_still_for_long_enough_is_unused() {
        check(&["a:0"; 10], &[]);
        check(&["a:0"; 11], &[(10, "a")]);
        check(&["a:7 b:1"; 11], &[(10, "a"), (10, "b")]);
        let mut looks = vec!["a:0"; 6];
        looks.extend(["a:1"; 10]);
        check(&looks, &[]);
        looks.push("a:1");
        check(&looks, &[(16, "a")]);
    }

    #[test]
    fn a_counter_that_falls_is_a_use() {
        let mut looks = vec!["a:9"; 10];
        looks.extend(["a:0"; 10]);
        check(&looks, &[]);
    }

    #[test]
    fn a_call_in_flight_is_a_use() {
        check(&["a:1!"; 30], &[]);
        let mut looks = vec!["a:1!"; 10];
        looks.extend(["a:1"; 10]);
        check(&looks, &[(19, "a")]);
    }

    #[test]
    fn what_is_gone_begins_anew() {
        let mut looks = vec!["a:1"; 9];
        looks.push("");
        looks.extend(["a:1"; 10]);
        check(&looks, &[]);
    }

    #[test]
    fn looks_are_a_quarter_apart_but_not_more_than_a_minute() {
        assert_eq!(period(Duration::from_secs(1)), Duration::from_millis(250));
        assert_eq!(period(Duration::from_secs(1800)), Duration::from_secs(60));
    }
}
