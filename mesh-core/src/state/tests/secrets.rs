//! Secrets go live with the clusters that name them, and change without them.

use super::fixture::{World, assignment, at, balanced, cluster, config};
use crate::model::secret::{SecretContent, SecretRoots, SecretSource, SecretValidation};
use crate::model::tls::{TlsIdentity, UpstreamTls};
use crate::model::{Cluster, LbAlgorithm, Secret, TlsPolicy};
use crate::update::{ClusterUpdate, ConfigUpdate, EndpointsUpdate, Origin, SecretAnswer, Secrets};
use std::collections::BTreeMap;
use std::sync::Arc;

/// `name=content name!why`: the secrets of a text.
fn secrets(text: &str) -> Secrets {
    let one = |word: &str| {
        if let Some((name, why)) = word.split_once('!') {
            return (Arc::from(name), SecretAnswer::Missing(why.into()));
        }
        let (name, content) = word.split_once('=').unwrap();
        let roots = SecretRoots::Pem(SecretSource::Inline(content.as_bytes().into()));
        let content = SecretContent::Validation(SecretValidation::new(roots));
        (Arc::from(name), SecretAnswer::Known(Arc::new(Secret::new(name, content))))
    };
    text.split_whitespace().map(one).collect()
}

/// The text of some secrets.
pub(super) fn show(secrets: &Secrets) -> String {
    let one = |(name, answer): (&Arc<str>, &SecretAnswer)| match answer {
        SecretAnswer::Missing(why) => format!("{name}!{why}"),
        SecretAnswer::Known(secret) => match &secret.content {
            SecretContent::Validation(SecretValidation {
                roots: SecretRoots::Pem(SecretSource::Inline(bytes)),
                ..
            }) => format!("{name}={}", String::from_utf8_lossy(bytes)),
            other => panic!("{other:?}"),
        },
    };
    secrets.iter().map(one).collect::<Vec<_>>().join(" ")
}

/// A cluster whose identity is this secret.
fn secured(name: &str, secret: &str) -> Cluster {
    let mut tls = UpstreamTls::default();
    tls.identity = TlsIdentity::Secret(secret.into());
    let mut cluster = cluster(name);
    cluster.tls = TlsPolicy::On(Arc::new(tls));
    cluster
}

/// Clusters `name:secret` with one endpoint each, and secrets.
fn update(clusters: &str, known: &str) -> ConfigUpdate {
    let clusters = clusters.split_whitespace().map(|word| {
        let (name, secret) = word.split_once(':').unwrap();
        (secured(name, secret), Some("1"))
    });
    let mut update = config(clusters);
    update.secrets = Arc::new(secrets(known));
    update
}

/// What a world is told, in order, but for targets and localities.
fn told(world: &World) -> String {
    world.log().join(", ")
}

#[test]
fn a_secret_is_there_before_the_cluster_that_names_it() {
    let mut world = World::new();
    let applied = world.apply(update("a:x", "x=1"), 0).unwrap();
    assert!(applied.secrets_changed);
    assert_eq!(told(&world), "0 a new, 0 a1 new, secured, 0 secrets x=1, 0 a picker");
    assert_eq!(show(world.mesh.snapshot().secrets()), "x=1");
}

#[test]
fn another_secret_comes_before_and_goes_after_the_change() {
    let mut world = World::new();
    world.apply(update("a:x", "x=1"), 0).unwrap();
    world.log();
    // The endpoint is another one: it is secured in another way.
    world.apply(update("a:y", "y=2"), 1).unwrap();
    assert_eq!(
        told(&world),
        "1 a1 new, secured, 1 secrets x=1 y=2, 1 a changed, 1 a picker, 2 a1 gone, 2 secrets y=2"
    );
    assert_eq!(show(world.mesh.snapshot().secrets()), "y=2");
}

#[test]
fn a_rotated_secret_is_another_snapshot_and_no_other_cluster() {
    let mut world = World::new();
    world.apply(update("a:x b:x", "x=1 y=1"), 0).unwrap();
    world.log();
    let (before, members) = (Arc::clone(&world.mesh.snapshot()), world.members());
    let mut rotated = EndpointsUpdate::new(Origin::new("test", "2"));
    rotated.secrets = secrets("x=2 y=1 unknown=7");
    let applied = world.updater.apply_endpoints_update(&rotated, at(1)).unwrap();
    assert!(applied.secrets_changed && applied.clusters_changed == 0);
    assert_eq!((applied.endpoints_added, applied.endpoints_removed), (0, 0));
    assert_eq!(told(&world), "1 secrets x=2 y=1", "no cluster and no endpoint is told");
    let after = Arc::clone(&world.mesh.snapshot());
    assert_eq!(show(before.secrets()), "x=1 y=1", "a call that began keeps what it saw");
    assert_eq!(show(after.secrets()), "x=2 y=1");
    assert!(Arc::ptr_eq(before.cluster("a").unwrap(), after.cluster("a").unwrap()));
    assert_eq!(world.members(), members);
    assert_eq!(show(&world.updater.config().secrets), "x=2 y=1");
    // What is equal stays the same pointer, and equal ones are nothing new.
    let pointer = |secrets: &Secrets| match &secrets["y"] {
        SecretAnswer::Known(secret) => Arc::as_ptr(secret),
        SecretAnswer::Missing(why) => panic!("{why}"),
    };
    assert_eq!(pointer(before.secrets()), pointer(after.secrets()));
    let applied = world.updater.apply_endpoints_update(&rotated, at(2)).unwrap();
    assert!(!applied.secrets_changed);
    assert!(Arc::ptr_eq(&after, &world.mesh.snapshot()));
}

