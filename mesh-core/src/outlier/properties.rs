//! Whatever calls, sweeps and configurations do: the promises that hold at every moment.

use super::ejection::{duration, grown};
use super::fleet::Fleet;
use super::{Endpoints, Turn};
use crate::model::OutlierDetection;
use crate::model::outlier_detection::{CapRule, FailurePercentage, SuccessRate};
use crate::outcome::Observation;
use proptest::prelude::*;
use std::time::Duration;

#[derive(Clone, Debug)]
enum Step {
    Observe { index: u32, observation: Observation, times: u32 },
    Advance { millis: u64 },
}

fn observations() -> impl Strategy<Value = Observation> {
    prop::sample::select(vec![
        Observation::Code(200),
        Observation::Code(500),
        Observation::Code(503),
        Observation::ConnectFailure,
        Observation::Timeout,
    ])
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let observe = (0_u32..16, observations(), 1_u32..12)
        .prop_map(|(index, observation, times)| Step::Observe { index, observation, times });
    let advance = (0_u64..25_000).prop_map(|millis| Step::Advance { millis });
    prop::collection::vec(prop_oneof![3 => observe, 1 => advance], 0..80)
}

fn configs() -> impl Strategy<Value = OutlierDetection> {
    let chance = || prop::sample::select(vec![0_u32, 50, 100]);
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    (0_u32..=100, flags, chance(), chance(), 0_u64..3_000).prop_map(
        |(max_ejection_percent, (grpc, split, always), consecutive, statistic, jitter)| {
            let rate = SuccessRate {
                stdev_factor: 1000,
                minimum_hosts: 2,
                request_volume: 5,
                enforcing: statistic,
            };
            let percentage = FailurePercentage {
                threshold: 60,
                minimum_hosts: 1,
                request_volume: 5,
                enforcing: statistic,
            };
            OutlierDetection {
                max_ejection_percent,
                cap_rule: if grpc { CapRule::Grpc } else { CapRule::Envoy },
                split_external_local_origin_errors: split,
                always_eject_one_endpoint: always,
                enforcing_consecutive_5xx: consecutive,
                max_ejection_time: Duration::from_secs(100),
                max_ejection_time_jitter: Duration::from_millis(jitter),
                success_rate: Some(rate),
                local_origin_success_rate: Some(rate),
                failure_percentage: Some(percentage),
                ..OutlierDetection::default()
            }
        },
    )
}

/// The most endpoints that may be out, worked out apart from the code under test.
fn most_out(config: &OutlierDetection, total: u32) -> u32 {
    let share = f64::from(config.max_ejection_percent) / 100.0 * f64::from(total);
    let capped = match config.cap_rule {
        CapRule::Envoy => (share + 1e-9).floor() as u32,
        CapRule::Grpc => (share - 1e-9).ceil().max(0.0) as u32,
    };
    let capped = if config.always_eject_one_endpoint { capped.max(1) } else { capped };
    let all = if config.max_ejection_percent == 100 { total } else { total - 1 };
    capped.min(all)
}

/// Runs one step; what the turn lists is what changed.
fn step(fleet: &mut Fleet, step: &Step) {
    match *step {
        Step::Observe { index, observation, times } => {
            fleet.observe(index % fleet.members.count(), observation, times);
        }
        Step::Advance { millis } => fleet.advance(millis),
    }
}

proptest! {
    #[test]
    fn the_promises_hold(config in configs(), total in 1_u16..16, steps in steps()) {
        let mut fleet = Fleet::new(total, &config);
        let total = u32::from(total);
        let most = most_out(&config, total);
        let mut bound = 0;
        while grown(&config, bound) > bound {
            bound = grown(&config, bound);
        }
        for each in &steps {
            step(&mut fleet, each);
            let out = fleet.ejected().len() as u32;
            prop_assert!(out <= most, "{out} of {total} are out after {each:?}, not {most}");
            for index in 0..total {
                let multiplier = fleet.members.monitor(index).multiplier();
                prop_assert!(multiplier <= bound);
                prop_assert!(multiplier > 0 || !fleet.members.monitor(index).is_ejected());
            }
            if let Some((due, _)) = fleet.detector.poll_timeout() {
                prop_assert!(due >= fleet.now, "what is due is done");
            }
        }
        // Without calls everybody is back, two sweeps after the longest ejection at the latest,
        // and forgiven, one sweep per multiplier later.
        let longest = duration(&config, u32::MAX) + config.max_ejection_time_jitter;
        fleet.advance(longest.as_millis() as u64 + 20_001);
        prop_assert_eq!(fleet.ejected(), [0u32; 0]);
        fleet.advance(10_000 * u64::from(bound));
        for index in 0..total {
            prop_assert_eq!(fleet.members.monitor(index).multiplier(), 0);
        }
    }

    /// `changed` lists who went or came, and nobody else.
    #[test]
    fn a_turn_lists_what_changed(config in configs(), steps in steps()) {
        let mut fleet = Fleet::new(12, &config);
        for each in &steps {
            let Step::Advance { millis } = *each else {
                step(&mut fleet, each);
                continue;
            };
            fleet.now = fleet.now + Duration::from_millis(millis);
            let before = fleet.ejected();
            let turn: Turn =
                fleet.detector.handle_timeout(&fleet.members, fleet.now, &mut fleet.random);
            let after = fleet.ejected();
            for index in 0..fleet.members.count() {
                let moved = before.contains(&index) != after.contains(&index);
                prop_assert!(!moved || turn.changed.contains(&index));
            }
            let acts = turn.events.iter().filter(|event| {
                event.code() == "outlier_unejected" || event.code().starts_with("outlier_ejected")
            });
            prop_assert!(turn.changed.len() <= acts.count(), "{turn:?}");
        }
    }
}
