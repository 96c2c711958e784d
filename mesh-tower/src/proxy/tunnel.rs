//! Requests that go on in another protocol, and CONNECT: what they agree on is carried by a task of its own.

use super::capture::Captured;
use super::carrying::Carrying;
use super::http::{Port, take_back};
use super::relay_options;
use super::reply::{self, ForwardBody, Told};
use crate::MeshBody;
use crate::error::Error;
use crate::server::{self, Connection, OnTunnel, Tunnel, TunnelStream};
use crate::tcp::{MeshStream, Proxied, RelayEnd, RelayOptions, Relayed};
use http::request::Parts;
use http::uri::{PathAndQuery, Scheme};
use http::{Request, Response, StatusCode, Uri};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use mesh_core::inbound::HandedOn;
use mesh_core::proxy::upgrade::{Answered, Asks, Extended, tunnel_target};
use std::io;
use std::sync::Arc;
use tokio::io::AsyncWriteExt;
use tower_service::Service;

/// What has to be known of the connection that a request came on, which is to go on in another protocol.
#[derive(Default)]
pub(super) struct Leaving {
    connection: Option<Arc<Connection>>,
    /// What is left of it then; `None`: it can't go on in another.
    left: Option<Left>,
    /// It is a stream of HTTP/2, and not the connection.
    extended: Option<Extended>,
}

/// What becomes of a request.
enum Left {
    /// The whole connection, of HTTP/1.1.
    Connection(OnUpgrade),
    /// A stream of HTTP/2.
    Stream(OnTunnel),
}

/// The bytes of who asked.
enum Client {
    Connection(TokioIo<Upgraded>),
    Stream(TunnelStream),
}

impl Left {
    async fn bytes(self) -> io::Result<Client> {
        match self {
            Self::Connection(upgrade) => {
                let upgraded = upgrade.await.map_err(io::Error::other)?;
                Ok(Client::Connection(TokioIo::new(upgraded)))
            }
            Self::Stream(opens) => Ok(Client::Stream(opens.await?)),
        }
    }
}

impl Client {
    /// Carries what it and the endpoint say; where that breaks, neither takes what it got for the whole.
    async fn carry(self, mut carrying: Carrying, options: RelayOptions) -> Relayed {
        match self {
            Self::Connection(mut client) => {
                let relayed = carrying.relay(&mut client, options).await;
                if relayed.cuts_first() {
                    server::reset(client.into_inner());
                }
                relayed
            }
            Self::Stream(mut client) => {
                let relayed = carrying.relay(&mut client, options).await;
                if relayed.cuts_first() {
                    client.reset();
                } else {
                    // What was written goes out first; dropped as it is, it would be reset.
                    drop(client.shutdown().await);
                }
                relayed
            }
        }
    }
}

impl Leaving {
    pub(super) fn take(parts: &mut Parts, connection: Option<Arc<Connection>>) -> Self {
        let stream = parts.extensions.remove().map(Left::Stream);
        let left = stream.or_else(|| parts.extensions.remove().map(Left::Connection));
        Self { connection, left, extended: parts.extensions.remove() }
    }

    fn proxied(&self) -> Proxied {
        let ends = self.connection.as_ref().and_then(|c| c.remote.zip(c.local));
        Proxied { ends }
    }
}

