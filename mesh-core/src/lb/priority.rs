//! How much of the traffic each priority takes.
//!
//! Traffic should stay in priority 0 while it can carry it, and move over in proportion when it
//! can't, without a jump (Envoy: "Priority levels", "Degraded endpoints", "Panic threshold").
//!
//! | quantity | rule |
//! |---|---|
//! | health of a priority | min(100, factor · healthy / total), truncated; the same for degraded |
//! | total | min(100, Σ health + Σ degraded) |
//! | load | in order of priority: min(what is left, health · 100 / total), rounded to the nearest |
//! | degraded load | what is left after that, by the same rule over degraded |
//! | rest | rounding only: to the first priority that has healthy endpoints, else degraded ones |
//! | panic | total < 100, and healthy + degraded are less than `panic_threshold` percent of all |
//! | nobody available | everything to the first priority with endpoints, if the threshold is above 0; else nobody gets any |
//!
//! Envoy's documentation rounds, as here ({25, 25, 20} % healthy → 36/36/28); its code truncates and
//! gives the rest to the first (37/35/28). When *all* priorities are in panic, Envoy's code spreads by
//! the number of endpoints; here, as its documentation says, loads stay as above.

/// One priority: its endpoints, and what follows from them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PriorityState {
    /// The priority; 0 is the highest.
    pub priority: u32,
    /// Percent of all traffic that goes to its healthy endpoints; in panic, to all of them.
    pub load: u32,
    /// Percent of all traffic that goes to its degraded endpoints; in panic, to all of them.
    pub degraded_load: u32,
    /// Whether too few are available, so that health is ignored.
    pub panic: bool,
    /// Endpoints configured healthy (or unknown) and not ejected.
    pub healthy: u32,
    /// Endpoints configured degraded and not ejected.
    pub degraded: u32,
    /// All its endpoints.
    pub total: u32,
}

impl PriorityState {
    const fn available(&self) -> u64 {
        self.healthy as u64 + self.degraded as u64
    }

    /// What its healthy, or else its degraded endpoints can carry, in percent of the whole traffic.
    pub(super) fn carries(&self, degraded: bool, factor: u32) -> u32 {
        let count = if degraded { self.degraded } else { self.healthy };
        u32::try_from(capacity(count, self, factor)).unwrap_or(100)
    }
}

/// Sets load and panic of every priority; `priorities` are in order, with their counts.
pub(super) fn distribute(priorities: &mut [PriorityState], factor: u32, panic_threshold: u32) {
    let threshold = u64::from(panic_threshold.min(100));
    let normalized: u64 = priorities
        .iter()
        .map(|state| {
            capacity(state.healthy, state, factor) + capacity(state.degraded, state, factor)
        })
        .sum::<u64>()
        .min(100);
    for state in &mut *priorities {
        (state.load, state.degraded_load) = (0, 0);
        state.panic =
            normalized < 100 && state.available() * 100 < threshold * u64::from(state.total);
    }
    if normalized == 0 {
        return without_capacity(priorities);
    }
    let mut left = 100;
    for state in &mut *priorities {
        state.load = share(capacity(state.healthy, state, factor), normalized, &mut left);
    }
    for state in &mut *priorities {
        state.degraded_load = share(capacity(state.degraded, state, factor), normalized, &mut left);
    }
    if let Some(state) = priorities.iter_mut().find(|state| state.load > 0) {
        state.load += left;
    } else if let Some(state) = priorities.iter_mut().find(|state| state.degraded_load > 0) {
        state.degraded_load += left;
    }
}

/// Part of `state` that `count` endpoints can carry, in percent of its whole traffic.
fn capacity(count: u32, state: &PriorityState, factor: u32) -> u64 {
    let count = u64::from(count) * u64::from(factor);
    count.checked_div(u64::from(state.total)).unwrap_or(0).min(100)
}

/// Takes `capacity` of `normalized` out of what is `left`.
fn share(capacity: u64, normalized: u64, left: &mut u32) -> u32 {
    let rounded = (capacity * 200 + normalized) / (2 * normalized);
    let share = u32::try_from(rounded).unwrap_or(u32::MAX).min(*left);
    *left -= share;
    share
}

