//! The task of an HTTP/2 connection: handshake, frames, the peer's limit, clockwork, end.

use super::wire::{Ended, Turned, Wire};
use super::{H2Connection, calls};
use crate::connect::PoolSettings;
use crate::connect::io::{Gate, NetIo};
use crate::connect::lanes::Refusal;
use crate::connect::shared::Shared;
use crate::connect::upkeep::{Activity, Due, Upkeep};
use crate::corked::{Cork, Corked, corked_to_the_last_word};
use crate::observe::events::CloseReason;
use bytes::Bytes;
use h2::client::{Builder, Connection};
use h2::{Ping, PingPong};
use mesh_core::model::ConnectionOptions;
use mesh_core::outcome::ConnectFailure;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep};

/// How much of an answer may be here that nobody has read yet.
const STREAM_WINDOW: u32 = 1 << 20;

/// All that a window may be (RFC 9113 section 6.9.1). What is here and not read is bounded for each stream: were it for
/// all of them together, a few answers that nobody reads would hold up those of everybody else.
const CONNECTION_WINDOW: u32 = (1 << 31) - 1;

const MAX_FRAME: u32 = 16 << 10;
const SEND_BUFFER: usize = 1 << 20;

/// Streams that we gave up and whose late frames are still let pass quietly. Late frames of forgotten
/// ones are answered with resets, which `h2` counts over the connection's whole life and takes for an
/// attack at 1024: with timeouts and hedging that would end a healthy connection, so that is off.
const REMEMBERED_RESETS: usize = 1024;

/// How long a connection that is closing may take to say so, to a peer that reads nothing, unless keep-alive says less.
const CLOSING: Duration = Duration::from_secs(10);

/// What `h2` reports as the peer's limit until its SETTINGS came; no peer can send this.
const NO_SETTINGS: usize = usize::MAX - 1;

/// Starts HTTP/2 on `io`, with prior knowledge (RFC 9113 section 3.3).
///
/// Done when the peer's SETTINGS came: until then it may speak anything.
pub(in crate::connect) async fn handshake(
    io: NetIo,
    gate: Arc<Gate>,
    shared: &Arc<Shared>,
    settings: &PoolSettings,
) -> Result<(Arc<H2Connection>, Driver), Refusal> {
    let (io, cork) = corked_to_the_last_word(io);
    let (send, mut connection) = builder(&settings.options)
        .handshake(io)
        .await
        .map_err(|error| failed(Some(io::Error::other(error))))?;
    let limit = settings_of(&mut connection, &cork).await?;
    let upkeep = Upkeep::new(&settings.options, true, Instant::now());
    let pings = upkeep.as_ref().and_then(|_| connection.ping_pong());
    let wire = Arc::new(Wire::new(connection, cork));
    let handle = Arc::new(H2Connection::new(send, &wire, limit, shared, settings, &gate));
    let driver = Driver {
        handle: Arc::downgrade(&handle),
        pings,
        wire,
        limit,
        reads: gate.reads(),
        gate,
        shared: Arc::clone(shared),
        upkeep,
        closing: Closing::within(&settings.options),
    };
    Ok((handle, driver))
}

/// How many streams the peer takes, when it has said so.
///
/// Who takes nothing may have said why before, as TLS 1.3 does of a certificate: that is waited for, within the time for
/// connecting.
async fn settings_of(
    connection: &mut Connection<Corked<NetIo>, Bytes>,
    cork: &Cork<NetIo>,
) -> Result<usize, Refusal> {
    let mut failure = None;
    poll_fn(|cx| {
        loop {
            if let Poll::Ready(ended) = Pin::new(&mut *connection).poll(cx) {
                let error = ended.err().map(io::Error::other).or_else(|| failure.take());
                return Poll::Ready(Err(failed(error)));
            }
            match cork.poll_out(cx) {
                Poll::Ready(Err(error)) => failure = Some(error),
                _ => break,
            }
        }
        match connection.max_concurrent_send_streams() {
            NO_SETTINGS => Poll::Pending,
            _ if failure.is_some() => Poll::Ready(Err(failed(failure.take()))),
            limit => Poll::Ready(Ok(limit)),
        }
    })
    .await
}

fn builder(options: &ConnectionOptions) -> Builder {
    let mut builder = Builder::new();
    builder
        .enable_push(false)
        .initial_max_send_streams(NO_SETTINGS)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(MAX_FRAME)
        .max_send_buffer_size(SEND_BUFFER)
        .max_concurrent_reset_streams(REMEMBERED_RESETS)
        .max_local_error_reset_streams(None)
        .max_header_list_size(options.max_response_head);
    builder
}

fn failed(error: Option<io::Error>) -> Refusal {
    Refusal { source: error.map(Arc::new), ..Refusal::connect(ConnectFailure::Handshake) }
}

