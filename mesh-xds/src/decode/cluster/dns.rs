//! `STRICT_DNS`, `LOGICAL_DNS` and the cluster type `envoy.clusters.dns`: names to resolve.
//!
//! gRFC A37: a logical cluster has exactly one locality with exactly one endpoint, whose address is a
//! name and a port. A strict one has any number of names, all of one priority: the names' addresses
//! are one pool, without localities and weights.

use super::discovery;
use super::unused::OWN_RESOLVER;
use crate::decode::address::name_and_port;
use crate::decode::common::{self, Walk};
use crate::decode::endpoint::Once;
use crate::resource::EndpointSource;
use crate::tls_labels;
use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::cluster::v3::cluster::DnsLookupFamily as Legacy;
use envoy_types::pb::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use envoy_types::pb::envoy::config::endpoint::v3::{ClusterLoadAssignment, LbEndpoint};
use envoy_types::pb::envoy::extensions::clusters::common::dns::v3::DnsLookupFamily as Family;
use envoy_types::pb::envoy::extensions::clusters::dns::v3::DnsCluster;
use envoy_types::pb::google::protobuf;
use mesh_core::model::{self, Discovery, DnsLookupFamily, DnsOptions};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// Envoy: a refresh rate is more than this.
const LEAST_RATE: Duration = Duration::from_millis(1);
/// Envoy: `DnsCluster.dns_min_refresh_rate` is at least this.
const LEAST_MIN_RATE: Duration = Duration::from_secs(1);

/// A cluster of type `STRICT_DNS` or, with `logical`, `LOGICAL_DNS`.
#[expect(deprecated, reason = "the fields that these types are configured by")]
pub(super) fn legacy(
    walk: &mut Walk,
    message: &Cluster,
    model: &mut model::Cluster,
    logical: bool,
) -> Option<EndpointSource> {
    let mut options = options(walk, message, model, logical);
    refresh_rate(walk, message.dns_refresh_rate.as_ref(), &mut options);
    options.respect_ttl = message.respect_dns_ttl;
    let family = common::enumeration(walk, "dns_lookup_family", message.dns_lookup_family);
    options.lookup_family = match family? {
        // The first value of an enumeration can't be told from nothing.
        Legacy::Auto => None,
        Legacy::V4Only => Some(DnsLookupFamily::V4Only),
        Legacy::V6Only => Some(DnsLookupFamily::V6Only),
        Legacy::V4Preferred => Some(DnsLookupFamily::V4Preferred),
        Legacy::All => Some(DnsLookupFamily::All),
    };
    Some(finish(model, options, logical))
}

/// A cluster of the type `envoy.clusters.dns`; the walk is at its configuration.
pub(super) fn extension(
    walk: &mut Walk,
    config: &DnsCluster,
    message: &Cluster,
    model: &mut model::Cluster,
) -> Option<EndpointSource> {
    for (set, field) in [
        (config.dns_failure_refresh_rate.is_some(), "dns_failure_refresh_rate"),
        (config.dns_jitter.is_some(), "dns_jitter"),
        (config.typed_dns_resolver_config.is_some(), "typed_dns_resolver_config"),
    ] {
        walk.ignored(set, field, OWN_RESOLVER);
    }
    // Envoy: all addresses in one endpoint is what LOGICAL_DNS is.
    let logical = config.all_addresses_in_single_endpoint;
    let mut options = walk.root(|walk| options(walk, message, model, logical));
    refresh_rate(walk, config.dns_refresh_rate.as_ref(), &mut options);
    options.respect_ttl = config.respect_dns_ttl;
    let least = config.dns_min_refresh_rate.as_ref();
    if let Some(least) = common::duration(walk, "dns_min_refresh_rate", least) {
        if least < LEAST_MIN_RATE {
            walk.error_at("dns_min_refresh_rate", "it is less than 1 s (Envoy)");
        }
        options.min_refresh_rate = least;
    }
    let family = common::enumeration(walk, "dns_lookup_family", config.dns_lookup_family);
    options.lookup_family = match family? {
        Family::Unspecified => None,
        Family::Auto => Some(DnsLookupFamily::Auto),
        Family::V4Only => Some(DnsLookupFamily::V4Only),
        Family::V6Only => Some(DnsLookupFamily::V6Only),
        Family::V4Preferred => Some(DnsLookupFamily::V4Preferred),
        Family::All => Some(DnsLookupFamily::All),
    };
    Some(finish(model, options, logical))
}

fn finish(model: &mut model::Cluster, options: DnsOptions, logical: bool) -> EndpointSource {
    model.discovery = match logical {
        true => Discovery::LogicalDns(options),
        false => Discovery::StrictDns(options),
    };
    EndpointSource::Dns
}

