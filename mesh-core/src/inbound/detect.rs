//! [`Detection`]: what becomes of a connection of which it was to be found out whether it is HTTP.
//!
//! | it begins with | and bytes can be judged | and they can't |
//! |---|---|---|
//! | HTTP | served | served |
//! | something else | asked as connections are, and passed on | refused |
//! | silence, until the time is over | the same: the server may speak first | refused |
//! | nothing, and ends | the same | ends |
//!
//! Bytes can be judged where all that is asked of requests is asked of who sends them: filters of RBAC whose policies look
//! at the connection alone, and nothing else. One that looks at a path, a filter of another kind, a limit: then nobody
//! knows what it would say of bytes, and they do not pass. Part of a list is never asked for the whole of it.
//!
//! What it does not do: look at bytes ([`detect`](crate::proxy::detect)).

use crate::model::filter_chain::{ClientAddress, RequestLimits};
use crate::model::{
    Domain, FilterChain, HttpConnectionManager, HttpFilter, HttpFilterConfig, Permission, Policy,
    Principal, RbacFilter, RouteAction, RouteMatch,
};
use crate::proxy::detect::Beginning;
use crate::rbac::{CompiledRbacFilter, RbacError};
use std::sync::Arc;
use std::time::Duration;

/// How it is found out what a connection carries, and who is asked about one that is not HTTP.
#[derive(Debug)]
pub struct Detection {
    timeout: Duration,
    bytes: Result<Box<[CompiledRbacFilter]>, NeedsRequests>,
}

/// Why nobody can judge bytes: something that only requests have is asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NeedsRequests {
    /// A policy looks at requests.
    #[error("the policy `{policy}` of `{filter}` looks at requests")]
    Policy {
        /// The filter's name.
        filter: Arc<str>,
        /// The policy's.
        policy: Arc<str>,
    },
    /// A filter does.
    #[error("`{0}` is asked about requests")]
    Filter(Arc<str>),
    /// Requests have limits.
    #[error("there are limits of requests")]
    Limits,
    /// Routes say more than that all is served.
    #[error("its routes look at requests")]
    Routes,
}

/// What becomes of a connection.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_enums, reason = "closed: requests or bytes")]
pub enum Carries<'d> {
    /// Its requests are served.
    Requests,
    /// It is passed on as it is, if these let it.
    Bytes(&'d [CompiledRbacFilter]),
}

impl Detection {
    /// What holds for connections within `timeout`, on a chain that does this with requests.
    ///
    /// # Errors
    /// [`RbacError`]: the first thing that is wrong with a policy.
    pub(super) fn compile(
        timeout: Duration,
        http: &HttpConnectionManager,
    ) -> Result<Self, RbacError> {
        let bytes = match of_connections(http) {
            Ok(filters) => Ok(filters.map(CompiledRbacFilter::new).collect::<Result<_, _>>()?),
            Err(needs) => Err(needs),
        };
        Ok(Self { timeout, bytes })
    }

    /// How long the first bytes are waited for, until it is known what they are.
    #[must_use]
    pub const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// What becomes of a connection that begins like this. What is HTTP stays HTTP, however bad it is.
    ///
    /// # Errors
    /// [`NeedsRequests`]: it is refused, because nobody could judge it.
    pub fn decide(&self, beginning: Beginning) -> Result<Carries<'_>, &NeedsRequests> {
        match (beginning, &self.bytes) {
            (Beginning::Http1 | Beginning::Http2, _) => Ok(Carries::Requests),
            (_, Ok(filters)) => Ok(Carries::Bytes(filters)),
            // There is nothing to refuse.
            (Beginning::Nothing, Err(_)) => Ok(Carries::Requests),
            (Beginning::Other | Beginning::Silence, Err(needs)) => Err(needs),
        }
    }
}

