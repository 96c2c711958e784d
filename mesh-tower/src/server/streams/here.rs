//! [`Here`]: what this thread does for the connection that it polls.
//!
//! Nobody but that thread comes to a connection's requests, so there is no lock: while the connection is polled they are
//! in a thread-local.

use super::{Shared, State};
use crate::server::layer::Common;
use mesh_core::Timestamp;
use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::task::{Context, Poll};

/// What this thread does for connections right now.
#[derive(Clone, Copy)]
pub(super) struct Here {
    /// The address of what the connection that is polled shares; 0: none is.
    pub(super) shared: usize,
    /// The address of the flag of the request that is polled; 0: none is.
    pub(super) polled: usize,
    /// It was woken while it was polled.
    pub(super) is_woken: bool,
    /// When the turn began.
    pub(super) now: Timestamp,
    /// When the request wants to be polled at the latest.
    pub(super) deadline: Timestamp,
    /// The connection was woken, since it began to look last.
    pub(super) wakes: bool,
}

thread_local! {
    pub(super) static HERE: Cell<Here> = const { Cell::new(Here::of(0)) };
    /// The requests of the connection that is polled.
    static STATE: RefCell<Option<Box<State>>> = const { RefCell::new(None) };
}

/// Does something with the requests of the connection that is polled here.
pub(super) fn here<T>(with: impl FnOnce(&mut State) -> T) -> Option<T> {
    STATE.with_borrow_mut(|state| state.as_deref_mut().map(with))
}

impl Here {
    pub(super) const fn of(shared: usize) -> Self {
        let (now, deadline) = (Timestamp::ZERO, Timestamp::MAX);
        Self { shared, polled: 0, is_woken: false, now, deadline, wakes: false }
    }
}

/// A connection is polled on this thread. Puts back what was there before, also when it panics.
pub(super) struct Polled<'a> {
    state: &'a mut Option<Box<State>>,
    outer: (Here, Option<Box<State>>),
}

impl<'a> Polled<'a> {
    pub(super) fn new(shared: &Shared, state: &'a mut Option<Box<State>>) -> Self {
        let own = state.take();
        let outer = (HERE.replace(Here::of(shared.addr())), STATE.replace(own));
        Self { state, outer }
    }
}

impl Drop for Polled<'_> {
    fn drop(&mut self) {
        HERE.set(self.outer.0);
        *self.state = STATE.replace(self.outer.1.take());
    }
}

/// When the turn of the connection began that runs a request here: then at the latest the request was there. `None`: it
/// is not its connection that runs it.
pub(in crate::server) fn turn_began() -> Option<Timestamp> {
    let here = HERE.get();
    (here.polled != 0).then_some(here.now)
}

/// What the requests of the connection that runs this one have in common, as far as it is known. `None`: it is not its
/// connection that runs it.
pub(in crate::server) fn common() -> Option<Option<Arc<Common>>> {
    if HERE.get().polled == 0 { None } else { here(|state| state.common.clone()) }
}

/// The connection that runs the request keeps this.
pub(in crate::server) fn keep_common(common: Arc<Common>) {
    // What was there may be the last of its kind, and is dropped while nothing is borrowed.
    drop(here(|state| state.common.replace(common)));
}

/// Ready: the deadline of the request that is polled with `cx` has passed. `None`: it is not its connection that
/// polls it, so it needs a timer of its own.
pub(in crate::server) fn poll_deadline(cx: &Context<'_>, deadline: Timestamp) -> Option<Poll<()>> {
    let here = HERE.get();
    // A waker that is not the request's own is told by nobody but who made it.
    if here.polled == 0 || cx.waker().data().addr() != here.polled {
        return None;
    }
    if deadline <= here.now {
        return Some(Poll::Ready(()));
    }
    HERE.set(Here { deadline: here.deadline.min(deadline), ..here });
    Some(Poll::Pending)
}

/// The connection that is polled here begins to look: what it was woken for so far, it sees.
pub(in crate::server) fn looks() {
    HERE.set(Here { wakes: false, ..HERE.get() });
}
