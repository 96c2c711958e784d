//! `envoy.config.route.v3.RouteConfiguration` → [`RouteConfiguration`](model::RouteConfiguration).
//!
//! Why not gRPC's rules alone: gRPC drops what it does not know in silence, and knows little of HTTP.
//! Here a field is used, reported as ignored, or refused; `decode/support` lists which.
//!
//! - A condition is never dropped. A route with one that can't be evaluated here is *skipped* and
//!   reported, as gRPC does (gRFC A28), so it never takes more requests than meant. What is unset, and
//!   so may be a kind that is newer than these messages, is refused.
//! - What decides where calls go and can't be followed is refused (subsets, matcher trees, VHDS).
//! - What only observes or adds (mirrors, tracing, CORS) is reported as ignored. Rate limits are for the filters of servers.
//! - Defaults are Envoy's (`timeout` 15 s, one retry, no `previous_hosts` without its predicate). Where
//!   gRFC A44 refuses and Envoy does not (`num_retries: 0`), Envoy's meaning holds: no retries.
//! - All virtual hosts are validated, not only the one that is needed (gRFC A36).
//!
//! ```text
//! mod ── virtual_host ── rule ─┬─ route_match ── matcher
//!                              ├─ action ── rewrite, split, hash, retry
//!                              ├─ redirect
//!                              └─ header
//! ```
//!
//! Last come the words of `metadata` (`words`), which change what was read from the fields.
//!
//! What it does not do: ask whether the clusters exist.

mod action;
pub(super) mod hash;
pub(super) mod header;
pub(super) mod matcher;
mod redirect;
mod retry;
mod rewrite;
pub(super) mod route_match;
mod rule;
mod split;
mod virtual_host;
mod words;

use super::common::{self, Walk, ignored, refused};
use super::listener::http_filter;
use super::{Context, Decoded};
use crate::{Resource, XdsRouteConfiguration};
use envoy_types::pb::envoy::config::route::v3 as pb;
use mesh_core::model::{self, HeaderMutations, HttpFilterOverrides, RouteAction, VirtualHost};
use std::collections::BTreeMap;
use std::sync::Arc;
use virtual_host::Domains;

/// The largest body of a direct response, in bytes (Envoy: `max_direct_response_body_size_bytes`).
const LARGEST_BODY: u32 = 4096;

/// What the routes of a configuration have to know of it.
struct Around<'c> {
    context: &'c Context,
    /// The cluster specifier plugins by name, and whether each is optional.
    plugins: BTreeMap<&'c str, bool>,
    /// The largest body of a direct response.
    largest_body: usize,
}

/// Decodes a route configuration.
pub(super) fn decode(body: &[u8], context: &Context) -> Decoded {
    let message = match common::parse::<pb::RouteConfiguration>(body) {
        Ok(message) => message,
        Err(broken) => return broken,
    };
    let mut walk = Walk::default();
    if message.name.is_empty() {
        walk.error_at("name", "a route configuration that is asked for by name has one");
    }
    let name: Arc<str> = Arc::from(&*message.name);
    let routes = configuration(&mut walk, &message, name.clone(), context);
    let known = Some(name).filter(|name| !name.is_empty());
    walk.finish(known, Some(Resource::RouteConfiguration(Arc::new(routes))))
}

