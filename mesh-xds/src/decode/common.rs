//! What decoders of all resources share: the walk through a message, with its path.

use super::{Decoded, FieldError, Ignored};
use crate::Resource;
use envoy_types::pb::envoy::config::core::v3::ConfigSource;
use envoy_types::pb::envoy::config::core::v3::config_source::ConfigSourceSpecifier;
use envoy_types::pb::envoy::r#type::v3::Percent;
use envoy_types::pb::google::{self, protobuf::Any};
use prost::{Message, Name};
use std::collections::BTreeSet;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

/// Collects what is wrong and what is ignored, with the path of the field that is being looked at.
#[derive(Debug, Default)]
pub(super) struct Walk {
    path: String,
    errors: Vec<FieldError>,
    ignored: Vec<Ignored>,
    /// About how many bytes the automata of all patterns take.
    regex_bytes: usize,
}

impl Walk {
    /// Looks at a field: `name`, or `name[3]` by way of [`format_args!`].
    pub(super) fn at<T>(&mut self, field: impl Display, look: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.path.len();
        if before > 0 {
            self.path.push('.');
        }
        self.path.push_str(&field.to_string());
        let result = look(self);
        self.path.truncate(before);
        result
    }

    /// Looks at the whole resource again, from within one of its fields.
    pub(super) fn root<T>(&mut self, look: impl FnOnce(&mut Self) -> T) -> T {
        let within = std::mem::take(&mut self.path);
        let result = look(self);
        self.path = within;
        result
    }

    /// Something is wrong with the field that is being looked at.
    pub(super) fn error(&mut self, message: impl Display) {
        self.errors.push(FieldError { path: self.path.clone(), message: message.to_string() });
    }

    /// Something is wrong with a field of what is being looked at.
    pub(super) fn error_at(&mut self, field: impl Display, message: impl Display) {
        self.at(field, |walk| walk.error(message));
    }

    /// A field of what is being looked at does nothing here, if `set`.
    pub(super) fn ignored(&mut self, set: bool, field: impl Display, reason: &'static str) {
        self.pass_over(set, field, reason, false);
    }

    /// The same, of what guards ports ([`Ignored::guards`]).
    pub(super) fn unguarded(&mut self, set: bool, field: impl Display, reason: &'static str) {
        self.pass_over(set, field, reason, true);
    }

    fn pass_over(&mut self, set: bool, field: impl Display, reason: &'static str, guards: bool) {
        if set {
            self.at(field, |walk| {
                walk.ignored.push(Ignored { path: walk.path.clone(), reason, guards });
            });
        }
    }

    /// What was ignored so far.
    pub(super) fn all_ignored(&self) -> &[Ignored] {
        &self.ignored
    }

    /// Takes back what is ignored by one reading of the resource, and does something by another.
    pub(super) fn keep_ignored(&mut self, keep: impl FnMut(&Ignored) -> bool) {
        self.ignored.retain(keep);
    }

    /// What another reading of the whole resource ignores, each once.
    pub(super) fn add_ignored(&mut self, ignored: Vec<Ignored>) {
        let known: BTreeSet<String> = self.ignored.iter().map(|one| one.path.clone()).collect();
        self.ignored.extend(ignored.into_iter().filter(|one| !known.contains(&one.path)));
    }

    /// How many errors there are so far.
    pub(super) fn errors(&self) -> usize {
        self.errors.len()
    }

    /// What another walk found, from the field that is being looked at on.
    pub(super) fn take_in(&mut self, errors: Vec<FieldError>, ignored: Vec<Ignored>) {
        let join = |path: String| match (self.path.is_empty(), path.is_empty()) {
            (true, _) => path,
            (false, true) => self.path.clone(),
            (false, false) => format!("{}.{path}", self.path),
        };
        let errors = errors.into_iter();
        let errors: Vec<_> =
            errors.map(|e| FieldError { path: join(e.path), message: e.message }).collect();
        let ignored = ignored.into_iter();
        let ignored: Vec<_> = ignored.map(|i| Ignored { path: join(i.path), ..i }).collect();
        self.errors.extend(errors);
        self.ignored.extend(ignored);
    }

    /// What was found so far: errors, and what is ignored.
    pub(super) fn into_parts(self) -> (Vec<FieldError>, Vec<Ignored>) {
        (self.errors, self.ignored)
    }

