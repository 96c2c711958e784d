//! The integration tests of the command line tool: one binary, one file per subject.

#[cfg(test)]
mod check;
