//! [`Status`]: what a client knows of its resources, for those who look inside: CSDS and metrics.
//!
//! "Is it the control plane, or is it us?" is asked while calls fail, so the answer must not depend on the
//! task that may be the one that hangs. A reader could ask the client over a channel, and nothing would be
//! kept twice; but metrics are read without waiting, and would need a copy anyway. So there is one copy, of
//! pointers, under a lock. It has no rules of its own: what is noted of a resource is what the protocol says
//! of it ([`Protocol::resource`](crate::protocol::Protocol::resource)), asked again for each name that
//! something happened to.
//!
//! ```text
//!   watch, response, timer, end ── Recorder, one per server ──> Table ──> resources()   CSDS (gRFC A40)
//!        of one Protocol                                          └────> servers(), counts()  (gRFC A78)
//! ```
//!
//! - Bodies are kept as they were received, not as they are understood; versions are the server's.
//! - The lock is held while names and pointers are copied, never while something is written or encoded.
//! - Of a name that several servers are asked for (gRFC A71), what was accepted last is shown.
//! - Secrets are shown by name only, and keys in other resources are taken out (`redact.rs`), in every dump.
//! - Series are bounded: by the servers of the bootstrap, by the types, and by [`MAX_AUTHORITIES`].
//!
//! What it does not do: decide, wait (but for `csds.rs`, which serves), or keep what was refused: only why.

mod csds;
mod label;
mod recorder;
pub(crate) mod redact;
mod table;
#[cfg(test)]
mod tests;

pub use csds::{Answers, Csds, CsdsServer, ServeStatusError, csds, serve};
pub use label::{CLIENT_SCOPE, MAX_AUTHORITIES, cache_state, resource_type};
pub use table::{ResourceCount, ResourceDump, ResourceFailure, ServerStatus, TypeStatus};

pub(crate) use recorder::Recorder;

use crate::ResourceType;
use crate::bootstrap::Bootstrap;
use crate::last_good::RawResource;
use crate::protocol::canonical;
use envoy_types::pb::envoy::config::core::v3::Node;
use mesh_core::{Timestamp, WallTime};
use parking_lot::Mutex;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use table::{Copied, Table};

/// One duration for each type that has one, in the order of [`ResourceType::ALL`].
pub type Durations = [Option<Duration>; ResourceType::ALL.len()];

/// Takes how long it took from a response to its ACK.
type OnAck = dyn Fn(ResourceType, Duration) + Send + Sync;

/// What a client knows of its resources. Clones are handles to the same; none keeps the client alive, and
/// what is known of resources goes with it.
#[derive(Clone)]
pub struct Status(Arc<Shared>);

struct Shared {
    node: Node,
    table: Mutex<Table>,
    on_ack: OnceLock<Box<OnAck>>,
}

impl Status {
    /// Nothing is known; `bootstrap` says whose status it is.
    #[must_use]
    pub fn new(bootstrap: &Bootstrap) -> Self {
        Self(Arc::new(Shared {
            node: bootstrap.node().to_proto(),
            table: Mutex::default(),
            on_ack: OnceLock::new(),
        }))
    }

    /// From now on `tell` gets the time from the reception of each response to the sending of its ACK. It
    /// is called on the client's task and must not wait. The first one that is given counts.
    pub fn on_ack(&self, tell: impl Fn(ResourceType, Duration) + Send + Sync + 'static) {
        self.0.on_ack.get_or_init(|| Box::new(tell));
    }

    /// What is known of each resource, by type and name.
    ///
    /// Contents are redacted, which is done after the lock was let go of.
    #[must_use]
    pub fn resources(&self) -> Vec<ResourceDump> {
        let mut all = self.0.table.lock().resources();
        for dump in &mut all {
            if let Some(body) = &mut dump.body {
                redact::redact(dump.kind, &dump.name, body);
            }
        }
        all
    }

    /// What is known of each server that was needed so far, in the order in which they were.
    #[must_use]
    pub fn servers(&self) -> Vec<ServerStatus> {
        self.0.table.lock().servers()
    }

    /// How many resources there are of each authority, type and state.
    #[must_use]
    pub fn counts(&self) -> Vec<ResourceCount> {
        self.0.table.lock().counts()
    }

    /// How long ago the first response came that is in the configuration which was handed over last, by
    /// type, at the time when it was handed over. They are given once.
    #[must_use]
    pub fn take_published(&self) -> Durations {
        self.0.table.lock().take_published()
    }

    /// The recorder of the server of this URI.
    pub(crate) fn recorder(&self, uri: &Arc<str>) -> Recorder {
        let server = self.0.table.lock().server(uri);
        Recorder::new(self.clone(), server)
    }

    /// A configuration with all that came until `now` is handed over.
    pub(crate) fn published(&self, now: Timestamp) {
        self.0.table.lock().published(now);
    }

    /// A value from a copy on disk of that date is in force, until a server sends it.
    pub(crate) fn copied(&self, resource: &RawResource, written: WallTime) {
        let RawResource { kind, name, version, body } = resource;
        let (version, body) = (Arc::clone(version), body.clone());
        let copied = Copied { version, body, written };
        self.0.table.lock().copied(*kind, &canonical(name), Some(copied));
    }

    /// No value from a copy on disk is in force.
    pub(crate) fn not_copied(&self, kind: ResourceType, name: &Arc<str>) {
        self.0.table.lock().copied(kind, &canonical(name), None);
    }

    pub(crate) fn node(&self) -> &Node {
        &self.0.node
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Status").field("node", &self.0.node.id).finish_non_exhaustive()
    }
}
