//! Durations as protobuf writes them in JSON: `600s`, `1.5s`.

use super::error::shorten;
use super::json::{Reader, Value};
use std::time::Duration;

/// The longest duration (protobuf: `google.protobuf.Duration`, ten thousand years).
const LONGEST_SECONDS: u64 = 315_576_000_000;

/// Reads a duration above zero.
pub(super) fn proto_duration<'t>(reader: &mut Reader<'t>, value: Value<'t>) -> Option<Duration> {
    let text = reader.string(value)?;
    let duration = parse(&text).filter(|duration| !duration.is_zero());
    if duration.is_none() {
        let rule =
            "a number of seconds above 0, with at most nine digits after the point, and an `s`";
        reader.report(value, format_args!("`{}` is no duration: write {rule}", shorten(&text)));
    }
    duration
}

fn parse(text: &str) -> Option<Duration> {
    let number = text.strip_suffix('s')?;
    let (whole, fraction) = match number.split_once('.') {
        None => (number, "0"),
        Some((whole, fraction)) => (whole, fraction),
    };
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !is_digits(whole) || !is_digits(fraction) || fraction.len() > 9 {
        return None;
    }
    let seconds: u64 = whole.parse().ok().filter(|seconds| *seconds <= LONGEST_SECONDS)?;
    let nanos: u32 = format!("{fraction:0<9}").parse().ok()?;
    Some(Duration::new(seconds, nanos))
}
