//! Recipe: reqwest under the mesh.
//!
//! A transport of your own finds where to connect in the request's extensions, as `Endpoint`. Here
//! that address becomes the URL's, and the name that was called stays as the `Host` header: what the
//! server sees is what the caller wrote.
//!
//! `cargo run --example reqwest`

mod backend;

use backend::{Backend, BoxError, everything_to};
use http::uri::{Authority, Scheme};
use http::{HeaderValue, Request, Response, Uri, header};
use http_body_util::BodyExt;
use mesh_core::model::Cluster;
use mesh_tower::{Endpoint, Mesh, MeshBody, MeshLayer};
use std::time::Duration;
use tower::{ServiceBuilder, ServiceExt, service_fn};

/// One attempt: the endpoint's address in the URL, the name in `Host`.
async fn send(
    client: reqwest::Client,
    mut request: Request<MeshBody>,
) -> Result<Response<reqwest::Body>, BoxError> {
    let endpoint = request.extensions().get::<Endpoint>().ok_or("not called by the mesh")?;
    let authority: Authority = endpoint.address.to_string().parse()?;
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    if let Some(name) = parts.authority.take() {
        let host = HeaderValue::from_str(name.as_str())?;
        request.headers_mut().entry(header::HOST).or_insert(host);
    }
    (parts.scheme, parts.authority) = (Some(Scheme::HTTP), Some(authority));
    *request.uri_mut() = Uri::from_parts(parts)?;

    let request = request.map(|body| reqwest::Body::wrap_stream(body.into_data_stream()));
    let response = client.execute(request.try_into()?).await?;
    Ok(response.into())
}

/// Makes four calls over reqwest, and gives the answers of two endpoints.
pub(crate) async fn run() -> Result<Vec<String>, BoxError> {
    let start = |name| Backend::start(name, Duration::ZERO);
    let (first, second) = (start("first").await?, start("second").await?);
    let endpoints = [first.address, second.address];
    let mesh = Mesh::builder().config(everything_to(Cluster::new("shop"), &endpoints)).build()?;

    // The mesh follows no redirects and retries itself; reqwest should do neither.
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build()?;
    let service = ServiceBuilder::new()
        .layer(MeshLayer::new(&mesh))
        .service(service_fn(move |request| send(client.clone(), request)));

    let mut answers = Vec::new();
    for _ in 0..4 {
        let request = Request::post("http://shop/").body(MeshBody::full("a body"))?;
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
