//! Load: a number of calls in flight, kept up for a while, in a closed loop.

use crate::BoxError;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// How much is called.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// Tasks that call.
    pub(crate) in_flight: usize,
    /// How long; calls that are out then are waited for.
    pub(crate) duration: Duration,
}

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub(crate) calls: u64,
    /// From the first call to the last answer.
    pub(crate) elapsed: Duration,
}

/// Makes one call at a time; clones share connections.
pub(crate) trait Caller: Clone + Send + 'static {
    /// Makes a call and reads its answer to the end.
    fn call(&mut self) -> impl Future<Output = Result<(), BoxError>> + Send;
}

/// Keeps `load` up. One failed call fails all of it: failing fast would look like being fast.
pub(crate) async fn drive<C: Caller>(caller: C, load: Load) -> Result<Run, BoxError> {
    let start = Instant::now();
    let end = start + load.duration;
    let mut tasks = JoinSet::new();
    for _ in 0..load.in_flight {
        let mut caller = caller.clone();
        tasks.spawn(async move {
            let mut calls = 0_u64;
            while Instant::now() < end {
                caller.call().await?;
                calls += 1;
            }
            Ok::<_, BoxError>(calls)
        });
    }
    let mut calls = 0;
    while let Some(part) = tasks.join_next().await {
        calls += part??;
    }
    Ok(Run { calls, elapsed: start.elapsed() })
}
