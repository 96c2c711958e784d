//! Tables: a certificate of 1000 s from wall time 10,000, and what is told as time passes.

use super::RenewReason::{Due, Forced, Retry};
use super::RotationEvent::*;
use super::*;
use crate::random::SplitMix64;
use proptest::prelude::*;

const START: u64 = 10_000;

fn validity(from: u64, to: u64) -> Validity {
    Validity {
        not_before: WallTime::from_unix_seconds(from),
        not_after: WallTime::from_unix_seconds(to),
    }
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Time and wall clock that run together.
struct Clock {
    now: Timestamp,
    wall: u64,
}

impl Clock {
    fn wall(&self) -> WallTime {
        WallTime::from_unix_seconds(self.wall)
    }
}

struct Run {
    rotation: Rotation,
    clock: Clock,
    random: SplitMix64,
}

impl Run {
    fn new(options: RotationOptions, validity: Validity) -> Self {
        let clock = Clock { now: Timestamp::ZERO, wall: START };
        let mut random = SplitMix64::new(1);
        let rotation = Rotation::new(options, validity, clock.now, clock.wall(), &mut random);
        Self { rotation, clock, random }
    }

    /// Lets `seconds` pass as a driver does, from timeout to timeout; what is told, and when.
    fn pass(&mut self, seconds: u64) -> Vec<(u64, RotationEvent)> {
        let end = self.clock.now + secs(seconds);
        let start = (self.clock.now, self.clock.wall);
        let mut told = Vec::new();
        for _ in 0..10_000 {
            let next = self.rotation.poll_timeout().min(end);
            assert!(next > self.clock.now || next == end, "it spins");
            self.clock.now = next;
            self.clock.wall = start.1 + next.saturating_duration_since(start.0).as_secs();
            let events = self.rotation.handle_timeout(self.clock.now, self.clock.wall());
            told.extend(events.into_iter().map(|event| (self.clock.wall - START, event)));
            if next == end {
                return told;
            }
        }
        panic!("too many timeouts");
    }

    fn jump(&mut self, by: i64) {
        self.clock.wall = self.clock.wall.saturating_add_signed(by);
    }

    fn fail(&mut self) {
        self.rotation.handle_failure(self.clock.now, self.clock.wall(), &mut self.random);
    }

    fn unchanged(&mut self) {
        let Self { rotation, clock, random } = self;
        rotation.handle_unchanged(clock.now, clock.wall(), random);
    }

    fn renewed(&mut self, validity: Validity) -> Vec<RotationEvent> {
        let Self { rotation, clock, random } = self;
        rotation.handle_certificate(validity, clock.now, clock.wall(), random)
    }
}

fn exact() -> RotationOptions {
    RotationOptions { jitter: 0, ..RotationOptions::default() }
}

fn a_thousand_seconds() -> Run {
    Run::new(exact(), validity(START, START + 1000))
}

#[test]
fn it_is_renewed_at_half_of_its_life_and_that_is_all() {
    let mut run = a_thousand_seconds();
    assert_eq!(run.pass(499), []);
    assert_eq!(run.pass(1), [(500, Renew(Due))]);
    assert_eq!(run.renewed(validity(START + 500, START + 1500)), []);
    assert_eq!(run.pass(499), []);
    assert_eq!(run.pass(1), [(1000, Renew(Due))]);
}

#[test]
fn without_an_answer_it_is_asked_once_and_warned_of() {
    let mut run = a_thousand_seconds();
    assert_eq!(
        run.pass(2000),
        [
            (500, Renew(Due)),
            (750, Warning { percent: 25, left: secs(250) }),
            (900, Warning { percent: 10, left: secs(100) }),
            (1001, Expired),
        ]
    );
}

#[test]
fn a_renewal_before_half_makes_half_a_warning() {
    let options = RotationOptions { renew_at: Some(400), jitter: 0 };
    let mut run = Run::new(options, validity(START, START + 1000));
    assert_eq!(run.pass(600), [(400, Renew(Due)), (500, Warning { percent: 50, left: secs(500) })]);
}

#[test]
fn what_cannot_be_renewed_is_warned_of() {
    let options = RotationOptions { renew_at: None, jitter: 0 };
    let mut run = Run::new(options, validity(START, START + 1000));
    assert_eq!(run.rotation.due(), None);
    assert_eq!(
        run.pass(2000),
        [
            (500, Warning { percent: 50, left: secs(500) }),
            (750, Warning { percent: 25, left: secs(250) }),
            (900, Warning { percent: 10, left: secs(100) }),
            (1001, Expired),
        ]
    );
}

#[test]
fn a_failed_renewal_is_tried_again_later_and_later() {
    let mut run = Run::new(exact(), validity(START, START + 100_000));
    assert_eq!(run.pass(50_000), [(50_000, Renew(Due))]);
    let mut waits = Vec::new();
    for failures in 1..=9 {
        run.fail();
        let before = run.clock.now;
        let next = run.rotation.poll_timeout();
        waits.push(next.saturating_duration_since(before).as_secs_f64());
        run.clock.now = next;
        run.clock.wall += next.saturating_duration_since(before).as_secs();
        let events = run.rotation.handle_timeout(run.clock.now, run.clock.wall());
        assert_eq!(events, [Renew(Retry { failures })]);
    }
    for (wait, most) in waits.iter().zip([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]) {
        assert!(*wait <= most && *wait >= most * 0.8, "{waits:?}");
    }
    run.renewed(validity(START + 50_000, START + 150_000));
    assert_eq!(run.rotation.failures(), 0);
}

#[test]
fn near_its_end_it_is_tried_more_often() {
    let mut run = a_thousand_seconds();
    run.pass(900);
    for _ in 0..8 {
        run.fail();
    }
    let wait = run.rotation.poll_timeout().saturating_duration_since(run.clock.now);
    assert!(wait <= secs(10), "a tenth of 100 s, and not {wait:?}");
}

#[test]
fn an_expired_one_is_renewed_and_valid_again() {
    let mut run = Run::new(exact(), validity(START - 1000, START - 10));
    assert_eq!(run.pass(0), [(0, Expired), (0, Renew(RenewReason::Expired))]);
    run.fail();
    assert_eq!(run.pass(1), [(0, Renew(Retry { failures: 1 }))]);
    assert_eq!(run.renewed(validity(START, START + 1000)), [Valid]);
}

#[test]
fn the_old_one_again_is_a_failure_and_does_not_spin() {
    let mut run = a_thousand_seconds();
    run.pass(500);
    assert_eq!(run.renewed(validity(START, START + 1000)), []);
    assert_eq!(run.rotation.failures(), 1);
    let told = run.pass(10);
    assert_eq!(told, [(500, Renew(Retry { failures: 1 }))]);
    assert_eq!(run.renewed(validity(START, START + 1000)), []);
    assert_eq!(run.rotation.failures(), 2);
}

#[test]
fn clocks_jump() {
    let mut run = a_thousand_seconds();
    run.pass(100);
    run.jump(5);
    assert_eq!(run.pass(0), [], "that is no jump");
    run.jump(2000);
    assert_eq!(
        run.pass(0),
        [
            (2105, ClockJumped { forward: true, by: secs(2000) }),
            (2105, Expired),
            (2105, Renew(RenewReason::Expired)),
        ]
    );
    run.jump(-2000);
    assert_eq!(run.pass(0), [(105, ClockJumped { forward: false, by: secs(2000) }), (105, Valid)]);
    run.jump(-110);
    assert_eq!(run.clock.wall, START - 5);
    run.rotation.handle_timeout(run.clock.now, run.clock.wall());
    assert_eq!(run.rotation.validity().standing(run.clock.wall()), Standing::NotYetValid);
    let told = run.pass(60);
    assert_eq!(told.first().map(|(_, event)| *event), Some(Valid));
}

/// A clock that was wrong for a while silences no warning.
#[test]
fn a_clock_that_comes_back_warns_again() {
    let mut run = a_thousand_seconds();
    run.pass(100);
    run.jump(700);
    let told: Vec<_> = run.pass(0).into_iter().map(|(_, event)| event).collect();
    assert!(told.contains(&Warning { percent: 25, left: secs(200) }), "{told:?}");
    assert_eq!(run.rotation.warning(), Some(25));
    run.jump(1200);
    run.pass(0);
    run.jump(-1900);
    run.pass(0);
    assert_eq!(run.rotation.warning(), None);
    assert_eq!(
        run.pass(850),
        [
            (750, Warning { percent: 25, left: secs(250) }),
            (900, Warning { percent: 10, left: secs(100) }),
        ]
    );
    // What is still so is not said again.
    run.jump(-10);
    assert_eq!(run.pass(0), [(940, ClockJumped { forward: false, by: secs(10) })]);
    assert_eq!(run.rotation.warning(), Some(10));
}

#[test]
fn what_a_clock_passes_on_its_way_back_is_told() {
    let mut run = a_thousand_seconds();
    run.pass(730);
    run.clock.now = run.clock.now + secs(60);
    run.jump(50);
    let told = run.rotation.handle_timeout(run.clock.now, run.clock.wall());
    let jumped = ClockJumped { forward: false, by: secs(10) };
    assert_eq!(told, [jumped, Warning { percent: 25, left: secs(220) }]);
}

#[test]
fn one_of_tomorrow_is_not_valid_yet() {
    let mut run = Run::new(exact(), validity(START + 30, START + 1000));
    assert_eq!(run.pass(0), [(0, NotYetValid { starts_in: secs(30) })]);
    assert_eq!(run.pass(29), []);
    assert_eq!(run.pass(1), [(30, Valid)]);
}

#[test]
fn somebody_wants_a_new_one() {
    let mut run = a_thousand_seconds();
    assert_eq!(run.rotation.handle_forced(), Renew(Forced));
    assert_eq!(run.rotation.handle_forced(), Renew(Forced), "who was asked may hang");
    run.fail();
    assert_eq!(run.rotation.handle_forced(), Renew(Forced));
    assert_eq!(run.renewed(validity(START, START + 2000)), []);
    assert_eq!(run.rotation.due(), Some(WallTime::from_unix_seconds(START + 1000)));
}

#[test]
fn what_is_asked_for_may_be_there_already() {
    let mut run = a_thousand_seconds();
    for _ in 0..3 {
        assert_eq!(run.rotation.handle_forced(), Renew(Forced));
        run.unchanged();
    }
    run.fail();
    run.unchanged();
    assert_eq!(run.rotation.failures(), 0);
    assert_eq!(run.pass(499), [], "nothing is tried again");
    // When it is due, the old one is no answer.
    assert_eq!(run.pass(1), [(500, Renew(Due))]);
    run.unchanged();
    assert_eq!(run.rotation.failures(), 1);
    assert!(matches!(run.pass(1)[..], [(_, Renew(Retry { failures: 1 }))]));
}

proptest! {
    /// Whatever the certificate, the renewal is due within its jitter, and the driver never spins.
    #[test]
    fn due_within_its_jitter(seed: u64, life in 0u64..100_000_000, share in 0u16..1100, jitter in 0u16..1100) {
        let options = RotationOptions { renew_at: Some(share), jitter };
        let mut random = SplitMix64::new(seed);
        let wall = WallTime::from_unix_seconds(START);
        let rotation = Rotation::new(options, validity(START, START + life), Timestamp::ZERO, wall, &mut random);
        let due = rotation.due().unwrap().saturating_duration_since(wall).as_secs_f64();
        let (share, jitter) = (f64::from(share.min(1000)) / 1000.0, f64::from(jitter.min(1000)) / 1000.0);
        let life = life as f64;
        prop_assert!(due <= (life * share * (1.0 + jitter)).min(life) + 1.0);
        prop_assert!(due + 1.0 + life / 1000.0 >= life * share * (1.0 - jitter));
    }
}

#[test]
fn a_first_certificate_is_asked_for_again_and_again() {
    let (mut first, mut random) = (FirstTry::default(), SplitMix64::new(7));
    let mut now = Timestamp::ZERO;
    assert_eq!(first.poll_timeout(), None);
    for (at, most) in [1, 2, 4, 8, 16, 32, 60, 60].into_iter().enumerate() {
        first.handle_failure(now, &mut random);
        let due = first.poll_timeout().unwrap();
        let wait = due.saturating_duration_since(now).as_secs_f64();
        assert!(wait <= f64::from(most) && wait >= f64::from(most) * 0.8, "{wait} of {most}");
        assert_eq!(first.handle_timeout(now), None, "not yet");
        let failures = u32::try_from(at + 1).unwrap();
        assert_eq!(first.handle_timeout(due), Some(Retry { failures }));
        assert_eq!((first.handle_timeout(due), first.poll_timeout()), (None, None), "once");
        now = due;
    }
}
