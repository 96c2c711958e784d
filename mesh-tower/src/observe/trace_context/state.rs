//! [`TraceState`]: what tracing vendors add to a trace context, passed on unchanged.

use http::header::{HeaderMap, HeaderName, HeaderValue};

/// A valid, bounded `tracestate`. Clones share the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceState(HeaderValue);

/// Bytes that are passed on at most; what every vendor must be able to pass on.
const MAX_LENGTH: usize = 512;
/// Members that are too long to be kept when the whole is.
const LONG_MEMBER: usize = 128;
const MAX_MEMBERS: usize = 32;

impl TraceState {
    /// The header's name.
    pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

    /// Reads all `tracestate` headers as one. `None`: there is none, or it is invalid.
    ///
    /// Empty members are dropped. Shares the text of a single header that is within the limits.
    #[must_use]
    pub fn extract(headers: &HeaderMap) -> Option<Self> {
        let values = headers.get_all(Self::TRACESTATE);
        let mut members = Vec::new();
        for value in &values {
            let of_value = value.as_bytes().split(|byte| *byte == b',').map(trim);
            members.extend(of_value.filter(|member| !member.is_empty()));
        }
        let is_valid = !members.is_empty()
            && members.len() <= MAX_MEMBERS
            && members.iter().all(|member| is_member(member));
        if !is_valid {
            return None;
        }
        let mut values = values.iter();
        match (values.next(), values.next()) {
            (Some(only), None) if only.len() <= MAX_LENGTH => Some(Self(only.clone())),
            _ => Self::join(members),
        }
    }

    /// The value of the `tracestate` header. Costs no allocation.
    #[must_use]
    pub fn header_value(&self) -> HeaderValue {
        self.0.clone()
    }

    /// Puts members together, without those that would make it too long.
    fn join(mut members: Vec<&[u8]>) -> Option<Self> {
        while joined_length(&members) > MAX_LENGTH {
            let long = members.iter().rposition(|member| member.len() > LONG_MEMBER);
            members.remove(long.unwrap_or(members.len() - 1));
        }
        if members.is_empty() {
            return None;
        }
        HeaderValue::from_bytes(&members.join(&b","[..])).ok().map(Self)
    }
}

fn joined_length(members: &[&[u8]]) -> usize {
    members.iter().map(|member| member.len() + 1).sum::<usize>().saturating_sub(1)
}

/// Removes optional white space (RFC 9110 section 5.6.3).
fn trim(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

/// `key=value` (W3C Trace Context "list-members").
fn is_member(member: &[u8]) -> bool {
    let Some(equals) = member.iter().position(|byte| *byte == b'=') else { return false };
    is_key(&member[..equals]) && is_value(&member[equals + 1..])
}

/// "Key": a vendor, or `tenant@system`.
fn is_key(key: &[u8]) -> bool {
    match key.iter().position(|byte| *byte == b'@') {
        None => is_name(key, 256) && key[0].is_ascii_lowercase(),
        Some(at) => {
            let (tenant, system) = (&key[..at], &key[at + 1..]);
            is_name(tenant, 241) && is_name(system, 14) && system[0].is_ascii_lowercase()
        }
    }
}

/// Up to `longest` letters, of which the first is a lower-case letter or a digit.
fn is_name(name: &[u8], longest: usize) -> bool {
    let is_first = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_rest = |byte: &u8| is_first(*byte) || matches!(byte, b'_' | b'-' | b'*' | b'/');
    name.len() <= longest && name.first().copied().is_some_and(is_first) && name.iter().all(is_rest)
}

/// "Value": visible ASCII and spaces without comma and equals, not ending in a space.
fn is_value(value: &[u8]) -> bool {
    let is_letter = |byte: &u8| matches!(byte, b' '..=b'~') && !matches!(byte, b',' | b'=');
    value.len() <= 256
        && value.iter().all(is_letter)
        && value.last().is_some_and(|last| *last != b' ')
}
