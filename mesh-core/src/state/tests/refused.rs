//! An update is taken whole or not at all.

use super::fixture::{World, balanced, cluster, config};
use crate::lb::{CustomPick, Pick};
use crate::model::LbAlgorithm;
use crate::state::ApplyError;
use crate::update::ConfigUpdate;
use std::sync::Arc;

/// `b` and `z` are fine, `m` is not; `a` would change.
fn refused(broken: LbAlgorithm) -> ConfigUpdate {
    config([
        (balanced("a", LbAlgorithm::Random), Some("2 3")),
        (cluster("b"), Some("7")),
        (balanced("m", broken), Some("8")),
        (cluster("z"), Some("9")),
    ])
}

#[track_caller]
fn check(broken: LbAlgorithm, error: &str) {
    let mut world = World::with(cluster("a"), "1 2");
    let (before, config_before) = (world.members(), world.updater.config().clone());
    let snapshot = Arc::clone(&world.mesh.snapshot());
    let live = world.cluster("a");
    let picker = Arc::clone(&live.picker());
    let policy = Arc::clone(&live.policy());

    let result = world.apply(refused(broken), 1).unwrap_err();
    assert_eq!(result.to_string(), error);

    assert_eq!(world.members(), before);
    assert_eq!(*world.updater.config(), config_before);
    assert!(Arc::ptr_eq(&world.mesh.snapshot(), &snapshot));
    assert!(Arc::ptr_eq(&live.picker(), &picker));
    assert!(Arc::ptr_eq(&live.policy(), &policy));
    let told = world.log();
    let published = |line: &String| ["picker", "changed", "gone"].iter().any(|w| line.ends_with(w));
    assert!(!told.iter().any(published), "{told:?}");
}

#[test]
fn a_policy_that_cannot_be_built_changes_nothing() {
    check(
        LbAlgorithm::LeastRequest { choice_count: 0, active_request_bias: 1.0 },
        "cluster `m`: choice_count is 0: must be from 2 to 100",
    );
}

#[derive(Debug)]
struct First;

impl Pick for First {
    fn pick(&self, cx: &CustomPick<'_>) -> Option<u32> {
        cx.candidate(0).map(|candidate| candidate.index)
    }
}

#[test]
fn a_policy_that_nobody_registered_changes_nothing() {
    let custom = || LbAlgorithm::Custom("mine".into());
    check(custom(), "cluster `m`: no load-balancing policy `mine` is registered");

    let mut world = World::new();
    world.updater.register_policy("mine", Arc::new(First));
    assert_eq!(world.apply(refused(custom()), 1).unwrap().clusters_added, 4);
}

#[test]
fn endpoints_that_cannot_be_balanced_leave_the_old_ones() {
    let mut world = World::new();
    let unregistered = balanced("a", LbAlgorithm::Custom("mine".into()));
    // Without endpoints there is nothing to balance yet.
    world.apply(config([(unregistered, None)]), 0).unwrap();
    let endpoints = Some(Arc::new(super::fixture::assignment("1")));
    let error = world.updater.apply_endpoints("a", endpoints, super::fixture::at(1)).unwrap_err();
    assert!(matches!(error, ApplyError::UnknownPolicy { .. }));
    assert_eq!(world.members(), "");
    assert_eq!(world.updater.config().clusters["a"].endpoints, None);
}

#[test]
fn refused_clusters_give_their_slots_back() {
    let mut world = World::with(cluster("a"), "1");
    let broken = || LbAlgorithm::LeastRequest { choice_count: 0, active_request_bias: 1.0 };
    for _ in 0..3 {
        world.apply(refused(broken()), 1).unwrap_err();
    }
    world.apply(refused(LbAlgorithm::Random), 1).unwrap();
    let slots = ["a", "b", "m", "z"].map(|name| world.cluster(name).slot());
    assert_eq!(slots, [0, 1, 2, 3]);
}
