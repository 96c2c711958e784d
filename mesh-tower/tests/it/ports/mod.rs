//! Ports that pass on what comes to them: what `mesh proxy` does.

mod bytes;
mod kit;
mod life;
#[cfg(unix)]
mod lines;
mod requests;
mod rounds;
mod tunnels;
mod wire;
