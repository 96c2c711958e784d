use super::*;
use crate::random::SplitMix64;
use std::collections::BinaryHeap;

fn model() -> AdaptiveConcurrency {
    AdaptiveConcurrency::new(Duration::from_millis(100), Duration::from_secs(30))
}

fn compiled(model: AdaptiveConcurrency) -> Arc<CompiledAdaptiveConcurrency> {
    Arc::new(CompiledAdaptiveConcurrency::new(&Arc::new(model), None).unwrap())
}

#[test]
fn the_next_limit_is_that_of_the_formula() {
    let control = compiled(model());
    for (limit, min_rtt, sample, expected) in [
        // At the least latency: by a quarter, and the root of it.
        (100, 1000, 1000, 125 + 11),
        (100, 1000, 1250, 110),
        // Not less than half, not more than double.
        (100, 1000, 1_000_000, 57),
        (100, 1_000_000, 1000, 200 + 14),
        (3, 1000, 1_000_000, 3),
        (1000, 1000, 1000, 1000),
        (3, 1000, 0, 8),
    ] {
        assert_eq!(control.next_limit(limit, min_rtt, sample), expected, "{limit} {sample}");
    }
}

/// A service of `servers`, each of which takes `millis` to serve; what does not fit waits. `callers`
/// ask again at once.
struct Service {
    control: Arc<CompiledAdaptiveConcurrency>,
    servers: usize,
    millis: f64,
    random: SplitMix64,
    /// When each server is free.
    free: Vec<u64>,
    /// Ends of requests, the earliest first, with their beginnings.
    ends: BinaryHeap<std::cmp::Reverse<(u64, u64)>>,
    limits: Vec<u32>,
}

impl Service {
    fn new(control: &Arc<CompiledAdaptiveConcurrency>, servers: usize, millis: f64) -> Self {
        Self {
            control: Arc::clone(control),
            servers,
            millis,
            random: SplitMix64::new(7),
            free: vec![0; servers],
            ends: BinaryHeap::new(),
            limits: Vec::new(),
        }
    }

    /// One request each `every` nanoseconds, from `from` to `until`.
    fn run(&mut self, from: u64, until: u64, every: u64) {
        for now in (from..until).step_by(every as usize) {
            while let Some(std::cmp::Reverse((end, start))) = self.ends.peek().copied() {
                if end > now {
                    break;
                }
                self.ends.pop();
                let jitter = self.random.unit();
                let at = Timestamp::from_nanos;
                self.control.leave(at(start), true, jitter, at(end));
            }
            self.control.do_what_is_due(Timestamp::from_nanos(now));
            let limit = self.control.limit();
            self.limits.push(limit);
            if self.control.state.inside.enter(limit) {
                let server = (0..self.servers).min_by_key(|at| self.free[*at]).unwrap();
                let takes = self.millis * 1e6 * (0.9 + 0.2 * self.random.unit());
                let end = self.free[server].max(now) + takes as u64;
                self.free[server] = end;
                self.ends.push(std::cmp::Reverse((end, now)));
            }
        }
    }
}

#[test]
fn the_limit_follows_a_service() {
    let control = compiled(model());
    let mut service = Service::new(&control, 20, 10.0);
    // 20 servers of 10 ms serve 2000 a second; 4000 ask.
    const SECOND: u64 = 1_000_000_000;
    service.run(0, 20 * SECOND, SECOND / 4000);
    let learnt = control.min_rtt() as f64 / 1e6;
    assert!((learnt - 10.0).abs() < 1.0, "min rtt {learnt} ms");
    let last = service.limits[service.limits.len() / 2..].iter().copied();
    let (least, most) = (last.clone().min().unwrap(), last.max().unwrap());
    // The gradient is 1 where latency is 25 % above the least; the root keeps it a little above.
    assert!((20..=45).contains(&least) && (20..=45).contains(&most), "{least} to {most}");
    assert!(service.limits.iter().all(|limit| (3..=1000).contains(limit)));

    // Four times as slow, and the least latency is measured anew in time: never below the least limit.
    service.millis = 40.0;
    service.run(20 * SECOND, 80 * SECOND, SECOND / 4000);
    let learnt = control.min_rtt() as f64 / 1e6;
    assert!((learnt - 40.0).abs() < 4.0, "min rtt {learnt} ms");
    assert!(service.limits.iter().all(|limit| (3..=1000).contains(limit)));
}

