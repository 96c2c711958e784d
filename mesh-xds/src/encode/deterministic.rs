//! The same bytes for the same content.
//!
//! Replicas of a control plane must agree on versions, which are hashes of bytes, and Rust's hash maps
//! have another order in every process. Protobuf's own "deterministic serialization" sorts the entries
//! of maps; here the encoded bytes are sorted in place. Only maps that can hold several entries are
//! looked for: the fields of our words, and what endpoints and their clusters say of how they are secured. Entries of one map are adjacent, and sorting changes no length.

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use envoy_types::pb::envoy::config::listener::v3::Listener;
use envoy_types::pb::envoy::config::route::v3::RouteConfiguration;
use prost::Message;
use prost::encoding::{WireType, decode_key, decode_varint};
use std::ops::Range;

/// The fields of a message that lead to a map, by number.
type Shape = &'static [(u32, Inside)];

#[derive(Clone, Copy)]
enum Inside {
    /// A message.
    Message(&'static Shape),
    /// The entries of a map, whose values are messages.
    Entries(&'static Shape),
    /// An `Any`, of one of these types.
    Any(&'static [(&'static str, Shape)]),
    /// The entries of a map, whose values are such ones.
    AnyEntries(&'static [(&'static str, Shape)]),
}

static CLUSTER: Shape = &[(25, Inside::Message(&METADATA)), (43, Inside::Message(&TLS_MATCH))];
static TLS_MATCH: Shape = &[(2, Inside::Message(&STRUCT))];
static ASSIGNMENT: Shape = &[(2, Inside::Message(&LOCALITY))];
static LOCALITY: Shape = &[(2, Inside::Message(&LB_ENDPOINT)), (9, Inside::Message(&METADATA))];
static LB_ENDPOINT: Shape = &[(3, Inside::Message(&METADATA))];
static ROUTE_CONFIGURATION: Shape =
    &[(2, Inside::Message(&VIRTUAL_HOST)), (17, Inside::Message(&METADATA))];
static VIRTUAL_HOST: Shape = &[
    (3, Inside::Message(&ROUTE)),
    (15, Inside::AnyEntries(OVERRIDES)),
    (24, Inside::Message(&METADATA)),
];
static ROUTE: Shape = &[(4, Inside::Message(&METADATA)), (13, Inside::AnyEntries(OVERRIDES))];
static OVERRIDES: &[(&str, Shape)] = &[
    ("envoy.extensions.filters.http.rbac.v3.RBACPerRoute", &[(2, Inside::Message(&RBAC_FILTER))]),
    (
        "envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute",
        &[(2, Inside::Message(&CHECK_SETTINGS))],
    ),
];
static CHECK_SETTINGS: Shape = &[(1, Inside::Entries(&NOTHING))];
static RBAC_FILTER: Shape = &[(1, Inside::Message(&RBAC)), (2, Inside::Message(&RBAC))];
static RBAC: Shape = &[(2, Inside::Entries(&NOTHING))];
static NOTHING: Shape = &[];
static LISTENER: Shape = &[
    (3, Inside::Message(&FILTER_CHAIN)),
    (6, Inside::Message(&METADATA)),
    (25, Inside::Message(&FILTER_CHAIN)),
];
static FILTER_CHAIN: Shape =
    &[(3, Inside::Message(&NETWORK_FILTER)), (5, Inside::Message(&METADATA))];
static NETWORK_FILTER: Shape = &[(4, Inside::Any(NETWORK_FILTERS))];
static NETWORK_FILTERS: &[(&str, Shape)] = &[
    ("envoy.extensions.filters.network.rbac.v3.RBAC", RBAC_FILTER),
    (
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        &[(4, Inside::Message(&ROUTE_CONFIGURATION)), (5, Inside::Message(&HTTP_FILTER))],
    ),
];
static HTTP_FILTER: Shape = &[(4, Inside::Any(HTTP_FILTERS))];
static HTTP_FILTERS: &[(&str, Shape)] = &[
    ("envoy.extensions.filters.http.rbac.v3.RBAC", RBAC_FILTER),
    (
        "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
        &[(1, Inside::Entries(&NOTHING)), (5, Inside::Entries(&NOTHING))],
    ),
];
static METADATA: Shape = &[(1, Inside::Entries(&STRUCT))];
static STRUCT: Shape = &[(1, Inside::Entries(&VALUE))];
static VALUE: Shape = &[(5, Inside::Message(&STRUCT)), (6, Inside::Message(&LIST))];
static LIST: Shape = &[(1, Inside::Message(&VALUE))];

