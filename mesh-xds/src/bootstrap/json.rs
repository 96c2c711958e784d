//! JSON that remembers where it was written.
//!
//! A serde type stops at the first mistake and names no field; a tree of values has lost its places. Here
//! every value is a slice of the text, looked into only when asked, so that each problem has its path,
//! its line and its column, and one broken field does not hide the next.
//!
//! Two rules of reading: a field of `null` is as good as none (grpc-go writes and reads it so), and a key
//! that is there twice is an error (C-core), because readers differ about which one counts.

use super::error::{BootstrapError, MAX_PROBLEMS, Problem, shorten};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::fmt::{self, Display, Write};

/// A value: its slice of the text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Value<'t>(&'t str);

/// The fields of an object.
#[derive(Debug)]
pub(super) struct Object<'t> {
    place: Value<'t>,
    fields: BTreeMap<String, Value<'t>>,
}

/// Reads values, and collects what is wrong with them.
#[derive(Debug)]
pub(super) struct Reader<'t> {
    text: &'t str,
    path: String,
    problems: Vec<Problem>,
    more: usize,
}

impl<'t> Reader<'t> {
    pub(super) const fn new(text: &'t str) -> Self {
        Self { text, path: String::new(), problems: Vec::new(), more: 0 }
    }

    /// What came of it: `value`, unless something was wrong.
    pub(super) fn finish<T>(self, value: Option<T>) -> Result<T, BootstrapError> {
        let Self { mut problems, more, .. } = self;
        match value {
            Some(value) if problems.is_empty() => Ok(value),
            _ => {
                if problems.is_empty() {
                    let message = "nothing could be made of it".to_owned();
                    problems.push(Problem { path: String::new(), line: 1, column: 1, message });
                }
                Err(BootstrapError { problems, more })
            }
        }
    }

