//! A snapshot that is made from the one before, and streams that look only at what differs.

use super::super::{DeltaStream, Snapshot, SotwStream};
use super::World;
use crate::ResourceType;
use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use mesh_core::ConfigUpdate;
use mesh_core::model::{
    Cluster, ClusterLoadAssignment, ClusterSpecifier, Domain, ForwardAction, Route, VirtualHost,
};
use mesh_core::update::{ClusterUpdate, UnknownHosts};
use proptest::prelude::*;
use std::net::SocketAddr;
use std::sync::Arc;

fn somebody(port: u16) -> Arc<ClusterLoadAssignment> {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    Arc::new(ClusterLoadAssignment::of([address.into()]))
}

fn many() -> ConfigUpdate {
    let mut update = ConfigUpdate::in_code();
    for number in 0..20 {
        let name = format!("c{number}");
        let host = VirtualHost::new(&*name, vec![Domain::parse(&name).expect("a domain")]);
        update = update.virtual_host(host.route(Route::forward(ForwardAction::to(&*name))));
        let cluster = ClusterUpdate::new(Arc::new(Cluster::new(&*name)), Some(somebody(number)));
        update.clusters.insert(name.into(), cluster);
    }
    update
}

/// The names that `next` says to differ.
fn changed(before: &Snapshot, next: &Snapshot) -> Vec<String> {
    let mut seen = super::super::change::Seen::default();
    seen.all_of(before);
    let kinds = ResourceType::ALL.into_iter();
    let names = kinds.flat_map(|kind| {
        let names = next.changed_since(&seen, kind).expect("made from it");
        names.iter().map(move |name| format!("{kind} {name}"))
    });
    names.collect()
}

#[test]
fn what_a_source_hands_over_again_is_not_encoded_again() {
    let mut update = many();
    let first = Snapshot::of(&update, []);
    let same = first.next(&update.clone(), []);
    assert_eq!((same.clone(), changed(&first, &same)), (first.clone(), vec![]));

    update.clusters.get_mut("c7").expect("there").endpoints = Some(somebody(99));
    let second = first.next(&update, []);
    assert_eq!(second, Snapshot::of(&update, []));
    assert_eq!(changed(&first, &second), ["EDS c7"]);
    for (before, after) in
        first.resources(ResourceType::Endpoints).zip(second.resources(ResourceType::Endpoints))
    {
        let same = before.body.as_ptr() == after.body.as_ptr();
        assert_eq!(same, &*before.name != "c7", "{}", before.name);
    }
}

#[test]
fn what_changed_is_known_by_name() {
    let mut update = many();
    let first = Snapshot::of(&update, []);
    update.clusters.remove("c3");
    let cluster = ClusterUpdate::new(Arc::new(Cluster::new("new")), None);
    update.clusters.insert("new".into(), cluster);
    let second = first.next(&update, []);
    assert_eq!(second, Snapshot::of(&update, []));
    assert_eq!(changed(&first, &second), ["CDS c3", "CDS new", "EDS c3"]);
    assert!(!second.leads_as(&first));

    // Equal content behind other pointers is no change.
    let read_again = many();
    let third = first.next(&read_again, []);
    assert_eq!(changed(&first, &third), Vec::<String>::new());
    assert!(third.leads_as(&first));

    update.unknown_hosts = UnknownHosts::Passthrough;
    let fourth = second.next(&update, []);
    assert_eq!(changed(&second, &fourth), ["RDS mesh"]);
    let route = Route::forward(ForwardAction::new(ClusterSpecifier::Cluster("new".into())));
    let update = update.virtual_host(VirtualHost::of("more").expect("a domain").route(route));
    let fifth = fourth.next(&update, []);
    assert_eq!(fifth, Snapshot::of(&update, []));
    let mut seen = super::super::change::Seen::default();
    seen.all_of(&fourth);
    let listeners = fifth.changed_since(&seen, ResourceType::Listener);
    assert_eq!(listeners, None, "other authorities: any listener may be another");
}

/// A step of a control plane and its client.
#[derive(Clone, Debug)]
enum Step {
    /// Resources of a kind from now on; handed over, or missed by the stream.
    Snapshot(&'static str, bool),
    /// A request for these names.
    Ask(ResourceType, Vec<&'static str>, Vec<&'static str>),
}

fn step() -> impl Strategy<Value = Step> {
    let worlds = prop::sample::select(
        &["CDS a=1 b=1", "CDS a=2", "CDS b=1 ~c=1", "CDS", "EDS a=1 b=1", "EDS a=2 c=1", "EDS"][..],
    );
    let names = || prop::collection::vec(prop::sample::select(&["a", "b", "c", "*"][..]), 0..4);
    let kinds = prop::sample::select(&[ResourceType::Cluster, ResourceType::Endpoints][..]);
    prop_oneof![
        (worlds, prop::bool::weighted(0.8)).prop_map(|(world, told)| Step::Snapshot(world, told)),
        (kinds, names(), names()).prop_map(|(kind, add, remove)| Step::Ask(kind, add, remove)),
    ]
}

fn owned(names: &[&str]) -> Vec<String> {
    let mut names: Vec<_> = names.iter().map(ToString::to_string).collect();
    names.sort();
    names.dedup();
    names
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn streams_send_what_they_send_when_they_look_at_everything(
        steps in prop::collection::vec(step(), 1..30),
    ) {
        let mut world = World::default();
        let mut snapshot = Snapshot::default();
        // The second of each never knows what a snapshot was made from.
        let (mut sotw, mut delta): ([SotwStream; 2], [DeltaStream; 2]) = Default::default();
        let mut handed = [snapshot.clone(), world.snapshot()];
        for step in steps {
            match step {
                Step::Snapshot(line, told) => {
                    world.set(line);
                    snapshot = world.snapshot().after(&snapshot);
                    if told {
                        handed = [snapshot.clone(), world.snapshot()];
                        let [known, plain] = &handed;
                        let sent = sotw[0].handle_snapshot(known);
                        prop_assert_eq!(sent, sotw[1].handle_snapshot(plain));
                        let sent = delta[0].handle_snapshot(known);
                        prop_assert_eq!(sent, delta[1].handle_snapshot(plain));
                    }
                }
                Step::Ask(kind, add, remove) => {
                    let [known, plain] = &handed;
                    let type_url = kind.type_url().to_owned();
                    let request = DiscoveryRequest {
                        type_url: type_url.clone(),
                        resource_names: owned(&add),
                        ..DiscoveryRequest::default()
                    };
                    let sent = sotw[0].handle_request(&request, known);
                    prop_assert_eq!(sent, sotw[1].handle_request(&request, plain));
                    let request = DeltaDiscoveryRequest {
                        type_url,
                        resource_names_subscribe: owned(&add),
                        resource_names_unsubscribe: owned(&remove),
                        ..DeltaDiscoveryRequest::default()
                    };
                    let sent = delta[0].handle_request(&request, known);
                    prop_assert_eq!(sent, delta[1].handle_request(&request, plain));
                }
            }
        }
    }
}
