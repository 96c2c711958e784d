//! Behind the pool's lock: who waits, what is dialled, what is idle, and who gets what is free.
//!
//! One lane per [`Kind`]. Every event (a new waiter, a connection opened, failed, retired, given back or
//! closed) changes the lanes under the lock and answers with a [`Todo`], which runs after the lock is
//! released: handing out a grant or spawning a dial may end in this module again.
//!
//! When to dial: as many attempts as the waiters need, `ceil(waiters / streams per connection)`, while
//! the limits allow. When an attempt fails: the waiters that no other attempt will serve fail with it,
//! oldest first, as in Envoy, also while a connection is open: it has no room for them, and may have none for long,
//! while another endpoint may take what they hand back.

use super::establish::Attempt;
use super::h1::H1Connection;
use super::h2::Lease;
use super::io::Gate;
use super::shared::Shared;
use super::{Kind, PoolSettings};
use mesh_core::outcome::{ConnectFailure, Failure, Overflow, Processed, ResetReason};
use smallvec::SmallVec;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// What a call is sent on.
pub(super) enum Grant {
    /// A reserved stream.
    H2(Lease),
    /// A connection of its own.
    H1(Checkout),
}

/// A grant, and how long its connection took when it was made for the waiters.
pub(super) struct Granted {
    pub(super) grant: Grant,
    pub(super) took: Took,
}

/// How long a connection took.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Took {
    /// To connect, and the handshake of HTTP.
    pub(super) connect: Duration,
    /// The handshake of TLS; zero without.
    pub(super) tls: Duration,
}

/// Why a waiter gets nothing.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    pub(super) failure: Failure,
    pub(super) source: Option<Arc<io::Error>>,
}

impl Refusal {
    pub(super) const fn new(failure: Failure) -> Self {
        Self { failure, source: None }
    }

    /// The endpoint was removed before the call had a connection.
    pub(super) const fn gone() -> Self {
        Self::new(Failure::Reset { reason: ResetReason::Local, processed: Processed::No })
    }

    pub(super) const fn connect(failure: ConnectFailure) -> Self {
        Self::new(Failure::Connect(failure))
    }
}

/// An HTTP/1.1 connection taken from the pool; goes back when it is dropped unused.
pub(super) struct Checkout(Option<Box<H1Connection>>);

impl Checkout {
    pub(super) fn new(connection: Box<H1Connection>) -> Self {
        Self(Some(connection))
    }

    /// Takes the connection for a call; `None` only after it was taken.
    pub(super) fn take(mut self) -> Option<Box<H1Connection>> {
        self.0.take()
    }
}

impl Drop for Checkout {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            connection.give_back();
        }
    }
}

pub(super) type Answer = Result<Granted, Refusal>;

/// One lane: who waits for a connection of this kind, and how many there are.
#[derive(Default)]
pub(super) struct Lane {
    /// By ticket, which only grows: first in, first out.
    waiting: BTreeMap<u64, oneshot::Sender<Answer>>,
    /// Attempts under way.
    pub(super) connecting: u32,
    /// Attempts and open connections, retired ones too: what limits are about.
    pub(super) connections: u32,
    /// Open connections that take new calls. One may leave before it was counted: less than nothing for a moment.
    pub(super) usable: i32,
    /// Calls that one connection takes at a time, by the latest that told.
    per_connection: u32,
}

/// All of a pool that is behind its lock; made at the first call that needs it.
pub(super) struct Lanes {
    settings: Arc<PoolSettings>,
    h1: Lane,
    h2: Lane,
    /// Connections of one caller each, attempts too.
    own: u32,
    /// Idle HTTP/1.1 connections; the last one given back is taken first.
    #[expect(clippy::vec_box, reason = "lists, calls and slots pass the box on")]
    idle: Vec<Box<H1Connection>>,
    /// Every open connection's switch.
    gates: Vec<Weak<Gate>>,
    /// Ends all attempts.
    stop: CancellationToken,
    next_ticket: u64,
}

impl Lanes {
    pub(super) fn new(settings: &Arc<PoolSettings>) -> Self {
        let lane = |per_connection| Lane { per_connection, ..Lane::default() };
        Self {
            settings: Arc::clone(settings),
            h1: lane(1),
            h2: lane(settings.options.max_concurrent_streams),
            own: 0,
            idle: Vec::new(),
            gates: Vec::new(),
            stop: CancellationToken::new(),
            next_ticket: 0,
        }
    }