    /// What came of it: `resource`, unless something was wrong.
    pub(super) fn finish(self, name: Option<Arc<str>>, resource: Option<Resource>) -> Decoded {
        let Self { mut errors, ignored, .. } = self;
        let resource = match (resource, errors.is_empty()) {
            (Some(resource), true) => Ok(resource),
            (None, true) => {
                errors.push(error("", "nothing could be made of it"));
                Err(errors)
            }
            (_, false) => Err(errors),
        };
        Decoded { name, resource, ignored }
    }
}

/// An error at `path`.
pub(super) fn error(path: impl Into<String>, message: impl Display) -> FieldError {
    FieldError { path: path.into(), message: message.to_string() }
}

/// Parses a whole resource: the first phase.
pub(super) fn parse<M: Message + Default>(body: &[u8]) -> Result<M, Decoded> {
    M::decode(body).map_err(|invalid| Decoded {
        name: None,
        resource: Err(vec![error("", format_args!("not a valid message: {invalid}"))]),
        ignored: Vec::new(),
    })
}

/// A protobuf duration; an error when it is negative or out of its range (protobuf:
/// `google.protobuf.Duration`).
pub(super) fn duration(
    walk: &mut Walk,
    field: impl Display,
    value: Option<&google::protobuf::Duration>,
) -> Option<Duration> {
    let value = value?;
    let seconds = u64::try_from(value.seconds).ok().filter(|seconds| *seconds <= 315_576_000_000);
    let nanos = u32::try_from(value.nanos).ok().filter(|nanos| *nanos < 1_000_000_000);
    let duration = seconds.zip(nanos).map(|(seconds, nanos)| Duration::new(seconds, nanos));
    if duration.is_none() {
        walk.error_at(
            field,
            format_args!("{}s {}ns is no duration of 0 s or more", value.seconds, value.nanos),
        );
    }
    duration
}

/// A duration of more than zero (Envoy: `duration.gt`).
pub(super) fn positive_duration(
    walk: &mut Walk,
    field: &str,
    value: Option<&google::protobuf::Duration>,
) -> Option<Duration> {
    let duration = duration(walk, field, value)?;
    if duration.is_zero() {
        walk.error_at(field, "0 s is not allowed (Envoy: more than 0 s); leave it out");
        return None;
    }
    Some(duration)
}

/// A wrapped number within `range`.
pub(super) fn uint32(
    walk: &mut Walk,
    field: &str,
    value: Option<&google::protobuf::UInt32Value>,
    range: RangeInclusive<u32>,
) -> Option<u32> {
    let value = value?.value;
    within(walk, field, u64::from(value), range)
}

/// A wrapped number of 64 bits within `range`.
pub(super) fn uint64(
    walk: &mut Walk,
    field: &str,
    value: Option<&google::protobuf::UInt64Value>,
    range: RangeInclusive<u32>,
) -> Option<u32> {
    within(walk, field, value?.value, range)
}

fn within(walk: &mut Walk, field: &str, value: u64, range: RangeInclusive<u32>) -> Option<u32> {
    let (least, most) = range.into_inner();
    let found = u32::try_from(value).ok().filter(|value| (least..=most).contains(value));
    if found.is_none() {
        walk.error_at(field, format_args!("{value} is not within {least} to {most}"));
    }
    found
}

/// A number within `least` and `most`; what is no number is within nothing.
pub(super) fn real(
    walk: &mut Walk,
    field: &str,
    value: f64,
    range: RangeInclusive<f64>,
) -> Option<f64> {
    if range.contains(&value) {
        return Some(value);
    }
    let (least, most) = range.into_inner();
    walk.error_at(field, format_args!("{value} is not within {least} to {most}"));
    None
}

/// A percentage from 0 to 100.
pub(super) fn percent(walk: &mut Walk, field: &str, value: Option<&Percent>) -> Option<f64> {
    real(walk, field, value?.value, 0.0..=100.0)
}

/// A percentage without its fraction (Envoy: a percentage is cut to a whole number where it is used
/// as one).
pub(super) fn whole_percent(walk: &mut Walk, field: &str, value: Option<&Percent>) -> Option<u32> {
    let percent = percent(walk, field, value)?;
    Some((0..=100).take_while(|whole| f64::from(*whole) <= percent).last().unwrap_or_default())
}

/// A value of an enumeration; an error when it is none that is known.
pub(super) fn enumeration<E: TryFrom<i32>>(walk: &mut Walk, field: &str, value: i32) -> Option<E> {
    let known = E::try_from(value).ok();
    if known.is_none() {
        walk.error_at(field, format_args!("{value} is no known value of this enumeration"));
    }
    known
}

