//! Where endpoints come from.

use super::{Refused, check_all_refused, made};
use crate::EndpointSource;
use crate::decode::testing::{
    any, assignment, broken, custom, decode_cluster, eds, ignored, kind, locality, n, own, secs,
    source,
};
use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, CustomClusterType, DiscoveryType, EdsClusterConfig,
};
use envoy_types::pb::envoy::config::core::v3::config_source::ConfigSourceSpecifier;
use envoy_types::pb::envoy::config::core::v3::{ApiConfigSource, PathConfigSource};
use envoy_types::pb::envoy::config::endpoint::v3::cluster_load_assignment::Policy;
use envoy_types::pb::envoy::config::endpoint::v3::cluster_load_assignment::policy::DropOverload;
use envoy_types::pb::envoy::extensions::clusters::aggregate::v3::ClusterConfig;
use envoy_types::pb::envoy::extensions::clusters::redis::v3::RedisClusterConfig;
use std::sync::Arc;

fn config(cluster: &mut Cluster) -> &mut EdsClusterConfig {
    cluster.eds_cluster_config.as_mut().unwrap()
}

fn aggregate(cluster: &mut Cluster, clusters: &[&str]) {
    let clusters = clusters.iter().map(ToString::to_string).collect();
    custom(cluster, &ClusterConfig { clusters });
}

fn inline(cluster: &mut Cluster) {
    cluster.eds_cluster_config = None;
    cluster.cluster_discovery_type = kind(DiscoveryType::Static);
    cluster.load_assignment = Some(assignment(&["127.0.0.1"]));
}

const REFUSED: &[Refused] = &[
    ("Envoy: min_len 1", |c| c.name.clear(), "name: empty"),
    ("gRFC A27: ads", |c| config(c).eds_config = None, "eds_cluster_config.eds_config: missing"),
    (
        "gRFC A27: ads, not a path",
        |c| {
            let path = PathConfigSource { path: "/x".into(), ..Default::default() };
            config(c).eds_config = source(ConfigSourceSpecifier::PathConfigSource(path));
        },
        "eds_cluster_config.eds_config: only `ads` or `self`",
    ),
    (
        "gRFC A27: ads, not another server",
        |c| {
            let api = ApiConfigSource::default();
            config(c).eds_config = source(ConfigSourceSpecifier::ApiConfigSource(api));
        },
        "eds_cluster_config.eds_config: one stream",
    ),
    (
        "gRFC A27: a source that says nothing",
        |c| config(c).eds_config = Some(Default::default()),
        "eds_cluster_config.eds_config: missing",
    ),
    ("gRFC A27: EDS needs its config", |c| c.eds_cluster_config = None, "eds_cluster_config: A27"),
    ("gRFC A47: xdstp", |c| c.name = "xdstp://a/c".into(), "eds_cluster_config.service_name: A47"),
    (
        "Envoy: no such type",
        |c| c.cluster_discovery_type = Some(ClusterDiscoveryType::Type(9)),
        "type: 9",
    ),
    (
        "gRPC: no ORIGINAL_DST",
        |c| c.cluster_discovery_type = kind(DiscoveryType::OriginalDst),
        "type: ORIGINAL_DST is not supported",
    ),
    (
        "Envoy: no eds_config in others",
        |c| c.cluster_discovery_type = kind(DiscoveryType::Static),
        "eds_cluster_config: only for clusters of type EDS",
    ),
    (
        "gRFC A37: a cluster type without config",
        |c| {
            c.eds_cluster_config = None;
            let custom = CustomClusterType { name: "mine".into(), typed_config: None };
            c.cluster_discovery_type = Some(ClusterDiscoveryType::ClusterType(custom));
        },
        "cluster_type.typed_config: `mine`",
    ),
    (
        "gRFC A37: only aggregates",
        |c| custom(c, &RedisClusterConfig::default()),
        "cluster_type.typed_config: RedisClusterConfig",
    ),
    (
        "a broken config",
        |c| {
            aggregate(c, &[]);
            let typed_config = Some(broken::<ClusterConfig>());
            let custom = CustomClusterType { name: "x".into(), typed_config };
            c.cluster_discovery_type = Some(ClusterDiscoveryType::ClusterType(custom));
        },
        "cluster_type.typed_config: not a valid envoy.extensions.clusters.aggregate",
    ),
    ("Envoy: min_items 1", |c| aggregate(c, &[]), "cluster_type.typed_config.clusters: empty"),
    (
        "gRFC A37: a name",
        |c| aggregate(c, &["a", ""]),
        "cluster_type.typed_config.clusters[1]: empty",
    ),
    (
        "gRFC A37: no cycles",
        |c| aggregate(c, &["a", "c"]),
        "cluster_type.typed_config.clusters[1]: itself",
    ),
    (
        "A27 within a cluster",
        |c| {
            inline(c);
            c.load_assignment = Some(assignment(&["localhost"]));
        },
        "load_assignment.endpoints[0].lb_endpoints[0].endpoint.address.socket_address.address: IP",
    ),
    (
        "Envoy: a locality's weight is at least 1",
        |c| {
            inline(c);
            c.load_assignment.as_mut().unwrap().endpoints[0].load_balancing_weight = n(0);
        },
        "load_assignment.endpoints[0].load_balancing_weight: at least 1",
    ),
    ("Envoy: connect_timeout > 0", |c| c.connect_timeout = secs(0), "connect_timeout: 0 s"),
    ("Envoy: connect_timeout > 0", |c| c.connect_timeout = secs(-5), "connect_timeout: -5s"),
    (
        "gRFC A27: lrs_server is self",
        |c| c.lrs_server = crate::decode::testing::ads(),
        "lrs_server: only `self`",
    ),
    (
        "gRFC A27: lrs_server is self",
        |c| c.lrs_server = Some(Default::default()),
        "lrs_server: missing",
    ),
];

