//! Load: a number of calls in flight, kept up for a while.
//!
//! Closed loop: each of the `in_flight` tasks makes its next call when the last one is answered. One
//! failed call fails the whole turn, because failing fast would look like being fast.

use crate::BoxError;
use std::pin::Pin;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// How much is called.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Tasks that call.
    pub in_flight: usize,
    /// How long; calls that are out then are waited for.
    pub duration: Duration,
}

/// What came of it.
#[derive(Debug)]
pub struct Run {
    /// From the first call to the last answer.
    pub elapsed: Duration,
    /// Of every call, in nanoseconds, in no order.
    pub latencies: Vec<u32>,
}

/// Makes one call at a time; clones share connections.
pub trait Caller: Clone + Send + Sync + 'static {
    /// Makes a call and reads its answer to the end.
    fn call(&mut self) -> impl Future<Output = Result<(), BoxError>> + Send;
}

/// A [`Caller`] whose type is forgotten, once per turn and not once per call.
pub trait Client {
    /// Keeps `load` up.
    fn drive(&self, load: Load) -> Driving<'_>;
}

/// The future of [`Client::drive`].
pub type Driving<'a> = Pin<Box<dyn Future<Output = Result<Run, BoxError>> + 'a>>;

impl<C: Caller> Client for C {
    fn drive(&self, load: Load) -> Driving<'_> {
        Box::pin(drive(self, load))
    }
}

async fn drive<C: Caller>(caller: &C, load: Load) -> Result<Run, BoxError> {
    let start = Instant::now();
    let end = start + load.duration;
    let mut tasks = JoinSet::new();
    for _ in 0..load.in_flight {
        tasks.spawn(call_until(caller.clone(), end, MAX_CALLS / load.in_flight));
    }
    let mut parts = Vec::with_capacity(load.in_flight);
    while let Some(part) = tasks.join_next().await {
        parts.push(part??);
    }
    Ok(Run { elapsed: start.elapsed(), latencies: parts.concat() })
}

async fn call_until<C: Caller>(
    mut caller: C,
    end: Instant,
    max_calls: usize,
) -> Result<Vec<u32>, BoxError> {
    let mut latencies = Vec::with_capacity(4096);
    let mut begin = Instant::now();
    while begin < end && latencies.len() < max_calls {
        caller.call().await?;
        let done = Instant::now();
        latencies.push(u32::try_from((done - begin).as_nanos()).unwrap_or(u32::MAX));
        begin = done;
    }
    Ok(latencies)
}

/// Calls of one turn, at most.
const MAX_CALLS: usize = 50_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[derive(Clone, Default)]
    struct Counted {
        calls: Arc<AtomicUsize>,
        fail_at: Option<usize>,
    }

    impl Caller for Counted {
        async fn call(&mut self) -> Result<(), BoxError> {
            tokio::task::yield_now().await;
            let call = self.calls.fetch_add(1, Ordering::Relaxed);
            if Some(call) == self.fail_at { Err("told to".into()) } else { Ok(()) }
        }
    }

    const SHORT: Load = Load { in_flight: 7, duration: Duration::from_millis(20) };

    #[tokio::test]
    async fn every_call_is_measured_once() {
        let caller = Counted::default();
        let run = caller.drive(SHORT).await.unwrap();
        assert_eq!(run.latencies.len(), caller.calls.load(Ordering::Relaxed));
        assert!(run.latencies.len() >= SHORT.in_flight && run.elapsed >= SHORT.duration);
    }

    #[tokio::test]
    async fn one_failed_call_fails_the_turn() {
        let caller = Counted { fail_at: Some(10), ..Counted::default() };
        assert_eq!(caller.drive(SHORT).await.unwrap_err().to_string(), "told to");
    }
}
