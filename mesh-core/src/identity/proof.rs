//! How long what a peer has proven counts, on a connection that lasts.
//!
//! A certificate is verified in a handshake, and not again as long as its connection lasts: that it ended, or that its
//! roots are believed no more, would be seen by nobody. So a peer is to show one again at the end of the one it showed,
//! and after a longest time at most. Of that time up to a fifth is taken away by chance, so that peers that came together
//! do not come together again.
//!
//! What it does not do: verify certificates, end connections.

use crate::random::Random;
use crate::time::WallTime;
use std::time::Duration;

/// How long a certificate counts whose last second is `end`, from `now` on, which is the time since the Unix epoch; if
/// nobody knows its end, the `longest` time decides alone.
///
/// # Examples
///
/// ```
/// use mesh_core::identity::proof::counts_for;
/// use mesh_core::random::SplitMix64;
/// use mesh_core::time::WallTime;
/// use std::time::Duration;
///
/// let (end, now) = (WallTime::from_unix_seconds(1_000), Duration::from_secs(940));
/// let longest = Duration::from_secs(1_800);
/// let mut random = SplitMix64::new(0);
/// assert_eq!(counts_for(Some(end), now, longest, &mut random), Duration::from_secs(61));
/// ```
#[must_use]
pub fn counts_for(
    end: Option<WallTime>,
    now: Duration,
    longest: Duration,
    random: &mut impl Random,
) -> Duration {
    let age = longest.saturating_sub(longest.mul_f64(0.2 * random.unit()));
    let Some(end) = end else { return age };
    // Its last second counts (RFC 5280 section 4.1.2.5).
    let over = Duration::from_secs(end.as_unix_seconds().saturating_add(1));
    over.saturating_sub(now).min(age)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_secs(1000);

    /// Always the same number.
    struct Always(u64);

    impl Random for Always {
        fn next_u64(&mut self) -> u64 {
            self.0
        }
    }

    #[track_caller]
    fn check(end: Option<u64>, now: Duration, random: u64, expected: Duration) {
        let end = end.map(WallTime::from_unix_seconds);
        assert_eq!(counts_for(end, now, LONGEST, &mut Always(random)), expected);
    }

    #[test]
    fn a_certificate_counts_to_the_end_of_its_last_second() {
        let check = |now, expected| check(Some(5_000), now, 0, expected);
        check(Duration::from_secs(4_940), Duration::from_secs(61));
        check(Duration::from_secs(5_000), Duration::from_secs(1));
        check(Duration::from_millis(5_000_750), Duration::from_millis(250));
        check(Duration::from_secs(5_001), Duration::ZERO);
        check(Duration::from_secs(9_000), Duration::ZERO);
        check(Duration::MAX, Duration::ZERO);
    }

    #[test]
    fn and_no_longer_than_the_longest_time_of_which_chance_takes_up_to_a_fifth() {
        for end in [Some(86_400), Some(u64::MAX), None] {
            check(end, Duration::ZERO, 0, LONGEST);
            check(end, Duration::ZERO, 1 << 63, Duration::from_secs(900));
            let all_but_a_fifth = counts_for(None, Duration::ZERO, LONGEST, &mut Always(u64::MAX));
            assert!(all_but_a_fifth.abs_diff(Duration::from_secs(800)) < Duration::from_millis(1));
        }
        assert_eq!(counts_for(None, Duration::ZERO, Duration::MAX, &mut Always(0)), Duration::MAX);
    }
}
