//! `lb_policy`, its configurations and `common_lb_config`.

use super::{Accepted, Refused, check_all, check_all_refused, made};
use crate::decode::testing::{custom, n, n64, pct, secs};
use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::cluster::v3::cluster::common_lb_config::{
    ConsistentHashingLbConfig, LocalityConfigSpecifier, LocalityWeightedLbConfig, ZoneAwareLbConfig,
};
use envoy_types::pb::envoy::config::cluster::v3::cluster::{
    CommonLbConfig, LbConfig, LbPolicy, LeastRequestLbConfig, MaglevLbConfig, OriginalDstLbConfig,
    RingHashLbConfig, RoundRobinLbConfig, SlowStartConfig,
};
use envoy_types::pb::envoy::config::core::v3::RuntimeDouble;
use envoy_types::pb::envoy::extensions::clusters::aggregate::v3::ClusterConfig;
use mesh_core::model::{Discovery, LbAlgorithm, SlowStart};
use std::sync::Arc;
use std::time::Duration;

fn policy(cluster: &mut Cluster, policy: LbPolicy) {
    cluster.lb_policy = policy as i32;
}

fn least(cluster: &mut Cluster, config: LeastRequestLbConfig) {
    policy(cluster, LbPolicy::LeastRequest);
    cluster.lb_config = Some(LbConfig::LeastRequestLbConfig(config));
}

fn ring(cluster: &mut Cluster, config: RingHashLbConfig) {
    policy(cluster, LbPolicy::RingHash);
    cluster.lb_config = Some(LbConfig::RingHashLbConfig(config));
}

fn maglev(cluster: &mut Cluster, size: u64) {
    policy(cluster, LbPolicy::Maglev);
    cluster.lb_config = Some(LbConfig::MaglevLbConfig(MaglevLbConfig { table_size: n64(size) }));
}

fn slow(cluster: &mut Cluster, config: SlowStartConfig) {
    let config = RoundRobinLbConfig { slow_start_config: Some(config) };
    cluster.lb_config = Some(LbConfig::RoundRobinLbConfig(config));
}

fn common(cluster: &mut Cluster, change: impl FnOnce(&mut CommonLbConfig)) {
    change(cluster.common_lb_config.get_or_insert_default());
}

#[expect(clippy::unnecessary_wraps, reason = "as the field is written")]
fn double(default_value: f64) -> Option<RuntimeDouble> {
    Some(RuntimeDouble { default_value, runtime_key: String::new() })
}

const REFUSED: &[Refused] = &[
    ("Envoy: no such policy (ORIGINAL_DST_LB was 4)", |c| c.lb_policy = 4, "lb_policy: 4"),
    (
        "Envoy: for aggregates",
        |c| policy(c, LbPolicy::ClusterProvided),
        "lb_policy: CLUSTER_PROVIDED",
    ),
    (
        "Envoy: needs the policy",
        |c| policy(c, LbPolicy::LoadBalancingPolicyConfig),
        "lb_policy: LOAD_BALANCING_POLICY_CONFIG",
    ),
    (
        "gRFC A48: choice_count >= 2",
        |c| least(c, LeastRequestLbConfig { choice_count: n(1), ..Default::default() }),
        "least_request_lb_config.choice_count: 1",
    ),
    (
        "Envoy: bias >= 0",
        |c| {
            let active_request_bias = double(-0.5);
            least(c, LeastRequestLbConfig { active_request_bias, ..Default::default() });
        },
        "least_request_lb_config.active_request_bias.default_value: -0.5",
    ),
    (
        "the model's bound of the bias",
        |c| {
            let active_request_bias = double(f64::INFINITY);
            least(c, LeastRequestLbConfig { active_request_bias, ..Default::default() });
        },
        "least_request_lb_config.active_request_bias.default_value: inf",
    ),
    (
        "the bias is a number",
        |c| {
            let active_request_bias = double(f64::NAN);
            least(c, LeastRequestLbConfig { active_request_bias, ..Default::default() });
        },
        "least_request_lb_config.active_request_bias.default_value: NaN",
    ),
    (
        "gRFC A42: XX_HASH",
        |c| ring(c, RingHashLbConfig { hash_function: 1, ..Default::default() }),
        "ring_hash_lb_config.hash_function: XX_HASH",
    ),
    (
        "gRFC A42: <= 8M",
        |c| ring(c, RingHashLbConfig { minimum_ring_size: n64(8_388_609), ..Default::default() }),
        "ring_hash_lb_config.minimum_ring_size: 8388609",
    ),
    (
        "gRFC A42: <= 8M",
        |c| ring(c, RingHashLbConfig { maximum_ring_size: n64(u64::MAX), ..Default::default() }),
        "ring_hash_lb_config.maximum_ring_size: 18446744073709551615",
    ),
    (
        "Envoy: a ring has points",
        |c| ring(c, RingHashLbConfig { minimum_ring_size: n64(0), ..Default::default() }),
        "ring_hash_lb_config.minimum_ring_size: 0",
    ),
    (
        "gRFC A42: min <= max, with the default of 1024",
        |c| ring(c, RingHashLbConfig { maximum_ring_size: n64(512), ..Default::default() }),
        "ring_hash_lb_config.maximum_ring_size: 512",
    ),
    (
        "Envoy: table_size <= 5000011",
        |c| maglev(c, 5_000_012),
        "maglev_lb_config.table_size: 5000012",
    ),
    ("Envoy: a prime", |c| maglev(c, 65_536), "maglev_lb_config.table_size: 65536 is not a prime"),
    ("Envoy: a prime", |c| maglev(c, 0), "maglev_lb_config.table_size: 0"),
    (
        "Envoy: aggression > 0",
        |c| slow(c, SlowStartConfig { aggression: double(0.0), ..Default::default() }),
        "round_robin_lb_config.slow_start_config.aggression.default_value: 0",
    ),
    (
        "Envoy: a percentage",
        |c| slow(c, SlowStartConfig { min_weight_percent: pct(100.5), ..Default::default() }),
        "round_robin_lb_config.slow_start_config.min_weight_percent: 100.5",
    ),
    (
        "protobuf: a duration",
        |c| slow(c, SlowStartConfig { slow_start_window: secs(-1), ..Default::default() }),
        "round_robin_lb_config.slow_start_config.slow_start_window: -1s",
    ),
    (
        "Envoy: a percentage",
        |c| common(c, |common| common.healthy_panic_threshold = pct(-1.0)),
        "common_lb_config.healthy_panic_threshold: -1",
    ),
    (
        "a percentage is a number",
        |c| common(c, |common| common.healthy_panic_threshold = pct(f64::NAN)),
        "common_lb_config.healthy_panic_threshold: NaN",
    ),
    (
        "Envoy: hash_balance_factor >= 100",
        |c| {
            policy(c, LbPolicy::Maglev);
            common(c, |common| {
                let hash_balance_factor = n(99);
                let hashing =
                    ConsistentHashingLbConfig { hash_balance_factor, ..Default::default() };
                common.consistent_hashing_lb_config = Some(hashing);
            });
        },
        "common_lb_config.consistent_hashing_lb_config.hash_balance_factor: 99",
    ),
];

