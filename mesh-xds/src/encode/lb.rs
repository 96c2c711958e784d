//! Load balancing.
//!
//! Round robin is said by the fields of the cluster itself, which Envoy and every gRPC understand
//! alike (gRPC then weighs localities always). Everything else is a `load_balancing_policy`: its first
//! entry that the client knows is taken (gRFC A52), so that round robin stands behind what gRPC does
//! not know.

use super::hash;
use super::words::Words;
use super::wrap::{duration, extension, percent, uint32, uint64};
use envoy_types::pb::envoy::config::cluster::v3::{
    self as pb, LoadBalancingPolicy,
    cluster::{
        CommonLbConfig, LbConfig, LbPolicy as PbPolicy, RoundRobinLbConfig,
        SlowStartConfig as PbSlowStart,
        common_lb_config::{LocalityConfigSpecifier, LocalityWeightedLbConfig, ZoneAwareLbConfig},
    },
    load_balancing_policy::Policy,
};
use envoy_types::pb::envoy::config::core::v3::{RuntimeDouble, TypedExtensionConfig};
use envoy_types::pb::envoy::extensions::load_balancing_policies::{
    common::v3::{
        ConsistentHashingLbConfig, LocalityLbConfig, SlowStartConfig, locality_lb_config,
    },
    least_request::v3::LeastRequest,
    maglev::v3::Maglev,
    random::v3::Random,
    ring_hash::v3::{RingHash, ring_hash::HashFunction},
    round_robin::v3::RoundRobin,
};
use mesh_core::model::{LbAlgorithm, LbPolicy, SlowStart};

/// Envoy's factor, which is not said.
pub(super) const OVERPROVISIONING: u32 = 140;

/// Says `model` in `cluster`; what has no field goes to `lb` of `words`. `has_http_options`: the cluster's
/// `HttpProtocolOptions` say a hash policy that comes first.
pub(super) fn lb_policy(
    model: &LbPolicy,
    has_http_options: bool,
    cluster: &mut pb::Cluster,
    words: &mut Words,
) {
    let mut ours = Words::default();
    ours.differs("fail_traffic_on_panic", model.fail_traffic_on_panic, &false);
    // Envoy has it in each EDS resource, where it is said too.
    ours.differs("overprovisioning_factor", model.overprovisioning_factor, &OVERPROVISIONING);
    let policies = policies(model, &mut ours);
    let plain = policies.is_empty();
    // Envoy's fields take the place of the route's; this is for when the route says nothing.
    let is_said = model.hash_policy_first && has_http_options;
    if !model.hash_policy.is_empty() && !is_said {
        ours.set("hash_policy", hash::words(&model.hash_policy));
    }
    let first = is_said && !model.hash_policy.is_empty();
    ours.differs("hash_policy_first", model.hash_policy_first, &first);
    cluster.common_lb_config = Some(CommonLbConfig {
        healthy_panic_threshold: percent(f64::from(model.panic_threshold.min(100))),
        // Envoy: refused beside a `load_balancing_policy`, which says it itself.
        locality_config_specifier: if plain { common_locality(model) } else { None },
        ..CommonLbConfig::default()
    });
    if plain {
        cluster.set_lb_policy(PbPolicy::RoundRobin);
        cluster.lb_config = model.slow_start.map(|slow| {
            LbConfig::RoundRobinLbConfig(RoundRobinLbConfig {
                slow_start_config: Some(PbSlowStart {
                    slow_start_window: duration(slow.window),
                    aggression: aggression(slow),
                    min_weight_percent: percent(f64::from(slow.min_weight_percent.min(100))),
                }),
            })
        });
    } else {
        cluster.set_lb_policy(PbPolicy::LoadBalancingPolicyConfig);
        let policies =
            policies.into_iter().map(|one| Policy { typed_extension_config: Some(one) }).collect();
        cluster.load_balancing_policy = Some(LoadBalancingPolicy { policies });
    }
    words.nest("lb", ours);
}

/// What stands in `load_balancing_policy`, the preferred first; empty for round robin.
fn policies(model: &LbPolicy, words: &mut Words) -> Vec<TypedExtensionConfig> {
    match &model.algorithm {
        LbAlgorithm::RoundRobin => Vec::new(),
        LbAlgorithm::Random => {
            let random = Random { locality_lb_config: locality(model) };
            slow_start_words(model, words);
            vec![extension("envoy.load_balancing_policies.random", &random), round_robin(model)]
        }
        LbAlgorithm::LeastRequest { choice_count, active_request_bias } => {
            vec![least_request(model, *choice_count, *active_request_bias), round_robin(model)]
        }
        // Envoy has none: the nearest that it has, by load instead of by latency.
        LbAlgorithm::PeakEwma { decay, default_rtt, failure_penalty } => {
            let mut own = Words::default();
            own.set("decay", *decay);
            own.set("default_rtt", *default_rtt);
            own.set("failure_penalty", *failure_penalty);
            words.nest("peak_ewma", own);
            vec![least_request(model, 2, 1.0), round_robin(model)]
        }
        LbAlgorithm::RingHash { minimum_ring_size, maximum_ring_size, hash_balance_factor } => {
            slow_start_words(model, words);
            vec![ring_hash(model, *minimum_ring_size, *maximum_ring_size, *hash_balance_factor)]
        }
        LbAlgorithm::Maglev { table_size, hash_balance_factor } => {
            slow_start_words(model, words);
            let maglev = Maglev {
                table_size: uint64(*table_size),
                consistent_hashing_lb_config: consistent(model, *hash_balance_factor),
                locality_weighted_lb_config: weighted(model),
            };
            vec![extension("envoy.load_balancing_policies.maglev", &maglev), round_robin(model)]
        }
        LbAlgorithm::Custom(name) => {
            words.set("custom", &**name);
            vec![round_robin(model)]
        }
        // A kind that this encoder does not know yet.
        _ => vec![round_robin(model)],
    }
}

