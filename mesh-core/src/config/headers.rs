//! `headers`: edits of requests and responses.
//!
//! Of one level, removals come first, then `set`, `replace`, `add`, `append`, each in the order
//! written.

use super::fields::Fields;
use super::matcher::named;
use super::node::Node;
use super::reader::Reader;
use super::shape::{Kind, Shape, key};
use super::value::{Value, header_name};
use crate::model::{AppendAction, HeaderMutation, HeaderMutations};
use http::HeaderName;

const VALUES: Kind = Kind::Named(&Kind::OneOrMany(&Kind::Text));

static EDITS: Shape = Shape::new(
    "header_edits",
    &[&[
        key("remove", Kind::OneOrMany(&Kind::Text), "Takes headers away."),
        key("set", VALUES, "Replaces a header, or adds it."),
        key("replace", VALUES, "Replaces a header where it is there."),
        key("add", VALUES, "Adds a header where it is not there."),
        key("append", VALUES, "Adds a value to those that are there."),
    ]],
);

/// `headers` of a route configuration, virtual host, route or part of a split.
pub(super) static HEADERS: Shape = Shape::new(
    "headers",
    &[&[
        key("request", Kind::Mapping(&EDITS), "Edits of the request's headers."),
        key("response", Kind::Mapping(&EDITS), "Edits of the response's headers."),
    ]],
);

const ADDITIONS: [(&str, AppendAction); 4] = [
    ("set", AppendAction::OverwriteIfExistsOrAdd),
    ("replace", AppendAction::OverwriteIfExists),
    ("add", AppendAction::AddIfAbsent),
    ("append", AppendAction::AppendIfExistsOrAdd),
];

impl Value for HeaderMutations {
    fn read(reader: &mut Reader<'_>, node: &Node, kind: &'static Kind) -> Option<Self> {
        let fields = Fields::open(reader, node, kind)?;
        let edits = |reader: &mut Reader<'_>, name| {
            let found = fields.value(name).and_then(|(node, kind)| edits(reader, node, kind));
            found.unwrap_or_default()
        };
        Some(Self { request: edits(reader, "request"), response: edits(reader, "response") })
    }
}

fn edits(reader: &mut Reader<'_>, node: &Node, kind: &'static Kind) -> Option<Vec<HeaderMutation>> {
    let fields = Fields::open(reader, node, kind)?;
    let removed: Option<Vec<HeaderName>> = fields.read(reader, "remove");
    let mut edits: Vec<_> = removed.into_iter().flatten().map(HeaderMutation::Remove).collect();
    for (name, action) in ADDITIONS {
        let Some((node, kind)) = fields.value(name) else { continue };
        let Some(inner) = kind.named() else { continue };
        for entry in named(reader, node).unwrap_or_default() {
            let name = header_name(reader, &entry.key, entry.key_span);
            let values: Option<Vec<_>> = Value::read(reader, &entry.value, inner);
            let (Some(name), Some(values)) = (name, values) else { continue };
            edits.extend(values.into_iter().enumerate().map(|(index, value)| {
                // The first value of `set: [a, b]` takes the old ones' place, the others join it.
                let action = if index == 0 { action } else { AppendAction::AppendIfExistsOrAdd };
                HeaderMutation::Append { name: name.clone(), value, action }
            }));
        }
    }
    Some(edits)
}
