use super::*;

const DECAY: Duration = Duration::from_secs(10);
const DEFAULT: (Duration, Timestamp) = (Duration::from_millis(30), Timestamp::ZERO);

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(seconds * 1000)
}

fn millis(number: u64) -> Duration {
    Duration::from_millis(number)
}

#[track_caller]
fn check(ewma: &PeakEwma, now: Timestamp, expected_millis: f64) {
    let got = ewma.estimate(now, DECAY, DEFAULT) / 1e6;
    // A tick of the ten seconds, twice.
    let bound = expected_millis * 2.2e-4;
    assert!((got - expected_millis).abs() < bound, "{got} ms, not {expected_millis} ms");
}

#[test]
fn follows_the_closed_form() {
    let ewma = PeakEwma::default();
    let left = |seconds: f64| (-seconds / 10.0).exp();
    check(&ewma, at(0), 30.0);
    check(&ewma, at(5), 30.0 * left(5.0));
    ewma.record(millis(8), at(10), DECAY);
    check(&ewma, at(10), 8.0);
    ewma.record(millis(100), at(11), DECAY);
    check(&ewma, at(11), 100.0);
    ewma.record(millis(10), at(14), DECAY);
    let expected = 100.0 * left(3.0) + 10.0 * (1.0 - left(3.0));
    check(&ewma, at(14), expected);
    check(&ewma, at(24), expected * left(10.0));
}

#[test]
fn the_first_measurement_replaces_the_default_even_if_it_is_lower() {
    let ewma = PeakEwma::default();
    ewma.record(millis(1), at(0), DECAY);
    check(&ewma, at(0), 1.0);
}

#[test]
fn a_failure_never_looks_fast() {
    let ewma = PeakEwma::default();
    ewma.record(millis(20), at(0), DECAY);
    ewma.record_failure(millis(1), millis(5000), at(0), DECAY);
    check(&ewma, at(0), 5000.0);
    ewma.record_failure(millis(1), millis(10), at(0), DECAY);
    check(&ewma, at(0), 5000.0);
    ewma.record_failure(millis(9000), millis(10), at(0), DECAY);
    check(&ewma, at(0), 9000.0);
    let new = PeakEwma::default();
    new.record_failure(Duration::ZERO, millis(5000), at(0), DECAY);
    check(&new, at(0), 5000.0);
}

#[test]
fn giving_up_only_raises() {
    let ewma = PeakEwma::default();
    ewma.record_at_least(millis(2), at(0), DECAY);
    check(&ewma, at(0), 30.0);
    ewma.record_at_least(millis(400), at(0), DECAY);
    check(&ewma, at(0), 400.0);
    ewma.record_at_least(millis(3), at(0), DECAY);
    check(&ewma, at(0), 400.0);
    let measured = PeakEwma::default();
    measured.record(millis(7), at(0), DECAY);
    measured.record_at_least(millis(3), at(0), DECAY);
    check(&measured, at(0), 7.0);
    measured.record_at_least(millis(50), at(0), DECAY);
    check(&measured, at(0), 50.0);
}

/// An endpoint that hangs every other call is not a fast one.
#[test]
fn what_a_call_waited_in_vain_decays_like_a_peak() {
    let ewma = PeakEwma::default();
    ewma.record_at_least(millis(1000), at(0), DECAY);
    ewma.record(millis(1), at(0), DECAY);
    check(&ewma, at(0), 1000.0);
    let left = (-0.5f64).exp();
    ewma.record(millis(1), at(5), DECAY);
    check(&ewma, at(5), 1000.0 * left + (1.0 - left));
}

#[test]
fn samples_close_together_count_as_one_unless_they_are_peaks() {
    let ewma = PeakEwma::default();
    ewma.record(millis(100), at(10), DECAY);
    let soon = at(10) + millis(5);
    ewma.record(millis(1), soon, DECAY);
    check(&ewma, at(10), 100.0);
    ewma.record(millis(101), soon, DECAY);
    check(&ewma, soon, 101.0);
}

/// A thousand answers a second at 10 ms, after a peak of 1 s: the closed form of a steady stream.
#[test]
fn a_dense_stream_converges_as_a_sparse_one() {
    let ewma = PeakEwma::default();
    ewma.record(millis(1000), at(0), DECAY);
    for number in 1..=20_000 {
        ewma.record(millis(10), Timestamp::from_millis(number), DECAY);
    }
    let got = ewma.estimate(at(20), DECAY, DEFAULT) / 1e6;
    let expected = 10.0 + 990.0 * (-2.0f64).exp();
    assert!((got - expected).abs() < expected * 0.005, "{got} ms, not {expected} ms");
}

#[test]
fn a_clock_that_goes_back_changes_nothing_but_the_sample() {
    let ewma = PeakEwma::default();
    ewma.record(millis(10), at(100), DECAY);
    ewma.record(millis(5), at(50), DECAY);
    check(&ewma, at(100), 10.0);
    check(&ewma, at(20), 10.0);
}

/// Two writers and a reader in all interleavings: a peak stays, and is not decayed by the time before
/// it (which would leave 12 ms of it).
#[cfg(loom)]
#[test]
fn loom_no_interleaving_loses_a_peak() {
    use loom::sync::Arc;
    loom::model(|| {
        let ewma = Arc::new(PeakEwma::default());
        ewma.record(millis(10), at(0), DECAY);
        let failing = Arc::clone(&ewma);
        let failing = loom::thread::spawn(move || {
            failing.record_failure(millis(1), millis(5000), at(60), DECAY);
        });
        let fast = Arc::clone(&ewma);
        let fast = loom::thread::spawn(move || fast.record(millis(1), at(60), DECAY));
        let seen = ewma.estimate(at(60), DECAY, DEFAULT) / 1e6;
        assert!(seen < 1.1 || seen > 4999.0, "{seen}");
        failing.join().unwrap();
        fast.join().unwrap();
        assert!(ewma.estimate(at(60), DECAY, DEFAULT) / 1e6 > 4999.0);
    });
}
