//! HTTP/2 connections: streams are leased, never queued.

mod driver;
mod exchange;
mod pump;
mod wire;

pub(super) use driver::{Driver, handshake};
pub(super) use exchange::{Exchange, NotStarted, Started};

use super::PoolSettings;
use super::io::Gate;
use super::shared::Shared;
use crate::observe::events::CloseReason;
use bytes::Bytes;
use h2::client::SendRequest;
use h2::ext::Protocol;
use http::Request;
use http::uri::Scheme;
use mesh_core::head::MOST_HEADERS;
use mesh_core::model::TlsPolicy;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use wire::Wire;

/// One HTTP/2 connection, as calls share it.
///
/// It holds the last handle to open streams with: when the pool has let go of it and the last lease
/// ends, `h2` says GOAWAY and closes. So a connection can be retired at any moment without hurting a
/// call that found it just before.
pub(super) struct H2Connection {
    send: SendRequest<Bytes>,
    wire: Arc<Wire>,
    /// Streams in use (low half), and calls so far (high half, wraps).
    state: AtomicU64,
    /// min(what the peer allows, what we allow); 0 once retired.
    limit: AtomicU32,
    retired: AtomicBool,
    /// Most calls in its life; 0: no limit.
    max_calls: u32,
    /// The most headers of a response.
    max_headers: u32,
    max_streams: u32,
    shared: Arc<Shared>,
    runtime: tokio::runtime::Handle,
    scheme: Scheme,
    gate: Arc<Gate>,
}

const ONE_CALL: u64 = 1 << 32;

/// Streams in use.
const fn active(state: u64) -> u32 {
    (state & 0xffff_ffff) as u32
}

/// Calls so far.
const fn calls(state: u64) -> u32 {
    (state >> 32) as u32
}

impl H2Connection {
    fn new(
        send: SendRequest<Bytes>,
        wire: &Arc<Wire>,
        peer_limit: usize,
        shared: &Arc<Shared>,
        settings: &PoolSettings,
        gate: &Arc<Gate>,
    ) -> Self {
        let connection = Self {
            send,
            wire: Arc::clone(wire),
            state: AtomicU64::new(0),
            limit: AtomicU32::new(0),
            retired: AtomicBool::new(false),
            max_calls: settings.options.max_requests_per_connection,
            max_headers: settings.options.max_response_headers.min(MOST_HEADERS),
            max_streams: settings.options.max_concurrent_streams,
            shared: Arc::clone(shared),
            runtime: settings.runtime.clone(),
            scheme: match settings.tls {
                TlsPolicy::Off => Scheme::HTTP,
                _ => Scheme::HTTPS,
            },
            gate: Arc::clone(gate),
        };
        connection.publish_limit(peer_limit);
        connection
    }

    /// Streams that it takes at a time; 0 once retired.
    fn limit(&self) -> u32 {
        self.limit.load(Ordering::Acquire)
    }

    /// The same, for the pool: `None`: it is retired, so its 0 says nothing about its peer.
    pub(super) fn limit_if_open(&self) -> Option<u32> {
        // Before the flag: that is set before the limit is 0.
        let limit = self.limit();
        (!self.retired.load(Ordering::SeqCst)).then_some(limit)
    }

    /// Streams in use.
    pub(super) fn active(&self) -> u32 {
        active(self.state.load(Ordering::Relaxed))
    }

    fn publish_limit(&self, peer: usize) {
        let limit = u32::try_from(peer).unwrap_or(u32::MAX).min(self.max_streams);
        self.limit.store(limit, Ordering::SeqCst);
        if self.retired.load(Ordering::SeqCst) {
            self.limit.store(0, Ordering::SeqCst);
        }
    }

    /// Takes no new calls from now on, and ends with its last one.
    pub(super) fn retire(&self, why: CloseReason) {
        self.gate.blame(why);
        self.leave();
    }

    /// Retires a connection on which no stream can be opened any more.
    pub(super) fn gone_away(&self) {
        self.gate.blame_goaway();
        self.leave();
    }

    fn leave(&self) {
        if !self.retired.swap(true, Ordering::SeqCst) {
            self.limit.store(0, Ordering::SeqCst);
            self.shared.retire_h2(self);
        }
    }

    /// Whether no stream can be opened any more: it is closed, or the peer said GOAWAY.
    pub(super) fn is_dead(&self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        !matches!(self.send.clone().poll_ready(&mut cx), Poll::Ready(Ok(())))
    }

    /// Whether its peer has said that it takes a CONNECT like this one (RFC 8441 section 3).
    fn takes<B>(&self, connect: &Request<B>) -> bool {
        let extended = connect.extensions().get::<Protocol>().is_some();
        !extended || self.send.is_extended_connect_protocol_enabled()
    }

    fn reserve(&self) -> bool {
        let limit = self.limit();
        let mut state = self.state.load(Ordering::Relaxed);
        loop {
            let used_up = self.max_calls != 0 && calls(state) >= self.max_calls;
            if active(state) >= limit || used_up {
                return false;
            }
            let next = state.wrapping_add(ONE_CALL + 1);
            match self.state.compare_exchange_weak(state, next, Ordering::AcqRel, Ordering::Relaxed)
            {
                Ok(_) => return true,
                Err(now) => state = now,
            }
        }
    }

    /// A request was queued: it goes out in the connection's next turn.
    fn queued(&self) {
        self.wire.queued(self.active());
    }

    /// Retires a connection that took its last call. Not under the pool's lock.
    fn retire_if_used_up(&self) {
        if self.max_calls != 0 && calls(self.state.load(Ordering::Relaxed)) >= self.max_calls {
            self.retire(CloseReason::MaxRequests);
        }
    }
}

/// Retires it from outside.
#[cfg(feature = "tls")]
pub(super) struct Retirement(std::sync::Weak<H2Connection>);

#[cfg(feature = "tls")]
impl Retirement {
    pub(super) fn of(connection: &Arc<H2Connection>) -> Self {
        Self(Arc::downgrade(connection))
    }
}

#[cfg(feature = "tls")]
impl crate::tls::client_watch::Retire for Retirement {
    fn is_there(&self) -> bool {
        self.0.upgrade().is_some_and(|connection| !connection.retired.load(Ordering::SeqCst))
    }

    fn hostname(&self) -> Option<Arc<str>> {
        self.0.upgrade()?.shared.hostname()
    }

    fn retire(&self, why: CloseReason) {
        if let Some(connection) = self.0.upgrade() {
            connection.retire(why);
        }
    }
}

/// A reserved stream; given back when dropped.
pub(super) struct Lease(Arc<H2Connection>);

impl Lease {
    /// Reserves a stream of `connection`, if there is room.
    pub(super) fn reserve(connection: &Arc<H2Connection>) -> Option<Self> {
        connection.reserve().then(|| Self(Arc::clone(connection)))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.state.fetch_sub(1, Ordering::SeqCst);
        self.0.retire_if_used_up();
        self.0.shared.released();
    }
}
