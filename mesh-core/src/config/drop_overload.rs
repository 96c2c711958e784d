//! `drop_overloads`: shares of a cluster's attempts that are dropped.

use super::fields::Fields;
use super::node::Node;
use super::reader::Reader;
use super::shape::{Kind, Shape, key};
use super::value::Value;
use crate::model::{DropOverload, Fraction};
use std::sync::Arc;

static DROP_OVERLOAD: Shape = Shape::new(
    "drop_overload",
    &[&[
        key("category", Kind::Text, "Why, for errors and metrics.").required(),
        key("drop_percentage", Kind::Share, "How much of what earlier ones leave.").required(),
    ]],
);

/// `drop_overloads` of a cluster.
pub(super) const DROP_OVERLOADS_KIND: Kind = Kind::List(&Kind::Mapping(&DROP_OVERLOAD));

impl Value for DropOverload {
    fn read(reader: &mut Reader<'_>, node: &Node, kind: &'static Kind) -> Option<Self> {
        let fields = Fields::open(reader, node, kind)?;
        let category: Option<Arc<str>> = fields.read(reader, "category");
        let share: Option<Fraction> = fields.read(reader, "drop_percentage");
        Some(Self::new(category?, share?))
    }
}
