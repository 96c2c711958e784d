//! What a proxy does with the heads of what passes through it, how that comes to it, and nobody else does.
//!
//! | module | what |
//! |---|---|
//! | [`capture`] | rules of the system that lead connections to a proxy which were made to others |
//! | [`cookies`] | the crumbs of HTTP/2, made one header |
//! | [`detect`] | what a connection carries, by its first bytes |
//! | [`hop_by_hop`] | headers that are of one connection, and end with it (RFC 9110 section 7.6.1) |
//! | [`hops`] | the ports that a request has passed, and that it passes none twice |
//! | [`stream`] | how a stream of bytes ended, and what that is called |
//! | [`upgrade`] | which requests ask for another protocol, or for a tunnel |
//!
//! Headers are edited in place; time and chance are arguments. What it does not do: routes, policies, bodies.

pub mod capture;
pub mod cookies;
pub mod detect;
pub mod hop_by_hop;
pub mod hops;
pub mod stream;
pub mod upgrade;

use crate::random::Random;
use http::{HeaderMap, HeaderName, HeaderValue};

/// What one request is called by everybody who sees it (Envoy: "x-request-id").
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// How a client came to the first proxy (Envoy: "x-forwarded-proto").
pub const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Gives a request an id, if it has none: a UUID by chance (RFC 9562 section 5.4).
pub fn identify(headers: &mut HeaderMap, random: &mut impl Random) {
    if headers.contains_key(X_REQUEST_ID) {
        return;
    }
    let text = uuid(random.next_u64(), random.next_u64());
    if let Ok(id) = HeaderValue::from_bytes(&text) {
        headers.insert(X_REQUEST_ID, id);
    }
}

/// Says how a request came, if no proxy before has.
pub fn note_scheme(headers: &mut HeaderMap, is_tls: bool) {
    let scheme = HeaderValue::from_static(if is_tls { "https" } else { "http" });
    headers.entry(X_FORWARDED_PROTO).or_insert(scheme);
}

/// A UUID of version 4, as text.
fn uuid(high: u64, low: u64) -> [u8; 36] {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    // The version, and the variant.
    let bits = (u128::from(high) << 64 | u128::from(low)) & !(0xf << 76) & !(0x3 << 62);
    let bits = bits | (0x4 << 76) | (0x2 << 62);
    let mut text = [b'-'; 36];
    let places = (0..36).filter(|at| ![8, 13, 18, 23].contains(at));
    for (digit, place) in places.enumerate() {
        text[place] = HEX[(bits >> (124 - 4 * digit)) as usize & 0xf];
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SplitMix64;

    #[test]
    fn rfc9562_5_4_version_and_variant() {
        assert_eq!(&uuid(0, 0), b"00000000-0000-4000-8000-000000000000");
        assert_eq!(&uuid(u64::MAX, u64::MAX), b"ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(&uuid(0x0123_4567_89ab_cdef, 7), b"01234567-89ab-4def-8000-000000000007");
    }

    #[test]
    fn what_is_there_stays() {
        let mut headers = HeaderMap::new();
        let mut random = SplitMix64::new(1);
        identify(&mut headers, &mut random);
        note_scheme(&mut headers, false);
        let first = headers.clone();
        identify(&mut headers, &mut random);
        note_scheme(&mut headers, true);
        assert_eq!(headers, first);
        assert_eq!(headers[X_FORWARDED_PROTO], "http");
    }
}
