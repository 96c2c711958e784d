//! How a connection is run: to its end, or to that of its drain.

use super::accept::Acceptor;
use super::connection::Connection;
use super::drain::{CHANGED, Place, Plan, until};
use super::head_timer::HEAD;
use super::http::Seen;
use super::open::OpenConnection;
use super::serve::ServeError;
use super::streams::Counts;
use crate::body::BoxError;
use crate::observe::port::Drained;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;
use tokio::time::Instant;

/// How a connection goes on that was run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It does not.
    Done,
    /// It has been silent for so long that it rests.
    Rests,
}

/// Runs a connection to its end, or to that of its drain, which `shut_down` begins; the end of the whole
/// server may come while it is drained for another reason.
pub(super) async fn drive<F: Future<Output = Result<End, BoxError>>>(
    mut served: Pin<&mut F>,
    shut_down: impl FnOnce(Pin<&mut F>),
    (drained, over): (Pin<&mut impl Future<Output = Plan>>, impl Future<Output = ()>),
    (seen, is_busy): (&Seen, impl Fn() -> bool),
) -> Result<End, ServeError> {
    let plan = tokio::select! {
        biased;
        done = served.as_mut() => return done.map_err(ServeError::Http),
        plan = drained => plan,
    };
    seen.drain();
    let (mut quiet, mut over) = (pin!(tokio::time::sleep_until(plan.quiet)), pin!(over));
    let done = poll_fn(|cx| {
        if let Poll::Ready(done) = served.as_mut().poll(cx) {
            return Poll::Ready(Some(done.map_err(ServeError::Http)));
        }
        // Another drain may have less patience than this one has with who is silent.
        if over.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Some(Err(ServeError::Deadline)));
        }
        // HTTP/2 has a way to say so that loses nothing, whenever it is said.
        if seen.is_http2() || quiet.as_mut().poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        Poll::Pending
    });
    if let Some(done) = done.await {
        return done;
    }
    shut_down(served.as_mut());
    tokio::select! {
        biased;
        done = served => done.map_err(ServeError::Http),
        () = late(plan, is_busy) => Err(ServeError::Deadline),
        () = over => Err(ServeError::Deadline),
    }
}

/// Waits until what was told to end is to be closed.
async fn late(plan: Plan, is_busy: impl Fn() -> bool) {
    until(plan.deadline).await;
    // It was told so because it had no requests. One that was on its way has the time that others have.
    if plan.why == Drained::Idle && is_busy() {
        tokio::time::sleep(CHANGED).await;
    }
}

/// Waits until a connection is to end, and counts that once: who has outlived something is told once, and what it is
/// upgraded to meanwhile ends by the same plan.
pub(super) async fn plan(
    acceptor: &Acceptor,
    place: &mut Place,
    open: &mut OpenConnection,
) -> Plan {
    if let Some(plan) = place.told {
        return plan;
    }
    let plan = tokio::select! {
        biased;
        plan = place.drained() => plan,
        why = open.outlived() => Plan::of(why),
    };
    acceptor.drained(plan.why);
    *place.told.insert(plan)
}

/// The same, also for a connection that has no requests for too long. What comes on it within 30 s may have been on its
/// way.
pub(super) async fn plan_or_idle(
    (acceptor, connection): (&Acceptor, &Connection),
    plan: impl Future<Output = Plan>,
    idle: impl Future<Output = ()>,
) -> Plan {
    tokio::select! {
        biased;
        plan = plan => plan,
        () = idle => {
            acceptor.drained(Drained::Idle);
            let plan = Plan::within(HEAD, Drained::Idle);
            connection.over().at(plan.quiet + HEAD);
            plan
        }
    }
}

/// Waits until a connection of HTTP/2 has had no request for so long.
pub(super) async fn idle(after: Option<Duration>, seen: &Seen, streams: &Counts) {
    let Some(after) = after else { return std::future::pending().await };
    let (mut before, mut since) = ((0, false), Instant::now());
    loop {
        tokio::time::sleep((after / LOOKS).max(SHORTEST_LOOK)).await;
        let now = (seen.requests(), streams.live() > 0);
        // What was there at the last look has ended since.
        if now != before || now.1 {
            (before, since) = (now, Instant::now());
        } else if since.elapsed() >= after {
            return;
        }
    }
}

/// How often it is looked in that time whether it has any.
const LOOKS: u32 = 12;

/// At most so often.
const SHORTEST_LOOK: Duration = Duration::from_millis(100);

/// Runs what has no way to say that it ends: to its end, or to the deadline of its drain.
pub(super) async fn until_drained(
    running: Pin<&mut impl Future<Output = ()>>,
    drained: impl Future<Output = Plan>,
    over: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let deadline = async {
        let plan = drained.await;
        tokio::select! {
            () = until(plan.deadline) => {}
            () = over => {}
        }
    };
    tokio::select! {
        biased;
        () = running => Ok(()),
        () = deadline => Err(ServeError::Deadline),
    }
}
