//! [`Shared`]: the pool as its connections, leases and waiters see it, and the events they report.

use super::endpoint_pool::Connections;
use super::h1::H1Connection;
use super::h2::{H2Connection, Lease};
use super::io::Gate;
use super::lanes::{Answer, Grant, Lanes, Refusal, Todo, Took};
use super::{Kind, PoolSettings};
use crate::observe::events::CloseReason;
use arc_swap::ArcSwapOption;
use mesh_core::model::{Address, RoutingPriority};
use mesh_core::outcome::{Failure, Overflow};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use tokio::sync::oneshot;

#[cfg(test)]
mod tests;

/// What a call that found no room holds while it waits.
pub(super) struct Ticket {
    kind: Kind,
    number: u64,
    priority: RoutingPriority,
    shared: Arc<Shared>,
    settings: Arc<PoolSettings>,
}

impl Ticket {
    pub(super) const fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub(super) const fn settings(&self) -> &Arc<PoolSettings> {
        &self.settings
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.shared.dequeue(self.kind, self.number);
        self.settings.limits.release_pending(self.priority);
    }
}

/// The outcome of asking for a connection.
pub(super) enum Place {
    Granted(Grant),
    Queued(Ticket, oneshot::Receiver<Answer>),
    Refused(Refusal),
}

/// The pool as its connections, leases and waiters see it.
pub(super) struct Shared {
    address: Address,
    /// The HTTP/2 connections that take new calls: all that the call path reads.
    h2: ArcSwapOption<Vec<Arc<H2Connection>>>,
    /// Length of the HTTP/2 queue: who comes while others wait queues up behind them.
    h2_waiting: AtomicUsize,
    drained: AtomicBool,
    /// The endpoint chose HTTP/1.1 when it was last asked; before it is asked, HTTP/2 is hoped for.
    speaks_h1: AtomicBool,
    hostname: ArcSwapOption<Arc<str>>,
    lanes: Mutex<Option<Box<Lanes>>>,
}

impl Shared {
    pub(super) fn new(address: Address) -> Self {
        Self {
            address,
            h2: ArcSwapOption::const_empty(),
            h2_waiting: AtomicUsize::new(0),
            drained: AtomicBool::new(false),
            speaks_h1: AtomicBool::new(false),
            hostname: ArcSwapOption::const_empty(),
            lanes: Mutex::new(None),
        }
    }

    pub(super) fn is_drained(&self) -> bool {
        self.drained.load(Ordering::Relaxed)
    }

    pub(super) const fn address(&self) -> &Address {
        &self.address
    }

    pub(super) fn set_hostname(&self, hostname: Option<&Arc<str>>) {
        let known = self.hostname.load();
        if known.as_deref() != hostname {
            self.hostname.store(hostname.map(|hostname| Arc::new(Arc::clone(hostname))));
        }
    }

    /// The endpoint's name, for SNI and for who is expected.
    #[cfg(feature = "tls")]
    pub(super) fn hostname(&self) -> Option<Arc<str>> {
        self.hostname.load().as_deref().cloned()
    }

    // === The call path ===

    /// What the endpoint agreed on by ALPN.
    pub(super) fn agreed(&self) -> Kind {
        if self.speaks_h1.load(Ordering::Relaxed) { Kind::H1 } else { Kind::H2 }
    }

    /// Reserves a stream, unless others wait for one.
    pub(super) fn lease(&self) -> Option<Lease> {
        if self.h2_waiting.load(Ordering::Relaxed) != 0 {
            return None;
        }
        self.lease_any()
    }

    /// Reserves a stream on the first connection with room.
    pub(super) fn lease_any(&self) -> Option<Lease> {
        let connections = self.h2.load();
        connections.as_ref()?.iter().find_map(Lease::reserve)
    }

    /// A stream was given back.
    pub(super) fn released(self: &Arc<Self>) {
        // Pairs with the waiter's increment, which comes before its last look for room: one of the two
        // sees the other (both are sequentially consistent).
        if self.h2_waiting.load(Ordering::SeqCst) != 0 {
            self.event(|lanes, shared, todo| {
                shared.serve_h2(lanes, Took::default(), todo);
            });
        }
    }

