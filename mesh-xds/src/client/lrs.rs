//! [`LoadReports`]: load reports to one server, on a stream of their own (LRS).
//!
//! The stream has a connection of its own: reports go on while the stream of resources is being opened
//! again, and whoever reads one need not wait for the other. What is sent and when,
//! [`Reporter`](crate::load_report::Reporter) decides.

use super::Draw;
use super::credentials::Credentials;
use super::link::{self, Connecting, Open};
use crate::bootstrap::{Bootstrap, Server};
use crate::load_report::{ClusterLoad, LoadKey, Reporter};
use crate::protocol::{Action, CloseReason, Event, Options};
use envoy_types::pb::envoy::service::load_stats::v3::load_reporting_service_client::LoadReportingServiceClient;
use envoy_types::pb::envoy::service::load_stats::v3::{LoadStatsRequest, LoadStatsResponse};
use mesh_core::Timestamp;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_stream::wrappers::ReceiverStream;

/// The largest answer, in bytes: an interval and the names of clusters. A larger one ends the stream.
pub const MAX_LRS_RESPONSE: usize = 4 << 20;

/// How many requests may wait for the transport. A report that finds no room is made later, with what was
/// counted until then.
const QUEUE: usize = 2;

/// How long a report waits that found no room.
const NO_ROOM: Duration = Duration::from_secs(1);

/// Load reports to one server.
pub struct LoadReports {
    server: Server,
    credentials: Credentials,
    machine: Reporter,
    link: Link,
    /// How many streams in a row had no response.
    failures: usize,
    epoch: Instant,
    /// A report found no room; the next attempt.
    again: Option<Instant>,
}

/// What happened to load reports.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LoadReportsEvent {
    /// The totals of a cluster are not read any more.
    Forgotten(LoadKey),
    /// The server takes reports, for the first time or again.
    Reachable,
    /// The server can't be reached, or takes no reports. What was counted is kept for it.
    Unreachable {
        /// Why.
        error: Arc<str>,
        /// How many attempts in a row.
        failures: u32,
    },
}

enum Link {
    Down,
    Connecting(Connecting),
    Open(Open<LoadStatsRequest, LoadStatsResponse>),
}

enum LinkEvent {
    Connected,
    Message(LoadStatsResponse),
    Closed(CloseReason),
}

impl LoadReports {
    /// Reports of the node of `bootstrap` to one of its servers (gRFC A47: to no others). It connects when
    /// the first cluster is reported.
    #[must_use]
    pub fn new(bootstrap: &Bootstrap, server: &Server) -> Self {
        Self {
            server: server.clone(),
            credentials: Credentials::new(server),
            machine: Reporter::new(bootstrap.node().to_proto(), Options::default()),
            link: Link::Down,
            failures: 0,
            epoch: Instant::now(),
            again: None,
        }
    }

    /// Where the reports go.
    #[must_use]
    pub const fn server(&self) -> &Server {
        &self.server
    }

    /// From now on these clusters are reported, and no others. Until
    /// [`Forgotten`](LoadReportsEvent::Forgotten), the totals of a cluster only grow.
    pub fn watch(&mut self, keys: &BTreeSet<LoadKey>) {
        let now = self.now();
        self.machine.handle_watch(keys, now);
    }

    /// Runs until something happened. It must be called again and again: nothing is reported in between.
    /// `read` says what was counted of a cluster.
    ///
    /// # Cancel safety
    /// Cancel safe: whatever had begun goes on with the next call.
    pub async fn next(
        &mut self,
        mut read: impl FnMut(&LoadKey) -> ClusterLoad,
    ) -> LoadReportsEvent {
        loop {
            if let Some(event) = self.settle(&mut read) {
                return event;
            }
            let due = self.machine.poll_timeout().map(|(at, _)| self.instant(at));
            let due = due.map(|due| self.again.map_or(due, |again| due.max(again)));
            let timer = async {
                match due {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let link = std::future::poll_fn(|cx| self.link.poll(cx));
            tokio::select! {
                event = link => self.link_event(event),
                () = timer => {
                    self.again = None;
                    let now = self.now();
                    self.machine.handle_timeout(now, &mut Draw);
                }
            }
        }
    }

    /// Does everything that can be done without waiting.
    fn settle(&mut self, read: impl FnMut(&LoadKey) -> ClusterLoad) -> Option<LoadReportsEvent> {
        while let Some(action) = self.machine.poll_action() {
            self.link = match action {
                Action::Connect(_) => {
                    Link::Connecting(link::connect(&self.server, &self.credentials, self.failures))
                }
                Action::Close => Link::Down,
            };
        }
        if let Link::Open(open) = &self.link {
            match open.requests.try_reserve() {
                Ok(room) => {
                    let now = now(self.epoch);
                    if let Some(request) = self.machine.poll_request(now, read) {
                        room.send(request);
                    }
                }
                Err(_) => self.again = Some(Instant::now() + NO_ROOM),
            }
        }
        if let Some(key) = self.machine.poll_forgotten() {
            return Some(LoadReportsEvent::Forgotten(key));
        }
        match self.machine.poll_event()? {
            Event::Reachable => {
                self.failures = 0;
                Some(LoadReportsEvent::Reachable)
            }
            Event::Unreachable { error, failures } => {
                self.failures = self.failures.wrapping_add(1);
                Some(LoadReportsEvent::Unreachable { error, failures })
            }
            _ => None,
        }
    }

    fn link_event(&mut self, event: LinkEvent) {
        let now = self.now();
        match event {
            LinkEvent::Connected => self.machine.handle_connected(),
            LinkEvent::Message(response) => {
                tracing::debug!(
                    target: "mesh::xds", server = %self.server.uri(), ?response,
                    "load reports are asked for"
                );
                self.machine.handle_response(&response, now);
            }
            LinkEvent::Closed(reason) => self.machine.handle_closed(reason, now, &mut Draw),
        }
    }

    fn now(&self) -> Timestamp {
        now(self.epoch)
    }

    fn instant(&self, at: Timestamp) -> Instant {
        self.epoch + Duration::from_nanos(at.as_nanos())
    }
}

fn now(epoch: Instant) -> Timestamp {
    Timestamp::from_nanos(u64::try_from(epoch.elapsed().as_nanos()).unwrap_or(u64::MAX))
}

impl Link {
    /// The next thing that happens; never, while it is down.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<LinkEvent> {
        let closed = match self {
            Self::Down => return Poll::Pending,
            Self::Connecting(connecting) => match ready!(connecting.as_mut().poll(cx)) {
                Ok(dialed) => {
                    let mut client = LoadReportingServiceClient::new(dialed.channel.clone())
                        .max_decoding_message_size(MAX_LRS_RESPONSE);
                    let (requests, receiver) = mpsc::channel(QUEUE);
                    let request = dialed.request(ReceiverStream::new(receiver));
                    let opening = async move { client.stream_load_stats(request).await };
                    *self = Self::Open(Open::new(requests, Box::pin(opening), dialed));
                    return Poll::Ready(LinkEvent::Connected);
                }
                Err(error) => CloseReason::Failed(error.into()),
            },
            Self::Open(open) => match ready!(open.poll(cx)) {
                Ok(message) => return Poll::Ready(LinkEvent::Message(message)),
                Err(reason) => reason,
            },
        };
        *self = Self::Down;
        Poll::Ready(LinkEvent::Closed(closed))
    }
}

impl fmt::Debug for LoadReports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadReports").field("server", &self.server).finish_non_exhaustive()
    }
}
