//! Which child of an aggregate an attempt goes to, and what the children keep.

use super::fixture::{Recorder, World, address, assignment, at, cluster, config, port, routes};
use crate::lb::EndpointId;
use crate::local_reply::Reason;
use crate::model::{Discovery, DropOverload, Fraction, LbAlgorithm, OutlierDetection};
use crate::random::{Random, SplitMix64};
use crate::state::{PickRequest, PickedChild, Target};
use crate::update::{ClusterUpdate, ConfigUpdate};
use std::sync::Arc;

/// An aggregate `all` of these children, in order, each with a route of its own. Endpoints as in the
/// fixture; `?`: not known yet.
fn update(children: &[(&str, &str)]) -> ConfigUpdate {
    let clusters = children.iter().map(|(name, endpoints)| {
        let mut child = cluster(name);
        let detection = child.outlier_detection.insert(OutlierDetection::default());
        detection.max_ejection_percent = 50;
        (child, Some(*endpoints).filter(|text| *text != "?"))
    });
    let update = config(clusters).aggregate(cluster("all"), children.iter().map(|(name, _)| *name));
    let names = children.iter().map(|(name, _)| *name).chain(["all"]);
    ConfigUpdate { route_configuration: routes(names), ..update }
}

fn world(children: &[(&str, &str)]) -> World {
    let mut world = World::new();
    world.apply(update(children), 0).unwrap();
    world
}

impl World {
    /// The port that an attempt of a call to `all` goes to, or what there is instead.
    fn pick_child(&mut self, previous: &[u16], millis: u64) -> String {
        let target = self.target("all").unwrap();
        let previous: Vec<_> = previous.iter().map(|port| id_of(&target, *port)).collect();
        let previous = &previous;
        let request = PickRequest { now: at(millis), hash: None, previous, max_reselect: 3 };
        told(&target.pick_child(request, &mut self.random))
    }

    /// How many of 1000 attempts go to each of these ports.
    fn spread<const N: usize>(&mut self, ports: [u16; N]) -> [i32; N] {
        let mut counts = [0; N];
        for _ in 0..1000 {
            let picked = self.pick_child(&[], 0);
            if let Some(at) = ports.iter().position(|port| port.to_string() == picked) {
                counts[at] += 1;
            }
        }
        counts
    }
}

fn told(picked: &PickedChild<Recorder>) -> String {
    match picked {
        PickedChild::Endpoint(found) => {
            let endpoint = found.picker.set().endpoint(found.index).unwrap();
            port(endpoint.address()).to_string()
        }
        PickedChild::Wait => "wait".to_owned(),
        PickedChild::Fail(counts) => format!("none of {}", counts.total),
        PickedChild::Gone(counts) => format!("gone, {}", counts.total),
    }
}

fn endpoint_of(target: &Target<Recorder>, port: u16) -> Arc<crate::state::LiveEndpoint<Recorder>> {
    let pickers = target.children().iter().map(|child| child.cluster().picker());
    let find = |picker: &crate::state::Picker<Recorder>| {
        picker.set().endpoints().find(|endpoint| *endpoint.address() == address(port)).cloned()
    };
    let found = pickers.filter_map(|picker| find(&picker)).next();
    found.unwrap()
}

fn id_of(target: &Target<Recorder>, port: u16) -> EndpointId {
    endpoint_of(target, port).id()
}

/// Of 1000 attempts, about this many go to each port. Five standard deviations are at most 80.
#[track_caller]
fn check<const N: usize>(children: &[(&str, &str)], expected: [(u16, i32); N]) {
    let mut world = world(children);
    let counts = world.spread(expected.map(|(port, _)| port));
    for ((port, expected), count) in expected.into_iter().zip(counts) {
        let near =
            if expected % 1000 == 0 { expected == count } else { count.abs_diff(expected) < 80 };
        assert!(near, "{children:?}: port {port} has {count}, not {expected}");
    }
}

#[test]
fn children_take_what_the_earlier_ones_cannot_carry() {
    check(&[("a", "1 2"), ("b", "3")], [(1, 500), (2, 500), (3, 0)]);
    check(&[("a", "1- 2-"), ("b", "3")], [(1, 0), (2, 0), (3, 1000)]);
    // Half of `a`, times 1.4, carries 70 %.
    check(&[("a", "1 2-"), ("b", "3 4")], [(1, 700), (2, 0), (3, 150), (4, 150)]);
    check(&[("a", "1 2- 9-"), ("b", "3 4-"), ("c", "5")], [(1, 460), (3, 540), (5, 0)]);
    // The priorities of a child come before the next child.
    check(&[("a", "1- 2-|p1 3"), ("b", "4")], [(3, 1000), (4, 0)]);
    check(&[("a", "1 2-|p1 3 4-"), ("b", "5")], [(1, 700), (3, 300), (5, 0)]);
    check(&[("a", "1 2- 7- 8-|p1 3 4-"), ("b", "5")], [(1, 350), (3, 650), (5, 0)]);
}