    pub(super) fn has_h2_waiting(&self) -> bool {
        self.h2_waiting.load(Ordering::SeqCst) != 0
    }

    // === Waiting ===

    /// Asks for a connection, at the end of the queue if there is no room.
    pub(super) fn ask(
        self: &Arc<Self>,
        kind: Kind,
        settings: &Arc<PoolSettings>,
        priority: RoutingPriority,
    ) -> Place {
        if kind == Kind::H2 {
            self.retire_dead();
        }
        let (place, todo) = {
            let mut lanes = self.lanes.lock();
            if self.drained.load(Ordering::Relaxed) {
                return Place::Refused(Refusal::gone());
            }
            let lanes = lanes.get_or_insert_with(|| Box::new(Lanes::new(settings)));
            lanes.use_settings(settings);
            if let Some(grant) = self.free(lanes, kind) {
                return Place::Granted(grant);
            }
            let mut todo = Todo::default();
            (self.place(lanes, (kind, priority), settings, &mut todo), todo)
        };
        todo.run();
        place
    }

    /// What nobody waits for.
    fn free(&self, lanes: &mut Lanes, kind: Kind) -> Option<Grant> {
        match kind {
            _ if lanes.queue_len(kind) > 0 => None,
            Kind::H1 => lanes.take_idle().map(Grant::H1),
            Kind::H2 => {
                // Announced before the last look for room: see `released`.
                self.h2_waiting.store(1, Ordering::SeqCst);
                fence(Ordering::SeqCst);
                let lease = self.lease_any();
                self.recount(lanes);
                lease.map(Grant::H2)
            }
        }
    }

    /// A place at the end of the queue.
    #[cold]
    fn place(
        self: &Arc<Self>,
        lanes: &mut Lanes,
        (kind, priority): (Kind, RoutingPriority),
        settings: &Arc<PoolSettings>,
        todo: &mut Todo,
    ) -> Place {
        if !settings.limits.try_pending(priority) {
            return Place::Refused(Refusal::new(Failure::Overflow(Overflow::Pending)));
        }
        let (number, receiver) = lanes.enqueue(kind);
        self.recount(lanes);
        let (shared, settings) = (Arc::clone(self), Arc::clone(settings));
        let ticket = Ticket { kind, number, priority, shared, settings };
        self.dial(lanes, kind, todo);
        Place::Queued(ticket, receiver)
    }

    fn dequeue(&self, kind: Kind, ticket: u64) {
        let mut lanes = self.lanes.lock();
        if let Some(lanes) = lanes.as_mut() {
            lanes.dequeue(kind, ticket);
            self.recount(lanes);
        }
    }

    /// Publishes the queue's length, under the lock.
    fn recount(&self, lanes: &Lanes) {
        self.h2_waiting.store(lanes.queue_len(Kind::H2), Ordering::SeqCst);
    }

    // === Events ===

    /// Runs `change` under the lock, and what follows from it after. Nothing if there never was a call
    /// that needed the lanes.
    fn event(self: &Arc<Self>, change: impl FnOnce(&mut Lanes, &Arc<Self>, &mut Todo)) {
        let mut todo = Todo::default();
        if let Some(lanes) = self.lanes.lock().as_mut() {
            change(lanes, self, &mut todo);
            self.recount(lanes);
        }
        todo.run();
    }

    fn serve_h2(&self, lanes: &mut Lanes, took: Took, todo: &mut Todo) {
        lanes.serve(Kind::H2, self, took, todo);
    }

    fn dial(self: &Arc<Self>, lanes: &mut Lanes, kind: Kind, todo: &mut Todo) {
        if !self.drained.load(Ordering::Relaxed) {
            lanes.dial(kind, self, todo);
            self.recount(lanes);
        }
    }

