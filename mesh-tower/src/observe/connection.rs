//! [`ConnectionReport`]: what an attempt was sent on, told by the connection itself.
//!
//! Who asks for it puts a [`ConnectionSlot`] into the extensions of the attempt's request; without one a connection
//! says nothing, and nothing is made for it.

use http::{Extensions, Version};
use mesh_core::call::AttemptId;
use mesh_core::{Timestamp, WallTime};
use smallvec::SmallVec;
use std::sync::{Arc, OnceLock};

/// The connection that an attempt was sent on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionReport {
    /// What is spoken on it: HTTP/1.1 or HTTP/2.
    pub version: Version,
    /// Whether calls were sent on it before this one.
    pub reused: bool,
    /// How the mesh secured it; `None`: not, or its connector did.
    pub tls: Option<Arc<TlsReport>>,
}

/// How a connection is secured, and who the endpoint proved to be in its handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsReport {
    /// The version of the protocol, as in `TLSv1.3`; empty: unknown.
    pub version: &'static str,
    /// The cipher suite by its IANA name, as rustls has it, as in `TLS13_AES_256_GCM_SHA384`; empty: unknown.
    pub cipher: &'static str,
    /// Whether we showed who we are, too.
    pub mutual: bool,
    /// The endpoint's SPIFFE id, or its first other name; empty: its certificate has none.
    pub peer: Arc<str>,
    /// When the endpoint's certificate ends.
    pub peer_until: WallTime,
}

/// The slots of a call's attempts.
#[derive(Debug, Default)]
pub(crate) struct ConnectionSlots(SmallVec<[(AttemptId, Timestamp, ConnectionSlot); 2]>);

impl ConnectionSlots {
    /// That of an attempt that begins now.
    pub(crate) fn slot(&mut self, id: AttemptId, now: Timestamp) -> ConnectionSlot {
        let slot = ConnectionSlot::default();
        self.0.push((id, now, slot.clone()));
        slot
    }

    /// What an attempt was sent on.
    pub(crate) fn of(&self, id: AttemptId) -> Option<ConnectionReport> {
        self.0.iter().find(|(of, ..)| *of == id)?.2.told()
    }

    /// What the attempt was sent on that began at this time.
    pub(crate) fn of_begun(&self, at: Timestamp) -> Option<ConnectionReport> {
        self.0.iter().find(|(_, began, _)| *began == at)?.2.told()
    }
}

/// Where a connection says what it is, for one attempt.
#[derive(Clone, Debug, Default)]
pub(crate) struct ConnectionSlot(Arc<OnceLock<ConnectionReport>>);

impl ConnectionSlot {
    /// Tells whoever wants to know.
    pub(crate) fn tell(extensions: &Extensions, report: impl FnOnce() -> ConnectionReport) {
        // An empty map is the common case, and costs nothing to ask.
        if let Some(slot) = extensions.get::<Self>() {
            slot.0.get_or_init(report);
        }
    }

    /// What was told; `None`: nothing was sent.
    pub(crate) fn told(&self) -> Option<ConnectionReport> {
        self.0.get().cloned()
    }
}
