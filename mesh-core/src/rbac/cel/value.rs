//! What expressions come to.
//!
//! A value is cheap to take again: what is of the request, of its metadata or of the expression is
//! borrowed, what was made is shared. Lists and maps that were made know how deep they are, for whatever
//! walks over them (a comparison, the end of their life) needs the stack for it.

use super::moment::Moment;
use super::{Failure, MAX_DEPTH};
use crate::model::MetadataValue;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;

/// A value of CEL.
#[derive(Clone, Debug)]
pub(super) enum Value<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(Held<'a, str>),
    Bytes(Held<'a, [u8]>),
    List(List<'a>),
    Map(Map<'a>),
    Timestamp(Moment),
    Duration(Moment),
}

/// What is borrowed, or shared.
#[derive(Debug)]
pub(super) enum Held<'a, T: ?Sized> {
    Ref(&'a T),
    Own(Arc<T>),
}

impl<T: ?Sized> Clone for Held<'_, T> {
    fn clone(&self) -> Self {
        match self {
            Self::Ref(held) => Self::Ref(held),
            Self::Own(held) => Self::Own(Arc::clone(held)),
        }
    }
}

impl<T: ?Sized> Deref for Held<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        match self {
            Self::Ref(held) => held,
            Self::Own(held) => held,
        }
    }
}

