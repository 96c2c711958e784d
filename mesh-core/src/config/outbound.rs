//! `outbound`: ports of `mesh proxy` through which an application beside it calls others.
//!
//! A port routes by the authority of each request, through the virtual hosts, unless it names a cluster or a split:
//! then everything that comes goes there, and the port's options of forwarding hold for it. Bytes have no authority,
//! so a port of them always names one, or captures connections, of which the destination is known. It becomes a [`Listener`] of Envoy's that takes everything in plaintext: who
//! can reach it is the application. So it listens on this machine alone, unless it says that it is open.

use super::address::address;
use super::cluster::ClusterSite;
use super::fields::Fields;
use super::inbound::only_route;
use super::inbound::options::{self, LIMITS};
use super::node::{Entry, Node, Span};
use super::protocol::{DETECT_TIMEOUT_KEY, PROTOCOL, Speaks, cannot_detect};
use super::route::{self, CLUSTER_KEYS, FORWARD_KEYS};
use super::shape::{Key, Kind, Shape, key};
use super::value::Value;
use super::{code, reader::Reader};
use crate::model::filter_chain::{EscapedSlashes, ForwardClientCert};
use crate::model::{
    Address, Capture, ClusterSpecifier, FilterChain, Forward, ForwardAction, ForwardTo,
    HttpConnectionManager, Listener, Protocol, VirtualHost,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const PORT_KEYS: &[Key] = &[
    key("listen", Kind::Text, "Where it listens: `127.0.0.1:15001`, `unix:/run/mesh/db.sock`.")
        .required(),
    key(
        "open",
        Kind::Flag,
        "Others than this machine may call through it, in plaintext and without proof of who they are. Default false.",
    ),
    key(
        "protocol",
        PROTOCOL,
        "http, or tcp: bytes; or with `capture` detect: what is not HTTP are bytes. Default tcp before clusters of `protocol: tcp`, else http.",
    ),
    DETECT_TIMEOUT_KEY,
    key(
        "capture",
        Kind::Either(&[Kind::Flag, Kind::OneOrMany(&CAPTURED_PORT)]),
        "Connections that the system leads here (`mesh iptables`), though they were made to others: those to these ports, or with true those that no other port captures. Their original destination takes the place of an authority for bytes, and that of an unknown host. Linux. Default false.",
    ),
    key(
        "proxy_protocol",
        Kind::Flag,
        "Each connection begins with a header of the PROXY protocol, version 1 or 2; one without is closed. Default false.",
    ),
    key(
        "limits",
        Kind::Mapping(&LIMITS),
        "What a request may be like, and how long silence may last.",
    ),
];
const CAPTURED_PORT: Kind = Kind::Count { least: 1, most: 65_535 };
static OUTBOUND: Shape = Shape::new("outbound", &[PORT_KEYS, CLUSTER_KEYS, FORWARD_KEYS]);
/// One port.
pub(super) static OUTBOUND_KIND: Kind = Kind::Mapping(&OUTBOUND);

const CLUSTERS: [&str; 2] = ["cluster", "split"];
/// Keys that mean something only where calls are routed by the port itself.
const OF_ROUTES: [&str; 10] = [
    "split_by",
    "timeout",
    "max_stream_duration",
    "idle_timeout",
    "retry",
    "hedge",
    "hash",
    "priority",
    "transparent_retry",
    "peek_trailers",
];
/// Of them, what means something without a route, too: tunnels have it.
const OF_TUNNELS: &str = "idle_timeout";
/// Of them, those that mean something only where there are requests.
const OF_REQUESTS: [&str; 5] = ["max_stream_duration", "retry", "hedge", "peek_trailers", "limits"];

/// A port with the places that lints point at.
pub(super) struct OutboundSite<'n> {
    pub(super) name: Span,
    pub(super) node: &'n Node,
    pub(super) value: Arc<Listener>,
    /// Whether others than this machine may call through it.
    pub(super) is_open: bool,
    /// Its routes; `None`: those of the virtual hosts.
    pub(super) host: Option<Arc<VirtualHost>>,
}

impl OutboundSite<'_> {
    /// The value of a key, or the port's name when it has no such key.
    pub(super) fn span(&self, key: &str) -> Span {
        self.node.get(key).map_or(self.name, |entry| entry.value.span)
    }
}

