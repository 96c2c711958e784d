//! Certificates that clusters name are watched over, whether somebody calls or not.

use super::{Ca, Pair, secrets_of, update};
use crate::fixture::{Handed, bounded, eventually};
use mesh_core::model::tls::{TlsIdentity, TlsRoots, UpstreamTls, ValidationSecret};
use mesh_core::update::{EndpointsUpdate, Origin};
use mesh_tower::Mesh;
use tokio::sync::oneshot;

fn end(mesh: &Mesh) -> Option<u64> {
    let text = mesh.metrics().prometheus_text();
    let name = "mesh_identity_expiry_timestamp_seconds{identity=\"secret/id\"} ";
    text.lines().find_map(|line| line.strip_prefix(name)?.parse().ok())
}

/// A control plane rotates secrets alone.
#[tokio::test]
async fn a_secret_that_rotates_alone_is_seen_without_a_call() {
    let ca = Ca::new("ours");
    let mut tls = UpstreamTls::default();
    tls.identity = TlsIdentity::Secret("id".into());
    tls.roots = TlsRoots::Secret(ValidationSecret::new("roots"));
    let without = update(tls, "127.0.0.1:1".parse().unwrap(), None, |_| {});
    let (sender, sink) = oneshot::channel();
    let mesh = Mesh::builder().source(Handed(sender)).build().unwrap();
    let sink = sink.await.unwrap();
    let pair = |life| -> Pair { ca.issue_for(super::CLIENT, 1, (-60, life)) };
    sink.publish(secrets_of(&without, "1", &pair(600), &ca.pem()));
    bounded(mesh.applied(1)).await.unwrap();
    eventually("the first", || end(&mesh).is_some()).await;
    let first = end(&mesh).unwrap();
    let mut alone = EndpointsUpdate::new(Origin::new("test", "2"));
    alone.secrets = (*secrets_of(&without, "2", &pair(6000), &ca.pem()).secrets).clone();
    sink.publish_endpoints(alone);
    eventually("the second", || end(&mesh).is_some_and(|end| end > first + 5000)).await;
    let roots = "mesh_identity_root_expiry_timestamp_seconds{identity=\"secret/roots\"";
    assert!(mesh.metrics().prometheus_text().contains(roots));
}
