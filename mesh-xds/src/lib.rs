//! Learning a configuration from an xDS control plane.
//!
//! ```text
//! bytes ── decode ──> Resource ── protocol ──> what is new, gone, refused ── store, cascade ──> ConfigUpdate
//! ```
//!
//! | module | knows |
//! |---|---|
//! | [`ask`] | what filters ask gRPC services: authorization, rate limits |
//! | [`bootstrap`] | where the control plane is, and who we are (gRFC A27, A47, A65, A97) |
//! | [`decode`] | Envoy's resources → [`Resource`], and what is wrong with them |
//! | [`last_good`] | the copy of the last good configuration on disk |
//! | [`load_report`] | what is sent back: load, as reports; pure, time is passed in |
//! | [`protocol`] | the stream: versions, nonces, subscriptions, timers; pure, time is passed in |
//! | [`encode`] | the model → Envoy's resources |
//! | `files` | Envoy's YAML and JSON → a configuration (feature `json`) |
//! | `json` | Envoy's messages → JSON, without their secrets, and back (feature `json`) |
//! | `config_dump` | a configuration → what Envoy's admin page of that name shows (feature `json`) |
//! | [`status`] | what is known of each resource, for CSDS and metrics |
//! | [`server`] | the other end of the stream: a control plane |
//! | `tls` | certificates from files, for both ends (feature `tls`) |
//!
//! What it does not know: requests. It hands over a [`ConfigUpdate`](mesh_core::ConfigUpdate).

pub mod ask;
pub mod bootstrap;
pub mod cascade;
pub mod client;
#[cfg(feature = "json")]
pub mod config_dump;
pub mod decode;
pub mod encode;
#[cfg(feature = "json")]
pub mod files;
#[cfg(feature = "json")]
pub mod json;
pub mod last_good;
pub mod load_report;
pub mod protocol;
mod resource;
mod resource_type;
pub mod server;
pub mod status;
pub mod store;
#[cfg(feature = "tls")]
pub mod tls;
mod tls_labels;

pub use resource::{
    EndpointSource, HttpConnectionManager, HttpFilter, Resource, RouteSource, XdsChainRoutes,
    XdsCluster, XdsEndpoints, XdsListener, XdsPort, XdsRouteConfiguration, XdsServer,
};
pub use resource_type::ResourceType;
