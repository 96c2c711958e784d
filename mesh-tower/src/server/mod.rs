//! The server side: connections that are accepted, and requests that come on them.
//!
//! | module | what |
//! |---|---|
//! | `serve.rs` | the server loop: sockets, connections |
//! | `accept.rs` | a byte stream → a connection that is known, or a reason why not |
//! | `accept_error.rs` | those reasons |
//! | `open.rs`, `watch.rs` | connections that are open, and which of them have outlived what they were accepted by |
//! | `over.rs` | from when on a connection takes no requests |
//! | `hello.rs`, `io.rs` | how a connection begins, and its bytes after that |
//! | `connection.rs` | what is known of a connection; in the extensions of its requests |
//! | `layer/` | what is done with a request before the service sees it, and with its response |
//! | `http.rs` | the user's service, as one connection's requests come to it |
//! | `http2.rs`, `incoming.rs` | a connection of HTTP/2; the bodies of requests as they come |
//! | `streams.rs` | who runs the requests of HTTP/2 |
//! | `tunnels.rs` | what a connection carries that is no longer HTTP |
//! | `head_timer.rs` | how long a head of HTTP/1.1 may take, and a client that says or reads nothing |
//! | `guarded.rs`, `broken.rs` | who floods a connection; why one ended before its time |
//! | `when_woken.rs` | what is polled only when it was woken |
//! | `detect.rs` | what a connection carries, where its port finds that out |
//! | `serving.rs`, `rest.rs` | a connection of HTTP, from its first byte on; who is silent, and small |
//! | `drain.rs` | how connections end without losing a call |
//! | `drive.rs` | a connection, run to its end or to that of its drain |
//! | `keeper.rs` | what changes with the configuration: serving or not, which connections end |
//! | `listen.rs` | sockets |

mod accept;
mod accept_error;
mod broken;
mod connection;
mod detect;
mod drain;
mod drive;
mod guarded;
mod head_timer;
mod hello;
mod http;
mod http2;
mod incoming;
mod io;
mod keeper;
mod layer;
mod listen;
mod open;
mod over;
mod rest;
mod serve;
mod serving;
mod streams;
mod tunnels;
#[cfg(feature = "tls")]
mod watch;
mod when_woken;

pub use accept::{Accepted, Acceptor, Ends};
pub use accept_error::AcceptError;
pub use connection::{Connection, NoConnection};
pub use http2::{OnTunnel, TunnelStream};
pub use incoming::Incoming;
pub use io::AcceptedIo;
pub use keeper::ServingMode;
pub use layer::{
    AuditSink, Refused, RequestBody, ServerBody, ServerFuture, ServerLayer, ServerService,
    StdoutAudit,
};
pub use listen::Listen;
pub use open::{OpenConnection, Outlived};
#[cfg(feature = "tls")]
pub(crate) use over::Over;
pub(crate) use serve::WeakServer;
pub use serve::{MeshServer, ServeError};
pub(crate) use serving::reset;
pub(crate) use tunnels::Tunnel;

#[cfg(feature = "tls")]
pub use crate::tls::server_refused::{CameCertificate, ClientRefusal, ClientRefused, TriedRoots};