fn refresh_rate(walk: &mut Walk, rate: Option<&protobuf::Duration>, options: &mut DnsOptions) {
    let Some(rate) = common::duration(walk, "dns_refresh_rate", rate) else { return };
    if rate <= LEAST_RATE {
        walk.error_at("dns_refresh_rate", "it is not more than 1 ms (Envoy)");
    }
    options.refresh_rate = rate;
}

/// The names of `load_assignment`, with the defaults for the rest.
fn options(
    walk: &mut Walk,
    message: &Cluster,
    model: &mut model::Cluster,
    logical: bool,
) -> DnsOptions {
    let mut options = DnsOptions::new("", 0);
    options.names.clear();
    let Some(assignment) = &message.load_assignment else {
        walk.error_at("load_assignment", "a DNS cluster needs it: it holds the names (gRFC A37)");
        return options;
    };
    walk.at("load_assignment", |walk| {
        let drops = discovery::policy(walk, assignment, model);
        walk.ignored(
            !drops.is_empty(),
            "policy.drop_overloads",
            "only listed endpoints drop: what names resolve to has no such policy here",
        );
        if logical {
            check_single(walk, assignment);
        }
        names(walk, assignment, &mut options.names);
        if options.names.is_empty() && walk.errors() == 0 {
            walk.error_at("endpoints", "there is no name to resolve");
        }
    });
    options
}

/// gRFC A37: "exactly one locality with exactly one endpoint".
fn check_single(walk: &mut Walk, assignment: &ClusterLoadAssignment) {
    let localities = assignment.endpoints.len();
    let endpoints: usize = assignment.endpoints.iter().map(|place| place.lb_endpoints.len()).sum();
    if localities != 1 || endpoints != 1 {
        walk.error_at(
            "endpoints",
            format_args!(
                "a logical DNS cluster has one locality with one endpoint (gRFC A37), not {localities} with {endpoints}; STRICT_DNS takes several"
            ),
        );
    }
}

fn names(walk: &mut Walk, assignment: &ClusterLoadAssignment, names: &mut Vec<(Arc<str>, u16)>) {
    let mut once = Once::default();
    let mut seen = BTreeSet::new();
    for (index, locality) in assignment.endpoints.iter().enumerate() {
        walk.at(format_args!("endpoints[{index}]"), |walk| {
            if locality.lb_config.is_some() {
                walk.error_at("lb_config", "list the names in `lb_endpoints`");
            }
            if locality.priority != 0 {
                walk.error_at(
                    "priority",
                    "the names of a DNS cluster have one priority here, 0; make a cluster of each priority and an aggregate of them",
                );
            }
            let placed = locality.locality.is_some() || locality.load_balancing_weight.is_some();
            once.ignored(walk, placed, "locality", "the addresses of all names are one pool");
            for (index, endpoint) in locality.lb_endpoints.iter().enumerate() {
                walk.at(format_args!("lb_endpoints[{index}]"), |walk| {
                    let Some(name) = name(walk, &mut once, endpoint) else { return };
                    if !seen.insert(name.clone()) {
                        let (host, port) = &name;
                        walk.error(format_args!("{host}:{port} stands twice (gRFC A27)"));
                    }
                    names.push(name);
                });
            }
        });
    }
}

fn name(walk: &mut Walk, once: &mut Once, endpoint: &LbEndpoint) -> Option<(Arc<str>, u16)> {
    const OF_THE_NAME: &str = "what a name resolves to has no such thing of its own";
    once.ignored(walk, endpoint.health_status != 0, "health_status", OF_THE_NAME);
    let metadata = endpoint.metadata.as_ref();
    let others = metadata.is_some_and(|metadata| {
        let mut names =
            metadata.filter_metadata.keys().chain(metadata.typed_filter_metadata.keys());
        // How it is secured is looked at with the matches.
        names.any(|name| name != tls_labels::NAME)
    });
    once.ignored(walk, others, "metadata", OF_THE_NAME);
    let weight = endpoint.load_balancing_weight.is_some();
    once.ignored(walk, weight, "load_balancing_weight", OF_THE_NAME);
    let Some(HostIdentifier::Endpoint(endpoint)) = &endpoint.host_identifier else {
        walk.error_at("endpoint", "it is missing (gRFC A37)");
        return None;
    };
    walk.at("endpoint", |walk| {
        let hostname = !endpoint.hostname.is_empty();
        once.ignored(walk, hostname, "hostname", "the name that is resolved is the host's name");
        let checks = endpoint.health_check_config.is_some();
        once.ignored(walk, checks, "health_check_config", "there are no active health checks");
        let more = !endpoint.additional_addresses.is_empty();
        once.ignored(walk, more, "additional_addresses", "a name has all its addresses");
        name_and_port(walk, endpoint.address.as_ref())
    })
}
