//! Which requests ask for another protocol, or for a tunnel.
//!
//! - HTTP/1.1: `connection: upgrade` with `upgrade: PROTOCOL` (RFC 9110 section 7.8). The answer 101 agrees; any other
//!   is an answer like all others.
//! - HTTP/2: extended CONNECT with `:protocol` (RFC 8441; RFC 9220 for HTTP/3). It is made the request of HTTP/1.1
//!   that asks for the same ([`Extended`]), before any policy sees it, as Envoy does; towards an endpoint of HTTP/2 it
//!   is made one again ([`Extends`]).
//! - `CONNECT host:port` (RFC 9110 section 9.3.6). An answer of 2xx agrees. Its target always has a port.

use crate::random::Random;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::header::{
    CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    UPGRADE,
};
use http::uri::Authority;
use http::{Method, StatusCode, Uri, Version};
use sha1_smol::Sha1;

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "closed by RFC 9110")]
pub enum Asks {
    /// An answer.
    Answer,
    /// To go on in another protocol, if who answers agrees.
    Upgrade,
    /// A tunnel to the authority of its URI.
    Tunnel,
}

impl Asks {
    /// What a request asks for. An upgrade to HTTP/2 (`h2c`) is none: nobody does it any more (RFC 9113 section 3.1),
    /// and the answer in HTTP/1.1 is right.
    #[must_use]
    pub fn of(method: &Method, version: Version, headers: &HeaderMap) -> Self {
        if *method == Method::CONNECT {
            return Self::Tunnel;
        }
        let upgrades = version == Version::HTTP_11
            && asks_for_another(headers)
            && headers.get_all(CONNECTION).iter().any(|value| {
                let words = value.to_str().unwrap_or_default().split(',');
                words.map(str::trim).any(|word| word.eq_ignore_ascii_case("upgrade"))
            });
        if upgrades { Self::Upgrade } else { Self::Answer }
    }

    /// What an answer of this status says to it; `is_extended`: it is to be said over HTTP/2 (RFC 8441).
    #[must_use]
    pub fn answered(self, status: StatusCode, is_extended: bool) -> Answered {
        let agrees = match self {
            Self::Answer => false,
            Self::Upgrade => status == StatusCode::SWITCHING_PROTOCOLS,
            Self::Tunnel => status.is_success(),
        };
        match agrees {
            true => Answered::Agreed,
            false if is_extended && status.is_success() => Answered::Unsayable,
            false => Answered::Plain,
        }
    }
}

/// What an answer says to a request that asks for another protocol, or for a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "closed by RFC 9110 and RFC 8441")]
pub enum Answered {
    /// It agrees.
    Agreed,
    /// It is an answer like all others.
    Plain,
    /// It stays with HTTP, and is good: over HTTP/2 that would be the other protocol's beginning.
    Unsayable,
}

/// That a request came as an extended CONNECT over HTTP/2 (RFC 8441), and is one of HTTP/1.1 now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extended {
    /// It came with a key, of which the answer is the caller's affair.
    has_key: bool,
}

impl Extended {
    /// Makes the head of an extended CONNECT for `protocol` that of an upgrade. A WebSocket of HTTP/1.1 wants a key,
    /// which has no meaning over HTTP/2 (RFC 8441 section 5): it is made by `random`. Envoy passes one on that its own
    /// caller has sent over HTTP/1.1, who waits for the answer to it.
    ///
    /// # Errors
    /// [`BadProtocol`]: the name is none, or one of HTTP/2 itself; nothing is changed then.
    pub fn read(
        method: &mut Method,
        headers: &mut HeaderMap,
        protocol: &str,
        random: &mut impl Random,
    ) -> Result<Self, BadProtocol> {
        let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~/".contains(c);
        let is_name = !protocol.is_empty() && protocol.chars().all(is_token);
        if !is_name || protocol.eq_ignore_ascii_case("h2c") {
            return Err(BadProtocol);
        }
        let name = HeaderValue::from_str(protocol).map_err(|_no_text| BadProtocol)?;
        *method = Method::GET;
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, name);
        let has_key = headers.contains_key(SEC_WEBSOCKET_KEY);
        if protocol.eq_ignore_ascii_case("websocket") && !has_key {
            let bytes = [random.next_u64().to_ne_bytes(), random.next_u64().to_ne_bytes()].concat();
            if let Ok(key) = HeaderValue::from_str(&BASE64.encode(bytes)) {
                headers.insert(SEC_WEBSOCKET_KEY, key);
            }
        }
        Ok(Self { has_key })
    }

    /// Makes the head of the answer 101 what agrees over HTTP/2.
    pub fn agree(self, status: &mut StatusCode, headers: &mut HeaderMap) {
        *status = StatusCode::OK;
        for name in [CONNECTION, UPGRADE] {
            headers.remove(name);
        }
        if !self.has_key {
            headers.remove(SEC_WEBSOCKET_ACCEPT);
        }
    }
}

