//! The HTTP filters of a server, and what routes say of them (gRFC A39).
//!
//! [`KINDS`] is the one place where filters are joined: a row for each, with the type of its configuration
//! and of what routes say, and who reads them. A filter of another type is refused, unless it is optional: a
//! policy that is not understood must not be left out.

mod adaptive_concurrency;
mod admission_control;
#[cfg(test)]
mod ask_fields;
#[cfg(test)]
mod ask_tests;
mod body_size_limit;
mod ext_authz;
mod fault;
mod header_mutation;
#[cfg(test)]
mod istio_custom;
mod jwt_authn;
mod local_ratelimit;
pub(in crate::decode) mod rate_limit;
mod rbac;
mod service;
#[cfg(test)]
mod tests;
mod values;

use super::http_filter::{OPTIONAL, inner_type};
use crate::decode::common::{self, Walk, type_name};
use crate::decode::typed::{self, is_typed_struct};
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3 as pb;
use envoy_types::pb::google::protobuf::Any;
use mesh_core::filter::Chain;
use mesh_core::model::{HttpFilter, HttpFilterConfig, HttpFilterOverride};
use pb::http_filter::ConfigType;
use std::collections::BTreeSet;

/// A kind of filter: who reads it.
#[derive(Clone, Copy)]
struct Kind {
    /// The type of its configuration.
    config: &'static str,
    /// What it says; `None`: it can't be, and the walk knows why.
    decode: fn(&mut Walk, &Any) -> Option<HttpFilterConfig>,
    /// The type of what routes say of it, and who reads that; the same type may be read in both places.
    route: Option<(&'static str, DecodeOverride)>,
}

type DecodeOverride = fn(&mut Walk, &Any) -> Option<HttpFilterOverride>;

/// The filters that do something on a server.
const KINDS: &[Kind] = &[
    jwt_authn::KIND,
    ext_authz::KIND,
    rbac::KIND,
    rate_limit::KIND,
    local_ratelimit::KIND,
    adaptive_concurrency::KIND,
    admission_control::KIND,
    fault::KIND,
    header_mutation::KIND,
    body_size_limit::BUFFER,
    body_size_limit::KIND,
];

/// What a filter of a known kind says; `None`: of another kind. The inner one is `None` when it can't be.
pub(in crate::decode) fn config_of(walk: &mut Walk, any: &Any) -> Option<Option<HttpFilterConfig>> {
    let name = type_name(&any.type_url);
    let kind = KINDS.iter().find(|kind| kind.config == name)?;
    Some((kind.decode)(walk, any))
}

const ROUTER: &str = "envoy.extensions.filters.http.router.v3.Router";

/// Filters that only observe, or whose work is done without them: they are passed over.
const PASSED_OVER: &[(&str, &str)] = &[
    ("envoy.extensions.filters.http.grpc_stats.v3.FilterConfig", "gRPC calls are always counted"),
    ("stats.PluginConfig", "metrics are made without a filter"),
    ("io.istio.http.peer_metadata.Config", "peers tell each other nothing in headers"),
];

/// The filters in their order, the router left out.
pub(super) fn filters(walk: &mut Walk, messages: &[pb::HttpFilter]) -> Vec<HttpFilter> {
    if messages.is_empty() {
        walk.error_at("http_filters", "there is at least one filter, the router (gRFC A39)");
        return Vec::new();
    }
    let mut names = BTreeSet::new();
    let last = messages.len() - 1;
    let found = messages.iter().enumerate().filter_map(|(at, message)| {
        walk.at(format_args!("http_filters[{at}]"), |walk| {
            if message.name.is_empty() {
                walk.error_at("name", "a filter has a name");
            } else if !names.insert(&message.name) {
                walk.error_at(
                    "name",
                    format_args!("`{}` is there twice: names are unique (gRFC A39)", message.name),
                );
            }
            filter(walk, message, at == last)
        })
    });
    found.collect()
}

/// One filter; `None`: the router, one that is passed over, or an error.
fn filter(walk: &mut Walk, message: &pb::HttpFilter, is_last: bool) -> Option<HttpFilter> {
    let any = match &message.config_type {
        Some(ConfigType::TypedConfig(any)) => Some(any),
        // gRFC A39: configuration by discovery is not supported.
        Some(ConfigType::ConfigDiscovery(_)) | None => None,
    };
    let url = any.map(|any| inner_type(walk, any)).unwrap_or_default().unwrap_or_default();
    let kind = type_name(&url);
    if (kind == ROUTER) != is_last || (kind == ROUTER && message.disabled) {
        walk.error(format_args!(
            "`{}` is a `{kind}`: the router is the last filter, only the last, and enabled (gRFC A39)",
            message.name
        ));
        return None;
    }
    if kind == ROUTER {
        return None;
    }
    if let (Some(any), Some(known)) = (any, KINDS.iter().find(|known| known.config == kind)) {
        let config = walk.at("typed_config", |walk| (known.decode)(walk, any))?;
        let mut filter = HttpFilter::new(&*message.name, config);
        filter.disabled = message.disabled;
        return Some(filter);
    }
    if let Some((_, why)) = PASSED_OVER.iter().find(|(known, _)| *known == kind) {
        walk.ignored(true, "typed_config", why);
    } else if message.is_optional {
        walk.ignored(true, "is_optional", OPTIONAL);
    } else {
        walk.error(format_args!(
            "the filter type `{kind}` is not known on a server: remove `{}`, or set `is_optional` (gRFC \
             A39)",
            message.name
        ));
    }
    None
}

/// What a route says of a filter of a kind that is known on servers; `None`: of another kind. The inner one
/// is `None` when it can't be, as one in a TypedStruct.
pub(in crate::decode) fn override_of(
    walk: &mut Walk,
    any: &Any,
) -> Option<Option<HttpFilterOverride>> {
    // One that can't be read has no type.
    let url = typed::type_url(any).ok()?;
    let mut routes = KINDS.iter().filter_map(|kind| kind.route);
    let (_, decode) = routes.find(|(known, _)| *known == type_name(&url))?;
    Some(decode(walk, any))
}

/// The type of what routes say of a filter whose chain has a configuration of this type; `None`: it is the same, or
/// no such filter is known on servers. The inner one is `None` where routes say nothing.
pub(super) fn for_routes(config: &str) -> Option<Option<&'static str>> {
    let kind = KINDS.iter().find(|kind| kind.config == config)?;
    let route = kind.route.map(|(route, _)| route);
    (route != Some(config)).then_some(route)
}

/// The message of a configuration, which has to be itself and no JSON.
fn message<M: prost::Message + Default>(walk: &mut Walk, any: &Any) -> Option<M> {
    if is_typed_struct(any) {
        walk.error("policies in a TypedStruct are not read: send the message itself");
        return None;
    }
    common::unpack(walk, any)
}

/// A configuration that compiles; an error when it does not.
fn checked(walk: &mut Walk, config: HttpFilterConfig) -> Option<HttpFilterConfig> {
    let filter = HttpFilter::new("checked", config);
    match Chain::compile(std::slice::from_ref(&filter), None) {
        Ok(_) => Some(filter.config),
        Err(wrong) => {
            walk.error(wrong.kind);
            None
        }
    }
}
