//! [`Chain`]: filters, compiled.

use super::adaptive_concurrency::CompiledAdaptiveConcurrency;
use super::admission_control::CompiledAdmissionControl;
use super::concurrency_limit::CompiledConcurrencyLimit;
use super::ext_authz::CompiledExtAuthz;
use super::fault::CompiledFault;
use super::header_mutation::CompiledHeaderMutation;
use super::jwt::{CompiledJwt, JwtConfigError};
use super::local_rate_limit::CompiledLocalRateLimit;
use super::rate_limit::CompiledRateLimit;
use crate::model::http_filter::JwksSource;
use crate::model::{BodySizeLimit, HttpFilter, HttpFilterConfig};
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
    /// What it was made of.
    pub(super) config: HttpFilterConfig,
    pub(super) filter: Filter,
    pub(super) disabled: bool,
}

/// What a filter does.
#[derive(Debug)]
pub(super) enum Filter {
    Rbac(Box<CompiledRbacFilter>),
    Jwt(Box<CompiledJwt>),
    ExtAuthz(CompiledExtAuthz),
    RateLimit(CompiledRateLimit),
    LocalRateLimit(CompiledLocalRateLimit),
    ConcurrencyLimit(CompiledConcurrencyLimit),
    AdaptiveConcurrency(Arc<CompiledAdaptiveConcurrency>),
    AdmissionControl(Arc<CompiledAdmissionControl>),
    Fault(CompiledFault),
    BodySizeLimit(Arc<BodySizeLimit>),
    HeaderMutation(CompiledHeaderMutation),
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
    #[error(
        "in its chain it is another kind of filter: say of it what that kind may be told, or leave it out"
    )]
    OtherKind,
    /// Its policies can't be used.
    #[error(transparent)]
    Rbac(#[from] RbacError),
    /// What it says of tokens can't be used.
    #[error(transparent)]
    Jwt(#[from] JwtConfigError),
    /// The `rate_limits` of a route or of its virtual host, by which it limits, have what can't be evaluated.
    #[error(
        "it would limit by what can't be evaluated: {0}; leave that out, or give the filter `rate_limits` of its own"
    )]
    RateLimits(Arc<str>),
    /// A condition on its requests can't be used.
    #[error(transparent)]
    Matcher(#[from] MatcherError),
    /// A value that is out of its range.
    #[error("`{field}`: {rule}")]
    Value {
        /// The field, as Envoy calls it.
        field: &'static str,
        /// What it has to be.
        rule: &'static str,
    },
}

impl Chain {
    /// Compiles `filters`; counts of filters that `before` has as well go on: filters of the same
    /// name and kind, as far as what was counted still means something.
    ///
    /// # Errors
    /// [`FilterError`]: the first filter that can't be used.
    pub fn compile(filters: &[HttpFilter], before: Option<&Self>) -> Result<Self, FilterError> {
        let mut compiled: Vec<CompiledFilter> = Vec::with_capacity(filters.len());
        for filter in filters {
            if compiled.iter().any(|known| known.name == filter.name) {
                return Err(error(&filter.name, FilterErrorKind::DuplicateName));
            }
            let before = before.and_then(|before| before.get(&filter.name));
            let before = before.map(|before| &before.filter);
            compiled.push(CompiledFilter {
                name: Arc::clone(&filter.name),
                config: filter.config.clone(),
                filter: Filter::compile(&filter.name, &filter.config, before)?,
                disabled: filter.disabled,
            });
        }
        Ok(Self { filters: compiled.into() })
    }

    /// The filters' names, in their order.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &Arc<str>> {
        self.filters.iter().map(|filter| &filter.name)
    }

    /// How many requests hold a place of the filters, all together.
    #[cfg(test)]
    pub(super) fn inside(&self) -> u32 {
        let inside = self.filters.iter().map(|filter| match &filter.filter {
            Filter::ConcurrencyLimit(limit) => limit.inside(),
            Filter::AdaptiveConcurrency(limit) => limit.inside(),
            Filter::Fault(fault) => fault.inside(),
            _ => 0,
        });
        inside.sum()
    }

    /// Keys that are wanted before the first request needs them (Envoy: `async_fetch`).
    pub fn early_keys(&self) -> impl Iterator<Item = &Arc<JwksSource>> {
        self.filters.iter().flat_map(|filter| filter.filter.early_keys())
    }

    fn get(&self, name: &str) -> Option<&CompiledFilter> {
        self.filters.iter().find(|filter| &*filter.name == name)
    }
}