#[test]
fn what_is_refused() {
    check_all_refused(REFUSED);
}

#[test]
fn where_endpoints_come_from() {
    type Row = (&'static str, fn(&mut Cluster), EndpointSource);
    let rows: [Row; 6] = [
        (
            "gRFC A27: the service's name",
            |c| config(c).service_name = "s".into(),
            EndpointSource::Eds("s".into()),
        ),
        (
            "gRFC A47: self is ads",
            |c| config(c).eds_config = own(),
            EndpointSource::Eds("c".into()),
        ),
        (
            "gRFC A47: xdstp with a service's name",
            |c| {
                c.name = "xdstp://a/c".into();
                config(c).service_name = "xdstp://a/e".into();
            },
            EndpointSource::Eds("xdstp://a/e".into()),
        ),
        (
            "Envoy: nothing said is STATIC, and no endpoints are none",
            |c| {
                c.eds_cluster_config = None;
                c.cluster_discovery_type = None;
            },
            EndpointSource::Inline(Arc::default()),
        ),
        (
            "gRFC A37: in their order",
            |c| aggregate(c, &["b", "a"]),
            EndpointSource::Aggregate(vec!["b".into(), "a".into()]),
        ),
        (
            "gRFC A37: duplicates keep the earliest",
            |c| aggregate(c, &["b", "a", "b"]),
            EndpointSource::Aggregate(vec!["b".into(), "a".into()]),
        ),
    ];
    for (rule, change, expected) in rows {
        assert_eq!(made(change).endpoints, expected, "{rule}");
    }
}

#[test]
fn a_static_cluster_holds_its_endpoints() {
    let found = made(|c| {
        inline(c);
        let assignment = c.load_assignment.as_mut().unwrap();
        assignment.endpoints.push(locality("b", &["::1"]));
        assignment.endpoints[1].load_balancing_weight = n(3);
        let drop = DropOverload { category: "x".into(), drop_percentage: None };
        assignment.policy = Some(Policy {
            overprovisioning_factor: n(100),
            drop_overloads: vec![drop],
            ..Default::default()
        });
    });
    let EndpointSource::Inline(assignment) = &found.endpoints else { panic!("{found:?}") };
    let weights: Vec<_> = assignment.localities.iter().map(|place| place.weight).collect();
    assert_eq!(weights, [1, 3], "a cluster's own endpoints are never left out");
    assert_eq!(assignment.len(), 2);
    assert_eq!(&*assignment.drop_overloads[0].category, "x");
    assert_eq!(found.model.lb_policy.overprovisioning_factor, 100);
}

#[test]
fn what_is_ignored() {
    type Row = (fn(&mut Cluster), &'static [&'static str]);
    let rows: [Row; 5] = [
        (|c| c.load_assignment = Some(assignment(&[])), &["load_assignment"]),
        (|c| aggregate(c, &["a", "a"]), &["cluster_type.typed_config.clusters[1]"]),
        (
            |c| {
                aggregate(c, &["a"]);
                c.connect_timeout = secs(1);
                c.outlier_detection = Some(Default::default());
                c.common_lb_config = Some(Default::default());
            },
            &["connect_timeout", "outlier_detection", "common_lb_config"],
        ),
        (
            |c| {
                aggregate(c, &["a"]);
                c.load_assignment = Some(assignment(&[]));
            },
            &["load_assignment"],
        ),
        (
            |c| {
                inline(c);
                c.cluster_discovery_type = kind(DiscoveryType::StrictDns);
                c.load_assignment = Some(assignment(&["a"]));
                let drop = DropOverload { category: "x".into(), drop_percentage: None };
                c.load_assignment.as_mut().unwrap().policy =
                    Some(Policy { drop_overloads: vec![drop], ..Default::default() });
            },
            &["load_assignment.policy.drop_overloads", "load_assignment.endpoints[0].locality"],
        ),
    ];
    for (change, expected) in rows {
        let mut message = eds();
        change(&mut message);
        let decoded = decode_cluster(&message);
        assert_eq!(ignored(&decoded), expected);
        assert!(decoded.resource.is_ok(), "{decoded:?}");
    }
}

#[test]
fn a_type_is_known_by_its_name_alone() {
    let found = made(|c| {
        aggregate(c, &["a"]);
        let mut config = any(&ClusterConfig { clusters: vec!["a".into()] });
        config.type_url = config.type_url.replace("type.googleapis.com", "types.example");
        let custom = CustomClusterType { name: "x".into(), typed_config: Some(config) };
        c.cluster_discovery_type = Some(ClusterDiscoveryType::ClusterType(custom));
    });
    assert_eq!(found.endpoints, EndpointSource::Aggregate(vec!["a".into()]));
}
