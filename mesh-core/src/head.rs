//! What a decider may see of a request: [`RequestHead`], borrowed and never changed.

use crate::scan;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use std::net::SocketAddr;

/// The parts of a request that routing, hashing and authorization look at.
///
/// Borrowed from the caller's request, so taking a decision copies nothing.
#[derive(Clone, Copy, Debug)]
#[expect(
    clippy::exhaustive_structs,
    reason = "made by every adapter; a new field is to be thought of by each"
)]
pub struct RequestHead<'a> {
    /// The method.
    pub method: &'a Method,
    /// `host[:port]` as the caller wrote it: `:authority`, the `Host` header, or the URI's authority
    /// [without its userinfo](without_userinfo).
    pub authority: &'a str,
    /// Scheme of the request, when the caller gave one.
    pub scheme: Option<&'a str>,
    /// Path and query, as sent: starts with `/`, or is `*`, or is empty for CONNECT.
    pub path_and_query: &'a str,
    /// All headers; names are lower case.
    pub headers: &'a HeaderMap,
    /// Who sent the request, when it came over the network.
    pub peer: Peer<'a>,
    /// A random number that all calls of one channel share (gRPC: `io.grpc.channel_id`).
    pub channel_id: Option<u64>,
}

/// The sender of a request, as far as it is known. Client-side calls have none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "made by every adapter; a new field is to be thought of by each"
)]
pub struct Peer<'a> {
    /// Address of the directly connected peer.
    pub address: Option<SocketAddr>,
    /// The peer's authenticated identity, for example a SPIFFE id.
    pub identity: Option<&'a str>,
}

/// Whether a header of this name commonly proves who sends it, so that its value is shown to nobody.
#[must_use]
pub fn carries_credentials(name: &str) -> bool {
    const NAMES: [&str; 6] = [
        "authorization",
        "cookie",
        "proxy-authorization",
        "set-cookie",
        "x-api-key",
        "x-auth-token",
    ];
    NAMES.iter().any(|known| known.eq_ignore_ascii_case(name))
}

impl<'a> RequestHead<'a> {
    /// A head with no scheme, no peer and no channel.
    #[must_use]
    pub const fn new(
        method: &'a Method,
        authority: &'a str,
        path_and_query: &'a str,
        headers: &'a HeaderMap,
    ) -> Self {
        Self {
            method,
            authority,
            scheme: None,
            path_and_query,
            headers,
            peer: Peer { address: None, identity: None },
            channel_id: None,
        }
    }

    /// The path without query and fragment.
    #[must_use]
    pub fn path(&self) -> &'a str {
        let end = scan::find_either(self.path_and_query.as_bytes(), b'?', b'#');
        end.map_or(self.path_and_query, |end| &self.path_and_query[..end])
    }

    /// The query without its `?`, or the empty string.
    #[must_use]
    pub fn query(&self) -> &'a str {
        let Some((_, query)) = self.path_and_query.split_once('?') else { return "" };
        query.split_once('#').map_or(query, |(query, _)| query)
    }

    /// Whether the content type is gRPC's: `application/grpc`, alone or followed by `+` or `;`.
    ///
    /// Envoy: `Grpc::Common::hasGrpcContentType`.
    #[must_use]
    pub fn is_grpc(&self) -> bool {
        is_grpc_content_type(self.headers)
    }
}

/// An authority without the `user:password@` that RFC 3986 §3.2 allows before its host: it names no
/// service, and `:authority` never has it (RFC 9113 §8.3.1).
#[must_use]
pub fn without_userinfo(authority: &str) -> &str {
    // Hardly any has it, and every request is asked.
    if scan::find_either(authority.as_bytes(), b'@', b'@').is_none() {
        return authority;
    }
    authority.rsplit_once('@').map_or(authority, |(_, host)| host)
}

/// Whether everybody reads the same host in an authority (without userinfo): brackets are around an address and
/// nothing else, and a port is of digits (RFC 3986 section 3.2). In `[10.0.0.1].example.org` some read an
/// address, and others a name.
#[must_use]
pub fn is_one_host(authority: &str) -> bool {
    let bytes = authority.as_bytes();
    let is_port = |rest: &[u8]| rest.iter().all(u8::is_ascii_digit);
    match scan::find_either(bytes, b'[', b':') {
        None => scan::find_either(bytes, b']', b']').is_none(),
        Some(at) if bytes[at] == b':' => is_port(&bytes[at + 1..]),
        Some(0) => match authority[1..].split_once(']') {
            Some((_, rest)) => match rest.as_bytes() {
                [] => true,
                [b':', port @ ..] => is_port(port),
                _ => false,
            },
            None => false,
        },
        Some(_) => false,
    }
}

/// Where the `:` of the port is, in an authority or a part of one; `None`: it has no port. The colons of an
/// IPv6 address are none, with brackets or without.
#[inline]
#[must_use]
pub fn port_start(text: &[u8]) -> Option<usize> {
    let first = scan::find_either(text, b':', b']')?;
    let after = &text[first + 1..];
    if text[first] == b']' {
        // Of `[::1]:80` cut at the left: what is left of the brackets, or nothing.
        return (after.first() == Some(&b':')).then_some(first + 1);
    }
    match after.iter().rposition(|byte| *byte == b']') {
        Some(bracket) if after.get(bracket + 1) == Some(&b':') => Some(first + bracket + 2),
        Some(_) => None,
        // `[fe80:`, the start of a literal, and `::1`, a bare one, have no port.
        None if text[0] == b'[' || after.contains(&b':') => None,
        None => Some(first),
    }
}

