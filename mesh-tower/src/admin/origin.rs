//! [`Origin`]: where a request comes from, and what it may do.
//!
//! Whoever reaches a page can read it; what changes something is decided here:
//!
//! 1. A request with an `origin` header comes from a page in somebody's browser, and no page of ours sends any: it
//!    changes nothing.
//! 2. Over a connection that a listener of the mesh accepted ([`Connection`] in the request's extensions), the other
//!    end has to have proven an identity: mutual TLS. Who of those may is for the listener's RBAC to say.
//! 3. Over a connection of [`AdminServer`](super::AdminServer), both ends have to be loopback addresses, the address
//!    that it listens on among them.
//! 4. A plaintext connection of rule 2 with both ends on loopback counts as rule 3.
//! 5. Of any other nothing is known, so it changes nothing.
//!
//! And a browser that was led to think that some name is this host (DNS rebinding) reads nothing either: on loopback
//! the host that is asked for is `localhost` or an address.

use crate::server::Connection;
use http::uri::Authority;
use http::{header, request};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// The ends of a connection of [`AdminServer`](super::AdminServer): `local` is where it listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ends {
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
}

/// Where a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// A page in a browser.
    Browser,
    /// The other end has proven who it is.
    Proven,
    /// This host.
    Loopback,
    /// Elsewhere, or who knows.
    Elsewhere,
}

impl Origin {
    /// Finds out.
    pub(super) fn of(head: &request::Parts) -> Self {
        if head.headers.contains_key(header::ORIGIN) {
            return Self::Browser;
        }
        if let Some(connection) = head.extensions.get::<Arc<Connection>>() {
            let ends = [connection.local, connection.remote];
            let is_loopback = ends.iter().all(|end| end.is_some_and(|end| is_loopback(end.ip())));
            return match (connection.peer.certificate(), is_loopback) {
                (Some(_), _) => Self::Proven,
                (None, true) => Self::Loopback,
                (None, false) => Self::Elsewhere,
            };
        }
        let ends = head.extensions.get::<Ends>();
        let is_here =
            ends.is_some_and(|ends| is_loopback(ends.local.ip()) && is_loopback(ends.remote.ip()));
        if is_here { Self::Loopback } else { Self::Elsewhere }
    }

    /// Whether it may change something.
    ///
    /// # Errors
    /// Why not, and how it may.
    pub(super) const fn may_change(self) -> Result<(), &'static str> {
        match self {
            Self::Proven | Self::Loopback => Ok(()),
            Self::Browser => Err(
                "what changes something is not taken from a page in a browser (the request has an `origin`): send it \
                 from a program",
            ),
            Self::Elsewhere => Err(
                "what changes something needs mutual TLS off loopback: listen on a loopback address, or serve the \
                 admin by a listener of the mesh that asks for certificates",
            ),
        }
    }
}

/// Whether a request may read, asking for this host.
///
/// # Errors
/// Why not, and how it may.
pub(super) fn may_read(head: &request::Parts) -> Result<(), &'static str> {
    let is_local = head.extensions.get::<Ends>().is_some_and(|ends| is_loopback(ends.local.ip()));
    if !is_local || host(head).is_none_or(|host| is_here(&host)) {
        return Ok(());
    }
    Err(
        "on loopback, ask for `localhost` or for the address itself: another name may be a page's that wants to \
         read this in your browser",
    )
}

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// The host that is asked for, without its port; `None`: HTTP/1.0 asks for none.
fn host(head: &request::Parts) -> Option<String> {
    let host = match head.uri.authority() {
        Some(authority) => authority.as_str(),
        None => head.headers.get(header::HOST)?.to_str().unwrap_or("?"),
    };
    // What is no authority is no address.
    Some(host.parse::<Authority>().map_or_else(|_| "?".to_owned(), |host| host.host().to_owned()))
}

