//! `VirtualHost`: its domains, its routes, and what holds for all of them.
//!
//! Domains are compared without case and are unique over the whole configuration (gRFC A28, Envoy:
//! "Only unique values for domains are permitted").

use super::{Around, header, retry, rule, words};
use crate::decode::common::{Walk, ignored, refused, unguarded};
use crate::decode::listener::filter::rate_limit;
use crate::decode::listener::http_filter;
use envoy_types::pb::envoy::config::route::v3 as pb;
use mesh_core::model::{ClusterSpecifier, Domain, RouteAction, Split, VirtualHost};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The domains and names that virtual hosts have taken, and which took them.
#[derive(Default)]
pub(super) struct Domains {
    domains: BTreeMap<Domain, usize>,
    names: BTreeMap<Arc<str>, usize>,
}

/// Decodes the virtual host at `at`.
#[expect(deprecated, reason = "control planes still send the old fields: they are reported")]
pub(super) fn decode(
    walk: &mut Walk,
    message: &pb::VirtualHost,
    at: usize,
    around: &Around<'_>,
    taken: &mut Domains,
) -> VirtualHost {
    refused!(walk, message, {
        matcher: "a matcher tree is not supported: list the routes in `routes`",
        route_specifiers: "routes that are made by extensions are not supported",
    });
    ignored!(walk, message, {
        virtual_clusters: "they are statistics only",
        cors: "it is for browsers, at a gateway",
        include_attempt_count_in_response: "responses tell nothing of attempts",
        retry_policy_typed_config: "extensions of retry policies are not supported: use `retry_policy`",
        include_is_timeout_retry_header: "requests tell the attempt's number only",
        per_request_buffer_limit_bytes: "how much of a request is kept is the client's setting",
        request_body_buffer_limit: "how much of a request is kept is the client's setting",
        request_mirror_policies: "requests are not mirrored",
    });
    unguarded!(walk, message, {
        require_tls: "calls are made within the process, before there is any TLS",
    });
    let filters = http_filter::overrides(walk, &message.typed_per_filter_config);
    let name = Arc::from(match message.name.is_empty() {
        // gRPC needs no name; Envoy does.
        true => message.domains.first().map_or("", |domain| domain),
        false => &*message.name,
    });
    claim_name(walk, &message.name, at, taken);
    let mut host = VirtualHost::new(name, domains(walk, message, at, taken));
    host.filters = filters;
    if !message.rate_limits.is_empty() {
        host.rate_limits = Some(Arc::new(rate_limit::policy(walk, &message.rate_limits)));
    }
    host.headers = header::edits(walk, &header::lists!(message));
    host.retry_policy = message
        .retry_policy
        .as_ref()
        .map(|policy| Arc::new(walk.at("retry_policy", |walk| retry::policy(walk, policy))));
    host.hedge_policy = message
        .hedge_policy
        .as_ref()
        .map(|policy| walk.at("hedge_policy", |walk| retry::hedge(walk, policy)));
    host.include_request_attempt_count = message.include_request_attempt_count;
    for (at, route) in message.routes.iter().enumerate() {
        let place = || format!("{}.routes[{at}]", host.name);
        let route =
            walk.at(format_args!("routes[{at}]"), |walk| rule::decode(walk, route, place, around));
        host.routes.extend(route.map(Arc::new));
    }
    words::virtual_host(walk, message.metadata.as_ref(), &mut host);
    host
}

fn claim_name(walk: &mut Walk, name: &str, at: usize, taken: &mut Domains) {
    if name.is_empty() {
        return;
    }
    if let Some(first) = taken.names.insert(Arc::from(name), at) {
        walk.error_at(
            "name",
            format_args!("`{name}` is the name of virtual_hosts[{first}] already (Envoy: unique)"),
        );
    }
}

fn domains(
    walk: &mut Walk,
    message: &pb::VirtualHost,
    host: usize,
    taken: &mut Domains,
) -> Vec<Domain> {
    if message.domains.is_empty() {
        walk.error_at("domains", "a virtual host has at least one domain; `*` serves all");
    }
    let mut found = Vec::with_capacity(message.domains.len());
    for (at, text) in message.domains.iter().enumerate() {
        walk.at(format_args!("domains[{at}]"), |walk| match Domain::parse(text) {
            Err(invalid) => walk.error(format_args!("`{text}`: {invalid}")),
            Ok(domain) => {
                if let Some(first) = taken.domains.insert(domain.clone(), host) {
                    walk.error(format_args!(
                        "the domain `{domain}` is taken by virtual_hosts[{first}] already (case does \
                         not count)"
                    ));
                }
                found.push(domain);
            }
        });
    }
    found
}

/// The clusters that the routes of `host` name.
pub(super) fn clusters(host: &VirtualHost) -> BTreeSet<Arc<str>> {
    let mut found = BTreeSet::new();
    for route in &host.routes {
        let RouteAction::Forward(forward) = &route.action else { continue };
        match &forward.cluster {
            ClusterSpecifier::Cluster(name) => {
                found.insert(name.clone());
            }
            ClusterSpecifier::Split(Split { clusters, .. }) => {
                found.extend(clusters.iter().map(|part| part.cluster.clone()));
            }
            _ => {}
        }
    }
    found
}
