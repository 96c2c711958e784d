//! `load_balancing_policy` (gRFC A52).

use super::{Accepted, Refused, check_all, check_all_refused};
use crate::decode::testing::{any, broken, by_source_ip, n, n64, pct, secs, structure, yes};
use crate::decode::typed::TypedStruct;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{CommonLbConfig, common_lb_config};
use envoy_types::pb::envoy::config::cluster::v3::load_balancing_policy::Policy;
use envoy_types::pb::envoy::config::cluster::v3::{Cluster, LoadBalancingPolicy};
use envoy_types::pb::envoy::config::core::v3::TypedExtensionConfig;
use envoy_types::pb::envoy::config::route::v3::route_action::HashPolicy;
use envoy_types::pb::envoy::extensions::load_balancing_policies as policies;
use envoy_types::pb::google::protobuf::{Any, Struct};
use mesh_core::model::{self, HashSource, LbAlgorithm, SlowStart};
use policies::client_side_weighted_round_robin::v3::ClientSideWeightedRoundRobin;
use policies::common::v3::locality_lb_config::{
    LocalityConfigSpecifier, LocalityWeightedLbConfig, ZoneAwareLbConfig,
};
use policies::common::v3::{ConsistentHashingLbConfig, LocalityLbConfig, SlowStartConfig};
use policies::least_request::v3::LeastRequest;
use policies::maglev::v3::Maglev;
use policies::pick_first::v3::PickFirst;
use policies::random::v3::Random;
use policies::ring_hash::v3::RingHash;
use policies::round_robin::v3::RoundRobin;
use policies::wrr_locality::v3::WrrLocality;
use prost::Message;
use std::time::Duration;

fn list(policies: Vec<Any>) -> LoadBalancingPolicy {
    let policy = |config| Policy {
        typed_extension_config: Some(TypedExtensionConfig {
            name: "x".into(),
            typed_config: Some(config),
        }),
    };
    LoadBalancingPolicy { policies: policies.into_iter().map(policy).collect() }
}

fn set(cluster: &mut Cluster, policies: Vec<Any>) {
    cluster.load_balancing_policy = Some(list(policies));
}

fn wrr(child: LoadBalancingPolicy) -> Any {
    any(&WrrLocality { endpoint_picking_policy: Some(child) })
}

/// Maglev that hashes by the caller's address.
pub(super) fn hash_by_source_ip(cluster: &mut Cluster) {
    let consistent_hashing_lb_config =
        Some(ConsistentHashingLbConfig { hash_policy: vec![by_source_ip()], ..Default::default() });
    set(cluster, vec![any(&Maglev { consistent_hashing_lb_config, ..Default::default() })]);
}

/// A list of round robin alone.
pub(super) fn round_robin() -> LoadBalancingPolicy {
    list(nested(0))
}

/// `deep` wrappers around round robin.
fn nested(deep: usize) -> Vec<Any> {
    let round_robin = vec![any(&RoundRobin::default())];
    (0..deep).fold(round_robin, |inner, _| vec![wrr(list(inner))])
}

/// A `TypedStruct` of either kind.
fn typed_struct(kind: &str, name: &str, value: Option<Struct>) -> Any {
    let inner = TypedStruct { type_url: format!("type.googleapis.com/{name}"), value };
    Any { type_url: format!("type.googleapis.com/{kind}"), value: inner.encode_to_vec() }
}

fn unsupported() -> Any {
    any(&ClientSideWeightedRoundRobin::default())
}

