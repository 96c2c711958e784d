//! [`AnyAddress`]: how connections of a logical cluster are made.
//!
//! Its name is one endpoint with many addresses, so a connection to it goes to whichever of them
//! answers (RFC 8305; Envoy: `upstream_connection_options.happy_eyeballs_config`).

use crate::connect::{Connect, Connecting, connect_any};
use arc_swap::ArcSwap;
use mesh_core::model::Address;
use std::sync::Arc;
use std::time::Duration;

/// Connects to the endpoint's own address first, then to the others of its name.
#[derive(Debug)]
pub(crate) struct AnyAddress {
    /// The newest answer, best first.
    pub(crate) addresses: Arc<ArcSwap<Vec<Address>>>,
    pub(crate) dial: Arc<dyn Connect>,
    /// Head start of one address before the next.
    pub(crate) delay: Duration,
}

impl Connect for AnyAddress {
    fn connect<'a>(&'a self, address: &'a Address) -> Connecting<'a> {
        Box::pin(async move {
            let others = self.addresses.load_full();
            let others = others.iter().filter(|other| *other != address);
            let all: Vec<Address> = std::iter::once(address).chain(others).cloned().collect();
            connect_any(&*self.dial, &all, self.delay).await.map(|(_, io)| io)
        })
    }

    fn secures(&self) -> bool {
        self.dial.secures()
    }
}
