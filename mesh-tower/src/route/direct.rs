//! Calls of the mesh's own to a cluster by its name, past every route.

use super::RouteService;
use crate::MeshBody;
use crate::body::BoxError;
use crate::clock;
use crate::endpoint::MeshResponseBody;
use crate::error::Error;
use crate::leaf::Leaf;
use crate::observe::span::ThinSpan;
use crate::routed::Routed;
use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use mesh_core::local_reply::Reason;
use mesh_core::router::RequestHash;
use mesh_core::state::DirectRoute;
use tower_service::Service;

/// The virtual host that metrics know such calls by.
pub(crate) const DIRECT: &str = "mesh.direct";

impl<S, L, R> RouteService<S, L>
where
    S: Service<Routed, Response = Response<MeshResponseBody<R>>, Error = Error>,
    S: Clone + Send + 'static,
    L: Leaf<Body = R>,
    R: Body<Data = Bytes> + Unpin,
    R::Error: Into<BoxError>,
{
    /// Calls `cluster`, whatever routes say.
    ///
    /// # Errors
    /// With [`Reason::UnknownCluster`] when the configuration has none of this name.
    pub(crate) fn call_cluster(
        &mut self,
        cluster: &str,
        route: &DirectRoute,
        request: Request<MeshBody>,
    ) -> Result<S::Future, Error> {
        let started = clock::now();
        let snapshot = self.mesh.snapshot();
        let Some(target) = snapshot.direct(cluster, route, |cluster| cluster.attached().direct())
        else {
            return Err(self.refuse(Reason::UnknownCluster, &snapshot, started));
        };
        drop(snapshot);
        let options = super::options_of(&request);
        let mut settings = self.mesh.shared().settings;
        settings.ignores_extensions = L::IGNORES_EXTENSIONS;
        let (hash, span) = (RequestHash::new(options.hash, Vec::new()), ThinSpan::NONE);
        let routed = Routed { request, target, options, settings, hash, started, span, line: None };
        Ok(self.inner.call(routed))
    }
}
