//! [`Common`]: what the requests of a connection have in common.
//!
//! Which chain is in force for a connection is the same for all of its requests until the configuration changes. So a
//! connection that runs its requests itself keeps what the first of them found, and the others look whether it is still
//! so: a number that changes with the configuration, in place of two loads of what is shared by all threads, and one
//! reference in place of three.

use super::enter::Gate;
use super::served::ServedChain;
use crate::server::{Connection, streams};
use mesh_core::filter::NarrowedChain;
use mesh_core::inbound::Refusal;
use std::ops::Deref;
use std::sync::Arc;

/// What the requests of a connection have in common.
pub(in crate::server) struct Common {
    pub(super) gate: Arc<Gate>,
    /// `None`: the request came without, and is refused.
    pub(super) connection: Option<Arc<Connection>>,
    /// What they are served by. A request keeps it to its end: another configuration changes what comes after it.
    pub(super) chain: Result<Arc<ServedChain>, Refusal>,
    /// What the connection has decided of that chain; `None`: what a request has for itself is not worth the asking.
    pub(super) narrowed: Option<NarrowedChain>,
    /// [`Mesh::version`](mesh_core::state::Mesh::version) when it was looked up.
    version: u64,
}

impl Common {
    fn new(gate: &Arc<Gate>, connection: Option<&Arc<Connection>>, version: u64) -> Self {
        let chain = connection.ok_or(Refusal::NoConnection);
        let chain = chain.and_then(|connection| gate.listening.chain(connection));
        let (gate, connection) = (Arc::clone(gate), connection.cloned());
        Self { gate, connection, chain, narrowed: None, version }
    }

    /// Asks the connection what it decides of the chain.
    fn narrow(&mut self) {
        if let (Ok(chain), Some(connection)) = (&self.chain, &self.connection) {
            let http = chain.http();
            self.narrowed = http.map(|http| http.chain().narrow(&connection.facts()));
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
        let (Some(connection), Some(kept)) = (connection, streams::common()) else {
            return Self::Own(make());
        };
        match kept {
            Some(kept) if kept.version != version => {}
            Some(kept) if kept.is_of(gate, connection) => return Self::Shared(kept),
            // A layer around another one, or below a router: the one that came first keeps its own.
            Some(_) => return Self::Own(make()),
            None => {}
        }
        let mut common = make();
        if common.chain.is_err() {
            return Self::Own(common);
        }
        common.narrow();
        let common = Arc::new(common);
        streams::keep_common(Arc::clone(&common));
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
