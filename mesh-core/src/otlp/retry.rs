//! What is done with a batch that a collector did not take (OTLP specification, "OTLP/gRPC: Failures").

use crate::Random;
use std::time::Duration;

/// The least wait: whoever says "at once" has a collector that is asked without a pause.
const LEAST: Duration = Duration::from_millis(100);

/// The first wait, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5));

/// Whether a request that failed with this status of gRPC may succeed later; `is_told`: the collector said when.
///
/// `RESOURCE_EXHAUSTED` is for ever, unless the collector says when it isn't.
#[must_use]
pub const fn is_retryable(status: u32, is_told: bool) -> bool {
    match status {
        // CANCELLED, DEADLINE_EXCEEDED, ABORTED, OUT_OF_RANGE, UNAVAILABLE, DATA_LOSS.
        1 | 4 | 10 | 11 | 14 | 15 => true,
        // RESOURCE_EXHAUSTED.
        8 => is_told,
        _ => false,
    }
}

/// How long to wait before the next try, after so many failures in a row: as long as the collector `told`, but at least
/// 100 ms, else 1 s, 2 s, 4 s, then 5 s, each shortened by up to a half by chance.
#[must_use]
pub fn pause(failures: u32, told: Option<Duration>, random: &mut impl Random) -> Duration {
    let (least, most) = PAUSE;
    if let Some(told) = told {
        return told.max(LEAST);
    }
    let wait = least.saturating_mul(1 << failures.saturating_sub(1).min(8)).min(most);
    wait - wait.mul_f64(0.5 * random.unit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SplitMix64;

    struct Never;

    impl Random for Never {
        fn next_u64(&mut self) -> u64 {
            0
        }
    }

    #[test]
    fn what_is_tried_again_is_what_the_specification_says() {
        let tried: Vec<_> = (0..20).filter(|status| is_retryable(*status, false)).collect();
        assert_eq!(tried, [1, 4, 10, 11, 14, 15]);
        let told: Vec<_> = (0..20).filter(|status| is_retryable(*status, true)).collect();
        assert_eq!(told, [1, 4, 8, 10, 11, 14, 15]);
    }

    #[test]
    fn waits_are_bounded_and_differ() {
        let waits: Vec<_> = (1..6).map(|failures| pause(failures, None, &mut Never)).collect();
        assert_eq!(waits.iter().map(Duration::as_secs).collect::<Vec<_>>(), [1, 2, 4, 5, 5]);
        assert_eq!(pause(u32::MAX, None, &mut Never), Duration::from_secs(5));
        let mut random = SplitMix64::new(1);
        let (one, two) = (pause(1, None, &mut random), pause(1, None, &mut random));
        assert!(one != two && one >= Duration::from_millis(500) && one <= Duration::from_secs(1));
        let told = Duration::from_millis(700);
        assert_eq!(pause(9, Some(told), &mut random), told);
        assert_eq!(pause(9, Some(Duration::ZERO), &mut random), Duration::from_millis(100));
    }
}
