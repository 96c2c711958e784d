use super::*;
use proptest::prelude::*;

fn rate(max: u32, per_fill: u32, millis: u64) -> Rate {
    Rate::new(&TokenBucket::new(max, per_fill, Duration::from_millis(millis))).unwrap()
}

#[test]
fn a_bucket_begins_full_and_fills_evenly() {
    let (bucket, rate) = (Bucket::default(), rate(3, 2, 1000));
    let at = Timestamp::from_millis;
    let take = |millis, tokens| {
        let taken = (0..tokens + 1).take_while(|_| bucket.take(&rate, at(millis))).count();
        assert_eq!(taken, tokens, "at {millis} ms");
    };
    take(0, 3);
    take(499, 0);
    assert_eq!(bucket.left(&rate, at(400)), Left { tokens: 0, next: Duration::from_millis(100) });
    take(500, 1);
    take(1499, 1);
    take(1500, 1);
    assert_eq!(bucket.left(&rate, at(2600)), Left { tokens: 2, next: Duration::ZERO });
    take(60_000, 3);
}

#[test]
fn an_empty_bucket_of_a_slower_rate_is_empty() {
    let bucket = Bucket::default();
    let slow = rate(2, 1, 3_600_000);
    let fast = rate(10, 10, 1000);
    let at = Timestamp::from_millis;
    assert!(bucket.take(&slow, at(0)) && bucket.take(&slow, at(0)) && !bucket.take(&slow, at(0)));
    assert!(!bucket.take(&fast, at(0)));
    assert!(bucket.take(&fast, at(100)) && !bucket.take(&fast, at(100)));
}

#[test]
fn an_empty_bucket_of_a_faster_rate_is_empty() {
    let (bucket, at) = (Bucket::default(), Timestamp::from_millis);
    let (fast, slow) = (rate(5, 5, 1000), rate(5, 5, 1_000_000));
    assert_eq!((0..9).take_while(|_| bucket.take(&fast, at(0))).count(), 5);
    assert!(!bucket.take(&slow, at(0)));
    let left = Left { tokens: 0, next: Duration::from_secs(200) };
    assert_eq!(bucket.left(&slow, at(0)), left);
    assert!(bucket.take(&slow, at(200_000)) && !bucket.take(&slow, at(200_000)));
    // Who still goes by the other finds it empty, and takes nothing from it.
    assert!(!bucket.take(&fast, at(200_000)) && !bucket.take(&slow, at(200_000)));
    assert!(bucket.take(&slow, at(400_000)) && !bucket.take(&slow, at(400_000)));
}

#[test]
fn another_rate_finds_the_share_that_is_left() {
    let (bucket, at) = (Bucket::default(), Timestamp::from_millis);
    let (small, large) = (rate(4, 4, 1000), rate(100, 100, 60_000));
    assert!(bucket.take(&small, at(0)));
    assert_eq!(bucket.left(&large, at(0)).tokens, 75);
    assert_eq!(bucket.left(&small, at(0)).tokens, 3);
    assert_eq!(bucket.left(&large, at(60_000)).tokens, 100);
}

#[test]
fn what_is_no_rate_is_refused() {
    for (bucket, expected) in [
        (TokenBucket::new(0, 1, Duration::from_secs(1)), "token_bucket.max_tokens"),
        (TokenBucket::new(1, 0, Duration::from_secs(1)), "token_bucket.tokens_per_fill"),
        (TokenBucket::new(1, 1, Duration::from_millis(49)), "token_bucket.fill_interval"),
        (TokenBucket::new(u32::MAX, 1, Duration::from_secs(86_400)), "token_bucket"),
        (TokenBucket::new(2, 1, Duration::MAX), "token_bucket"),
    ] {
        assert_eq!(Rate::new(&bucket).unwrap_err().0, expected, "{bucket:?}");
    }
}

proptest! {
    #[test]
    fn never_more_than_the_burst_and_the_rate(
        max in 1_u32..50,
        per_fill in 1_u32..100,
        fill in 50_u64..5_000,
        waits in proptest::collection::vec(0_u64..400_000_000, 1..200),
    ) {
        let (bucket, rate) = (Bucket::default(), rate(max, per_fill, fill));
        let per_nano = f64::from(per_fill) / (fill as f64 * 1e6);
        let (mut now, mut tokens) = (Timestamp::ZERO, f64::from(max));
        let (mut taken, mut times) = (0_u32, Vec::new());
        for wait in waits {
            now = now + Duration::from_nanos(wait);
            tokens = (tokens + wait as f64 * per_nano).min(f64::from(max));
            if bucket.take(&rate, now) {
                // Rounded up, a token takes at most 1 ns longer than the naive bucket thinks.
                prop_assert!(tokens > 1.0 - 1e-6);
                tokens -= 1.0;
                taken += 1;
                times.push(now);
            } else {
                prop_assert!(tokens < 1.0 + 1e-3, "refused with {tokens}");
            }
        }
        let most = f64::from(max) + now.as_nanos() as f64 * per_nano;
        prop_assert!(f64::from(taken) <= most + 1e-6);
        for (first, from) in times.iter().enumerate() {
            for (last, to) in times.iter().enumerate().skip(first) {
                let within = to.saturating_duration_since(*from).as_nanos() as f64;
                let count = (last - first + 1) as f64;
                prop_assert!(count <= f64::from(max) + within * per_nano + 1e-6);
            }
        }
    }
}