/// Reads one port. `clusters` are all that can be read.
pub(super) fn outbound<'n>(
    reader: &mut Reader<'_>,
    entry: &'n Entry,
    clusters: &BTreeMap<Arc<str>, ClusterSite<'_>>,
    defaults: Option<&'n Node>,
) -> Option<OutboundSite<'n>> {
    reader.check_name(&entry.key, entry.key_span);
    let fields = Fields::open(reader, &entry.value, &OUTBOUND_KIND)?.or(defaults);
    let name: Arc<str> = format!("outbound|{}", entry.key).into();
    let mut listener = Listener::new(Arc::clone(&name));
    listener.address = fields.value("listen").and_then(|(node, _)| address(reader, node));
    let is_open = check_open(reader, &fields, listener.address.as_ref());
    fields.set(reader, "proxy_protocol", &mut listener.proxy_protocol);
    listener.capture = fields.read::<Captured>(reader, "capture").and_then(|captured| captured.0);
    fields.at_most_one(reader, &CLUSTERS, code::CONFLICTING_KEYS);
    let specifier = route::clusters(reader, &fields);
    if fields.own("split").is_none() {
        fields.misplaced(reader, &["split_by"], "without `split`");
    }
    let captures = listener.capture.is_some();
    let speaks = speaks(reader, &fields, captures, (specifier.as_ref(), clusters));
    let bytes = speaks == Speaks::Bytes;
    let mut action = ForwardAction::new(
        specifier.clone().unwrap_or_else(|| ClusterSpecifier::Cluster(Arc::from(""))),
    );
    route::options(reader, &fields, &mut action);
    let named = !fields.present(&CLUSTERS).is_empty();
    if !named {
        let of_routes = OF_ROUTES[1..].iter().copied().filter(|key| *key != OF_TUNNELS);
        let of_routes: Vec<_> = of_routes.collect();
        fields.misplaced(reader, &of_routes, "without `cluster` or `split`: routes say it");
    }
    if bytes {
        need_clusters(reader, &fields, named || captures);
        fields.misplaced(reader, &OF_REQUESTS, "on a port of `protocol: tcp`");
    }
    let to = match specifier {
        Some(_) => ForwardTo::Authority(Arc::clone(&name)),
        None => ForwardTo::EachAuthority,
    };
    let mut forward = Forward::new(to);
    let idle: Option<Duration> = fields.own("idle_timeout").and(action.idle_timeout);
    if fields.own("idle_timeout").is_some() {
        forward.idle_timeout = idle;
    }
    if bytes {
        // It is the stream's, not that of connecting.
        action.idle_timeout = None;
    }
    listener.forward = Some(forward);
    let http = (speaks != Speaks::Bytes).then(|| requests(reader, &fields));
    let mut chain = FilterChain::new("plaintext", http);
    chain.detect = speaks.detects();
    listener.filter_chains = vec![Arc::new(chain)];
    let host = specifier.is_some().then(|| only_route(&name, action));
    let value = Arc::new(listener);
    Some(OutboundSite { name: entry.key_span, node: &entry.value, value, is_open, host })
}

/// What `capture` says.
struct Captured(Option<Capture>);

impl Value for Captured {
    fn read(reader: &mut Reader<'_>, node: &Node, kind: &'static Kind) -> Option<Self> {
        if reader.is_word(node, "true") || reader.is_word(node, "false") {
            let all = bool::read(reader, node, kind)?;
            return Some(Self(all.then_some(Capture::Rest)));
        }
        let ports: Vec<u16> = Value::read(reader, node, kind)?;
        if ports.is_empty() {
            let message = "no ports: nothing is captured";
            let finding = reader.report.add(code::INCONSISTENT_VALUES, node.span, message);
            finding.suggest(
                "list ports, write `true` for all that no other port captures, or leave it out",
            );
            return None;
        }
        Some(Self(Some(Capture::Ports(ports))))
    }
}

/// Reports two ports that capture the same, for one family of addresses.
pub(super) fn check_captures<'n>(
    reader: &mut Reader<'_>,
    sites: impl Iterator<Item = &'n OutboundSite<'n>>,
) {
    let mut seen: BTreeMap<(bool, Option<u16>), Span> = BTreeMap::new();
    for site in sites {
        let (Some(capture), Some(address)) = (&site.value.capture, &site.value.address) else {
            continue;
        };
        let span = site.span("capture");
        let Address::Socket(address) = address else {
            let message = "connections are captured by TCP ports, and this one is a Unix socket";
            let finding = reader.report.add(code::INCONSISTENT_VALUES, span, message);
            finding.suggest("listen on `127.0.0.1:15001`, or leave `capture` out");
            continue;
        };
        let ports: Vec<Option<u16>> = match capture {
            Capture::Rest => vec![None],
            Capture::Ports(ports) => ports.iter().copied().map(Some).collect(),
        };
        for port in ports {
            let Some(before) = seen.insert((address.is_ipv6(), port), span) else { continue };
            let message = match port {
                Some(port) => format!("connections to port {port} are captured already"),
                None => "all that is not captured elsewhere is captured already".to_owned(),
            };
            let finding = reader.report.add(code::INCONSISTENT_VALUES, span, message);
            finding.suggest("let each port be captured once").label(before, "by this one");
        }
    }
}

