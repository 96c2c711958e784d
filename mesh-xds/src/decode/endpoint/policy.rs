//! `ClusterLoadAssignment.Policy`: what is dropped, and how much health counts.

use super::Walk;
use crate::decode::common;
use envoy_types::pb::envoy::config::endpoint::v3::cluster_load_assignment::{
    self as proto, policy,
};
use envoy_types::pb::envoy::r#type::v3::FractionalPercent;
use envoy_types::pb::envoy::r#type::v3::fractional_percent::DenominatorType;
use mesh_core::model::{DropOverload, Fraction};

/// What an assignment says beside its endpoints.
#[derive(Debug, Default)]
pub(in crate::decode) struct Policy {
    /// Shares of calls that are dropped.
    pub(in crate::decode) drop_overloads: Vec<DropOverload>,
    /// Health counts this many percent.
    pub(in crate::decode) overprovisioning_factor: Option<u32>,
}

/// The policy of an assignment.
pub(in crate::decode) fn policy(walk: &mut Walk, message: Option<&proto::Policy>) -> Policy {
    let Some(message) = message else { return Policy::default() };
    walk.at("policy", |walk| {
        walk.ignored(
            message.endpoint_stale_after.is_some(),
            "endpoint_stale_after",
            "endpoints are kept until others come: losing the control plane changes nothing",
        );
        walk.ignored(
            message.weighted_priority_health,
            "weighted_priority_health",
            "endpoints count alike for the health of a priority",
        );
        let factor = &message.overprovisioning_factor;
        let overprovisioning_factor =
            common::uint32(walk, "overprovisioning_factor", factor.as_ref(), 1..=u32::MAX);
        let drops = message.drop_overloads.iter().enumerate();
        let drop_overloads = drops
            .filter_map(|(index, drop)| {
                walk.at(format_args!("drop_overloads[{index}]"), |walk| drop_overload(walk, drop))
            })
            .collect();
        Policy { drop_overloads, overprovisioning_factor }
    })
}

fn drop_overload(walk: &mut Walk, message: &policy::DropOverload) -> Option<DropOverload> {
    if message.category.is_empty() {
        walk.error_at("category", "it is empty; load reports need its name (Envoy: min_len 1)");
    }
    let share = match &message.drop_percentage {
        None => Fraction::NONE,
        Some(percentage) => walk.at("drop_percentage", |walk| fraction(walk, percentage))?,
    };
    Some(DropOverload::new(message.category.as_str(), share))
}

/// gRFC A27: scaled to parts per million; more than all is all.
fn fraction(walk: &mut Walk, message: &FractionalPercent) -> Option<Fraction> {
    let denominator =
        common::enumeration::<DenominatorType>(walk, "denominator", message.denominator)?;
    let scale = match denominator {
        DenominatorType::Hundred => 10_000,
        DenominatorType::TenThousand => 100,
        DenominatorType::Million => 1,
    };
    Some(Fraction::per_million(message.numerator.saturating_mul(scale)))
}
