//! [`ForwardBytes`]: connections of bytes that are passed on.

use super::http::peer_of;
use super::relay_options;
use crate::MeshBody;
use crate::client::MeshService;
use crate::error::Error;
use crate::mesh::Mesh;
use crate::server::{AcceptedIo, Connection};
use crate::tcp::{MeshStream, OwnLeaf, Proxied, RelayEnd, relay};
use http::{Method, Request, Uri};
use mesh_core::model::Forward;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tower_service::Service;

/// Passes connections on. Clones are the same.
#[derive(Clone)]
pub(crate) struct ForwardBytes(Arc<Port>);

struct Port {
    mesh: Mesh,
    listener: Arc<str>,
    own: MeshService<OwnLeaf>,
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
            None if captures => (own.routed_by_address(), true),
            None => return None,
        };
        let (mesh, listener) = (mesh.clone(), Arc::clone(listener));
        Some(Self(Arc::new(Port { mesh, listener, own, each })))
    }

    /// Carries what a client and an endpoint say to each other, until both have ended.
    pub(crate) async fn carry<I>(&self, mut client: AcceptedIo<I>, connection: &Connection)
    where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        let listener = &self.0.listener;
        if self.0.each && connection.original.is_none() {
            let remote = connection.remote.map(|remote| remote.to_string());
            tracing::info!(
                target: "mesh::proxy", %listener, remote,
                "a connection was closed: it was not captured, so nobody knows where it was meant to go"
            );
            return;
        }
        let mut endpoint = match self.connect(connection).await {
            Ok(endpoint) => endpoint,
            Err(error) => {
                let remote = connection.remote.map(|remote| remote.to_string());
                tracing::info!(target: "mesh::proxy", %listener, remote, "{error}");
                return;
            }
        };
        let options = relay_options(&self.0.mesh, listener);
        let relayed = relay(&mut client, &mut endpoint, options).await;
        if !matches!(relayed.end, RelayEnd::Complete) {
            tracing::debug!(target: "mesh::proxy", %listener, end = ?relayed.end, "a stream ended");
        }
    }

    async fn connect(&self, connection: &Connection) -> Result<MeshStream, Error> {
        let mut request = Request::new(MeshBody::empty());
        *request.method_mut() = Method::CONNECT;
        // It is routed by the port; a request has a URI.
        *request.uri_mut() = match connection.original.filter(|_| self.0.each) {
            Some(original) => uri_of(original),
            None => Uri::from_static("http://bytes/"),
        };
        request.extensions_mut().insert(peer_of(connection));
        let ends = connection.remote.zip(connection.local);
        request.extensions_mut().insert(Proxied { ends });
        MeshStream::of_bytes(self.0.own.clone().call(request).await?)
    }
}

/// The URI of an address that bytes were meant for: its authority is the address.
fn uri_of(original: SocketAddr) -> Uri {
    Uri::try_from(format!("http://{original}/"))
        .unwrap_or_else(|_never| Uri::from_static("http://bytes/"))
}
