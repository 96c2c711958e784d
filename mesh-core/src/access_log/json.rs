//! JSON, as RFC 8259 has it: on one line, whatever the values are.

use super::record::Attempt;
use super::text::MAX_VALUE_BYTES;
use super::value::{Millis, Put, Value};
use std::fmt::{self, Write};
use std::time::Duration;

/// Appends `value` as JSON; what there is none of is `null`.
pub(super) fn write(value: Value<'_>, length: Option<usize>, out: &mut String) {
    // Writing to a string can't fail.
    let written = match value {
        Value::Absent => out.write_str("null"),
        Value::Number(number) => write!(out, "{number}"),
        Value::Millis(duration) => write!(out, "{}", Millis(duration)),
        Value::Attempts(attempts) => write_attempts(attempts, out),
        Value::Phases(phases) => write_phases(phases, out),
        text @ (Value::Bytes(_) | Value::Shown(_)) => {
            quoted(out, length, |escaped| text.put(escaped))
        }
    };
    written.unwrap_or_default();
}

/// Appends `value` inside of a string; what there is none of is `-`, as in text.
pub(super) fn write_inside(value: Value<'_>, length: Option<usize>, out: &mut String) {
    let before = out.len();
    let mut escaped = Escaped { left: length.unwrap_or(MAX_VALUE_BYTES), out };
    value.put(&mut escaped).unwrap_or_default();
    if out.len() == before {
        out.push('-');
    }
}

/// Appends a text of the format's own inside of a string.
pub(super) fn write_literal(text: &str, out: &mut String) {
    Escaped { left: usize::MAX, out }.write_str(text).unwrap_or_default();
}

/// Appends a string that is written by `write`.
fn quoted(
    out: &mut String,
    length: Option<usize>,
    write: impl FnOnce(&mut Escaped<'_>) -> fmt::Result,
) -> fmt::Result {
    out.push('"');
    let written = write(&mut Escaped { left: length.unwrap_or(MAX_VALUE_BYTES), out });
    out.push('"');
    written
}

/// Writes the inside of a string.
struct Escaped<'o> {
    out: &'o mut String,
    /// How many bytes may still come.
    left: usize,
}

impl Put for Escaped<'_> {
    fn put_bytes(&mut self, bytes: &[u8]) {
        for chunk in bytes.utf8_chunks() {
            chunk.valid().chars().for_each(|letter| self.letter(letter));
            if !chunk.invalid().is_empty() {
                self.letter(char::REPLACEMENT_CHARACTER);
            }
        }
    }
}

impl Escaped<'_> {
    fn letter(&mut self, letter: char) {
        let Some(left) = self.left.checked_sub(letter.len_utf8()) else {
            self.left = 0;
            return;
        };
        self.left = left;
        match letter {
            '"' | '\\' => self.out.extend(['\\', letter]),
            // Some readers take the last two for the end of a line.
            letter if letter.is_control() || matches!(letter, '\u{2028}' | '\u{2029}') => {
                write!(self.out, "\\u{:04x}", u32::from(letter)).unwrap_or_default();
            }
            letter => self.out.push(letter),
        }
    }
}

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().for_each(|letter| self.letter(letter));
        Ok(())
    }
}

fn write_attempts(attempts: &[Attempt<'_>], out: &mut String) -> fmt::Result {
    out.push('[');
    for (at, attempt) in attempts.iter().enumerate() {
        let separator = if at > 0 { "," } else { "" };
        write!(out, "{separator}{{\"attempt\":{},\"upstream_cluster\":", at + 1)?;
        write(Value::some_text(attempt.cluster), None, out);
        out.push_str(",\"upstream_host\":");
        match attempt.endpoint {
            Some(endpoint) => quoted(out, None, |escaped| write!(escaped, "{endpoint}"))?,
            None => out.push_str("null"),
        }
        out.push_str(",\"response_code\":");
        write(Value::some_number(attempt.status.map(|status| status.as_u16().into())), None, out);
        out.push_str(",\"grpc_status\":");
        write(Value::some_number(attempt.grpc_status.map(u64::from)), None, out);
        out.push_str(",\"response_flags\":");
        write(Value::some_text(attempt.flag.map(|flag| flag.as_str())), None, out);
        out.push_str(",\"reason\":");
        write(Value::some_text(attempt.reason), None, out);
        let (started, duration) = (Millis(attempt.started), Millis(attempt.duration));
        write!(out, ",\"started_ms\":{started},\"duration_ms\":{duration},\"phases_ms\":")?;
        write_phases(attempt.phases, out)?;
        out.push('}');
    }
    out.push(']');
    Ok(())
}

fn write_phases(phases: &[(&str, Duration)], out: &mut String) -> fmt::Result {
    out.push('{');
    for (at, (phase, duration)) in phases.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        quoted(out, None, |escaped| escaped.write_str(phase))?;
        write!(out, ":{}", Millis(*duration))?;
    }
    out.push('}');
    Ok(())
}