/// Everything to one priority: less than one percent is available anywhere.
fn without_capacity(priorities: &mut [PriorityState]) {
    if let Some(state) = priorities.iter_mut().find(|state| state.panic) {
        state.load = 100;
    } else if let Some(state) = priorities.iter_mut().find(|state| state.healthy > 0) {
        state.load = 100;
    } else if let Some(state) = priorities.iter_mut().find(|state| state.degraded > 0) {
        state.degraded_load = 100;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn states(counts: &[(u32, u32, u32)]) -> Vec<PriorityState> {
        let state =
            |(priority, &(healthy, degraded, total)): (usize, &(u32, u32, u32))| PriorityState {
                priority: priority as u32,
                healthy,
                degraded,
                total,
                ..PriorityState::default()
            };
        counts.iter().enumerate().map(state).collect()
    }

    /// `counts`: (healthy, degraded, total) per priority; expected: (load, degraded load, panic).
    #[track_caller]
    fn check(counts: &[(u32, u32, u32)], threshold: u32, expected: &[(u32, u32, bool)]) {
        let mut states = states(counts);
        distribute(&mut states, 140, threshold);
        let got: Vec<_> = states.iter().map(|s| (s.load, s.degraded_load, s.panic)).collect();
        assert_eq!(got, expected, "{counts:?}");
    }

    // Envoy: "Priority levels", the table of the documentation.
    #[test]
    fn spill_over_follows_the_published_vectors() {
        let of = |percent: &[u32]| percent.iter().map(|&p| (p, 0, 100)).collect::<Vec<_>>();
        for (healthy, loads) in [
            (vec![100, 100], vec![100, 0]),
            (vec![72, 100], vec![100, 0]),
            (vec![71, 100], vec![99, 1]),
            (vec![50, 100], vec![70, 30]),
            (vec![25, 100], vec![35, 65]),
            (vec![25, 25], vec![50, 50]),
            (vec![25, 25, 20], vec![36, 36, 28]),
        ] {
            let expected: Vec<_> = loads.iter().map(|&load| (load, 0, false)).collect();
            check(&of(&healthy), 0, &expected);
        }
    }

    #[test]
    fn degraded_takes_what_healthy_leaves() {
        check(&[(50, 50, 100)], 50, &[(70, 30, false)]);
        check(&[(0, 100, 100)], 50, &[(0, 100, false)]);
        check(&[(0, 100, 100), (100, 0, 100)], 50, &[(0, 0, false), (100, 0, false)]);
        // Health 14/28/14 and degraded 28/14/0 of a total of 98.
        check(
            &[(10, 20, 100), (20, 10, 100), (10, 0, 100)],
            0,
            &[(14, 29, false), (29, 14, false), (14, 0, false)],
        );
    }

    #[test]
    fn panic_needs_a_shortage_overall() {
        check(&[(10, 0, 100), (100, 0, 100)], 50, &[(14, 0, false), (86, 0, false)]);
        check(&[(10, 0, 100), (60, 0, 100)], 50, &[(14, 0, true), (86, 0, false)]);
        check(&[(49, 0, 100)], 50, &[(100, 0, true)]);
        check(&[(50, 0, 100)], 50, &[(100, 0, false)]);
        check(&[(25, 25, 100)], 50, &[(50, 50, false)]);
    }

    #[test]
    fn with_nobody_available_the_threshold_decides() {
        check(&[(0, 0, 10), (0, 0, 10)], 50, &[(100, 0, true), (0, 0, true)]);
        check(&[(0, 0, 10), (0, 0, 10)], 0, &[(0, 0, false), (0, 0, false)]);
        check(&[(0, 0, 0), (0, 0, 10)], 50, &[(0, 0, false), (100, 0, true)]);
        check(&[], 50, &[]);
        // One of a thousand is 0 %, and still better than nobody.
        check(&[(0, 0, 1000), (0, 1, 1000)], 0, &[(0, 0, false), (0, 100, false)]);
        check(&[(0, 1, 1000), (1, 0, 1000)], 0, &[(0, 0, false), (100, 0, false)]);
    }

    proptest! {
        #[test]
        fn loads_add_up_to_a_hundred_and_go_where_somebody_is(
            counts in prop::collection::vec((0u32..50, 0u32..50, 0u32..100), 1..6),
            factor in 1u32..1000,
            threshold in 0u32..200,
        ) {
            let counts: Vec<_> = counts.iter().map(|&(h, d, rest)| (h, d, h + d + rest)).collect();
            let mut states = states(&counts);
            distribute(&mut states, factor, threshold);
            let sum: u32 = states.iter().map(|state| state.load + state.degraded_load).sum();
            let any = counts.iter().any(|&(h, d, total)| h + d > 0 || (total > 0 && threshold > 0));
            prop_assert_eq!(sum, if any { 100 } else { 0 });
            for state in &states {
                prop_assert!(state.load == 0 || state.healthy > 0 || state.panic);
                prop_assert!(state.degraded_load == 0 || state.degraded > 0 || state.panic);
            }
        }
    }
}
