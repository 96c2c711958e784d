//! [`CompiledRoute`]: all that the layers need to know about a route, found out beforehand.

use super::clusters::{ClusterSlots, ClusterTable, RouteClusters};
use super::compile::Scope;
use super::hash::CompiledHashPolicy;
use super::header_edits::{self, Level, RouteEdits};
use super::redirect::{self, CompiledRedirect};
use super::retry::CompiledRetryPolicy;
use super::rewrite::{
    CompiledHostRewrite, CompiledPathRewrite, InvalidRewrite, RewritePlace, RewrittenHost,
};
use super::route_match::CompiledMatch;
use crate::head::RequestHead;
use crate::model::route::MaxStreamDuration;
use crate::model::{
    ClusterSpecifier, DirectResponse, ForwardAction, HedgePolicy, PathMatcher, Route, RouteAction,
    RoutingPriority, VirtualHost,
};
use http::HeaderMap;
use http::uri::PathAndQuery;
use std::sync::Arc;
use std::time::Duration;

/// A route, ready to run. Immutable, and shared by every call that it takes.
#[derive(Clone, Debug)]
pub struct CompiledRoute {
    model: Arc<Route>,
    virtual_host: Arc<str>,
    index: usize,
    include_request_attempt_count: bool,
    pub(super) matcher: CompiledMatch,
    pub(super) action: CompiledAction,
    edits: RouteEdits,
    /// The number of its first target in its virtual host.
    pub(super) first_target: u32,
}

/// What becomes of a request.
#[derive(Clone, Debug)]
pub(super) enum CompiledAction {
    Forward(Arc<CompiledForward>),
    Redirect(CompiledRedirect),
    DirectResponse(DirectResponse),
    NonForwarding,
}

impl CompiledRoute {
    /// How many targets it has: one for each of its clusters, or one when it answers by itself.
    pub(super) fn targets(&self) -> usize {
        self.forward().map_or(1, |forward| forward.clusters.targets().len())
    }
}

/// How a request goes to a cluster.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CompiledForward {
    /// Limit of the whole call; zero: no limit ([`ForwardAction::timeout`]).
    pub timeout: Duration,
    /// Limit of a stream's life, in the timeout's place for gRPC (gRFC A31).
    pub max_stream_duration: Option<MaxStreamDuration>,
    /// The longest silence, before the response head and after.
    pub idle_timeout: Option<Duration>,
    /// Which set of circuit breakers counts the call.
    pub priority: RoutingPriority,
    /// Whether the request is saved so that it can go elsewhere when no server processed it.
    pub transparent_retry: bool,
    /// Whether the gRPC status of a unary answer is waited for ([`ForwardAction::peek_trailers_wait`]).
    pub peek_trailers_wait: bool,
    /// The route's retry policy, or else its virtual host's.
    pub retry_policy: Option<Arc<CompiledRetryPolicy>>,
    /// The route's hedge policy, or else its virtual host's.
    pub hedge_policy: Option<HedgePolicy>,
    /// What the request is hashed by.
    pub hash_policy: CompiledHashPolicy,
    pub(super) clusters: RouteClusters,
    path_rewrite: Option<CompiledPathRewrite>,
    host_rewrite: Option<CompiledHostRewrite>,
}

impl CompiledRoute {
    /// The route as it was configured.
    #[must_use]
    pub const fn model(&self) -> &Arc<Route> {
        &self.model
    }

    /// The route's name.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.model.name
    }

    /// The name of its virtual host.
    #[must_use]
    pub const fn virtual_host(&self) -> &Arc<str> {
        &self.virtual_host
    }

    /// Its place in the virtual host.
    #[must_use]
    pub const fn index(&self) -> usize {
        self.index
    }

    /// Whether requests carry `x-envoy-attempt-count`.
    #[must_use]
    pub const fn include_request_attempt_count(&self) -> bool {
        self.include_request_attempt_count
    }

    /// How requests are forwarded; `None`: the route does not.
    #[must_use]
    pub const fn forward(&self) -> Option<&Arc<CompiledForward>> {
        match &self.action {
            CompiledAction::Forward(forward) => Some(forward),
            CompiledAction::Redirect(_)
            | CompiledAction::DirectResponse(_)
            | CompiledAction::NonForwarding => None,
        }
    }

    /// Whether [`edit_request`](Self::edit_request) does anything.
    #[must_use]
    pub fn edits_request(&self, split: Option<usize>) -> bool {
        self.edits.request(split).next().is_some()
    }

    /// Whether [`edit_response`](Self::edit_response) does anything.
    #[must_use]
    pub fn edits_response(&self, split: Option<usize>) -> bool {
        self.edits.response(split).next().is_some()
    }

    /// Makes the header edits of all levels on a request; `split` is the part that took it.
    pub fn edit_request(&self, split: Option<usize>, headers: &mut HeaderMap) {
        self.edits.request(split).for_each(|edit| header_edits::apply(edit, headers));
    }

    /// Makes the header edits of all levels on a response; `split` is the part that it came from.
    pub fn edit_response(&self, split: Option<usize>, headers: &mut HeaderMap) {
        self.edits.response(split).for_each(|edit| header_edits::apply(edit, headers));
    }
}

impl CompiledForward {
    /// Whether [`path`](Self::path) or [`host`](Self::host) may change anything.
    #[must_use]
    pub const fn rewrites(&self) -> bool {
        self.path_rewrite.is_some() || self.host_rewrite.is_some()
    }

