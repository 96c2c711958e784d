//! Traffic split between two versions, moved at run time from code.
//!
//! `source::Updates` is the handle that an application, a control loop or a test applies
//! configurations with. Connections, statistics and calls in flight survive each of them.
//!
//! `cargo run --example traffic_split`

mod backend;

use backend::{Backend, BoxError, add_cluster, routed_by};
use http::Request;
use http_body_util::BodyExt;
use mesh_core::ConfigUpdate;
use mesh_core::model::{Cluster, ClusterSpecifier, Split, SplitCluster};
use mesh_tower::source::Updates;
use mesh_tower::{Client, Mesh, MeshBody};
use std::time::Duration;
use tower::ServiceExt;

/// `stable` and `canary` share the calls by weight.
fn shared(weights: [u32; 2], backends: &[Backend; 2]) -> ConfigUpdate {
    let names = ["stable", "canary"];
    let parts = names.iter().zip(weights).map(|(name, weight)| SplitCluster::new(*name, weight));
    let mut update = routed_by(ClusterSpecifier::Split(Split::new(parts.collect())));
    for (name, backend) in names.iter().zip(backends) {
        add_cluster(&mut update, Cluster::new(*name), &[backend.address]);
    }
    update
}

/// How many of `calls` calls the canary answered.
async fn canaries(client: &Client, calls: usize) -> Result<usize, BoxError> {
    let mut canaries = 0;
    for _ in 0..calls {
        let request = Request::get("http://shop/").body(MeshBody::empty())?;
        let response = client.clone().oneshot(request).await?;
        let body = response.into_body().collect().await?.to_bytes();
        canaries += usize::from(body.starts_with(b"canary"));
    }
    Ok(canaries)
}

/// The canary's share of 1,000 calls at each of the weights 10, 50 and 100.
pub(crate) async fn run() -> Result<Vec<(u32, usize)>, BoxError> {
    let start = |name| Backend::start(name, Duration::ZERO);
    let backends = [start("stable").await?, start("canary").await?];

    let (updates, source) = Updates::new();
    let mesh = Mesh::builder().source(source).build()?;
    let client = mesh.client();
    let mut shares = Vec::new();
    for (generation, weight) in (1..).zip([10, 50, 100]) {
        updates.apply(shared([100 - weight, weight], &backends));
        mesh.applied(generation).await?;
        shares.push((weight, canaries(&client, 1_000).await?));
    }
    Ok(shares)
}

#[tokio::main]
#[expect(clippy::print_stdout, reason = "a program that shows something")]
async fn main() -> Result<(), BoxError> {
    for (weight, calls) in run().await? {
        println!("weight {weight:3} of 100: the canary answered {calls:4} of 1000 calls");
    }
    Ok(())
}
