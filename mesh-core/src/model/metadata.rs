//! What filters know of a request, beside its headers, and conditions on it (Envoy: `core.v3.Metadata`,
//! `type.matcher.v3.MetadataMatcher`, `FilterStateMatcher`).

use super::{Cidr, StringMatcher};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A value as JSON has them (protobuf: `google.protobuf.Value`).
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "closed by JSON")]
pub enum MetadataValue {
    /// `null`, which is a value: it is there.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number.
    Number(f64),
    /// A text.
    Text(Arc<str>),
    /// A list.
    List(Vec<Self>),
    /// Values by name.
    Struct(BTreeMap<Arc<str>, Self>),
}

/// Values by the name of the filter that wrote them, then by their own.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "a map, nothing else")]
pub struct Metadata(pub BTreeMap<Arc<str>, BTreeMap<Arc<str>, MetadataValue>>);

impl Metadata {
    /// The value at `path` of what `filter` wrote.
    #[must_use]
    pub fn get(&self, filter: &str, path: &[Arc<str>]) -> Option<&MetadataValue> {
        let (first, rest) = path.split_first()?;
        let start = self.0.get(filter)?.get(first)?;
        rest.iter().try_fold(start, |value, key| match value {
            MetadataValue::Struct(fields) => fields.get(key),
            _ => None,
        })
    }
}

/// A condition on one value of metadata.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct MetadataMatcher {
    /// Whose metadata is looked at.
    pub source: MetadataSource,
    /// The filter that wrote the value.
    pub filter: Arc<str>,
    /// The names that lead to the value; at least one.
    pub path: Vec<Arc<str>>,
    /// What the value must be. A value that is missing never matches.
    pub value: ValueMatcher,
    /// Turns the result round, so that a missing value matches.
    pub invert: bool,
}

impl MetadataMatcher {
    /// A matcher of what filters write while a request goes through them, not inverted.
    #[must_use]
    pub fn new(filter: impl Into<Arc<str>>, path: Vec<Arc<str>>, value: ValueMatcher) -> Self {
        let source = MetadataSource::Dynamic;
        Self { source, filter: filter.into(), path, value, invert: false }
    }
}

/// Whose metadata a condition looks at (Envoy: `config.rbac.v3.MetadataSource`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "closed by Envoy's `MetadataSource`")]
pub enum MetadataSource {
    /// What filters wrote while the request went through them.
    #[default]
    Dynamic,
    /// What the route says.
    Route,
}

/// What a value of metadata must be (Envoy: `type.matcher.v3.ValueMatcher`).
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "closed by Envoy's `ValueMatcher`")]
pub enum ValueMatcher {
    /// It is `null`.
    Null,
    /// It is a number within the half-open range.
    Range {
        /// The least.
        start: f64,
        /// The first that is too large.
        end: f64,
    },
    /// It is this number.
    Number(f64),
    /// It is a text that matches.
    Text(StringMatcher),
    /// It is this.
    Bool(bool),
    /// It is there (`true`); `false` matches nothing (Envoy: `PresentMatcher`).
    Present(bool),
    /// It is a list of which one value matches.
    OneOf(Box<Self>),
    /// One of these matches; at least one.
    Or(Vec<Self>),
}

/// Texts that filters know of a connection or a request (Envoy: filter state objects as text).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a map, nothing else")]
pub struct FilterState(pub BTreeMap<Arc<str>, Arc<str>>);

/// A condition on one text of the filter state; one that is missing never matches.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "closed by Envoy's `FilterStateMatcher`")]
pub struct FilterStateMatcher {
    /// Its name; not empty.
    pub key: Arc<str>,
    /// What it must be.
    pub value: FilterStateValue,
}

/// What a text of the filter state must be.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "closed by Envoy's `FilterStateMatcher`")]
pub enum FilterStateValue {
    /// A text that matches.
    Text(StringMatcher),
    /// An address, with or without a port, in one of these blocks.
    Address(Vec<Cidr>),
}