    /// Whether the authority becomes the endpoint's hostname (Envoy: `auto_host_rewrite`).
    #[must_use]
    pub const fn wants_endpoint_hostname(&self) -> bool {
        matches!(self.host_rewrite, Some(CompiledHostRewrite::Endpoint))
    }

    /// Whether [`path`](Self::path) may change anything.
    #[must_use]
    pub const fn rewrites_path(&self) -> bool {
        self.path_rewrite.is_some()
    }

    /// The path and query that a request is sent with; `None`: as it came.
    ///
    /// # Errors
    /// [`InvalidRewrite`] when the result can't be sent.
    pub fn path(&self, head: &RequestHead<'_>) -> Result<Option<PathAndQuery>, InvalidRewrite> {
        let Some(rewrite) = &self.path_rewrite else { return Ok(None) };
        let path = rewrite.rewritten(head);
        if *path == *head.path_and_query {
            return Ok(None);
        }
        PathAndQuery::try_from(path.into_owned()).map(Some).or(Err(InvalidRewrite))
    }

    /// The authority that a request is sent with.
    #[must_use]
    pub fn host(&self, head: &RequestHead<'_>) -> RewrittenHost {
        let rewrite = self.host_rewrite.as_ref();
        rewrite.map_or(RewrittenHost::Unchanged, |rewrite| rewrite.rewritten(head))
    }
}

/// What the routes of one virtual host are compiled with.
pub(super) struct HostContext<'c, S> {
    pub(super) host: &'c VirtualHost,
    /// Edits of the virtual host and of the route configuration.
    pub(super) levels: [&'c Level; 2],
    pub(super) retry_policy: Option<Arc<CompiledRetryPolicy>>,
    pub(super) slots: &'c S,
    pub(super) table: &'c dyn Fn() -> Arc<ClusterTable>,
}

impl<S: ClusterSlots> HostContext<'_, S> {
    /// Compiles the route at `index`, whose first target is number `target` of the virtual host.
    pub(super) fn compile(
        &self,
        index: usize,
        target: u32,
        scope: &mut Scope<'_>,
    ) -> Option<CompiledRoute> {
        let model = self.host.routes.get(index)?;
        let matcher = CompiledMatch::compile(&model.matcher, scope);
        let own = Level::compile(&model.headers, "headers", scope);
        let mut split = Vec::new();
        let path = &model.matcher.path;
        let action = match &model.action {
            RouteAction::Forward(forward) => {
                split = split_levels(forward, scope);
                let forward = self.forward(forward, path, target, scope);
                forward.map(|forward| CompiledAction::Forward(Arc::new(forward)))
            }
            RouteAction::Redirect(redirect) => {
                CompiledRedirect::compile(redirect, path, scope).map(CompiledAction::Redirect)
            }
            RouteAction::DirectResponse(response) => {
                redirect::check_direct_response(response, scope);
                Some(CompiledAction::DirectResponse(response.clone()))
            }
            RouteAction::NonForwarding => Some(CompiledAction::NonForwarding),
        };
        let [host, configuration] = self.levels;
        Some(CompiledRoute {
            model: model.clone(),
            virtual_host: self.host.name.clone(),
            index,
            include_request_attempt_count: self.host.include_request_attempt_count,
            matcher: matcher?,
            action: action?,
            edits: RouteEdits::new(&split, &[&own, host, configuration]),
            first_target: target,
        })
    }

    fn forward(
        &self,
        action: &ForwardAction,
        path: &PathMatcher,
        target: u32,
        scope: &mut Scope<'_>,
    ) -> Option<CompiledForward> {
        let clusters =
            RouteClusters::compile(&action.cluster, target, self.slots, self.table, scope);
        let retry_policy = match &action.retry_policy {
            None => Some(self.retry_policy.clone()),
            Some(policy) => CompiledRetryPolicy::compile(policy, "retry_policy", scope)
                .map(|policy| Some(Arc::new(policy))),
        };
        let hash_policy = CompiledHashPolicy::compile(&action.hash_policy, "hash_policy", scope);
        let path_rewrite = match &action.path_rewrite {
            None => Some(None),
            Some(rewrite) => {
                CompiledPathRewrite::compile(rewrite, path, RewritePlace::Request, scope).map(Some)
            }
        };
        let host_rewrite = match &action.host_rewrite {
            None => Some(None),
            Some(rewrite) => CompiledHostRewrite::compile(rewrite, scope).map(Some),
        };
        Some(CompiledForward {
            timeout: action.timeout,
            max_stream_duration: action.max_stream_duration,
            idle_timeout: action.idle_timeout,
            priority: action.priority,
            transparent_retry: action.transparent_retry,
            peek_trailers_wait: action.peek_trailers_wait,
            retry_policy: retry_policy?,
            hedge_policy: action.hedge_policy.or(self.host.hedge_policy),
            hash_policy: hash_policy?,
            clusters: clusters?,
            path_rewrite: path_rewrite?,
            host_rewrite: host_rewrite?,
        })
    }
}

/// The edits of each part of a split.
fn split_levels(forward: &ForwardAction, scope: &mut Scope<'_>) -> Vec<Level> {
    let ClusterSpecifier::Split(split) = &forward.cluster else { return Vec::new() };
    let parts = split.clusters.iter().enumerate();
    parts
        .map(|(at, part)| {
            Level::compile(&part.headers, &format!("split.clusters[{at}].headers"), scope)
        })
        .collect()
}
