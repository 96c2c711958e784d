//! `endpoints`, `localities` and `dns`: where a cluster's endpoints come from.
//!
//! `endpoints` is a flat list whose items may say their place and priority; equal ones are grouped.
//! `localities` says the place, priority and weight of a group first.

use super::address::{address, name_and_port};
use super::fields::Fields;
use super::node::{Content, Node, Span};
use super::shape::{Key, Kind, Shape, key, words};
use super::value::word;
use super::{code, reader::Reader};
use crate::model::{
    Address, ClusterLoadAssignment, DnsLookupFamily, DnsOptions, Endpoint, HealthStatus, Locality,
    LocalityEndpoints,
};
use std::sync::Arc;

const FAMILIES: [(&str, DnsLookupFamily); 5] = [
    ("auto", DnsLookupFamily::Auto),
    ("v4_only", DnsLookupFamily::V4Only),
    ("v6_only", DnsLookupFamily::V6Only),
    ("v4_preferred", DnsLookupFamily::V4Preferred),
    ("all", DnsLookupFamily::All),
];
const HEALTH: [(&str, HealthStatus); 6] = [
    ("unknown", HealthStatus::Unknown),
    ("healthy", HealthStatus::Healthy),
    ("unhealthy", HealthStatus::Unhealthy),
    ("draining", HealthStatus::Draining),
    ("timeout", HealthStatus::Timeout),
    ("degraded", HealthStatus::Degraded),
];

const ENDPOINT_KEYS: &[Key] = &[
    key("address", Kind::Text, "`127.0.0.1:80`, `[::1]:80` or `unix:/path`.").required(),
    key("weight", Kind::POSITIVE, "Share of the traffic among its neighbours. Default 1."),
    key(
        "health",
        Kind::Word(&words(&HEALTH)),
        "What is known of its health. Default unknown, which counts as healthy.",
    ),
    key("hostname", Kind::Text, "Its name, for host rewriting, SNI and hashing."),
    key("hash_key", Kind::Text, "What consistent hashing places it by, instead of its address."),
];
const PLACE_KEYS: &[Key] = &[
    key("region", Kind::Text, "Where it is."),
    key("zone", Kind::Text, "Where it is within the region."),
    key("sub_zone", Kind::Text, "Where it is within the zone."),
    key(
        "priority",
        Kind::Count { least: 0, most: 128 },
        "0 is the highest; the next takes over what it can't. Default 0.",
    ),
];

static ENDPOINT: Shape = Shape::new("endpoint", &[ENDPOINT_KEYS, PLACE_KEYS]);
static PLACED_ENDPOINT: Shape = Shape::new("placed_endpoint", &[ENDPOINT_KEYS]);
static LOCALITY: Shape = Shape::new(
    "locality",
    &[
        PLACE_KEYS,
        &[
            key(
                "weight",
                Kind::POSITIVE,
                "Share of its priority's traffic, with locality_weighted. Default 1.",
            ),
            key(
                "endpoints",
                Kind::List(&Kind::Either(&[Kind::Text, Kind::Mapping(&PLACED_ENDPOINT)])),
                "The endpoints of this place.",
            )
            .required(),
        ],
    ],
);
static DNS: Shape = Shape::new(
    "dns",
    &[&[
        key("names", Kind::OneOrMany(&Kind::Text), "`host:port`, one or several.").required(),
        key(
            "refresh_rate",
            Kind::POSITIVE_TIME,
            "Time between two resolutions when the answer has no TTL, and the least time. Default 5s.",
        ),
        key("respect_ttl", Kind::Flag, "Waits for the answer's TTL instead. Default true."),
        key(
            "min_refresh_rate",
            Kind::POSITIVE_TIME,
            "The least time that a TTL makes it wait. Default 5s.",
        ),
        key(
            "lookup_family",
            Kind::Word(&words(&FAMILIES)),
            "Which addresses are used. Default v4_preferred; all for logical_dns.",
        ),
    ]],
);

/// `endpoints` of a cluster.
pub(super) const ENDPOINTS_KIND: Kind =
    Kind::List(&Kind::Either(&[Kind::Text, Kind::Mapping(&ENDPOINT)]));
/// `localities` of a cluster.
pub(super) const LOCALITIES_KIND: Kind = Kind::List(&Kind::Mapping(&LOCALITY));
/// `dns` of a cluster.
pub(super) const DNS_KIND: Kind =
    Kind::Either(&[Kind::OneOrMany(&Kind::Text), Kind::Mapping(&DNS)]);
/// `logical_dns` of a cluster: one name.
pub(super) const LOGICAL_DNS_KIND: Kind = Kind::Either(&[Kind::Text, Kind::Mapping(&DNS)]);

/// A locality with the places of its endpoints.
#[derive(Default)]
pub(super) struct Assignment {
    localities: Vec<LocalityEndpoints>,
    /// Where each address and priority was written.
    pub(super) addresses: Vec<(Address, Span)>,
    priorities: Vec<(u32, Span)>,
}

impl Assignment {
    /// Reads a flat list.
    pub(super) fn flat(reader: &mut Reader<'_>, node: &Node, kind: &'static Kind) -> Self {
        let mut found = Self::default();
        let mut at = std::collections::BTreeMap::new();
        for (item, kind) in items(reader, node, kind) {
            if !reader.admit(item.span) {
                break;
            }
            let Some((endpoint, place)) = endpoint(reader, item, kind, true) else { continue };
            found.addresses.push((endpoint.address.clone(), item.span));
            found.priorities.push((place.priority, item.span));
            let index = *at.entry((place.priority, place.locality.clone())).or_insert_with(|| {
                found.localities.push(place);
                found.localities.len() - 1
            });
            found.localities[index].endpoints.push(endpoint);
        }
        found
    }