    /// The whole text as a value.
    pub(super) fn document(&mut self) -> Option<Value<'t>> {
        self.parse::<&RawValue>(Value(self.text)).map(|raw| Value(raw.get()))
    }

    /// Something is wrong with `value`, which is at the current path.
    pub(super) fn report(&mut self, value: Value<'t>, message: impl Display) {
        self.report_at(self.offset(value), message);
    }

    /// Something is wrong with the text as a whole.
    pub(super) fn report_start(&mut self, message: impl Display) {
        self.report_at(0, message);
    }

    /// Reports the error, if there is one.
    pub(super) fn checked<T>(
        &mut self,
        value: Value<'t>,
        result: Result<T, impl Display>,
    ) -> Option<T> {
        result.map_err(|error| self.report(value, error)).ok()
    }

    /// An object, none of its keys twice.
    pub(super) fn object(&mut self, value: Value<'t>) -> Option<Object<'t>> {
        if !value.0.starts_with('{') {
            return self.wrong_type(value, "an object");
        }
        let Entries(entries) = self.parse(value)?;
        let mut fields = BTreeMap::new();
        for (key, raw) in entries {
            let field = Value(raw.get());
            if fields.contains_key(&key) {
                let message = format!("the key `{}` is there twice: keep one", shorten(&key));
                self.report(field, message);
            }
            fields.insert(key, field);
        }
        Some(Object { place: value, fields })
    }

    /// A list; `read` gives its items, without those that it refuses.
    pub(super) fn list<T>(
        &mut self,
        value: Value<'t>,
        mut read: impl FnMut(&mut Self, Value<'t>) -> Option<T>,
    ) -> Option<Vec<T>> {
        if !value.0.starts_with('[') {
            return self.wrong_type(value, "a list");
        }
        let items: Vec<&RawValue> = self.parse(value)?;
        let mut read_items = Vec::new();
        for (index, item) in items.into_iter().enumerate() {
            let item = Value(item.get());
            read_items.extend(self.within(format_args!("[{index}]"), |this| read(this, item)));
        }
        Some(read_items)
    }

    /// A string.
    pub(super) fn string(&mut self, value: Value<'t>) -> Option<String> {
        if !value.is_string() {
            return self.wrong_type(value, "a string");
        }
        self.parse(value)
    }

    /// `true` or `false`.
    pub(super) fn boolean(&mut self, value: Value<'t>) -> Option<bool> {
        match value.0 {
            "true" => Some(true),
            "false" => Some(false),
            _ => self.wrong_type(value, "true or false"),
        }
    }

    /// An object with whatever is in it.
    pub(super) fn free_form(
        &mut self,
        value: Value<'t>,
    ) -> Option<serde_json::Map<String, serde_json::Value>> {
        match value.0.starts_with('{') {
            true => self.parse(value),
            false => self.wrong_type(value, "an object"),
        }
    }

    /// A field that may be missing.
    pub(super) fn optional<T>(
        &mut self,
        object: &Object<'t>,
        name: &'static str,
        read: impl FnOnce(&mut Self, Value<'t>) -> Option<T>,
    ) -> Option<T> {
        let value = object.field(name)?;
        self.within(format_args!(".{name}"), |this| read(this, value))
    }

    /// A field that must be there; `rule` says what it is for.
    pub(super) fn required<T>(
        &mut self,
        object: &Object<'t>,
        name: &'static str,
        rule: &'static str,
        read: impl FnOnce(&mut Self, Value<'t>) -> Option<T>,
    ) -> Option<T> {
        if object.field(name).is_none() {
            self.report(object.place, format_args!("the field `{name}` is missing: {rule}"));
        }
        self.optional(object, name, read)
    }

    /// Every field of an object whose keys are names; `read` gives values, without those it refuses.
    pub(super) fn map<T>(
        &mut self,
        value: Value<'t>,
        mut read: impl FnMut(&mut Self, &str, Value<'t>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let object = self.object(value)?;
        let mut values = Vec::new();
        for (key, value) in object.fields {
            let step = format_args!("[\"{}\"]", shorten(&key)).to_string();
            values.extend(self.within(step, |this| read(this, &key, value)));
        }
        Some(values)
    }

    /// Runs `look` one step further down.
    fn within<T>(&mut self, step: impl Display, look: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.path.len();
        // Writing to a string can't fail.
        let _fits: fmt::Result = write!(self.path, "{step}");
        let result = look(self);
        self.path.truncate(before);
        result
    }

    fn wrong_type<T>(&mut self, value: Value<'t>, wanted: &str) -> Option<T> {
        self.report(value, format_args!("expected {wanted}, found {}", value.describe()));
        None
    }

    fn parse<T: Deserialize<'t>>(&mut self, value: Value<'t>) -> Option<T> {
        serde_json::from_str(value.0).map_err(|error| self.syntax(value, &error)).ok()
    }

    /// Reports what serde_json says, at its place in the whole text.
    fn syntax(&mut self, value: Value<'t>, error: &serde_json::Error) {
        let above: usize =
            value.0.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum();
        let within = above + error.column().saturating_sub(1);
        let text = error.to_string();
        let message = text.split(" at line ").next().unwrap_or_default();
        let offset = self.offset(value) + within.min(value.0.len());
        self.report_at(offset, format_args!("not valid JSON: {message}"));
    }

    fn report_at(&mut self, offset: usize, message: impl Display) {
        if self.problems.len() >= MAX_PROBLEMS {
            self.more += 1;
            return;
        }
        let mut end = offset.min(self.text.len());
        while !self.text.is_char_boundary(end) {
            end -= 1;
        }
        let before = self.text.get(..end).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        let path = self.path.trim_start_matches('.').to_owned();
        self.problems.push(Problem { path, line, column, message: message.to_string() });
    }

    /// Where `value` starts. It is a slice of the text, so that addresses tell.
    fn offset(&self, value: Value<'t>) -> usize {
        value.0.as_ptr().addr().saturating_sub(self.text.as_ptr().addr())
    }
}

impl<'t> Value<'t> {
    /// Whether it is a list, and nothing is in it.
    pub(super) fn is_empty_list(self) -> bool {
        let inner = self.0.strip_prefix('[').and_then(|inner| inner.strip_suffix(']'));
        inner.is_some_and(|inner| inner.trim_ascii().is_empty())
    }

    pub(super) fn is_string(self) -> bool {
        self.0.starts_with('"')
    }

    /// As it was written.
    pub(super) const fn text(self) -> &'t str {
        self.0
    }

    /// What it is, for "expected …, found …".
    fn describe(self) -> String {
        match self.0.as_bytes().first() {
            Some(b'{') => "an object".to_owned(),
            Some(b'[') => "a list".to_owned(),
            Some(b'"') => format!("the string {}", shorten_json(self.0)),
            Some(b'n') => "null".to_owned(),
            _ => format!("`{}`", shorten(self.0)),
        }
    }
}

impl<'t> Object<'t> {
    /// The value under `name`; a `null` is as good as none.
    pub(super) fn field(&self, name: &str) -> Option<Value<'t>> {
        self.fields.get(name).copied().filter(|value| value.0 != "null")
    }
}

/// A JSON string with its quotes, shortened without another layer of escapes.
fn shorten_json(text: &str) -> String {
    match text.chars().nth(80) {
        None => text.to_owned(),
        Some(_) => text.chars().take(80).chain("…\"".chars()).collect(),
    }
}

/// The entries of an object in their order, doubles included.
struct Entries<'t>(Vec<(String, &'t RawValue)>);

impl<'t> Deserialize<'t> for Entries<'t> {
    fn deserialize<D: Deserializer<'t>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EntriesVisitor)
    }
}

struct EntriesVisitor;

impl<'t> Visitor<'t> for EntriesVisitor {
    type Value = Entries<'t>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'t>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Entries(entries))
    }
}
