//! Route configurations: all virtual hosts (Envoy: `config.route.v3.RouteConfiguration`).

use super::{HeaderMutations, HttpFilter, HttpFilterOverrides, VirtualHost};
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

impl RouteConfiguration {
    /// The same for a chain of these filters: without what it says of others. The same pointer if it says nothing of
    /// others.
    ///
    /// Routes of a control plane may be for several chains, and that one of them lacks a filter is no error (gRFC A39).
    ///
    /// # Examples
    /// ```
    /// use mesh_core::model::{HttpFilterOverride, RouteConfiguration, VirtualHost};
    /// use std::sync::Arc;
    ///
    /// let mut host = VirtualHost::of("reviews")?;
    /// host.filters.insert("cors".into(), HttpFilterOverride::Disabled);
    /// let mut routes = RouteConfiguration::default();
    /// routes.virtual_hosts.push(Arc::new(host));
    /// let own = Arc::new(routes).for_filters(&[]);
    /// assert!(own.virtual_hosts[0].filters.is_empty());
    /// # Ok::<_, mesh_core::model::virtual_host::InvalidDomain>(())
    /// ```
    #[must_use]
    pub fn for_filters(self: &Arc<Self>, filters: &[HttpFilter]) -> Arc<Self> {
        let is_there = |name: &Arc<str>| filters.iter().any(|filter| filter.name == *name);
        let fits = |said: &HttpFilterOverrides| said.keys().all(is_there);
        let all_fit = |host: &VirtualHost| {
            fits(&host.filters) && host.routes.iter().all(|route| fits(&route.filters))
        };
        if self.virtual_hosts.iter().all(|host| all_fit(host)) {
            return Arc::clone(self);
        }
        let mut own = Self::clone(self);
        for host in own.virtual_hosts.iter_mut().filter(|host| !all_fit(host)) {
            let host = Arc::make_mut(host);
            host.filters.retain(|name, _| is_there(name));
            for route in host.routes.iter_mut().filter(|route| !fits(&route.filters)) {
                Arc::make_mut(route).filters.retain(|name, _| is_there(name));
            }
        }
        Arc::new(own)
    }
}
