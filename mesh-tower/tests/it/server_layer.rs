//! The server's layer: who and what gets through it, and what its service then sees.

mod admission;
mod deadline;
mod kit;
mod peers;
mod policies;
