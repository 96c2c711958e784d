//! [`Sockets`]: what ports listen at, without the ports.

use super::bind::Socket;
use mesh_core::model::Address;
use std::fmt;
use std::sync::Arc;

/// Sockets of ports, that listen: of a [`Proxy`](super::Proxy), for another, in this process or in the one that
/// [takes over](super::Takeover). Dropping it closes those that no other has.
#[derive(Default)]
pub struct Sockets(pub(super) Vec<Kept>);

/// A socket without a port.
pub(super) struct Kept {
    /// The port that it was of.
    pub(super) name: Arc<str>,
    /// As it was configured.
    pub(super) address: Address,
    pub(super) socket: Socket,
}

impl Kept {
    /// Whether it is where the port `name` is to be. Any address is another one for each port.
    pub(super) fn is_for(&self, name: &str, address: &Address) -> bool {
        let is_any = matches!(address, Address::Socket(address) if address.port() == 0);
        self.address == *address && (!is_any || &*self.name == name)
    }
}

impl Sockets {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Sockets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.iter().map(|kept| (&kept.name, &kept.address))).finish()
    }
}