    pub(super) fn lane(&mut self, kind: Kind) -> &mut Lane {
        match kind {
            Kind::H1 => &mut self.h1,
            Kind::H2 => &mut self.h2,
        }
    }

    pub(super) fn use_settings(&mut self, settings: &Arc<PoolSettings>) {
        if !Arc::ptr_eq(&self.settings, settings) {
            self.settings = Arc::clone(settings);
        }
    }

    pub(super) fn enqueue(&mut self, kind: Kind) -> (u64, oneshot::Receiver<Answer>) {
        let (sender, receiver) = oneshot::channel();
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.lane(kind).waiting.insert(ticket, sender);
        (ticket, receiver)
    }

    /// Takes a waiter out of the queue, if it is still there.
    pub(super) fn dequeue(&mut self, kind: Kind, ticket: u64) {
        // Who went over has the ticket of the other lane.
        if self.lane(kind).waiting.remove(&ticket).is_none() {
            drop(self.lane(kind.other()).waiting.remove(&ticket));
        }
    }

    /// An attempt, and everybody who waits, is of lane `to` now. Tickets are of both lanes, so who came
    /// first is first.
    #[cfg(feature = "tls")]
    pub(super) fn go_over(&mut self, to: Kind) {
        let from = self.lane(to.other());
        from.connecting -= 1;
        from.connections -= 1;
        let waiting = std::mem::take(&mut from.waiting);
        let to = self.lane(to);
        to.connecting += 1;
        to.connections += 1;
        to.waiting.extend(waiting);
    }

    pub(super) fn queue_len(&self, kind: Kind) -> usize {
        match kind {
            Kind::H1 => self.h1.waiting.len(),
            Kind::H2 => self.h2.waiting.len(),
        }
    }

    pub(super) fn watch(&mut self, gate: &Arc<Gate>) {
        self.gates.retain(|gate| gate.strong_count() > 0);
        self.gates.push(Arc::downgrade(gate));
    }

    pub(super) fn gates(&self) -> SmallVec<[Arc<Gate>; 4]> {
        self.gates.iter().filter_map(Weak::upgrade).collect()
    }

    pub(super) fn h2_told(&mut self, limit: u32) {
        self.h2.per_connection = limit;
    }

    /// An idle connection that still lives; dead ones on the way are dropped.
    pub(super) fn take_idle(&mut self) -> Option<Checkout> {
        while let Some(connection) = self.idle.pop() {
            if connection.take_from_idle() {
                return Some(Checkout::new(connection));
            }
        }
        None
    }

    pub(super) fn put_idle(&mut self, connection: Box<H1Connection>) {
        connection.put_into_idle();
        self.idle.push(connection);
    }

    /// Removes an idle connection.
    pub(super) fn evict_idle(&mut self, id: *const ()) -> Option<Box<H1Connection>> {
        let at = self.idle.iter().position(|connection| connection.id() == id)?;
        Some(self.idle.swap_remove(at))
    }

    pub(super) fn idle_count(&self) -> usize {
        self.idle.len()
    }

    #[expect(clippy::vec_box, reason = "lists, calls and slots pass the box on")]
    /// Ends all attempts and waiters, and hands out what is idle, to be dropped after the lock.
    pub(super) fn clear(&mut self, todo: &mut Todo) -> Vec<Box<H1Connection>> {
        self.stop.cancel();
        for lane in [&mut self.h1, &mut self.h2] {
            // A sender dropped without an answer tells its waiter that the endpoint is gone.
            todo.gone.extend(std::mem::take(&mut lane.waiting).into_values());
        }
        std::mem::take(&mut self.idle)
    }

    /// Gives what is free to the waiters of `kind`, first come first served.
    pub(super) fn serve(&mut self, kind: Kind, shared: &Shared, took: Took, todo: &mut Todo) {
        while self.queue_len(kind) > 0 {
            let grant = match kind {
                Kind::H1 => self.take_idle().map(Grant::H1),
                Kind::H2 => shared.lease_any().map(Grant::H2),
            };
            let Some(grant) = grant else { break };
            if let Some((_, waiter)) = self.lane(kind).waiting.pop_first() {
                todo.grants.push((waiter, Ok(Granted { grant, took })));
            }
        }
    }