const REFUSED: &[Refused] = &[
    ("gRFC A52: none", |c| set(c, vec![]), "load_balancing_policy.policies: none is supported"),
    (
        "gRFC A52: none supported",
        |c| set(c, vec![unsupported(), any(&PickFirst::default())]),
        "load_balancing_policy.policies: ClientSideWeightedRoundRobin",
    ),
    (
        "gRFC A52: nothing in it",
        |c| {
            c.load_balancing_policy =
                Some(LoadBalancingPolicy { policies: vec![Policy::default()] })
        },
        "load_balancing_policy.policies[0].typed_extension_config.typed_config: missing",
    ),
    (
        "gRFC A52: the first that is supported, broken or not",
        |c| set(c, vec![broken::<RoundRobin>(), any(&Random::default())]),
        "load_balancing_policy.policies[0].typed_extension_config.typed_config: not a valid",
    ),
    (
        "gRFC A52: a child is needed",
        |c| set(c, vec![any(&WrrLocality::default())]),
        "load_balancing_policy.policies[0].typed_extension_config.typed_config.endpoint_picking_policy: missing",
    ),
    (
        "gRFC A52: a wrapper without a supported child is no reason to go on",
        |c| set(c, vec![wrr(list(vec![unsupported()])), any(&Random::default())]),
        "load_balancing_policy.policies[0].typed_extension_config.typed_config.endpoint_picking_policy.policies: none",
    ),
    (
        "gRFC A52: 16 deep",
        |c| set(c, nested(16)),
        "load_balancing_policy.policies[0]: deeper than 16",
    ),
    (
        "gRFC A52: a policy that nobody registered",
        |c| set(c, vec![typed_struct("xds.type.v3.TypedStruct", "org.example.Other", None)]),
        "load_balancing_policy.policies: [org.example.Other]",
    ),
    (
        "the error names what is registered",
        |c| set(c, vec![typed_struct("xds.type.v3.TypedStruct", "org.example.Other", None)]),
        "load_balancing_policy.policies: wrr_locality, peak_ewma, org.example.Mine",
    ),
    (
        "a broken TypedStruct",
        |c| {
            let mut config = typed_struct("xds.type.v3.TypedStruct", "round_robin", None);
            config.value = vec![0x0a, 0xff];
            set(c, vec![config]);
        },
        "load_balancing_policy.policies[0].typed_extension_config.typed_config: not a valid xds.type.v3.TypedStruct",
    ),
    (
        "gRFC A42: XX_HASH",
        |c| set(c, vec![any(&RingHash { hash_function: 2, ..Default::default() })]),
        "load_balancing_policy.policies[0].typed_extension_config.typed_config.hash_function: XX_HASH",
    ),
    (
        "gRFC A42: <= 8M",
        |c| {
            set(c, vec![any(&RingHash { maximum_ring_size: n64(9_000_000), ..Default::default() })])
        },
        "load_balancing_policy.policies[0].typed_extension_config.typed_config.maximum_ring_size: 9000000",
    ),
    (
        "gRFC A48: >= 2",
        |c| set(c, vec![any(&LeastRequest { choice_count: n(0), ..Default::default() })]),
        "load_balancing_policy.policies[0].typed_extension_config.typed_config.choice_count: 0",
    ),
    (
        "Envoy: the method",
        |c| set(c, vec![any(&LeastRequest { selection_method: 8, ..Default::default() })]),
        "load_balancing_policy.policies[0].typed_extension_config.typed_config.selection_method: 8",
    ),
    (
        "Envoy: a prime",
        |c| set(c, vec![any(&Maglev { table_size: n64(10), ..Default::default() })]),
        "load_balancing_policy.policies[0].typed_extension_config.typed_config.table_size: prime",
    ),
    (
        "Envoy: required",
        |c| {
            let locality_lb_config = Some(LocalityLbConfig::default());
            set(c, vec![any(&Random { locality_lb_config })]);
        },
        "load_balancing_policy.policies[0].typed_extension_config.typed_config.locality_lb_config: required",
    ),
];

#[test]
fn what_is_refused() {
    check_all_refused(REFUSED);
}

#[test]
fn what_is_accepted() {
    check_all(ACCEPTED);
}