    /// The endpoint agreed on `to` with an attempt that was made in the other lane: it goes over, and so
    /// does everybody who waits, and all later calls.
    #[cfg(feature = "tls")]
    pub(super) fn goes_over(self: &Arc<Self>, to: Kind) {
        self.event(|lanes, shared, todo| {
            // Under the lock: who asks for a place sees this, or is found in the queue.
            shared.speaks_h1.store(to == Kind::H1, Ordering::Relaxed);
            lanes.go_over(to);
            shared.dial(lanes, to, todo);
        });
    }

    /// An HTTP/2 connection was made. If the pool is drained, or it was retired meanwhile, it takes no calls.
    pub(super) fn opened_h2(self: &Arc<Self>, connection: &Arc<H2Connection>, took: Took) {
        self.event(|lanes, shared, todo| {
            lanes.lane(Kind::H2).connecting -= 1;
            if shared.drained.load(Ordering::Relaxed) {
                return;
            }
            let Some(limit) = connection.limit_if_open() else {
                shared.dial(lanes, Kind::H2, todo);
                return;
            };
            lanes.h2_told(limit);
            lanes.lane(Kind::H2).usable += 1;
            let mut next = shared.h2.load().as_ref().map_or_else(Vec::new, |all| all.to_vec());
            next.push(Arc::clone(connection));
            shared.h2.store(Some(Arc::new(next)));
            shared.serve_h2(lanes, took, todo);
            shared.dial(lanes, Kind::H2, todo);
        });
    }

    /// The peer changed its stream limit.
    pub(super) fn limit_changed(self: &Arc<Self>, limit: u32) {
        self.event(|lanes, shared, todo| {
            lanes.h2_told(limit);
            shared.serve_h2(lanes, Took::default(), todo);
            shared.dial(lanes, Kind::H2, todo);
        });
    }

    /// The connection takes no new calls; it ends with its last one.
    pub(super) fn retire_h2(self: &Arc<Self>, connection: &H2Connection) {
        self.event(|lanes, shared, todo| {
            let Some(all) = shared.h2.load_full() else { return };
            let rest = all.iter().filter(|other| !std::ptr::eq(Arc::as_ptr(other), connection));
            let rest: Vec<_> = rest.cloned().collect();
            if rest.len() == all.len() {
                return;
            }
            shared.h2.store((!rest.is_empty()).then(|| Arc::new(rest)));
            lanes.lane(Kind::H2).usable -= 1;
            shared.dial(lanes, Kind::H2, todo);
        });
    }

    /// Retires connections that can't open streams any more (GOAWAY, closed).
    fn retire_dead(self: &Arc<Self>) {
        let Some(all) = self.h2.load_full() else { return };
        for connection in all.iter().filter(|connection| connection.is_dead()) {
            connection.gone_away();
        }
    }

    /// An HTTP/1.1 connection was made.
    pub(super) fn opened_h1(self: &Arc<Self>, connection: Box<H1Connection>, took: Took) {
        self.event(|lanes, shared, todo| {
            let lane = lanes.lane(Kind::H1);
            lane.connecting -= 1;
            lane.usable += 1;
            if shared.drained.load(Ordering::Relaxed) {
                return;
            }
            if connection.is_retired() {
                shared.dial(lanes, Kind::H1, todo);
                return;
            }
            lanes.put_idle(connection);
            lanes.serve(Kind::H1, shared, took, todo);
        });
    }

    /// An HTTP/1.1 connection is ready for another call.
    pub(super) fn offer_h1(self: &Arc<Self>, connection: Box<H1Connection>) {
        let mut locked = self.lanes.lock();
        // Under the lock: who retires it after this finds it in the list.
        let is_wanted = !self.drained.load(Ordering::Relaxed) && !connection.is_retired();
        let Some(lanes) = locked.as_mut().filter(|_| is_wanted) else {
            // Without the lock: it closes.
            drop(locked);
            return;
        };
        lanes.put_idle(connection);
        if lanes.queue_len(Kind::H1) > 0 {
            let mut todo = Todo::default();
            lanes.serve(Kind::H1, self, Took::default(), &mut todo);
            drop(locked);
            todo.run();
        }
    }