/// An upgrade of HTTP/1.1 that goes on as an extended CONNECT, to an endpoint of HTTP/2 (RFC 8441).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extends {
    upgrade: HeaderValue,
    protocol: Box<str>,
    /// Of a WebSocket: what the caller wants an answer to.
    key: Option<HeaderValue>,
}

impl Extends {
    /// Makes the head of an upgrade that of an extended CONNECT; `None`: it is none, and nothing is changed. Of several
    /// protocols the first is asked for, which is what the caller prefers (RFC 9110 section 7.8).
    pub fn write(method: &mut Method, headers: &mut HeaderMap) -> Option<Self> {
        let words = headers.get(UPGRADE)?.to_str().ok()?;
        let protocol = words.split(',').map(str::trim).next().filter(|word| !word.is_empty())?;
        let (upgrade, protocol) = (HeaderValue::from_str(protocol).ok()?, protocol.into());
        *method = Method::CONNECT;
        // What follows is no body, of no length.
        for name in [CONNECTION, UPGRADE, CONTENT_LENGTH] {
            headers.remove(name);
        }
        let key = headers.get(SEC_WEBSOCKET_KEY).cloned();
        Some(Self { upgrade, protocol, key })
    }

    /// What is asked for: `:protocol`.
    #[must_use]
    pub fn protocol(&self) -> &str {
        &self.protocol
    }

    /// Makes the head of an answer that agrees that of HTTP/1.1. The answer to the key of a WebSocket is made here: an
    /// endpoint of HTTP/2 has none (RFC 8441 section 5; RFC 6455 section 4.2.2).
    pub fn agree(&self, status: &mut StatusCode, headers: &mut HeaderMap) {
        *status = StatusCode::SWITCHING_PROTOCOLS;
        headers.remove(CONTENT_LENGTH);
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, self.upgrade.clone());
        let Some(key) = &self.key else { return };
        let mut hashed = Sha1::from(key.as_bytes());
        hashed.update(WEBSOCKET);
        if let Ok(accept) = HeaderValue::from_str(&BASE64.encode(hashed.digest().bytes())) {
            headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
        }
    }
}

/// What is hashed with a key (RFC 6455 section 1.3).
const WEBSOCKET: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Why an extended CONNECT is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the `:protocol` of CONNECT is none that a connection of HTTP/1.1 can become")]
#[expect(clippy::exhaustive_structs, reason = "there is one reason")]
pub struct BadProtocol;

