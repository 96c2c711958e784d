//! `split` and `split_by`: several clusters by weight.
//!
//! `split: { v1: 90, v2: 10 }`, or a list of `{ cluster, weight, headers }`. `split_by` says how the
//! draw is made: `random` (the default), hash inputs (a user stays on one side while weights stand),
//! or `{ header_value: NAME }`, where the header's number is the draw itself.

use super::fields::Fields;
use super::hash::{HASH, HASH_INPUT};
use super::headers;
use super::node::{Content, Node};
use super::shape::{Kind, Shape, key};
use super::value::Value;
use super::{code, reader::Reader};
use crate::model::{HeaderMutations, Split, SplitBy, SplitCluster};
use std::sync::Arc;

static PART: Shape = Shape::new(
    "split_cluster",
    &[&[
        key("cluster", Kind::Text, "The cluster.").required(),
        key("weight", Kind::U32, "Its share; 0: none.").required(),
        key("headers", Kind::Mapping(&headers::HEADERS), "Header edits of this part."),
    ]],
);

/// `split` of a route.
pub(super) const SPLIT: Kind =
    Kind::Either(&[Kind::Named(&Kind::U32), Kind::List(&Kind::Mapping(&PART))]);

static HEADER_VALUE: Shape = Shape::new(
    "split_by_header_value",
    &[&[key("header_value", Kind::Text, "The header whose number is the draw.").required()]],
);

/// `split_by` of a route.
pub(super) const SPLIT_BY: Kind = Kind::Either(&[
    Kind::Word(&["random"]),
    Kind::Mapping(&HEADER_VALUE),
    HASH_INPUT,
    Kind::List(&HASH_INPUT),
]);

impl Value for Split {
    fn read(reader: &mut Reader<'_>, node: &Node, kind: &'static Kind) -> Option<Self> {
        let clusters = match &node.content {
            Content::Mapping(_) => by_name(reader, node, kind)?,
            Content::Sequence(_) => Vec::read(reader, node, kind)?,
            Content::Null | Content::Unknown | Content::Scalar { .. } => {
                reader.wrong_type(node, "a mapping of clusters and weights, or a list");
                return None;
            }
        };
        let sum: u64 = clusters.iter().map(|part: &SplitCluster| u64::from(part.weight)).sum();
        let wrong = match sum {
            0 => Some("the weights of this split add up to 0".to_owned()),
            sum if sum > u64::from(u32::MAX) => {
                Some(format!("the weights of this split add up to {sum}, more than {}", u32::MAX))
            }
            _ => None,
        };
        if let Some(message) = wrong {
            reader
                .report
                .add(code::INVALID_WEIGHTS, node.span, message)
                .suggest("only the ratio of weights counts");
        }
        Some(Self::new(clusters))
    }
}

fn by_name(reader: &mut Reader<'_>, node: &Node, kind: &'static Kind) -> Option<Vec<SplitCluster>> {
    let weight = kind.named()?;
    let mut clusters = Vec::new();
    for entry in node.entries() {
        reader.refer(&entry.key, entry.key_span);
        if let Some(weight) = Value::read(reader, &entry.value, weight) {
            clusters.push(SplitCluster::new(&*entry.key, weight));
        }
    }
    // A weight that can't be read is reported; the sum of the others would only mislead.
    (clusters.len() == node.entries().len()).then_some(clusters)
}

impl Value for SplitCluster {
    fn read(reader: &mut Reader<'_>, node: &Node, kind: &'static Kind) -> Option<Self> {
        let fields = Fields::open(reader, node, kind)?;
        let cluster: Option<Arc<str>> = fields.read(reader, "cluster");
        if let (Some(cluster), Some(entry)) = (&cluster, fields.own("cluster")) {
            reader.refer(cluster, entry.value.span);
        }
        let weight = fields.read(reader, "weight");
        let headers: Option<HeaderMutations> = fields.read(reader, "headers");
        let mut part = Self::new(cluster?, weight?);
        part.headers = headers.unwrap_or_default();
        Some(part)
    }
}

impl Value for SplitBy {
    fn read(reader: &mut Reader<'_>, node: &Node, kind: &'static Kind) -> Option<Self> {
        if reader.is_word(node, "random") {
            return Some(Self::Random);
        }
        if node.get("header_value").is_none() {
            return Value::read(reader, node, &HASH).map(Self::Hash);
        }
        let fields = Fields::open(reader, node, kind)?;
        fields.read(reader, "header_value").map(Self::HeaderValue)
    }
}

/// Whether a split was decided: one weight only is not zero. Says which cluster takes all.
pub(super) fn decided(split: &Split) -> Option<&Arc<str>> {
    let mut weighty = split.clusters.iter().filter(|part| part.weight > 0);
    match (weighty.next(), weighty.next()) {
        (Some(only), None) if split.clusters.len() > 1 => Some(&only.cluster),
        _ => None,
    }
}
