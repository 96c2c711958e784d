//! [`Words`]: what `metadata.filter_metadata["mesh"]` says, for which Envoy has no field.
//!
//! [`encode`](crate::encode) has the list of words and writes them; any control plane may. They are
//! hints of an encoder that knows this model, and nobody else's: what is not known is reported and
//! passed over, so that an older client takes what a newer control plane writes. What is known is held
//! to its type and its bounds like any field, with the path
//! `metadata.filter_metadata["mesh"].retry_budget.ratio`.
//!
//! A reader takes out what it knows, key by key; what is left is reported, each key once. So what is
//! kept grows with the message, and nothing is read deeper than the words go.
//!
//! What it does not do: know the words. The decoders of routes and clusters do.

use super::address::shorten;
use super::common::{self, Walk};
use crate::encode::METADATA_KEY;
use envoy_types::pb::envoy::config::core::v3::Metadata;
use envoy_types::pb::google::protobuf::{Struct, Value, value::Kind};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

/// The longest duration, in seconds (protobuf: `google.protobuf.Duration`, ten thousand years).
const LONGEST: u64 = 315_576_000_000;
const UNKNOWN: &str =
    "it is no word that is known here, or finds nothing here that it could change";
const TYPED: &str = "conditions ask for filter_metadata alone";
const OTHERS: &str = "of metadata only the words of `mesh` are read here";

/// The words of one struct that are not read yet, in the order of their keys.
#[derive(Debug)]
pub(super) struct Words<'m> {
    left: BTreeMap<&'m str, Option<&'m Kind>>,
}

/// Hands the words of a message to `read`; reports what it leaves, and what metadata there is beside.
pub(super) fn read<'m>(
    walk: &mut Walk,
    metadata: Option<&'m Metadata>,
    read: impl FnOnce(&mut Walk, &mut Words<'m>),
) {
    let others = metadata.is_some_and(|metadata| {
        let ours = metadata.filter_metadata.contains_key(METADATA_KEY);
        let all = metadata.typed_filter_metadata.len() + metadata.filter_metadata.len();
        !ours || all > 1
    });
    walk.ignored(others, "metadata", OTHERS);
    hand_out(walk, metadata, read);
}

/// As [`read`], of a message whose metadata is asked for by others, too: what nobody can ask for is reported.
pub(super) fn read_beside<'m>(
    walk: &mut Walk,
    metadata: Option<&'m Metadata>,
    read: impl FnOnce(&mut Walk, &mut Words<'m>),
) {
    let typed = metadata.is_some_and(|metadata| !metadata.typed_filter_metadata.is_empty());
    walk.ignored(typed, "metadata.typed_filter_metadata", TYPED);
    hand_out(walk, metadata, read);
}

fn hand_out<'m>(
    walk: &mut Walk,
    metadata: Option<&'m Metadata>,
    read: impl FnOnce(&mut Walk, &mut Words<'m>),
) {
    let Some(ours) = metadata.and_then(|metadata| metadata.filter_metadata.get(METADATA_KEY))
    else {
        return;
    };
    walk.at(format_args!("metadata.filter_metadata[\"{METADATA_KEY}\"]"), |walk| {
        Words::new(ours).hand_to(walk, read);
    });
}

/// Whether the words of a message say `wanted` under `key`, for those who must know before the others
/// are read.
pub(super) fn says(metadata: Option<&Metadata>, key: &str, wanted: &str) -> bool {
    let ours = metadata.and_then(|metadata| metadata.filter_metadata.get(METADATA_KEY));
    let value = ours.and_then(|ours| ours.fields.get(key)).and_then(|value| value.kind.as_ref());
    value.and_then(text) == Some(wanted)
}

impl<'m> Words<'m> {
    fn new(message: &'m Struct) -> Self {
        let fields = message.fields.iter();
        Self { left: fields.map(|(key, value)| (key.as_str(), value.kind.as_ref())).collect() }
    }

    fn hand_to(mut self, walk: &mut Walk, read: impl FnOnce(&mut Walk, &mut Self)) {
        read(walk, &mut self);
        for key in self.left.keys() {
            walk.ignored(true, shorten(key), UNKNOWN);
        }
    }

    /// Takes the value of `key`, of which `pick` makes something; an error when it can't, with what
    /// `should` be there.
    fn take<T>(
        &mut self,
        walk: &mut Walk,
        key: &str,
        should: &str,
        pick: impl FnOnce(&'m Kind) -> Option<T>,
    ) -> Option<T> {
        let kind = self.left.remove(key)?;
        let picked = kind.and_then(pick);
        if picked.is_none() {
            walk.error_at(key, format_args!("{} is wrong: write {should}", shown(kind)));
        }
        picked
    }

    /// A text.
    pub(super) fn text(&mut self, walk: &mut Walk, key: &str) -> Option<&'m str> {
        self.take(walk, key, "a text", text)
    }

    /// `true` or `false`.
    pub(super) fn flag(&mut self, walk: &mut Walk, key: &str) -> Option<bool> {
        self.take(walk, key, "`true` or `false`", |kind| match kind {
            Kind::BoolValue(flag) => Some(*flag),
            _ => None,
        })
    }

