//! Route configurations and their virtual hosts.

use super::filter::rate_limit;
use super::words::Words;
use super::{filters, headers, retry, route};
use envoy_types::pb::envoy::config::route::v3 as pb;
use mesh_core::head::port_start;
use mesh_core::model::{Domain, RouteConfiguration, VirtualHost};
use std::collections::BTreeSet;

/// A `RouteConfiguration` of this name with every virtual host of the model.
///
/// A domain without a port takes every port in the model, but only itself in Envoy. When no domain has
/// a port, `ignore_port_in_host_matching` says the same; else an exact `reviews` is accompanied by
/// `reviews:*`. What stays different: among domains *with* ports, a suffix without a port takes no
/// authority that has one.
#[must_use]
pub fn route_configuration(name: &str, model: &RouteConfiguration) -> pb::RouteConfiguration {
    let domains = || model.virtual_hosts.iter().flat_map(|host| &host.domains);
    let any_port = !domains().any(has_port);
    let written: BTreeSet<String> = domains().map(ToString::to_string).collect();
    let virtual_hosts = model
        .virtual_hosts
        .iter()
        .enumerate()
        .map(|(place, host)| {
            let more = if any_port { Vec::new() } else { any_ports(&host.domains, &written) };
            virtual_host(place, host, more)
        })
        .collect();
    with_hosts(name, model, virtual_hosts, any_port)
}

/// A `RouteConfiguration` of this name with one virtual host of the model, for those who ask for one
/// authority: it takes whatever authority was asked for.
#[must_use]
pub fn route_configuration_of(
    name: &str,
    model: &RouteConfiguration,
    host: &VirtualHost,
) -> pb::RouteConfiguration {
    let mut encoded = virtual_host(0, host, Vec::new());
    // gRFC A28: the client looks for its authority among the domains again.
    if !host.domains.contains(&Domain::Any) {
        encoded.domains.push(Domain::Any.to_string());
    }
    with_hosts(name, model, vec![encoded], false)
}

fn with_hosts(
    name: &str,
    model: &RouteConfiguration,
    virtual_hosts: Vec<pb::VirtualHost>,
    any_port: bool,
) -> pb::RouteConfiguration {
    let (request_add, request_remove) = headers::edits(&model.headers.request);
    let (response_add, response_remove) = headers::edits(&model.headers.response);
    pb::RouteConfiguration {
        name: name.to_owned(),
        virtual_hosts,
        request_headers_to_add: request_add,
        request_headers_to_remove: request_remove,
        response_headers_to_add: response_add,
        response_headers_to_remove: response_remove,
        ignore_port_in_host_matching: any_port,
        ..pb::RouteConfiguration::default()
    }
}

/// A `VirtualHost`, with domains that only Envoy needs. Envoy wants a name: one without is called after
/// its place.
fn virtual_host(place: usize, model: &VirtualHost, more: Vec<String>) -> pb::VirtualHost {
    let mut words = Words::default();
    if let (false, Ok(own)) = (more.is_empty(), u32::try_from(model.domains.len())) {
        words.set("own_domains", own);
    }
    let (request_add, request_remove) = headers::edits(&model.headers.request);
    let (response_add, response_remove) = headers::edits(&model.headers.response);
    pb::VirtualHost {
        name: match model.name.is_empty() {
            true => format!("virtual-host-{place}"),
            false => model.name.to_string(),
        },
        domains: model.domains.iter().map(ToString::to_string).chain(more).collect(),
        routes: model.routes.iter().map(|model| route::route(model)).collect(),
        request_headers_to_add: request_add,
        request_headers_to_remove: request_remove,
        response_headers_to_add: response_add,
        response_headers_to_remove: response_remove,
        include_request_attempt_count: model.include_request_attempt_count,
        retry_policy: model.retry_policy.as_ref().map(|model| retry::policy(model, &mut words)),
        hedge_policy: model.hedge_policy.map(retry::hedge),
        metadata: words.into_metadata(),
        typed_per_filter_config: filters::overrides(&model.filters),
        rate_limits: rate_limit::policy(model.rate_limits.as_deref()),
        ..pb::VirtualHost::default()
    }
}

/// `name:*` for every exact domain without a port that nobody wrote himself.
fn any_ports(domains: &[Domain], written: &BTreeSet<String>) -> Vec<String> {
    let mut encoded = Vec::new();
    for domain in domains {
        if let Domain::Exact(text) = domain
            && !has_port(domain)
        {
            let any_port = format!("{text}:*");
            if !written.contains(&any_port) {
                encoded.push(any_port);
            }
        }
    }
    encoded
}

/// Whether a domain accepts one port only: `host:port`, `*.host:port`.
fn has_port(domain: &Domain) -> bool {
    match domain {
        Domain::Exact(text) | Domain::Suffix(text) => split_port(text).is_some(),
        Domain::Prefix(_) | Domain::Any => false,
    }
}

/// The host without its port; `None`: there is none that is a number.
pub(super) fn split_port(authority: &str) -> Option<&str> {
    let at = port_start(authority.as_bytes())?;
    let port = &authority[at + 1..];
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| &authority[..at])
}
