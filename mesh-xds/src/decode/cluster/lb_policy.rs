//! `lb_policy`, `lb_config` and `common_lb_config`: how an endpoint is chosen, said by enumeration.
//!
//! gRFC A52: a `load_balancing_policy` takes the place of `lb_policy` and its configuration; of
//! `common_lb_config` only the panic threshold holds beside it (Envoy).

use super::load_balancing_policy;
use crate::decode::Context;
use crate::decode::common::{self, Walk};
use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::cluster::v3::cluster::common_lb_config::LocalityConfigSpecifier;
use envoy_types::pb::envoy::config::cluster::v3::cluster::ring_hash_lb_config::HashFunction;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{
    CommonLbConfig, LbConfig, LbPolicy as Named, LeastRequestLbConfig, SlowStartConfig,
};
use envoy_types::pb::envoy::config::core::v3::RuntimeDouble;
use envoy_types::pb::envoy::r#type::v3::Percent;
use envoy_types::pb::google::protobuf::{self, UInt32Value, UInt64Value};
use mesh_core::model::{LbAlgorithm, LbPolicy, SlowStart};

/// The largest ring (gRFC A42), and the largest Maglev table (Envoy).
const LARGEST_RING: u32 = 8_388_608;
const LARGEST_TABLE: u32 = 5_000_011;
/// The most endpoints that least request draws, and the bounds of exponents: the model's.
const MOST_CHOICES: u32 = 100;
const LARGEST_BIAS: f64 = 1000.0;
const LEAST_AGGRESSION: f64 = 0.001;

/// How an endpoint is chosen.
pub(super) fn decode(
    walk: &mut Walk,
    message: &Cluster,
    is_aggregate: bool,
    context: &Context,
) -> LbPolicy {
    let named = common::enumeration::<Named>(walk, "lb_policy", message.lb_policy);
    if is_aggregate {
        // gRFC A37, A75: CLUSTER_PROVIDED is what Envoy wants to see; each cluster has its own.
        let other = !matches!(named, Some(Named::ClusterProvided | Named::RoundRobin));
        walk.ignored(other, "lb_policy", "each cluster of an aggregate has its own (gRFC A75)");
        return LbPolicy::default();
    }
    let mut policy = match &message.load_balancing_policy {
        Some(tree) => {
            let says = !matches!(named, Some(Named::RoundRobin | Named::LoadBalancingPolicyConfig));
            const INSTEAD: &str = "load_balancing_policy takes its place (gRFC A52)";
            walk.ignored(says, "lb_policy", INSTEAD);
            report_config(walk, message.lb_config.as_ref(), INSTEAD);
            walk.at("load_balancing_policy", |walk| {
                load_balancing_policy::decode(walk, tree, context).unwrap_or_default()
            })
        }
        None => LbPolicy::new(named.map_or(LbAlgorithm::RoundRobin, |named| {
            by_name(walk, named, message.lb_config.as_ref())
        })),
    };
    if message.load_balancing_policy.is_none() {
        policy.slow_start = slow_start_of(walk, message.lb_config.as_ref());
    }
    if let Some(config) = &message.common_lb_config {
        let by_enumeration = message.load_balancing_policy.is_none();
        walk.at("common_lb_config", |walk| {
            common_lb_config(walk, config, &mut policy, by_enumeration);
        });
    }
    policy
}

/// Whether weights of localities count although nothing says so. gRFC A27, A48, A52: ROUND_ROBIN and
/// LEAST_REQUEST by enumeration are wrapped in `wrr_locality`; Envoy wants to be told.
pub(super) fn follows_locality_weights(message: &Cluster) -> bool {
    let named = Named::try_from(message.lb_policy);
    let common = message.common_lb_config.as_ref();
    let says = common.and_then(|common| common.locality_config_specifier.as_ref());
    message.load_balancing_policy.is_none()
        && matches!(named, Ok(Named::RoundRobin | Named::LeastRequest))
        && !matches!(says, Some(LocalityConfigSpecifier::ZoneAwareLbConfig(_)))
}

fn by_name(walk: &mut Walk, named: Named, config: Option<&LbConfig>) -> LbAlgorithm {
    match (named, config) {
        (Named::RoundRobin, Some(LbConfig::RoundRobinLbConfig(_)) | None) => {
            LbAlgorithm::RoundRobin
        }
        (Named::LeastRequest, Some(LbConfig::LeastRequestLbConfig(config))) => {
            let LeastRequestLbConfig { choice_count, active_request_bias, .. } = config;
            walk.at("least_request_lb_config", |walk| {
                least_request(walk, choice_count.as_ref(), active_request_bias.as_ref())
            })
        }
        (Named::RingHash, Some(LbConfig::RingHashLbConfig(config))) => {
            walk.at("ring_hash_lb_config", |walk| {
                let function = config.hash_function;
                refuse_hash(walk, function, function == HashFunction::XxHash as i32);
                let (least, most) = (&config.minimum_ring_size, &config.maximum_ring_size);
                ring_hash(walk, least.as_ref(), most.as_ref())
            })
        }
        (Named::Maglev, Some(LbConfig::MaglevLbConfig(config))) => {
            walk.at("maglev_lb_config", |walk| maglev(walk, config.table_size.as_ref()))
        }
        (named, config) => {
            report_config(walk, config, "it is not of this lb_policy");
            without_config(walk, named)
        }
    }
}