#[test]
fn a_measurement_takes_its_requests_at_the_lowest_concurrency() {
    let control = compiled(model());
    let at = Timestamp::from_millis;
    control.state.limit.store(100, Ordering::Relaxed);
    let answer = |from, to| {
        control.state.inside.enter_beyond();
        control.leave(at(from), true, 0.5, at(to));
    };
    for _ in 0..49 {
        answer(0, 5);
        assert_eq!(control.limit(), 3);
    }
    answer(0, 5);
    assert_eq!(control.limit(), 100);
    assert!(control.min_rtt().abs_diff(5_000_000) < 200_000);
    // Half of 15 % later than 30 s.
    let due = control.state.measure_at.load(Ordering::Relaxed);
    assert_eq!(due, 5_000_000 + 30_000_000_000 + 2_250_000_000);
    control.do_what_is_due(at(32_254));
    assert_eq!(control.limit(), 100);
    control.do_what_is_due(at(32_255));
    assert_eq!(control.limit(), 3);
    // What began before is no sample, nor is what did not end.
    (0..50).for_each(|_| answer(32_254, 32_300));
    control.state.inside.enter_beyond();
    control.leave(at(32_300), false, 0.5, at(32_301));
    assert_eq!((control.limit(), control.state.samples.load(Ordering::Relaxed)), (3, 0));
    assert_eq!(control.state.inside.inside(), 0);
}

#[test]
fn five_times_the_lowest_measures_again() {
    let control = compiled(model());
    let at = Timestamp::from_millis;
    let answer = |from, to| {
        control.state.inside.enter_beyond();
        control.leave(at(from), true, 0.0, at(to));
    };
    (0..50).for_each(|_| answer(0, 1));
    for window in 1..=5 {
        assert!(!control.is_measuring(), "window {window}");
        answer(window * 200 - 100, window * 200);
        control.do_what_is_due(at(window * 200));
    }
    control.do_what_is_due(at(1001));
    assert!(control.is_measuring());
}

#[test]
fn a_fixed_least_latency_needs_no_measurement() {
    let mut fixed = model();
    fixed.min_rtt = MinRtt::Fixed(Duration::from_millis(10));
    let control = compiled(fixed);
    assert_eq!((control.limit(), control.min_rtt()), (3, 10_000_000));
    control.state.inside.enter_beyond();
    control.leave(Timestamp::ZERO, true, 0.0, Timestamp::from_millis(10));
    control.do_what_is_due(Timestamp::from_millis(100));
    assert_eq!(control.limit(), 5);
}

#[test]
fn an_interval_may_be_as_long_as_any() {
    let mut long = model();
    long.min_rtt = MinRtt::Sampled { interval: Duration::MAX, request_count: 1, jitter: 100.0 };
    let control = compiled(long);
    control.state.inside.enter_beyond();
    control.leave(Timestamp::ZERO, true, 0.999, Timestamp::from_millis(1));
    assert_eq!(control.state.measure_at.load(Ordering::Relaxed), u64::MAX);
    assert!(!control.is_measuring());
}

#[test]
fn values_out_of_range_are_refused() {
    let refused = |set: fn(&mut AdaptiveConcurrency)| {
        let mut model = model();
        set(&mut model);
        CompiledAdaptiveConcurrency::new(&Arc::new(model), None).map(drop).unwrap_err().to_string()
    };
    for (set, field) in [
        ((|model| model.buffer = 101.0) as fn(&mut AdaptiveConcurrency), "buffer"),
        (|model| model.sample_aggregate_percentile = f64::NAN, "sample_aggregate_percentile"),
        (|model| model.min_concurrency = 0, "min_concurrency"),
        (|model| model.max_concurrency_limit = 0, "max_concurrency_limit"),
        (|model| model.concurrency_update_interval = Duration::ZERO, "concurrency_update_interval"),
        (|model| model.min_rtt = MinRtt::Fixed(Duration::ZERO), "fixed_value"),
    ] {
        let found = refused(set);
        let found = found.trim_start_matches('`').split('`').next().unwrap();
        assert_eq!(found.rsplit('.').next(), Some(field));
    }
}
