//! A control plane: what it holds, what it answers on a stream, and the server around it.
//!
//! ```text
//! ConfigUpdate ── encode ──> Snapshot ──┬── handle_snapshot ──┐
//!                                       │                     ├──> responses, in order
//! stream ── request ────────────────────┴── handle_request ───┘
//! ```
//!
//! | module | knows |
//! |---|---|
//! | [`Snapshot`] | every resource by kind and name, versions by content, whether names lead somewhere; what differs from the one before |
//! | [`SotwStream`] | one stream of the state of the world: `StreamAggregatedResources` |
//! | [`DeltaStream`] | one incremental stream: `DeltaAggregatedResources` |
//! | [`AdsServer`] | the socket and one task a stream: the only part that is not pure |
//! | [`Connection`] | a byte stream that was accepted, however: TCP, a Unix socket, TLS |
//! | [`Clients`] | who is connected, and how far each has come; as JSON and as Prometheus text |
//!
//! The two streams are alike in this (xDS protocol):
//! - a version is the hash of the content, so that all replicas agree and what is the same is not sent
//!   again;
//! - a nonce counts responses on its stream; an answer to an older one says nothing;
//! - what a client refuses (NACK) is kept in its [`View`], and is sent again only when it changed;
//! - *make before break*: what is new goes out as CDS, EDS, LDS, RDS; what is gone goes last.
//!
//! They differ in this:
//!
//! | | state of the world | incremental |
//! |---|---|---|
//! | LDS, CDS | all that is subscribed, whenever one changes | what changed, and what is gone |
//! | RDS, EDS | what changed; nothing says that one is gone | the same as LDS, CDS |
//! | asked for, not there | LDS, CDS: an answer without it; RDS, EDS: none until it is there | named as removed |
//! | first request of a new stream | answered, but for a wildcard whose version is ours: a client may have dropped a named resource since it got that version | by difference to the versions that the client names |
//! | stale nonce | the request is ignored | its subscriptions count |
//!
//! What the streams do not do: IO, waiting between steps. Responses of one change are given at once, in order;
//! a client handles them in order.

mod accept;
mod change;
mod clients;
mod connection;
mod delta;
mod made;
mod narrowed;
mod readers;
mod references;
mod report;
mod reporters;
#[cfg(feature = "tls")]
mod roots;
mod service;
mod snapshot;
mod sotw;
mod stream;
mod task;
#[cfg(test)]
mod tests;
#[cfg(feature = "tls")]
mod tls;
mod wire;

pub use clients::{
    Client, Clients, MAX_STREAMS, MAX_TEXT, MAX_UNANSWERED, Progress, Refusal, Totals,
};
pub use connection::Connection;
pub use delta::DeltaStream;
pub use readers::{InvalidReaderId, NoReader, ReaderId, Readers};
pub use references::Dangling;
pub use service::{AdsServer, MAX_MESSAGE, STREAMS_OF_A_CONNECTION, ServeError};
pub use snapshot::{Served, Snapshot};
pub use sotw::SotwStream;
pub use stream::{MAX_HELD, MAX_NAME, MAX_NAMES, Nack, Refused, View};
#[cfg(feature = "tls")]
pub use tls::ServerTls;