/// Drives a connection until it is closed.
pub(in crate::connect) struct Driver {
    wire: Arc<Wire>,
    /// Weak: the calls and the pool keep a connection open, not its own task.
    handle: Weak<H2Connection>,
    limit: usize,
    pings: Option<PingPong>,
    gate: Arc<Gate>,
    /// Reads by the last look.
    reads: u32,
    shared: Arc<Shared>,
    upkeep: Option<Upkeep>,
    closing: Closing,
}

/// The end of a connection without calls that takes no new ones: `h2` says GOAWAY, and waits until that is written.
enum Closing {
    /// Not yet, and how long it may take.
    Within(Duration),
    By(Pin<Box<Sleep>>),
}

impl Closing {
    fn within(options: &ConnectionOptions) -> Self {
        let answers = options.keepalive_timeout;
        Self::Within(if answers.is_zero() { CLOSING } else { answers.min(CLOSING) })
    }

    /// Ready: it takes too long.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Self::Within(limit) = self {
            *self = Self::By(Box::pin(sleep(*limit)));
        }
        match self {
            Self::By(sleep) => sleep.as_mut().poll(cx),
            Self::Within(_) => Poll::Pending,
        }
    }
}

impl Driver {
    fn publish_limit(&mut self, limit: usize) {
        if limit == self.limit {
            return;
        }
        self.limit = limit;
        if let Some(handle) = self.handle.upgrade() {
            handle.publish_limit(limit);
            if let Some(limit) = handle.limit_if_open() {
                self.shared.limit_changed(limit);
            }
        }
    }

    /// Who waits must not wait for a connection that said GOAWAY, and one that is idle should not be
    /// found by a call. A busy one is: that call looks anyway.
    fn retire_if_dead(&mut self) {
        let reads = self.gate.reads();
        let news = std::mem::replace(&mut self.reads, reads) != reads;
        if !news && !self.shared.has_h2_waiting() {
            return;
        }
        let Some(handle) = self.handle.upgrade() else { return };
        if (handle.active() == 0 || self.shared.has_h2_waiting()) && handle.is_dead() {
            handle.gone_away();
        }
    }

    pub(in crate::connect) fn gate(&self) -> &Gate {
        &self.gate
    }

    fn blame(&self, ended: &Ended) {
        let Err(error) = ended else { return };
        if error.is_go_away() && error.is_remote() {
            self.gate.blame_goaway();
        } else {
            self.gate.blame_unless_ended();
        }
        tracing::debug!(address = %self.shared.address(), %error, "HTTP/2 connection ended");
    }

    /// It takes no more calls; what its peer said before is read, for as long as a connection has to close.
    fn hear_out(&mut self, cx: &mut Context<'_>) {
        if let Some(handle) = self.handle.upgrade() {
            handle.leave();
        }
        self.close_in_time(cx);
    }

    fn close_in_time(&mut self, cx: &mut Context<'_>) {
        if self.closing.poll(cx).is_ready() {
            self.gate.close();
        }
    }

    fn poll_upkeep(&mut self, cx: &mut Context<'_>) {
        let Some(upkeep) = &mut self.upkeep else { return };
        while upkeep.poll_fired(cx) {
            // Without a handle it is retired and without calls: it is closing.
            let Some(handle) = self.handle.upgrade() else { return };
            let state = handle.state.load(Ordering::Relaxed);
            let activity = Activity {
                busy: super::active(state) > 0,
                calls: calls(state),
                reads: self.gate.reads(),
            };
            match upkeep.look(activity, Instant::now()) {
                Due::Nothing => {}
                Due::Retire(why) => handle.retire(why),
                Due::Dead => {
                    self.gate.blame(CloseReason::KeepAlive);
                    self.gate.close();
                }
                Due::Ping => {
                    // Refused only while another is unanswered: that one does as well.
                    drop(self.pings.as_mut().map(|pings| pings.send_ping(Ping::opaque())));
                }
            }
        }
        if upkeep.is_pinged()
            && let Some(pings) = &mut self.pings
            && matches!(pings.poll_pong(cx), Poll::Ready(Ok(_)))
        {
            upkeep.ponged();
        }
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match self.wire.turn(cx) {
            Turned::On { limit } => self.publish_limit(limit),
            Turned::Deaf => self.hear_out(cx),
            Turned::Elsewhere => {}
            Turned::Ended(ended) => {
                self.blame(&ended);
                return Poll::Ready(());
            }
        }
        // Neither the pool nor a call has it any more.
        if self.handle.strong_count() == 0 {
            self.close_in_time(cx);
        }
        self.retire_if_dead();
        self.poll_upkeep(cx);
        Poll::Pending
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.wire.close();
        if let Some(handle) = self.handle.upgrade() {
            handle.leave();
        }
    }
}
