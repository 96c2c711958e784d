//! From a request's head to the cluster that takes it.
//!
//! A [`Router`] is a route configuration, compiled: names are resolved, matchers built, lists indexed,
//! so that [`Router::route`] costs a few hash look-ups, whatever the size of the configuration, and
//! allocates nothing.
//!
//! 1. The authority chooses a virtual host: exact, longest suffix, longest prefix, `*`.
//! 2. The first route of it whose conditions all hold decides (Envoy: `RouteMatch`; gRFC A28).
//! 3. A route that forwards chooses its cluster: the one, one of a split, or the one that a header
//!    names. Once per call: attempts of a call stay with its cluster (gRFC A31).
//!
//! | file | holds |
//! |---|---|
//! | `domains`, `prefix_map` | authority → virtual host |
//! | `virtual_host`, `path_index`, `route_match`, `matcher`, `regex`, `re2` | path and conditions → route |
//! | `clusters`, `split`, `hash` | route → cluster |
//! | `route`, `rewrite`, `redirect`, `header_edits`, `retry` | what a route does to a call |
//! | `compile` | what can be wrong with a configuration |
//! | `explain` | why a request goes where it goes |
//!
//! What it does not do: pick endpoints ([`crate::lb`]), or retry ([`crate::call`]).

mod clusters;
mod compile;
mod domains;
mod explain;
mod hash;
pub(crate) mod header_edits;
mod matcher;
mod path_index;
mod prefix_map;
mod re2;
mod redirect;
mod regex;
mod retry;
mod rewrite;
mod route;
mod route_match;
mod split;
mod virtual_host;

pub use clusters::ClusterSlots;
pub use compile::{CompileError, CompileErrorKind};
pub use explain::{Closest, Explanation, HostMatch, Mismatch, NearMiss, RouteChoice, Share};
pub(crate) use explain::{OnlyCertain, distance, wanted_value};
pub use hash::{CompiledHashPolicy, RequestHash, hash_key};
pub(crate) use header_edits::apply as apply_edit;
pub use matcher::{CompiledHeaderMatcher, CompiledStringMatcher, MatcherError};
pub(crate) use matcher::{CompiledHeaderValue, HeaderValues};
pub use redirect::CompiledRedirect;
pub use regex::{CompiledRegex, CompiledSubstitution, MAX_PATTERN, MAX_PROGRAM, RegexError};
pub use retry::CompiledRetryPolicy;
pub use rewrite::{InvalidRewrite, RewrittenHost};
pub use route::{CompiledForward, CompiledRoute};

use crate::head::RequestHead;
use crate::local_reply::Reason;
use crate::model::{DirectResponse, RouteConfiguration};
use crate::random::Random;
use clusters::ClusterTable;
use compile::Scope;
use domains::DomainIndex;
use header_edits::Level;
use http::HeaderValue;
use route::CompiledAction;
use route_match::Request;
use std::cell::OnceCell;
use std::sync::Arc;
use virtual_host::CompiledVirtualHost;

/// The most targets in one configuration: pairs of a route and a cluster, and routes that answer by
/// themselves.
pub const MAX_TARGETS: u32 = 1 << 22;

/// A route configuration, compiled. Immutable.
#[derive(Clone, Debug)]
pub struct Router {
    configuration: Arc<RouteConfiguration>,
    domains: DomainIndex,
    /// In the order of the configuration.
    hosts: Box<[Host]>,
    targets: u32,
}

#[derive(Clone, Debug)]
struct Host {
    compiled: Arc<CompiledVirtualHost>,
    /// The number of its first target.
    first_target: u32,
    /// The number of its first route, counted through all virtual hosts.
    first_route: u32,
}

/// What becomes of a request.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Decision<'r> {
    /// It goes to a cluster.
    Forward {
        /// The route that took it.
        route: &'r Arc<CompiledRoute>,
        /// How the route forwards.
        forward: &'r CompiledForward,
        /// The number of the pair of route and cluster ([`Router::targets`]).
        target: u32,
        /// The cluster's slot.
        slot: u32,
        /// Which part of the split took it.
        split: Option<usize>,
        /// Cookies that the draw of the split made, so that the next request goes there too:
        /// `set-cookie` values for the response.
        set_cookies: Vec<HeaderValue>,
    },
    /// The caller is sent elsewhere.
    Redirect {
        /// The route that took it.
        route: &'r Arc<CompiledRoute>,
        /// Where to.
        redirect: &'r CompiledRedirect,
        /// The route's number ([`Router::targets`]).
        target: u32,
    },
    /// It is answered here.
    DirectResponse {
        /// The route that took it.
        route: &'r Arc<CompiledRoute>,
        /// With what.
        response: &'r DirectResponse,
        /// The route's number ([`Router::targets`]).
        target: u32,
    },
    /// It is for the server that it came to (gRFC A36).
    NonForwarding {
        /// The route that took it.
        route: &'r Arc<CompiledRoute>,
        /// The route's number ([`Router::targets`]).
        target: u32,
    },
}

