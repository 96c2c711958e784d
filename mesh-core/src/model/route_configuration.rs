//! Route configurations: all virtual hosts (Envoy: `config.route.v3.RouteConfiguration`).

use super::{HeaderMutations, VirtualHost};
use std::sync::Arc;

/// All virtual hosts, and what holds for all of them.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct RouteConfiguration {
    /// Name for logs and `mesh explain`.
    pub name: Arc<str>,
    /// The virtual hosts; the authority chooses one.
    pub virtual_hosts: Vec<Arc<VirtualHost>>,
    /// Header edits of the least specific level.
    pub headers: HeaderMutations,
}
