//! Ports that pass on what comes to them: what `mesh proxy` does.

mod bytes;
mod detect;
mod kit;
mod life;
#[cfg(unix)]
mod lines;
#[cfg(feature = "tls-aws-lc")]
mod probes;
mod requests;
mod resets;
mod rounds;
#[cfg(feature = "tls-aws-lc")]
mod secured;
mod tunnels;
mod wire;
