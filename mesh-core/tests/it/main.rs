//! The tests of this crate that need several modules at once, through its public interface only.

#[cfg(test)]
mod sim;
