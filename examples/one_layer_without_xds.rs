//! The mesh as one tower layer, over any service and without any file or control plane.
//!
//! Here the service under it is a closure: it answers by itself which endpoint the mesh picked for
//! the attempt. In its place could be any HTTP client, in-process servers, or a mock in a test.
//!
//! `cargo run --example one_layer_without_xds`

use http::{Request, Response, StatusCode};
use http_body_util::Full;
use mesh_core::ConfigUpdate;
use mesh_core::model::{Cluster, ForwardAction, RetryOn, RetryPolicy, Route, VirtualHost};
use mesh_tower::{Mesh, MeshBody, MeshLayer};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use tower::{ServiceBuilder, ServiceExt, service_fn};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// `reviews` is two endpoints; what fails with 5xx is tried again.
fn configuration() -> Result<ConfigUpdate, BoxError> {
    let mut to_reviews = ForwardAction::to("reviews");
    to_reviews.retry_policy = Some(Arc::new(RetryPolicy::new(RetryOn::SERVER_ERROR)));
    let endpoints = [([10, 0, 0, 1], 80), ([10, 0, 0, 2], 80)].map(SocketAddr::from);
    Ok(ConfigUpdate::in_code()
        .virtual_host(VirtualHost::of("reviews")?.route(Route::forward(to_reviews)))
        .cluster(Cluster::new("reviews"), endpoints))
}

/// The user's own service: the first endpoint is broken, the other answers with its address.
async fn own_transport(
    request: Request<MeshBody>,
) -> Result<Response<Full<bytes::Bytes>>, Infallible> {
    let endpoint = request.extensions().get::<mesh_tower::Endpoint>();
    let address = endpoint.map(|endpoint| endpoint.address.to_string()).unwrap_or_default();
    let mut response = Response::new(Full::from(address.clone()));
    if address.starts_with("10.0.0.1") {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    Ok(response)
}

/// Makes four calls, and gives status and answer of each.
pub(crate) async fn run() -> Result<Vec<(StatusCode, String)>, BoxError> {
    let mesh = Mesh::builder().config(configuration()?).build()?;
    let service =
        ServiceBuilder::new().layer(MeshLayer::new(&mesh)).service(service_fn(own_transport));
    let mut answers = Vec::new();
    for _ in 0..4 {
        let request = Request::get("http://reviews/1").body(MeshBody::empty())?;
        let response = service.clone().oneshot(request).await?;
        let status = response.status();
        let body = http_body_util::BodyExt::collect(response.into_body()).await?.to_bytes();
        answers.push((status, String::from_utf8(body.to_vec())?));
    }
    Ok(answers)
}

#[tokio::main]
#[expect(clippy::print_stdout, reason = "a program that shows something")]
async fn main() -> Result<(), BoxError> {
    println!("{:#?}", run().await?);
    Ok(())
}