/// Whether `upgrade` names protocols, and HTTP/2 is none of them.
fn asks_for_another(headers: &HeaderMap) -> bool {
    let values = || headers.get_all(UPGRADE).iter().map(HeaderValue::as_bytes);
    // What is no text names no protocol, and what is beside it may be read by somebody.
    let is_text = values().all(<[u8]>::is_ascii);
    let mut words =
        values().flat_map(|value| value.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    let is_there = headers.contains_key(UPGRADE);
    is_there && is_text && !words.any(|word| word.eq_ignore_ascii_case(b"h2c"))
}

/// Where a tunnel leads: a host and a port, and nothing else (RFC 9110 section 9.3.6).
///
/// # Errors
/// [`BadTunnel`]: the URI is another one.
pub fn tunnel_target(uri: &Uri) -> Result<&Authority, BadTunnel> {
    let authority = uri.authority().ok_or(BadTunnel)?;
    let is_plain = !authority.as_str().contains('@') && !authority.host().is_empty();
    (is_plain && authority.port_u16().is_some_and(|port| port > 0))
        .then_some(authority)
        .ok_or(BadTunnel)
}

/// Why there is no tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("CONNECT is for a host and a port, such as `db.internal:5432`")]
#[expect(clippy::exhaustive_structs, reason = "there is one reason")]
pub struct BadTunnel;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(method: &str, version: Version, headers: &[(&str, &str)], expected: Asks) {
        let mut builder = http::Request::builder().method(method).uri("a:1").version(version);
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        let request = builder.body(()).unwrap();
        let asks = Asks::of(request.method(), request.version(), request.headers());
        assert_eq!(asks, expected, "{method} {version:?} {headers:?}");
    }

    #[test]
    fn what_is_no_text_asks_for_nothing() {
        for value in [&b"h2c, \xe9"[..], b"websocket, \xff", b"\xe9", b" h2c\t, \x80"] {
            let mut request = http::Request::get("/").header("connection", "upgrade");
            request = request.header("upgrade", HeaderValue::from_bytes(value).unwrap());
            let request = request.body(()).unwrap();
            let asks = Asks::of(request.method(), request.version(), request.headers());
            assert_eq!(asks, Asks::Answer, "{value:?}");
        }
    }

    #[test]
    fn rfc9110_7_8_both_headers_ask() {
        let (connection, upgrade) =
            (("connection", "Keep-Alive, Upgrade"), ("upgrade", "websocket"));
        let h11 = Version::HTTP_11;
        check("GET", h11, &[connection, upgrade], Asks::Upgrade);
        check("POST", h11, &[("connection", "upgrade"), ("upgrade", "mine/1")], Asks::Upgrade);
        check("GET", h11, &[upgrade], Asks::Answer);
        check("GET", h11, &[connection], Asks::Answer);
        check("GET", h11, &[connection, ("upgrade", "H2C")], Asks::Answer);
        check("GET", h11, &[connection, ("upgrade", "websocket, h2c")], Asks::Answer);
        check("GET", h11, &[connection, upgrade, ("upgrade", "h2c,")], Asks::Answer);
        check("GET", Version::HTTP_10, &[connection, upgrade], Asks::Answer);
        check("GET", Version::HTTP_2, &[connection, upgrade], Asks::Answer);
        check("CONNECT", h11, &[], Asks::Tunnel);
        check("CONNECT", Version::HTTP_2, &[], Asks::Tunnel);
    }

    #[test]
    fn rfc8441_an_extended_connect_is_an_upgrade() {
        use crate::random::SplitMix64;
        let mut random = SplitMix64::new(1);
        for (protocol, has_key) in
            [("websocket", true), ("WebSocket", true), ("connect-udp", false)]
        {
            let (mut method, mut headers) = (Method::CONNECT, HeaderMap::new());
            headers.insert("sec-websocket-version", HeaderValue::from_static("13"));
            let extended = Extended::read(&mut method, &mut headers, protocol, &mut random);
            let extended = extended.unwrap();
            assert_eq!(Asks::of(&method, Version::HTTP_11, &headers), Asks::Upgrade);
            assert_eq!(
                (method, &headers["upgrade"]),
                (Method::GET, &HeaderValue::from_str(protocol).unwrap())
            );
            let key = headers.get("sec-websocket-key").map(|key| BASE64.decode(key).unwrap().len());
            assert_eq!(key, has_key.then_some(16), "RFC 6455 section 4.1: 16 bytes");
            let mut status = StatusCode::SWITCHING_PROTOCOLS;
            headers.insert("sec-websocket-accept", HeaderValue::from_static("x"));
            extended.agree(&mut status, &mut headers);
            assert_eq!(status, StatusCode::OK);
            for gone in ["connection", "upgrade", "sec-websocket-accept"] {
                assert!(!headers.contains_key(gone), "{gone}");
            }
            assert!(headers.contains_key("sec-websocket-version"));
        }
        for protocol in ["", "h2c", "a b", "a,b", "\u{e4}"] {
            let (mut method, mut headers) = (Method::CONNECT, HeaderMap::new());
            let read = Extended::read(&mut method, &mut headers, protocol, &mut random);
            assert_eq!((read, method, headers.len()), (Err(BadProtocol), Method::CONNECT, 0));
        }
    }

    /// As Envoy passes it on: the caller behind it waits for the answer to his own key.
    #[test]
    fn a_key_that_came_over_http2_stays() {
        let mut random = crate::random::SplitMix64::new(1);
        let (mut method, mut headers) = (Method::CONNECT, HeaderMap::new());
        headers.insert("sec-websocket-key", HeaderValue::from_static("mine"));
        let extended = Extended::read(&mut method, &mut headers, "websocket", &mut random).unwrap();
        assert_eq!(headers["sec-websocket-key"], "mine");
        let mut answer = HeaderMap::new();
        answer.insert("sec-websocket-accept", HeaderValue::from_static("yours"));
        let mut status = StatusCode::SWITCHING_PROTOCOLS;
        extended.agree(&mut status, &mut answer);
        assert_eq!(answer["sec-websocket-accept"], "yours");
    }

    #[track_caller]
    fn extends(headers: &[(&'static str, &'static str)], protocol: &str, answer: &[(&str, &str)]) {
        let mut asked = HeaderMap::new();
        for (name, value) in headers {
            asked.append(*name, HeaderValue::from_static(value));
        }
        asked.insert("content-length", HeaderValue::from_static("0"));
        let mut method = Method::GET;
        let extends = Extends::write(&mut method, &mut asked).unwrap();
        assert_eq!((method, extends.protocol()), (Method::CONNECT, protocol));
        for gone in ["connection", "upgrade", "content-length"] {
            assert!(!asked.contains_key(gone), "{gone}");
        }
        let (mut status, mut said) = (StatusCode::OK, HeaderMap::new());
        said.insert("content-length", HeaderValue::from_static("0"));
        extends.agree(&mut status, &mut said);
        assert_eq!(status, StatusCode::SWITCHING_PROTOCOLS);
        let mut said: Vec<_> =
            said.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        said.sort_unstable();
        assert_eq!(said, answer);
    }

    #[test]
    fn rfc8441_an_upgrade_is_an_extended_connect() {
        let upgrade = ("connection", "upgrade");
        let agreed = |protocol| [upgrade, ("upgrade", protocol)];
        extends(&[upgrade, ("upgrade", "mine/1")], "mine/1", &agreed("mine/1"));
        extends(&[upgrade, ("upgrade", "b, a")], "b", &agreed("b"));
        // RFC 6455 section 1.3.
        let websocket =
            [upgrade, ("upgrade", "websocket"), ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")];
        let accept = ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        extends(&websocket, "websocket", &[upgrade, accept, ("upgrade", "websocket")]);
        for (name, value) in [("upgrade", ""), ("upgrade", " ,"), ("other", "x")] {
            let (mut method, mut headers) = (Method::GET, HeaderMap::new());
            headers.insert(name, HeaderValue::from_static(value));
            assert_eq!(Extends::write(&mut method, &mut headers), None);
            assert_eq!((method, headers.len()), (Method::GET, 1));
        }
    }

    #[test]
    fn who_agrees() {
        use Answered::{Agreed, Plain, Unsayable};
        for (asks, status, over_http1, over_http2) in [
            (Asks::Upgrade, 101, Agreed, Agreed),
            (Asks::Upgrade, 200, Plain, Unsayable),
            (Asks::Upgrade, 404, Plain, Plain),
            (Asks::Tunnel, 200, Agreed, Agreed),
            (Asks::Tunnel, 204, Agreed, Agreed),
            (Asks::Tunnel, 101, Plain, Plain),
            (Asks::Tunnel, 502, Plain, Plain),
            (Asks::Answer, 101, Plain, Plain),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(asks.answered(status, false), over_http1, "{asks:?} {status}");
            assert_eq!(asks.answered(status, true), over_http2, "{asks:?} {status}, extended");
        }
    }

    #[test]
    fn rfc9110_9_3_6_a_tunnel_has_a_port() {
        for (uri, good) in [
            ("db.internal:5432", true),
            ("[::1]:443", true),
            ("db.internal", false),
            ("db.internal:0", false),
            ("user@db.internal:5432", false),
            ("/path", false),
        ] {
            assert_eq!(tunnel_target(&uri.parse().unwrap()).is_ok(), good, "{uri}");
        }
    }
}
