//! Filters by themselves, apart from the listeners and routes that they stand in.
//!
//! Listeners and routes are decoded by [`decode`](super::decode); this is for tools, and for tests that feed
//! it anything.

use super::common::{self, Walk};
use super::listener::{filter, http_filter};
use super::rbac::DecodedFilter;
use envoy_types::pb::google::protobuf::Any;
use mesh_core::model::{HttpFilterConfig, HttpFilterOverride};
use std::collections::HashMap;
use std::sync::Arc;

/// Decodes the configuration of a filter: the parts of an `Any`. `None`: the type is not known here.
#[must_use]
pub fn config(type_url: &str, body: &[u8]) -> Option<DecodedFilter<HttpFilterConfig>> {
    decoded(type_url, body, filter::config_of)
}

/// Decodes what a route says of a filter: the parts of an `Any`. `None`: the type is not known here.
#[must_use]
pub fn per_route(type_url: &str, body: &[u8]) -> Option<DecodedFilter<HttpFilterOverride>> {
    decoded(type_url, body, filter::override_of)
}

/// The clusters that a filter asks somebody in; none of what can't be read.
pub(crate) fn clusters(any: &Any) -> Vec<Arc<str>> {
    let config = filter::config_of(&mut Walk::default(), any).flatten();
    config.iter().flat_map(HttpFilterConfig::clusters).cloned().collect()
}

/// The clusters that filters ask somebody in because of what a level says of them (Envoy:
/// `typed_per_filter_config`); none of what can't be read.
pub(crate) fn clusters_of_overrides(messages: &HashMap<String, Any>) -> Vec<Arc<str>> {
    let said = http_filter::overrides(&mut Walk::default(), messages);
    said.values().flat_map(HttpFilterOverride::clusters).cloned().collect()
}

fn decoded<T>(
    type_url: &str,
    body: &[u8],
    decode: fn(&mut Walk, &Any) -> Option<Option<T>>,
) -> Option<DecodedFilter<T>> {
    let mut walk = Walk::default();
    let any = Any { type_url: type_url.to_owned(), value: body.to_vec() };
    let found = decode(&mut walk, &any)?;
    let (mut errors, ignored) = walk.into_parts();
    let config = match found {
        Some(config) if errors.is_empty() => Ok(config),
        _ => {
            if errors.is_empty() {
                errors.push(common::error("", "nothing could be made of it"));
            }
            Err(errors)
        }
    };
    Some(DecodedFilter { config, ignored })
}