    /// Reads a list of localities.
    pub(super) fn by_locality(reader: &mut Reader<'_>, node: &Node, kind: &'static Kind) -> Self {
        let mut found = Self::default();
        for (item, kind) in items(reader, node, kind) {
            let Some(fields) = Fields::open(reader, item, kind) else { continue };
            let mut locality = place(reader, &fields);
            fields.set(reader, "weight", &mut locality.weight);
            found.priorities.push((locality.priority, item.span));
            let Some((node, kind)) = fields.value("endpoints") else { continue };
            for (item, kind) in items(reader, node, kind) {
                if !reader.admit(item.span) {
                    break;
                }
                if let Some((endpoint, _)) = endpoint(reader, item, kind, false) {
                    found.addresses.push((endpoint.address.clone(), item.span));
                    locality.endpoints.push(endpoint);
                }
            }
            found.localities.push(locality);
        }
        found
    }

    /// Checks what concerns the endpoints together, and returns them.
    pub(super) fn finish(&mut self, reader: &mut Reader<'_>, span: Span) -> ClusterLoadAssignment {
        let mut levels = std::mem::take(&mut self.priorities);
        levels.sort_unstable();
        let mut expected = 0;
        for (priority, span) in levels {
            if priority > expected {
                let message = format!("there is priority {priority}, but no priority {expected}");
                reader
                    .report
                    .add(code::PRIORITY_GAP, span, message)
                    .suggest("priorities are levels without gaps: 0, 1, 2, …");
                break;
            }
            expected = priority + 1;
        }
        for locality in &self.localities {
            let sum: u64 = locality.endpoints.iter().map(|e| u64::from(e.weight)).sum();
            if sum > u64::from(u32::MAX) {
                let message =
                    format!("the weights of a locality add up to {sum}, more than {}", u32::MAX);
                reader
                    .report
                    .add(code::INVALID_WEIGHTS, span, message)
                    .suggest("only the ratio of weights counts");
            }
        }
        let localities = std::mem::take(&mut self.localities);
        let localities = localities.into_iter().map(Arc::new).collect();
        ClusterLoadAssignment { localities, drop_overloads: Vec::new() }
    }
}

fn items<'n>(
    reader: &mut Reader<'_>,
    node: &'n Node,
    kind: &'static Kind,
) -> Vec<(&'n Node, &'static Kind)> {
    match (&node.content, kind.item()) {
        (Content::Sequence(_), Some(kind)) => {
            node.one_or_many().into_iter().map(|item| (item, kind)).collect()
        }
        _ => {
            reader.wrong_type(node, "a list");
            Vec::new()
        }
    }
}

/// An endpoint, and an empty locality of its place.
fn endpoint(
    reader: &mut Reader<'_>,
    node: &Node,
    kind: &'static Kind,
    placed: bool,
) -> Option<(Endpoint, LocalityEndpoints)> {
    if matches!(node.content, Content::Scalar { .. }) {
        let address = address(reader, node)?;
        return Some((Endpoint::new(address), LocalityEndpoints::new(Locality::default())));
    }
    let fields = Fields::open(reader, node, kind)?;
    let address = fields.value("address").and_then(|(node, _)| address(reader, node));
    let mut weight = 1;
    fields.set(reader, "weight", &mut weight);
    let health = fields.value("health").and_then(|(node, kind)| word(reader, node, kind, &HEALTH));
    let hostname = fields.read(reader, "hostname");
    let hash_key = fields.read(reader, "hash_key");
    let around =
        if placed { place(reader, &fields) } else { LocalityEndpoints::new(Locality::default()) };
    let mut endpoint = Endpoint::new(address?);
    endpoint.weight = weight;
    endpoint.health = health.unwrap_or_default();
    endpoint.hostname = hostname;
    endpoint.hash_key = hash_key;
    Some((endpoint, around))
}

fn place(reader: &mut Reader<'_>, fields: &Fields<'_>) -> LocalityEndpoints {
    let mut locality = Locality::default();
    fields.set(reader, "region", &mut locality.region);
    fields.set(reader, "zone", &mut locality.zone);
    fields.set(reader, "sub_zone", &mut locality.sub_zone);
    let mut endpoints = LocalityEndpoints::new(locality);
    fields.set(reader, "priority", &mut endpoints.priority);
    endpoints
}

/// Reads `dns` or, with `single`, `logical_dns`.
pub(super) fn dns(
    reader: &mut Reader<'_>,
    node: &Node,
    kind: &'static Kind,
    single: bool,
) -> Option<DnsOptions> {
    let mut options = DnsOptions::new("", 0);
    options.names.clear();
    let mut names = node;
    if let Content::Mapping(_) = node.content {
        let fields = Fields::open(reader, node, kind)?;
        fields.set(reader, "refresh_rate", &mut options.refresh_rate);
        fields.set(reader, "respect_ttl", &mut options.respect_ttl);
        fields.set(reader, "min_refresh_rate", &mut options.min_refresh_rate);
        if let Some((node, kind)) = fields.value("lookup_family") {
            options.lookup_family = word(reader, node, kind, &FAMILIES);
        }
        names = fields.value("names")?.0;
    }
    let items = names.one_or_many();
    options.names = items.iter().filter_map(|item| name_and_port(reader, item)).collect();
    if items.is_empty() || (single && items.len() > 1) {
        let message = if single { "there must be exactly one name" } else { "there is no name" };
        reader.report.add(code::OUT_OF_RANGE, names.span, message);
    }
    Some(options)
}
