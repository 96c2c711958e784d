//! Values that several filters have.

use crate::decode::UNSET_RUNTIME_KEY;
use crate::decode::common::{self, Walk};
use crate::decode::route::matcher;
use envoy_types::pb::envoy::config::core::v3::{RuntimeFeatureFlag, RuntimeFractionalPercent};
use envoy_types::pb::envoy::r#type::v3::HttpStatus;
use http::StatusCode;
use mesh_core::filter::{Chain, FilterErrorKind};
use mesh_core::model::{Fraction, HttpFilter, HttpFilterConfig};

/// Why a run-time key does nothing.
pub(super) const RUNTIME: &str = "there are no run-time settings; the default holds";

/// What was read, if a server can do it: what is accepted here compiles there.
pub(super) fn checked(walk: &mut Walk, config: HttpFilterConfig) -> Option<HttpFilterConfig> {
    let filter = HttpFilter::new("checked", config);
    match Chain::compile(std::slice::from_ref(&filter), None) {
        Ok(_) => Some(filter.config),
        Err(wrong) => {
            match wrong.kind {
                FilterErrorKind::Value { field, rule } => walk.error_at(field, rule),
                other => walk.error(other),
            }
            None
        }
    }
}

/// The name of a run-time setting does nothing; that of our own files, which stands where Envoy wants one, is
/// meant to.
pub(super) fn runtime_key(walk: &mut Walk, key: &str) {
    walk.ignored(!key.is_empty() && key != UNSET_RUNTIME_KEY, "runtime_key", RUNTIME);
}

/// Whether a filter is on; without the message it is.
pub(super) fn flag(walk: &mut Walk, field: &str, message: Option<&RuntimeFeatureFlag>) -> bool {
    let Some(message) = message else { return true };
    walk.at(field, |walk| {
        runtime_key(walk, &message.runtime_key);
        let value = message.default_value.as_ref();
        if value.is_none() {
            walk.error_at("default_value", "it is missing (Envoy: required)");
        }
        value.is_some_and(|value| value.value)
    })
}

/// A share of requests; without the message it is none, as Envoy's filters have it.
pub(super) fn share(
    walk: &mut Walk,
    field: &str,
    message: Option<&RuntimeFractionalPercent>,
) -> Option<Fraction> {
    match message {
        None => Some(Fraction::NONE),
        Some(message) => walk.at(field, |walk| matcher::runtime_fraction(walk, message)),
    }
}

/// The status of a refusal; what is less than 400, or not said, is `otherwise` (Envoy: `toErrorCode`).
pub(super) fn refusal(
    walk: &mut Walk,
    field: &str,
    message: Option<HttpStatus>,
    otherwise: StatusCode,
) -> Option<StatusCode> {
    let Some(message) = message else { return Some(otherwise) };
    let code = common::enumeration::<envoy_types::pb::envoy::r#type::v3::StatusCode>(
        walk,
        field,
        message.code,
    )?;
    let code = u16::try_from(i32::from(code)).ok().filter(|code| *code >= 400);
    let code = code.map(StatusCode::from_u16).transpose();
    Some(code.ok().flatten().unwrap_or(otherwise))
}
