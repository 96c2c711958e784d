//! What comes out of the machine beside requests: [`Action`]s to take and [`Event`]s to pass on; and why
//! a stream ended, which goes in.

use super::options::Variant;
use crate::ResourceType;
use std::sync::Arc;

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "the stream goes on only if its actions are taken"]
#[expect(clippy::exhaustive_enums, reason = "closed: whoever drives it must take every action")]
pub enum Action {
    /// Open a stream of this variant.
    Connect(Variant),
    /// Drop the stream, or the attempt to open one. It counts as ended; nothing more is handed in of
    /// it.
    Close,
}

/// Why a stream ended, or an attempt to open one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "closed: ended, failed, or not spoken")]
pub enum CloseReason {
    /// The server ended it without an error.
    Ended,
    /// The transport failed, or the server ended it with an error.
    Failed(Arc<str>),
    /// The server ended it with UNIMPLEMENTED: it does not speak this variant.
    Unimplemented(Arc<str>),
}

/// What watchers are told. Events of one resource come in order, and go on until it is
/// [`Forgotten`](Self::Forgotten).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A resource is new or other than before: its value replaces what is held.
    Changed {
        /// Its type.
        kind: ResourceType,
        /// Its name.
        name: Arc<str>,
        /// Where it is in [`Response::resources`](super::Response::resources), of the response that was
        /// handed in last.
        index: usize,
    },
    /// A resource that is held was deleted.
    Deleted {
        /// Its type.
        kind: ResourceType,
        /// Its name.
        name: Arc<str>,
        /// How.
        cause: Deletion,
        /// What is held stays in force (gRFC A88). Else it is to be dropped.
        kept: bool,
    },
    /// A resource that is not held does not exist. It may come yet (gRFC A57).
    DoesNotExist {
        /// Its type.
        kind: ResourceType,
        /// Its name.
        name: Arc<str>,
        /// The server did not say so: it said nothing for too long.
        timed_out: bool,
    },
    /// A resource that is not held did not come in time, which says nothing of whether it exists (gRFC
    /// A88: `resource_timer_is_transient_error`).
    TimedOut {
        /// Its type.
        kind: ResourceType,
        /// Its name.
        name: Arc<str>,
    },
    /// An update was refused.
    Refused {
        /// Its type.
        kind: ResourceType,
        /// Its name.
        name: Arc<str>,
        /// All that is wrong with it.
        error: Arc<str>,
        /// What is held stays in force. Else nothing is held, or it is to be dropped.
        kept: bool,
    },
    /// The server sent an error for a resource (xDS TP3).
    ServerError {
        /// Its type.
        kind: ResourceType,
        /// Its name.
        name: Arc<str>,
        /// The status code of gRPC. It must not reach a call as it is (gRFC A54).
        code: u32,
        /// What the server says.
        error: Arc<str>,
        /// What is held stays in force. Else nothing is held, or it is to be dropped.
        kept: bool,
    },
    /// The error that the server sent for a resource no longer stands; what is held is good.
    Restored {
        /// Its type.
        kind: ResourceType,
        /// Its name.
        name: Arc<str>,
    },
    /// Nobody watches the resource any more, and the server has been told: its value can be dropped.
    Forgotten {
        /// Its type.
        kind: ResourceType,
        /// Its name.
        name: Arc<str>,
    },
    /// The server can't be reached: no stream, or one without a response (gRFC A57). An error for every
    /// watcher of what is not held, a note for the others.
    Unreachable {
        /// Why.
        error: Arc<str>,
        /// How many streams in a row.
        failures: u32,
    },
    /// The server answers, for the first time or again.
    Reachable,
    /// The server does not speak the preferred variant; from now on the other one is spoken.
    VariantChanged {
        /// The one that is spoken.
        to: Variant,
        /// What the server said.
        error: Arc<str>,
    },
}

/// How a resource was deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "closed by the xDS protocol")]
pub enum Deletion {
    /// A response of the state of the world is without it (LDS and CDS).
    Omitted,
    /// A delta response removes it.
    Removed,
    /// Its time to live is over.
    Expired,
}