/// What a filter was before, if it was of the same kind.
macro_rules! before {
    ($before:expr, $kind:path) => {
        $before.and_then(|before| match before {
            $kind(before) => Some(before),
            _ => None,
        })
    };
}

impl Filter {
    /// Compiles what the filter called `name` does; `before` is what counts go on from.
    pub(super) fn compile(
        name: &Arc<str>,
        config: &HttpFilterConfig,
        before: Option<&Self>,
    ) -> Result<Self, FilterError> {
        type Kind = FilterErrorKind;
        let compiled: Result<Self, Kind> = match config {
            HttpFilterConfig::Rbac(rbac) => {
                let rbac = CompiledRbacFilter::new(rbac).map_err(Kind::from);
                rbac.map(|rbac| Self::Rbac(Box::new(rbac)))
            }
            HttpFilterConfig::JwtAuthn(jwt) => {
                CompiledJwt::new(jwt).map(|jwt| Self::Jwt(Box::new(jwt))).map_err(Kind::from)
            }
            HttpFilterConfig::ExtAuthz(authz) => {
                CompiledExtAuthz::new(authz).map(Self::ExtAuthz).map_err(Kind::from)
            }
            HttpFilterConfig::RateLimit(limit) => {
                CompiledRateLimit::new(limit).map(Self::RateLimit).map_err(Kind::from)
            }
            HttpFilterConfig::LocalRateLimit(limit) => {
                let before = before!(before, Self::LocalRateLimit);
                CompiledLocalRateLimit::new(limit, before).map(Self::LocalRateLimit)
            }
            HttpFilterConfig::ConcurrencyLimit(limit) => {
                let before = before!(before, Self::ConcurrencyLimit);
                Ok(Self::ConcurrencyLimit(CompiledConcurrencyLimit::new(limit, before)))
            }
            HttpFilterConfig::AdaptiveConcurrency(limit) => {
                let before = before!(before, Self::AdaptiveConcurrency).map(|before| &**before);
                CompiledAdaptiveConcurrency::new(limit, before)
                    .map(|limit| Self::AdaptiveConcurrency(Arc::new(limit)))
            }
            HttpFilterConfig::AdmissionControl(control) => {
                let before = before!(before, Self::AdmissionControl).map(|before| &**before);
                CompiledAdmissionControl::new(control, before)
                    .map(|control| Self::AdmissionControl(Arc::new(control)))
            }
            HttpFilterConfig::Fault(fault) => {
                CompiledFault::new(fault, before!(before, Self::Fault)).map(Self::Fault)
            }
            HttpFilterConfig::BodySizeLimit(limit) => Ok(Self::BodySizeLimit(Arc::clone(limit))),
            HttpFilterConfig::HeaderMutation(edits) => {
                Ok(Self::HeaderMutation(CompiledHeaderMutation::new(edits, &[])))
            }
        };
        compiled.map_err(|kind| error(name, kind))
    }

    pub(super) fn early_keys(&self) -> impl Iterator<Item = &Arc<JwksSource>> {
        let jwt = if let Self::Jwt(jwt) = self { Some(jwt) } else { None };
        jwt.into_iter().flat_map(|jwt| jwt.early_keys())
    }

    /// The same filter for some routes of the chain, in which it is `own`: what is counted for all of
    /// them together is counted there.
    pub(super) fn below(self, own: &Self) -> Self {
        match (self, own) {
            (Self::Fault(fault), Self::Fault(own)) => Self::Fault(fault.below(own)),
            (filter, _) => filter,
        }
    }
}

pub(super) fn error(filter: &Arc<str>, kind: FilterErrorKind) -> FilterError {
    FilterError { filter: Arc::clone(filter), kind }
}
