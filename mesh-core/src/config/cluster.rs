//! `clusters`: a logical service and how to talk to it.
//!
//! Where its endpoints come from is said once, by `endpoints`, `localities`, `dns` or `logical_dns`;
//! `drop_overloads` belongs to listed endpoints. Everything else may come from `defaults.cluster`, key by
//! key and never deeper.

use super::breakers::{BREAKERS_KIND, BUDGET_KIND};
use super::drop_overload::DROP_OVERLOADS_KIND;
use super::endpoint::{
    Assignment, DNS_KIND, ENDPOINTS_KIND, LOCALITIES_KIND, LOGICAL_DNS_KIND, dns,
};
use super::fields::Fields;
use super::inbound::PROXY_PROTOCOLS;
use super::lb::LB_KIND;
use super::node::{Entry, Node, Span};
use super::outlier::{Detection, OUTLIER_KIND};
use super::shape::{Key, Kind, Shape, key, words};
use super::tls::{self, TLS_KIND};
use super::value::word;
use super::{code, reader::Reader};
use crate::head::MOST_HEADERS;
use crate::model::{Address, Cluster, ConnectionOptions, Discovery, DropOverload, Protocol};
use crate::update::ClusterUpdate;
use std::sync::Arc;

const PROTOCOLS: [(&str, Protocol); 4] = [
    ("auto", Protocol::Auto),
    ("http1", Protocol::Http1),
    ("http2", Protocol::Http2),
    ("tcp", Protocol::Tcp),
];

static KEEPALIVE: Shape = Shape::new(
    "keepalive",
    &[&[
        key(
            "interval",
            Kind::TIME,
            "A PING is sent after this long without a frame; 0s: never. Default never.",
        ),
        key(
            "timeout",
            Kind::POSITIVE_TIME,
            "A PING without answer for this long closes the connection. Default 20s.",
        ),
        key("while_idle", Kind::Flag, "PINGs are sent without calls in flight too. Default false."),
    ]],
);

const SOURCES: [&str; 4] = ["endpoints", "localities", "dns", "logical_dns"];
const SOURCE_KEYS: &[Key] = &[
    key("endpoints", ENDPOINTS_KIND, "The endpoints: addresses, or mappings."),
    key("localities", LOCALITIES_KIND, "The endpoints by place."),
    key("dns", DNS_KIND, "`host:port`: every address is an endpoint."),
    key("logical_dns", LOGICAL_DNS_KIND, "`host:port`: one address at a time."),
    key(
        "drop_overloads",
        DROP_OVERLOADS_KIND,
        "With listed endpoints: shares of attempts that are dropped. Default none.",
    ),
];
const OPTION_KEYS: &[Key] = &[
    key(
        "protocol",
        Kind::Word(&words(&PROTOCOLS)),
        "auto: as the call, ALPN under TLS. Default auto.",
    ),
    key(
        "proxy_protocol",
        Kind::Word(&words(&PROXY_PROTOCOLS)),
        "With `protocol: tcp`: the version of the PROXY protocol that tells endpoints who connects. Default none.",
    ),
    key("lb", LB_KIND, "How an endpoint is chosen. Default round_robin."),
    key("circuit_breakers", BREAKERS_KIND, "Concurrency limits."),
    key("outlier_detection", OUTLIER_KIND, "When an endpoint is taken out. Default off."),
    key(
        "tls",
        TLS_KIND,
        "off, mesh (our identity, and any peer of the mesh), system (public authorities), or what the peer must prove. Default mesh with an identity, else off.",
    ),
    key("retry_budget", BUDGET_KIND, "How many retries are allowed. On by default."),
    key(
        "connect_timeout",
        Kind::POSITIVE_TIME,
        "Limit of connecting, the TLS handshake included. Default 5s.",
    ),
    key(
        "idle_timeout",
        Kind::TIME,
        "A connection without calls for this long is closed; 0s: never. Default 1h.",
    ),
    key(
        "max_connection_age",
        Kind::TIME,
        "A connection this old takes no new calls; 0s: never. Default never.",
    ),
    key(
        "max_connection_age_jitter",
        Kind::PERCENT,
        "That limit is shortened by up to this percentage. Default 10.",
    ),
    key(
        "max_requests_per_connection",
        Kind::U32,
        "A connection that took this many calls takes no more; 0: no limit.",
    ),
    key("keepalive", Kind::Mapping(&KEEPALIVE), "HTTP/2 PINGs."),
    key(
        "max_concurrent_streams",
        Kind::POSITIVE,
        "HTTP/2: most streams on one connection. Default 1024.",
    ),
    key(
        "happy_eyeballs_delay",
        Kind::TIME,
        "Head start of the first address family. Default 250ms.",
    ),
    key(
        "max_response_head",
        Kind::Count { least: 1024, most: 16 * 1024 * 1024 },
        "Largest response head, in bytes. Default 65536.",
    ),
    key(
        "max_response_headers",
        Kind::Count { least: 1, most: MOST_HEADERS as i64 },
        "The most headers of a response. Default 100.",
    ),
];

static CLUSTER: Shape = Shape::new("cluster", &[SOURCE_KEYS, OPTION_KEYS]).exactly_one(&SOURCES);
/// One cluster.
pub(super) static CLUSTER_KIND: Kind = Kind::Mapping(&CLUSTER);
/// `defaults.cluster`.
pub(super) static CLUSTER_DEFAULTS: Shape = Shape::new("cluster_defaults", &[OPTION_KEYS]);
static CLUSTER_DEFAULTS_KIND: Kind = Kind::Mapping(&CLUSTER_DEFAULTS);

/// A cluster with the places that lints point at.
pub(super) struct ClusterSite<'n> {
    pub(super) name: Span,
    pub(super) node: &'n Node,
    pub(super) value: ClusterUpdate,
    pub(super) addresses: Vec<(Address, Span)>,
}

