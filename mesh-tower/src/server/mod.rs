//! The server side: connections that are accepted, and requests that come on them.
//!
//! | module | what |
//! |---|---|
//! | `connection.rs` | what is known of a connection; in the extensions of its requests |

mod connection;

pub use connection::Connection;
