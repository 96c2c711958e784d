//! The server's layer: who and what gets through it, and what its service then sees.

mod admission;
#[cfg(feature = "xds")]
mod asks;
mod deadline;
mod kit;
mod limits;
mod peers;
mod policies;
#[cfg(feature = "tls")]
mod tokens;