/// Passes on a request that asks for another protocol, or for a tunnel.
pub(super) async fn leave(
    port: Arc<Port>,
    (asks, mut request): (Asks, Request<MeshBody>),
    (leaving, handed): (Leaving, Option<HandedOn>),
    told: Told,
) -> Response<ForwardBody> {
    if asks == Asks::Tunnel {
        if !port.for_application {
            let text = "this port takes requests, and no tunnels".to_owned();
            return reply::refused(StatusCode::METHOD_NOT_ALLOWED, text, told);
        }
        match target(request.uri()) {
            Ok(uri) => *request.uri_mut() = uri,
            Err(text) => return reply::refused(StatusCode::BAD_REQUEST, text, told),
        }
        // It says itself where it goes, wherever the proxy was that it was meant for.
        let _meant = request.extensions_mut().remove::<Captured>();
        // What follows a request for a tunnel is no body of it.
        *request.body_mut() = MeshBody::empty();
        request.extensions_mut().insert(leaving.proxied());
    }
    match port.own(handed).call(request).await {
        Err(error) => reply::failed(&error, told),
        Ok(mut response) => {
            let answered = asks.answered(response.status(), leaving.extended.is_some());
            let agreed = answered == Answered::Agreed;
            if let Err(unknown) = take_back(&mut response, agreed && asks == Asks::Upgrade) {
                return reply::unreadable(&unknown, told);
            }
            if answered == Answered::Unsayable {
                let status = response.status();
                let text = format!(
                    "the endpoint answered {status} and stays with HTTP, which can't be said over HTTP/2: there it would be the other protocol's beginning (RFC 8441)"
                );
                return reply::refused(StatusCode::BAD_GATEWAY, text, told);
            }
            if !agreed {
                return response.map(ForwardBody::Own);
            }
            let (parts, body) = response.into_parts();
            let mut response = Response::from_parts(parts, ForwardBody::empty());
            if let Some(extended) = leaving.extended {
                let mut status = response.status();
                extended.agree(&mut status, response.headers_mut());
                *response.status_mut() = status;
            }
            match asks {
                Asks::Tunnel => match MeshStream::of_bytes(Response::new(body)) {
                    Ok(stream) => carry(&port, leaving, async { Ok(stream) }),
                    Err(error) => return failed(&error, told),
                },
                Asks::Upgrade | Asks::Answer => {
                    carry(&port, leaving, MeshStream::of_upgrade(body));
                }
            }
            response
        }
    }
}

#[cold]
fn failed(error: &Error, told: Told) -> Response<ForwardBody> {
    reply::failed(error, told)
}

/// CONNECT is routed by its authority, and by the path `/`.
fn target(uri: &Uri) -> Result<Uri, String> {
    let authority = tunnel_target(uri).map_err(|bad| bad.to_string())?;
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Some(authority.clone());
    parts.path_and_query = Some(PathAndQuery::from_static("/"));
    Uri::from_parts(parts).map_err(|error| error.to_string())
}

/// Carries what the two ends say, once both connections are handed over.
#[expect(clippy::disallowed_methods, reason = "a tunnel outlives its request, so it is a task")]
fn carry(
    port: &Arc<Port>,
    leaving: Leaving,
    endpoint: impl Future<Output = io::Result<MeshStream>> + Send + 'static,
) {
    let Leaving { connection, left, .. } = leaving;
    let (Some(connection), Some(left)) = (connection, left) else { return };
    let chain = &connection.chain.model().name;
    let options = relay_options(&port.mesh, (&port.listener, chain));
    let mut tunnel = connection.tunnel();
    drop(tokio::spawn(async move {
        let carried = async {
            let (client, endpoint) = tokio::try_join!(left.bytes(), endpoint)?;
            Ok::<_, io::Error>(client.carry(Carrying::new(endpoint, None), options).await)
        };
        told(carried, &mut tunnel).await;
    }));
}

async fn told(carried: impl Future<Output = io::Result<Relayed>>, tunnel: &mut Tunnel) {
    let carried = tokio::select! {
        biased;
        carried = carried => carried,
        () = tunnel.closed() => return,
    };
    match carried {
        Ok(relayed) if matches!(relayed.end, RelayEnd::Complete) => {}
        Ok(relayed) => {
            tracing::debug!(target: "mesh::proxy", end = ?relayed.end, "a tunnel ended");
        }
        Err(error) => tracing::debug!(target: "mesh::proxy", %error, "there was no tunnel"),
    }
}