/// Decodes a route configuration, which may be inline in a listener.
pub(super) fn configuration(
    walk: &mut Walk,
    message: &pb::RouteConfiguration,
    name: Arc<str>,
    context: &Context,
) -> XdsRouteConfiguration {
    let before = walk.all_ignored().len();
    let filters = whole(walk, message);
    let largest =
        message.max_direct_response_body_size_bytes.map_or(LARGEST_BODY, |most| most.value);
    walk.ignored(
        largest > LARGEST_BODY,
        "max_direct_response_body_size_bytes",
        "the body of a direct response has at most 4096 bytes here",
    );
    let around = Around {
        context,
        plugins: plugins(walk, &message.cluster_specifier_plugins),
        largest_body: usize::try_from(largest.min(LARGEST_BODY)).unwrap_or(usize::MAX),
    };
    let mut domains = Domains::default();
    let mut hosts = Vec::with_capacity(message.virtual_hosts.len());
    let mut clusters = Vec::with_capacity(message.virtual_hosts.len());
    for (at, host) in message.virtual_hosts.iter().enumerate() {
        walk.at(format_args!("virtual_hosts[{at}]"), |walk| {
            let mut host = virtual_host::decode(walk, host, at, &around, &mut domains);
            // gRFC A39: the most specific level counts.
            for (name, said) in &filters {
                host.filters.entry(Arc::clone(name)).or_insert_with(|| said.clone());
            }
            clusters.push(virtual_host::clusters(&host));
            hosts.push(Arc::new(host));
        });
    }
    let headers = header::edits(walk, &header::lists!(message));
    if message.most_specific_header_mutations_wins && levels(&headers, &hosts) > 1 {
        walk.error_at(
            "most_specific_header_mutations_wins",
            "header edits of the least specific level have the last word here (Envoy's default): \
             leave it out, or keep the edits on one level",
        );
    }
    let mut routes = model::RouteConfiguration::default();
    routes.name = name.clone();
    routes.virtual_hosts = hosts;
    routes.headers = headers;
    let mut found = XdsRouteConfiguration::new(name, Arc::new(routes), clusters);
    words::configuration(walk, message.metadata.as_ref(), &mut found);
    let mut ignored = walk.all_ignored()[before..].iter();
    let unguarded = ignored.find(|ignored| ignored.guards);
    found.unguarded = unguarded.map(|one| format!("{}: {}", one.path, one.reason).into());
    found
}

/// What holds for all virtual hosts: what is said of filters.
fn whole(walk: &mut Walk, message: &pb::RouteConfiguration) -> HttpFilterOverrides {
    refused!(walk, message, {
        vhds: "virtual hosts on demand (VHDS) are not supported: list them in `virtual_hosts`",
        vhost_header: "the authority chooses the virtual host here, no header does",
        ignore_path_parameters_in_path_matching:
            "path parameters (`;x=1`) are part of the path here: match them in the routes",
        route_specifiers: "routes that are made by extensions are not supported",
    });
    ignored!(walk, message, {
        internal_only_headers: "calls come from within the process, none is external",
        validate_clusters: "a cluster that is missing fails its own calls, never the configuration",
        request_mirror_policies: "requests are not mirrored",
        ignore_port_in_host_matching: "a domain without a port accepts every port",
    });
    http_filter::overrides(walk, &message.typed_per_filter_config)
}

/// The cluster specifier plugins: none is known here, so those that are not optional are refused
/// (gRPC RLS in xDS: "unknown plugin").
fn plugins<'m>(
    walk: &mut Walk,
    plugins: &'m [pb::ClusterSpecifierPlugin],
) -> BTreeMap<&'m str, bool> {
    let mut found = BTreeMap::new();
    for (at, plugin) in plugins.iter().enumerate() {
        walk.at(format_args!("cluster_specifier_plugins[{at}]"), |walk| {
            let name = plugin.extension.as_ref().map_or("", |extension| &*extension.name);
            if name.is_empty() {
                walk.error_at("extension.name", "a cluster specifier plugin has a name");
            } else if found.insert(name, plugin.is_optional).is_some() {
                walk.error_at("extension.name", format_args!("`{name}` is there twice"));
            }
            if plugin.is_optional {
                walk.ignored(true, "extension", "no cluster specifier plugin is supported");
            } else {
                walk.error_at(
                    "extension",
                    format_args!(
                        "the cluster specifier plugin `{name}` is not supported: name clusters in \
                         the routes, or set `is_optional` to have its routes skipped"
                    ),
                );
            }
        });
    }
    found
}

/// On how many levels there are header edits.
fn levels(configuration: &HeaderMutations, hosts: &[Arc<VirtualHost>]) -> usize {
    let routes = || hosts.iter().flat_map(|host| &host.routes);
    let parts = || {
        routes().filter_map(|route| match &route.action {
            RouteAction::Forward(forward) => split::parts(&forward.cluster),
            _ => None,
        })
    };
    let edits = [
        !configuration.is_empty(),
        hosts.iter().any(|host| !host.headers.is_empty()),
        routes().any(|route| !route.headers.is_empty()),
        parts().flatten().any(|part| !part.headers.is_empty()),
    ];
    edits.into_iter().filter(|any| *any).count()
}

#[cfg(test)]
pub(super) mod tests;
