//! The live state over attachments that record what they are told.

mod fixture;
mod reconcile;
mod refused;
mod targets;
