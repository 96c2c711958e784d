//! The same bytes for the same content.
//!
//! Replicas of a control plane must agree on versions, which are hashes of bytes, and Rust's hash maps
//! have another order in every process. Protobuf's own "deterministic serialization" sorts the entries
//! of maps; here the encoded bytes are sorted in place. Only maps that can hold several entries are
//! looked for: the fields of our words. Entries of one map are adjacent, and sorting changes no length.

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
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
}

static CLUSTER: Shape = &[(25, Inside::Message(&METADATA))];
static ROUTE_CONFIGURATION: Shape =
    &[(2, Inside::Message(&VIRTUAL_HOST)), (17, Inside::Message(&METADATA))];
static VIRTUAL_HOST: Shape = &[(3, Inside::Message(&ROUTE)), (24, Inside::Message(&METADATA))];
static ROUTE: Shape = &[(4, Inside::Message(&METADATA))];
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
                sort_entry(&mut message[field.value], inner);
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

/// Sorts what is inside of the value of a map's entry (protobuf: field 2).
fn sort_entry(entry: &mut [u8], shape: Shape) {
    let mut at = 0;
    while let Some(field) = field(entry, at) {
        at = field.value.end;
        if field.number == 2 {
            sort(&mut entry[field.value], shape);
        }
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
