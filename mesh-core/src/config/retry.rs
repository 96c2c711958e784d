//! `retry` and `hedge`: when a failed attempt is tried again.
//!
//! A retry policy is taken whole: a route's own replaces the one of its virtual host or of `defaults`,
//! key by key merging never happens inside.

use super::fields::Fields;
use super::matcher::{self, HeaderMatchers};
use super::node::Node;
use super::shape::{Kind, Shape, key, words};
use super::value::{Value, unknown_word, word};
use super::{code, reader::Reader};
use crate::call::MAX_RETRIES;
use crate::model::retry_policy::{ResetHeader, ResetHeaderFormat};
use crate::model::{BackOff, HedgePolicy, RateLimitedBackOff, RetryOn, RetryPolicy};

static BACK_OFF: Shape = Shape::new(
    "back_off",
    &[&[
        key("base_interval", Kind::POSITIVE_TIME, "Upper end of the first pause. Default 25ms."),
        key(
            "max_interval",
            Kind::POSITIVE_TIME,
            "Upper end of every pause. Default ten times the base.",
        ),
    ]],
);

const FORMATS: [(&str, ResetHeaderFormat); 3] = [
    ("seconds", ResetHeaderFormat::Seconds),
    ("unix_timestamp", ResetHeaderFormat::UnixTimestamp),
    ("retry_after", ResetHeaderFormat::RetryAfter),
];
static RESET_HEADER: Shape = Shape::new(
    "reset_header",
    &[&[
        key("name", Kind::Text, "The header's name, for example retry-after.").required(),
        key("format", Kind::Word(&words(&FORMATS)), "How its value reads. Default seconds."),
    ]],
);
static RATE_LIMITED_BACK_OFF: Shape = Shape::new(
    "rate_limited_back_off",
    &[&[
        key(
            "reset_headers",
            Kind::List(&Kind::Mapping(&RESET_HEADER)),
            "The response headers that say how long to wait.",
        )
        .required(),
        key("max_interval", Kind::POSITIVE_TIME, "The longest pause that is obeyed. Default 300s."),
    ]],
);

const RETRY_ON: Kind = Kind::Word(&words(RETRY_ON_NAMES));
const RETRY_ON_NAMES: &[(&str, RetryOn); RetryOn::NAMES.len()] = match RetryOn::NAMES.first_chunk()
{
    Some(names) => names,
    None => &[("", RetryOn::NONE); RetryOn::NAMES.len()],
};

/// More would be cut by the call machine.
const NUM_RETRIES: Kind = Kind::Count { least: 0, most: MAX_RETRIES as i64 };

static RETRY: Shape = Shape::new(
    "retry",
    &[&[
        key(
            "retry_on",
            Kind::Either(&[Kind::List(&RETRY_ON), Kind::Text]),
            "The failures that are tried again: a list, or Envoy's comma-separated text.",
        )
        .required(),
        key("num_retries", NUM_RETRIES, "Attempts beyond the first. Default 1."),
        key(
            "per_try_timeout",
            Kind::POSITIVE_TIME,
            "Limit of each attempt to its response head. Default none.",
        ),
        key(
            "per_try_idle_timeout",
            Kind::POSITIVE_TIME,
            "The longest silence within an attempt. Default none.",
        ),
        key(
            "retriable_status_codes",
            Kind::List(&Kind::Count { least: 100, most: 599 }),
            "Statuses for retriable-status-codes.",
        ),
        key(
            "retriable_headers",
            matcher::HEADERS,
            "Response headers for retriable-headers: any that matches.",
        ),
        key(
            "retriable_request_headers",
            matcher::HEADERS,
            "Only requests that match one of these are tried again.",
        ),
        key("back_off", Kind::Mapping(&BACK_OFF), "The pause before a retry."),
        key(
            "rate_limited_back_off",
            Kind::Mapping(&RATE_LIMITED_BACK_OFF),
            "Pauses that the server asks for.",
        ),
        key(
            "previous_hosts",
            Kind::Flag,
            "Passes over endpoints that this call has tried. Default true.",
        ),
        key(
            "host_selection_max_attempts",
            Kind::POSITIVE,
            "How often the pick is repeated to find another endpoint. Default 5.",
        ),
    ]],
);

/// A retry policy, or `off`.
pub(super) const RETRY_KIND: Kind = Kind::Either(&[Kind::OFF, Kind::Mapping(&RETRY)]);

/// A hedge policy.
pub(super) static HEDGE: Shape = Shape::new(
    "hedge",
    &[&[key(
        "hedge_on_per_try_timeout",
        Kind::Flag,
        "A per-try timeout starts the next attempt and leaves the first in flight. Default false.",
    )]],
);

