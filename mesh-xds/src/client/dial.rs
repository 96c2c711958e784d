//! [`Dialed`]: a connection to a server, secured as its credentials say.
//!
//! ```text
//! token, certificates ── places of the target, in their order ── socket ── TLS ── HTTP/2
//! ```
//!
//! The files come first: without them nobody is bothered. Where a name has several addresses, they are tried as
//! RFC 8305 wants it ("Happy Eyeballs"); the addresses of a list one after the other, as it is written, each
//! for its share of [`PATIENCE`]. After a stream without a response the list begins at its next address: one
//! that takes connections and says nothing must not be taken again and again.
//!
//! What it does not do: connecting again. A connection that is lost ends its stream, and the next stream
//! dials anew, with the certificates and the token of then.

use super::credentials::{Credentials, Security};
use super::noted::{Lost, Noted, Stream};
use crate::bootstrap::{Server, Target};
use futures_core::future::BoxFuture;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;
use tonic::Request;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tower::ServiceExt as _;

/// How long all addresses of a target may take together: less than the protocol waits for a connection.
const PATIENCE: Duration = Duration::from_secs(15);

/// HTTP/2 PINGs on an idle connection, so that a half-open one does not hang in silence (grpc-go and
/// grpc-java: 5 min).
const KEEPALIVE: Duration = Duration::from_secs(60);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// A connection, and what proves who we are with each call on it.
pub(super) struct Dialed {
    pub(super) channel: Channel,
    authorization: Vec<MetadataValue<Ascii>>,
    security: Security,
    lost: Lost,
}

/// Where a socket leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Host(Arc<str>, u16),
    Address(SocketAddr),
    /// The path of a Unix socket; it begins with a zero byte when it is in the abstract name space.
    Socket(Vec<u8>),
}

impl Dialed {
    /// Connects; `failures` streams in a row had no response.
    ///
    /// # Errors
    /// Why not, in words: of the place that was tried last.
    pub(super) async fn new(
        server: &Server,
        credentials: &Credentials,
        failures: usize,
    ) -> Result<Self, String> {
        let authorization = credentials.authorization().await?;
        let security = credentials.security().await?;
        let places = places(server.target(), failures)?;
        let count = u32::try_from(places.len()).unwrap_or(u32::MAX).max(1);
        let share = PATIENCE / count;
        let mut last = "no address".to_owned();
        for place in &places {
            match timeout(share, channel(place, &security, share)).await {
                Ok(Ok((channel, lost))) => {
                    return Ok(Self { channel, authorization, security, lost });
                }
                Ok(Err(error)) => last = error,
                Err(_elapsed) => {
                    last = format!("{}: no connection within {share:?}", place.named())
                }
            }
        }
        Err(last)
    }

    /// A call on it.
    pub(super) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        for value in &self.authorization {
            request.metadata_mut().append("authorization", value.clone());
        }
        request
    }

    /// What an error of the connection says, all of it, and what may help; once the rest of a secured
    /// connection is read. `opening`: the stream has no head yet.
    pub(super) fn told(
        &self,
        error: &(dyn Error + 'static),
        opening: bool,
    ) -> BoxFuture<'static, String> {
        let (text, lost, security) = (chain(error), self.lost.clone(), self.security.clone());
        Box::pin(async move { told(text, &lost, &security, opening).await })
    }
}

impl Place {
    /// The authority of calls, and what messages call it.
    fn named(&self) -> String {
        match self {
            Self::Host(host, port) => format!("{host}:{port}"),
            Self::Address(address) => address.to_string(),
            // As in gRPC.
            Self::Socket(_) => "localhost".to_owned(),
        }
    }

    /// What its certificate must be for.
    #[cfg(feature = "tls")]
    fn host(&self) -> String {
        match self {
            Self::Host(host, _) => host.to_string(),
            Self::Address(address) => address.ip().to_string(),
            Self::Socket(_) => "localhost".to_owned(),
        }
    }
}

fn places(target: &Target, failures: usize) -> Result<Vec<Place>, String> {
    let mut places = match target {
        Target::Dns { host, port } => vec![Place::Host(Arc::clone(host), *port)],
        Target::Addresses(addresses) => addresses.iter().copied().map(Place::Address).collect(),
        Target::Unix(path) => vec![Place::Socket(path.as_os_str().as_encoded_bytes().to_vec())],
        Target::UnixAbstract(name) if cfg!(any(target_os = "linux", target_os = "android")) => {
            vec![Place::Socket([b"\0", name.as_bytes()].concat())]
        }
        Target::UnixAbstract(_) => {
            return Err(format!("{target}: only Linux has abstract sockets; use `unix:`"));
        }
    };
    let first = failures.checked_rem(places.len()).unwrap_or_default();
    places.rotate_left(first);
    Ok(places)
}

async fn channel(
    place: &Place,
    security: &Security,
    share: Duration,
) -> Result<(Channel, Lost), String> {
    let stream = socket(place, share).await?;
    let (scheme, stream): (_, Box<dyn Stream>) = match security {
        Security::None => ("http", stream),
        #[cfg(feature = "tls")]
        Security::Tls(tls, config) => {
            let config = Arc::clone(config);
            ("https", Box::new(super::tls::secure(stream, &place.host(), config, tls).await?))
        }
    };
    let authority = place.named();
    let endpoint = endpoint(&format!("http://{authority}"), &format!("{scheme}://{authority}"))?;
    let lost = Lost::default();
    let mut stream = Some(TokioIo::new(Noted::new(stream, &lost)));
    let once = lost.clone();
    let connector = tower::service_fn(move |_: http::Uri| {
        let stream = stream.take().ok_or_else(|| once.error());
        async move { stream }
    });
    match endpoint.connect_with_connector(connector).await {
        Ok(channel) => Ok((channel, lost)),
        Err(error) => {
            let told = told(chain(&error), &lost, security, true).await;
            Err(format!("{authority}: {told}"))
        }
    }
}