#[test]
fn panic_comes_in_the_last_instance() {
    // Alone `a` would be in panic: a quarter of it is healthy.
    check(&[("a", "1 2- 3- 4-"), ("b", "5")], [(1, 350), (2, 0), (3, 0), (4, 0), (5, 650)]);
    // Together they carry 70 %: the shortage is shared, and both panic.
    check(&[("a", "1 2- 3- 4-"), ("b", "5 6- 7- 8-")], [(1, 125), (2, 125), (5, 125), (6, 125)]);
    check(&[("a", "1- 2-"), ("b", "3-")], [(1, 500), (2, 500), (3, 0)]);
    check(&[("a", ""), ("b", "3-")], [(3, 1000)]);
}

#[test]
fn children_that_have_nobody_are_left_out() {
    check(&[("a", "?"), ("b", "2")], [(2, 1000)]);
    check(&[("a", ""), ("b", "2")], [(2, 1000)]);
    assert_eq!(world(&[("a", "?"), ("b", "")]).pick_child(&[], 0), "wait");
    assert_eq!(world(&[("a", ""), ("b", "")]).pick_child(&[], 0), "none of 0");
    let mut never = update(&[("a", "1- 2-"), ("b", "3-")]);
    for child in never.clusters.values_mut() {
        Arc::make_mut(&mut child.cluster).lb_policy.panic_threshold = 0;
    }
    let mut world = World::new();
    world.apply(never, 0).unwrap();
    assert_eq!(world.pick_child(&[], 0), "none of 3");
    world.updater.abandon();
    assert_eq!(world.pick_child(&[], 0), "gone, 3");
}

#[test]
fn an_attempt_leaves_a_child_of_which_all_was_tried() {
    let mut world = world(&[("a", "1 2"), ("b", "3"), ("c", "4")]);
    for _ in 0..100 {
        assert_eq!(world.pick_child(&[1], 0), "2");
        assert_eq!(world.pick_child(&[1, 2], 0), "3");
        assert_eq!(world.pick_child(&[1, 2, 3], 0), "4");
        let again = world.pick_child(&[1, 2, 3, 4], 0);
        assert!(
            again == "1" || again == "2",
            "{again}: of those that were tried, the first choice"
        );
    }
}

#[test]
fn a_child_that_nobody_can_connect_to_is_tried_again_by_one_call_at_a_time() {
    let mut world = world(&[("a", "1 2"), ("b", "3")]);
    let target = world.target("all").unwrap();
    endpoint_of(&target, 1).connect_failed(at(0));
    assert_eq!((0..9).map(|_| world.pick_child(&[], 1)).filter(|port| port != "2").count(), 0);
    endpoint_of(&target, 2).connect_failed(at(0));
    assert_eq!((0..9).map(|_| world.pick_child(&[], 1)).filter(|port| port != "3").count(), 0);
    // After a second each of the two is tried once.
    let tried: Vec<_> = (0..20).map(|_| world.pick_child(&[], 1500)).collect();
    let count = |port: &str| tried.iter().filter(|tried| **tried == port).count();
    assert_eq!((count("1"), count("2"), count("3")), (1, 1, 18), "{tried:?}");
    endpoint_of(&target, 1).answered();
    assert_eq!(world.pick_child(&[], 1600), "1");
    // All of them are suspects: one of the first child is better than nobody.
    endpoint_of(&target, 1).connect_failed(at(1600));
    endpoint_of(&target, 3).connect_failed(at(1600));
    let last = world.pick_child(&[], 1700);
    assert!(last == "1" || last == "2", "{last}");
}

#[test]
fn an_ejection_in_a_child_is_the_same_for_all_that_name_it() {
    let mut world = world(&[("a", "1 2"), ("b", "3")]);
    let (all, direct) = (world.target("all").unwrap(), world.target("a").unwrap());
    assert!(Arc::ptr_eq(all.children()[0].cluster(), direct.cluster()));
    assert_eq!(all.cluster().name().as_ref(), "all");
    assert!(world.answer(1, 500, 5));
    let _turn = world.updater.handle_attention(at(1), &mut SplitMix64::new(1));
    assert_eq!(world.members(), "1#1! 2#2");
    // Half of `a` carries 70 %.
    let [one, two, three] = world.spread([1, 2, 3]);
    assert!(one == 0 && two.abs_diff(700) < 80 && three.abs_diff(300) < 80, "{one} {two} {three}");
}

