//! [`Overrides`]: what a route says of each filter of a chain, compiled.
//!
//! - The most specific level counts; of edits of headers and of what an authorizer is told besides, all do.
//! - What a level says is compiled once for all routes below it, so that they share its counts: a
//!   limit of a virtual host is one limit.
//! - Counts go on in the next configuration, where a filter of the same name was told the same.

use super::chain::{Chain, CompiledFilter, Filter, FilterError, FilterErrorKind, error};
use super::header_mutation::CompiledHeaderMutation;
use super::route_limits::RouteLimits;
use crate::model::http_filter::JwksSource;
use crate::model::{HttpFilterConfig, HttpFilterOverride, HttpFilterOverrides, Metadata};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// What a route says of each filter of a chain, compiled.
#[derive(Debug, Default)]
pub struct Overrides {
    /// By the filter's place; `None`: nothing is said.
    filters: Option<Box<[Option<Override>]>>,
    /// What the route says of itself; `None`: nothing.
    metadata: Option<Arc<Metadata>>,
}

#[derive(Clone, Debug)]
enum Override {
    Disabled,
    Enabled,
    Filter(Arc<OverridingFilter>),
}

/// What a filter does in some routes.
#[derive(Debug)]
struct OverridingFilter {
    name: Arc<str>,
    config: HttpFilterConfig,
    filter: Filter,
}

/// Compiles what the levels of all routes of a chain say.
#[derive(Debug)]
pub(crate) struct OverrideCompiler<'c> {
    chain: &'c Chain,
    /// What was there before, in its order, and was not taken over yet.
    before: VecDeque<Arc<OverridingFilter>>,
    /// By the filter's place and the level's address.
    made: BTreeMap<(usize, usize), Arc<OverridingFilter>>,
}

impl Chain {
    /// Compiles what levels say of the chain's filters, the most specific level first.
    ///
    /// # Errors
    /// [`FilterError`]: the first that can't be used, or is about a filter that is not there.
    pub fn overrides(&self, levels: &[&HttpFilterOverrides]) -> Result<Overrides, FilterError> {
        OverrideCompiler::new(self, &[]).compile(levels)
    }
}

impl<'c> OverrideCompiler<'c> {
    /// For `chain`; counts of `before` go on.
    pub(crate) fn new(chain: &'c Chain, before: &[Overrides]) -> Self {
        let mut all: VecDeque<Arc<OverridingFilter>> = VecDeque::new();
        let mut seen = std::collections::BTreeSet::new();
        for said in before.iter().flat_map(|before| before.filters.iter().flatten().flatten()) {
            if let Override::Filter(filter) = said
                && seen.insert(Arc::as_ptr(filter).addr())
            {
                all.push_back(Arc::clone(filter));
            }
        }
        Self { chain, before: all, made: BTreeMap::new() }
    }

    /// Compiles what `levels` say, the most specific first.
    pub(crate) fn compile(
        &mut self,
        levels: &[&HttpFilterOverrides],
    ) -> Result<Overrides, FilterError> {
        self.compile_route(levels, RouteLimits::default())
    }

    /// The same of a route that has requests count as something.
    pub(crate) fn compile_route(
        &mut self,
        levels: &[&HttpFilterOverrides],
        limits: RouteLimits<'_>,
    ) -> Result<Overrides, FilterError> {
        if levels.iter().all(|level| level.is_empty()) && limits.are_none() {
            return Ok(Overrides::none());
        }
        for name in levels.iter().flat_map(|level| level.keys()) {
            if !self.chain.filters.iter().any(|filter| filter.name == *name) {
                return Err(error(name, FilterErrorKind::NoSuchFilter));
            }
        }
        let own = self.chain.filters.iter().enumerate();
        let filters = own.map(|(at, own)| self.of_filter(at, own, levels, limits));
        Ok(Overrides { filters: Some(filters.collect::<Result<_, _>>()?), metadata: None })
    }

    fn of_filter(
        &mut self,
        at: usize,
        own: &CompiledFilter,
        levels: &[&HttpFilterOverrides],
        limits: RouteLimits<'_>,
    ) -> Result<Option<Override>, FilterError> {
        let mut said = levels.iter().filter_map(|level| Some((*level, level.get(&own.name)?)));
        let first = said.next();
        if let Some(config) = limits.config(own, first.map(|(_, first)| first))? {
            let filter = Filter::compile(&own.name, &config, None)?;
            let name = Arc::clone(&own.name);
            return Ok(Some(Override::Filter(Arc::new(OverridingFilter { name, config, filter }))));
        }
        let Some((level, first)) = first else { return Ok(None) };
        if let (HttpFilterConfig::HeaderMutation(_), true) =
            (&own.config, !matches!(first, HttpFilterOverride::Disabled))
        {
            return all_edits(own, levels).map(Some);
        }
        Ok(Some(match first {
            HttpFilterOverride::Disabled => Override::Disabled,
            HttpFilterOverride::Enabled => Override::Enabled,
            HttpFilterOverride::JwtRequirement(_)
            | HttpFilterOverride::ExtAuthz(_)
            | HttpFilterOverride::RateLimit(_) => Override::Filter(Arc::new(OverridingFilter {
                name: Arc::clone(&own.name),
                config: own.config.clone(),
                filter: for_route(own, first, levels)?,
            })),
            HttpFilterOverride::Config(config) => {
                let level = std::ptr::from_ref(level).addr();
                if let Some(made) = self.made.get(&(at, level)) {
                    return Ok(Some(Override::Filter(Arc::clone(made))));
                }
                let made = Arc::new(self.make(own, config)?);
                self.made.insert((at, level), Arc::clone(&made));
                Override::Filter(made)
            }
        }))
    }

