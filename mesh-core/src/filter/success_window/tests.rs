use super::*;
use proptest::prelude::*;

proptest! {
    /// Against a list of all requests.
    #[test]
    fn the_window_is_that_of_a_naive_list(
        seconds in 1_u64..200,
        waits in proptest::collection::vec((0_u64..20_000, any::<bool>()), 1..150),
    ) {
        let window = SuccessWindow::new(Duration::from_secs(seconds));
        let width = seconds.div_ceil(64);
        let slots = seconds.div_ceil(width);
        let (mut now, mut all) = (0_u64, Vec::new());
        for (wait, success) in waits {
            now += wait;
            window.record(success, Timestamp::from_millis(now));
            all.push((now / 1000 / width, success));
            let slot = now / 1000 / width;
            let lately = || all.iter().filter(|(at, _)| slot - at < slots);
            let counts = window.counts(Timestamp::from_millis(now));
            prop_assert_eq!(counts.requests, lately().count() as u64);
            prop_assert_eq!(counts.successes, lately().filter(|(_, success)| *success).count() as u64);
        }
        let over = Timestamp::from_millis(now + (slots + 1) * width * 1000);
        prop_assert_eq!(window.counts(over), Counts::default());
    }
}

/// The numbers of slots come again after twelve days; what is older than six was taken for new.
#[test]
fn what_is_days_old_is_over() {
    let window = SuccessWindow::new(Duration::from_secs(10));
    (0..10).for_each(|second| window.record(false, Timestamp::from_millis(second * 1000)));
    let mut later = Duration::from_secs(20);
    while later < Duration::from_secs(12 * 24 * 3600) {
        assert_eq!(window.counts(Timestamp::ZERO + later), Counts::default(), "{later:?}");
        later += Duration::from_secs(12_345);
    }
    let week = Timestamp::ZERO + Duration::from_secs(7 * 24 * 3600);
    window.record(true, week);
    assert_eq!((window.counts(week).requests, window.counts(week).successes), (1, 1));
}

#[test]
fn a_bucket_stays_at_its_most() {
    let full = Bucket { slot: 7, requests: COUNT, successes: COUNT };
    assert_eq!(Bucket::of(full.word()).requests, COUNT);
    let window = SuccessWindow::new(Duration::from_secs(1));
    let slot = window.slot(Timestamp::ZERO);
    window.buckets[0].store(Bucket { slot, ..full }.word(), Ordering::Relaxed);
    window.record(true, Timestamp::ZERO);
    assert_eq!(window.counts(Timestamp::ZERO).requests, COUNT);
}

#[test]
fn a_clock_that_is_behind_counts_in_the_newer_bucket() {
    let window = SuccessWindow::new(Duration::from_secs(1));
    window.record(true, Timestamp::from_millis(1000));
    window.record(true, Timestamp::from_millis(999));
    assert_eq!(window.counts(Timestamp::from_millis(1001)).requests, 2);
}
