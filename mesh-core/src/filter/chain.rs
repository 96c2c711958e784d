//! [`Chain`]: filters, compiled.

use super::ext_authz::CompiledExtAuthz;
use super::jwt::{CompiledJwt, JwtConfigError};
use super::rate_limit::CompiledRateLimit;
use crate::model::{HttpFilter, HttpFilterConfig, HttpFilterOverride, HttpFilterOverrides};
use crate::rbac::{CompiledRbacFilter, RbacError};
use crate::router::MatcherError;
use std::sync::Arc;

/// Filters in their order, compiled.
#[derive(Debug, Default)]
pub struct Chain {
    pub(super) filters: Box<[CompiledFilter]>,
}

/// One of them.
#[derive(Debug)]
pub(super) struct CompiledFilter {
    pub(super) name: Arc<str>,
    pub(super) filter: Filter,
    pub(super) disabled: bool,
}

/// What a filter does.
#[derive(Debug)]
pub(super) enum Filter {
    Rbac(CompiledRbacFilter),
    Jwt(CompiledJwt),
    ExtAuthz(CompiledExtAuthz),
    RateLimit(CompiledRateLimit),
}

/// What a route says of each filter of a chain, compiled.
#[derive(Debug, Default)]
pub struct Overrides {
    /// By the filter's place; `None`: nothing is said.
    filters: Option<Box<[Option<Override>]>>,
}

#[derive(Debug)]
enum Override {
    Disabled,
    Enabled,
    Filter(Box<Filter>),
}

/// Why a filter can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("filter `{filter}`: {kind}")]
#[non_exhaustive]
pub struct FilterError {
    /// The filter's name.
    pub filter: Arc<str>,
    /// What is wrong with it.
    pub kind: FilterErrorKind,
}

/// What is wrong with a filter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FilterErrorKind {
    /// Two filters of one chain have this name.
    #[error("another filter of this chain has the same name, and routes could not tell them apart")]
    DuplicateName,
    /// The chain has no filter of this name.
    #[error("the chain has no filter of this name: add it there, or leave it out of the route")]
    NoSuchFilter,
    /// A filter is another kind than in its chain.
    #[error("in its chain it is another kind of filter")]
    OtherKind,
    /// Its policies can't be used.
    #[error(transparent)]
    Rbac(#[from] RbacError),
    /// What it says of tokens can't be used.
    #[error(transparent)]
    Jwt(#[from] JwtConfigError),
    /// A condition on texts can't be used.
    #[error(transparent)]
    Matcher(#[from] MatcherError),
}

impl Chain {
    /// Compiles `filters`; counts of filters that `before` has as well go on.
    ///
    /// # Errors
    /// [`FilterError`]: the first filter that can't be used.
    pub fn compile(filters: &[HttpFilter], before: Option<&Self>) -> Result<Self, FilterError> {
        // Filters without counts have nothing to take over.
        let _ = before;
        let mut compiled: Vec<CompiledFilter> = Vec::with_capacity(filters.len());
        for filter in filters {
            if compiled.iter().any(|known| known.name == filter.name) {
                return Err(error(&filter.name, FilterErrorKind::DuplicateName));
            }
            compiled.push(CompiledFilter {
                name: Arc::clone(&filter.name),
                filter: compile(&filter.name, &filter.config)?,
                disabled: filter.disabled,
            });
        }
        Ok(Self { filters: compiled.into() })
    }

    /// Compiles what levels say of the chain's filters, the most specific level first.
    ///
    /// # Errors
    /// [`FilterError`]: the first that can't be used, or is about a filter that is not there.
    pub fn overrides(&self, levels: &[&HttpFilterOverrides]) -> Result<Overrides, FilterError> {
        if levels.iter().all(|level| level.is_empty()) {
            return Ok(Overrides::default());
        }
        for name in levels.iter().flat_map(|level| level.keys()) {
            if !self.filters.iter().any(|filter| filter.name == *name) {
                return Err(error(name, FilterErrorKind::NoSuchFilter));
            }
        }
        let filters = self.filters.iter().map(|filter| {
            let said = levels.iter().find_map(|level| level.get(&filter.name));
            said.map(|said| filter.overridden(said)).transpose()
        });
        Ok(Overrides { filters: Some(filters.collect::<Result<_, _>>()?) })
    }

    /// The filters' names, in their order.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &Arc<str>> {
        self.filters.iter().map(|filter| &filter.name)
    }
}

impl CompiledFilter {
    fn overridden(&self, said: &HttpFilterOverride) -> Result<Override, FilterError> {
        Ok(match said {
            HttpFilterOverride::Disabled => Override::Disabled,
            HttpFilterOverride::Enabled => Override::Enabled,
            HttpFilterOverride::Config(config) => {
                let filter = compile(&self.name, config)?;
                if std::mem::discriminant(&filter) != std::mem::discriminant(&self.filter) {
                    return Err(error(&self.name, FilterErrorKind::OtherKind));
                }
                Override::Filter(Box::new(filter))
            }
            HttpFilterOverride::JwtRequirement(_)
            | HttpFilterOverride::ExtAuthz(_)
            | HttpFilterOverride::RateLimit(_) => Override::Filter(Box::new(self.for_route(said)?)),
        })
    }

    /// The filter with what a route says of a part of it.
    fn for_route(&self, said: &HttpFilterOverride) -> Result<Filter, FilterError> {
        let compiled = match (&self.filter, said) {
            (Filter::Jwt(own), HttpFilterOverride::JwtRequirement(name)) => {
                own.for_route(name).map(Filter::Jwt).map_err(FilterErrorKind::from)
            }
            (Filter::ExtAuthz(own), HttpFilterOverride::ExtAuthz(said)) => {
                return compile(
                    &self.name,
                    &HttpFilterConfig::ExtAuthz(Arc::new(own.model().for_route(said))),
                );
            }
            (Filter::RateLimit(own), HttpFilterOverride::RateLimit(said)) => {
                return compile(
                    &self.name,
                    &HttpFilterConfig::RateLimit(Arc::new(own.model().for_route(said))),
                );
            }
            _ => Err(FilterErrorKind::OtherKind),
        };
        compiled.map_err(|kind| error(&self.name, kind))
    }
}

impl Overrides {
    /// Nothing is said of any filter.
    pub(crate) const fn none() -> Self {
        Self { filters: None }
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
            Some(Override::Filter(filter)) => Some(filter),
        }
    }
}

fn compile(name: &Arc<str>, config: &HttpFilterConfig) -> Result<Filter, FilterError> {
    let compiled = match config {
        HttpFilterConfig::Rbac(rbac) => {
            CompiledRbacFilter::new(rbac).map(Filter::Rbac).map_err(FilterErrorKind::from)
        }
        HttpFilterConfig::JwtAuthn(jwt) => {
            CompiledJwt::new(jwt).map(Filter::Jwt).map_err(FilterErrorKind::from)
        }
        HttpFilterConfig::ExtAuthz(authz) => {
            CompiledExtAuthz::new(authz).map(Filter::ExtAuthz).map_err(FilterErrorKind::from)
        }
        HttpFilterConfig::RateLimit(limit) => {
            CompiledRateLimit::new(limit).map(Filter::RateLimit).map_err(FilterErrorKind::from)
        }
    };
    compiled.map_err(|kind| error(name, kind))
}

fn error(filter: &Arc<str>, kind: FilterErrorKind) -> FilterError {
    FilterError { filter: Arc::clone(filter), kind }
}
