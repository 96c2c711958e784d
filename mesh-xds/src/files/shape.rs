//! The shapes that a file of Envoy's has, and the resources in it.
//!
//! | shape | told by | resources |
//! |---|---|---|
//! | bootstrap | `static_resources`, or another field of one | `static_resources`: listeners, clusters, secrets |
//! | response | `resources` | its list; as Envoy's file subscriptions read it |
//! | list | it is a list | its items |
//! | resource | `@type` | itself |
//!
//! What else a bootstrap or a response says is for the process that reads it: it is ignored, and reported.

use super::message::items;
use super::place::same;
use crate::ResourceType;
use crate::decode::support::{self, Support};
use mesh_core::config::foreign::{Content, Entry, Node, Reading, Top, shorten, top_keys};
use std::rc::Rc;

/// A resource of a file, not looked into yet.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) kind: ResourceType,
    pub(super) node: Rc<Node>,
    /// `@type` stands among its fields.
    pub(super) is_any: bool,
}

/// What a text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "closed: one format, the other, or neither")]
pub enum Format {
    /// `mesh.yaml`; also what is no YAML, which its reader can say best.
    MeshYaml,
    /// Envoy's resources.
    Envoy,
    /// Neither.
    Unknown,
}

const BOOTSTRAP: &str = "Bootstrap";
const STATIC: &str = "Bootstrap.StaticResources";
const RESPONSE: &str = "DiscoveryResponse";
/// Keys of `mesh.yaml` that stand at the top, some of them in files of later versions.
const OURS: [&str; 10] = [
    "version",
    "mode",
    "unknown_hosts",
    "defaults",
    "headers",
    "virtual_hosts",
    "clusters",
    "identity",
    "inbound",
    "outbound",
];

/// Tells by the top of a text what it is: the first key that only one of the formats has decides. Nothing
/// is guessed: a text with no such key is [`Format::Unknown`].
#[must_use]
pub fn format(text: &str) -> Format {
    let (mut format, mut is_empty) = (None, true);
    top_keys(text, |top| {
        is_empty = false;
        format = match top {
            Top::List => Some(Format::Envoy),
            Top::Key(key) if OURS.contains(&key) => Some(Format::MeshYaml),
            Top::Key(key) if key == "@type" || is_field(key, &[BOOTSTRAP, RESPONSE]) => {
                Some(Format::Envoy)
            }
            Top::Key(_) | Top::Scalar => None,
        };
        format.is_some()
    });
    let rest = if is_empty { Format::MeshYaml } else { Format::Unknown };
    format.unwrap_or(rest)
}

fn is_field(key: &str, messages: &[&str]) -> bool {
    support::rows().any(|row| messages.contains(&row.message) && same(key, row.field))
}

/// The resources of a document; what is wrong with its shape is reported.
pub(super) fn resources(reading: &mut Reading<'_>, root: &Rc<Node>) -> Vec<Found> {
    let mut found = Vec::new();
    match &root.content {
        Content::Sequence(items) => {
            items.iter().for_each(|item| found.extend(typed(reading, item)));
        }
        Content::Mapping(entries) => match root.get("@type").map(type_name) {
            Some("envoy.config.bootstrap.v3.Bootstrap") => {
                bootstrap(reading, entries, &mut found);
            }
            Some("envoy.service.discovery.v3.DiscoveryResponse") => {
                response(reading, entries, &mut found);
            }
            Some(_) => found.extend(typed(reading, root)),
            None if entries.iter().any(|entry| is_field(&entry.key, &[BOOTSTRAP])) => {
                bootstrap(reading, entries, &mut found);
            }
            None => response(reading, entries, &mut found),
        },
        Content::Null | Content::Unknown | Content::Scalar { .. } => {
            let what = format!("expected a mapping or a list, found {}", root.describe());
            reading.report("wrong_type", root.span, what);
        }
    }
    found
}

fn type_name(entry: &Entry) -> &str {
    let Content::Scalar { text, .. } = &entry.value.content else { return "" };
    text.rsplit('/').next().unwrap_or_default()
}

