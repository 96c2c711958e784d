//! `transport_socket_matches`: endpoints of one cluster that are secured in different ways.

use super::super::{Accepted, Refused, check_all, check_all_refused, made};
use super::{choice, common, context, expect, with};
use crate::decode::testing::{any, assignment, kind, structure};
use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{DiscoveryType, TransportSocketMatch};
use envoy_types::pb::envoy::config::core::v3::Metadata;
use envoy_types::pb::envoy::extensions::transport_sockets::raw_buffer::v3::RawBuffer;
use mesh_core::model::tls::{TlsRoots, UpstreamTls};
use mesh_core::model::{self, TlsLabels, TlsMatch, TlsPolicy};
use std::sync::Arc;

fn secured(key: Option<&str>) -> TransportSocketMatch {
    choice(key, any(&context(|_| {})))
}

fn plain(key: Option<&str>) -> TransportSocketMatch {
    choice(key, any(&RawBuffer::default()))
}

/// By the roots of the provider `mesh`.
fn tls() -> TlsPolicy {
    let mut tls = UpstreamTls::default();
    tls.roots = TlsRoots::Provider("mesh".into());
    tls.auto_host_sni = false;
    TlsPolicy::On(Arc::new(tls))
}

/// Matches with `key=x`; an empty key takes all.
fn matches(model: &mut model::Cluster, all: &[(&str, TlsPolicy)]) {
    let labels = |key: &str| match key {
        "" => TlsLabels::default(),
        key => TlsLabels::text(key, "x"),
    };
    let all = all.iter().map(|(key, tls)| TlsMatch::new("m", labels(key), tls.clone()));
    model.tls_matches = all.collect();
}

#[test]
fn what_is_accepted() {
    check_all(ACCEPTED);
}

const ACCEPTED: &[Accepted] = &[
    (
        "Envoy: in their order, before the cluster's own",
        |c| {
            with(c, |t| t.sni = "own".into());
            c.transport_socket_matches = vec![plain(Some("a")), secured(Some("b"))];
        },
        |m| {
            expect(m, |t| t.sni = Some("own".into()));
            matches(m, &[("a", TlsPolicy::Off), ("b", tls())]);
        },
        &[],
    ),
    (
        "Istio: mutual TLS for who takes it, plaintext for the others",
        |c| c.transport_socket_matches = vec![secured(Some("tlsMode")), plain(None)],
        |m| matches(m, &[("tlsMode", tls()), ("", TlsPolicy::Off)]),
        &[],
    ),
    (
        "Envoy: an empty match is the last, and the cluster's own is not reached",
        |c| {
            c.transport_socket_matches = vec![plain(Some("a")), secured(None), plain(Some("b"))];
        },
        |m| {
            m.tls = tls();
            matches(m, &[("a", TlsPolicy::Off), ("", tls())]);
        },
        &[],
    ),
    (
        "matches that come to the same are none",
        |c| {
            with(c, |_| {});
            c.transport_socket_matches = vec![secured(Some("k"))];
        },
        |m| m.tls = tls(),
        &[],
    ),
    (
        "so is an empty one alone",
        |c| c.transport_socket_matches = vec![secured(None), plain(Some("k"))],
        |m| m.tls = tls(),
        &[],
    ),
    (
        "gRFC A29: what the protocol offers anyhow",
        |c| {
            let offers = context(|t| common(t).alpn_protocols = vec!["h2".into()]);
            c.transport_socket_matches = vec![choice(Some("k"), any(&offers))];
            #[expect(deprecated, reason = "control planes still set it")]
            {
                c.http2_protocol_options = Some(Default::default());
            }
        },
        |m| {
            matches(m, &[("k", tls())]);
            m.protocol = model::Protocol::Http2;
        },
        &[],
    ),
];

/// A cluster of two names, of which the second says `k=x`.
fn names(cluster: &mut Cluster) {
    cluster.eds_cluster_config = None;
    cluster.cluster_discovery_type = kind(DiscoveryType::StrictDns);
    let mut names = assignment(&["a.b", "c.d"]);
    names.endpoints[0].locality = None;
    names.endpoints[0].lb_endpoints[1].metadata = Some(Metadata {
        filter_metadata: [("envoy.transport_socket_match".into(), structure("k", "x"))].into(),
        ..Default::default()
    });
    cluster.load_assignment = Some(names);
}

#[test]
fn the_names_of_a_dns_cluster_have_one_way() {
    const REFUSED: &[Refused] = &[(
        "one says so, the other nothing",
        |c| {
            names(c);
            c.transport_socket_matches = vec![secured(Some("k"))];
        },
        "transport_socket_matches: the names of a DNS cluster in different ways",
    )];
    check_all_refused(REFUSED);
    let found = made(|c| {
        names(c);
        c.load_assignment.as_mut().unwrap().endpoints[0].lb_endpoints.remove(0);
        c.transport_socket_matches = vec![secured(Some("k")), plain(None)];
    });
    assert_eq!((&found.model.tls, &found.model.tls_matches[..]), (&tls(), &[][..]));
}