fn without_config(walk: &mut Walk, named: Named) -> LbAlgorithm {
    match named {
        Named::RoundRobin => return LbAlgorithm::RoundRobin,
        Named::LeastRequest => return LbAlgorithm::least_request(),
        Named::RingHash => return LbAlgorithm::ring_hash(),
        Named::Random => return LbAlgorithm::Random,
        Named::Maglev => return LbAlgorithm::maglev(),
        Named::ClusterProvided => walk.error_at(
            "lb_policy",
            "CLUSTER_PROVIDED is only for aggregate clusters (Envoy); choose ROUND_ROBIN, LEAST_REQUEST, RANDOM, RING_HASH or MAGLEV",
        ),
        Named::LoadBalancingPolicyConfig => walk.error_at(
            "lb_policy",
            "LOAD_BALANCING_POLICY_CONFIG needs `load_balancing_policy` (Envoy)",
        ),
    }
    LbAlgorithm::RoundRobin
}

fn report_config(walk: &mut Walk, config: Option<&LbConfig>, reason: &'static str) {
    let field = match config {
        None => return,
        Some(LbConfig::RingHashLbConfig(_)) => "ring_hash_lb_config",
        Some(LbConfig::MaglevLbConfig(_)) => "maglev_lb_config",
        Some(LbConfig::OriginalDstLbConfig(_)) => "original_dst_lb_config",
        Some(LbConfig::LeastRequestLbConfig(_)) => "least_request_lb_config",
        Some(LbConfig::RoundRobinLbConfig(_)) => "round_robin_lb_config",
    };
    walk.ignored(true, field, reason);
}

fn slow_start_of(walk: &mut Walk, config: Option<&LbConfig>) -> Option<SlowStart> {
    let (field, config) = match config? {
        LbConfig::LeastRequestLbConfig(config) => {
            ("least_request_lb_config", config.slow_start_config.as_ref()?)
        }
        LbConfig::RoundRobinLbConfig(config) => {
            ("round_robin_lb_config", config.slow_start_config.as_ref()?)
        }
        _ => return None,
    };
    let SlowStartConfig { slow_start_window, aggression, min_weight_percent } = config;
    let parts = (slow_start_window.as_ref(), aggression.as_ref(), min_weight_percent.as_ref());
    walk.at(field, |walk| slow_start(walk, parts))
}

fn common_lb_config(
    walk: &mut Walk,
    config: &CommonLbConfig,
    policy: &mut LbPolicy,
    by_enumeration: bool,
) {
    for (set, field, reason) in [
        (
            config.update_merge_window.is_some(),
            "update_merge_window",
            "updates are merged over at most 10 ms",
        ),
        (
            config.ignore_new_hosts_until_first_hc,
            "ignore_new_hosts_until_first_hc",
            "there are no active health checks",
        ),
        (
            config.close_connections_on_host_set_change,
            "close_connections_on_host_set_change",
            "connections end with their endpoint",
        ),
        (
            config.override_host_status.is_some(),
            "override_host_status",
            "no call names its endpoint",
        ),
    ] {
        walk.ignored(set, field, reason);
    }
    let panic = config.healthy_panic_threshold.as_ref();
    if let Some(threshold) = common::whole_percent(walk, "healthy_panic_threshold", panic) {
        policy.panic_threshold = threshold;
    }
    const INSTEAD: &str = "the policy of load_balancing_policy says it (Envoy)";
    match &config.locality_config_specifier {
        None => {}
        Some(LocalityConfigSpecifier::ZoneAwareLbConfig(zone)) if by_enumeration => {
            walk.ignored(true, "zone_aware_lb_config", ZONES);
            policy.fail_traffic_on_panic = zone.fail_traffic_on_panic;
        }
        Some(LocalityConfigSpecifier::LocalityWeightedLbConfig(_)) if by_enumeration => {
            policy.locality_weighted = true;
        }
        Some(LocalityConfigSpecifier::ZoneAwareLbConfig(_)) => {
            walk.ignored(true, "zone_aware_lb_config", INSTEAD);
        }
        Some(LocalityConfigSpecifier::LocalityWeightedLbConfig(_)) => {
            walk.ignored(true, "locality_weighted_lb_config", INSTEAD);
        }
    }
    let Some(hashing) = &config.consistent_hashing_lb_config else { return };
    if !by_enumeration {
        walk.ignored(true, "consistent_hashing_lb_config", INSTEAD);
        return;
    }
    walk.at("consistent_hashing_lb_config", |walk| {
        let factor = hashing.hash_balance_factor.as_ref();
        balance(walk, hashing.use_hostname_for_hashing, factor, &mut policy.algorithm);
    });
}

/// Why zone-aware routing does nothing.
pub(super) const ZONES: &str =
    "zone-aware routing is not supported, only fail_traffic_on_panic in it; weigh localities";

