//! [`ForwardHttp`]: requests that are passed on.

use super::capture::Captured;
use super::reply::{self, ForwardBody, Told};
use super::tunnel::{self, Leaving};
use crate::client::{Client, MeshFuture, MeshService};
use crate::mesh::Mesh;
use crate::server::{Connection, Incoming, RequestBody};
use crate::tcp::OwnLeaf;
use crate::transport::Transport;
use crate::{MeshBody, Peer};
use http::request::Parts;
use http::{HeaderValue, Request, Response, StatusCode, Version};
use mesh_core::head::is_grpc_content_type;
use mesh_core::inbound::HandedOn;
use mesh_core::model::Forward;
use mesh_core::proxy::hop_by_hop::{self, UnknownCoding};
use mesh_core::proxy::upgrade::Asks;
use mesh_core::proxy::{cookies, hops, note_scheme};
use pin_project::pin_project;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tower_service::Service;

/// Passes requests on. Clones are the same.
#[derive(Clone)]
pub(super) struct ForwardHttp(Arc<Port>);

/// A port whose requests are passed on.
pub(super) struct Port {
    pub(super) mesh: Mesh,
    /// The listener's name.
    pub(super) listener: Arc<str>,
    client: Client,
    own: MeshService<OwnLeaf>,
    /// What its requests carry from here on.
    mark: HeaderValue,
    /// Whether it is for what the application calls.
    pub(super) outbound: bool,
    /// Whether who calls is the application, by a port of `outbound`: it may know which endpoint failed, and gets
    /// tunnels. Who calls a port of Envoy's may be anybody, and its routes are none for CONNECT, whose bytes no filter
    /// sees.
    pub(super) for_application: bool,
    /// Whether its requests go by the routes of their chain, and nowhere else.
    by_chain: bool,
}

impl Port {
    /// The stack of a connection of its own, for what a chain with routes of its own has handed on, or any other.
    pub(super) fn own(&self, handed: Option<HandedOn>) -> MeshService<OwnLeaf> {
        let own = self.own.clone();
        match handed {
            Some(handed) => own.routed_by_chain(Arc::clone(&self.listener), handed),
            None => own,
        }
    }

    fn client(&self, handed: Option<HandedOn>) -> Client {
        let client = self.client.clone();
        match handed {
            Some(handed) => client.routed_by_chain(Arc::clone(&self.listener), handed),
            None => client,
        }
    }
}

impl ForwardHttp {
    /// What comes to `listener` goes as `forward` says. Requests carry `mark` from there on.
    pub(super) fn new(
        mesh: &Mesh,
        listener: &Arc<str>,
        forward: &Forward,
        mark: HeaderValue,
    ) -> Self {
        let client = mesh.client();
        let own = MeshService::new(mesh.clone(), mesh.transport().own_connections());
        let (client, own) = match forward.authority() {
            None => (client, own),
            Some(by) => (client.routed_as(Arc::clone(by)), own.routed_as(Arc::clone(by))),
        };
        Self(Arc::new(Port {
            mesh: mesh.clone(),
            listener: Arc::clone(listener),
            client,
            own,
            mark,
            outbound: forward.is_outbound(),
            for_application: forward.is_outbound() && !forward.is_by_chain(),
            by_chain: forward.is_by_chain(),
        }))
    }
}

impl Service<Request<RequestBody<Incoming>>> for ForwardHttp {
    type Response = Response<ForwardBody>;
    type Error = Infallible;
    type Future = ForwardFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<RequestBody<Incoming>>) -> ForwardFuture {
        let (mut parts, body) = request.into_parts();
        let told =
            Told { grpc: is_grpc_content_type(&parts.headers), local: self.0.for_application };
        let asks = Asks::of(&parts.method, parts.version, &parts.headers);
        if let Err(round) = hops::pass(&mut parts.headers, &self.0.mark) {
            let reply = reply::refused(StatusCode::LOOP_DETECTED, round.to_string(), told);
            return ForwardFuture::ready(reply);
        }
        let handed = parts.extensions.remove::<HandedOn>();
        if self.0.by_chain && handed.is_none() {
            let text = "the port has other routes now".to_owned();
            let reply = reply::refused(StatusCode::SERVICE_UNAVAILABLE, text, told);
            return ForwardFuture::ready(reply);
        }
        let leaving = match prepare(&mut parts, asks) {
            Ok(leaving) => leaving,
            Err(unknown) => {
                let reply = reply::refused(StatusCode::NOT_IMPLEMENTED, unknown.to_string(), told);
                return ForwardFuture::ready(reply);
            }
        };
        if asks != Asks::Answer {
            let leaving = leaving.unwrap_or_default();
            let request = Request::from_parts(parts, MeshBody::new(body));
            let becoming =
                tunnel::leave(Arc::clone(&self.0), (asks, request), (leaving, handed), told);
            return ForwardFuture { state: State::Leaving(Box::pin(becoming)), told };
        }
        if !self.0.outbound {
            // gRPC is told by its content type.
            parts.version = Version::HTTP_11;
        }
        let call = self.0.client(handed).call(Request::from_parts(parts, body));
        ForwardFuture { state: State::Calling(call), told }
    }
}