fn bootstrap(reading: &mut Reading<'_>, entries: &[Entry], found: &mut Vec<Found>) {
    for entry in used(reading, BOOTSTRAP, entries) {
        let Content::Mapping(kinds) = &entry.value.content else {
            wrong_type(reading, &entry.value, "a mapping");
            continue;
        };
        for entry in used(reading, STATIC, kinds) {
            let kind = match &*entry.key {
                "listeners" => ResourceType::Listener,
                "clusters" => ResourceType::Cluster,
                _ => ResourceType::Secret,
            };
            let items = items(&entry.value).iter();
            found.extend(items.map(|item| Found { kind, node: Rc::clone(item), is_any: false }));
        }
    }
}

fn response(reading: &mut Reading<'_>, entries: &[Entry], found: &mut Vec<Found>) {
    for entry in used(reading, RESPONSE, entries) {
        found.extend(items(&entry.value).iter().filter_map(|item| typed(reading, item)));
    }
}

/// The entries that count; the others are reported as ignored or unknown.
fn used<'n>(
    reading: &mut Reading<'_>,
    message: &'static str,
    entries: &'n [Entry],
) -> Vec<&'n Entry> {
    let rows = || support::rows().filter(move |row| row.message == message);
    let mut used = Vec::new();
    for entry in entries.iter().filter(|entry| &*entry.key != "@type") {
        if matches!(entry.value.content, Content::Null) {
            continue;
        }
        match rows().find(|row| same(&entry.key, row.field)) {
            Some(row) if row.support == Support::Used => used.push(entry),
            Some(row) => {
                let what = format!("`{}` does nothing here: {}", row.field, row.note);
                reading.report("ignored_field", entry.key_span, what);
            }
            None => {
                let suggestion = reading.did_you_mean(&entry.key, rows().map(|row| row.field));
                let what = format!("{message} has no field `{}`", shorten(&entry.key));
                reading.report("unknown_key", entry.key_span, what).suggest_if(suggestion);
            }
        }
    }
    used
}

/// A resource that says by `@type` what it is.
fn typed(reading: &mut Reading<'_>, node: &Rc<Node>) -> Option<Found> {
    let Content::Mapping(entries) = &node.content else {
        wrong_type(reading, node, "a resource: a mapping with `@type`");
        return None;
    };
    let Some(entry) = node.get("@type") else {
        let span = entries.first().map_or(node.span, |entry| entry.key_span);
        let what = "there is no `@type`, which says what kind of resource this is";
        reading.report("unknown_type", span, what).suggest(
            "add `\"@type\": type.googleapis.com/envoy.config.cluster.v3.Cluster`, or another kind",
        );
        return None;
    };
    let name = type_name(entry);
    let urls = ResourceType::ALL.map(ResourceType::type_url);
    let kind =
        ResourceType::ALL.into_iter().find(|kind| kind.type_url().rsplit('/').next() == Some(name));
    let Some(kind) = kind else {
        let what = format!("`{}` is no resource that is read here", shorten(name));
        let close = reading
            .did_you_mean(name, urls.iter().filter_map(|url| url.rsplit('/').next()))
            .or_else(|| second_api(name));
        reading.report("unknown_type", entry.value.span, what).suggest_if(close);
        return None;
    };
    Some(Found { kind, node: Rc::clone(node), is_any: true })
}

fn second_api(name: &str) -> Option<String> {
    let is_old = name.starts_with("envoy.api.v2.");
    is_old.then(|| "the second version of Envoy's API is gone: write it in the third".to_owned())
}

fn wrong_type(reading: &mut Reading<'_>, node: &Node, expected: &str) {
    if !matches!(node.content, Content::Unknown) {
        let what = format!("expected {expected}, found {}", node.describe());
        reading.report("wrong_type", node.span, what);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_told_by_their_keys() {
        let table = [
            ("version: 1\nclusters: {}\n", Format::MeshYaml),
            ("x-a: 1\nclusters: {}\n", Format::MeshYaml),
            ("", Format::MeshYaml),
            ("# nothing\n", Format::MeshYaml),
            ("static_resources: {}\n", Format::Envoy),
            ("{\"staticResources\": {}}", Format::Envoy),
            ("node: {}\nadmin: {}\n", Format::Envoy),
            ("resources: []\n", Format::Envoy),
            ("version_info: \"1\"\nresources: []\n", Format::Envoy),
            ("- \"@type\": a\n", Format::Envoy),
            ("name: a\n\"@type\": a\n", Format::Envoy),
            ("kind: Deployment\n", Format::Unknown),
            ("just text", Format::Unknown),
        ];
        for (text, expected) in table {
            assert_eq!(format(text), expected, "{text:?}");
        }
    }
}