#[test]
fn what_is_refused() {
    check_all_refused(REFUSED);
}

const ACCEPTED: &[Accepted] = &[
    (
        "Envoy: LEAST_REQUEST",
        |c| policy(c, LbPolicy::LeastRequest),
        |m| m.lb_policy.algorithm = LbAlgorithm::least_request(),
        &[],
    ),
    (
        "Envoy: RANDOM",
        |c| policy(c, LbPolicy::Random),
        |m| m.lb_policy.algorithm = LbAlgorithm::Random,
        &[],
    ),
    (
        "Envoy: RING_HASH",
        |c| policy(c, LbPolicy::RingHash),
        |m| m.lb_policy.algorithm = LbAlgorithm::ring_hash(),
        &[],
    ),
    (
        "Envoy: MAGLEV",
        |c| policy(c, LbPolicy::Maglev),
        |m| m.lb_policy.algorithm = LbAlgorithm::maglev(),
        &[],
    ),
    (
        "gRFC A48, and more than 100 choices",
        |c| {
            let active_request_bias = double(0.0);
            least(
                c,
                LeastRequestLbConfig {
                    choice_count: n(1000),
                    active_request_bias,
                    ..Default::default()
                },
            );
        },
        |m| {
            m.lb_policy.algorithm =
                LbAlgorithm::LeastRequest { choice_count: 100, active_request_bias: 0.0 };
        },
        &["least_request_lb_config.choice_count"],
    ),
    (
        "Envoy: rings and bounded load",
        |c| {
            ring(
                c,
                RingHashLbConfig {
                    minimum_ring_size: n64(7),
                    maximum_ring_size: n64(9),
                    ..Default::default()
                },
            );
            common(c, |common| {
                let hashing = ConsistentHashingLbConfig {
                    use_hostname_for_hashing: true,
                    hash_balance_factor: n(150),
                };
                common.consistent_hashing_lb_config = Some(hashing);
            });
        },
        |m| {
            m.lb_policy.algorithm = LbAlgorithm::RingHash {
                minimum_ring_size: 7,
                maximum_ring_size: 9,
                hash_balance_factor: Some(150),
            };
        },
        &["common_lb_config.consistent_hashing_lb_config.use_hostname_for_hashing"],
    ),
    (
        "Envoy: the largest table",
        |c| maglev(c, 5_000_011),
        |m| {
            m.lb_policy.algorithm =
                LbAlgorithm::Maglev { table_size: 5_000_011, hash_balance_factor: None };
        },
        &[],
    ),
    (
        "Envoy: slow start",
        |c| {
            let config = SlowStartConfig {
                slow_start_window: secs(30),
                aggression: Some(RuntimeDouble { default_value: 2.0, runtime_key: "k".into() }),
                min_weight_percent: pct(20.9),
            };
            slow(c, config);
        },
        |m| {
            let mut slow = SlowStart::new(Duration::from_secs(30));
            slow.aggression = 2.0;
            slow.min_weight_percent = 20;
            m.lb_policy.slow_start = Some(slow);
        },
        &["round_robin_lb_config.slow_start_config.aggression.runtime_key"],
    ),
    ("Envoy: no window, no slow start", |c| slow(c, SlowStartConfig::default()), |_| {}, &[]),
    (
        "Envoy: the threshold is cut to a whole percentage",
        |c| common(c, |common| common.healthy_panic_threshold = pct(49.9)),
        |m| m.lb_policy.panic_threshold = 49,
        &[],
    ),
    (
        "Envoy: 0 never panics",
        |c| common(c, |common| common.healthy_panic_threshold = pct(0.0)),
        |m| m.lb_policy.panic_threshold = 0,
        &[],
    ),
    (
        "Envoy: locality weights",
        |c| {
            common(c, |common| {
                let weighted = LocalityWeightedLbConfig {};
                common.locality_config_specifier =
                    Some(LocalityConfigSpecifier::LocalityWeightedLbConfig(weighted));
            });
        },
        |m| m.lb_policy.locality_weighted = true,
        &[],
    ),
    (
        "Envoy: zones, of which the panic is used",
        |c| {
            common(c, |common| {
                let zone = ZoneAwareLbConfig { fail_traffic_on_panic: true, ..Default::default() };
                common.locality_config_specifier =
                    Some(LocalityConfigSpecifier::ZoneAwareLbConfig(zone));
            });
        },
        |m| m.lb_policy.fail_traffic_on_panic = true,
        &["common_lb_config.zone_aware_lb_config"],
    ),
    (
        "Envoy: what a mesh without health checks has no use for",
        |c| {
            common(c, |common| {
                common.update_merge_window = secs(1);
                common.ignore_new_hosts_until_first_hc = true;
                common.close_connections_on_host_set_change = true;
                common.override_host_status = Some(Default::default());
            });
        },
        |_| {},
        &[
            "common_lb_config.update_merge_window",
            "common_lb_config.ignore_new_hosts_until_first_hc",
            "common_lb_config.close_connections_on_host_set_change",
            "common_lb_config.override_host_status",
        ],
    ),
    (
        "Envoy: a config of another policy",
        |c| {
            maglev(c, 7);
            policy(c, LbPolicy::Random);
        },
        |m| m.lb_policy.algorithm = LbAlgorithm::Random,
        &["maglev_lb_config"],
    ),
    (
        "Envoy: a config of ORIGINAL_DST",
        |c| c.lb_config = Some(LbConfig::OriginalDstLbConfig(OriginalDstLbConfig::default())),
        |_| {},
        &["original_dst_lb_config"],
    ),
    (
        "gRFC A37: an aggregate's policy is provided",
        |c| {
            custom(c, &ClusterConfig { clusters: vec!["a".into()] });
            policy(c, LbPolicy::ClusterProvided);
        },
        |m| m.discovery = Discovery::Aggregate(Arc::new(["a".into()])),
        &[],
    ),
    (
        "gRFC A75: each cluster its own",
        |c| {
            custom(c, &ClusterConfig { clusters: vec!["a".into()] });
            policy(c, LbPolicy::RingHash);
        },
        |m| m.discovery = Discovery::Aggregate(Arc::new(["a".into()])),
        &["lb_policy"],
    ),
];

#[test]
fn what_is_accepted() {
    check_all(ACCEPTED);
}

#[test]
fn weights_of_localities_count_as_in_grpc() {
    type Row = (&'static str, fn(&mut Cluster), bool);
    let rows: [Row; 6] = [
        ("gRFC A27: ROUND_ROBIN", |_| {}, true),
        ("gRFC A48: LEAST_REQUEST", |c| policy(c, LbPolicy::LeastRequest), true),
        ("gRFC A42: RING_HASH has one ring", |c| policy(c, LbPolicy::RingHash), false),
        ("Envoy: RANDOM", |c| policy(c, LbPolicy::Random), false),
        (
            "Envoy: zones instead of weights",
            |c| {
                common(c, |common| {
                    let zone = ZoneAwareLbConfig::default();
                    common.locality_config_specifier =
                        Some(LocalityConfigSpecifier::ZoneAwareLbConfig(zone));
                });
            },
            false,
        ),
        (
            "gRFC A52: a policy says it by wrr_locality",
            |c| c.load_balancing_policy = Some(super::lb_tree::round_robin()),
            false,
        ),
    ];
    for (rule, change, expected) in rows {
        assert_eq!(made(change).follows_locality_weights, expected, "{rule}");
    }
}
