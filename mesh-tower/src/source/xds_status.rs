//! [`XdsStatus`]: a look inside of an xDS source, for people and for metrics.
//!
//! The record is kept by the client (`mesh_xds::status`). Here it becomes a service, and what the mesh's
//! own metrics are read from.

use crate::clock;
use crate::observe::source::{
    ReadSource, ResourceReading, ServerReading, SourceCells, SourceReading, TypeReading,
};
use mesh_xds::client::Client;
use mesh_xds::status::{self, CLIENT_SCOPE, ResourceCount, ServerStatus, Status, resource_type};
use std::sync::Arc;
use tokio::net::TcpListener;

pub use mesh_xds::ResourceType;
pub use mesh_xds::protocol::ResourceState;
pub use mesh_xds::status::{ResourceDump, ResourceFailure, ServeStatusError};

/// What an xDS source knows of each resource: CSDS (gRFC A40), and a list. Clones are handles to the same.
///
/// # Examples
/// Served to `grpcdebug 127.0.0.1:19000 xds status`:
/// ```no_run
/// use mesh_tower::Mesh;
/// use mesh_tower::source::{Bootstrap, XdsSource};
///
/// # async fn example(bootstrap: Bootstrap) -> Result<(), Box<dyn std::error::Error>> {
/// let source = XdsSource::new(bootstrap);
/// let status = source.status();
/// let mesh = Mesh::builder().source(source).build()?;
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:19000").await?;
/// tokio::spawn(async move { status.serve(listener).await });
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct XdsStatus(Status);

impl XdsStatus {
    pub(super) fn new(bootstrap: &super::Bootstrap) -> Self {
        Self(Status::new(bootstrap))
    }

    /// What is known of each resource, by type and name. Secrets are shown by their names only, and keys
    /// in other resources are taken out.
    #[must_use]
    pub fn resources(&self) -> Vec<ResourceDump> {
        self.0.resources()
    }

    /// The service `envoy.service.status.v3.ClientStatusDiscoveryService`, for a tonic server. It says to
    /// everyone who can reach it what this process is configured with.
    #[cfg(feature = "tonic")]
    #[must_use]
    pub fn csds(&self) -> Csds {
        Csds(status::csds(self.0.clone()))
    }

    /// Serves the same on `listener`, in the clear, until it is dropped.
    ///
    /// # Errors
    /// [`ServeStatusError`]: the listener is broken for good.
    ///
    /// # Cancel safety
    /// Dropping it closes the listener; connections stay until their clients close them.
    pub async fn serve(&self, listener: TcpListener) -> Result<(), ServeStatusError> {
        status::serve(self.0.clone(), listener).await
    }

    /// `client` writes to it, and metrics are read from it.
    pub(super) fn follow(&self, client: Client, cells: &Arc<SourceCells>) -> Client {
        cells.read_from(Arc::new(Reader(self.0.clone())));
        let weak = Arc::downgrade(cells);
        self.0.on_ack(move |kind, took| {
            if let Some(cells) = weak.upgrade() {
                cells.acknowledged(resource_type(kind), took);
            }
        });
        client.with_status(self.0.clone())
    }

    /// A configuration of this version goes to the mesh.
    pub(super) fn published(&self, version: &Arc<str>, cells: &SourceCells) {
        let took = ResourceType::ALL.into_iter().zip(self.0.take_published());
        let took = took.filter_map(|(kind, took)| Some((resource_type(kind), took?)));
        cells.published(version, took, clock::now());
    }
}

/// What metrics are read from.
struct Reader(Status);

impl ReadSource for Reader {
    fn read(&self) -> SourceReading {
        SourceReading {
            scope: CLIENT_SCOPE,
            servers: self.0.servers().into_iter().map(server).collect(),
            resources: self.0.counts().into_iter().map(resources).collect(),
        }
    }
}

fn server(status: ServerStatus) -> ServerReading {
    let types = status.types.into_iter();
    ServerReading {
        uri: status.uri,
        connected: status.connected,
        failures: status.failures,
        types: types
            .map(|of| TypeReading {
                kind: resource_type(of.kind),
                valid: of.valid,
                invalid: of.invalid,
                last_good: of.last_good,
            })
            .collect(),
    }
}

fn resources(count: ResourceCount) -> ResourceReading {
    ResourceReading {
        authority: count.authority,
        cache_state: count.cache_state,
        kind: resource_type(count.kind),
        count: count.count,
        refused: count.cache_state.starts_with("nacked"),
    }
}

#[cfg(feature = "tonic")]
pub use service::Csds;

#[cfg(feature = "tonic")]
mod service {
    use mesh_xds::status;
    use std::convert::Infallible;
    use std::task::{Context, Poll};
    use tonic::body::Body;
    use tonic::codegen::BoxFuture;
    use tonic::server::NamedService;
    use tower_service::Service;

    type Inner = status::CsdsServer;

    /// The status as a service of tonic: `Server::builder().add_service(status.csds())`.
    #[derive(Clone, Debug)]
    pub struct Csds(pub(super) Inner);

    impl Service<http::Request<Body>> for Csds {
        type Response = http::Response<Body>;
        type Error = Infallible;
        type Future = BoxFuture<Self::Response, Self::Error>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, request: http::Request<Body>) -> Self::Future {
            self.0.call(request)
        }
    }

    impl NamedService for Csds {
        const NAME: &'static str = <Inner as NamedService>::NAME;
    }
}

#[cfg(test)]
mod tests;
