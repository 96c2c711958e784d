//! [`Peer`]: on whose behalf a call is made.

use std::net::SocketAddr;
use std::sync::Arc;

/// On whose behalf a call is made, for splits and hash policies by `source_ip` and `peer_identity`; put
/// it into [`http::Request::extensions_mut`].
///
/// A client's own calls have none. A service that calls others while it answers somebody passes on who
/// that is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    pub(crate) address: Option<SocketAddr>,
    pub(crate) identity: Option<Arc<str>>,
}

impl Peer {
    /// Nobody known.
    #[must_use]
    pub const fn new() -> Self {
        Self { address: None, identity: None }
    }

    /// The address of the directly connected peer.
    #[must_use]
    pub const fn address(mut self, address: SocketAddr) -> Self {
        self.address = Some(address);
        self
    }

    /// The peer's authenticated identity, for example a SPIFFE id.
    #[must_use]
    pub fn identity(mut self, identity: impl Into<Arc<str>>) -> Self {
        self.identity = Some(identity.into());
        self
    }
}
