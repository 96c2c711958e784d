//! The model → Envoy's resources: the inverse of [`decode`](crate::decode).
//!
//! A control plane made of files serves what `mesh.yaml` says to Envoy and to every gRPC. Everything that
//! Envoy has a field for goes there, with Envoy's rules kept; the rest goes into
//! `metadata.filter_metadata["mesh"]` of the resource ([`METADATA_KEY`]), which others ignore.
//!
//! # Names
//!
//! | resource | name | for whom |
//! |---|---|---|
//! | RDS | `mesh` ([`ALL_ROUTES`]) | socket listeners: all virtual hosts |
//! | RDS | `mesh/<virtual host>` | API listeners: that virtual host, for any authority |
//! | LDS | an exact domain; without a port, also with 80 and 443 | API listeners, only for those who ask by name |
//! | LDS | the listener's, and what [`SERVER_TEMPLATE`] makes of its address | servers, which ask by name (gRFC A36) |
//! | LDS | what the caller says ([`socket_listener`], [`tcp_listener`]) | those who ask for all |
//! | CDS, EDS | the cluster's name | all |
//! | SDS | the name that clusters have for it | those who ask by name |
//!
//! # Words that Envoy does not have
//!
//! Only what differs from the model's default is said. Times are texts: `"0.25s"`.
//!
//! | in | word | says |
//! |---|---|---|
//! | RouteConfiguration `mesh` | `mode: observe`, `unknown_hosts: passthrough` | [`ConfigUpdate`] |
//! | Listener | `forward: {to: "application", authority: "inbound\|web", idle_timeout: "3600s"}` (`to`: or `authority`, `each_authority`) | [`Listener::forward`](mesh_core::model::Listener::forward) |
//! | Listener | `proxy_protocol: true` | what its connections begin with |
//! | Listener | `capture: "rest"`, `"5432 6379"` | [`Listener::capture`](mesh_core::model::Listener::capture) |
//! | FilterChain | `until: "1700000000s"`, `max_body_bytes: "1024"` | [`FilterChain::until`](mesh_core::model::FilterChain::until), in seconds since 1970; [`RequestLimits`](mesh_core::model::filter_chain::RequestLimits) |
//! | VirtualHost | `own_domains: 2` | the domains after these are for Envoy, which compares ports |
//! | VirtualHost, Route | `retry_policy: { num_retries: 0, retry_on, back_off: { base_interval, max_interval }, retry_after: [header], host_selection_max_attempts: 0 }` | no retries (gRPC refuses 0); a back-off that Envoy refuses; headers that may be dates |
//! | Route | `transparent_retry: false`, `peek_trailers_wait: true` | [`ForwardAction`](mesh_core::model::ForwardAction) |
//! | Route | `split_by: [input]` | the split's hash, where the route has another |
//! | Route | `hash_policy_of_split_only: true` | the route's hash policy is the split's alone |
//! | Route | `prefix_rewrite: ""` or `/` | the prefix is cut off, with the slash behind it where the prefix is of whole segments; Envoy has it as a pattern |
//! | Route | `redirect_status` | a status that Envoy does not have |
//! | Cluster | `protocol: tcp` | not HTTP |
//! | Cluster | `proxy_protocol: v2` | what byte streams begin with |
//! | Cluster | `retry_budget: { enabled, ratio, min_per_second, window }` | the budget of tokens |
//! | Cluster | `max_retries: { default, high }` | limits of retries beside a `retry_budget`, for which Envoy drops them |
//! | Cluster | `lb: { fail_traffic_on_panic, overprovisioning_factor, hash_policy, hash_policy_first, slow_start, peak_ewma: { decay, default_rtt, failure_penalty }, custom }` | [`LbPolicy`](mesh_core::model::LbPolicy) |
//! | Cluster | `outlier_detection: { a50_cap, max_ejection_time, count_cancelled_after, success_rate: off, local_origin_success_rate: off or { … }, failure_percentage: on, local_origin_failure_percentage: { on, … } }` | [`OutlierDetection`](mesh_core::model::OutlierDetection) |
//! | Cluster | `connection: { happy_eyeballs_delay, max_connection_age_jitter, keepalive_*, max_concurrent_streams, max_response_head, … }` | [`ConnectionOptions`](mesh_core::model::ConnectionOptions) |
//! | Cluster | `dns_lookup_family: default` or `auto`, `dns_min_refresh_rate`, `dns_names: ["host:port"]` | [`DnsOptions`](mesh_core::model::DnsOptions) |
//!
//! Decoding reads them again from any control plane ([`decode`](crate::decode)): decoding what was encoded
//! gives the model.
//!
//! What is said in a field of Envoy's with a meaning of its own: several methods are a regular expression
//! of `:method` (`GET|POST`), the peer's identity as a hash input is the filter state
//! `mesh.peer_identity`, a rule of consecutive failures that is off is a count of 0, and `%` is doubled in
//! header values and in `path_rewrite`.
//!
//! What it does not do: check. A model that `mesh.yaml` or the router refuses may give a
//! resource that Envoy refuses. Clients that do not know a kind refuse it: gRPC takes no `STRICT_DNS`
//! cluster, no Unix socket and no roots in PEM.