/// Makes a head what it is on the next connection. `Some`: what of the one that it came on has to be known, if it goes
/// on in another protocol.
fn prepare(parts: &mut Parts, asks: Asks) -> Result<Option<Leaving>, UnknownCoding> {
    let connection = parts.extensions.get::<Arc<Connection>>().cloned();
    let leaving = (asks != Asks::Answer).then(|| Leaving::take(parts, connection.clone()));
    hop_by_hop::strip(&mut parts.headers, asks == Asks::Upgrade)?;
    if parts.version == Version::HTTP_2 {
        cookies::join(&mut parts.headers);
    }
    note_scheme(&mut parts.headers, connection.as_ref().is_some_and(|c| c.is_tls()));
    // What is known of the connection that it came on is not for the one that it goes on.
    parts.extensions.clear();
    if let Some(connection) = connection {
        parts.extensions.insert(peer_of(&connection));
        if let Some(original) = connection.original {
            parts.extensions.insert(Captured(original));
        }
    }
    Ok(leaving)
}

/// Makes the head of an answer what it is on the connection of who asked. `agreed`: it is the last one of HTTP there.
pub(super) fn take_back<B>(response: &mut Response<B>, agreed: bool) -> Result<(), UnknownCoding> {
    // RFC 9110 section 6.2: the version is that of who speaks.
    *response.version_mut() = Version::HTTP_11;
    hop_by_hop::strip_named(response.headers_mut());
    hop_by_hop::strip(response.headers_mut(), agreed)
}

/// Who sends it, for hash policies.
pub(super) fn peer_of(connection: &Connection) -> Peer {
    let identity = connection.peer.principals().next().filter(|name| !name.is_empty());
    Peer { address: connection.remote, identity: identity.map(Into::into) }
}

/// A request that is passed on, until the head of its answer.
#[pin_project]
pub(super) struct ForwardFuture {
    #[pin]
    state: State,
    told: Told,
}

type Becoming = Pin<Box<dyn Future<Output = Response<ForwardBody>> + Send>>;

#[pin_project(project = StateProj)]
#[expect(clippy::large_enum_variant, reason = "the large variant is the common path")]
enum State {
    Calling(#[pin] MeshFuture<Transport>),
    /// It may go on in another protocol: not the common path.
    Leaving(Becoming),
    Ready(Option<Response<ForwardBody>>),
}

impl ForwardFuture {
    const fn ready(reply: Response<ForwardBody>) -> Self {
        let told = Told { grpc: false, local: false };
        Self { state: State::Ready(Some(reply)), told }
    }
}

impl Future for ForwardFuture {
    type Output = Result<Response<ForwardBody>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answer = match this.state.project() {
            StateProj::Calling(call) => match ready!(call.poll(cx)) {
                Ok(mut response) => match take_back(&mut response, false) {
                    Ok(()) => response.map(ForwardBody::Endpoint),
                    Err(unknown) => reply::unreadable(&unknown, *this.told),
                },
                Err(error) => reply::failed(&error, *this.told),
            },
            StateProj::Leaving(becoming) => ready!(becoming.as_mut().poll(cx)),
            StateProj::Ready(reply) => match reply.take() {
                Some(reply) => reply,
                None => return Poll::Pending,
            },
        };
        Poll::Ready(Ok(answer))
    }
}
