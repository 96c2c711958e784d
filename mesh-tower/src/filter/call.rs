//! One call to a cluster by its name, of bounded size. Its time is bounded by who waits.

use crate::MeshBody;
use crate::client::Client;
use crate::mesh::Mesh;
use bytes::{Bytes, BytesMut};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, Request, Response, Uri};
use http_body_util::BodyExt;
use mesh_core::filter::ask::AskFailureKind;
use mesh_core::state::DirectRoute;
use std::fmt;
use std::sync::Arc;

/// Calls clusters through the mesh's own client.
#[derive(Clone)]
pub(crate) struct Caller {
    client: Client,
    route: Option<DirectRoute>,
}

impl Caller {
    pub(super) fn new(mesh: &Mesh) -> Self {
        Self { client: mesh.client(), route: DirectRoute::new("mesh.direct") }
    }

    /// Sends a request; gives back the whole answer, and its trailers.
    ///
    /// # Errors
    /// [`AskFailureKind::Call`], or [`AskFailureKind::Malformed`] when it is larger than `limit` bytes.
    pub(super) async fn send(
        &self,
        cluster: &str,
        request: Request<MeshBody>,
        limit: usize,
    ) -> Result<(Response<Bytes>, Option<HeaderMap>), AskFailureKind> {
        let Some(route) = &self.route else {
            return Err(AskFailureKind::Unsupported("the mesh has no route for calls of its own"));
        };
        let mut client = self.client.clone();
        let failed = |error: &dyn fmt::Display| AskFailureKind::Call(error.to_string().into());
        let response = client.call_cluster(cluster, route, request).await;
        let (parts, mut body) = response.map_err(|error| failed(&error))?.into_parts();
        let (mut bytes, mut trailers) = (BytesMut::new(), None);
        while let Some(frame) = body.frame().await {
            match frame.map_err(|error| failed(&error))?.into_data() {
                Ok(data) if bytes.len() + data.len() <= limit => bytes.extend_from_slice(&data),
                Ok(_) => {
                    let why = format!("it has more than {limit} bytes");
                    return Err(AskFailureKind::Malformed(why.into()));
                }
                Err(frame) => trailers = frame.into_trailers().ok().or(trailers),
            }
        }
        Ok((Response::from_parts(parts, bytes.freeze()), trailers))
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller").finish_non_exhaustive()
    }
}

/// A URI of HTTP; an authority that can't be one is replaced by `otherwise`.
///
/// # Errors
/// [`AskFailureKind::Call`] when the path can't be one.
pub(super) fn uri(authority: &str, otherwise: &str, path: &str) -> Result<Uri, AskFailureKind> {
    let authority =
        [authority, otherwise].into_iter().find_map(|text| text.parse::<Authority>().ok());
    let path = path.parse::<PathAndQuery>();
    let invalid = |what: &str| AskFailureKind::Call(Arc::from(what));
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(Scheme::HTTP);
    // Names of clusters may hold what no authority may, `outbound|80||authz` for one.
    parts.authority = Some(authority.unwrap_or_else(|| Authority::from_static("mesh.direct")));
    parts.path_and_query =
        Some(path.ok().ok_or_else(|| invalid("the request's path is no path of HTTP"))?);
    Uri::from_parts(parts).ok().ok_or_else(|| invalid("no URI can be made of it"))
}
