//! Which virtual host of a route configuration serves an authority, and what it takes over from the
//! levels above it.

use mesh_core::model::route::MaxStreamDuration;
use mesh_core::model::{Domain, HeaderMutations, RouteAction, VirtualHost};
use std::sync::Arc;
use std::time::Duration;

/// gRFC A28: an exact domain, else the longest suffix, else the longest prefix, else `*`; letters' case
/// does not count.
pub(super) fn find(hosts: &[Arc<VirtualHost>], authority: &str) -> Option<usize> {
    let authority = authority.to_ascii_lowercase();
    let ranks = hosts.iter().enumerate().filter_map(|(at, host)| {
        let best = host.domains.iter().filter_map(|domain| rank(domain, &authority)).max()?;
        Some((best, std::cmp::Reverse(at)))
    });
    ranks.max().map(|(_, std::cmp::Reverse(at))| at)
}

/// How well a domain fits an authority in lower case; `None`: not at all. A wildcard stands for at least one byte.
pub(crate) fn rank(domain: &Domain, authority: &str) -> Option<(u8, usize)> {
    let longer = |text: &str| authority.len() > text.len();
    let (fits, rank) = match domain {
        Domain::Exact(text) => (**text == *authority, (3, text.len())),
        Domain::Suffix(text) => (longer(text) && authority.ends_with(&**text), (2, text.len())),
        Domain::Prefix(text) => (longer(text) && authority.starts_with(&**text), (1, text.len())),
        Domain::Any => (true, (0, 0)),
    };
    fits.then_some(rank)
}

/// The virtual host with the header edits of its route configuration, and with the listener's
/// `max_stream_duration` for routes that have none (gRFC A31).
pub(super) fn with_levels(
    host: &Arc<VirtualHost>,
    above: &HeaderMutations,
    max_stream_duration: Option<Duration>,
) -> Arc<VirtualHost> {
    let limit = max_stream_duration.filter(|limit| !limit.is_zero());
    if *above == HeaderMutations::default() && limit.is_none() {
        return Arc::clone(host);
    }
    let mut host = VirtualHost::clone(host);
    // Envoy: route, then virtual host, then route configuration.
    host.headers.request.extend(above.request.iter().cloned());
    host.headers.response.extend(above.response.iter().cloned());
    for route in host.routes.iter_mut().filter(|_| limit.is_some()) {
        let RouteAction::Forward(forward) = &route.action else { continue };
        if forward.max_stream_duration.is_none() {
            let mut changed = mesh_core::model::Route::clone(route);
            if let RouteAction::Forward(forward) = &mut changed.action {
                let mut from_listener = MaxStreamDuration::default();
                from_listener.max_stream_duration = limit;
                forward.max_stream_duration = Some(from_listener);
            }
            *route = Arc::new(changed);
        }
    }
    Arc::new(host)
}

/// The virtual host for one authority only.
pub(super) fn exposed(host: &VirtualHost, authority: &Arc<str>) -> Arc<VirtualHost> {
    let mut host = host.clone();
    host.domains = vec![Domain::Exact(Arc::clone(authority))];
    Arc::new(host)
}
