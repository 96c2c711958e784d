//! The call machine.
