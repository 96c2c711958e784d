//! Filters of requests, in the order in which they are asked (Envoy: `HttpFilter`), and what routes say
//! of them (Envoy: `typed_per_filter_config`).

pub mod concurrency_limit;
pub mod header_mutation;

pub use concurrency_limit::ConcurrencyLimit;
pub use header_mutation::HeaderMutationFilter;

use super::rbac::RbacFilter;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A filter of a chain.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct HttpFilter {
    /// The instance's name, by which routes override it; unique within its chain.
    pub name: Arc<str>,
    /// What it does.
    pub config: HttpFilterConfig,
    /// Whether it is off unless a route turns it on (Envoy: `disabled`). Default false.
    pub disabled: bool,
}

/// What a filter does.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum HttpFilterConfig {
    /// Who may do what (Envoy: `extensions.filters.http.rbac.v3.RBAC`).
    Rbac(Arc<RbacFilter>),
    /// How many requests are served at the same time. Ours: Envoy has it for connections only.
    ConcurrencyLimit(Arc<ConcurrencyLimit>),
    /// Edits of headers (Envoy: `extensions.filters.http.header_mutation.v3.HeaderMutation`).
    HeaderMutation(Arc<HeaderMutationFilter>),
}

/// What a virtual host, a route or a part of a split says of a filter. The most specific one counts.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum HttpFilterOverride {
    /// It is off here (Envoy: `FilterConfig.disabled`, `disabled: true`).
    Disabled,
    /// It is on here, as its chain configured it (Envoy: `FilterConfig` with nothing in it).
    Enabled,
    /// It does this here, in place of what its chain says (Envoy: `RBACPerRoute` and others).
    Config(HttpFilterConfig),
}

/// What is said of filters, by their names.
pub type HttpFilterOverrides = BTreeMap<Arc<str>, HttpFilterOverride>;

impl HttpFilter {
    /// A filter that is on.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>, config: HttpFilterConfig) -> Self {
        Self { name: name.into(), config, disabled: false }
    }
}
