//! `load_balancing_policy`: how an endpoint is chosen, as a list of policies, each an extension.
//!
//! gRFC A52: the first that is supported is taken, whatever comes later; none is an error. A policy
//! that is supported and broken is an error too, not a reason to take the next. `wrr_locality` wraps
//! another list and weighs localities. A policy can come as a `TypedStruct`, whose type names it after
//! the last `/`: the names are those of policies registered in code, and of our own that have no
//! message.

use super::lb_policy::{self, SlowStartParts, ZONES};
use crate::decode::Context;
use crate::decode::address::shorten;
use crate::decode::common::{self, Walk};
use crate::decode::route::hash;
use crate::decode::typed::{TypedStruct, is_typed_struct};
use envoy_types::pb::envoy::config::cluster::v3::LoadBalancingPolicy;
use envoy_types::pb::envoy::extensions::load_balancing_policies as policies;
use envoy_types::pb::google::protobuf::Any;
use mesh_core::model::{LbAlgorithm, LbPolicy};
use policies::common::v3::locality_lb_config::LocalityConfigSpecifier;
use policies::common::v3::{ConsistentHashingLbConfig, LocalityLbConfig, SlowStartConfig};
use policies::least_request::v3::{LeastRequest, least_request::SelectionMethod};
use policies::maglev::v3::Maglev;
use policies::random::v3::Random;
use policies::ring_hash::v3::{RingHash, ring_hash::HashFunction};
use policies::round_robin::v3::RoundRobin;
use policies::wrr_locality::v3::WrrLocality;

/// gRFC A52: how deep policies nest.
const DEEPEST: u32 = 16;
/// How many unsupported policies an error names, and how many registered ones.
const NAMED: usize = 8;
/// Those with a message of Envoy's, and those with a name only.
const OURS: [&str; 7] =
    ["round_robin", "random", "least_request", "ring_hash", "maglev", "wrr_locality", "peak_ewma"];

/// The first policy that is supported; nothing when there is an error.
pub(super) fn decode(
    walk: &mut Walk,
    message: &LoadBalancingPolicy,
    context: &Context,
) -> Option<LbPolicy> {
    list(walk, message, context, 1)
}

/// What came of one policy.
enum Found {
    Policy(LbPolicy),
    Broken,
    /// Its name.
    Unsupported(String),
}

impl From<Option<LbPolicy>> for Found {
    fn from(policy: Option<LbPolicy>) -> Self {
        policy.map_or(Self::Broken, Self::Policy)
    }
}

fn list(
    walk: &mut Walk,
    message: &LoadBalancingPolicy,
    context: &Context,
    depth: u32,
) -> Option<LbPolicy> {
    if depth > DEEPEST {
        walk.error(format_args!("policies nest deeper than {DEEPEST} (gRFC A52)"));
        return None;
    }
    let mut unsupported = Vec::new();
    for (index, policy) in message.policies.iter().enumerate() {
        let config = policy.typed_extension_config.as_ref();
        let Some(config) = config.and_then(|config| config.typed_config.as_ref()) else {
            let field = format_args!("policies[{index}].typed_extension_config.typed_config");
            walk.error_at(field, "it is missing (gRFC A52)");
            return None;
        };
        let field = format_args!("policies[{index}].typed_extension_config.typed_config");
        match walk.at(field, |walk| one(walk, config, context, depth)) {
            Found::Policy(policy) => return Some(policy),
            Found::Broken => return None,
            Found::Unsupported(name) => {
                let reason = "it is not supported; the first that is, is taken (gRFC A52)";
                walk.ignored(true, format_args!("policies[{index}]"), reason);
                unsupported.push(name);
            }
        }
    }
    unsupported.truncate(NAMED);
    let names = unsupported.join(", ");
    let known = known(context);
    walk.error_at(
        "policies",
        format_args!("none is supported (gRFC A52): [{names}]; add one of {known}"),
    );
    None
}

