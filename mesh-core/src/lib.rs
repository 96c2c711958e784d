//! The decisions of a service mesh, pure.
//!
//! Nothing in this crate opens a socket, spawns a task, reads a clock, draws from a thread's random
//! numbers or knows a protobuf: time ([`Timestamp`]), randomness ([`Random`]) and what the network
//! said ([`outcome::Outcome`]) are arguments. `mesh-tower` acts on what is decided here, `mesh-xds`
//! learns what is configured.
//!
//! | module | decides |
//! |---|---|
//! | [`router`] | request head → virtual host → route → cluster |
//! | [`call`] | one call: attempts, deadlines, retries, back-off, hedging |
//! | [`lb`] | candidates → endpoint |
//! | [`outlier`] | who is ejected |
//! | [`breaker`] | whether a limit has room |
//! | [`identity`] | who the peer is, and when our own certificate is renewed |
//! | [`rbac`] | who may do what |
//! | [`filter`] | what is done with a request before it is answered, in the configured order |
//! | [`inbound`] | what a server does with connections: listeners, filter chains |
//! | [`access_log`] | what a line of an access log tells of a call, and that no request forges one |
//! | [`state`] | what is carried over from one configuration to the next |
//! | [`explain`] | why a request goes where it goes, and what a code means |
//! | [`config`] | text of `mesh.yaml` → [`ConfigUpdate`] or diagnostics (feature `config`) |

#![warn(clippy::iter_over_hash_type)]
#![cfg_attr(
    test,
    expect(
        clippy::field_reassign_with_default,
        reason = "tests make models as users do: default, then fields"
    )
)]

pub mod access_log;
pub mod breaker;
pub mod call;
#[cfg(feature = "config")]
pub mod config;
pub mod egress;
pub mod event;
pub mod explain;
pub mod filter;
pub mod head;
pub mod identity;
pub mod inbound;
#[cfg(feature = "config")]
mod json;
pub mod lb;
pub mod local_reply;
pub mod model;
pub mod otlp;
pub mod outcome;
pub mod outlier;
pub mod overload;
pub mod proxy;
pub mod random;
pub mod rbac;
pub mod router;
mod scan;
pub mod state;
mod sync;
pub mod time;
pub mod update;

pub use head::RequestHead;
#[cfg(feature = "config")]
pub use json::Json;
pub use local_reply::{Reason, ResponseFlag};
pub use random::Random;
pub use time::{Timestamp, WallTime};
pub use update::ConfigUpdate;