/// Whether `other` would ask of bytes what `one` has asked: both nothing, or both these filters.
pub(super) fn asks_the_same(one: &FilterChain, other: &FilterChain) -> bool {
    match (&one.http, &other.http) {
        (None, None) => true,
        (Some(a), Some(b)) if one.detect.is_some() && other.detect.is_some() => {
            match (of_connections(a), of_connections(b)) {
                (Ok(a), Ok(b)) => a.eq(b),
                _ => false,
            }
        }
        // There are no bytes any more, or they were not asked about.
        _ => false,
    }
}

/// The filters, if all that they ask for is there of a connection alone, and nothing else is asked for.
fn of_connections(
    http: &HttpConnectionManager,
) -> Result<impl Iterator<Item = &RbacFilter>, NeedsRequests> {
    if http.limits != RequestLimits::default() {
        return Err(NeedsRequests::Limits);
    }
    if !serves_all(http) {
        return Err(NeedsRequests::Routes);
    }
    // Then who made a request may be another one than who connects.
    let believes =
        http.xff_num_trusted_hops > 0 || matches!(http.client_address, ClientAddress::ForwardedFor);
    // No route turns one on.
    let filters = || http.http_filters.iter().filter(|filter| !filter.disabled);
    for filter in filters() {
        needs_no_requests(filter, believes)?;
    }
    Ok(filters().filter_map(|filter| match &filter.config {
        HttpFilterConfig::Rbac(rbac) => Some(&**rbac),
        _ => None,
    }))
}

/// Whether every request is for the service, and nothing is said of filters.
fn serves_all(http: &HttpConnectionManager) -> bool {
    let [host] = &http.route_configuration.virtual_hosts[..] else { return false };
    let [route] = &host.routes[..] else { return false };
    host.domains.contains(&Domain::Any)
        && host.filters.is_empty()
        && route.filters.is_empty()
        && route.matcher == RouteMatch::any()
        && route.action == RouteAction::NonForwarding
}

fn needs_no_requests(filter: &HttpFilter, believes: bool) -> Result<(), NeedsRequests> {
    let HttpFilterConfig::Rbac(rbac) = &filter.config else {
        return Err(NeedsRequests::Filter(Arc::clone(&filter.name)));
    };
    let rules = rbac.rules.iter().chain(&rbac.shadow_rules);
    for (name, policy) in rules.flat_map(|rules| &rules.policies) {
        if !is_of_connections(policy, believes) {
            let (filter, policy) = (Arc::clone(&filter.name), Arc::clone(name));
            return Err(NeedsRequests::Policy { filter, policy });
        }
    }
    Ok(())
}

/// Whether a policy says the same of a connection as of each of its requests.
fn is_of_connections(policy: &Policy, believes: bool) -> bool {
    policy.condition.is_none()
        && policy.permissions.iter().all(permission)
        && policy.principals.iter().all(|one| principal(one, believes))
}

fn permission(what: &Permission) -> bool {
    match what {
        Permission::Any
        | Permission::DestinationIp(_)
        | Permission::DestinationPort(_)
        | Permission::DestinationPortRange(_)
        | Permission::RequestedServerName(_) => true,
        Permission::And(all) | Permission::Or(all) => all.iter().all(permission),
        Permission::Not(inner) => permission(inner),
        Permission::Header(_)
        | Permission::UrlPath(_)
        | Permission::Metadata(_)
        | Permission::UriTemplate(_) => false,
    }
}

fn principal(who: &Principal, believes: bool) -> bool {
    match who {
        Principal::Any
        | Principal::Authenticated(_)
        | Principal::MtlsAuthenticated(_)
        | Principal::SourceIp(_)
        | Principal::DirectRemoteIp(_) => true,
        Principal::RemoteIp(_) => !believes,
        Principal::And(all) | Principal::Or(all) => all.iter().all(|one| principal(one, believes)),
        Principal::Not(inner) => principal(inner, believes),
        Principal::Header(_)
        | Principal::UrlPath(_)
        | Principal::Metadata(_)
        | Principal::FilterState(_) => false,
    }
}

#[cfg(test)]
mod tests;