/// `uri` is what tonic connects to, which has no TLS of its own here; `origin` what calls say.
fn endpoint(uri: &str, origin: &str) -> Result<Endpoint, String> {
    let invalid = |error: &dyn Error| format!("{uri}: {error}");
    let endpoint = Endpoint::from_shared(uri.to_owned()).map_err(|error| invalid(&error))?;
    let origin = origin.parse().map_err(|error: http::uri::InvalidUri| invalid(&error))?;
    Ok(endpoint
        .origin(origin)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true))
}

async fn socket(place: &Place, share: Duration) -> Result<Box<dyn Stream>, String> {
    match place {
        Place::Socket(path) => unix(path).await,
        Place::Host(..) | Place::Address(_) => {
            let named = place.named();
            let uri = format!("http://{named}").parse::<http::Uri>();
            let uri = uri.map_err(|error| format!("{named}: {error}"))?;
            let mut connector = HttpConnector::new();
            connector.set_nodelay(true);
            connector.set_connect_timeout(Some(share));
            let connected = connector.oneshot(uri).await;
            let connected = connected.map_err(|error| format!("{named}: {}", chain(&error)))?;
            Ok(Box::new(connected.into_inner()))
        }
    }
}

#[cfg(unix)]
async fn unix(path: &[u8]) -> Result<Box<dyn Stream>, String> {
    use std::os::unix::ffi::OsStrExt;
    let path = std::ffi::OsStr::from_bytes(path);
    let connected = tokio::net::UnixStream::connect(path).await;
    let shown = path.to_string_lossy().replacen('\0', "@", 1);
    Ok(Box::new(connected.map_err(|error| format!("the socket `{shown}`: {error}"))?))
}

#[cfg(not(unix))]
async fn unix(_: &[u8]) -> Result<Box<dyn Stream>, String> {
    std::future::ready(Err("this system has no Unix sockets: use `dns:` or `ipv4:`".to_owned()))
        .await
}

/// An error and its sources; each is told once.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    for source in std::iter::successors(error.source(), |error| (**error).source()) {
        let source = source.to_string();
        if !text.contains(&source) {
            text.push_str(": ");
            text.push_str(&source);
        }
    }
    text
}

#[cfg(feature = "tls")]
async fn told(mut text: String, lost: &Lost, security: &Security, opening: bool) -> String {
    if let Security::Tls(tls, _) = security {
        lost.settle().await;
        text.push_str(&lost.left_out_of(&text, opening).unwrap_or_default());
        text.push_str(&tls.way_out_of(&text).unwrap_or_default());
    }
    text
}

#[cfg(not(feature = "tls"))]
async fn told(text: String, _: &Lost, _: &Security, _: bool) -> String {
    std::future::ready(text).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[test]
    fn a_target_is_its_places() {
        for (target, expected) in [
            ("dns:///a.example:15012", vec!["a.example:15012"]),
            ("[::1]:15012", vec!["[::1]:15012"]),
            ("ipv4:10.0.0.1,10.0.0.2:80", vec!["10.0.0.1:443", "10.0.0.2:80"]),
            ("ipv6:[fe80::1]:1,[::2]", vec!["[fe80::1]:1", "[::2]:443"]),
            ("unix:/run/xds.sock", vec!["localhost"]),
            #[cfg(target_os = "linux")]
            ("unix-abstract:xds", vec!["localhost"]),
        ] {
            let places = places(&Target::parse(target).unwrap(), 0).unwrap();
            assert_eq!(places.iter().map(Place::named).collect::<Vec<_>>(), expected, "{target}");
        }
    }

    #[test]
    fn a_list_begins_at_the_next_address_after_each_failure() {
        let target = Target::parse("ipv4:10.0.0.1,10.0.0.2,10.0.0.3").unwrap();
        let first = |failures| places(&target, failures).unwrap()[0].named();
        let firsts: Vec<_> = (0..5).map(first).collect();
        let expected = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.1", "10.0.0.2"];
        assert_eq!(firsts, expected.map(|ip| format!("{ip}:443")));
        assert_eq!(places(&target, 2).unwrap().len(), 3, "none is left out");
    }

    #[test]
    #[cfg(feature = "tls")]
    fn a_certificate_is_for_the_host_of_the_target() {
        for (target, expected) in [
            ("dns:///a.example:15012", "a.example"),
            ("[::1]:15012", "::1"),
            ("10.0.0.1", "10.0.0.1"),
            ("unix:/run/xds.sock", "localhost"),
        ] {
            let places = places(&Target::parse(target).unwrap(), 0).unwrap();
            assert_eq!(places[0].host(), expected, "{target}");
        }
    }

    #[test]
    fn an_error_is_told_with_its_sources_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("outer")]
        struct Outer(#[source] io::Error);
        assert_eq!(chain(&Outer(io::Error::other("inner"))), "outer: inner");
        assert_eq!(chain(&Outer(io::Error::other("outer"))), "outer");
    }
}
