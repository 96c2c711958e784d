//! Our client stack against other people's servers: what we send is compared with what they say they
//! saw, and what they send with what arrives.
//!
//! The peers are installed by `tests/interop/install`. Tests that need them are ignored in a plain
//! `cargo test`; `.ci/steps/interop` runs them, and a missing peer fails there.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test says what went wrong by ending"
)]

mod ads;
mod answers;
mod bodies;
mod capture;
#[path = "../../mesh-xds/tests/it/certificates.rs"]
mod certificates;
mod client;
mod envoy;
mod envoy_files;
mod envoy_mtls;
mod envoy_parts;
mod envoy_ports;
mod envoy_sds;
mod go;
mod go_server;
mod grpc_mtls;
mod grpcio;
mod habits;
mod istiod;
mod mtls;
mod nginx;
mod node;
mod opa;
mod openssl;
mod otlp;
mod polyglot;
mod process;
mod promtool;
mod proxy;
mod rpc;
mod secure;
#[path = "../../mesh-tower/tests/it/server/ca.rs"]
mod server_ca;
mod statistics;
mod tcp;
mod xds;
mod xds_everything;
mod xds_status;
