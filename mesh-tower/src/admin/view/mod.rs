//! What pages show, read from the snapshot in force and from what was learnt: plain values, without a format.
//!
//! Each is read once for an answer, so that what an answer says goes together.

mod cluster;
mod configuration;
mod endpoint;
mod identity;
mod listener;
mod overload;
mod split;

pub(super) use cluster::{BreakerView, ClusterView, clusters};
pub(super) use configuration::{ConfigurationView, in_force};
pub(super) use endpoint::EndpointView;
pub(super) use identity::{IdentityView, RootView, identities};
pub(super) use listener::{ListenerView, listeners};
pub(super) use overload::{OverloadView, overload};
pub(super) use split::{SplitView, splits};