impl Value for RetryPolicy {
    fn read(reader: &mut Reader<'_>, node: &Node, kind: &'static Kind) -> Option<Self> {
        if reader.is_word(node, "off") {
            let mut off = Self::new(RetryOn::NONE);
            off.num_retries = 0;
            return Some(off);
        }
        let fields = Fields::open(reader, node, kind)?;
        let mut policy = Self::new(RetryOn::NONE);
        if let Some((node, _)) = fields.value("retry_on") {
            policy.retry_on = retry_on(reader, node);
        }
        fields.set(reader, "num_retries", &mut policy.num_retries);
        fields.set_some(reader, "per_try_timeout", &mut policy.per_try_timeout);
        fields.set_some(reader, "per_try_idle_timeout", &mut policy.per_try_idle_timeout);
        fields.set(reader, "retriable_status_codes", &mut policy.retriable_status_codes);
        if let Some(HeaderMatchers(headers)) = fields.read(reader, "retriable_headers") {
            policy.retriable_headers = headers;
        }
        if let Some(HeaderMatchers(headers)) = fields.read(reader, "retriable_request_headers") {
            policy.retriable_request_headers = headers;
        }
        fields.set(reader, "back_off", &mut policy.back_off);
        fields.set_some(reader, "rate_limited_back_off", &mut policy.rate_limited_back_off);
        fields.set(reader, "previous_hosts", &mut policy.previous_hosts);
        let attempts = &mut policy.host_selection_max_attempts;
        fields.set(reader, "host_selection_max_attempts", attempts);
        Some(policy)
    }
}

/// A list of conditions, or one text with commas.
fn retry_on(reader: &mut Reader<'_>, node: &Node) -> RetryOn {
    let mut conditions = RetryOn::NONE;
    for item in node.one_or_many() {
        let Some(scalar) = reader.scalar(item, "a retry condition") else { continue };
        let mut place = None;
        let mut start = 0;
        for part in scalar.text.split(',') {
            let name = part.trim();
            if let Some(condition) = RetryOn::from_name(name) {
                conditions |= condition;
            } else {
                let place = *place.get_or_insert_with(|| reader.place(item, &scalar.text));
                let leading = part.len() - part.trim_start().len();
                let known = RetryOn::NAMES.iter().map(|(name, _)| *name);
                let span = place.part(start + leading, name.len());
                // One that is not shown any more says that there are more; the rest says nothing.
                let full = reader.report.is_full();
                unknown_word(reader, name, span, &known.collect::<Vec<_>>());
                if full {
                    return conditions;
                }
            }
            start += part.len() + 1;
        }
    }
    conditions
}

impl Value for BackOff {
    fn read(reader: &mut Reader<'_>, node: &Node, kind: &'static Kind) -> Option<Self> {
        let fields = Fields::open(reader, node, kind)?;
        let mut back_off = Self::default();
        fields.set(reader, "base_interval", &mut back_off.base_interval);
        back_off.max_interval = back_off.base_interval.saturating_mul(10);
        fields.set(reader, "max_interval", &mut back_off.max_interval);
        if back_off.max_interval < back_off.base_interval {
            let span = fields.own("max_interval").map_or(node.span, |entry| entry.value.span);
            let message = "max_interval is shorter than base_interval";
            reader.report.add(code::INCONSISTENT_VALUES, span, message);
        }
        Some(back_off)
    }
}

impl Value for RateLimitedBackOff {
    fn read(reader: &mut Reader<'_>, node: &Node, kind: &'static Kind) -> Option<Self> {
        let fields = Fields::open(reader, node, kind)?;
        let mut back_off = Self::new(fields.read(reader, "reset_headers").unwrap_or_default());
        fields.set(reader, "max_interval", &mut back_off.max_interval);
        Some(back_off)
    }
}

impl Value for ResetHeader {
    fn read(reader: &mut Reader<'_>, node: &Node, kind: &'static Kind) -> Option<Self> {
        let fields = Fields::open(reader, node, kind)?;
        let name = fields.read(reader, "name");
        let format =
            fields.value("format").and_then(|(node, kind)| word(reader, node, kind, &FORMATS));
        Some(Self { name: name?, format: format.unwrap_or(ResetHeaderFormat::Seconds) })
    }
}

impl Value for HedgePolicy {
    fn read(reader: &mut Reader<'_>, node: &Node, kind: &'static Kind) -> Option<Self> {
        let fields = Fields::open(reader, node, kind)?;
        let mut policy = Self::default();
        fields.set(reader, "hedge_on_per_try_timeout", &mut policy.hedge_on_per_try_timeout);
        Some(policy)
    }
}