/// The policies that can be used: ours, and the first of those registered in code.
fn known(context: &Context) -> String {
    let registered = context.lb_policies.iter().take(NAMED).map(|name| shorten(name));
    OURS.into_iter().chain(registered).collect::<Vec<_>>().join(", ")
}

/// The name of a policy's type.
fn named(config: &Any) -> &str {
    common::type_name(&config.type_url)
}

fn one(walk: &mut Walk, config: &Any, context: &Context, depth: u32) -> Found {
    if common::holds::<RoundRobin>(config) {
        common::unpack::<RoundRobin>(walk, config).map(|config| round_robin(walk, &config)).into()
    } else if common::holds::<Random>(config) {
        common::unpack::<Random>(walk, config).map(|config| random(walk, &config)).into()
    } else if common::holds::<LeastRequest>(config) {
        common::unpack::<LeastRequest>(walk, config)
            .map(|config| least_request(walk, &config))
            .into()
    } else if common::holds::<RingHash>(config) {
        common::unpack::<RingHash>(walk, config).map(|config| ring_hash(walk, &config)).into()
    } else if common::holds::<Maglev>(config) {
        common::unpack::<Maglev>(walk, config).map(|config| maglev(walk, &config)).into()
    } else if common::holds::<WrrLocality>(config) {
        common::unpack::<WrrLocality>(walk, config)
            .and_then(|config| wrr_locality(walk, &config, context, depth))
            .into()
    } else if is_typed_struct(config) {
        typed_struct(walk, config, context)
    } else {
        let name = named(config);
        Found::Unsupported(shorten(name.rsplit('.').next().unwrap_or(name)).to_owned())
    }
}

fn wrr_locality(
    walk: &mut Walk,
    config: &WrrLocality,
    context: &Context,
    depth: u32,
) -> Option<LbPolicy> {
    let Some(child) = &config.endpoint_picking_policy else {
        walk.error_at("endpoint_picking_policy", "it is missing (gRFC A52)");
        return None;
    };
    let found = walk.at("endpoint_picking_policy", |walk| list(walk, child, context, depth + 1));
    let mut policy = found?;
    policy.locality_weighted = true;
    Some(policy)
}

fn typed_struct(walk: &mut Walk, config: &Any, context: &Context) -> Found {
    let Some(config) = common::unpack::<TypedStruct>(walk, config) else { return Found::Broken };
    let name = common::type_name(&config.type_url);
    let algorithm = match name {
        "round_robin" => LbAlgorithm::RoundRobin,
        "random" => LbAlgorithm::Random,
        "peak_ewma" => LbAlgorithm::peak_ewma(),
        name => match context.lb_policies.get(name) {
            Some(name) => LbAlgorithm::Custom(name.clone()),
            None => return Found::Unsupported(shorten(name).to_owned()),
        },
    };
    let options = config.value.is_some_and(|value| !value.fields.is_empty());
    walk.ignored(options, "value", "a policy that is given by its name takes no options");
    Found::Policy(LbPolicy::new(algorithm))
}

fn round_robin(walk: &mut Walk, config: &RoundRobin) -> LbPolicy {
    let mut policy = LbPolicy::new(LbAlgorithm::RoundRobin);
    policy.slow_start = slow_start(walk, config.slow_start_config.as_ref());
    locality(walk, config.locality_lb_config.as_ref(), &mut policy);
    policy
}

fn random(walk: &mut Walk, config: &Random) -> LbPolicy {
    let mut policy = LbPolicy::new(LbAlgorithm::Random);
    locality(walk, config.locality_lb_config.as_ref(), &mut policy);
    policy
}

