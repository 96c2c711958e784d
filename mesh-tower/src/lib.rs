//! A service mesh without proxies, as tower layers.
//!
//! A service links this crate and gets, in its own process, what a sidecar proxy would have done for it:
//! discovery, routing, traffic splitting, load balancing, retries, circuit breaking, outlier ejection,
//! telemetry. It learns its configuration from one short file, from code, or from an xDS control plane
//! ([`source`]).
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use mesh_tower::{Mesh, MeshBody};
//! use tower_service::Service;
//!
//! let mesh = Mesh::from_file("mesh.yaml")?;
//! let request = http::Request::get("http://reviews/1").body(MeshBody::empty())?;
//! let response = mesh.client().call(request).await?;
//! # Ok(()) }
//! ```
//!
//! # The layers
//!
//! | layer | decides with | above | below |
//! |---|---|---|---|
//! | `route` | [`mesh_core::router`] | the caller's own layers | `call` |
//! | `call` | [`mesh_core::call`] | `route`: the cluster is chosen once per call | `balance` |
//! | `balance` | [`mesh_core::breaker`], [`mesh_core::lb`] | `call`: every attempt is placed anew | `endpoint` |
//! | `endpoint` | [`mesh_core::state`], [`mesh_core::outlier`] | `balance` | our connections, or yours |
//!
//! [`MeshLayer`] is all of them in order. What one hands to the next holds places and guards that only
//! the mesh can give, so they are not for sale one by one; layers of your own go above `MeshLayer`, where
//! they see calls, or around the transport under it, where they see attempts.
//!
//! # Serving
//!
//! [`Mesh::server`] serves a tower service by a listener of the configuration ([`server`]): it accepts, does
//! TLS, knows who called, and ends without losing a call. [`server::ServerLayer`] is the part that is about
//! requests, for a server loop of one's own. What requests pass on to the calls that are made for them is an
//! [`Inbound`].
//!
//! # Looking inside
//!
//! [`admin`] is pages for people, scrapers and Envoy's tools: what this process thinks, and why.
//! [`Mesh::metrics`] is the figures alone.
//!
//! # Readiness
//!
//! Every service here is always ready. Above the pick nothing is known that readiness could tell, and a
//! service that reserves a place in `poll_ready` can't be shared. Back-pressure is the circuit breaker,
//! which fails fast with flag `UO`; waiting for an endpoint is each call's choice
//! ([`CallOptions::wait_for_ready`]), within its deadline.
//!
//! # Runtime
//!
//! Calls are made on any tokio runtime with time enabled. Connections and the one background task live on
//! the runtime that the [`Mesh`] was built on, or on [`Builder::runtime`], or, without one, on a thread
//! of their own.

#![cfg_attr(
    test,
    expect(clippy::disallowed_methods, reason = "tests own the tasks that they spawn"),
    expect(
        clippy::field_reassign_with_default,
        reason = "tests make messages and models as users do: default, then fields"
    )
)]

pub mod admin;
mod balance;
mod body;
mod builder;
mod call;
pub mod client;
mod clock;
mod connect;
mod corked;
pub mod dns;
mod driver;
mod endpoint;
mod error;
mod filter;
mod foreign;
mod grpc;
#[cfg(feature = "tls")]
pub mod identity;
mod inbound_context;
mod leaf;
mod mesh;
mod net;
pub mod observe;
mod options;
mod outgoing;
mod overload;
mod passthrough;
mod peer;
#[cfg(any(feature = "otlp", feature = "spiffe"))]
mod protobuf;
pub mod proxy;
mod ready;
mod reset;
mod route;
mod routed;
pub mod server;
pub mod source;
pub mod tcp;
#[cfg(feature = "testing")]
pub mod testing;
#[cfg(feature = "tls")]
mod tls;
mod transport;
#[cfg(feature = "tls")]
mod unwind;

pub use body::{BoxError, MeshBody};
pub use builder::{BuildError, Builder};
#[cfg(feature = "tonic")]
pub use client::Channel;
pub use client::{Client, MeshLayer, ResponseBody};
pub use error::{Error, Station};
pub use foreign::Endpoint;
pub use inbound_context::{Inbound, Instrumented};
pub use mesh::{Configuration, Mesh};
pub use options::CallOptions;
pub use overload::OverloadLimits;
pub use peer::Peer;
pub use ready::NotReady;
pub use tcp::MeshStream;

/// Byte streams to endpoints: [`Builder::connector`] takes any.
pub mod connector {
    pub use crate::connect::{BoxedIo, Connect, Connecting, Io, TcpConnector};
}

/// README's Rust, compiled.
#[cfg(all(doctest, feature = "tonic", feature = "xds"))]
#[doc = include_str!("../README.md")]
mod readme {}
