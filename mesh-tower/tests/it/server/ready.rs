//! When a mesh is ready: with a configuration, and with who it is.

use super::ca::Ca;
use super::world::{OURS, mutual, serving};
use crate::fixture::bounded;
use mesh_core::update::ConfigUpdate;
use mesh_tower::identity::{FixedIdentity, NoIdentity};
use mesh_tower::source::Updates;
use mesh_tower::{Mesh, NotReady};
use std::time::{Duration, Instant};

const SHORT: Duration = Duration::from_millis(200);

#[tokio::test]
async fn ready_waits_for_the_first_good_material_and_says_so() {
    let (source, identity) = FixedIdentity::new(None);
    let config = serving(vec![mutual(|_| {})]);
    let mesh = Mesh::builder().identity(source).config(config).build().unwrap();
    assert!(tokio::time::timeout(SHORT, mesh.ready()).await.is_err());
    let missing = mesh.ready_within(SHORT).await.unwrap_err();
    let NotReady::Identity { error, whose, .. } = &missing else { panic!("{missing}") };
    assert_eq!(*error, NoIdentity::NotYet { why: None });
    assert_eq!(&**whose, "the identity that the program gave");
    let text = "the configuration is there, but the identity that the program gave had nothing good \
                within 200 ms: no identity yet";
    assert_eq!(missing.to_string(), text);
    // Material that is over changes nothing, and is the reason.
    let ca = Ca::new("ours");
    let over = ca.material(&ca.issue_for(OURS, (-60, -30), 1));
    identity.publish(over).await.unwrap_err();
    let text = mesh.ready_within(SHORT).await.unwrap_err().to_string();
    assert!(text.contains("no identity yet: "), "{text}");
    let waits = tokio::spawn({
        let mesh = mesh.clone();
        async move { mesh.ready().await }
    });
    identity.publish(ca.material(&ca.issue(OURS))).await.unwrap();
    bounded(waits).await.unwrap().unwrap();
    assert_eq!(mesh.ready_within(SHORT).await, Ok(()));
}

#[tokio::test]
async fn an_identity_of_the_configuration_is_named_by_its_files() {
    let directory = tempfile::tempdir().unwrap();
    let ca = Ca::new("ours");
    let pair = ca.issue(OURS);
    let path = |name: &str| directory.path().join(name);
    std::fs::write(path("key.pem"), &pair.key).unwrap();
    std::fs::write(path("roots.pem"), ca.pem()).unwrap();
    let text = "version: 1\nidentity: { cert: cert.pem, key: key.pem, roots: roots.pem }\n";
    std::fs::write(path("mesh.yaml"), text).unwrap();
    let mesh = Mesh::from_file(path("mesh.yaml")).unwrap();
    let missing = mesh.ready_within(SHORT).await.unwrap_err();
    assert!(matches!(missing, NotReady::Identity { .. }), "{missing}");
    let text = missing.to_string();
    assert!(text.contains("the identity of the configuration (files `"), "{text}");
    assert!(text.contains("cert.pem`"), "{text}");
    std::fs::write(path("cert.pem"), &pair.chain).unwrap();
    bounded(mesh.ready()).await.unwrap();
}

#[tokio::test]
async fn without_an_identity_or_a_configuration() {
    let mesh = Mesh::builder().config(ConfigUpdate::in_code()).build().unwrap();
    assert_eq!(mesh.ready_within(SHORT).await, Ok(()));
    let (_updates, source) = Updates::new();
    let mesh = Mesh::builder().source(source).build().unwrap();
    let missing = mesh.ready_within(SHORT).await.unwrap_err();
    assert_eq!(missing, NotReady::Configuration { limit: SHORT, refused: None });
    assert_eq!(missing.to_string(), "no complete configuration within 200 ms");
}

#[tokio::test]
async fn whoever_waits_hears_of_the_end() {
    let (source, _identity) = FixedIdentity::new(None);
    let config = serving(vec![mutual(|_| {})]);
    let mesh = Mesh::builder().identity(source).config(config).build().unwrap();
    let waits = tokio::spawn({
        let mesh = mesh.clone();
        async move { mesh.ready().await }
    });
    tokio::task::yield_now().await;
    let began = Instant::now();
    bounded(mesh.shutdown(SHORT)).await;
    bounded(waits).await.unwrap().unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(5));
    assert_eq!(mesh.ready_within(SHORT).await, Err(NotReady::ShutDown));
}
