//! HTTP filters of a listener, and what routes override in them (gRFC A39).
//!
//! - There is at least one filter; names are unique; the router is last, and only last.
//! - A filter of an unknown type is refused, unless it is optional.
//! - Overrides are keyed by the instance's name; one that names no instance is no error, one of an
//!   unknown type is, unless it is optional. One that a server would have to follow, and that can't be read, is
//!   refused: nothing may pass because of that.
//!
//! Only the router does something in a client yet. What is known besides is listed in [`FILTERS`] with
//! the reason why it is passed over: it is reported, and stays in the listener's list.

use super::filter;
use crate::HttpFilter;
use crate::decode::common::{self, Walk, type_name};
use crate::decode::{FieldError, rbac, typed};
use envoy_types::pb::envoy::config::route::v3::FilterConfig;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3 as pb;
use envoy_types::pb::google::protobuf::Any;
use mesh_core::model::{HttpFilterOverride, HttpFilterOverrides, RbacFilter};
use pb::http_filter::ConfigType;
use prost::Message;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// What is done with a filter of a known type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Treatment {
    /// The router: the terminal one.
    Terminal,
    /// It does nothing here, and that is reported.
    PassedOver,
}

/// The filters that are known: the type of their configuration, what is done with them, and why.
pub(super) const FILTERS: &[(&str, Treatment, &str)] = &[
    ("envoy.extensions.filters.http.router.v3.Router", Treatment::Terminal, ""),
    (
        "envoy.extensions.filters.http.fault.v3.HTTPFault",
        Treatment::PassedOver,
        "no faults are injected",
    ),
    (
        "envoy.extensions.filters.http.rbac.v3.RBAC",
        Treatment::PassedOver,
        "a client does not guard what it calls: the server's listener does",
    ),
    (
        "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation",
        Treatment::PassedOver,
        "headers are edited by routes only",
    ),
    (
        "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
        Treatment::PassedOver,
        "calls are not limited by a rate",
    ),
    (
        "envoy.extensions.filters.http.stateful_session.v3.StatefulSession",
        Treatment::PassedOver,
        "calls are not bound to an endpoint; use a hash policy",
    ),
    (
        "envoy.extensions.filters.http.cors.v3.Cors",
        Treatment::PassedOver,
        "it is for browsers, at a gateway",
    ),
    (
        "envoy.extensions.filters.http.grpc_stats.v3.FilterConfig",
        Treatment::PassedOver,
        "gRPC calls are always counted",
    ),
    // Istio's, in the listeners of a sidecar.
    (
        "io.istio.http.peer_metadata.Config",
        Treatment::PassedOver,
        "peers tell each other nothing in headers",
    ),
    (
        "istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig",
        Treatment::PassedOver,
        "ALPN follows the cluster's protocol",
    ),
    ("stats.PluginConfig", Treatment::PassedOver, "metrics are made without a filter"),
];

/// Types of overrides that differ from their filter's type.
const OVERRIDES: &[(&str, &str)] = &[
    ("envoy.extensions.filters.http.cors.v3.CorsPolicy", "CORS does nothing here"),
    (
        "envoy.extensions.filters.http.stateful_session.v3.StatefulSessionPerRoute",
        "calls are not bound to an endpoint",
    ),
];

pub(super) const OPTIONAL: &str = "its type is not known here, and it is optional";
const DISABLED: &str = "it is disabled";

fn known(type_url: &str) -> Option<(Treatment, &'static str)> {
    let name = type_name(type_url);
    FILTERS.iter().find(|(known, ..)| *known == name).map(|(_, treatment, why)| (*treatment, *why))
}

/// Checks the filters of a listener, and lists them without the router.
pub(super) fn filters(walk: &mut Walk, messages: &[pb::HttpFilter]) -> Vec<HttpFilter> {
    if messages.is_empty() {
        walk.error_at("http_filters", "there is at least one filter, the router (gRFC A39)");
        return Vec::new();
    }
    let mut found = Vec::new();
    let mut names = BTreeSet::new();
    let last = messages.len() - 1;
    for (at, message) in messages.iter().enumerate() {
        walk.at(format_args!("http_filters[{at}]"), |walk| {
            if message.name.is_empty() {
                walk.error_at("name", "a filter has a name");
            } else if !names.insert(&message.name) {
                walk.error_at(
                    "name",
                    format_args!("`{}` is there twice: names are unique (gRFC A39)", message.name),
                );
            }
            found.extend(filter(walk, message, at == last));
        });
    }
    found
}