impl<'r> Decision<'r> {
    /// The route that took the request.
    #[must_use]
    pub const fn route(&self) -> &'r Arc<CompiledRoute> {
        match self {
            Self::Forward { route, .. }
            | Self::Redirect { route, .. }
            | Self::DirectResponse { route, .. }
            | Self::NonForwarding { route, .. } => route,
        }
    }
}

/// Why a request goes nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[expect(clippy::exhaustive_enums, reason = "closed: the steps of routing, and what each can lack")]
pub enum RouteError {
    /// No virtual host serves the authority.
    #[error("no virtual host serves this authority")]
    NoVirtualHost,
    /// No route of the virtual host matches.
    #[error("no route of the virtual host matches")]
    NoRoute,
    /// The route takes its cluster from a header that the request lacks.
    #[error("the route takes its cluster from a header that the request lacks")]
    ClusterHeaderMissing,
    /// The cluster is not in the configuration.
    #[error("the configuration has no such cluster")]
    UnknownCluster,
}

impl From<RouteError> for Reason {
    fn from(error: RouteError) -> Self {
        match error {
            RouteError::NoVirtualHost => Self::NoVirtualHost,
            RouteError::NoRoute => Self::NoRoute,
            RouteError::ClusterHeaderMissing => Self::ClusterHeaderMissing,
            RouteError::UnknownCluster => Self::UnknownCluster,
        }
    }
}

/// A pair of a route and a cluster, or a route that answers by itself.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct TargetRef<'r> {
    /// Its number: from 0, without a gap.
    pub id: u32,
    /// The route; it knows its virtual host's name.
    pub route: &'r Arc<CompiledRoute>,
    /// The cluster's name; `None`: the route answers by itself.
    pub cluster: Option<&'r Arc<str>>,
    /// The cluster's slot; `None`: the configuration has no such cluster.
    pub slot: Option<u32>,
    /// Which part of the split it is.
    pub split: Option<usize>,
}

impl Default for Router {
    /// A router that knows no virtual host.
    fn default() -> Self {
        let (configuration, hosts) = (Arc::default(), Box::default());
        let domains = DomainIndex::build(&[], &mut Vec::new());
        Self { configuration, domains, hosts, targets: 0 }
    }
}

