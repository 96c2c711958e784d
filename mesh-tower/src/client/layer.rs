//! [`MeshLayer`]: the stack as a tower layer.

use super::MeshService;
use crate::body::BoxError;
use crate::foreign::{FailureClassifier, Foreign, ForeignOptions};
use crate::leaf::Leaf;
use crate::transport::Transport;
use crate::{Mesh, MeshBody};
use bytes::Bytes;
use http::{Request, Response};
use mesh_core::outcome::Failure;
use std::error::Error as StdError;
use std::sync::Arc;
use tower_layer::Layer;
use tower_service::Service;

/// The mesh as a layer: over [`Mesh::transport`], or over a transport of your own.
///
/// # Position
/// Lowest of the layers that see whole calls; what is above sees one call however many attempts it
/// took, what is below (around the transport) sees attempts.
///
/// # Over your own transport
/// It must be a `Service<Request<MeshBody>, Response = Response<_>> + Clone`; it is driven clone →
/// `poll_ready` → `call`, and finds where to connect in the extension
/// [`Endpoint`](crate::Endpoint). A cluster with TLS is refused there unless
/// [`transport_secures_itself`](Self::transport_secures_itself) says otherwise.
///
/// Calls that pass by every policy go to it as they are, and it resolves their names: that a name which `egress` lists
/// leads to a private address is seen, and refused, over the mesh's own transport alone. A transport that resolves names
/// of strangers has to look at the addresses itself.
#[derive(Clone, Debug)]
pub struct MeshLayer {
    mesh: Mesh,
    options: ForeignOptions,
}

impl MeshLayer {
    /// The layer of `mesh`.
    #[must_use]
    pub fn new(mesh: &Mesh) -> Self {
        Self { mesh: mesh.clone(), options: ForeignOptions::default() }
    }

    /// Puts the endpoint's address in place of the URI's authority, for transports that connect to
    /// what the URI says. The `Host` header, if there is one, stays.
    #[must_use]
    pub fn rewrite_authority(mut self) -> Self {
        self.options.rewrite_authority = true;
        self
    }

    /// Promises that the transport secures connections as each cluster's configuration wants.
    #[must_use]
    pub fn transport_secures_itself(mut self) -> Self {
        self.options.secures_itself = true;
        self
    }

    /// Says what errors of the transport mean; where it answers `None` the usual walk through the
    /// error's sources (io, hyper, h2) decides.
    #[must_use]
    pub fn classify_errors(
        mut self,
        classify: impl Fn(&(dyn StdError + 'static)) -> Option<Failure> + Send + Sync + 'static,
    ) -> Self {
        let classify: FailureClassifier = Arc::new(classify);
        self.options.classify = Some(classify);
        self
    }
}

impl<S: IntoLeaf> Layer<S> for MeshLayer {
    type Service = MeshService<S::Leaf>;

    fn layer(&self, transport: S) -> Self::Service {
        MeshService::new(self.mesh.clone(), transport.into_leaf(self)).into_own_channel()
    }
}

/// What can be under the stack: [`Transport`], and every fitting service.
pub trait IntoLeaf: sealed::Sealed {
    /// How the stack sends through it.
    type Leaf: Leaf;

    /// The leaf of it, as `layer` was told to treat transports.
    fn into_leaf(self, layer: &MeshLayer) -> Self::Leaf;
}

impl IntoLeaf for Transport {
    type Leaf = Self;

    fn into_leaf(self, _: &MeshLayer) -> Self {
        self
    }
}

impl<S, R> IntoLeaf for S
where
    S: Service<Request<MeshBody>, Response = Response<R>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    R: http_body::Body<Data = Bytes>,
{
    type Leaf = Foreign<S>;

    fn into_leaf(self, layer: &MeshLayer) -> Foreign<S> {
        Foreign::new(self, layer.options.clone())
    }
}

mod sealed {
    use super::{BoxError, Bytes, MeshBody, Request, Response, Service, Transport};

    /// What only this module can say of a type.
    #[expect(unnameable_types, reason = "that is what seals it")]
    pub trait Sealed {}

    impl Sealed for Transport {}

    impl<S, R> Sealed for S
    where
        S: Service<Request<MeshBody>, Response = Response<R>> + Clone + Send + 'static,
        S::Error: Into<BoxError>,
        R: http_body::Body<Data = Bytes>,
    {
    }
}
