//! What is offered by ALPN (RFC 7301), and what was agreed on. Pure.
//!
//! - A cluster with one protocol offers that. Without an agreement it speaks it nevertheless, as Envoy does.
//! - `auto` offers both, and what the endpoint chooses all its calls take, whatever their own version is.
//!   Without an agreement that is HTTP/1.1.
//! - A list of the configuration takes the place of these, without what is of another protocol than the
//!   connection's.
//! - Istio's `istio` stands for no protocol: a list with it offers, as Istio's own filter does, the token of
//!   the connection's protocol, `istio`, and the plain name; with `auto` the calls' versions decide then.
//! - Istio's `istio-peer-exchange` is never offered: whoever agrees on it begins with a frame about himself
//!   (Istio's filter `metadata_exchange`), which nobody reads here.

use super::{Kind, Speaks};
use mesh_core::model::Protocol;
use std::sync::Arc;

/// Istio's token for whatever is behind its mutual TLS.
const ISTIO: &str = "istio";

/// Istio's token for a frame about each end, before what is asked for.
const PEER_EXCHANGE: &str = "istio-peer-exchange";

/// Which lanes the calls of a cluster with TLS take.
pub(crate) fn speaks(protocol: Protocol, alpn: &[Arc<str>]) -> Speaks {
    match Speaks::of(protocol) {
        Speaks::AsCall if alpn.iter().all(|token| kind(token.as_bytes()).is_some()) => {
            Speaks::AsAgreed
        }
        speaks => speaks,
    }
}

/// What a connection in the lane of `lane` offers.
pub(super) fn offers(speaks: Speaks, alpn: &[Arc<str>], lane: Kind) -> Vec<&str> {
    if alpn.iter().any(|token| &**token == ISTIO) {
        return match lane {
            Kind::H1 => vec!["istio-http/1.1", ISTIO, "http/1.1"],
            Kind::H2 => vec!["istio-h2", ISTIO, "h2"],
        };
    }
    match (speaks, alpn) {
        (Speaks::AsAgreed, []) => vec!["h2", "http/1.1"],
        (Speaks::AsAgreed, alpn) => all_of(alpn),
        (_, []) => match lane {
            Kind::H1 => vec!["http/1.1"],
            Kind::H2 => vec!["h2"],
        },
        (_, alpn) => {
            let fits = |token: &&str| kind(token.as_bytes()).is_none_or(|kind| kind == lane);
            all(alpn).filter(fits).collect()
        }
    }
}

/// All that the configuration names and can be spoken: what is not HTTP offers that, since it is its caller's affair.
pub(super) fn all_of(alpn: &[Arc<str>]) -> Vec<&str> {
    all(alpn).collect()
}

fn all(alpn: &[Arc<str>]) -> impl Iterator<Item = &str> {
    alpn.iter().map(|token| &**token).filter(|token| *token != PEER_EXCHANGE)
}

/// What a connection speaks that was made in the lane of `lane`.
pub(super) fn agreed(speaks: Speaks, lane: Kind, protocol: Option<&[u8]>) -> Kind {
    match speaks {
        Speaks::AsAgreed => protocol.and_then(kind).unwrap_or(Kind::H1),
        _ => lane,
    }
}

/// The HTTP that a token stands for.
fn kind(token: &[u8]) -> Option<Kind> {
    match token {
        b"h2" | b"istio-h2" | b"istio-http/2" => Some(Kind::H2),
        b"http/1.1" | b"http/1.0" | b"istio-http/1.1" | b"istio-http/1.0" => Some(Kind::H1),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `alpn` in words; what is offered in the lane of HTTP/1.1 and of HTTP/2.
    #[track_caller]
    fn check(protocol: Protocol, alpn: &str, expected: Speaks, h1: &str, h2: &str) {
        let alpn: Vec<Arc<str>> = alpn.split_whitespace().map(Arc::from).collect();
        let speaks = speaks(protocol, &alpn);
        assert_eq!(speaks, expected);
        for (lane, offered) in [(Kind::H1, h1), (Kind::H2, h2)] {
            assert_eq!(offers(speaks, &alpn, lane).join(" "), offered, "{lane:?}");
        }
    }

    #[test]
    fn what_is_offered() {
        use Protocol::{Auto, Http1, Http2};
        check(Http1, "", Speaks::Http1, "http/1.1", "h2");
        check(Http2, "", Speaks::Http2, "http/1.1", "h2");
        check(Auto, "", Speaks::AsAgreed, "h2 http/1.1", "h2 http/1.1");
        check(Auto, "http/1.1 h2", Speaks::AsAgreed, "http/1.1 h2", "http/1.1 h2");
        check(Http1, "h2 http/1.1", Speaks::Http1, "http/1.1", "h2");
        check(Http2, "acme h2 http/1.1", Speaks::Http2, "acme http/1.1", "acme h2");
        // Istio's alpn filter.
        let (h1, h2) = ("istio-http/1.1 istio http/1.1", "istio-h2 istio h2");
        check(Auto, "istio-peer-exchange istio", Speaks::AsCall, h1, h2);
        check(Http2, "istio-peer-exchange istio h2", Speaks::Http2, h1, h2);
        check(Http2, "istio-peer-exchange h2", Speaks::Http2, "", "h2");
    }

    #[test]
    fn what_byte_streams_offer() {
        let alpn = |text: &str| text.split_whitespace().map(Arc::from).collect::<Vec<Arc<str>>>();
        for (configured, offered) in
            [("", ""), ("acme h2", "acme h2"), ("istio-peer-exchange istio", "istio")]
        {
            assert_eq!(all_of(&alpn(configured)).join(" "), offered);
        }
    }

    #[test]
    fn what_was_agreed_on() {
        for (speaks, lane, protocol, expected) in [
            (Speaks::AsAgreed, Kind::H2, Some("h2"), Kind::H2),
            (Speaks::AsAgreed, Kind::H2, Some("http/1.1"), Kind::H1),
            (Speaks::AsAgreed, Kind::H1, Some("istio-h2"), Kind::H2),
            (Speaks::AsAgreed, Kind::H2, None, Kind::H1),
            (Speaks::Http2, Kind::H2, None, Kind::H2),
            (Speaks::AsCall, Kind::H2, Some("istio"), Kind::H2),
            (Speaks::AsCall, Kind::H1, Some("istio"), Kind::H1),
        ] {
            assert_eq!(agreed(speaks, lane, protocol.map(str::as_bytes)), expected);
        }
    }
}
