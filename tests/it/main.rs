//! The integration tests of the command line tool and of the examples: one binary, one file per
//! subject.
#![expect(clippy::duplicate_mod, reason = "examples share modules, and all examples are in here")]

#[cfg(test)]
mod check;
// Not under cfg(test), where clippy's rules differ: examples are held to the same here as by themselves.
mod examples;