    /// Starts the attempts that the waiters of `kind` need and the limits allow.
    pub(super) fn dial(&mut self, kind: Kind, shared: &Arc<Shared>, todo: &mut Todo) {
        loop {
            let lane = self.lane(kind);
            if lane.connecting >= lane.wanted() {
                return;
            }
            let first = lane.usable <= 0 && lane.connecting == 0;
            if !self.has_room(first) || !self.settings.limits.try_connection(first) {
                if first {
                    let refusal = Refusal::new(Failure::Overflow(Overflow::Connections));
                    self.lane(kind).fail_oldest(usize::MAX, &refusal, todo);
                }
                return;
            }
            let lane = self.lane(kind);
            lane.connecting += 1;
            lane.connections += 1;
            let permit = Permit::new(kind, shared, &self.settings);
            todo.dials.push(Attempt::new(permit, self.stop.clone()));
        }
    }

    /// Whether the endpoint may have one more connection; `first`: there is none that could serve the caller.
    fn has_room(&self, first: bool) -> bool {
        let total = self.h1.connections + self.h2.connections + self.own;
        let max = self.settings.max_connections_per_endpoint.unwrap_or(u32::MAX);
        total < max || (first && max > 0)
    }

    /// Takes a place for a connection of one caller's own; `false`: there is none.
    pub(super) fn take_own(&mut self) -> bool {
        let first = self.own == 0;
        let taken = self.has_room(first) && self.settings.limits.try_connection(first);
        self.own += u32::from(taken);
        taken
    }

    /// It is given back.
    pub(super) const fn give_own(&mut self) {
        self.own = self.own.saturating_sub(1);
    }

    pub(super) const fn own(&self) -> u32 {
        self.own
    }

    /// An attempt failed: the waiters that nothing else will serve fail with it.
    pub(super) fn attempt_failed(&mut self, kind: Kind, refusal: &Refusal, todo: &mut Todo) {
        let lane = self.lane(kind);
        lane.connecting -= 1;
        let served = lane.connecting as usize * lane.per_connection.max(1) as usize;
        let excess = lane.waiting.len().saturating_sub(served);
        lane.fail_oldest(excess, refusal, todo);
    }

    pub(super) fn waiting(&self) -> usize {
        self.h1.waiting.len() + self.h2.waiting.len()
    }
}

impl Lane {
    /// How many attempts its waiters need.
    fn wanted(&self) -> u32 {
        // A peer that allows no stream at all says "not now": more connections would not help.
        if self.per_connection == 0 && self.usable > 0 {
            return 0;
        }
        let wanted = self.waiting.len().div_ceil(self.per_connection.max(1) as usize);
        u32::try_from(wanted).unwrap_or(u32::MAX)
    }

    fn fail_oldest(&mut self, count: usize, refusal: &Refusal, todo: &mut Todo) {
        for _ in 0..count {
            let Some((_, waiter)) = self.waiting.pop_first() else { return };
            todo.grants.push((waiter, Err(refusal.clone())));
        }
    }
}

/// What follows from an event, to be run without the lock.
#[derive(Default)]
pub(super) struct Todo {
    grants: SmallVec<[(oneshot::Sender<Answer>, Answer); 2]>,
    dials: SmallVec<[Attempt; 1]>,
    gone: Vec<oneshot::Sender<Answer>>,
}

impl Todo {
    pub(super) fn run(self) {
        for (waiter, answer) in self.grants {
            // A waiter that left meanwhile drops its grant, which gives it to the next one.
            drop(waiter.send(answer));
        }
        drop(self.gone);
        for attempt in self.dials {
            attempt.spawn();
        }
    }
}

/// A connection's place in the limits, from before it is dialled until its byte stream is gone.
pub(super) struct Permit {
    kind: Kind,
    shared: Arc<Shared>,
    settings: Arc<PoolSettings>,
    opened: bool,
}

impl Permit {
    fn new(kind: Kind, shared: &Arc<Shared>, settings: &Arc<PoolSettings>) -> Self {
        let (shared, settings) = (Arc::clone(shared), Arc::clone(settings));
        Self { kind, shared, settings, opened: false }
    }

    pub(super) const fn kind(&self) -> Kind {
        self.kind
    }

    pub(super) const fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub(super) const fn settings(&self) -> &Arc<PoolSettings> {
        &self.settings
    }

    /// It is a place of lane `kind` from now on.
    #[cfg(feature = "tls")]
    pub(super) const fn go_over(&mut self, kind: Kind) {
        self.kind = kind;
    }

    /// There is a byte stream now: its end is an event for this lane's waiters too.
    pub(super) const fn open(mut self) -> Self {
        self.opened = true;
        self
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.settings.limits.release_connection();
        self.shared.closed(self.kind, self.opened);
    }
}
