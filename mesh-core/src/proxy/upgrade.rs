//! Which requests ask for another protocol, or for a tunnel.
//!
//! - HTTP/1.1: `connection: upgrade` with `upgrade: PROTOCOL` (RFC 9110 section 7.8). The answer 101 agrees; any other
//!   is an answer like all others.
//! - `CONNECT host:port` (RFC 9110 section 9.3.6). An answer of 2xx agrees. Its target always has a port.

use http::header::{CONNECTION, HeaderMap, UPGRADE};
use http::uri::Authority;
use http::{Method, StatusCode, Uri, Version};

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

    /// Whether an answer of this status agrees to it.
    #[must_use]
    pub fn is_agreed(self, status: StatusCode) -> bool {
        match self {
            Self::Answer => false,
            Self::Upgrade => status == StatusCode::SWITCHING_PROTOCOLS,
            Self::Tunnel => status.is_success(),
        }
    }
}

/// Whether `upgrade` names protocols, and HTTP/2 is none of them.
fn asks_for_another(headers: &HeaderMap) -> bool {
    let values = headers.get_all(UPGRADE).iter().map(|value| value.to_str().unwrap_or_default());
    let mut words = values.flat_map(|value| value.split(',')).map(str::trim);
    headers.contains_key(UPGRADE) && !words.any(|word| word.eq_ignore_ascii_case("h2c"))
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
    fn who_agrees() {
        for (asks, status, agreed) in [
            (Asks::Upgrade, 101, true),
            (Asks::Upgrade, 200, false),
            (Asks::Tunnel, 200, true),
            (Asks::Tunnel, 204, true),
            (Asks::Tunnel, 101, false),
            (Asks::Tunnel, 502, false),
            (Asks::Answer, 101, false),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(asks.is_agreed(status), agreed, "{asks:?} {status}");
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
