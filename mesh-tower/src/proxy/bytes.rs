//! [`ForwardBytes`]: connections of bytes that are passed on.

use super::carrying::Carrying;
use super::http::peer_of;
use super::relay_options;
use crate::MeshBody;
use crate::client::MeshService;
use crate::clock;
use crate::error::Error;
use crate::mesh::Mesh;
use crate::net::Draw;
use crate::observe::access_log::{Cut, OfPort, StreamLine};
use crate::server::{AcceptedIo, Connection};
use crate::tcp::{MeshStream, OwnLeaf, Proxied, RelayEnd};
use http::{HeaderMap, Method, Request, Uri};
use mesh_core::inbound::HandedOn;
use mesh_core::local_reply::Reason;
use mesh_core::model::Forward;
use mesh_core::proxy::identify;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tower_service::Service;

/// Why a connection is closed that was made to the port itself.
const NOT_CAPTURED: &str = "it was not captured, so nobody knows where it was meant to go: a port with a `cluster` takes it";

/// Passes connections on. Clones are the same.
#[derive(Clone)]
pub(crate) struct ForwardBytes(Arc<Port>);

struct Port {
    mesh: Mesh,
    listener: Arc<str>,
    own: MeshService<OwnLeaf>,
    /// Whether each goes by the routes of the filter chain that it got.
    by_chain: bool,
    /// Whether each goes where it was meant to go, by the routes of that address.
    each: bool,
}

impl ForwardBytes {
    /// What comes to `listener` goes as `forward` says; `captures`: or where it was meant to go. `None`: it says that
    /// each request does, and bytes can't.
    pub(super) fn new(
        mesh: &Mesh,
        listener: &Arc<str>,
        forward: &Forward,
        captures: bool,
    ) -> Option<Self> {
        let own = MeshService::new(mesh.clone(), mesh.transport().own_connections());
        let (own, each) = match forward.authority() {
            Some(by) => (own.routed_as(Arc::clone(by)), false),
            None if forward.is_by_chain() => (own, false),
            None if captures => (own.routed_by_address(), true),
            None => return None,
        };
        let (mesh, listener) = (mesh.clone(), Arc::clone(listener));
        let by_chain = forward.is_by_chain();
        Some(Self(Arc::new(Port { mesh, listener, own, by_chain, each })))
    }

    /// Carries what a client and an endpoint say to each other, until both have ended.
    pub(crate) async fn carry<I>(&self, mut client: AcceptedIo<I>, connection: &Arc<Connection>)
    where
        I: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let Port { mesh, listener, each, .. } = &*self.0;
        let (line, id) = self.line(connection);
        let refuse = |line: Option<StreamLine>, (flag, reason), details: &str| {
            let remote = connection.remote.map(|remote| remote.to_string());
            tracing::info!(target: "mesh::proxy", %listener, remote, "a connection was closed: {details}");
            if let Some(line) = line {
                let (flag, reason, details) = (Some(flag), Some(reason), Some(details));
                line.write((0, 0), Cut { flag, reason, details, policy: None }, clock::now());
            }
        };
        if *each && connection.original.is_none() {
            let why = Reason::NoRoute;
            return refuse(line, (why.flag(), why.code()), NOT_CAPTURED);
        }
        let endpoint = match self.connect(connection, id).await {
            Ok(endpoint) => endpoint,
            Err(error) => {
                let details = error.reason().to_string();
                return refuse(line, (error.response_flag(), error.code()), &details);
            }
        };
        let mut carrying = Carrying::new(endpoint, line);
        let options = relay_options(mesh, (listener, &connection.chain.model().name));
        let relayed = carrying.relay(&mut client, options).await;
        if relayed.cuts_first() {
            client.resets_on_close();
        }
        if !matches!(relayed.end, RelayEnd::Complete) {
            tracing::debug!(target: "mesh::proxy", %listener, end = ?relayed.end, "a stream ended");
        }
    }

    /// The port's line of a connection, and the id that both of its lines have. Without a log there is neither.
    fn line(&self, connection: &Arc<Connection>) -> (Option<StreamLine>, HeaderMap) {
        let logs = &self.0.mesh.shared().logs;
        let mut headers = HeaderMap::new();
        if logs.server.is_some() || logs.client.is_some() {
            identify(&mut headers, &mut Draw);
        }
        let line = |log| StreamLine::new(log, connection, &headers, clock::now());
        (logs.server.as_ref().map(line), headers)
    }

    async fn connect(
        &self,
        connection: &Arc<Connection>,
        headers: HeaderMap,
    ) -> Result<MeshStream, Error> {
        let mut request = Request::new(MeshBody::empty());
        *request.method_mut() = Method::CONNECT;
        // It is routed by the port; a request has a URI.
        *request.uri_mut() = match connection.original.filter(|_| self.0.each) {
            Some(original) => uri_of(original),
            None => Uri::from_static("http://bytes/"),
        };
        *request.headers_mut() = headers;
        request.extensions_mut().insert(peer_of(connection));
        request.extensions_mut().insert(OfPort(Arc::clone(connection)));
        let ends = connection.remote.zip(connection.local);
        request.extensions_mut().insert(Proxied { ends });
        let own = self.0.own.clone();
        let mut own = match self.0.by_chain {
            true => {
                let handed = HandedOn::new(Arc::clone(&connection.chain), None);
                own.routed_by_chain(Arc::clone(&self.0.listener), handed)
            }
            false => own,
        };
        MeshStream::of_bytes(own.call(request).await?)
    }
}

/// The URI of an address that bytes were meant for: its authority is the address.
fn uri_of(original: SocketAddr) -> Uri {
    Uri::try_from(format!("http://{original}/"))
        .unwrap_or_else(|_never| Uri::from_static("http://bytes/"))
}
