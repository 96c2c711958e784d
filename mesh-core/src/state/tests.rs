//! The live state over attachments that record what they are told.

mod fixture;
mod keep;
mod maintenance;
mod order;
mod publish;
mod reconcile;
mod refused;
mod targets;
