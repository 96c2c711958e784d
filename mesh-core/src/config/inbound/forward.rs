//! `forward`: the application that a port stands before, for `mesh proxy`.
//!
//! It becomes a cluster of one endpoint, unless one is named, and a virtual host with one route, which nobody can
//! call by a name of its own: no authority has a `|`.

use super::super::address::address;
use super::super::fields::Fields;
use super::super::node::{Content, Entry, Span};
use super::super::shape::{Kind, Shape, key, words};
use super::super::value::word;
use super::super::{code, reader::Reader};
use crate::model::{
    Address, Cluster, ClusterLoadAssignment, Domain, Endpoint, Forward, ForwardAction, ForwardTo,
    Protocol, ProxyProtocol, Route, VirtualHost,
};
use crate::update::ClusterUpdate;
use std::sync::Arc;
use std::time::Duration;

/// HTTP that an application speaks.
const PROTOCOLS: [(&str, Protocol); 3] =
    [("auto", Protocol::Auto), ("http1", Protocol::Http1), ("http2", Protocol::Http2)];
/// Versions of the PROXY protocol.
pub(in crate::config) const PROXY_PROTOCOLS: [(&str, ProxyProtocol); 2] =
    [("v1", ProxyProtocol::V1), ("v2", ProxyProtocol::V2)];

const WHERE: [&str; 2] = ["address", "cluster"];

static FORWARD: Shape = Shape::new(
    "forward",
    &[&[
        key("address", Kind::Text, "Where the application listens."),
        key("cluster", Kind::Text, "The cluster that it is, in place of an address."),
        key(
            "protocol",
            Kind::Word(&words(&PROTOCOLS)),
            "What it speaks, with `address`: auto (HTTP/2 for gRPC, HTTP/1.1 for the rest), http1 or http2. Default auto.",
        ),
        key(
            "connect_timeout",
            Kind::POSITIVE_TIME,
            "Limit of connecting to it, with `address`. Default 5s.",
        ),
        key(
            "proxy_protocol",
            Kind::Word(&words(&PROXY_PROTOCOLS)),
            "With `address` and `protocol: tcp` of the port: the version of the PROXY protocol that tells it who connects. Default none.",
        ),
        key(
            "idle_timeout",
            Kind::TIME,
            "Byte streams, upgrades and tunnels end when nothing goes over for this long; 0s: never. Default 1h.",
        ),
    ]],
)
.exactly_one(&WHERE);
/// An address, or a mapping.
pub(super) const FORWARD_KIND: Kind = Kind::Either(&[Kind::Text, Kind::Mapping(&FORWARD)]);

/// The application that a port stands before.
pub(in crate::config) struct Application {
    pub(in crate::config) forward: Forward,
    pub(in crate::config) host: Arc<VirtualHost>,
    /// `None`: it is one that the document has.
    pub(in crate::config) cluster: Option<ClusterUpdate>,
    /// Where it is, if that is an address.
    pub(in crate::config) address: Option<(Address, Span)>,
    /// Which cluster it is, if that is named.
    pub(in crate::config) named: Option<(Arc<str>, Span)>,
}