/// The name of a type: what follows the last `/` of its URL.
pub(super) fn type_name(url: &str) -> &str {
    url.rsplit('/').next().unwrap_or(url)
}

/// Whether an `Any` holds an `M`.
pub(super) fn holds<M: Name>(any: &Any) -> bool {
    let name = type_name(&any.type_url);
    name.strip_prefix(M::PACKAGE).and_then(|rest| rest.strip_prefix('.')) == Some(M::NAME)
}

/// What an `Any` holds.
pub(super) fn unpack<M: Message + Default>(walk: &mut Walk, any: &Any) -> Option<M> {
    M::decode(&*any.value)
        .map_err(|invalid| {
            let name = type_name(&any.type_url);
            walk.error(format_args!("not a valid {name}: {invalid}"));
        })
        .ok()
}

/// Checks that a resource comes from the server that this one came from: `ads`, where that is
/// allowed, or `self`.
pub(super) fn same_server(
    walk: &mut Walk,
    field: &str,
    source: Option<&ConfigSource>,
    allows_ads: bool,
) {
    // gRFC A27: "ads"; gRFC A47: "self" is the same.
    let allowed = if allows_ads { "`ads` or `self`" } else { "`self`" };
    match source.map(|source| &source.config_source_specifier) {
        Some(Some(ConfigSourceSpecifier::Self_(_))) => {}
        Some(Some(ConfigSourceSpecifier::Ads(_))) if allows_ads => {}
        None | Some(None) => {
            walk.error_at(field, format_args!("it is missing; it must be {allowed}"));
        }
        Some(Some(_)) => walk.error_at(
            field,
            format_args!("only {allowed} is supported: all resources come on one stream"),
        ),
    }
}

/// The automata of all patterns of a resource, in bytes: the bound of `mesh.yaml`.
pub(super) const REGEX_BYTES: usize = 64 << 20;

/// Counts an automaton that was compiled to check its pattern, and says whether there is room left; an
/// error when all of them together are too large.
pub(super) fn count_regex(walk: &mut Walk, bytes: usize) -> bool {
    let before = walk.regex_bytes;
    walk.regex_bytes = before.saturating_add(bytes);
    let fits = walk.regex_bytes <= REGEX_BYTES;
    // Said once; what follows says nothing new.
    if before <= REGEX_BYTES && !fits {
        walk.error(format_args!(
            "the patterns of this resource take more than {REGEX_BYTES} bytes: use prefix, exact or \
             suffix matches, or shorter patterns"
        ));
    }
    fits
}

/// Whether a field of a message says anything but its default.
pub(super) trait IsSet {
    fn is_set(&self) -> bool;
}

impl IsSet for bool {
    fn is_set(&self) -> bool {
        *self
    }
}

impl IsSet for i32 {
    fn is_set(&self) -> bool {
        *self != 0
    }
}

impl IsSet for u32 {
    fn is_set(&self) -> bool {
        *self != 0
    }
}

impl IsSet for String {
    fn is_set(&self) -> bool {
        !self.is_empty()
    }
}

impl<T> IsSet for Option<T> {
    fn is_set(&self) -> bool {
        self.is_some()
    }
}

impl<T> IsSet for Vec<T> {
    fn is_set(&self) -> bool {
        !self.is_empty()
    }
}

/// Reports fields of a message that are set and do nothing, each with the reason.
macro_rules! ignored {
    ($walk:expr, $message:expr, { $($field:ident: $reason:expr),* $(,)? }) => {
        $($walk.ignored(
            $crate::decode::common::IsSet::is_set(&$message.$field),
            stringify!($field),
            $reason,
        );)*
    };
}

/// The same, of fields that guard ports.
macro_rules! unguarded {
    ($walk:expr, $message:expr, { $($field:ident: $reason:expr),* $(,)? }) => {
        $($walk.unguarded(
            $crate::decode::common::IsSet::is_set(&$message.$field),
            stringify!($field),
            $reason,
        );)*
    };
}

/// Refuses fields of a message that must not be set, each with the reason.
macro_rules! refused {
    ($walk:expr, $message:expr, { $($field:ident: $reason:expr),* $(,)? }) => {
        $(if $crate::decode::common::IsSet::is_set(&$message.$field) {
            $walk.error_at(stringify!($field), $reason);
        })*
    };
}

pub(super) use {ignored, refused, unguarded};