fn round_robin(model: &LbPolicy) -> TypedExtensionConfig {
    let policy =
        RoundRobin { slow_start_config: slow_start(model), locality_lb_config: locality(model) };
    extension("envoy.load_balancing_policies.round_robin", &policy)
}

fn least_request(model: &LbPolicy, choice_count: u32, bias: f64) -> TypedExtensionConfig {
    // Envoy's default is 1.
    let same = (bias - 1.0).abs() < f64::EPSILON;
    let policy = LeastRequest {
        choice_count: uint32(choice_count.max(2)),
        active_request_bias: (!same).then(|| runtime("mesh.active_request_bias", bias)),
        slow_start_config: slow_start(model),
        locality_lb_config: locality(model),
        ..LeastRequest::default()
    };
    extension("envoy.load_balancing_policies.least_request", &policy)
}

fn ring_hash(
    model: &LbPolicy,
    least: u32,
    most: u32,
    balance: Option<u32>,
) -> TypedExtensionConfig {
    let policy = RingHash {
        // gRFC A42: another hash is refused.
        hash_function: HashFunction::XxHash.into(),
        minimum_ring_size: uint64(least.min(most).max(1)),
        maximum_ring_size: uint64(most),
        consistent_hashing_lb_config: consistent(model, balance),
        locality_weighted_lb_config: weighted(model),
        ..RingHash::default()
    };
    extension("envoy.load_balancing_policies.ring_hash", &policy)
}

fn consistent(model: &LbPolicy, balance: Option<u32>) -> Option<ConsistentHashingLbConfig> {
    if balance.is_none() && model.hash_policy.is_empty() {
        return None;
    }
    Some(ConsistentHashingLbConfig {
        hash_balance_factor: balance.and_then(|factor| uint32(factor.max(100))),
        hash_policy: hash::policies(&model.hash_policy),
        ..ConsistentHashingLbConfig::default()
    })
}

fn weighted(model: &LbPolicy) -> Option<locality_lb_config::LocalityWeightedLbConfig> {
    model.locality_weighted.then_some(locality_lb_config::LocalityWeightedLbConfig {})
}

/// Localities by weight; or zone-aware routing of nothing (0 %), which is where Envoy has
/// `fail_traffic_on_panic`.
fn locality(model: &LbPolicy) -> Option<LocalityLbConfig> {
    use locality_lb_config::{
        LocalityConfigSpecifier as Specifier, ZoneAwareLbConfig as ZoneAware,
    };
    let specifier = match (weighted(model), model.fail_traffic_on_panic) {
        (Some(weighted), _) => Specifier::LocalityWeightedLbConfig(weighted),
        (None, true) => Specifier::ZoneAwareLbConfig(ZoneAware {
            routing_enabled: percent(0.0),
            fail_traffic_on_panic: true,
            ..ZoneAware::default()
        }),
        (None, false) => return None,
    };
    Some(LocalityLbConfig { locality_config_specifier: Some(specifier) })
}

/// The same in the fields of the cluster itself.
fn common_locality(model: &LbPolicy) -> Option<LocalityConfigSpecifier> {
    match (model.locality_weighted, model.fail_traffic_on_panic) {
        (true, _) => {
            Some(LocalityConfigSpecifier::LocalityWeightedLbConfig(LocalityWeightedLbConfig {}))
        }
        (false, true) => Some(LocalityConfigSpecifier::ZoneAwareLbConfig(ZoneAwareLbConfig {
            routing_enabled: percent(0.0),
            fail_traffic_on_panic: true,
            ..ZoneAwareLbConfig::default()
        })),
        (false, false) => None,
    }
}

fn slow_start(model: &LbPolicy) -> Option<SlowStartConfig> {
    model.slow_start.map(|slow| SlowStartConfig {
        slow_start_window: duration(slow.window),
        aggression: aggression(slow),
        min_weight_percent: percent(f64::from(slow.min_weight_percent.min(100))),
    })
}

fn aggression(slow: SlowStart) -> Option<RuntimeDouble> {
    // Envoy's default is 1.
    let same = (slow.aggression - 1.0).abs() < f64::EPSILON;
    (!same).then(|| runtime("mesh.slow_start_aggression", slow.aggression))
}

/// A number that Envoy lets its runtime override, by a key that it wants.
fn runtime(key: &str, default_value: f64) -> RuntimeDouble {
    RuntimeDouble { default_value, runtime_key: key.to_owned() }
}

/// Envoy: slow start is for round robin and least request.
fn slow_start_words(model: &LbPolicy, words: &mut Words) {
    if let Some(slow) = model.slow_start {
        let mut own = Words::default();
        own.set("window", slow.window);
        own.set("aggression", slow.aggression);
        own.set("min_weight_percent", slow.min_weight_percent);
        words.nest("slow_start", own);
    }
}