/// What the application says is passed on as it is.
fn requests(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Arc<HttpConnectionManager> {
    let mut http = HttpConnectionManager::serving(Vec::new());
    options::limits(reader, fields, &mut http);
    (http.path.normalize, http.path.merge_slashes) = (false, false);
    http.path.escaped_slashes = EscapedSlashes::Keep;
    http.forward_client_cert = ForwardClientCert::Sanitize;
    Arc::new(http)
}

/// What the port carries: as it says, or as its clusters do.
fn speaks(
    reader: &mut Reader<'_>,
    fields: &Fields<'_>,
    captures: bool,
    (specifier, clusters): (Option<&ClusterSpecifier>, &BTreeMap<Arc<str>, ClusterSite<'_>>),
) -> Speaks {
    let said = Speaks::read(reader, fields);
    if let Some(detected @ Speaks::Detected(_)) = said {
        check_detects(reader, fields, captures);
        return detected;
    }
    let names: Vec<&Arc<str>> = match specifier {
        Some(ClusterSpecifier::Cluster(name)) => vec![name],
        Some(ClusterSpecifier::Split(split)) => {
            split.clusters.iter().map(|part| &part.cluster).collect()
        }
        Some(ClusterSpecifier::Header(_)) | None => Vec::new(),
    };
    let known: Vec<_> = names.into_iter().filter_map(|name| clusters.get(name)).collect();
    let speaks_bytes = |site: &&ClusterSite<'_>| site.value.cluster.protocol == Protocol::Tcp;
    let bytes = match said {
        Some(said) => said == Speaks::Bytes,
        None => known.iter().copied().any(|site| speaks_bytes(&site)),
    };
    for site in known.into_iter().filter(|site| speaks_bytes(site) != bytes) {
        let name = &site.value.cluster.name;
        let (message, suggestion) = if bytes {
            (format!("`{name}` speaks HTTP, and the port carries bytes"), "give it `protocol: tcp`")
        } else {
            (format!("`{name}` speaks plain TCP, no HTTP"), "leave `protocol` of the port out")
        };
        let place = fields.present(&["cluster", "split"]);
        let place = place.first().map_or_else(|| fields.span(), |entry| entry.value.span);
        let finding = reader.report.add(code::INCONSISTENT_VALUES, place, message);
        finding.suggest(suggestion).label(site.key_span("protocol"), "this cluster");
    }
    if bytes { Speaks::Bytes } else { Speaks::Http }
}

/// A port that finds out what it carries knows where both go by the connection alone.
fn check_detects(reader: &mut Reader<'_>, fields: &Fields<'_>, captures: bool) {
    let wrong = if !fields.present(&CLUSTERS).is_empty() {
        ("a cluster takes either HTTP or bytes", "leave `protocol` out: the cluster says it")
    } else if !captures {
        (
            "bytes have no authority to go by",
            "`capture` connections, of which the destination is known, or write `protocol: http`",
        )
    } else {
        return;
    };
    cannot_detect(reader, fields.own("protocol"), wrong);
}

fn need_clusters(reader: &mut Reader<'_>, fields: &Fields<'_>, named: bool) {
    if !named {
        let message = "a port of `protocol: tcp` names where its bytes go: they have no authority";
        let finding = reader.report.add(code::MISSING_KEY, fields.span(), message);
        finding.suggest("write `cluster: NAME`, or `split: { … }`, or `capture` connections of which the destination is known");
    }
}

/// A port of plaintext for everybody is written as such; whether it is.
fn check_open(reader: &mut Reader<'_>, fields: &Fields<'_>, address: Option<&Address>) -> bool {
    let open: Option<bool> = fields.read(reader, "open");
    let (Some(Address::Socket(address)), Some(entry)) = (address, fields.own("listen")) else {
        return open == Some(true);
    };
    if open != Some(true) && !address.ip().to_canonical().is_loopback() {
        let message = format!("`{address}` lets others than this machine call as this one");
        let finding = reader.report.add(code::OUTBOUND_OPENED, entry.value.span, message);
        finding.suggest(format!("listen on `127.0.0.1:{}`, or write `open: true`", address.port()));
    }
    open == Some(true)
}
