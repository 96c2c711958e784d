//! TLS: what rustls is given, made of policies, identities and secrets.
//!
//! | module | what |
//! |---|---|
//! | `server.rs` | policies of servers → rustls configurations, kept until something changes |
//! | `server_material.rs` | what such a configuration is made of |
//! | `server_verify.rs` | whether a client's certificate is good |
//! | `server_refused.rs` | why it is not |

pub(crate) mod server;
mod server_material;
pub(crate) mod server_refused;
mod server_verify;