impl ClusterSite<'_> {
    /// The key of the cluster, or its name when it has no such key itself.
    pub(super) fn key_span(&self, key: &str) -> Span {
        self.node.get(key).map_or(self.name, |entry| entry.key_span)
    }

    /// Number of endpoints, when the configuration says it.
    pub(super) fn endpoints(&self) -> Option<usize> {
        self.value.endpoints.as_ref().map(|endpoints| endpoints.len())
    }
}

/// Reads one cluster.
pub(super) fn cluster<'n>(
    reader: &mut Reader<'_>,
    entry: &'n Entry,
    defaults: Option<&'n Node>,
) -> Option<ClusterSite<'n>> {
    reader.check_name(&entry.key, entry.key_span);
    let fields = Fields::open(reader, &entry.value, &CLUSTER_KIND)?.or(defaults);
    let mut cluster = Cluster::new(&*entry.key);
    fields.exactly_one(reader, &SOURCES, (code::MISSING_KEY, code::CONFLICTING_KEYS));
    let (discovery, assignment) = source(reader, &fields);
    cluster.discovery = discovery;
    options(reader, &fields, &mut cluster);
    let mut addresses = Vec::new();
    let drops: Option<Vec<DropOverload>> = fields.read(reader, "drop_overloads");
    if let (None, Some(dropping)) = (&assignment, entry.value.get("drop_overloads")) {
        let message = "`drop_overloads` is about endpoints that are listed".to_owned();
        let finding = reader.report.add(code::CONFLICTING_KEYS, dropping.key_span, message);
        finding.suggest("list them with `endpoints` or `localities`, or drop nothing");
    }
    let endpoints = assignment.map(|mut assignment| {
        let mut endpoints = assignment.finish(reader, entry.key_span);
        endpoints.drop_overloads = drops.unwrap_or_default();
        addresses = assignment.addresses;
        Arc::new(endpoints)
    });
    let value = ClusterUpdate::new(Arc::new(cluster), endpoints);
    Some(ClusterSite { name: entry.key_span, node: &entry.value, value, addresses })
}

fn source(reader: &mut Reader<'_>, fields: &Fields<'_>) -> (Discovery, Option<Assignment>) {
    let flat = fields.value("endpoints");
    let flat = flat.map(|(node, kind)| Assignment::flat(reader, node, kind));
    let placed = fields.value("localities");
    let placed = placed.map(|(node, kind)| Assignment::by_locality(reader, node, kind));
    let strict = fields.value("dns").and_then(|(node, kind)| dns(reader, node, kind, false));
    let logical =
        fields.value("logical_dns").and_then(|(node, kind)| dns(reader, node, kind, true));
    let discovery = strict
        .map(Discovery::StrictDns)
        .or_else(|| logical.map(Discovery::LogicalDns))
        .unwrap_or(Discovery::Static);
    (discovery, flat.or(placed))
}

/// Reads what may come from `defaults`.
fn options(reader: &mut Reader<'_>, fields: &Fields<'_>, cluster: &mut Cluster) {
    if let Some((node, kind)) = fields.value("protocol") {
        cluster.protocol = word(reader, node, kind, &PROTOCOLS).unwrap_or_default();
    }
    if let Some((node, kind)) = fields.value("proxy_protocol") {
        cluster.proxy_protocol = word(reader, node, kind, &PROXY_PROTOCOLS);
        if cluster.protocol != Protocol::Tcp {
            let why = "without `protocol: tcp`: connections for calls are shared";
            fields.misplaced(reader, &["proxy_protocol"], why);
        }
    }
    fields.set(reader, "lb", &mut cluster.lb_policy);
    fields.set(reader, "circuit_breakers", &mut cluster.circuit_breakers);
    if let Some(Detection(detection)) = fields.read(reader, "outlier_detection") {
        cluster.outlier_detection = detection;
    }
    cluster.tls = fields.read(reader, "tls").unwrap_or_else(|| tls::default_policy(reader));
    fields.set(reader, "retry_budget", &mut cluster.retry_budget);
    connection(reader, fields, &mut cluster.connection);
}

fn connection(reader: &mut Reader<'_>, fields: &Fields<'_>, options: &mut ConnectionOptions) {
    fields.set(reader, "connect_timeout", &mut options.connect_timeout);
    fields.set(reader, "idle_timeout", &mut options.idle_timeout);
    fields.set(reader, "max_connection_age", &mut options.max_connection_age);
    fields.set(reader, "max_connection_age_jitter", &mut options.max_connection_age_jitter);
    fields.set(reader, "max_requests_per_connection", &mut options.max_requests_per_connection);
    fields.set(reader, "max_concurrent_streams", &mut options.max_concurrent_streams);
    fields.set(reader, "happy_eyeballs_delay", &mut options.happy_eyeballs_delay);
    fields.set(reader, "max_response_head", &mut options.max_response_head);
    fields.set(reader, "max_response_headers", &mut options.max_response_headers);
    let Some((node, kind)) = fields.value("keepalive") else { return };
    let Some(fields) = Fields::open(reader, node, kind) else { return };
    fields.set(reader, "interval", &mut options.keepalive_interval);
    fields.set(reader, "timeout", &mut options.keepalive_timeout);
    fields.set(reader, "while_idle", &mut options.keepalive_while_idle);
}

/// Checks `defaults.cluster`, whether or not a cluster takes something from it.
pub(super) fn check_defaults(reader: &mut Reader<'_>, node: &Node) {
    if let Some(fields) = Fields::open(reader, node, &CLUSTER_DEFAULTS_KIND) {
        options(reader, &fields, &mut Cluster::new(""));
    }
}