/// The bytes of a cluster.
pub(super) fn cluster(message: &Cluster) -> Vec<u8> {
    let mut bytes = message.encode_to_vec();
    sort(&mut bytes, CLUSTER);
    bytes
}

/// The bytes of endpoints.
pub(super) fn endpoints(message: &ClusterLoadAssignment) -> Vec<u8> {
    let mut bytes = message.encode_to_vec();
    sort(&mut bytes, ASSIGNMENT);
    bytes
}

/// The bytes of a listener.
pub(super) fn listener(message: &Listener) -> Vec<u8> {
    let mut bytes = message.encode_to_vec();
    sort(&mut bytes, LISTENER);
    bytes
}

/// The bytes of a route configuration.
pub(super) fn route_configuration(message: &RouteConfiguration) -> Vec<u8> {
    let mut bytes = message.encode_to_vec();
    sort(&mut bytes, ROUTE_CONFIGURATION);
    bytes
}

/// Sorts the entries of the maps in a message, by their bytes; what can't be read is left alone.
///
/// It goes as deep as our words do, which are made in [`words`](super::words).
fn sort(message: &mut [u8], shape: Shape) {
    let mut entries: Vec<Range<usize>> = Vec::new();
    let mut at = 0;
    while let Some(field) = field(message, at) {
        at = field.value.end;
        match shape.iter().find(|(number, _)| *number == field.number) {
            Some((_, Inside::Message(inner))) => sort(&mut message[field.value], inner),
            Some((_, Inside::Entries(inner))) => {
                entries.push(field.start..field.value.end);
                in_entry(&mut message[field.value], |value| sort(value, inner));
            }
            Some((_, Inside::Any(types))) => sort_any(&mut message[field.value], types),
            Some((_, Inside::AnyEntries(types))) => {
                entries.push(field.start..field.value.end);
                in_entry(&mut message[field.value], |value| sort_any(value, types));
            }
            None => {}
        }
    }
    let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return };
    let whole = first.start..last.end;
    let mut sorted: Vec<&[u8]> = entries.iter().map(|entry| &message[entry.clone()]).collect();
    sorted.sort_unstable();
    let sorted = sorted.concat();
    if sorted.len() == whole.len() {
        message[whole].copy_from_slice(&sorted);
    }
}

/// Hands on the value of a map's entry (protobuf: field 2).
fn in_entry(entry: &mut [u8], mut inside: impl FnMut(&mut [u8])) {
    let mut at = 0;
    while let Some(field) = field(entry, at) {
        at = field.value.end;
        if field.number == 2 {
            inside(&mut entry[field.value]);
        }
    }
}

/// Sorts what an `Any` holds, if it is one of `types`.
fn sort_any(any: &mut [u8], types: &[(&str, Shape)]) {
    let url = field(any, 0).filter(|field| field.number == 1).map(|field| field.value);
    let url = url.and_then(|url| std::str::from_utf8(&any[url]).ok());
    let name = url.and_then(|url| url.rsplit('/').next());
    if let Some((_, shape)) = types.iter().find(|(known, _)| Some(*known) == name) {
        in_entry(any, |value| sort(value, shape));
    }
}

struct Field {
    number: u32,
    /// Where its key begins.
    start: usize,
    /// Its bytes, without key and length.
    value: Range<usize>,
}

/// The field that begins at `start`; `None` at the end, and where it can't be read.
fn field(message: &[u8], start: usize) -> Option<Field> {
    let mut rest = message.get(start..).filter(|rest| !rest.is_empty())?;
    let (number, wire) = decode_key(&mut rest).ok()?;
    let length = match wire {
        WireType::LengthDelimited => usize::try_from(decode_varint(&mut rest).ok()?).ok()?,
        WireType::Varint => {
            decode_varint(&mut rest).ok()?;
            0
        }
        WireType::SixtyFourBit => 8,
        WireType::ThirtyTwoBit => 4,
        WireType::StartGroup | WireType::EndGroup => return None,
    };
    let begin = message.len() - rest.len();
    let end = begin.checked_add(length).filter(|end| *end <= message.len())?;
    Some(Field { number, start, value: begin..end })
}
