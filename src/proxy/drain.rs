//! The order of the end.
//!
//! 1. Who calls the application is told, and let finish; the application can still call others.
//! 2. The command is told to end: by the signal that came.
//! 3. What it still calls is let finish, and the mesh ends.
//!
//! All of it within the drain timeout, of which the first has half where there is a command, at which the command is
//! killed and what is left is closed. A command that ends before it is told is not waited for. A second signal ends
//! all at once; other signals are passed on to the command, as before.

use super::End;
use super::running::{Running, ended};
use super::signals::{self, Came};
use super::wrap::{Ended, Wrapped};
use crate::cli::Failure;
use std::future::Future;
use std::pin::{Pin, pin};
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout_at};

/// What closing takes, at the end of the time.
const CLOSING: Duration = Duration::from_secs(1);

/// What ended a wait.
enum Next {
    /// What was waited for.
    Done,
    /// The command did.
    Ended(Ended),
    /// A second signal.
    Signal(i32),
}

/// Ends all, because of `end`. The exit code.
pub(super) async fn all(running: &mut Running, end: End, limit: Duration) -> Result<u8, Failure> {
    let until = Instant::now() + limit;
    let left = || until.saturating_duration_since(Instant::now());
    tracing::info!(target: "mesh::proxy", "{}: draining within {} s", why(end), limit.as_secs());
    let (proxy, mesh) = (running.proxy.clone(), running.mesh.clone());
    let mut code = match end {
        End::Command(ended) => Some(ended),
        _ => None,
    };
    // What is upgraded or no HTTP has no way to be told: the command has its half of the time, whatever is left of it.
    let waits = running.wrapped.is_some() && code.is_none();
    let inbound = if waits { limit / 2 } else { limit };
    let drained = pin!(timeout_at(until + CLOSING, proxy.drain_inbound(inbound)));
    match wait(running, drained, waits).await? {
        Next::Done => {}
        Next::Ended(ended) => code = Some(ended),
        Next::Signal(signal) => return Ok(at_once(running, signal)),
    }
    if waits && code.is_none() {
        // It is told as by `kill` without a signal, if none came.
        let signal = if let End::Signal(signal) = end { signal } else { signals::TERMINATE };
        if let Some(wrapped) = &running.wrapped {
            wrapped.signal(signal);
        }
        match wait(running, pin!(sleep_until(until)), true).await? {
            Next::Done => code = killed(running.wrapped.as_mut()).await?,
            Next::Ended(ended) => code = Some(ended),
            Next::Signal(signal) => return Ok(at_once(running, signal)),
        }
    }
    let rest = async {
        proxy.drain(left()).await;
        mesh.shutdown(left()).await;
    };
    match wait(running, pin!(timeout_at(until + CLOSING, rest)), false).await? {
        Next::Signal(signal) if code.is_none() => Ok(at_once(running, signal)),
        _ => Ok(code.map_or(0, Ended::code)),
    }
}

/// Runs `work` to its end, or to that of the command where that counts, or to another signal.
async fn wait<F: Future>(
    running: &mut Running,
    mut work: Pin<&mut F>,
    for_command: bool,
) -> Result<Next, Failure> {
    let Running { signals, wrapped, .. } = running;
    loop {
        let wanted = if for_command { wrapped.as_mut() } else { None };
        let came = tokio::select! {
            biased;
            ended = ended(wanted) => return ended.map(Next::Ended),
            _done = work.as_mut() => return Ok(Next::Done),
            came = signals.next() => came,
        };
        match (came, &wrapped) {
            (Came::Ending(signal), _) => return Ok(Next::Signal(signal)),
            (Came::Other(signal), Some(wrapped)) => wrapped.signal(signal),
            (Came::Other(_), None) => {}
        }
    }
}

fn at_once(running: &mut Running, signal: i32) -> u8 {
    if let Some(wrapped) = &mut running.wrapped {
        wrapped.kill();
    }
    signals::code(signal)
}

async fn killed(wrapped: Option<&mut Wrapped>) -> Result<Option<Ended>, Failure> {
    let Some(wrapped) = wrapped else { return Ok(None) };
    tracing::warn!(target: "mesh::proxy", "the command has not ended in time, and is killed");
    wrapped.kill();
    wrapped.ended().await.map(Some)
}

fn why(end: End) -> String {
    match end {
        End::Signal(signal) => format!("signal {}", signals::name(signal)),
        End::Admin => "POST /drain".to_owned(),
        End::Command(ended) => format!("the command ended with {}", ended.code()),
        End::TakenOver => "another process has taken over".to_owned(),
    }
}
