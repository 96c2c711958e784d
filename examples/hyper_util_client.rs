//! Recipe: hyper-util's client under the mesh.
//!
//! That client connects to where the URI points, and keeps its own connections. So the layer is told
//! to `rewrite_authority`: the endpoint that was picked takes the place of the name. The mesh routes,
//! balances, retries and measures; the client connects.
//!
//! `cargo run --example hyper_util_client`

mod backend;

use backend::{Backend, BoxError, everything_to};
use http::{HeaderValue, Request, header};
use http_body_util::BodyExt;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use mesh_core::model::Cluster;
use mesh_tower::{Mesh, MeshBody, MeshLayer};
use std::time::Duration;
use tower::{ServiceBuilder, ServiceExt};

/// Makes four calls over a client of hyper-util's, and gives the answers of two endpoints.
pub(crate) async fn run() -> Result<Vec<String>, BoxError> {
    let start = |name| Backend::start(name, Duration::ZERO);
    let (first, second) = (start("first").await?, start("second").await?);
    let endpoints = [first.address, second.address];
    let mesh = Mesh::builder().config(everything_to(Cluster::new("shop"), &endpoints)).build()?;

    let client = Client::builder(TokioExecutor::new()).build_http::<MeshBody>();
    let service =
        ServiceBuilder::new().layer(MeshLayer::new(&mesh).rewrite_authority()).service(client);

    let mut answers = Vec::new();
    for _ in 0..4 {
        let request = Request::get("http://shop/")
            // Or else the server sees the endpoint's address as the host.
            .header(header::HOST, HeaderValue::from_static("shop"))
            .body(MeshBody::empty())?;
        let response = service.clone().oneshot(request).await?;
        let body = response.into_body().collect().await?.to_bytes();
        answers.push(String::from_utf8(body.to_vec())?);
    }
    Ok(answers)
}

#[tokio::main]
#[expect(clippy::print_stdout, reason = "a program that shows something")]
async fn main() -> Result<(), BoxError> {
    for answer in run().await? {
        println!("{answer}");
    }
    Ok(())
}
