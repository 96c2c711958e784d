//! The Prometheus text format, version 0.0.4.
//!
//! Metrics come in the order of their table, series in the order of their labels, so two exports of
//! the same counts are the same text. Numbers are written from integers: no rounding anywhere.
//!
//! A histogram has 130 buckets inside and [`LE`] outside. Each outer bound is an inner one, so every
//! cumulative count is exact.

use super::histogram::{BOUNDS, HistogramSnapshot};
use super::names::Metric;
use super::registry::{Registry, Value};
use std::fmt::{self, Write as _};

/// The content type of the text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

const MICRO: u64 = 1_000;
const MILLI: u64 = 1_000 * MICRO;
const SECOND: u64 = 1_000 * MILLI;

/// The upper bounds (label `le`) of exported buckets, in nanoseconds.
pub(super) const LE: [u64; 21] = [
    MICRO,
    10 * MICRO,
    50 * MICRO,
    100 * MICRO,
    250 * MICRO,
    500 * MICRO,
    MILLI,
    2_500 * MICRO,
    5 * MILLI,
    10 * MILLI,
    25 * MILLI,
    50 * MILLI,
    100 * MILLI,
    250 * MILLI,
    500 * MILLI,
    SECOND,
    2_500 * MILLI,
    5 * SECOND,
    10 * SECOND,
    30 * SECOND,
    60 * SECOND,
];

/// Appends all that `registry` holds to `out`.
pub(super) fn write(registry: &Registry, out: &mut String) {
    for metric in Metric::ALL {
        let mut has_head = false;
        registry.visit(*metric, &mut |labels, value| {
            // Writing to a string can't fail.
            let head = if has_head { Ok(()) } else { head(out, *metric) };
            has_head = true;
            let series = match value {
                Value::Number(number) => sample(out, *metric, labels, number),
                Value::Histogram(snapshot) => histogram(out, *metric, labels, snapshot),
            };
            head.and(series).unwrap_or_default();
        });
    }
}

fn head(out: &mut String, metric: Metric) -> fmt::Result {
    let (name, kind, help) = (metric.name(), metric.kind().as_str(), metric.help());
    writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}")
}

fn sample(out: &mut String, metric: Metric, values: &[&str], number: u64) -> fmt::Result {
    out.write_str(metric.name())?;
    label_set(out, metric, values, None)?;
    writeln!(out, " {number}")
}

fn histogram(
    out: &mut String,
    metric: Metric,
    values: &[&str],
    snapshot: &HistogramSnapshot,
) -> fmt::Result {
    let name = metric.name();
    for (le, count) in cumulative(snapshot) {
        write!(out, "{name}_bucket")?;
        label_set(out, metric, values, Some(Some(le)))?;
        writeln!(out, " {count}")?;
    }
    let count = snapshot.count();
    write!(out, "{name}_bucket")?;
    label_set(out, metric, values, Some(None))?;
    write!(out, " {count}\n{name}_sum")?;
    label_set(out, metric, values, None)?;
    write!(out, " {}\n{name}_count", Seconds(snapshot.sum_nanos()))?;
    label_set(out, metric, values, None)?;
    writeln!(out, " {count}")
}

/// Each exported bucket's upper bound in nanoseconds, and how many values are at most that.
pub(super) fn cumulative(snapshot: &HistogramSnapshot) -> impl Iterator<Item = (u64, u64)> {
    let mut buckets = BOUNDS.iter().zip(snapshot.counts()).peekable();
    let mut sum = 0;
    LE.into_iter().map(move |le| {
        while let Some((_, count)) = buckets.next_if(|(bound, _)| **bound <= le) {
            sum += count;
        }
        (le, sum)
    })
}

/// `{a="…",le="…"}`, or nothing. `le`: `Some(None)` is infinity.
fn label_set(
    out: &mut String,
    metric: Metric,
    values: &[&str],
    le: Option<Option<u64>>,
) -> fmt::Result {
    debug_assert_eq!(metric.labels().len(), values.len());
    let mut separator = '{';
    for (name, value) in metric.labels().iter().zip(values) {
        write!(out, "{separator}{name}=\"")?;
        escape(out, value);
        out.push('"');
        separator = ',';
    }
    match le {
        Some(Some(nanos)) => write!(out, "{separator}le=\"{}\"}}", Seconds(nanos)),
        Some(None) => write!(out, "{separator}le=\"+Inf\"}}"),
        None if separator == ',' => out.write_char('}'),
        None => Ok(()),
    }
}

/// Prometheus exposition formats, "Comments, help text, and type information": label values escape
/// backslash, double quote and line feed, and nothing else.
fn escape(out: &mut String, value: &str) {
    for letter in value.chars() {
        match letter {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            letter => out.push(letter),
        }
    }
}

/// Nanoseconds, shown as seconds without trailing zeroes.
pub(super) struct Seconds(pub(super) u64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, mut fraction) = (self.0 / SECOND, self.0 % SECOND);
        if fraction == 0 {
            return write!(f, "{seconds}");
        }
        let mut digits = 9;
        while fraction % 10 == 0 {
            fraction /= 10;
            digits -= 1;
        }
        write!(f, "{seconds}.{fraction:0digits$}")
    }
}

#[cfg(test)]
mod tests;
