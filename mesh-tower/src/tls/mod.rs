//! TLS: what rustls is given, made of policies, identities and secrets.
//!
//! | module | what |
//! |---|---|
//! | `client.rs` | the policy of a cluster → a handshake with one of its endpoints |
//! | `client_material.rs` | what such a handshake is made with: our own pair, and whom we believe |
//! | `client_verify.rs` | whether an endpoint's certificate is good |
//! | `client_refused.rs` | why it is not, or why we are not for the endpoint |
//! | `client_io.rs` | the bytes of a secured connection, and the endpoint's late word on who we are |
//! | `client_watch.rs` | which connections have outlived what they were made with |
//! | `server.rs` | policies of servers → rustls configurations, kept until something changes |
//! | `server_material.rs` | what such a configuration is made of |
//! | `server_verify.rs` | whether a client's certificate is good |
//! | `server_refused.rs` | why it is not |
//! | `server_watch.rs` | which accepted connections have outlived what they were accepted by |
//!
//! What was revoked is said by `identity/chain.rs`, for both sides.
//!
//! No session is resumed: rustls does not verify a peer again then, so one that is not believed any more
//! would live on. Nothing is installed as a default of the process.

pub(crate) mod client;
pub(crate) mod client_io;
mod client_material;
pub(crate) mod client_refused;
mod client_verify;
pub(crate) mod client_watch;
pub(crate) mod server;
mod server_material;
pub(crate) mod server_refused;
mod server_verify;
pub(crate) mod server_watch;
#[cfg(test)]
mod tests;
