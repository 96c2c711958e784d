//! Ports that pass on what comes to them: what `mesh proxy` does.

mod bytes;
mod kit;
mod life;
mod requests;
mod rounds;
mod tunnels;
mod wire;
