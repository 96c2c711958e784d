//! What a caller may say of itself, and what the service is told of it.

use super::kit::{ask, behind, connection, echo, listener, mesh, peer};
use bytes::Bytes;
use http::Response;
use mesh_core::identity::Peer;
use mesh_core::model::filter_chain::ForwardClientCert;
use mesh_tower::MeshBody;
use mesh_tower::server::{Connection, ServerLayer};
use std::sync::Arc;

const SHOP: &str = "spiffe://m/ns/shop/sa/shop";

/// What the service sees of `x-forwarded-client-cert` under `mode`, of a request that forges one.
async fn xfcc(mode: ForwardClientCert, peer: Peer, sent: &str) -> String {
    let mesh = mesh(listener(|http| http.forward_client_cert = mode));
    let mut connection = Connection::clone(&connection(&mesh, peer));
    connection.certificates = Arc::new([Bytes::from_static(b"a certificate")]);
    connection.own_uris = Some(Arc::new(["spiffe://m/web".into()]));
    let told = ask(&echo(&mesh), &Arc::new(connection), &format!("GET /\nhost: a{sent}")).await;
    let lines = told.lines().filter_map(|line| line.strip_prefix("x-forwarded-client-cert: "));
    lines.collect::<Vec<_>>().join(" | ")
}

#[tokio::test]
async fn a_forged_client_certificate_is_taken_off_in_every_mode_but_those_that_trust() {
    use ForwardClientCert as Mode;
    let forged = "\nx-forwarded-client-cert: URI=spiffe://m/admin";
    let twice = format!("{forged}{forged}");
    let ours = "By=spiffe://m/web;\
                Hash=25c5b0c4ec8b9ad2b0eba5bbcae1fa1ee81b5bb3a9d1a1ee9a2a7d0d5f6a1f5d;\
                Subject=\"\";URI=spiffe://m/ns/shop/sa/shop";
    let known = || peer(SHOP);
    let came = "URI=spiffe://m/admin";
    for (mode, peer, sent, expected) in [
        (Mode::Sanitize, known(), forged, String::new()),
        (Mode::SanitizeSet, known(), forged, ours.to_owned()),
        (Mode::SanitizeSet, known(), "", ours.to_owned()),
        (Mode::SanitizeSet, known(), &*twice, ours.to_owned()),
        (Mode::AppendForward, known(), forged, format!("{came},{ours}")),
        (Mode::AppendForward, known(), &*twice, format!("{came},{came},{ours}")),
        (Mode::AppendForward, known(), "", ours.to_owned()),
        (Mode::ForwardOnly, known(), forged, came.to_owned()),
        (Mode::AlwaysForwardOnly, known(), forged, came.to_owned()),
        (Mode::AlwaysForwardOnly, Peer::Plaintext, forged, came.to_owned()),
        (Mode::SanitizeSet, Peer::Plaintext, forged, String::new()),
        (Mode::AppendForward, Peer::Tls, forged, String::new()),
        (Mode::ForwardOnly, Peer::Plaintext, &*twice, String::new()),
    ] {
        let name = peer.name().to_owned();
        let found = xfcc(mode, peer, sent).await;
        // The hash is that of the certificate's bytes, whatever they are.
        let hash = |text: &str| {
            text.split(";Hash=")
                .map(|part| {
                    part.split_once(';')
                        .filter(|(hash, _)| hash.len() == 64)
                        .map_or(part, |(_, rest)| rest)
                        .to_owned()
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(hash(&found), hash(&expected), "{mode:?} {name} {sent}");
    }
}

/// Applications that know headers as variables take both for one (RFC 3875 section 4.1.18).
#[tokio::test]
async fn a_forged_client_certificate_with_underscores_is_taken_off() {
    let mesh = mesh(listener(|_| {}));
    let service = behind(&ServerLayer::new(&mesh, "web"), |request| async move {
        let names = request.headers().keys().map(|name| name.as_str().to_owned());
        Response::new(MeshBody::full(names.collect::<Vec<_>>().join(" ")))
    });
    let sent = "GET /\nhost: a\nx_forwarded_client_cert: URI=spiffe://m/admin\n\
                x-forwarded-client_cert: URI=spiffe://m/admin\nx_envoy_max_retries: 9\nx_mine: 1";
    for (peer, expected) in [
        (Peer::Plaintext, "200 host x_mine"),
        (peer(SHOP), "200 host x_mine x-forwarded-client-cert"),
    ] {
        let connection = connection(&mesh, peer);
        assert_eq!(ask(&service, &connection, sent).await, expected);
    }
}

#[tokio::test]
async fn headers_of_the_meshs_own_are_believed_of_who_is_known_only() {
    let mesh = mesh(listener(|_| {}));
    let sent = "GET /\nhost: a\nx-mesh-retry: no\nx-envoy-max-retries: 9\nx-envoy-attempt-count: 2\n\
                x-envoy-upstream-rq-timeout-ms: 1\nx-mine: 1";
    for (peer, expected) in [
        (Peer::Plaintext, vec!["x-envoy-attempt-count: 2", "x-mine: 1"]),
        (Peer::Tls, vec!["x-envoy-attempt-count: 2", "x-mine: 1"]),
        (
            peer(SHOP),
            vec![
                "x-envoy-attempt-count: 2",
                "x-envoy-max-retries: 9",
                "x-envoy-upstream-rq-timeout-ms: 1",
                "x-mine: 1",
            ],
        ),
    ] {
        let told = ask(&echo(&mesh), &connection(&mesh, peer), sent).await;
        let mut lines: Vec<_> = told.lines().skip(1).collect();
        lines.retain(|line| !line.starts_with("x-forwarded-client-cert"));
        lines.sort_unstable();
        assert_eq!(lines, expected);
    }
}