    /// An HTTP/1.1 connection takes no new calls: it left, by the first of retirement and end.
    pub(super) fn left_h1(self: &Arc<Self>, id: *const ()) {
        let mut evicted = None;
        self.event(|lanes, shared, todo| {
            evicted = lanes.evict_idle(id);
            lanes.lane(Kind::H1).usable -= 1;
            shared.dial(lanes, Kind::H1, todo);
        });
    }

    /// An attempt ended without a connection.
    pub(super) fn failed(self: &Arc<Self>, kind: Kind, refusal: &Refusal) {
        self.event(|lanes, _, todo| lanes.attempt_failed(kind, refusal, todo));
    }

    /// A byte stream, or the permit of an attempt that failed, is gone.
    pub(super) fn closed(self: &Arc<Self>, kind: Kind, opened: bool) {
        self.event(|lanes, shared, todo| {
            lanes.lane(kind).connections -= 1;
            for lane in [Kind::H1, Kind::H2] {
                // What a failed attempt leaves is for the other lane: this one would fail again.
                if opened || lane != kind {
                    shared.dial(lanes, lane, todo);
                }
            }
        });
    }

    /// A place for a connection of one caller's own.
    pub(super) fn take_own(&self, settings: &Arc<PoolSettings>) -> Result<(), Refusal> {
        let mut lanes = self.lanes.lock();
        if self.drained.load(Ordering::Relaxed) {
            return Err(Refusal::gone());
        }
        let lanes = lanes.get_or_insert_with(|| Box::new(Lanes::new(settings)));
        lanes.use_settings(settings);
        let overflow = || Refusal::new(Failure::Overflow(Overflow::Connections));
        lanes.take_own().then_some(()).ok_or_else(overflow)
    }

    /// It is given back: who waits for room may have it.
    pub(super) fn give_own(self: &Arc<Self>) {
        self.event(|lanes, shared, todo| {
            lanes.give_own();
            for kind in [Kind::H1, Kind::H2] {
                shared.dial(lanes, kind, todo);
            }
        });
    }

    /// A connection's switch, for [`EndpointPool::close`].
    pub(super) fn watch(&self, gate: &Arc<Gate>) {
        if let Some(lanes) = self.lanes.lock().as_mut() {
            lanes.watch(gate);
        }
    }

    pub(super) fn gates(&self) -> impl Iterator<Item = Arc<Gate>> + use<> {
        self.lanes.lock().as_ref().map(|lanes| lanes.gates()).unwrap_or_default().into_iter()
    }

    /// Says why the connections that are open now end.
    pub(super) fn blame(&self, reason: CloseReason) {
        self.gates().for_each(|gate| gate.blame(reason));
    }

    /// Takes no new calls; what waits comes back, what is idle closes.
    pub(super) fn drain(self: &Arc<Self>) {
        self.blame(CloseReason::Drained);
        let mut todo = Todo::default();
        let mut free = (None, Vec::new());
        {
            let mut lanes = self.lanes.lock();
            self.drained.store(true, Ordering::Relaxed);
            if let Some(lanes) = lanes.as_mut() {
                free = (self.h2.swap(None), lanes.clear(&mut todo));
                lanes.lane(Kind::H2).usable = 0;
                self.recount(lanes);
            }
        }
        todo.run();
        // Without the lock: each that has no call left closes now.
        drop(free);
    }

    pub(super) fn connections(&self) -> Connections {
        let streams = self
            .h2
            .load()
            .as_ref()
            .map_or(0, |all| all.iter().map(|connection| connection.active() as usize).sum());
        let mut lanes = self.lanes.lock();
        let Some(lanes) = lanes.as_mut() else { return Connections::default() };
        let connecting = lanes.lane(Kind::H1).connecting + lanes.lane(Kind::H2).connecting;
        Connections {
            h1: lanes.lane(Kind::H1).connections as usize,
            h1_idle: lanes.idle_count(),
            h2: lanes.lane(Kind::H2).connections as usize,
            own: lanes.own() as usize,
            connecting: connecting as usize,
            streams,
            waiting: lanes.waiting(),
        }
    }
}
