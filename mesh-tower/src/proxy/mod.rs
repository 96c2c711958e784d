//! What `mesh proxy` does, for programs: ports that pass on what comes to them, by the mesh's routes.
//!
//! A service that can't link the mesh has it beside it. What it calls it calls through a port of `outbound`; who calls
//! it comes through a port of `inbound`, which knows who that is, and asks whether he may. [`Proxy`] opens the ports
//! that the configuration has, and follows it. Those of Envoy's files send by routes that their filter chains have.
//!
//! ```text
//!             ┌ by the authority of each request ── virtual hosts ┐
//!  outbound ──┤                                                   ├── the client's stack ──> endpoints
//!             └ by the port's own cluster or split ───────────────┘
//!  inbound  ──── the server's stack: identity, policies, limits ───── the application
//! ```
//!
//! | file | holds |
//! |---|---|
//! | `run.rs` | which ports are open |
//! | `bind.rs`, `sockets.rs` | sockets, of ports and without |
//! | `takeover/` | how another process goes on with them |
//! | `http.rs` | requests: what is done with their heads, and by whom they are answered |
//! | `reply.rs` | what a request is told that nobody answered |
//! | `tunnel.rs` | requests that go on in another protocol, and CONNECT |
//! | `bytes.rs` | connections of bytes |
//!
//! # What passes
//! - HTTP/1.0, HTTP/1.1, HTTP/2 and gRPC, with trailers and bodies of any length, which are never held.
//! - Requests in absolute form, and CONNECT: a port of `outbound` without a cluster is a forward proxy, too
//!   (`HTTP_PROXY`, `HTTPS_PROXY`).
//! - WebSocket and every other upgrade of HTTP/1.1. To an endpoint it has a connection of its own.
//! - Bytes, where a port says so.
//!
//! # What is done with a head
//! Headers of the connection end with it ([`hop_by_hop`](mesh_core::proxy::hop_by_hop)); `x-request-id` and
//! `x-forwarded-proto` are added where they are missing; a request that goes round is answered 508
//! ([`hops`](mesh_core::proxy::hops)).
//!
//! To the application HTTP/1.1 is spoken, but for gRPC, unless `forward` says `http2`: most servers speak it, and what
//! a caller speaks is not what the application has to.

mod bind;
mod bytes;
mod capture;
mod carrying;
mod http;
mod reply;
mod run;
mod sockets;
#[cfg(unix)]
mod takeover;
mod tunnel;

use bytes::ForwardBytes;
pub(crate) use capture::Captured;
pub use run::{PortState, Proxy, ProxyError, ProxyPort};
pub use sockets::Sockets;
#[cfg(unix)]
pub use takeover::{Handover, Takeover, TakeoverError};

use crate::mesh::Mesh;
use crate::tcp::RelayOptions;

/// That what comes to a listener is passed on.
#[derive(Clone)]
pub(crate) struct Forwards {
    /// Who takes connections of bytes; `None`: nobody knows where they would go.
    pub(crate) bytes: Option<ForwardBytes>,
}

/// How bytes that a chain of a listener takes are passed on, as the configuration says now.
fn relay_options(mesh: &Mesh, (listener, chain): (&str, &str)) -> RelayOptions {
    let snapshot = mesh.snapshot();
    let options = RelayOptions::new();
    let Some(listener) = snapshot.listeners().get(listener) else { return options };
    let own = listener.chain(chain).and_then(|chain| chain.model().forward.as_ref());
    let idle = match (own, &listener.model().forward) {
        (Some(own), _) => own.idle_timeout,
        (None, Some(forward)) => forward.idle_timeout,
        (None, None) => return options,
    };
    options.idle_timeout(idle)
}
