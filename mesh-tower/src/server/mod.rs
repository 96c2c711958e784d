//! The server side: connections that are accepted, and requests that come on them.
//!
//! | module | what |
//! |---|---|
//! | `connection.rs` | what is known of a connection; in the extensions of its requests |
//! | `layer/` | what is done with a request before the service sees it, and with its response |

mod connection;
mod layer;

pub use connection::{Connection, NoConnection};
pub use layer::{
    AuditSink, Refused, RequestBody, ServerBody, ServerFuture, ServerLayer, ServerService,
    StdoutAudit,
};
