//! [`Stream`]: the task of one stream, which takes a snapshot or a request, hands it to the pure machine, and
//! sends what that gives before it takes the next.
//!
//! What it does not do: decide what is answered. The machines of [`Wire`] do.

use super::Snapshot;
use super::clients::{Answer, Connected};
use super::connection::Peer;
use super::wire::Wire;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tonic::{Status, Streaming};

/// The task of one stream.
pub(super) struct Stream<W: Wire> {
    pub(super) machine: W,
    pub(super) responses: mpsc::Sender<Result<W::Response, Status>>,
    pub(super) closing: watch::Receiver<bool>,
    pub(super) client: Connected,
    pub(super) peer: Peer,
}

impl<W: Wire> Stream<W> {
    pub(super) async fn run(
        mut self,
        requests: Streaming<W::Request>,
        snapshots: watch::Receiver<Arc<Snapshot>>,
    ) {
        let end = tokio::select! {
            biased;
            () = closes(self.closing.clone()) => {
                Status::unavailable("the control plane ends: try another, or again")
            }
            () = over(self.peer.until) => Status::unavailable(
                "the client's certificate is over, or was shown long ago: connect anew and show one"
            ),
            end = self.answer(requests, snapshots) => end,
        };
        let (id, node) = (self.client.id(), self.node());
        tracing::info!(target: "mesh::ads", id, node, why = end.message(), "client gone");
        // Who is told of the end is no longer among the clients.
        drop(self.client);
        // Without a wait: a client that does not read is not waited for, and one that has left can't
        // be told.
        let _told_or_gone = self.responses.try_send(Err(end));
    }

    /// Answers until the stream ends, and says why it does.
    async fn answer(
        &mut self,
        mut requests: Streaming<W::Request>,
        mut snapshots: watch::Receiver<Arc<Snapshot>>,
    ) -> Status {
        let mut snapshot = Arc::clone(&snapshots.borrow_and_update());
        let left = self.responses.clone();
        loop {
            let responses = tokio::select! {
                biased;
                () = left.closed() => return Status::cancelled("it closed the stream"),
                changed = snapshots.changed() => {
                    if changed.is_err() {
                        return Status::unavailable("the control plane ends: try another, or again");
                    }
                    snapshot = Arc::clone(&snapshots.borrow_and_update());
                    self.machine.handle_snapshot(&snapshot)
                }
                request = requests.message() => match request {
                    Ok(Some(request)) => match self.handle_request(&request, &snapshot) {
                        Ok(responses) => responses,
                        Err(refused) => return refused,
                    },
                    Ok(None) => return Status::ok("it finished the stream"),
                    Err(broken) => return broken,
                },
            };
            for response in responses {
                self.client.sent(&W::sent(&response), Instant::now());
                if self.responses.send(Ok(response)).await.is_err() {
                    return Status::cancelled("it closed the stream");
                }
            }
        }
    }

    fn handle_request(
        &mut self,
        request: &W::Request,
        snapshot: &Snapshot,
    ) -> Result<Vec<W::Response>, Status> {
        let was_known = self.machine.node_id().is_some();
        let asked = W::asked(request);
        let answer = self.client.answered(&asked, Instant::now());
        let responses = self
            .machine
            .handle_request(request, snapshot)
            .map_err(|refused| Status::resource_exhausted(refused.to_string()));
        let (id, node) = (self.client.id(), self.node());
        if !was_known && self.machine.node_id().is_some() {
            self.client.named(node);
            let (peer, variant) = (self.peer.address.map(tracing::field::display), W::VARIANT);
            let identity = self.peer.identity.as_deref();
            tracing::info!(
                target: "mesh::ads", id, node, peer, identity, ?variant, "client connected"
            );
        }
        match answer {
            Some((kind, Answer::Ack { version, lag })) => {
                tracing::info!(target: "mesh::ads", id, node, %kind, version, ?lag, "ACK");
            }
            Some((kind, Answer::Nack(refusal))) => tracing::warn!(
                target: "mesh::ads", id, node, %kind, version = refusal.version,
                why = refusal.message, "NACK"
            ),
            None if crate::ResourceType::from_type_url(asked.type_url).is_none() => {
                tracing::debug!(
                    target: "mesh::ads", id, node, type_url = asked.type_url,
                    "a type that is not served: no answer"
                )
            }
            None => {}
        }
        responses
    }

    fn node(&self) -> &str {
        self.machine.node_id().map_or("", |node| node)
    }
}

async fn over(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => std::future::pending().await,
    }
}

/// Waits until a server closes.
pub(super) async fn closes(mut closing: watch::Receiver<bool>) {
    // An error: the sender is gone, and the server with it.
    let _closed = closing.wait_for(|closing| *closing).await.is_ok();
}
