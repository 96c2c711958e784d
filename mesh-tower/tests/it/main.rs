//! The integration tests of this crate: real servers on loopback, one binary.

mod basic;
mod fixture;