fn is_here(host: &str) -> bool {
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;
    use mesh_core::identity::{Peer, PeerCertificate};
    use mesh_core::inbound::CompiledListener;
    use mesh_core::model::{FilterChain, Listener};

    fn head(request: request::Builder) -> request::Parts {
        request.body(()).unwrap().into_parts().0
    }

    fn ends(local: &str, remote: &str) -> Ends {
        Ends { local: local.parse().unwrap(), remote: remote.parse().unwrap() }
    }

    #[test]
    fn of_our_own_server_both_ends_are_loopback() {
        for (local, remote, expected) in [
            ("127.0.0.1:1", "127.0.0.1:2", Origin::Loopback),
            ("[::1]:1", "[::1]:2", Origin::Loopback),
            ("127.0.0.1:1", "127.8.0.1:2", Origin::Loopback),
            ("[::ffff:127.0.0.1]:1", "[::ffff:127.0.0.1]:2", Origin::Loopback),
            // It listens on every address.
            ("0.0.0.0:1", "127.0.0.1:2", Origin::Elsewhere),
            ("[::]:1", "[::1]:2", Origin::Elsewhere),
            ("10.0.0.1:1", "10.0.0.2:2", Origin::Elsewhere),
            ("127.0.0.1:1", "10.0.0.2:2", Origin::Elsewhere),
        ] {
            let head = head(Request::post("/drain").extension(ends(local, remote)));
            assert_eq!(Origin::of(&head), expected, "{local} {remote}");
            assert_eq!(Origin::of(&head).may_change().is_ok(), expected == Origin::Loopback);
        }
    }

    #[test]
    fn of_who_is_unknown_nothing_is_taken() {
        assert_eq!(Origin::of(&head(Request::post("/drain"))), Origin::Elsewhere);
    }

    #[test]
    fn what_a_browser_sends_for_a_page_is_not_taken() {
        let here = ends("127.0.0.1:1", "127.0.0.1:2");
        for origin in ["http://evil.example", "null", "http://127.0.0.1:1"] {
            let head = head(Request::post("/drain").extension(here).header("origin", origin));
            assert_eq!(Origin::of(&head), Origin::Browser);
            assert!(Origin::of(&head).may_change().is_err());
        }
    }

    #[test]
    fn of_a_listener_of_the_mesh_the_peer_has_proven_itself() {
        let mut listener = Listener::new("admin");
        listener.filter_chains = vec![Arc::new(FilterChain::new("all", None))];
        let compiled = CompiledListener::compile(&Arc::new(listener), None).unwrap();
        let facts = mesh_core::inbound::ConnectionFacts {
            destination: None,
            direct_source: None,
            source: None,
            transport_protocol: mesh_core::model::filter_chain::TransportProtocol::RawBuffer,
            server_name: "",
            application_protocols: &[],
        };
        let chain = Arc::clone(compiled.select(&facts).unwrap());
        let certified = Peer::Certified(Arc::new(PeerCertificate::new("CN=friend".to_owned())));
        let [near, far] = ["127.0.0.1:1", "10.0.0.1:1"].map(|end| end.parse::<SocketAddr>().ok());
        for (peer, local, remote, expected) in [
            (certified, far, far, Origin::Proven),
            (Peer::Tls, far, far, Origin::Elsewhere),
            (Peer::Plaintext, far, far, Origin::Elsewhere),
            (Peer::Plaintext, near, far, Origin::Elsewhere),
            (Peer::Plaintext, near, near, Origin::Loopback),
            (Peer::Plaintext, None, None, Origin::Elsewhere),
        ] {
            let mut connection = Connection::new("admin".into(), Arc::clone(&chain));
            (connection.peer, connection.local, connection.remote) = (peer, local, remote);
            // Ends of another server in front count nothing.
            let ours = ends("127.0.0.1:1", "127.0.0.1:2");
            let request = Request::post("/drain").extension(ours).extension(Arc::new(connection));
            assert_eq!(Origin::of(&head(request)), expected);
        }
    }

    #[test]
    fn a_name_that_was_made_to_lead_here_reads_nothing() {
        let (here, open) = (ends("127.0.0.1:1", "127.0.0.1:2"), ends("0.0.0.0:1", "127.0.0.1:2"));
        for (host, ends, readable) in [
            ("localhost:9901", here, true),
            ("LOCALHOST", here, true),
            ("127.0.0.1:9901", here, true),
            ("[::1]:9901", here, true),
            ("10.1.2.3", here, true),
            ("evil.example:9901", here, false),
            ("localhost.evil.example", here, false),
            ("", here, false),
            ("pod-7.internal", open, true),
        ] {
            let head = head(Request::get("/").extension(ends).header("host", host));
            assert_eq!(may_read(&head).is_ok(), readable, "{host}");
        }
        let old = head(Request::get("/").extension(here));
        assert!(may_read(&old).is_ok());
        let absolute = head(Request::get("http://evil.example/").extension(here));
        assert!(may_read(&absolute).is_err());
    }
}
