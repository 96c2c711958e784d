//! [`NetEndpoint`]: the connections of an endpoint, with the settings of the way in which it is secured.
//!
//! A cluster may secure its endpoints in several ways (Envoy: `transport_socket_matches`). Each is a [`Way`]:
//! what its connections are made with, for all endpoints that are secured alike. An endpoint keeps its way as
//! long as it lives: another way is another endpoint. So a call that chose an endpoint can't be sent to it in
//! a way that was meant for another, whatever is configured meanwhile.

use crate::MeshBody;
use crate::connect::{EndpointPool, Opening, PoolSettings, Sending, Speaks};
use arc_swap::{ArcSwap, Guard};
use http::Request;
use mesh_core::model::{Address, RoutingPriority, TlsPolicy};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// One way in which a cluster's connections are secured, and all else that they are made with.
#[derive(Debug)]
pub(super) struct Way {
    settings: ArcSwap<PoolSettings>,
    /// What the settings say of it: all that a call asks for that finds a connection.
    speaks: AtomicU8,
}

impl Way {
    fn new(settings: PoolSettings) -> Self {
        let speaks = AtomicU8::new(settings.speaks as u8);
        Self { settings: ArcSwap::from_pointee(settings), speaks }
    }

    fn set(&self, settings: PoolSettings) {
        self.speaks.store(settings.speaks as u8, Ordering::Relaxed);
        self.settings.store(Arc::new(settings));
    }
}

/// The ways of a cluster that an endpoint has. Only the writer looks at them.
#[derive(Debug, Default)]
pub(super) struct Ways(Mutex<Vec<Arc<Way>>>);

impl Ways {
    /// The way of this policy: the one that is there, or what `make` makes of it.
    pub(super) fn of(&self, tls: &TlsPolicy, make: impl FnOnce() -> PoolSettings) -> Arc<Way> {
        let mut ways = self.0.lock();
        if let Some(known) = ways.iter().find(|way| way.settings.load().tls == *tls) {
            return Arc::clone(known);
        }
        // A way that no endpoint has is gone, and the connections that its TLS looks after went before it.
        ways.retain(|way| Arc::strong_count(way) > 1);
        let way = Arc::new(Way::new(make()));
        ways.push(Arc::clone(&way));
        way
    }

    /// Makes the settings of each anew; how it secures connections stays.
    pub(super) fn renew(&self, make: impl Fn(&PoolSettings) -> PoolSettings) {
        for way in &*self.0.lock() {
            let next = make(&way.settings.load());
            way.set(next);
        }
    }
}

/// What hangs on an endpoint.
#[derive(Debug)]
#[expect(unnameable_types, reason = "what the mesh hangs on its state is its own")]
pub struct NetEndpoint {
    pool: EndpointPool,
    way: Arc<Way>,
}

impl NetEndpoint {
    pub(super) fn new(address: Address, way: Arc<Way>) -> Self {
        Self { pool: EndpointPool::new(address), way }
    }

    /// Its connections.
    pub(crate) const fn pool(&self) -> &EndpointPool {
        &self.pool
    }

    /// What its connections are made with.
    pub(crate) fn settings(&self) -> Guard<Arc<PoolSettings>> {
        self.way.settings.load()
    }

    /// As [`EndpointPool::open`].
    pub(crate) fn open(&self, request: Request<MeshBody>, priority: RoutingPriority) -> Opening {
        self.pool.open(&self.settings(), request, priority)
    }

    /// As [`EndpointPool::send_by`].
    pub(crate) fn send(&self, request: Request<MeshBody>, priority: RoutingPriority) -> Sending {
        let speaks = Speaks::of_byte(self.way.speaks.load(Ordering::Relaxed));
        self.pool.send_by(speaks, || self.settings(), request, priority)
    }
}
