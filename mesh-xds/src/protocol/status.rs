//! What is known of each resource, for CSDS and metrics (gRFC A40, A78).

use super::record::{Record, ResourceState};
use crate::ResourceType;
use mesh_core::Timestamp;
use std::sync::Arc;

/// What is known of one resource.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct ResourceStatus<'a> {
    /// Its type.
    pub kind: ResourceType,
    /// Its name.
    pub name: &'a Arc<str>,
    /// Its state.
    pub state: ResourceState,
    /// Whether somebody watches it by its name. What is not watched is held until the server knows, or is
    /// there by the wildcard.
    pub watched: bool,
    /// When it entered the state, or last changed in it.
    pub since: Timestamp,
    /// The version of what is held; `None`: nothing is held. With a state other than
    /// [`Acked`](ResourceState::Acked) it is the last good one ("…but cached", gRFC A88).
    pub version: Option<&'a Arc<str>>,
    /// The error that stands, and the version that was refused for it.
    pub error: Option<(&'a Arc<str>, Option<&'a Arc<str>>)>,
}

impl<'a> ResourceStatus<'a> {
    pub(super) fn new(kind: ResourceType, name: &'a Arc<str>, record: &'a Record) -> Self {
        Self {
            kind,
            name,
            state: record.state,
            watched: record.watchers > 0,
            since: record.since,
            version: record.held_version(),
            error: record.error.as_ref().map(|error| (error, record.error_version.as_ref())),
        }
    }
}
