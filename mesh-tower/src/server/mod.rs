//! The server side: connections that are accepted, and requests that come on them.
//!
//! | module | what |
//! |---|---|
//! | `connection.rs` | what is known of a connection; in the extensions of its requests |
//! | `accept.rs` | a byte stream → a connection that is known, or a reason why not |
//! | `accept_error.rs` | those reasons |
//! | `hello.rs`, `io.rs` | how a connection begins, and its bytes after that |

mod accept;
mod accept_error;
mod connection;
mod hello;
mod io;

pub use accept::{Accepted, Acceptor, Ends, OpenConnection};
pub use accept_error::AcceptError;
pub use connection::Connection;
pub use io::AcceptedIo;

#[cfg(feature = "tls")]
pub use crate::tls::server_refused::{CameCertificate, ClientRefusal, ClientRefused, TriedRoots};