#[test]
fn a_child_keeps_what_was_learnt_while_aggregates_change_around_it() {
    let mut world = world(&[("a", "1 2"), ("b", "3")]);
    let before = world.target("all").unwrap();
    assert!(world.answer(1, 500, 5));
    let _turn = world.updater.handle_attention(at(1), &mut SplitMix64::new(1));
    let two = update(&[("b", "3"), ("a", "1 2")]);
    world.apply(two, 2).unwrap();
    let after = world.target("all").unwrap();
    assert!(Arc::ptr_eq(before.children()[0].cluster(), after.children()[1].cluster()));
    assert_eq!(world.members(), "1#1! 2#2");
    assert_eq!(world.pick_child(&[], 2), "3");
    // `b` leaves: a call that chose its target before still finds it there.
    let one = update(&[("a", "1 2")]);
    world.apply(one, 3).unwrap();
    assert_eq!(world.pick_child(&[], 3), "2");
    let request = PickRequest { now: at(3), hash: None, previous: &[], max_reselect: 3 };
    assert_eq!(told(&after.pick_child(request, &mut world.random)), "3");
    assert_eq!(world.members(), "1#1! 2#2");
}

#[test]
fn an_aggregate_without_children_is_like_a_cluster_that_is_not_there() {
    let mut world = World::new();
    let mut absent = update(&[("a", "1"), ("b", "2")]);
    absent.clusters.remove("a");
    world.apply(absent.clone(), 0).unwrap();
    assert_eq!(world.target("all").unwrap().children().len(), 1);
    absent.clusters.remove("b");
    world.apply(absent.clone(), 1).unwrap();
    assert_eq!(world.target("all").unwrap_err(), Reason::UnknownCluster);
    // Aggregates in aggregates are left out, and so are names that come again.
    let nested = absent.aggregate(cluster("more"), ["a", "all", "a"]);
    let nested = nested.assigned(cluster("a"), Some(assignment("1")));
    let nested = ConfigUpdate { route_configuration: routes(["more"]), ..nested };
    world.apply(nested, 2).unwrap();
    assert_eq!(world.target("more").unwrap().children().len(), 1);
}

#[test]
fn other_children_alone_make_other_targets() {
    let mut world = world(&[("a", "1"), ("b", "2")]);
    let mut other = world.updater.config().clone();
    let all = &mut other.clusters.get_mut("all").unwrap().cluster;
    Arc::make_mut(all).discovery = Discovery::Aggregate(Arc::new(["b".into(), "a".into()]));
    world.apply(other.clone(), 1).unwrap();
    assert_eq!(world.pick_child(&[], 1), "2");
    let all = &mut other.clusters.get_mut("all").unwrap().cluster;
    Arc::make_mut(all).discovery = Discovery::Static;
    other.clusters.get_mut("all").unwrap().endpoints = Some(Arc::new(assignment("7")));
    world.apply(other, 2).unwrap();
    let target = world.target("all").unwrap();
    assert!(target.children().is_empty() && !target.cluster().picker().is_special());
}

#[test]
fn drops_and_hashes_are_the_childs() {
    let mut drops = assignment("1");
    drops.drop_overloads = vec![DropOverload::new("lb", Fraction::per_million(1_000_000))];
    let mut dropping = update(&[("a", ""), ("b", "2 3 4 5")]);
    let a = dropping.clusters["a"].cluster.clone();
    dropping.clusters.insert("a".into(), ClusterUpdate::new(a, Some(Arc::new(drops))));
    let b = &mut dropping.clusters.get_mut("b").unwrap().cluster;
    Arc::make_mut(b).lb_policy.algorithm =
        LbAlgorithm::Maglev { table_size: 251, hash_balance_factor: None };
    let mut world = World::new();
    world.apply(dropping, 0).unwrap();
    let target = world.target("all").unwrap();
    assert!(target.cluster().picker().is_special());
    assert_eq!(target.cluster().picker().dropped(&mut world.random), None);
    let pick = |hash, previous: &[EndpointId], random: &mut dyn FnMut() -> u64| {
        let request = PickRequest { now: at(0), hash, previous, max_reselect: 3 };
        target.pick_child(request, Given(random()))
    };
    let mut numbers = 0..;
    let mut random = || numbers.next().unwrap();
    let PickedChild::Endpoint(in_a) = pick(Some(1), &[], &mut random) else { panic!("picked") };
    assert_eq!(in_a.picker.dropped(&mut world.random).map(|category| &**category), Some("lb"));
    // A retry elsewhere: the hash chooses within `b`, whatever is drawn.
    let first = id_of(&target, 1);
    let picked: Vec<_> = (0..20).map(|_| told(&pick(Some(7), &[first], &mut random))).collect();
    assert!(picked.iter().all(|port| *port == picked[0] && port != "1"), "{picked:?}");
}

/// Gives the same number again and again.
struct Given(u64);

impl Random for Given {
    fn next_u64(&mut self) -> u64 {
        self.0
    }
}
