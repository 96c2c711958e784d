//! Endpoints of one cluster that are secured in different ways (Envoy: `transport_socket_matches`).

use super::ca::Ca;
use super::server::{Server, Setup};
use super::{CLIENT, SHOP, check, material, mesh_tls, says};
use crate::fixture::{bounded, cluster, config_with, eventually, get, metric};
use mesh_core::model::{
    Address, ClusterLoadAssignment, Endpoint, Protocol, TlsLabels, TlsMatch, TlsPolicy,
};
use mesh_core::update::{ConfigUpdate, Origin};
use mesh_tower::Mesh;
use mesh_tower::identity::{FixedIdentity, IdentityUpdates};
use mesh_tower::source::Updates;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

fn istio() -> TlsLabels {
    TlsLabels::text("tlsMode", "istio")
}

/// As Istio has it: mutual TLS for those that say so, plaintext for the others.
fn update(endpoints: &[(SocketAddr, bool)], protocol: Protocol, version: &str) -> ConfigUpdate {
    let endpoints = endpoints.iter().map(|(address, mutual)| {
        let mut endpoint = Endpoint::new(Address::from(*address));
        endpoint.tls_labels = mutual.then(|| Arc::new(istio()));
        endpoint
    });
    let cluster = cluster(|cluster| {
        let tls = TlsPolicy::On(Arc::new(mesh_tls(&[SHOP])));
        cluster.tls_matches = vec![
            // What a match is called changes nothing.
            TlsMatch::new(format!("tlsMode-istio-{version}"), istio(), tls),
            TlsMatch::new("tlsMode-disabled", TlsLabels::default(), TlsPolicy::Off),
        ];
        cluster.protocol = protocol;
    });
    let mut update = config_with(cluster, Some(ClusterLoadAssignment::of(endpoints)), |action| {
        action.timeout = Duration::from_secs(20);
    });
    update.origin = Origin::new("test", version);
    update
}

/// A mesh with an identity, and where its configuration comes from.
async fn identified(ca: &Ca) -> (Mesh, Updates, IdentityUpdates) {
    let (identity, renewals) =
        FixedIdentity::new(Some(material(&ca.issue(CLIENT, 0x77), &ca.pem())));
    let (updates, source) = Updates::new();
    let mesh = Mesh::builder().identity(identity).source(source).build().unwrap();
    let identities = mesh.identities().unwrap().clone();
    eventually("there is an identity", || identities.current().is_ok()).await;
    (mesh, updates, renewals)
}

#[tokio::test]
async fn plaintext_and_mutual_tls_in_one_cluster() {
    let ca = Ca::new("ours");
    for (protocol, http) in [(Protocol::Http1, "HTTP/1.1"), (Protocol::Http2, "HTTP/2.0")] {
        let strict = Server::start(&Setup::mutual(ca.issue(SHOP, 1), &ca)).await;
        let mut setup = Setup::mutual(ca.issue(SHOP, 2), &ca);
        setup.permissive = true;
        let plain = Server::start(&setup).await;
        let (mesh, updates, _renewals) = identified(&ca).await;
        updates.apply(update(&[(strict.address, true), (plain.address, false)], protocol, "1"));
        bounded(mesh.applied(1)).await.unwrap();
        let mut found = Vec::new();
        for _ in 0..20 {
            found.push(says(&mesh, get("/")).await.unwrap());
        }
        let mutual = format!("{http} {CLIENT}#77 -");
        let plaintext = format!("{http} plaintext");
        let count = |text: &str| found.iter().filter(|found| *found == text).count();
        assert!(count(&mutual) > 0 && count(&plaintext) > 0, "{found:?}");
        assert_eq!(count(&mutual) + count(&plaintext), 20, "{found:?}");
        assert_eq!((strict.accepted.get() > 0, plain.accepted.get()), (true, 0));
        let secured = [("security", "mutual_tls"), ("peer", SHOP)];
        assert!(metric(&mesh, "mesh_connections_secured_total", &secured) > 0);
        // An endpoint that is said to have TLS and has none is not called without.
        let text = crate::fixture::Server::text("hello").await;
        updates.apply(update(&[(text.address, true)], protocol, "2"));
        bounded(mesh.applied(2)).await.unwrap();
        let found = says(&mesh, get("/")).await.unwrap_err();
        assert!(found.contains("speak TLS at this port?"), "{found}");
    }
}

#[tokio::test]
async fn an_endpoint_goes_from_plaintext_to_mutual_tls_and_back_without_a_failed_call() {
    let ca = Ca::new("ours");
    for (protocol, http) in [(Protocol::Http1, "HTTP/1.1"), (Protocol::Http2, "HTTP/2.0")] {
        let mut setup = Setup::mutual(ca.issue(SHOP, 1), &ca);
        setup.permissive = true;
        let server = Server::start(&setup).await;
        let (mesh, updates, _renewals) = identified(&ca).await;
        let apply = async |generation: u64, mutual| {
            updates.apply(update(&[(server.address, mutual)], protocol, &generation.to_string()));
            bounded(mesh.applied(generation)).await.unwrap();
        };
        let ways = [format!("{http} plaintext"), format!("{http} {CLIENT}#77 -")];
        apply(1, false).await;
        check(&says(&mesh, get("/")).await, Ok(&ways[0]), "before");
        let until = Instant::now() + Duration::from_millis(1500);
        let load = (0..4).map(|_| async {
            let mut calls = 0;
            while Instant::now() < until {
                let found = says(&mesh, get("/")).await.unwrap();
                assert!(ways.contains(&found), "{found}");
                calls += 1;
            }
            calls
        });
        let change = async {
            for generation in 2..6 {
                tokio::time::sleep(Duration::from_millis(200)).await;
                let mutual = generation % 2 == 0;
                apply(generation, mutual).await;
                // A call that begins now goes in the way that is in force.
                check(&says(&mesh, get("/")).await, Ok(&ways[usize::from(mutual)]), "changed");
            }
        };
        let (calls, ()) = tokio::join!(futures_util::future::join_all(load), change);
        assert!(calls.iter().sum::<u32>() > 100, "{calls:?}");
        assert!(server.accepted.get() >= 2, "each change to TLS makes connections");
        // Another configuration of the same endpoint, secured alike: its connections stay.
        apply(6, true).await;
        says(&mesh, get("/")).await.unwrap();
        let before = server.accepted.get();
        apply(7, true).await;
        check(&says(&mesh, get("/")).await, Ok(&ways[1]), "alike");
        assert_eq!(server.accepted.get(), before);
    }
}