mod authorities;
mod breakers;
mod cel;
mod cluster;
mod connection;
mod deterministic;
mod endpoints;
mod filter;
mod filters;
mod forward;
mod hash;
mod headers;
mod lb;
mod listener;
mod matcher;
mod outlier;
mod rbac;
mod retry;
mod route;
mod route_configuration;
mod san;
mod secret;
mod server;
#[cfg(test)]
mod tests;
mod tls;
mod words;
mod wrap;

pub use authorities::Authorities;
pub use cluster::cluster;
pub use endpoints::endpoints;
pub use filter::{filter_config, filter_override, http_filter};
pub use listener::{api_listener, socket_listener, tcp_listener};
pub use rbac::rbac_filter;
pub use route_configuration::{route_configuration, route_configuration_of};
pub use secret::secret;
pub use server::server_listener;
pub use words::METADATA_KEY;

use crate::ResourceType;
use bytes::Bytes;
use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use envoy_types::pb::envoy::config::listener::v3::Listener;
use envoy_types::pb::envoy::config::route::v3::RouteConfiguration;
use mesh_core::ConfigUpdate;
use mesh_core::model::{self, Discovery, Domain, Secret};
use mesh_core::update::{ClusterUpdate, Mode, SecretAnswer, Secrets, UnknownHosts};
use prost::Message;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

/// The name of the route configuration that holds every virtual host.
pub const ALL_ROUTES: &str = "mesh";

/// How bootstrap files of gRPC's servers name their listeners
/// (`server_listener_resource_name_template`), as gRPC's documents write it.
pub const SERVER_TEMPLATE: &str = "grpc/server?xds.resource.listening_address=%s";

/// A resource as it goes over the wire.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Encoded {
    /// What it is.
    pub kind: ResourceType,
    /// Its name.
    pub name: Arc<str>,
    /// Its message, the same bytes for the same content.
    pub body: Bytes,
    /// Whether it is only for those who ask for it by name: an API listener, of which Envoy, which asks
    /// for all, takes none.
    pub by_name_only: bool,
}

impl Encoded {
    /// A resource of this content, for everyone.
    #[must_use]
    pub fn new(kind: ResourceType, name: impl Into<Arc<str>>, body: impl Into<Bytes>) -> Self {
        Self { kind, name: name.into(), body: body.into(), by_name_only: false }
    }

    /// A listener; an API listener is only for those who ask for it by name.
    #[must_use]
    pub fn listener(message: &Listener) -> Self {
        let name = message.name.as_str();
        Self {
            by_name_only: message.api_listener.is_some(),
            ..Self::new(ResourceType::Listener, name, message.encode_to_vec())
        }
    }

    /// A server's listener, under this name, for those who ask for it: what Envoy would do with routes that
    /// lead nowhere is its own.
    fn server(model: &model::Listener, name: &str) -> Self {
        let mut message = server_listener(model);
        name.clone_into(&mut message.name);
        let body = deterministic::listener(&message);
        Self { by_name_only: true, ..Self::new(ResourceType::Listener, name, body) }
    }

    fn routes(message: &RouteConfiguration) -> Self {
        let body = deterministic::route_configuration(message);
        Self::new(ResourceType::RouteConfiguration, message.name.as_str(), body)
    }

    fn cluster(message: &Cluster) -> Self {
        let body = deterministic::cluster(message);
        Self::new(ResourceType::Cluster, message.name.as_str(), body)
    }

    fn endpoints(message: &ClusterLoadAssignment) -> Self {
        let name = message.cluster_name.as_str();
        Self::new(ResourceType::Endpoints, name, deterministic::endpoints(message))
    }

    /// A secret, for those who ask for it by name: a client asks for no others.
    fn secret(model: &Secret) -> Self {
        let body = secret(model).encode_to_vec();
        let name = Arc::clone(&model.name);
        Self { by_name_only: true, ..Self::new(ResourceType::Secret, name, body) }
    }
}

impl fmt::Debug for Encoded {
    /// Without the message, which may hold a private key: its length.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, name, body, by_name_only } = self;
        write!(f, "{kind} {name} ({} bytes, by name only: {by_name_only})", body.len())
    }
}

/// Every resource of a configuration; see the table of names above.
///
/// Socket listeners are not among them: no configuration says which ports a caller opens.
#[must_use]
pub fn resources(update: &ConfigUpdate) -> Vec<Encoded> {
    let mut resources = route_resources(update);
    resources.extend(server_listeners(update));
    for (name, update) in &update.clusters {
        let (cluster, endpoints) = cluster_resources(name, update);
        resources.push(cluster);
        resources.extend(endpoints);
    }
    resources.extend(secret_resources(&update.secrets));
    resources
}

