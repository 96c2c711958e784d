//! Headers that are of one connection, and end with it (RFC 9110 section 7.6.1).
//!
//! - `connection` and what it names; `keep-alive`, `proxy-connection`, `transfer-encoding`, `upgrade`.
//! - `te` stays as `trailers`, which says that who asked can take them (gRPC asks for it).
//! - `expect: 100-continue` has been answered by who took the request (Envoy does the same); what else is expected is
//!   for the server (RFC 9110 section 10.1.1).
//! - A body in another coding than `chunked` (RFC 9112 section 7) can't be passed on without it: [`UnknownCoding`].
//! - `proxy-authorization` and `proxy-authenticate` are between a client and its proxy.
//!
//! What `connection` names goes before anything is added to a head ([`strip_named`]): a caller must not take off what a
//! server says of him. All else goes when the head is passed on ([`strip`]).
//!
//! Of a request for another protocol, and of the answer that agrees, `upgrade` stays, and `connection` names it alone.

use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE,
};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Headers that `connection` must not take away: without them nobody knows what a message is, or for whom.
/// [`strip`] takes `transfer-encoding` off, and the length beside it, which means nothing (RFC 9112 section 6.3).
const NEVER_NAMED: [&str; 8] = [
    "host",
    "content-length",
    "content-type",
    "te",
    "trailer",
    "authorization",
    "upgrade",
    "transfer-encoding",
];

/// Takes off what `connection` names, but for `upgrade`.
pub fn strip_named(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        for name in named(headers) {
            headers.remove(name);
        }
    }
}

/// Takes off an answer what HTTP/2 forbids (RFC 9113 section 8.2.2): `connection` and what it names, `keep-alive`,
/// `proxy-connection`, `transfer-encoding`, `upgrade`, `te`. Most answers have nothing of it.
pub fn strip_answer(headers: &mut HeaderMap) {
    if headers.keys().any(is_of_connection) {
        strip_named(headers);
        for name in OF_CONNECTION {
            headers.remove(name);
        }
    }
}

/// What is of a connection of HTTP/1.1, in any message.
const OF_CONNECTION: [HeaderName; 6] =
    [CONNECTION, KEEP_ALIVE, PROXY_CONNECTION, TRANSFER_ENCODING, UPGRADE, TE];

/// One look at the length of the name.
fn is_of_connection(name: &HeaderName) -> bool {
    matches!(name.as_str().len(), 2 | 7 | 10 | 16 | 17) && OF_CONNECTION.contains(name)
}

/// Somebody sends a body in a coding of the connection's that is not spoken here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the transfer coding `{0}` is not spoken here, only `chunked` is")]
#[expect(clippy::exhaustive_structs, reason = "there is nothing else to say")]
pub struct UnknownCoding(
    /// What `transfer-encoding` says.
    pub String,
);

/// Takes the others off. With a `transfer-encoding` a `content-length` means nothing (RFC 9112 section 6.3).
/// `upgrades`: the message asks for another protocol, or agrees to it.
///
/// # Errors
/// [`UnknownCoding`]: of a request 501 (RFC 9112 section 6.1), of an answer 502.
pub fn strip(headers: &mut HeaderMap, upgrades: bool) -> Result<(), UnknownCoding> {
    if !headers.iter().any(|(name, value)| is_hop_by_hop(name, value)) {
        return Ok(());
    }
    check_coding(headers)?;
    let upgrade = if upgrades { headers.remove(UPGRADE) } else { None };
    if headers.contains_key(TRANSFER_ENCODING) {
        headers.remove(CONTENT_LENGTH);
    }
    let fixed = [
        CONNECTION,
        KEEP_ALIVE,
        PROXY_CONNECTION,
        HTTP2_SETTINGS,
        TRANSFER_ENCODING,
        UPGRADE,
        PROXY_AUTHORIZATION,
        PROXY_AUTHENTICATE,
    ];
    for name in fixed {
        headers.remove(name);
    }
    if headers.get(EXPECT).is_some_and(is_continue) {
        headers.remove(EXPECT);
    }
    if headers.contains_key(TE) {
        let takes_trailers = headers.get_all(TE).iter().any(takes_trailers);
        headers.remove(TE);
        if takes_trailers {
            headers.insert(TE, HeaderValue::from_static("trailers"));
        }
    }
    if let Some(upgrade) = upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, upgrade);
    }
    Ok(())
}

fn check_coding(headers: &HeaderMap) -> Result<(), UnknownCoding> {
    let values = headers.get_all(TRANSFER_ENCODING).iter();
    let mut unknown = values.filter(|value| !value.as_bytes().eq_ignore_ascii_case(b"chunked"));
    unknown.next().map_or(Ok(()), |value| {
        Err(UnknownCoding(String::from_utf8_lossy(value.as_bytes()).into_owned()))
    })
}

