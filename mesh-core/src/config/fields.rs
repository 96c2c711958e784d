//! [`Fields`]: the keys of one mapping, read by name against the table of its [`Shape`].

use super::node::{Content, Entry, Node, Span};
use super::shape::{Key, Kind, Shape};
use super::{code, code::CodeExplanation, node::shorten, reader::Reader, value::Value};
use std::cell::Cell;

/// A mapping whose keys are known to be allowed.
///
/// In debug builds, dropping it asserts that each key of the table was asked for: a key that the
/// schema offers and the reader forgets can't stay unnoticed.
pub(super) struct Fields<'n> {
    node: &'n Node,
    shape: &'static Shape,
    fallback: Option<&'n Node>,
    asked: Cell<u64>,
}

impl<'n> Fields<'n> {
    /// The keys of `node`, which must be a mapping of the shape in `kind`. Unknown and missing keys
    /// are reported; what is left can still be read.
    pub(super) fn open(
        reader: &mut Reader<'_>,
        node: &'n Node,
        kind: &'static Kind,
    ) -> Option<Self> {
        let shape = kind.shape();
        debug_assert!(shape.is_some(), "this kind of value has no keys");
        let shape = shape?;
        let Content::Mapping(entries) = &node.content else {
            reader.wrong_type(node, "a mapping");
            return None;
        };
        for entry in entries {
            check_key(reader, entry, shape);
        }
        for key in shape.keys().filter(|key| key.required && node.get(key.name).is_none()) {
            let message = format!("the key `{}` is missing", key.name);
            reader.report.add(code::MISSING_KEY, node.span, message);
        }
        Some(Self { node, shape, fallback: None, asked: Cell::new(0) })
    }

    /// Keys that are not here are looked up there.
    pub(super) fn or(mut self, fallback: Option<&'n Node>) -> Self {
        self.fallback = fallback;
        self
    }

    pub(super) const fn span(&self) -> Span {
        self.node.span
    }

    fn key(&self, name: &str) -> Option<&'static Key> {
        let found = self.shape.keys().enumerate().find(|(_, key)| key.name == name);
        debug_assert!(found.is_some(), "`{name}` is not in the table of {}", self.shape.title);
        let (index, key) = found?;
        self.asked.set(self.asked.get() | (1 << index));
        Some(key)
    }

    /// Marks keys as asked for that are read elsewhere.
    pub(super) fn skip(&self, names: &[&str]) {
        for name in names {
            let _ = self.key(name);
        }
    }

    /// The entry under `name` in this mapping itself.
    pub(super) fn own(&self, name: &str) -> Option<&'n Entry> {
        self.key(name)?;
        self.node.get(name)
    }

    /// The value under `name`, here or in the fallback, and its kind.
    pub(super) fn value(&self, name: &str) -> Option<(&'n Node, &'static Kind)> {
        let key = self.key(name)?;
        let entry = self.node.get(name).or_else(|| self.fallback?.get(name))?;
        Some((&entry.value, &key.kind))
    }

    /// The value under `name`, when it is there and right.
    pub(super) fn read<T: Value>(&self, reader: &mut Reader<'_>, name: &str) -> Option<T> {
        let (node, kind) = self.value(name)?;
        T::read(reader, node, kind)
    }

    /// Puts the value under `name` into `target`, when it is there and right.
    pub(super) fn set<T: Value>(&self, reader: &mut Reader<'_>, name: &str, target: &mut T) {
        if let Some(value) = self.read(reader, name) {
            *target = value;
        }
    }

    /// As [`set`](Self::set), where the target may be without a value.
    pub(super) fn set_some<T: Value>(
        &self,
        reader: &mut Reader<'_>,
        name: &str,
        target: &mut Option<T>,
    ) {
        if let Some(value) = self.read(reader, name) {
            *target = Some(value);
        }
    }

    /// As [`set_some`](Self::set_some), where the word `off` takes the value away.
    pub(super) fn set_or_off<T: Value>(
        &self,
        reader: &mut Reader<'_>,
        name: &str,
        target: &mut Option<T>,
    ) {
        match self.value(name) {
            Some((node, _)) if reader.is_word(node, "off") => *target = None,
            _ => self.set_some(reader, name, target),
        }
    }

    /// Which of `names` are in this mapping itself.
    pub(super) fn present(&self, names: &[&'static str]) -> Vec<&'n Entry> {
        names.iter().filter_map(|name| self.own(name)).collect()
    }

    /// The one of `names` that is there. None, or a second one, is reported with the given codes.
    pub(super) fn exactly_one(
        &self,
        reader: &mut Reader<'_>,
        names: &[&'static str],
        (missing, several): (&'static CodeExplanation, &'static CodeExplanation),
    ) -> Option<&'n Entry> {
        let found = self.at_most_one(reader, names, several);
        if found.is_none() {
            let message = format!("one of {} must be there", list(names));
            reader.report.add(missing, self.node.span, message);
        }
        found
    }

    /// The one of `names` that is there, if any. A second one is reported.
    pub(super) fn at_most_one(
        &self,
        reader: &mut Reader<'_>,
        names: &[&'static str],
        several: &'static CodeExplanation,
    ) -> Option<&'n Entry> {
        let mut found = self.present(names);
        found.sort_by_key(|entry| entry.key_span);
        let (first, others) = found.split_first()?;
        for other in others {
            let message = format!("`{}` and `{}` exclude each other", first.key, other.key);
            reader
                .report
                .add(several, other.key_span, message)
                .suggest(format!("keep one of {}", list(names)))
                .label(first.key_span, "the first one");
        }
        Some(first)
    }

    /// Reports those of `names` that are in this mapping itself, because of `why`.
    pub(super) fn misplaced(&self, reader: &mut Reader<'_>, names: &[&'static str], why: &str) {
        for entry in self.present(names) {
            let message = format!("`{}` has no effect {why}", entry.key);
            reader.report.add(code::MISPLACED_KEY, entry.key_span, message).suggest("leave it out");
        }
    }
}

#[cfg(debug_assertions)]
impl Drop for Fields<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        for (index, key) in self.shape.keys().enumerate() {
            let asked = self.asked.get() & (1 << index) != 0;
            debug_assert!(asked, "`{}` of {} is never read", key.name, self.shape.title);
        }
    }
}

fn check_key(reader: &mut Reader<'_>, entry: &Entry, shape: &'static Shape) {
    let known = shape.keys().any(|key| *key.name == *entry.key);
    if known || (shape.extensions && entry.key.starts_with("x-")) {
        return;
    }
    let suggestion = match &*entry.key {
        "<<" => Some("there are no merge keys: use an anchor as the whole value".to_owned()),
        key => reader.did_you_mean(key, shape.keys().map(|key| key.name)).or_else(|| {
            (shape.keys().count() <= 12).then(|| format!("known here: {}", names(shape)))
        }),
    };
    let message = format!("unknown key `{}`", shorten(&entry.key));
    reader.report.add(code::UNKNOWN_KEY, entry.key_span, message).suggest_if(suggestion);
}

fn names(shape: &'static Shape) -> String {
    shape.keys().map(|key| key.name).collect::<Vec<_>>().join(", ")
}

/// `a, b or c`, each in backticks.
pub(super) fn list(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [only] => format!("`{only}`"),
        [init @ .., last] => {
            let init: Vec<_> = init.iter().map(|word| format!("`{word}`")).collect();
            format!("{} or `{last}`", init.join(", "))
        }
    }
}
