//! The integration tests of this crate: the whole stack, one binary. Names say the promise.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do, but stand outside of test functions"
)]

mod basic;
mod breaker;
mod channel;
mod classify;
mod config_file;
mod dns;
mod events;
mod faults;
mod fixture;
mod foreign;
mod headers;
mod kit;
mod observe_mode;
mod outlier;
mod proxy;
mod report;
mod retry;
mod rpc;
mod runtime;
mod streaming;
mod swap;
mod timeout;
mod transparent;
mod unix;
mod wait_for_ready;
mod wire;