#[expect(deprecated, reason = "control planes still set them")]
const ACCEPTED: &[Accepted] = &[
    ("gRFC A52: round_robin", |c| set(c, nested(0)), |_| {}, &[]),
    (
        "gRFC A52: the first that is supported",
        |c| set(c, vec![unsupported(), any(&Random::default()), broken::<RoundRobin>()]),
        |m| m.lb_policy.algorithm = LbAlgorithm::Random,
        &["load_balancing_policy.policies[0]"],
    ),
    (
        "gRFC A52: wrr_locality",
        |c| set(c, vec![wrr(list(vec![any(&LeastRequest::default())]))]),
        |m| {
            m.lb_policy.algorithm = LbAlgorithm::least_request();
            m.lb_policy.locality_weighted = true;
        },
        &[],
    ),
    ("gRFC A52: 16 deep", |c| set(c, nested(15)), |m| m.lb_policy.locality_weighted = true, &[]),
    (
        "gRFC A52: a registered policy",
        |c| {
            let value = Some(structure("speed", "7"));
            set(c, vec![typed_struct("udpa.type.v1.TypedStruct", "org.example.Mine", value)]);
        },
        |m| m.lb_policy.algorithm = LbAlgorithm::Custom("org.example.Mine".into()),
        &["load_balancing_policy.policies[0].typed_extension_config.typed_config.value"],
    ),
    (
        "gRFC A52: a registered policy behind one that is not",
        |c| {
            let named = |name| typed_struct("xds.type.v3.TypedStruct", name, None);
            set(c, vec![named("org.example.Other"), named("org.example.Mine"), named("random")]);
        },
        |m| m.lb_policy.algorithm = LbAlgorithm::Custom("org.example.Mine".into()),
        &["load_balancing_policy.policies[0]"],
    ),
    (
        "gRFC A52: a registered policy behind one that is supported",
        |c| {
            let mine = typed_struct("xds.type.v3.TypedStruct", "org.example.Mine", None);
            set(c, vec![any(&Random::default()), mine]);
        },
        |m| m.lb_policy.algorithm = LbAlgorithm::Random,
        &[],
    ),
    (
        "gRFC A52: localities around a registered policy",
        |c| {
            let mine = typed_struct("xds.type.v3.TypedStruct", "org.example.Mine", None);
            set(c, vec![wrr(list(vec![mine]))]);
        },
        |m| {
            m.lb_policy.algorithm = LbAlgorithm::Custom("org.example.Mine".into());
            m.lb_policy.locality_weighted = true;
        },
        &[],
    ),
    (
        "our own by name",
        |c| set(c, vec![typed_struct("xds.type.v3.TypedStruct", "peak_ewma", None)]),
        |m| m.lb_policy.algorithm = LbAlgorithm::peak_ewma(),
        &[],
    ),
    (
        "gRFC A52: it takes the place of lb_policy",
        |c| {
            c.lb_policy = 3;
            set(c, nested(0));
            let weighted = common_lb_config::LocalityWeightedLbConfig {};
            let weighted =
                common_lb_config::LocalityConfigSpecifier::LocalityWeightedLbConfig(weighted);
            c.common_lb_config = Some(CommonLbConfig {
                healthy_panic_threshold: pct(10.0),
                locality_config_specifier: Some(weighted),
                consistent_hashing_lb_config: Some(Default::default()),
                ..Default::default()
            });
        },
        |m| m.lb_policy.panic_threshold = 10,
        &[
            "lb_policy",
            "common_lb_config.locality_weighted_lb_config",
            "common_lb_config.consistent_hashing_lb_config",
        ],
    ),
    (
        "Envoy: slow start and localities",
        |c| {
            let weighted = LocalityWeightedLbConfig {};
            let weighted = LocalityConfigSpecifier::LocalityWeightedLbConfig(weighted);
            let config = RoundRobin {
                slow_start_config: Some(SlowStartConfig {
                    slow_start_window: secs(5),
                    ..Default::default()
                }),
                locality_lb_config: Some(LocalityLbConfig {
                    locality_config_specifier: Some(weighted),
                }),
            };
            set(c, vec![any(&config)]);
        },
        |m| {
            m.lb_policy.slow_start = Some(SlowStart::new(Duration::from_secs(5)));
            m.lb_policy.locality_weighted = true;
        },
        &[],
    ),
    (
        "Envoy: zones, of which the panic is used",
        |c| {
            let zone = ZoneAwareLbConfig { fail_traffic_on_panic: true, ..Default::default() };
            let zone = LocalityConfigSpecifier::ZoneAwareLbConfig(zone);
            let locality_lb_config =
                Some(LocalityLbConfig { locality_config_specifier: Some(zone) });
            set(c, vec![any(&Random { locality_lb_config })]);
        },
        |m| {
            m.lb_policy.algorithm = LbAlgorithm::Random;
            m.lb_policy.fail_traffic_on_panic = true;
        },
        &[
            "load_balancing_policy.policies[0].typed_extension_config.typed_config.locality_lb_config.zone_aware_lb_config",
        ],
    ),
    (
        "Envoy: a full scan is a draw here",
        |c| {
            let config =
                LeastRequest { selection_method: 1, enable_full_scan: yes(), ..Default::default() };
            set(c, vec![any(&config)]);
        },
        |m| m.lb_policy.algorithm = LbAlgorithm::least_request(),
        &[
            "load_balancing_policy.policies[0].typed_extension_config.typed_config.selection_method",
            "load_balancing_policy.policies[0].typed_extension_config.typed_config.enable_full_scan",
        ],
    ),
    (
        "Envoy: ring_hash with the older factor",
        |c| {
            let config = RingHash {
                hash_function: 1,
                hash_balance_factor: n(120),
                locality_weighted_lb_config: Some(LocalityWeightedLbConfig {}),
                ..Default::default()
            };
            set(c, vec![any(&config)]);
        },
        |m| {
            m.lb_policy.algorithm = LbAlgorithm::RingHash {
                minimum_ring_size: 1024,
                maximum_ring_size: 8_388_608,
                hash_balance_factor: Some(120),
            };
            m.lb_policy.locality_weighted = true;
        },
        &[],
    ),
    (
        "Envoy: maglev",
        |c| {
            let hashing = ConsistentHashingLbConfig {
                hash_balance_factor: n(100),
                hash_policy: vec![HashPolicy::default(), by_source_ip()],
                ..Default::default()
            };
            let consistent_hashing_lb_config = Some(hashing);
            let table_size = n64(7);
            set(
                c,
                vec![any(&Maglev {
                    table_size,
                    consistent_hashing_lb_config,
                    ..Default::default()
                })],
            );
        },
        |m| {
            m.lb_policy.algorithm =
                LbAlgorithm::Maglev { table_size: 7, hash_balance_factor: Some(100) };
            m.lb_policy.hash_policy = vec![model::HashPolicy::new(HashSource::SourceIp)];
            m.lb_policy.hash_policy_first = true;
        },
        &[
            "load_balancing_policy.policies[0].typed_extension_config.typed_config.consistent_hashing_lb_config.hash_policy[0].policy_specifier",
        ],
    ),
];
