//! Where a field that a decoder names stands in the text.
//!
//! Decoders say `virtual_hosts[0].routes[3].match`, texts say `virtualHosts:` or `virtual_hosts:`; what an
//! `Any` holds stands beside its `@type` in both. The walk goes as deep as the text does: a field that is
//! missing is marked where it would be.

use mesh_core::config::foreign::{Content, Entry, Node, Span};
use std::collections::BTreeMap;

/// The place of `path` within `node`.
pub(super) fn of(node: &Node, path: &str) -> Span {
    let mut at = node;
    let mut span = start(node);
    for step in steps(path) {
        match (step, &at.content) {
            (Step::Field(name), Content::Mapping(entries)) => {
                let Some(entry) = entries.iter().find(|entry| same(&entry.key, name)) else {
                    break;
                };
                (at, span) = (&entry.value, mark(entry));
            }
            (Step::Index(text), Content::Sequence(items)) => {
                let item = text.parse::<usize>().ok().and_then(|index| items.get(index));
                let Some(item) = item else { break };
                (at, span) = (item, start(item));
            }
            (Step::Index(text), Content::Mapping(entries)) => {
                // Without such a key it is the one item that stands for a list.
                if let Some(entry) = entries.iter().find(|entry| *entry.key == *text) {
                    (at, span) = (&entry.value, mark(entry));
                }
            }
            _ => break,
        }
    }
    span
}

/// The text of a field of fields: `address`, `socket_address`.
pub(super) fn text<'n>(node: &'n Node, path: &[&str]) -> Option<&'n str> {
    let (mut at, mut text) = (node, None);
    for field in path {
        let entry = at.entries().iter().find(|entry| same(&entry.key, field))?;
        at = &entry.value;
        text = match &at.content {
            Content::Scalar { text, .. } => Some(&**text),
            Content::Null | Content::Unknown | Content::Sequence(_) | Content::Mapping(_) => None,
        };
    }
    text
}

/// Fields that name other resources; what is within `clusters` of a split, and within what names secrets, has
/// its name in `name`.
const REFERENCES: [&str; 6] = [
    "cluster",
    "clusters",
    "route_config_name",
    "service_name",
    "tls_certificate_sds_secret_configs",
    "validation_context_sds_secret_config",
];

/// Where other resources are named: each name's first place.
pub(super) fn references(node: &Node) -> BTreeMap<&str, Span> {
    let mut found = BTreeMap::new();
    collect(node, false, &mut found);
    found
}

fn collect<'n>(node: &'n Node, is_reference: bool, found: &mut BTreeMap<&'n str, Span>) {
    match &node.content {
        Content::Scalar { text, .. } if is_reference => {
            found.entry(text).or_insert(node.span);
        }
        Content::Sequence(items) => {
            items.iter().for_each(|item| collect(item, is_reference, found));
        }
        Content::Mapping(entries) => entries.iter().for_each(|entry| {
            let refers = REFERENCES.iter().any(|field| same(&entry.key, field));
            collect(&entry.value, is_reference || refers, found);
        }),
        Content::Null | Content::Unknown | Content::Scalar { .. } => {}
    }
}

/// A value that fits on a line is marked itself, else its key is.
fn mark(entry: &Entry) -> Span {
    match entry.value.content {
        Content::Scalar { .. } => entry.value.span,
        Content::Null | Content::Unknown | Content::Sequence(_) | Content::Mapping(_) => {
            entry.key_span
        }
    }
}

/// Of a mapping its first key, else the whole.
fn start(node: &Node) -> Span {
    node.entries().first().map_or(node.span, |entry| entry.key_span)
}

/// Whether a key is a field's name, in either spelling.
pub(super) fn same(key: &str, name: &str) -> bool {
    letters(key).eq(letters(name))
}

fn letters(text: &str) -> impl Iterator<Item = u8> + '_ {
    text.bytes().filter(|byte| *byte != b'_').map(|byte| byte.to_ascii_lowercase())
}

#[derive(Debug, PartialEq, Eq)]
enum Step<'p> {
    Field(&'p str),
    Index(&'p str),
}

/// `a.b[c.d][0]` is a, b, \[c.d\], \[0\].
fn steps(path: &str) -> Vec<Step<'_>> {
    let mut steps = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix('[') {
            let (index, after) = inner.split_once(']').unwrap_or((inner, ""));
            steps.push(Step::Index(index));
            rest = after.strip_prefix('.').unwrap_or(after);
        } else {
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            let (field, after) = rest.split_at(end);
            steps.push(Step::Field(field));
            rest = after.strip_prefix('.').unwrap_or(after);
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use mesh_core::config::foreign::Reading;
    use mesh_core::config::{Bounds, Document};

    #[test]
    fn paths_lead_to_places() {
        let text = "name: web\nfilterChains:\n- filters:\n  - typed_config: { rds: { a.b: [x] } }\n\
                    clusters: [{ name: web }]\n";
        let documents = [Document { name: "a.yaml", text }];
        let root = Reading::new(&documents, Bounds::default()).parse(0).unwrap();
        let shown = |path| {
            let span = of(&root, path);
            &text[span.start as usize..span.end as usize]
        };
        assert_eq!(shown(""), "name");
        assert_eq!(shown("name"), "web");
        assert_eq!(shown("filter_chains[0].filters[0].typed_config.rds"), "rds");
        assert_eq!(shown("filter_chains[0].filters[0].typed_config.rds[a.b][0]"), "x");
        assert_eq!(shown("filter_chains[0].name"), "filters", "what is missing");
        assert_eq!(shown("filter_chains[7]"), "filterChains");
        let last = text.rfind("web").and_then(|at| u32::try_from(at).ok());
        let named = references(&root);
        assert_eq!(named.get("web").map(|span| span.start), last);
        assert_eq!(named.get("x"), None, "no name of another");
    }
}
