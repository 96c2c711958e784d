//! [`TraceContext`] and [`TraceState`]: W3C Trace Context, read strictly and passed on.
//!
//! A mesh that passes the context on with every attempt makes the hops of a call one trace, whether
//! or not anything here records spans. So this is the format alone: pure, ids by argument.
//!
//! Rules (W3C Trace Context, Recommendation of 2021-11-23, and Level 2 for the random flag):
//! - "traceparent Header": lower-case hexadecimal, no id all zero, version `ff` forbidden, version
//!   `00` exactly 55 bytes; a higher version is read by its first four fields and passed on as `00`;
//! - an invalid, missing or repeated `traceparent` is no context, and its `tracestate` is dropped;
//! - "tracestate Header": at most 32 members, keys and values by their grammar; an invalid one is
//!   dropped without harm to `traceparent`;
//! - "tracestate Limits": above 512 bytes, members longer than 128 go first, then those at the end;
//! - flags other than sampled and random are passed on as zero.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use mesh_core::Random;
use std::fmt;

mod state;

pub use state::TraceState;

/// Which trace a request belongs to, and which span is its parent. Copied, 25 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceContext {
    trace_id: [u8; 16],
    span_id: [u8; 8],
    flags: u8,
}

/// Why a `traceparent` is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TraceContextError {
    /// It is shorter than 55 bytes, or its fields are not where they belong.
    #[error("traceparent is not of the form 00-<32 digits>-<16 digits>-<2 digits>")]
    Form,
    /// A digit is not lower-case hexadecimal.
    #[error("traceparent has a digit that is not lower-case hexadecimal")]
    Digit,
    /// The version is `ff`.
    #[error("traceparent has the forbidden version ff")]
    Version,
    /// The trace id or the parent id is zero.
    #[error("traceparent has an id that is all zero")]
    ZeroId,
}

impl TraceContext {
    /// The header's name.
    pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

    const SAMPLED: u8 = 1;
    const RANDOM: u8 = 2;

    /// Starts a trace with random ids.
    #[must_use]
    pub fn root(random: &mut impl Random, sampled: bool) -> Self {
        let mut trace_id = [0; 16];
        let (high, low) = trace_id.split_at_mut(8);
        high.copy_from_slice(&random.next_u64().to_be_bytes());
        low.copy_from_slice(&random_id(random));
        let flags = Self::RANDOM | u8::from(sampled);
        Self { trace_id, span_id: random_id(random), flags }
    }

    /// The same trace with a new span, whose parent is this context's.
    #[must_use]
    pub fn child(&self, random: &mut impl Random) -> Self {
        Self { span_id: random_id(random), ..*self }
    }

    /// Reads the value of a `traceparent` header.
    ///
    /// # Errors
    ///
    /// Says which rule it breaks.
    pub fn parse(value: &[u8]) -> Result<Self, TraceContextError> {
        let (fixed, rest) = value.split_at_checked(LENGTH).ok_or(TraceContextError::Form)?;
        if [fixed[2], fixed[35], fixed[52]] != [b'-'; 3] {
            return Err(TraceContextError::Form);
        }
        let [version] = digits(&fixed[..2])?;
        match (version, rest.first()) {
            (0xff, _) => return Err(TraceContextError::Version),
            (_, None) => {}
            (0, Some(_)) => return Err(TraceContextError::Form),
            (_, Some(b'-')) => {}
            (_, Some(_)) => return Err(TraceContextError::Form),
        }
        let (trace_id, span_id) = (digits(&fixed[3..35])?, digits(&fixed[36..52])?);
        let [flags] = digits(&fixed[53..])?;
        if trace_id == [0; 16] || span_id == [0; 8] {
            return Err(TraceContextError::ZeroId);
        }
        Ok(Self { trace_id, span_id, flags: flags & (Self::SAMPLED | Self::RANDOM) })
    }

    /// The context of a request, if it has a valid one, and the state that came with it.
    #[must_use]
    pub fn extract(headers: &HeaderMap) -> Option<(Self, Option<TraceState>)> {
        let mut values = headers.get_all(Self::TRACEPARENT).iter();
        let (Some(value), None) = (values.next(), values.next()) else { return None };
        Some((Self::parse(value.as_bytes()).ok()?, TraceState::extract(headers)))
    }

    /// Puts the context and its state into the headers of a request, in place of what is there.
    pub fn inject(&self, state: Option<&TraceState>, headers: &mut HeaderMap) {
        headers.insert(Self::TRACEPARENT, self.header_value());
        match state {
            Some(state) => headers.insert(TraceState::TRACESTATE, state.header_value()),
            None => headers.remove(TraceState::TRACESTATE),
        };
    }

    /// The value of the `traceparent` header. Costs one allocation.
    #[must_use]
    pub fn header_value(&self) -> HeaderValue {
        // Digits and dashes: always valid.
        HeaderValue::from_bytes(&self.encode()).unwrap_or_else(|_| HeaderValue::from_static(""))
    }

    /// The trace.
    #[must_use]
    pub const fn trace_id(&self) -> [u8; 16] {
        self.trace_id
    }

    /// The span; as seen by whom it is sent to, the parent.
    #[must_use]
    pub const fn span_id(&self) -> [u8; 8] {
        self.span_id
    }

    /// Whether the caller may have recorded it.
    #[must_use]
    pub const fn is_sampled(&self) -> bool {
        self.flags & Self::SAMPLED != 0
    }

    /// The flags: 1 is sampled, 2 is random; no other is kept.
    #[must_use]
    pub const fn flags(&self) -> u8 {
        self.flags
    }

    fn encode(&self) -> [u8; LENGTH] {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        write_digits(&mut text[3..35], &self.trace_id);
        write_digits(&mut text[36..52], &self.span_id);
        write_digits(&mut text[53..], &[self.flags]);
        text
    }
}

impl fmt::Display for TraceContext {
    /// The value of the `traceparent` header.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.encode().iter().try_for_each(|byte| fmt::Write::write_char(f, char::from(*byte)))
    }
}

impl fmt::Debug for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TraceContext({self})")
    }
}

/// Bytes of a version 00 `traceparent`.
const LENGTH: usize = 55;

/// Eight bytes that are not all zero.
fn random_id(random: &mut impl Random) -> [u8; 8] {
    // Zero comes once in 2^64 and stands for "none".
    random.next_u64().max(1).to_be_bytes()
}

fn digits<const N: usize>(text: &[u8]) -> Result<[u8; N], TraceContextError> {
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Ok(bytes)
}

const fn digit(letter: u8) -> Result<u8, TraceContextError> {
    match letter {
        b'0'..=b'9' => Ok(letter - b'0'),
        b'a'..=b'f' => Ok(letter - b'a' + 10),
        _ => Err(TraceContextError::Digit),
    }
}

fn write_digits(out: &mut [u8], bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (pair, byte) in out.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
}

#[cfg(test)]
mod tests;