/// One look at the lengths of names; most heads have none of them.
fn is_hop_by_hop(name: &HeaderName, value: &HeaderValue) -> bool {
    match name.as_str().len() {
        2 => *name == TE && value != "trailers",
        6 => *name == EXPECT && is_continue(value),
        7 => *name == UPGRADE,
        10 => *name == CONNECTION || *name == KEEP_ALIVE,
        14 => *name == HTTP2_SETTINGS,
        16 => *name == PROXY_CONNECTION,
        17 => *name == TRANSFER_ENCODING,
        18 => *name == PROXY_AUTHENTICATE,
        19 => *name == PROXY_AUTHORIZATION,
        _ => false,
    }
}

/// Whether this `expect` is the one that a client waits with its body for (RFC 9110 section 10.1.1).
#[must_use]
pub fn is_continue(value: &HeaderValue) -> bool {
    value.as_bytes().eq_ignore_ascii_case(b"100-continue")
}

/// What `connection` names.
fn named(headers: &HeaderMap) -> Vec<HeaderName> {
    let values = headers.get_all(CONNECTION).iter();
    let names = values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    let names = names.filter_map(|name| name.trim().parse::<HeaderName>().ok());
    names.filter(|name| !NEVER_NAMED.contains(&name.as_str())).collect()
}

fn takes_trailers(value: &HeaderValue) -> bool {
    let words = value.to_str().unwrap_or_default().split(',');
    let mut words = words.map(|word| word.split(';').next().unwrap_or_default().trim());
    words.any(|word| word.eq_ignore_ascii_case("trailers"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is left of `name: value` lines.
    #[track_caller]
    fn check(came: &[&str], upgrades: bool, left: &[&str]) {
        let lines = |lines: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                let (name, value) = line.split_once(": ").unwrap();
                headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
            }
            headers
        };
        let mut headers = lines(came);
        strip_named(&mut headers);
        strip(&mut headers, upgrades).unwrap();
        assert_eq!(headers, lines(left), "{came:?}");
    }

    #[test]
    fn rfc9110_7_6_1_what_is_of_the_connection_goes() {
        check(&["accept: x", "host: a"], false, &["accept: x", "host: a"]);
        check(&["connection: close", "accept: x"], false, &["accept: x"]);
        check(&["connection: close, X-Hop", "x-hop: 1", "x-end: 2"], false, &["x-end: 2"]);
        check(&["connection: x-a", "connection: x-b", "x-a: 1", "x-b: 1"], false, &[]);
        check(&["keep-alive: timeout=5", "transfer-encoding: chunked"], false, &[]);
        check(&["proxy-connection: keep-alive", "proxy-authorization: Basic x"], false, &[]);
        check(&["expect: 100-continue", "content-length: 3"], false, &["content-length: 3"]);
        check(&["expect: a-miracle", "keep-alive: 1"], false, &["expect: a-miracle"]);
    }

    #[test]
    fn rfc9113_8_2_2_an_answer_over_http2_has_nothing_of_a_connection() {
        let mut answer: HeaderMap = [
            ("connection", "X-Hop, close"),
            ("x-hop", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "close"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("te", "trailers"),
        ]
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
        .into_iter()
        .collect();
        answer.insert("server", HeaderValue::from_static("a"));
        strip_answer(&mut answer);
        assert_eq!(answer.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["server"]);
        strip_answer(&mut answer);
        assert_eq!(answer.len(), 1);
    }

    #[test]
    fn rfc9112_7_a_body_is_not_passed_on_without_its_coding() {
        for (coding, is_known) in [
            ("chunked", true),
            ("Chunked", true),
            ("gzip, chunked", false),
            ("chunked, chunked", false),
            ("identity", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(TRANSFER_ENCODING, coding.parse().unwrap());
            let stripped = strip(&mut headers, false);
            let unknown = (!is_known).then(|| UnknownCoding(coding.to_owned()));
            assert_eq!(stripped.err(), unknown, "{coding}");
            assert_eq!(headers.is_empty(), is_known, "{coding}");
        }
    }

    #[test]
    fn nobody_is_made_deaf_by_what_connection_names() {
        for kept in ["host: a", "content-length: 3", "content-type: x", "authorization: b"] {
            let name = kept.split_once(':').unwrap().0;
            check(&[&format!("connection: {name}"), kept], false, &[kept]);
        }
    }

    #[test]
    fn te_says_no_more_than_trailers() {
        check(&["te: trailers"], false, &["te: trailers"]);
        check(&["te: gzip, Trailers;q=0.5"], false, &["te: trailers"]);
        check(&["te: gzip", "te: trailers"], false, &["te: trailers"]);
        check(&["te: gzip", "connection: te"], false, &[]);
        check(&["transfer-encoding: chunked", "content-length: 5"], false, &[]);
        let named = "connection: transfer-encoding";
        check(&[named, "transfer-encoding: chunked", "content-length: 5"], false, &[]);
        check(&["http2-settings: AAMAAABk"], false, &[]);
        check(&["te: trailers", "connection: te"], false, &["te: trailers"]);
    }

    #[test]
    fn an_upgrade_stays_where_it_is_asked_for() {
        let came = ["connection: keep-alive, Upgrade", "upgrade: websocket", "keep-alive: 1"];
        check(&came, true, &["connection: upgrade", "upgrade: websocket"]);
        check(&came, false, &[]);
    }
}
