//! A mapping → the bytes of one of Envoy's messages, or everything that is wrong with it.
//!
//! The rules are those of protobuf's JSON mapping: fields by their own name or in camel case, `null` is
//! nothing said, of a `oneof` at most one. What is unknown is an error at its very place. And Envoy's: one
//! item may stand for a list of it, and words of an enumeration be in any case.
//!
//! What it does not do: judge what a message means; that is [`decode`](crate::decode)'s.

use super::scalar::{self, Mismatch};
use super::well_known;
use super::wire::{Fields, Value};
use mesh_core::config::foreign::{Content, Entry, Finding, Node, Reading, Span, shorten};
use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::rc::Rc;

/// Writes one resource.
pub(super) struct Writer<'r, 'a> {
    pub(super) reading: &'r mut Reading<'a>,
    /// The resource, for messages: "cluster `web`".
    label: String,
    path: String,
    /// Something in it is of a type that is not known: it was left out.
    is_opaque: bool,
    /// Where values are wrong and were left out; for a key that no field has, the message around it.
    wrong: Vec<(Wrong, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrong {
    Value,
    Key,
}

impl<'r, 'a> Writer<'r, 'a> {
    /// A writer of the resource that is called `label`.
    pub(super) const fn new(reading: &'r mut Reading<'a>, label: String) -> Self {
        Self { reading, label, path: String::new(), is_opaque: false, wrong: Vec::new() }
    }

    /// Whether the bytes lack something that is in the text.
    pub(super) const fn is_opaque(&self) -> bool {
        self.is_opaque
    }

    pub(super) const fn set_opaque(&mut self) {
        self.is_opaque = true;
    }

    /// Whether what a decoder says of `path` may follow from what is reported already: from a value that
    /// was left out, at, above or below this place, or from a key that was meant for one of these fields.
    pub(super) fn explains(&self, path: &str) -> bool {
        self.wrong.iter().any(|(wrong, place)| match (wrong, within(path, place)) {
            (Wrong::Value, rest) => rest.is_some() || within(place, path).is_some(),
            (Wrong::Key, Some(rest)) => !rest.trim_start_matches('.').contains(['.', '[']),
            (Wrong::Key, None) => false,
        })
    }

    /// Reports something of the field that is being looked at.
    pub(super) fn report(&mut self, code: &str, span: Span, what: impl Display) -> &mut Finding {
        match code {
            "unchecked_content" => {}
            "unknown_key" => self.wrong.push((Wrong::Key, self.path.clone())),
            _ => self.wrong.push((Wrong::Value, self.path.clone())),
        }
        let path = if self.path.is_empty() { String::new() } else { format!("{}: ", self.path) };
        self.reading.report(code, span, format!("{}: {path}{what}", self.label))
    }

    pub(super) fn at<T>(&mut self, field: impl Display, look: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.path.len();
        let text = field.to_string();
        if before > 0 && !text.starts_with('[') {
            self.path.push('.');
        }
        self.path.push_str(&text);
        let result = look(self);
        self.path.truncate(before);
        result
    }

    /// The bytes of a message; of one with mistakes, those of the rest.
    pub(super) fn message(&mut self, node: &Node, message: &MessageDescriptor) -> Vec<u8> {
        match well_known::read(self, node, message) {
            Some(bytes) => bytes,
            None => self.fields(node, message, false),
        }
    }

    /// The bytes of a message by its fields; `within_any`: `@type` stands among them.
    pub(super) fn fields(
        &mut self,
        node: &Node,
        message: &MessageDescriptor,
        within_any: bool,
    ) -> Vec<u8> {
        let Content::Mapping(entries) = &node.content else {
            self.wrong_type(node, &format!("a mapping ({})", message.name()));
            return Vec::new();
        };
        let mut fields = Fields::default();
        let mut seen: BTreeMap<u32, &Entry> = BTreeMap::new();
        let mut chosen: BTreeMap<String, &Entry> = BTreeMap::new();
        for entry in entries {
            if within_any && &*entry.key == "@type" {
                continue;
            }
            let Some(field) = self.field(entry, message) else { continue };
            if let Some(first) = seen.insert(field.number(), entry) {
                // The same spelling twice is a duplicate key, which is reported already.
                if first.key != entry.key {
                    let what = format!("`{}` is there in both spellings", field.name());
                    self.report("conflicting_keys", entry.key_span, what)
                        .suggest("keep one of them")
                        .label(first.key_span, "the other one");
                }
                continue;
            }
            if is_null(&entry.value) && !takes_null(&field) {
                continue;
            }
            if let Some(oneof) = field.containing_oneof()
                && let Some(other) = chosen.insert(oneof.name().to_owned(), entry)
            {
                let what = format!(
                    "`{}` and `{}` exclude each other ({})",
                    other.key,
                    entry.key,
                    oneof.name()
                );
                self.report("conflicting_keys", entry.key_span, what)
                    .suggest("keep one of them")
                    .label(other.key_span, "the other one");
            }
            self.at(field.name(), |writer| writer.put(&mut fields, &field, &entry.value));
        }
        fields.finish()
    }

    /// The field of a key; an error when there is none.
    fn field(&mut self, entry: &Entry, message: &MessageDescriptor) -> Option<FieldDescriptor> {
        let key = &*entry.key;
        let found = message.get_field_by_name(key).or_else(|| message.get_field_by_json_name(key));
        if found.is_none() {
            let names: Vec<FieldDescriptor> = message.fields().collect();
            let names = names.iter().map(FieldDescriptor::name);
            let suggestion = self.reading.did_you_mean(key, names);
            let what = format!("{} has no field `{}`", message.name(), shorten(key));
            self.report("unknown_key", entry.key_span, what).suggest_if(suggestion);
        }
        found
    }

    fn put(&mut self, fields: &mut Fields, field: &FieldDescriptor, node: &Rc<Node>) {
        if field.is_map() {
            self.map(fields, field, node);
        } else if field.is_list() {
            for (index, item) in items(node).iter().enumerate() {
                self.at(format_args!("[{index}]"), |writer| {
                    if let Some(value) = writer.value(&field.kind(), item) {
                        fields.push(field.number(), &value);
                    }
                });
            }
        } else if let Some(value) = self.value(&field.kind(), node) {
            match field.supports_presence() {
                true => fields.push(field.number(), &value),
                false => fields.push_set(field.number(), &value),
            }
        }
    }

    /// A map is a list of messages of a key (1) and a value (2), here in the order of keys.
    fn map(&mut self, fields: &mut Fields, field: &FieldDescriptor, node: &Node) {
        let Kind::Message(pair) = field.kind() else { return };
        let Content::Mapping(entries) = &node.content else {
            self.wrong_type(node, "a mapping");
            return;
        };
        let (key, value) = (pair.map_entry_key_field(), pair.map_entry_value_field());
        let mut pairs = Vec::with_capacity(entries.len());
        for entry in entries {
            self.at(format_args!("[{}]", shorten(&entry.key)), |writer| {
                let found = scalar::value(&key.kind(), &entry.key, true);
                let Some(name) = writer.checked(found, entry.key_span) else { return };
                let Some(content) = writer.value(&value.kind(), &entry.value) else { return };
                let mut pair = Fields::default();
                pair.push_set(1, &name);
                pair.push_set(2, &content);
                pairs.push((entry.key.clone(), Value::message(pair.finish())));
            });
        }
        pairs.sort_by(|(a, _), (b, _)| a.cmp(b));
        pairs.iter().for_each(|(_, pair)| fields.push(field.number(), pair));
    }

    /// One value of a kind; `None`: it is wrong, and reported.
    pub(super) fn value(&mut self, kind: &Kind, node: &Node) -> Option<Value> {
        if let Kind::Message(message) = kind {
            return Some(Value::message(self.message(node, message)));
        }
        match &node.content {
            Content::Scalar { text, plain } => {
                let found = scalar::value(kind, text, *plain);
                self.checked(found, node.span)
            }
            Content::Null | Content::Unknown | Content::Sequence(_) | Content::Mapping(_) => {
                self.wrong_type(node, &expected(kind));
                None
            }
        }
    }

    /// A value, unless it is none: then it is reported.
    pub(super) fn checked<T>(&mut self, found: Result<T, Mismatch>, span: Span) -> Option<T> {
        match found {
            Ok(value) => Some(value),
            Err(Mismatch { code, message, words }) => {
                let word = message.split('`').nth(1).unwrap_or_default().to_owned();
                let close = self.reading.did_you_mean(&word, words.iter().map(String::as_str));
                let listed = (1..=8).contains(&words.len());
                let all = listed.then(|| format!("one of {}", words.join(", ")));
                self.report(code, span, message).suggest_if(close.or(all));
                None
            }
        }
    }

    pub(super) fn wrong_type(&mut self, node: &Node, expected: &str) {
        let suggestion = match &node.content {
            // An alias without an anchor is reported already.
            Content::Unknown => return,
            Content::Null => Some("give a value, or leave it out"),
            Content::Scalar { .. } | Content::Sequence(_) | Content::Mapping(_) => None,
        };
        let what = format!("expected {expected}, found {}", node.describe());
        self.report("wrong_type", node.span, what).suggest_if(suggestion.map(str::to_owned));
    }
}

/// The items of a list; Envoy takes one item for a list of it.
pub(super) fn items(node: &Rc<Node>) -> &[Rc<Node>] {
    match &node.content {
        Content::Sequence(items) => items,
        Content::Null | Content::Unknown | Content::Scalar { .. } | Content::Mapping(_) => {
            std::slice::from_ref(node)
        }
    }
}

/// What `path` has beyond `outer`, if it is that, or a field or item within it.
fn within<'p>(path: &'p str, outer: &str) -> Option<&'p str> {
    let rest = path.strip_prefix(outer)?;
    (rest.is_empty() || outer.is_empty() || rest.starts_with(['.', '['])).then_some(rest)
}

pub(super) const fn is_null(node: &Node) -> bool {
    matches!(node.content, Content::Null)
}

/// `google.protobuf.Value` is the one message that `null` is a value of.
fn takes_null(field: &FieldDescriptor) -> bool {
    matches!(field.kind(), Kind::Message(message) if message.full_name() == "google.protobuf.Value")
}

fn expected(kind: &Kind) -> String {
    match kind {
        Kind::String => "a text".to_owned(),
        Kind::Bytes => "base64".to_owned(),
        Kind::Bool => "`true` or `false`".to_owned(),
        Kind::Enum(words) => format!("a word of {}", words.name()),
        Kind::Message(message) => format!("a mapping ({})", message.name()),
        Kind::Double | Kind::Float => "a number".to_owned(),
        _ => "a whole number".to_owned(),
    }
}
