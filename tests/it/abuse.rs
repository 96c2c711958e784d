//! `mesh proxy` while somebody abuses it: its memory is bounded, others are served, and a metric says what happens.
//!
//! Attacks are sockets and frames written by hand, because no client library sends what they send. Each is made at a
//! port of `outbound` and at one of `inbound`, for a moment. `MESH_ABUSE_SECONDS` says for how long, and prints the
//! table of docs/abuse.md:
//!
//! ```sh
//! MESH_BINARY=target/release/mesh MESH_ABUSE_SECONDS=20 cargo test --test it abuse -- --nocapture --test-threads 1
//! ```

mod connections;
mod frames;
mod http1;
mod http2;
mod shed;
mod world;