    fn make(
        &mut self,
        own: &CompiledFilter,
        config: &HttpFilterConfig,
    ) -> Result<OverridingFilter, FilterError> {
        let same =
            |before: &Arc<OverridingFilter>| before.name == own.name && before.config == *config;
        let before = self.before.iter().position(same).and_then(|at| self.before.remove(at));
        let before = before.as_ref().map(|before| &before.filter);
        let filter = Filter::compile(&own.name, config, before)?;
        if std::mem::discriminant(&filter) != std::mem::discriminant(&own.filter) {
            return Err(error(&own.name, FilterErrorKind::OtherKind));
        }
        let filter = filter.below(&own.filter);
        Ok(OverridingFilter { name: Arc::clone(&own.name), config: config.clone(), filter })
    }
}

/// The filter with what a route says of a part of it: `said` by the most specific of `levels`.
fn for_route(
    own: &CompiledFilter,
    said: &HttpFilterOverride,
    levels: &[&HttpFilterOverrides],
) -> Result<Filter, FilterError> {
    let config = match (&own.filter, said) {
        (Filter::Jwt(jwt), HttpFilterOverride::JwtRequirement(name)) => {
            let jwt = jwt.for_route(name).map(|jwt| Filter::Jwt(Box::new(jwt)));
            return jwt.map_err(|wrong| error(&own.name, wrong.into()));
        }
        (Filter::ExtAuthz(authz), HttpFilterOverride::ExtAuthz(said)) => {
            let mut model = authz.model().for_route(said);
            model.context_extensions = all_extensions(&own.name, levels);
            HttpFilterConfig::ExtAuthz(Arc::new(model))
        }
        (Filter::RateLimit(own), HttpFilterOverride::RateLimit(said)) => {
            HttpFilterConfig::RateLimit(Arc::new(own.model().for_route(said)))
        }
        _ => return Err(error(&own.name, FilterErrorKind::OtherKind)),
    };
    Filter::compile(&own.name, &config, None)
}

/// What an authorizer is told besides, by all levels (Envoy: `FilterConfigPerRoute::merge`).
fn all_extensions(
    name: &Arc<str>,
    levels: &[&HttpFilterOverrides],
) -> BTreeMap<Arc<str>, Arc<str>> {
    let mut all = BTreeMap::new();
    // The most specific comes last, and wins.
    for said in levels.iter().rev().filter_map(|level| level.get(name)) {
        if let HttpFilterOverride::ExtAuthz(said) = said {
            all.extend(said.context_extensions.clone());
        }
    }
    all
}

/// The edits of the chain and of all levels.
fn all_edits(
    own: &CompiledFilter,
    levels: &[&HttpFilterOverrides],
) -> Result<Override, FilterError> {
    let HttpFilterConfig::HeaderMutation(edits) = &own.config else {
        return Ok(Override::Enabled);
    };
    let mut all = Vec::with_capacity(levels.len());
    for said in levels.iter().filter_map(|level| level.get(&own.name)) {
        match said {
            HttpFilterOverride::Config(HttpFilterConfig::HeaderMutation(level)) => {
                all.push(&**level);
            }
            HttpFilterOverride::Disabled | HttpFilterOverride::Enabled => {}
            HttpFilterOverride::Config(_)
            | HttpFilterOverride::JwtRequirement(_)
            | HttpFilterOverride::ExtAuthz(_)
            | HttpFilterOverride::RateLimit(_) => {
                return Err(error(&own.name, FilterErrorKind::OtherKind));
            }
        }
    }
    Ok(Override::Filter(Arc::new(OverridingFilter {
        name: Arc::clone(&own.name),
        config: own.config.clone(),
        filter: Filter::HeaderMutation(CompiledHeaderMutation::new(edits, &all)),
    })))
}

impl Overrides {
    /// Nothing is said of any filter.
    pub(crate) const fn none() -> Self {
        Self { filters: None, metadata: None }
    }

    /// With what the route says of itself.
    pub(crate) fn with_metadata(mut self, metadata: &Arc<Metadata>) -> Self {
        self.metadata = (!metadata.0.is_empty()).then(|| Arc::clone(metadata));
        self
    }

    /// What the route says of itself; `None`: nothing.
    pub(super) fn metadata(&self) -> Option<&Metadata> {
        self.metadata.as_deref()
    }

    /// Keys that are wanted before the first request needs them, of filters that are the route's own.
    pub fn early_keys(&self) -> impl Iterator<Item = &Arc<JwksSource>> {
        let own = self.filters.iter().flatten().filter_map(|said| match said {
            Some(Override::Filter(own)) => Some(&own.filter),
            Some(Override::Disabled | Override::Enabled) | None => None,
        });
        own.flat_map(Filter::early_keys)
    }

    /// What the filter at `at` does for the route; `None`: nothing.
    pub(super) fn effective<'f>(
        &'f self,
        at: usize,
        own: &'f CompiledFilter,
    ) -> Option<&'f Filter> {
        let said = self.filters.as_ref().and_then(|filters| filters.get(at)?.as_ref());
        match said {
            None if own.disabled => None,
            None | Some(Override::Enabled) => Some(&own.filter),
            Some(Override::Disabled) => None,
            Some(Override::Filter(overriding)) => Some(&overriding.filter),
        }
    }
}