    /// A whole number within `range`.
    pub(super) fn number(
        &mut self,
        walk: &mut Walk,
        key: &str,
        range: RangeInclusive<u32>,
    ) -> Option<u32> {
        let (least, most) = range.into_inner();
        let should = format!("a whole number from {least} to {most}");
        self.take(walk, key, &should, |kind| match kind {
            Kind::NumberValue(number) => {
                whole(*number).filter(|number| (least..=most).contains(number))
            }
            _ => None,
        })
    }

    /// A number within `range`.
    pub(super) fn real(
        &mut self,
        walk: &mut Walk,
        key: &str,
        range: RangeInclusive<f64>,
    ) -> Option<f64> {
        let number = self.take(walk, key, "a number", |kind| match kind {
            Kind::NumberValue(number) => Some(*number),
            _ => None,
        })?;
        common::real(walk, key, number, range)
    }

    /// A time of `least` or more.
    pub(super) fn time(&mut self, walk: &mut Walk, key: &str, least: Duration) -> Option<Duration> {
        let should = format!(
            "seconds as text, \"0.25s\", {least:?} or more, with at most nine digits after the point"
        );
        let parse = |kind| text(kind).and_then(parse_time).filter(|time| *time >= least);
        self.take(walk, key, &should, parse)
    }

    /// One of several texts, and what it stands for.
    pub(super) fn one_of<T: Copy>(
        &mut self,
        walk: &mut Walk,
        key: &str,
        choices: &[(&str, T)],
    ) -> Option<T> {
        let names: Vec<_> = choices.iter().map(|(name, _)| format!("`{name}`")).collect();
        self.take(walk, key, &names.join(" or "), |kind| {
            let text = text(kind)?;
            choices.iter().find(|(name, _)| *name == text).map(|(_, choice)| *choice)
        })
    }

    /// Words within words; what `inner` leaves is reported.
    pub(super) fn within(
        &mut self,
        walk: &mut Walk,
        key: &str,
        inner: impl FnOnce(&mut Walk, &mut Self),
    ) {
        let found = self.take(walk, key, "a struct of words", |kind| match kind {
            Kind::StructValue(found) => Some(found),
            _ => None,
        });
        if let Some(found) = found {
            walk.at(key, |walk| Self::new(found).hand_to(walk, inner));
        }
    }

    /// Whether the value of `key` is a text; it is left to be read.
    pub(super) fn is_text(&self, key: &str) -> bool {
        self.left.get(key).is_some_and(|kind| kind.and_then(text).is_some())
    }

    /// A list of texts, each with its place for errors: `key[0]`.
    pub(super) fn texts(&mut self, walk: &mut Walk, key: &str) -> Option<Vec<&'m str>> {
        let values = self.list(walk, key)?;
        let texts = values.iter().map(|value| value.kind.as_ref().and_then(text));
        let found: Option<Vec<_>> = texts.collect();
        if found.is_none() {
            walk.error_at(key, "one of its values is no text: write texts only");
        }
        found
    }

    /// A list of structs, of each of which `inner` makes something.
    pub(super) fn structs<T>(
        &mut self,
        walk: &mut Walk,
        key: &str,
        mut inner: impl FnMut(&mut Walk, &mut Self) -> Option<T>,
    ) -> Option<Vec<T>> {
        let values = self.list(walk, key)?;
        let mut found = Vec::with_capacity(values.len());
        for (at, value) in values.iter().enumerate() {
            walk.at(format_args!("{key}[{at}]"), |walk| match &value.kind {
                Some(Kind::StructValue(message)) => {
                    Self::new(message).hand_to(walk, |walk, words| {
                        found.extend(inner(walk, words));
                    })
                }
                other => {
                    let shown = shown(other.as_ref());
                    walk.error(format_args!("{shown} is wrong: write a struct of words"));
                }
            });
        }
        Some(found)
    }

    fn list(&mut self, walk: &mut Walk, key: &str) -> Option<&'m [Value]> {
        self.take(walk, key, "a list", |kind| match kind {
            Kind::ListValue(list) => Some(list.values.as_slice()),
            _ => None,
        })
    }
}

fn text(kind: &Kind) -> Option<&str> {
    match kind {
        Kind::StringValue(text) => Some(text),
        _ => None,
    }
}

/// A number of JSON that is a whole one of 32 bits.
fn whole(number: f64) -> Option<u32> {
    // Every whole number of 32 bits has a text without a fraction or an exponent.
    number.to_string().parse().ok()
}

/// A value as an error names it.
fn shown(kind: Option<&Kind>) -> String {
    match kind {
        Some(Kind::StringValue(text)) => format!("`{}`", shorten(text)),
        Some(Kind::NumberValue(number)) => number.to_string(),
        Some(Kind::BoolValue(flag)) => flag.to_string(),
        Some(Kind::StructValue(_)) => "a struct".to_owned(),
        Some(Kind::ListValue(_)) => "a list".to_owned(),
        Some(Kind::NullValue(_)) | None => "null".to_owned(),
    }
}

/// Seconds, as protobuf writes them in JSON: `10s`, `0.25s`.
fn parse_time(text: &str) -> Option<Duration> {
    let number = text.strip_suffix('s')?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !is_digits(whole) || !is_digits(fraction) || fraction.len() > 9 {
        return None;
    }
    let nanos = format!("{fraction:0<9}").parse().ok()?;
    let time = Duration::new(whole.parse().ok()?, nanos);
    (time <= Duration::from_secs(LONGEST)).then_some(time)
}

#[cfg(test)]
mod tests;
