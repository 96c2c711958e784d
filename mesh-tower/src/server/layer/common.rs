//! [`Common`]: what the requests of a connection have in common.
//!
//! Which chain is in force for a connection is the same for all of its requests until the configuration changes. So a
//! connection that runs its requests itself keeps what the first of them found, and the others look whether it is still
//! so: a number that changes with the configuration, in place of two loads of what is shared by all threads, and one
//! reference in place of three. Over HTTP/2 it is kept with the requests that the connection runs (`streams`), over
//! HTTP/1.1 in [`Kept`]: while the connection is polled it is in a thread-local, where no other thread comes to it. A
//! layer around another one, or below a router, and a connection that is polled within a request of another one find what
//! is not theirs, and look for themselves.

use super::enter::Gate;
use super::served::ServedChain;
use crate::server::{Connection, streams};
use mesh_core::filter::NarrowedChain;
use mesh_core::inbound::Refusal;
use std::cell::RefCell;
use std::ops::Deref;
use std::sync::Arc;

thread_local! {
    /// What is kept of the connection of HTTP/1.1 that is polled on this thread; `None`: none is.
    static POLLED: RefCell<Option<Kept>> = const { RefCell::new(None) };
}

/// What the requests of a connection have in common.
pub(in crate::server) struct Common {
    pub(super) gate: Arc<Gate>,
    /// `None`: the request came without, and is refused.
    pub(super) connection: Option<Arc<Connection>>,
    /// What they are served by. A request keeps it to its end: another configuration changes what comes after it.
    pub(super) chain: Result<Arc<ServedChain>, Refusal>,
    /// What the connection has decided of that chain; `None`: it was not asked, or has no filters.
    pub(super) narrowed: Option<NarrowedChain>,
    /// Whether the connection was asked: not for its first request, which may be its last.
    is_asked: bool,
    /// [`Mesh::version`](mesh_core::state::Mesh::version) when it was looked up.
    version: u64,
}

impl Common {
    fn new(gate: &Arc<Gate>, connection: Option<&Arc<Connection>>, version: u64) -> Self {
        let chain = connection.ok_or(Refusal::NoConnection);
        let chain = chain.and_then(|connection| gate.listening.chain(connection));
        let (gate, connection) = (Arc::clone(gate), connection.cloned());
        Self { gate, connection, chain, narrowed: None, is_asked: false, version }
    }

    /// The same, once the connection was asked what it decides of the chain.
    #[cold]
    fn asked(&self) -> Self {
        let mut narrowed = None;
        if let (Ok(chain), Some(connection)) = (&self.chain, &self.connection) {
            let http = chain.http();
            narrowed = http.map(|http| http.chain().narrow(&connection.facts()));
        }
        Self {
            gate: Arc::clone(&self.gate),
            connection: self.connection.clone(),
            chain: self.chain.clone(),
            narrowed,
            is_asked: true,
            version: self.version,
        }
    }

    /// Whether no other configuration has come since.
    pub(in crate::server) fn is_current(&self) -> bool {
        self.version == self.gate.listening.mesh.version()
    }

    fn is_of(&self, gate: &Arc<Gate>, connection: &Arc<Connection>) -> bool {
        let own = self.connection.as_ref();
        Arc::ptr_eq(&self.gate, gate) && own.is_some_and(|own| Arc::ptr_eq(own, connection))
    }
}

/// What a connection of HTTP/1.1 keeps for its requests.
#[derive(Default)]
pub(in crate::server) struct Kept(Option<Arc<Common>>);

impl Kept {
    /// Polls the connection whose this is.
    pub(in crate::server) fn within<T>(&mut self, poll: impl FnOnce() -> T) -> T {
        // Who sends nothing that comes to the layer keeps no old configuration: at the latest its timer polls it.
        let own = Self(self.0.take().filter(|common| common.is_current()));
        let _polled = Polled { outer: POLLED.replace(Some(own)), own: self };
        poll()
    }
}

/// A connection is polled on this thread. Puts back what was there before, also when it panics.
struct Polled<'a> {
    own: &'a mut Kept,
    outer: Option<Kept>,
}

impl Drop for Polled<'_> {
    fn drop(&mut self) {
        if let Some(own) = POLLED.replace(self.outer.take()) {
            *self.own = own;
        }
    }
}

/// What the connection keeps that is polled on this thread. `None`: none is.
fn kept() -> Option<Option<Arc<Common>>> {
    let of = |polled: &RefCell<Option<Kept>>| polled.borrow().as_ref().map(|kept| kept.0.clone());
    // A thread that ends has none.
    streams::common().or_else(|| POLLED.try_with(of).ok().flatten())
}

/// The connection that is polled on this thread keeps this.
fn keep(common: Arc<Common>) {
    if streams::common().is_some() {
        return streams::keep_common(common);
    }
    let keep = |polled: &mut Option<Kept>| polled.replace(Kept(Some(common)));
    // What was there may be the last of its kind, and is dropped while nothing is borrowed.
    drop(POLLED.with_borrow_mut(keep));
}

/// What a request has in common with others, or for itself.
pub(super) enum OwnOrShared {
    Own(Common),
    Shared(Arc<Common>),
}

impl OwnOrShared {
    /// What a request on `connection` has in common with those before it.
    pub(super) fn of(gate: &Arc<Gate>, connection: Option<&Arc<Connection>>) -> Self {
        // First: what is found may be newer than this, and then is looked up again.
        let version = gate.listening.mesh.version();
        let make = || Common::new(gate, connection, version);
        let (Some(connection), Some(kept)) = (connection, kept()) else {
            return Self::Own(make());
        };
        let common = match kept {
            Some(kept) if kept.version == version && kept.is_of(gate, connection) => {
                if kept.is_asked {
                    return Self::Shared(kept);
                }
                kept.asked()
            }
            // Another layer's, around this one or below a router: the one that came first keeps its own.
            Some(kept) if kept.is_current() => return Self::Own(make()),
            Some(_) | None => make(),
        };
        if common.chain.is_err() {
            return Self::Own(common);
        }
        let common = Arc::new(common);
        keep(Arc::clone(&common));
        Self::Shared(common)
    }
}

impl Deref for OwnOrShared {
    type Target = Common;

    #[inline(always)]
    fn deref(&self) -> &Common {
        match self {
            Self::Own(common) => common,
            Self::Shared(common) => common,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    #[test]
    fn what_was_polled_before_is_polled_again_afterwards() {
        let is_polled = || POLLED.with_borrow(Option::is_some);
        let (mut outer, mut inner) = (Kept::default(), Kept::default());
        assert!(kept().is_none());
        outer.within(|| {
            inner.within(|| assert!(is_polled()));
            assert!(is_polled());
            let panicked =
                catch_unwind(AssertUnwindSafe(|| inner.within(|| panic!("as a service"))));
            assert!(panicked.is_err() && is_polled());
        });
        assert!(kept().is_none());
    }
}
