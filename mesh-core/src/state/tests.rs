//! The live state over attachments that record what they are told.

mod aggregate;
mod events;
pub(super) mod fixture;
mod keep;
mod maintenance;
mod order;
mod publish;
mod reconcile;
mod refused;
mod secrets;
mod tables;
mod targets;