/// A list.
#[derive(Clone, Debug)]
pub(super) enum List<'a> {
    Made { depth: usize, items: Arc<[Value<'a>]> },
    Json(&'a [MetadataValue]),
}

/// A map; its keys are booleans, whole numbers and texts.
#[derive(Clone, Debug)]
pub(super) enum Map<'a> {
    Made {
        depth: usize,
        entries: Arc<[(Value<'a>, Value<'a>)]>,
    },
    Json(&'a BTreeMap<Arc<str>, MetadataValue>),
    /// Metadata by the filter that wrote it.
    Filters(&'a BTreeMap<Arc<str>, BTreeMap<Arc<str>, MetadataValue>>),
}

impl<'a> Value<'a> {
    pub(super) fn text(text: impl Into<Arc<str>>) -> Self {
        Self::Text(Held::Own(text.into()))
    }

    /// protobuf: `google.protobuf.Value`, of which all numbers are doubles.
    fn of_json(json: &'a MetadataValue) -> Self {
        match json {
            MetadataValue::Null => Self::Null,
            MetadataValue::Bool(flag) => Self::Bool(*flag),
            MetadataValue::Number(number) => Self::Double(*number),
            MetadataValue::Text(text) => Self::Text(Held::Ref(text)),
            MetadataValue::List(items) => Self::List(List::Json(items)),
            MetadataValue::Struct(fields) => Self::Map(Map::Json(fields)),
        }
    }

    /// The same, borrowed.
    pub(super) fn borrowed(&'a self) -> Self {
        match self {
            Self::Text(text) => Self::Text(Held::Ref(text)),
            Self::Bytes(bytes) => Self::Bytes(Held::Ref(bytes)),
            other => other.clone(),
        }
    }

    /// The same, for good; `None`: it is a part of a request.
    pub(super) fn into_owned(self) -> Option<Value<'static>> {
        Some(match self {
            Self::Null => Value::Null,
            Self::Bool(flag) => Value::Bool(flag),
            Self::Int(number) => Value::Int(number),
            Self::Uint(number) => Value::Uint(number),
            Self::Double(number) => Value::Double(number),
            Self::Text(text) => Value::text(&*text),
            Self::Bytes(bytes) => Value::Bytes(Held::Own(Arc::from(&*bytes))),
            Self::List(List::Made { depth, items }) => {
                let items = items.iter().map(|item| item.clone().into_owned());
                Value::List(List::Made { depth, items: items.collect::<Option<_>>()? })
            }
            Self::Map(Map::Made { depth, entries }) => {
                let entries = entries
                    .iter()
                    .map(|(key, value)| key.clone().into_owned().zip(value.clone().into_owned()));
                Value::Map(Map::Made { depth, entries: entries.collect::<Option<_>>()? })
            }
            Self::Timestamp(moment) => Value::Timestamp(moment),
            Self::Duration(moment) => Value::Duration(moment),
            Self::List(List::Json(_)) | Self::Map(Map::Json(_) | Map::Filters(_)) => return None,
        })
    }

    const fn depth(&self) -> usize {
        match self {
            Self::List(List::Made { depth, .. }) | Self::Map(Map::Made { depth, .. }) => *depth,
            _ => 0,
        }
    }

    pub(super) const fn is_key(&self) -> bool {
        matches!(self, Self::Bool(_) | Self::Int(_) | Self::Uint(_) | Self::Text(_))
    }

    /// A number, if it is one.
    pub(super) const fn number(&self) -> Option<Number> {
        Some(match self {
            Self::Int(number) => Number::Whole(*number as i128),
            Self::Uint(number) => Number::Whole(*number as i128),
            Self::Double(number) => Number::Double(*number),
            _ => return None,
        })
    }
}

/// One more than the deepest of `values`.
fn depth_over<'v, 'a: 'v>(values: impl Iterator<Item = &'v Value<'a>>) -> Result<usize, Failure> {
    let depth = values.map(Value::depth).max().unwrap_or(0) + 1;
    if depth > MAX_DEPTH { Err(Failure::TooCostly) } else { Ok(depth) }
}

impl<'a> List<'a> {
    /// # Errors
    /// It would be too deep.
    pub(super) fn made(items: Arc<[Value<'a>]>) -> Result<Self, Failure> {
        Ok(Self::Made { depth: depth_over(items.iter())?, items })
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Made { items, .. } => items.len(),
            Self::Json(items) => items.len(),
        }
    }

    pub(super) fn get(&self, at: usize) -> Option<Value<'a>> {
        match self {
            Self::Made { items, .. } => items.get(at).cloned(),
            Self::Json(items) => items.get(at).map(Value::of_json),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Value<'a>> {
        (0..self.len()).filter_map(|at| self.get(at))
    }
}

impl<'a> Map<'a> {
    /// # Errors
    /// A key is none, or is there twice, or it would be too deep.
    pub(super) fn made(entries: Vec<(Value<'a>, Value<'a>)>) -> Result<Self, Failure> {
        let depth = depth_over(entries.iter().map(|(_, value)| value))?;
        for (at, (key, _)) in entries.iter().enumerate() {
            if !key.is_key() {
                return Err(Failure::NoOverload);
            }
            if entries[..at].iter().any(|(other, _)| same_key(key, other)) {
                return Err(Failure::DuplicateKey);
            }
        }
        Ok(Self::Made { depth, entries: entries.into() })
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Made { entries, .. } => entries.len(),
            Self::Json(fields) => fields.len(),
            Self::Filters(filters) => filters.len(),
        }
    }

    pub(super) fn get(&self, key: &Value<'_>) -> Option<Value<'a>> {
        match (self, key) {
            (Self::Made { entries, .. }, key) => {
                let found = entries.iter().find(|(other, _)| same_key(key, other));
                found.map(|(_, value)| value.clone())
            }
            (Self::Json(fields), Value::Text(key)) => fields.get(&**key).map(Value::of_json),
            (Self::Filters(filters), Value::Text(key)) => {
                filters.get(&**key).map(|fields| Value::Map(Map::Json(fields)))
            }
            (Self::Json(_) | Self::Filters(_), _) => None,
        }
    }

    /// The keys, as a list: what a comprehension goes through.
    pub(super) fn keys(&self) -> Arc<[Value<'a>]> {
        let text = |key: &'a Arc<str>| Value::Text(Held::Ref(&**key));
        match self {
            Self::Made { entries, .. } => entries.iter().map(|(key, _)| key.clone()).collect(),
            Self::Json(fields) => fields.keys().map(text).collect(),
            Self::Filters(filters) => filters.keys().map(text).collect(),
        }
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = (Value<'a>, Value<'a>)> {
        let keys = self.keys();
        (0..keys.len()).filter_map(move |at| {
            let key = keys.get(at)?.clone();
            self.get(&key).map(|value| (key, value))
        })
    }
}

/// Whether two keys are one: `1`, `1u` and `1.0` are.
fn same_key(one: &Value<'_>, other: &Value<'_>) -> bool {
    match (one, other) {
        (Value::Bool(one), Value::Bool(other)) => one == other,
        (Value::Text(one), Value::Text(other)) => **one == **other,
        _ => match (one.number(), other.number()) {
            (Some(one), Some(other)) => one.compare(other) == Some(Ordering::Equal),
            _ => false,
        },
    }
}

/// A number of any type: they are compared as if they were exact.
#[derive(Clone, Copy, Debug)]
pub(super) enum Number {
    Whole(i128),
    Double(f64),
}

impl Number {
    /// `None`: one is not a number (NaN).
    pub(super) fn compare(self, other: Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Whole(one), Self::Whole(other)) => Some(one.cmp(&other)),
            (Self::Double(one), Self::Double(other)) => one.partial_cmp(&other),
            (Self::Whole(one), Self::Double(other)) => compare_exactly(one, other),
            (Self::Double(one), Self::Whole(other)) => {
                compare_exactly(other, one).map(Ordering::reverse)
            }
        }
    }
}

/// `whole` is a number of 64 bits, so what is beyond 2^100 is beyond it.
#[expect(clippy::cast_possible_truncation, reason = "within 2^100, and without a fraction")]
fn compare_exactly(whole: i128, double: f64) -> Option<Ordering> {
    const BEYOND: f64 = 1e30;
    if double.is_nan() {
        return None;
    }
    if double.abs() > BEYOND {
        return Some(if double > 0.0 { Ordering::Less } else { Ordering::Greater });
    }
    let floor = double.floor();
    let of_whole = whole.cmp(&(floor as i128));
    let has_fraction = double > floor;
    Some(if of_whole == Ordering::Equal && has_fraction { Ordering::Less } else { of_whole })
}