#[test]
fn an_equal_configuration_is_nothing_new() {
    let mut world = World::new();
    world.apply(update("a:x", "x=1 y!none"), 0).unwrap();
    world.log();
    let before = Arc::clone(&world.mesh.snapshot());
    let applied = world.apply(update("a:x", "x=1 y!none"), 1).unwrap();
    assert!(!applied.secrets_changed);
    assert_eq!(told(&world), "");
    assert!(Arc::ptr_eq(&before, &world.mesh.snapshot()));
}

#[test]
fn a_whole_configuration_brings_its_secrets_along() {
    let table = [
        ("rotated", "x=2", "1 secrets x=2"),
        ("lost", "x!gone", "1 secrets x!gone"),
        ("not named any more", "", "2 secrets "),
        ("one more", "x=1 z=1", "1 secrets x=1 z=1"),
    ];
    for (case, after, expected) in table {
        let mut world = World::new();
        world.apply(update("a:x", "x=1"), 0).unwrap();
        world.log();
        let members = world.members();
        let applied = world.apply(update("a:x", after), 1).unwrap();
        assert!(applied.secrets_changed && applied.clusters_changed == 0, "{case}");
        assert_eq!(told(&world), expected, "{case}");
        assert_eq!(show(world.mesh.snapshot().secrets()), after, "{case}");
        assert_eq!(world.members(), members, "{case}");
    }
}

#[test]
fn a_cluster_that_is_leaving_keeps_its_secret_until_it_has_left() {
    let mut world = World::new();
    world.apply(update("a:x b:y", "x=1 y=1"), 0).unwrap();
    world.log();
    // A call that chose it goes on.
    let call = world.target("b").unwrap();
    world.apply(update("a:x", "x=1"), 1).unwrap();
    assert_eq!(told(&world), "2 b picker", "nothing is taken away");
    assert_eq!(show(world.mesh.snapshot().secrets()), "x=1");
    let mut rotated = EndpointsUpdate::new(Origin::new("test", "3"));
    rotated.secrets = secrets("x=2");
    world.updater.apply_endpoints_update(&rotated, at(2)).unwrap();
    assert_eq!(told(&world), "2 secrets x=2 y=1");
    drop(call);
    world.updater.free_retired();
    world.updater.free_retired();
    assert_eq!(told(&world), "3 b picker, 3 b1 gone, 3 b gone, 3 secrets x=2");
}

#[test]
fn a_refused_update_brings_no_secrets() {
    let mut world = World::new();
    world.apply(update("a:x", "x=1"), 0).unwrap();
    world.log();
    let mut refused = update("a:x", "x=2");
    let broken = balanced("a", LbAlgorithm::Custom("nobody's".into()));
    let broken = ClusterUpdate::new(Arc::new(broken), Some(Arc::new(assignment("1"))));
    refused.clusters.insert("a".into(), broken);
    world.apply(refused, 1).unwrap_err();
    // The endpoint was made for a configuration that never came into force.
    assert_eq!(told(&world), "1 a1 new");
    assert_eq!(show(world.mesh.snapshot().secrets()), "x=1");
}

#[test]
fn what_comes_later_is_merged_into_what_waits() {
    let mut whole = update("a:x", "x=1 y=1");
    let mut first = EndpointsUpdate::new(Origin::new("test", "2"));
    first.secrets = secrets("x=2 y=2");
    let mut second = EndpointsUpdate::new(Origin::new("test", "3"));
    second.secrets = secrets("x=3 unknown=1");
    second.clusters = BTreeMap::from([("a".into(), Some(Arc::new(assignment("2"))))]);
    first.merge(second);
    assert_eq!(show(&first.secrets), "unknown=1 x=3 y=2");
    whole.merge(first);
    assert_eq!(show(&whole.secrets), "x=3 y=2");
    assert_eq!(*whole.origin.version, *"3");
}
