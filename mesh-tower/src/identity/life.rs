//! Times in plain words.

use mesh_core::WallTime;
use std::time::Duration;

const UNITS: [(u64, &str); 5] =
    [(365 * 86_400, "year"), (86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second")];

/// A length of time in its largest unit of which there are two at least: `89 days`, `36 hours`. Rounded
/// down.
pub(crate) fn long(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let fitting = UNITS.iter().find(|(unit, _)| seconds / unit >= 2);
    let (unit, name) = fitting.unwrap_or(&(1, "second"));
    let count = seconds / unit;
    format!("{count} {name}{}", if count == 1 { "" } else { "s" })
}

/// A date, and how far it is from `now`: `on 2026-12-31T08:00:00Z, in 35 days`.
pub(crate) fn when(time: WallTime, now: WallTime) -> String {
    match time > now {
        true => format!("on {time}, in {}", long(time.saturating_duration_since(now))),
        false => format!("on {time}, {} ago", long(now.saturating_duration_since(time))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_unit_of_which_there_are_two() {
        let check = |seconds, expected: &str| {
            assert_eq!(long(Duration::from_secs(seconds)), expected);
        };
        check(0, "0 seconds");
        check(1, "1 second");
        check(119, "119 seconds");
        check(120, "2 minutes");
        check(7_199, "119 minutes");
        check(86_400, "24 hours");
        check(172_800, "2 days");
        check(729 * 86_400, "729 days");
        check(3_650 * 86_400, "10 years");
    }
}