impl Router {
    /// Compiles `config`.
    ///
    /// Virtual hosts that are the same pointer as in `reuse`, with clusters in the same slots, are
    /// taken over without being looked at. A cluster that `clusters` does not know is no error here:
    /// its calls answer [`RouteError::UnknownCluster`].
    ///
    /// # Errors
    /// Every mistake in the configuration, each with its place.
    pub fn compile<S: ClusterSlots>(
        config: &Arc<RouteConfiguration>,
        clusters: &S,
        reuse: Option<&Self>,
    ) -> Result<Self, Vec<CompileError>> {
        let mut errors = Vec::new();
        let mut scope = Scope { errors: &mut errors, virtual_host: None, route: None };
        let level = Level::compile(&config.headers, "headers", &mut scope);
        let domains = DomainIndex::build(&config.virtual_hosts, &mut errors);
        let reusable = reuse.filter(|old| old.configuration.headers == config.headers);
        let reusable = reusable.map(Self::hosts_by_model).unwrap_or_default();
        let table = OnceCell::new();
        let table = || table.get_or_init(|| Arc::new(ClusterTable::new(clusters))).clone();

        let mut hosts = Vec::with_capacity(config.virtual_hosts.len());
        let (mut targets, mut routes) = (0u32, 0u32);
        for model in &config.virtual_hosts {
            let old = reusable.get(&Arc::as_ptr(model)).copied();
            let old = old.filter(|old| old.still_holds(model, clusters)).cloned();
            let compiled = old.or_else(|| {
                CompiledVirtualHost::compile(model, &level, clusters, &table, &mut errors)
                    .map(Arc::new)
            });
            let Some(compiled) = compiled else { continue };
            let (first_target, first_route) = (targets, routes);
            targets = targets.saturating_add(compiled.targets);
            routes =
                routes.saturating_add(u32::try_from(compiled.routes.len()).unwrap_or(u32::MAX));
            hosts.push(Host { compiled, first_target, first_route });
        }
        if targets > MAX_TARGETS {
            let mut scope = Scope { errors: &mut errors, virtual_host: None, route: None };
            scope.report(format_args!("virtual_hosts"), CompileErrorKind::TooManyTargets);
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(Self { configuration: config.clone(), domains, hosts: hosts.into(), targets })
    }

    /// Whether a virtual host has just this domain, with its port or without, and no pattern that it fits.
    #[must_use]
    pub fn has_domain(&self, authority: &str) -> bool {
        self.domains.has_exact(authority)
    }

    /// Decides about a request. Runtime fractions share one draw of `random`; a split takes another.
    ///
    /// # Errors
    /// [`RouteError`] says what the request lacks.
    #[inline]
    pub fn route<'r>(
        &'r self,
        head: &RequestHead<'_>,
        random: &mut impl Random,
    ) -> Result<Decision<'r>, RouteError> {
        let place = self.domains.find(head.authority).ok_or(RouteError::NoVirtualHost)?;
        let host = &self.hosts[place.host as usize];
        let mut request = Request::new(head, random);
        let route = host.compiled.find(&mut request, |_, _| {}).ok_or(RouteError::NoRoute)?;
        Self::decide(host.first_target, route, head, random)
    }

    /// Decides about a request that the route of this number has taken already: it is not matched again. Routes are
    /// counted from 0, through all virtual hosts in the order of the configuration.
    ///
    /// # Errors
    /// [`RouteError`] says what the request lacks; [`RouteError::NoRoute`]: there is no such route.
    pub fn take<'r>(
        &'r self,
        route: u32,
        head: &RequestHead<'_>,
        random: &mut impl Random,
    ) -> Result<Decision<'r>, RouteError> {
        let after = self.hosts.partition_point(|host| host.first_route <= route);
        let host = after.checked_sub(1).and_then(|at| self.hosts.get(at));
        let found = host.and_then(|host| {
            let within = usize::try_from(route - host.first_route).ok()?;
            Some((host.first_target, host.compiled.routes.get(within)?))
        });
        let (first, route) = found.ok_or(RouteError::NoRoute)?;
        Self::decide(first, route, head, random)
    }

    /// What becomes of a request that `route` has taken, whose virtual host's targets begin with `first`.
    #[inline]
    fn decide<'r>(
        first: u32,
        route: &'r Arc<CompiledRoute>,
        head: &RequestHead<'_>,
        random: &mut impl Random,
    ) -> Result<Decision<'r>, RouteError> {
        match &route.action {
            CompiledAction::Forward(forward) => {
                let mut set_cookies = Vec::new();
                let chosen = forward.clusters.choose(head, &mut set_cookies, random);
                let chosen = chosen.ok_or(RouteError::ClusterHeaderMissing)?;
                let slot = chosen.slot.ok_or(RouteError::UnknownCluster)?;
                let target = first + chosen.target;
                let split = chosen.split;
                Ok(Decision::Forward { route, forward, target, slot, split, set_cookies })
            }
            CompiledAction::Redirect(redirect) => {
                let target = first + route.first_target;
                Ok(Decision::Redirect { route, redirect, target })
            }
            CompiledAction::DirectResponse(response) => {
                let target = first + route.first_target;
                Ok(Decision::DirectResponse { route, response, target })
            }
            CompiledAction::NonForwarding => {
                Ok(Decision::NonForwarding { route, target: first + route.first_target })
            }
        }
    }

    /// Every pair of a route and a cluster, and every route that answers by itself, in the order of
    /// their numbers.
    pub fn targets(&self) -> impl Iterator<Item = TargetRef<'_>> {
        let routes = self.hosts.iter().flat_map(|host| &host.compiled.routes);
        let targets = routes.flat_map(|route| {
            let clusters = route.forward().map(|forward| &forward.clusters);
            let is_split = clusters.is_some_and(|clusters| clusters.split().is_some());
            (0..route.targets()).map(move |at| {
                let cluster = clusters.and_then(|clusters| clusters.targets().get(at));
                (route, cluster, is_split.then_some(at))
            })
        });
        (0..).zip(targets).map(|(id, (route, cluster, split))| TargetRef {
            id,
            route,
            cluster: cluster.map(|cluster| &cluster.name),
            slot: cluster.and_then(|cluster| cluster.slot),
            split,
        })
    }

    /// How many targets there are.
    #[must_use]
    pub const fn target_count(&self) -> u32 {
        self.targets
    }

    /// The configuration that was compiled.
    #[must_use]
    pub const fn configuration(&self) -> &Arc<RouteConfiguration> {
        &self.configuration
    }

    fn hosts_by_model(
        &self,
    ) -> hashbrown::HashMap<*const crate::model::VirtualHost, &Arc<CompiledVirtualHost>> {
        let hosts = self.hosts.iter();
        hosts.map(|host| (Arc::as_ptr(&host.compiled.model), &host.compiled)).collect()
    }
}

#[cfg(test)]
mod tests;