/// The listeners of servers, by their names and by what [`SERVER_TEMPLATE`] makes of their addresses. One
/// that says no address is for programs that have this configuration themselves, and is not served.
pub(crate) fn server_listeners(update: &ConfigUpdate) -> Vec<Encoded> {
    let mut encoded = Vec::new();
    for (name, listener) in &update.listeners {
        if let Some(address) = &listener.address {
            encoded.push(Encoded::server(listener, name));
            let by_address = SERVER_TEMPLATE.replace("%s", &address.to_string());
            if !update.listeners.contains_key(by_address.as_str()) {
                encoded.push(Encoded::server(listener, &by_address));
            }
        }
    }
    encoded
}

/// The secrets that are there.
pub(crate) fn secret_resources(secrets: &Secrets) -> impl Iterator<Item = Encoded> {
    secrets.values().filter_map(|answer| match answer {
        SecretAnswer::Known(secret) => Some(Encoded::secret(secret)),
        SecretAnswer::Missing(_) => None,
    })
}

/// The routes of a configuration, and the listeners that lead to them: what does not depend on clusters.
pub(crate) fn route_resources(update: &ConfigUpdate) -> Vec<Encoded> {
    let model = &update.route_configuration;
    let names = route_names(update);
    let authorities = Authorities::new(model, &names);
    let mut resources = vec![all_routes(update)];
    for (host, name) in model.virtual_hosts.iter().zip(&names) {
        resources.push(Encoded::routes(&route_configuration_of(name, model, host)));
    }
    resources.extend(api_listeners(update, &authorities));
    resources
}

/// The route configuration [`ALL_ROUTES`].
pub(crate) fn all_routes(update: &ConfigUpdate) -> Encoded {
    let mut all = route_configuration(ALL_ROUTES, &update.route_configuration);
    all.metadata = update_words(update).into_metadata();
    // Domains choose among them, not places: so files in another order are the same version.
    all.virtual_hosts.sort_by(|one, other| one.name.cmp(&other.name));
    Encoded::routes(&all)
}

/// A cluster, and its endpoints unless they are not known yet or come by DNS.
pub(crate) fn cluster_resources(name: &str, update: &ClusterUpdate) -> (Encoded, Option<Encoded>) {
    (Encoded::cluster(&cluster(&update.cluster)), endpoints_of(name, update))
}

/// The domains of a configuration, each with the route configuration of [`resources`] that serves it.
#[must_use]
pub fn authorities(update: &ConfigUpdate) -> Authorities {
    Authorities::new(&update.route_configuration, &route_names(update))
}

/// `mesh/<virtual host>`; what has no name, or one that is taken, is called after its place.
fn route_names(update: &ConfigUpdate) -> Vec<Arc<str>> {
    let mut taken: BTreeSet<Arc<str>> = BTreeSet::new();
    let hosts = update.route_configuration.virtual_hosts.iter().enumerate();
    hosts
        .map(|(place, host)| {
            let mut name: Arc<str> = format!("{ALL_ROUTES}/{}", host.name).into();
            // It ends: every turn makes the name longer, and the names that are taken are finite.
            while host.name.is_empty() && name.ends_with('/') || taken.contains(&name) {
                name = format!("{name}#{place}").into();
            }
            taken.insert(Arc::clone(&name));
            name
        })
        .collect()
}

fn update_words(update: &ConfigUpdate) -> words::Words {
    let mut words = words::Words::default();
    if update.mode == Mode::Observe {
        words.set("mode", "observe");
    }
    match update.unknown_hosts {
        UnknownHosts::Refuse => {}
        UnknownHosts::Log => words.set("unknown_hosts", "log"),
        UnknownHosts::Passthrough => words.set("unknown_hosts", "passthrough"),
    }
    words
}

/// One for each exact domain. A domain without a port takes every port, of which two are likely to be
/// dialled; the others are made when they are asked for ([`Authorities`]).
fn api_listeners(update: &ConfigUpdate, authorities: &Authorities) -> Vec<Encoded> {
    let hosts = update.route_configuration.virtual_hosts.iter();
    let mut names = BTreeSet::new();
    for domain in hosts.flat_map(|host| &host.domains) {
        if let Domain::Exact(text) = domain {
            names.insert(text.to_string());
            if route_configuration::split_port(text).is_none() {
                names.extend([format!("{text}:80"), format!("{text}:443")]);
            }
        }
    }
    let listener = |name: &String| {
        authorities.find(name).map(|routes| Encoded::listener(&api_listener(name, routes)))
    };
    names.iter().filter_map(listener).collect()
}

/// The endpoints of a cluster; `None`: they are not known yet, or come by DNS.
fn endpoints_of(name: &str, update: &ClusterUpdate) -> Option<Encoded> {
    let assignment = update.endpoints.as_ref()?;
    if update.cluster.discovery != Discovery::Static {
        return None;
    }
    let mut message = endpoints(name, assignment);
    let factor = update.cluster.lb_policy.overprovisioning_factor;
    if factor != lb::OVERPROVISIONING {
        // Envoy: more than zero.
        message.policy.get_or_insert_default().overprovisioning_factor =
            wrap::uint32(factor.max(1));
    }
    Some(Encoded::endpoints(&message))
}