/// The most headers that a head can have, whatever is allowed. An [`http::HeaderMap`] has room for 24,576,
/// and some of them are added here; hyper makes room for as many as are allowed before it reads any.
pub const MOST_HEADERS: u32 = 16_384;

/// A number as the value of a header: what `HeaderValue::from` makes, with one allocation in place of two.
#[must_use]
pub fn decimal(number: impl Into<u64>) -> HeaderValue {
    let (number, mut digits) = (number.into(), itoa::Buffer::new());
    // Digits are a value.
    HeaderValue::from_str(digits.format(number)).unwrap_or_else(|_| HeaderValue::from(number))
}

/// What `content-length` says; `None`: nothing, or nonsense, or several things, which HTTP refuses by itself (RFC 9110
/// section 8.6).
#[must_use]
pub fn content_length(headers: &HeaderMap) -> Option<u64> {
    let first = first_of(headers, &CONTENT_LENGTH)?;
    let length = whole_number(first.as_bytes())?;
    // Most heads have each header once.
    let is_said_once = headers.len() == headers.keys_len();
    let is_one = || headers.get_all(CONTENT_LENGTH).iter().all(|other| other == first);
    (is_said_once || is_one()).then_some(length)
}

/// What these digits say; `None`: they are not all digits, or there are none, or too many.
pub(crate) fn whole_number(digits: &[u8]) -> Option<u64> {
    let more = |number: u64, byte: &u8| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit < 10)?;
        number.checked_mul(10)?.checked_add(u64::from(digit))
    };
    if digits.is_empty() { None } else { digits.iter().try_fold(0, more) }
}

/// How many headers are looked through sooner than a name is hashed.
const FEW: usize = 4;

/// The first value of `name`. The heads and trailers of answers have a few headers each.
#[inline]
#[must_use]
pub fn first_of<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    if headers.len() > FEW {
        return headers.get(name);
    }
    headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
}

/// Whether `headers` carry gRPC's content type.
#[must_use]
pub fn is_grpc_content_type(headers: &HeaderMap) -> bool {
    headers.get(http::header::CONTENT_TYPE).is_some_and(is_grpc_value)
}

/// Whether a content type is gRPC's.
pub(crate) fn is_grpc_value(value: &HeaderValue) -> bool {
    match value.as_bytes().strip_prefix(b"application/grpc") {
        Some(rest) => matches!(rest.first(), None | Some(b'+' | b';')),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_read_in_one_way() {
        for (authority, expected) in [
            ("shop", true),
            ("shop.example.:80", true),
            ("shop:", true),
            ("[::1]", true),
            ("[::1]:80", true),
            ("[fe80::1%25eth0]:80", true),
            ("", true),
            ("[10.0.0.1].example.org", false),
            ("[::1].example.org:80", false),
            ("[::1]:8x", false),
            ("[::1]80", false),
            ("[::1", false),
            ("a]", false),
            ("a[::1]", false),
            ("internal:x.example.org", false),
            ("a:80:81", false),
        ] {
            assert_eq!(is_one_host(authority), expected, "{authority}");
        }
    }

    #[test]
    fn the_first_value_is_found_among_few_and_many() {
        let name = HeaderName::from_static("x-wanted");
        let mut headers = HeaderMap::new();
        for others in 0..2 * FEW {
            assert_eq!(first_of(&headers, &name), None);
            let mut with = headers.clone();
            with.append("x-wanted", HeaderValue::from_static("1"));
            with.append("x-wanted", HeaderValue::from_static("2"));
            assert_eq!(first_of(&with, &name), with.get(&name), "among {others}");
            headers
                .append(HeaderName::try_from(format!("x-{others}")).unwrap(), name.clone().into());
        }
    }

    #[test]
    fn path_and_query_are_split_and_the_fragment_dropped() {
        let headers = HeaderMap::new();
        let head = |path| RequestHead::new(&Method::GET, "a", path, &headers);
        assert_eq!((head("/a/b").path(), head("/a/b").query()), ("/a/b", ""));
        assert_eq!((head("/a?x=1#f").path(), head("/a?x=1#f").query()), ("/a", "x=1"));
        assert_eq!((head("/a#f?x=1").path(), head("*").path()), ("/a", "*"));
    }

    #[test]
    fn userinfo_is_no_part_of_a_services_name() {
        for (authority, host) in [
            ("r:80", "r:80"),
            ("u:p@r:80", "r:80"),
            ("u@[::1]:80", "[::1]:80"),
            ("a@b@r", "r"),
            ("", ""),
        ] {
            assert_eq!(without_userinfo(authority), host, "{authority}");
        }
    }

    #[test]
    fn grpc_content_type_needs_a_boundary() {
        for (value, grpc) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc;charset=utf-8", true),
            ("application/grpc-web", false),
            ("application/json", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("content-type", HeaderValue::from_static(value));
            assert_eq!(is_grpc_content_type(&headers), grpc, "{value}");
        }
    }
}
