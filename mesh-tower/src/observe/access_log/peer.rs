//! [`PeerSlot`]: who the endpoint of an attempt proved to be, told by the connection that it is sent on.

use http::Extensions;
use std::sync::{Arc, OnceLock};

/// Where a connection says who its other end is. It is in the extensions of an attempt's request, and only of one
/// whose call has a line.
#[derive(Clone, Debug, Default)]
pub(crate) struct PeerSlot(Arc<OnceLock<Arc<str>>>);

impl PeerSlot {
    /// Tells whoever wants to know that `peer` is the other end.
    pub(crate) fn tell(extensions: &Extensions, peer: Option<&Arc<str>>) {
        // An empty map is the common case, and costs nothing to ask.
        if let (Some(slot), Some(peer)) = (extensions.get::<Self>(), peer) {
            slot.0.get_or_init(|| Arc::clone(peer));
        }
    }

    /// Who it is; `None`: it proved nothing, or nobody was asked.
    pub(crate) fn peer(&self) -> Option<&str> {
        self.0.get().map(|peer| &**peer)
    }
}