/// Least request; gRFC A48: at least two choices.
pub(super) fn least_request(
    walk: &mut Walk,
    choices: Option<&UInt32Value>,
    bias: Option<&RuntimeDouble>,
) -> LbAlgorithm {
    // gRFC A48 takes more than 10 as 10, Envoy takes any number, here 100 is the most.
    let most = choices.is_some_and(|choices| choices.value > MOST_CHOICES);
    walk.ignored(most, "choice_count", "more than 100 choices count as 100");
    let choices = common::uint32(walk, "choice_count", choices, 2..=u32::MAX);
    let choice_count = choices.unwrap_or(2).min(MOST_CHOICES);
    let bias = runtime_double(walk, "active_request_bias", bias, 0.0);
    LbAlgorithm::LeastRequest { choice_count, active_request_bias: bias.unwrap_or(1.0) }
}

/// Ring hash; gRFC A42: at most 8,388,608 points.
pub(super) fn ring_hash(
    walk: &mut Walk,
    least: Option<&UInt64Value>,
    most: Option<&UInt64Value>,
) -> LbAlgorithm {
    let minimum = common::uint64(walk, "minimum_ring_size", least, 1..=LARGEST_RING);
    let maximum = common::uint64(walk, "maximum_ring_size", most, 1..=LARGEST_RING);
    let (minimum, maximum) = (minimum.unwrap_or(1024), maximum.unwrap_or(LARGEST_RING));
    if minimum > maximum {
        walk.error_at(
            "maximum_ring_size",
            format_args!("{maximum} is below minimum_ring_size, {minimum} (default 1024) (Envoy)"),
        );
    }
    LbAlgorithm::RingHash {
        minimum_ring_size: minimum,
        maximum_ring_size: maximum,
        hash_balance_factor: None,
    }
}

/// gRFC A42: "any other value NACK"; Envoy's other function is refused, as the rings would differ.
pub(super) fn refuse_hash(walk: &mut Walk, function: i32, is_xx_hash: bool) {
    if !is_xx_hash {
        walk.error_at(
            "hash_function",
            format_args!("{function} is not supported; only XX_HASH is (gRFC A42)"),
        );
    }
}

/// Maglev; Envoy: the size is a prime, at most 5,000,011.
pub(super) fn maglev(walk: &mut Walk, size: Option<&UInt64Value>) -> LbAlgorithm {
    let size = common::uint64(walk, "table_size", size, 2..=LARGEST_TABLE).unwrap_or(65_537);
    if !is_prime(size) {
        walk.error_at("table_size", format_args!("{size} is not a prime number (Envoy)"));
    }
    LbAlgorithm::Maglev { table_size: size, hash_balance_factor: None }
}

fn is_prime(number: u32) -> bool {
    number >= 2
        && (2..).take_while(|d| d * d <= number).all(|divisor| !number.is_multiple_of(divisor))
}

/// Bounded load of consistent hashing; Envoy: at least 100 %.
pub(super) fn balance(
    walk: &mut Walk,
    use_hostname: bool,
    factor: Option<&UInt32Value>,
    algorithm: &mut LbAlgorithm,
) {
    walk.ignored(
        use_hostname,
        "use_hostname_for_hashing",
        "an endpoint is placed by its address, or by its hash_key (gRFC A76)",
    );
    let found = common::uint32(walk, "hash_balance_factor", factor, 100..=u32::MAX);
    match algorithm {
        LbAlgorithm::RingHash { hash_balance_factor, .. }
        | LbAlgorithm::Maglev { hash_balance_factor, .. } => *hash_balance_factor = found,
        _ => walk.ignored(
            found.is_some(),
            "hash_balance_factor",
            "it is only for RING_HASH and MAGLEV",
        ),
    }
}

/// The window, the aggression and the least weight of a slow start.
pub(super) type SlowStartParts<'m> =
    (Option<&'m protobuf::Duration>, Option<&'m RuntimeDouble>, Option<&'m Percent>);

/// Slow start; without a window, or with one of 0 s, there is none (Envoy).
pub(super) fn slow_start(walk: &mut Walk, parts: SlowStartParts<'_>) -> Option<SlowStart> {
    let (window, aggression, least) = parts;
    walk.at("slow_start_config", |walk| {
        let window = common::duration(walk, "slow_start_window", window);
        let aggression = runtime_double(walk, "aggression", aggression, LEAST_AGGRESSION);
        let least = common::whole_percent(walk, "min_weight_percent", least);
        let mut found = SlowStart::new(window.filter(|window| !window.is_zero())?);
        found.aggression = aggression.unwrap_or(found.aggression);
        found.min_weight_percent = least.unwrap_or(found.min_weight_percent);
        Some(found)
    })
}

fn runtime_double(
    walk: &mut Walk,
    field: &str,
    value: Option<&RuntimeDouble>,
    least: f64,
) -> Option<f64> {
    let value = value?;
    walk.at(field, |walk| {
        let keyed = !value.runtime_key.is_empty();
        walk.ignored(keyed, "runtime_key", "there is no runtime; default_value counts");
        common::real(walk, "default_value", value.default_value, least..=LARGEST_BIAS)
    })
}