/// One filter; `None`: it is the router, left out, or has an error.
fn filter(walk: &mut Walk, message: &pb::HttpFilter, is_last: bool) -> Option<HttpFilter> {
    let (url, treatment) = match &message.config_type {
        Some(ConfigType::TypedConfig(any)) => {
            let url = inner_type(walk, any)?;
            let treatment = known(&url);
            (url, treatment)
        }
        // gRFC A39: configuration by discovery is not supported.
        Some(ConfigType::ConfigDiscovery(_)) => ("config_discovery".to_owned(), None),
        None => {
            if !message.is_optional {
                walk.error_at("typed_config", "a filter has a configuration (gRFC A39)");
                return None;
            }
            (String::new(), None)
        }
    };
    let terminal = matches!(treatment, Some((Treatment::Terminal, _)));
    if terminal && (message.disabled || !is_last) {
        // Envoy: "terminal filter … must be the last filter"; a disabled one would leave none.
        walk.error(format_args!(
            "`{}` is terminal: it is the last filter, and enabled (gRFC A39)",
            message.name
        ));
        return None;
    }
    if is_last && !terminal {
        walk.error(format_args!(
            "`{}` is the last filter, and it is no router: add \
             `envoy.extensions.filters.http.router.v3.Router` (gRFC A39)",
            message.name
        ));
    }
    match treatment {
        Some((Treatment::Terminal, _)) => None,
        _ if message.disabled => {
            walk.ignored(true, "disabled", DISABLED);
            None
        }
        Some((Treatment::PassedOver, why)) => {
            walk.ignored(true, "typed_config", why);
            let mut filter = HttpFilter::new(&*message.name, url);
            filter.rbac = rbac(message);
            Some(filter)
        }
        None if message.is_optional => {
            walk.ignored(true, "is_optional", OPTIONAL);
            None
        }
        None => {
            walk.error(format_args!(
                "the filter type `{}` is not known here: remove `{}`, or set `is_optional` (gRFC A39)",
                type_name(&url),
                message.name
            ));
            None
        }
    }
}

/// What an RBAC filter says, for a server; a client passes over it, whatever is wrong with it.
fn rbac(message: &pb::HttpFilter) -> Option<Result<Arc<RbacFilter>, Vec<FieldError>>> {
    let Some(ConfigType::TypedConfig(any)) = &message.config_type else { return None };
    if type_name(&any.type_url) == rbac::HTTP {
        return Some(rbac::http(&any.value).config.map(Arc::new));
    }
    let wrapped = typed::type_url(any).is_ok_and(|url| type_name(&url) == rbac::HTTP);
    wrapped.then(|| {
        let rule = "policies in a TypedStruct are not read: send the message itself";
        Err(vec![common::error("", rule)])
    })
}

pub(super) fn inner_type(walk: &mut Walk, any: &Any) -> Option<String> {
    match typed::type_url(any) {
        Ok(url) => Some(url),
        Err(invalid) => {
            walk.error_at(
                "typed_config",
                format_args!("not a valid `{}`: {invalid}", type_name(&any.type_url)),
            );
            None
        }
    }
}

/// What a level says of filters (`typed_per_filter_config`), in the order of names. Of filters that only a
/// client has, and that do nothing here, it is reported.
pub(in crate::decode) fn overrides(
    walk: &mut Walk,
    messages: &HashMap<String, Any>,
) -> HttpFilterOverrides {
    // Sorted, so that the same resource gives the same report.
    let messages: BTreeMap<_, _> = messages.iter().collect();
    let found = messages.into_iter().filter_map(|(name, any)| {
        let field = format!("typed_per_filter_config[{name}]");
        let said = walk.at(field, |walk| override_one(walk, any))?;
        Some((Arc::from(name.as_str()), said))
    });
    found.collect()
}

fn override_one(walk: &mut Walk, any: &Any) -> Option<HttpFilterOverride> {
    if type_name(&any.type_url) != "envoy.config.route.v3.FilterConfig" {
        return override_config(walk, any, false);
    }
    let wrapper = match FilterConfig::decode(&*any.value) {
        Ok(wrapper) => wrapper,
        Err(invalid) => {
            walk.error(format_args!("not a valid FilterConfig: {invalid}"));
            return None;
        }
    };
    if wrapper.disabled {
        return Some(HttpFilterOverride::Disabled);
    }
    match &wrapper.config {
        Some(any) => override_config(walk, any, wrapper.is_optional),
        // Envoy and gRPC refuse it; ours is that the filter is on as its chain has it.
        None if !wrapper.is_optional => Some(HttpFilterOverride::Enabled),
        None => {
            walk.ignored(true, "is_optional", OPTIONAL);
            None
        }
    }
}

fn override_config(walk: &mut Walk, any: &Any, is_optional: bool) -> Option<HttpFilterOverride> {
    if let Some(said) = walk.at("config", |walk| filter::override_of(walk, any)) {
        return said;
    }
    let url = inner_type(walk, any)?;
    if let Some(route) = filter::for_routes(type_name(&url)) {
        of_chain(walk, type_name(&url), route, is_optional);
        return None;
    }
    let other = OVERRIDES.iter().find(|(known, _)| *known == type_name(&url));
    match known(&url).map(|(_, why)| why).or_else(|| other.map(|(_, why)| *why)) {
        Some(why) => walk.ignored(true, "config", why),
        None if is_optional => walk.ignored(true, "is_optional", OPTIONAL),
        None => walk.error(format_args!(
            "the filter type `{}` is not known here: remove it, or wrap it in a FilterConfig with \
             `is_optional` (gRFC A39)",
            type_name(&url)
        )),
    }
    None
}

/// What is said is what chains say of a server's filter, and does nothing in a route: it must not be left out silently.
fn of_chain(walk: &mut Walk, config: &str, route: Option<&str>, is_optional: bool) {
    if is_optional {
        return walk.ignored(
            true,
            "is_optional",
            "it is a chain's configuration, and it is optional",
        );
    }
    let way_out = match route {
        Some(route) => format!("send a `{route}`"),
        None => "routes can only disable it, by a FilterConfig".to_owned(),
    };
    walk.error(format_args!(
        "`{config}` is what a filter chain says of a filter, and no route: {way_out}, or leave it out"
    ));
}
