//! A load-balancing policy of your own: implement `Pick`, register it, name it in the cluster.
//!
//! This one packs: an endpoint is filled up to a number of calls in flight before the next gets any,
//! so that the last ones stay idle and can be scaled away. Health, ejections, priorities and
//! retries elsewhere remain the mesh's business: a policy sees only endpoints that may be used.
//!
//! `cargo run --example custom_lb`

mod backend;

use backend::{Backend, BoxError, everything_to};
use futures_util::future::join_all;
use http::Request;
use mesh_core::lb::{CustomPick, Pick};
use mesh_core::model::{Cluster, LbAlgorithm, LbPolicy};
use mesh_tower::{Mesh, MeshBody};
use std::collections::BTreeMap;
use std::time::Duration;
use tower::ServiceExt;

/// Fills the first endpoint before it uses the second, and so on.
#[derive(Debug)]
struct Pack {
    full_at: u32,
}

impl Pick for Pack {
    fn pick(&self, cx: &CustomPick<'_>) -> Option<u32> {
        // A retry should not come back to where it failed, unless nobody else is left.
        let fresh = || cx.candidates().filter(|candidate| !candidate.is_passed_over);
        let with_room = fresh().find(|candidate| candidate.active < self.full_at);
        let least_loaded = || cx.candidates().min_by_key(|candidate| candidate.active);
        with_room.or_else(least_loaded).map(|candidate| candidate.index)
    }
}

/// Makes `calls` calls at the same time, and gives how many each of two endpoints answered.
pub(crate) async fn run(calls: usize) -> Result<BTreeMap<String, usize>, BoxError> {
    let slow = Duration::from_millis(50);
    let (first, second) =
        (Backend::start("first", slow).await?, Backend::start("second", slow).await?);
    let mut cluster = Cluster::new("packed");
    cluster.lb_policy = LbPolicy::new(LbAlgorithm::Custom("pack".into()));
    let mesh = Mesh::builder()
        .lb_policy("pack", Pack { full_at: 8 })
        .config(everything_to(cluster, &[first.address, second.address]))
        .build()?;

    let calls = (0..calls).map(|_| async {
        let request = Request::get("http://packed/").body(MeshBody::empty())?;
        let response = mesh.client().oneshot(request).await?;
        let body = http_body_util::BodyExt::collect(response.into_body()).await?.to_bytes();
        let text = String::from_utf8(body.to_vec())?;
        Ok::<_, BoxError>(text.split(' ').next().unwrap_or_default().to_owned())
    });
    let mut answered = BTreeMap::new();
    for name in join_all(calls).await {
        *answered.entry(name?).or_default() += 1;
    }
    Ok(answered)
}

#[tokio::main]
#[expect(clippy::print_stdout, reason = "a program that shows something")]
async fn main() -> Result<(), BoxError> {
    for calls in [5, 8, 12, 20] {
        println!("{calls:2} calls at the same time: {:?}", run(calls).await?);
    }
    Ok(())
}
