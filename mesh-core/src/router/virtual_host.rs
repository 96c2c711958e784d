//! A virtual host, ready to run: its routes and the index over their paths.
//!
//! Compiled by itself, without knowing its neighbours, so that the next configuration takes it over
//! as it is when neither the model nor the slots of its clusters changed. Its targets are numbered
//! from 0; the router adds where they start.

use super::clusters::{ClusterSlots, ClusterTable};
use super::compile::{CompileErrorKind, Errors, Scope};
use super::header_edits::Level;
use super::path_index::PathIndex;
use super::retry::CompiledRetryPolicy;
use super::route::{CompiledRoute, HostContext};
use super::route_match::{Failed, Request};
use crate::model::VirtualHost;
use crate::random::Random;
use std::sync::Arc;

/// A virtual host, ready to run.
#[derive(Clone, Debug)]
pub(super) struct CompiledVirtualHost {
    pub(super) model: Arc<VirtualHost>,
    pub(super) routes: Box<[Arc<CompiledRoute>]>,
    index: PathIndex,
    /// How many targets its routes have.
    pub(super) targets: u32,
}

impl CompiledVirtualHost {
    /// `configuration` holds the edits of the route configuration. Errors are added to `errors`, and
    /// then there is no result.
    pub(super) fn compile<S: ClusterSlots>(
        model: &Arc<VirtualHost>,
        configuration: &Level,
        slots: &S,
        table: &dyn Fn() -> Arc<ClusterTable>,
        errors: &mut Errors,
    ) -> Option<Self> {
        let before = errors.len();
        let mut scope = Scope { errors, virtual_host: Some(&model.name), route: None };
        let level = Level::compile(&model.headers, "headers", &mut scope);
        let retry_policy = model
            .retry_policy
            .as_ref()
            .and_then(|policy| CompiledRetryPolicy::compile(policy, "retry_policy", &mut scope));
        let context = HostContext {
            host: model,
            levels: [&level, configuration],
            retry_policy: retry_policy.map(Arc::new),
            slots,
            table,
        };
        let mut routes = Vec::with_capacity(model.routes.len());
        let mut targets = 0u32;
        for index in 0..model.routes.len() {
            let Some(route) = context.compile(index, targets, &mut scope.at_route(index)) else {
                continue;
            };
            targets = targets.saturating_add(u32::try_from(route.targets()).unwrap_or(u32::MAX));
            routes.push(Arc::new(route));
        }
        if targets > super::MAX_TARGETS {
            scope.report(format_args!("routes"), CompileErrorKind::TooManyTargets);
        }
        if scope.errors.len() > before {
            return None;
        }
        let index = PathIndex::build(model.routes.iter().map(|route| &route.matcher));
        Some(Self { model: model.clone(), routes: routes.into(), index, targets })
    }

    /// The first route that takes the request; `rejected` hears of routes whose path matched and
    /// what they missed, in no order.
    #[inline]
    pub(super) fn find<R: Random>(
        &self,
        request: &mut Request<'_, R>,
        mut rejected: impl FnMut(u32, Failed),
    ) -> Option<&Arc<CompiledRoute>> {
        let found = self.index.find(request.head, |route| {
            let failed = self.routes[route as usize].matcher.first_failed(request);
            failed.inspect(|failed| rejected(route, *failed)).is_none()
        });
        found.map(|route| &self.routes[route as usize])
    }

    /// Whether this is what compiling `model` with `slots` would give again.
    pub(super) fn still_holds(&self, model: &Arc<VirtualHost>, slots: &impl ClusterSlots) -> bool {
        let forwards = || self.routes.iter().filter_map(|route| route.forward());
        Arc::ptr_eq(&self.model, model) && forwards().all(|f| f.clusters.still_hold(slots))
    }
}
