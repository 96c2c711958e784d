//! The order of the end.
//!
//! 1. Who calls the application is told, and let finish; the application can still call others.
//! 2. The command is told to end: by the signal that came.
//! 3. What it still calls is let finish, and the mesh ends.
//!
//! All of it within the drain timeout, of which the first has half where there is a command, at which the command is killed and what is left is closed.

use super::wrap::{Ended, Wrapped};
use super::{End, signals};
use crate::cli::Failure;
use mesh_tower::Mesh;
use mesh_tower::proxy::Proxy;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// Ends all, because of `end`. The exit code.
pub(super) async fn all(
    mesh: &Mesh,
    proxy: &Proxy,
    (end, wrapped): (End, Option<&mut Wrapped>),
    limit: Duration,
) -> Result<u8, Failure> {
    let until = Instant::now() + limit;
    let left = || until.saturating_duration_since(Instant::now());
    tracing::info!(target: "mesh::proxy", "{}: draining within {} s", why(end), limit.as_secs());
    // What is upgraded or no HTTP has no way to be told: the command has its half of the time, whatever is left of it.
    let inbound = if wrapped.is_some() { limit / 2 } else { limit };
    proxy.drain_inbound(inbound).await;
    let code = match (end, wrapped) {
        (End::Command(ended), _) => ended.code(),
        (End::Signal(signal), Some(wrapped)) => command(wrapped, signal, left()).await?.code(),
        // It is told as by `kill` without a signal.
        (End::Admin, Some(wrapped)) => command(wrapped, signals::TERMINATE, left()).await?.code(),
        (End::Signal(_) | End::Admin, None) => 0,
    };
    proxy.drain(left()).await;
    mesh.shutdown(left()).await;
    Ok(code)
}

async fn command(wrapped: &mut Wrapped, signal: i32, limit: Duration) -> Result<Ended, Failure> {
    wrapped.signal(signal);
    match timeout(limit, wrapped.ended()).await {
        Ok(ended) => ended,
        Err(_late) => {
            tracing::warn!(target: "mesh::proxy", "the command has not ended in time, and is killed");
            wrapped.kill();
            wrapped.ended().await
        }
    }
}

fn why(end: End) -> String {
    match end {
        End::Signal(signal) => format!("signal {}", signals::name(signal)),
        End::Admin => "POST /drain".to_owned(),
        End::Command(ended) => format!("the command ended with {}", ended.code()),
    }
}