#[expect(deprecated, reason = "control planes still set `enable_full_scan`")]
fn least_request(walk: &mut Walk, config: &LeastRequest) -> LbPolicy {
    let (choices, bias) = (&config.choice_count, &config.active_request_bias);
    let mut policy = LbPolicy::new(lb_policy::least_request(walk, choices.as_ref(), bias.as_ref()));
    let method = config.selection_method;
    let method = common::enumeration::<SelectionMethod>(walk, "selection_method", method);
    const DRAWN: &str = "endpoints are drawn; set choice_count for a closer choice";
    walk.ignored(method == Some(SelectionMethod::FullScan), "selection_method", DRAWN);
    let scan = config.enable_full_scan.as_ref().is_some_and(|scan| scan.value);
    walk.ignored(scan, "enable_full_scan", DRAWN);
    policy.slow_start = slow_start(walk, config.slow_start_config.as_ref());
    locality(walk, config.locality_lb_config.as_ref(), &mut policy);
    policy
}

#[expect(
    deprecated,
    reason = "control planes still set what is in `consistent_hashing_lb_config` now"
)]
fn ring_hash(walk: &mut Walk, config: &RingHash) -> LbPolicy {
    let function = config.hash_function;
    let is_xx =
        function == HashFunction::DefaultHash as i32 || function == HashFunction::XxHash as i32;
    lb_policy::refuse_hash(walk, function, is_xx);
    let (least, most) = (&config.minimum_ring_size, &config.maximum_ring_size);
    let mut policy = LbPolicy::new(lb_policy::ring_hash(walk, least.as_ref(), most.as_ref()));
    policy.locality_weighted = config.locality_weighted_lb_config.is_some();
    match &config.consistent_hashing_lb_config {
        Some(hashing) => consistent_hashing(walk, hashing, &mut policy),
        None => {
            let factor = config.hash_balance_factor.as_ref();
            lb_policy::balance(
                walk,
                config.use_hostname_for_hashing,
                factor,
                &mut policy.algorithm,
            );
        }
    }
    policy
}

fn maglev(walk: &mut Walk, config: &Maglev) -> LbPolicy {
    let mut policy = LbPolicy::new(lb_policy::maglev(walk, config.table_size.as_ref()));
    policy.locality_weighted = config.locality_weighted_lb_config.is_some();
    if let Some(hashing) = &config.consistent_hashing_lb_config {
        consistent_hashing(walk, hashing, &mut policy);
    }
    policy
}

fn consistent_hashing(walk: &mut Walk, config: &ConsistentHashingLbConfig, policy: &mut LbPolicy) {
    walk.at("consistent_hashing_lb_config", |walk| {
        // Envoy: it counts before the route's.
        policy.hash_policy = hash::policies(walk, &config.hash_policy);
        policy.hash_policy_first = !policy.hash_policy.is_empty();
        let factor = config.hash_balance_factor.as_ref();
        lb_policy::balance(walk, config.use_hostname_for_hashing, factor, &mut policy.algorithm);
    });
}

fn slow_start(
    walk: &mut Walk,
    config: Option<&SlowStartConfig>,
) -> Option<mesh_core::model::SlowStart> {
    let SlowStartConfig { slow_start_window, aggression, min_weight_percent } = config?;
    let parts: SlowStartParts<'_> =
        (slow_start_window.as_ref(), aggression.as_ref(), min_weight_percent.as_ref());
    lb_policy::slow_start(walk, parts)
}

fn locality(walk: &mut Walk, config: Option<&LocalityLbConfig>, policy: &mut LbPolicy) {
    let Some(config) = config else { return };
    walk.at("locality_lb_config", |walk| match &config.locality_config_specifier {
        Some(LocalityConfigSpecifier::LocalityWeightedLbConfig(_)) => {
            policy.locality_weighted = true;
        }
        Some(LocalityConfigSpecifier::ZoneAwareLbConfig(zone)) => {
            walk.ignored(true, "zone_aware_lb_config", ZONES);
            policy.fail_traffic_on_panic = zone.fail_traffic_on_panic;
        }
        None => walk.error("it says neither how to weigh localities nor zones (Envoy: required)"),
    });
}
