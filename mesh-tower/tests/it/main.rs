//! The integration tests of this crate: the whole stack, one binary. Names say the promise.

#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what tests share fails and spawns as tests do, but stands outside of test functions"
)]

mod access_log;
mod admin;
mod aggregate;
mod basic;
mod breaker;
mod chain_of_three;
mod channel;
mod classify;
mod config_file;
#[cfg(feature = "xds")]
mod control_plane;
mod dns;
mod drop_overload;
mod egress;
mod endpoints_alone;
mod events;
mod faults;
mod fixture;
mod foreign;
mod headers;
mod kit;
#[cfg(all(feature = "xds", feature = "json"))]
mod lb_policies;
#[cfg(feature = "xds")]
mod load_report;
#[cfg(feature = "tls-aws-lc")]
mod mtls;
#[cfg(feature = "xds")]
mod no_answer;
mod observe_mode;
mod on_demand;
mod otlp;
mod outlier;
mod passing;
mod ports;
mod proxy;
mod replies;
mod report;
mod retry;
mod rpc;
mod runtime;
#[cfg(feature = "tls-aws-lc")]
mod server;
mod server_layer;
mod streaming;
mod tcp;
mod telemetry;
mod timeout;
mod transparent;
mod unix;
mod wait_for_ready;
mod wire;
