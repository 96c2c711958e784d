//! The integration tests of mesh-xds: one binary, one file per subject.

#[cfg(test)]
mod ads;