/// Reads the application of the port `entry`, which carries bytes or requests.
pub(super) fn forward(
    reader: &mut Reader<'_>,
    fields: &Fields<'_>,
    (entry, bytes): (&Entry, bool),
) -> Option<Application> {
    let (node, kind) = fields.value("forward")?;
    let name: Arc<str> = format!("inbound|{}", entry.key).into();
    let mut cluster = Cluster::new(Arc::clone(&name));
    // What they say stays on this machine.
    cluster.tls = crate::model::TlsPolicy::Off;
    cluster.protocol = if bytes { Protocol::Tcp } else { Protocol::Auto };
    let mut forward = Forward::new(ForwardTo::Application(Arc::clone(&name)));
    let Content::Mapping(_) = node.content else {
        let address = address(reader, node)?;
        return Some(at(cluster, forward, (address, node.span)));
    };
    let fields = Fields::open(reader, node, kind)?;
    let chosen = fields.exactly_one(reader, &WHERE, (code::MISSING_KEY, code::CONFLICTING_KEYS));
    let of_address = ["protocol", "connect_timeout", "proxy_protocol"];
    if chosen.is_some_and(|entry| &*entry.key == "cluster") {
        fields.misplaced(reader, &of_address, "beside `cluster`: the cluster says it");
    } else if bytes {
        fields.misplaced(reader, &["protocol"], "on a port of `protocol: tcp`");
    } else {
        fields.misplaced(reader, &["proxy_protocol"], "but on a port of `protocol: tcp`");
    }
    if let Some((node, kind)) = fields.value("protocol")
        && let Some(protocol) = word(reader, node, kind, &PROTOCOLS)
        && !bytes
    {
        cluster.protocol = protocol;
    }
    fields.set(reader, "connect_timeout", &mut cluster.connection.connect_timeout);
    if let Some((node, kind)) = fields.value("proxy_protocol") {
        cluster.proxy_protocol = word(reader, node, kind, &PROXY_PROTOCOLS);
    }
    let idle: Option<Duration> = fields.read(reader, "idle_timeout");
    if let Some(idle) = idle {
        forward.idle_timeout = Some(idle).filter(|idle| !idle.is_zero());
    }
    let named: Option<Arc<str>> = fields.read(reader, "cluster");
    let place = fields.value("address");
    let address = place.and_then(|(node, _)| Some((address(reader, node)?, node.span)));
    match (named, address) {
        (Some(named), _) => {
            let span = fields.own("cluster").map_or(node.span, |entry| entry.value.span);
            reader.refer(&named, span);
            let mut action = ForwardAction::to(Arc::clone(&named));
            action.timeout = Duration::ZERO;
            let host = only_route(&name, action);
            let named = Some((named, span));
            Some(Application { forward, host, cluster: None, address: None, named })
        }
        (None, Some(address)) => Some(at(cluster, forward, address)),
        (None, None) => None,
    }
}

fn at(cluster: Cluster, forward: Forward, (address, span): (Address, Span)) -> Application {
    let mut action = ForwardAction::to(Arc::clone(&cluster.name));
    // Whoever calls has a limit of his own.
    action.timeout = Duration::ZERO;
    let host = only_route(&cluster.name, action);
    let endpoints = ClusterLoadAssignment::of([Endpoint::new(address.clone())]);
    let cluster = ClusterUpdate::new(Arc::new(cluster), Some(Arc::new(endpoints)));
    let address = Some((address, span));
    Application { forward, host, cluster: Some(cluster), address, named: None }
}

/// A virtual host that takes everything of `name`.
pub(in crate::config) fn only_route(name: &Arc<str>, action: ForwardAction) -> Arc<VirtualHost> {
    // Lower case, as all patterns are.
    let domain = Domain::Exact(name.to_ascii_lowercase().into());
    Arc::new(VirtualHost::new(Arc::clone(name), vec![domain]).route(Route::forward(action)))
}

/// Reports applications that are a port of this configuration: what it would be sent comes back.
pub(in crate::config) fn check_loops<'s>(
    reader: &mut Reader<'_>,
    applications: impl Iterator<Item = &'s (Address, Span)>,
    ports: &[(&Address, Span)],
) {
    for (address, span) in applications {
        let Some((_, port)) = ports.iter().find(|(port, _)| port.covers(address)) else { continue };
        let message = format!("`{address}` is a port of this configuration, not an application");
        let finding = reader.report.add(code::FORWARD_LOOP, *span, message);
        finding.suggest("write where the application itself listens").label(*port, "this port");
    }
}

/// Reports a port at `address` whose application is a cluster that the port itself is an endpoint of.
pub(in crate::config) fn check_loop_of_cluster(
    reader: &mut Reader<'_>,
    (name, span): &(Arc<str>, Span),
    endpoints: &[(Address, Span)],
    (address, port): (&Address, Span),
) {
    let Some((own, at)) = endpoints.iter().find(|(endpoint, _)| address.covers(endpoint)) else {
        return;
    };
    let message =
        format!("`{own}` of the cluster `{name}` is this port itself, not an application");
    let finding = reader.report.add(code::FORWARD_LOOP, *span, message);
    let finding = finding.suggest("name a cluster of where the application itself listens");
    finding.label(*at, "this endpoint").label(port, "this port");
}

/// Reports a port that takes HTTP besides bytes, before a cluster that takes none.
pub(in crate::config) fn check_speaks_http(
    reader: &mut Reader<'_>,
    (name, span): &(Arc<str>, Span),
    (protocol, key): (Protocol, Span),
) {
    if protocol == Protocol::Tcp {
        let message = format!("`{name}` speaks plain TCP, and the port takes HTTP, too");
        let finding = reader.report.add(code::INCONSISTENT_VALUES, *span, message);
        finding
            .suggest("write `protocol: tcp` for the port, or leave `protocol` of the cluster out");
        finding.label(key, "this cluster");
    }
}
