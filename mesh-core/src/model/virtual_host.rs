//! Virtual hosts: the routes of some authorities (Envoy: `config.route.v3.VirtualHost`).

use super::http_filter::RateLimitPolicy;
use super::{HeaderMutations, HedgePolicy, HttpFilterOverrides, RetryPolicy, Route};
use std::fmt;
use std::sync::Arc;

/// The routes of some authorities.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct VirtualHost {
    /// Name for logs, metrics and `mesh explain`.
    pub name: Arc<str>,
    /// The authorities it serves. No two virtual hosts share one.
    pub domains: Vec<Domain>,
    /// The rules; the first that matches decides.
    pub routes: Vec<Arc<Route>>,
    /// Header edits of this level.
    pub headers: HeaderMutations,
    /// For routes that have no retry policy of their own.
    pub retry_policy: Option<Arc<RetryPolicy>>,
    /// For routes that have no hedge policy of their own.
    pub hedge_policy: Option<HedgePolicy>,
    /// Adds `x-envoy-attempt-count` to requests. Default false.
    pub include_request_attempt_count: bool,
    /// What is said here of filters (Envoy: `typed_per_filter_config`).
    pub filters: HttpFilterOverrides,
    /// What requests count as for the rate limits of a server, where their route does not say so (Envoy: `rate_limits`).
    pub rate_limits: Option<Arc<RateLimitPolicy>>,
}

impl VirtualHost {
    /// A virtual host of the given name and domains, without routes.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>, domains: Vec<Domain>) -> Self {
        Self {
            name: name.into(),
            domains,
            routes: Vec::new(),
            headers: HeaderMutations::default(),
            retry_policy: None,
            hedge_policy: None,
            include_request_attempt_count: false,
            filters: HttpFilterOverrides::new(),
            rate_limits: None,
        }
    }

    /// A virtual host that serves the authority it is named after (or the pattern), without routes.
    ///
    /// # Errors
    /// [`InvalidDomain`] says why `domain` is none.
    pub fn of(domain: &str) -> Result<Self, InvalidDomain> {
        Ok(Self::new(domain, vec![Domain::parse(domain)?]))
    }

    /// Adds a route, after those that are there.
    #[must_use]
    pub fn route(mut self, route: Route) -> Self {
        self.routes.push(Arc::new(route));
        self
    }
}

/// A pattern of authorities, in lower case. Exact wins over suffix, suffix over prefix, prefix over
/// any; within a kind the longest wins.
///
/// A pattern without a port accepts every port; one with a port accepts that port only, and wins over
/// the same pattern without.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(clippy::exhaustive_enums, reason = "closed by Envoy's `VirtualHost.domains`")]
pub enum Domain {
    /// `reviews.shop:9080`: the whole authority.
    Exact(Arc<str>),
    /// `*.shop` or `*-v2.shop`: everything that ends like this and is longer. Holds what follows `*`.
    Suffix(Arc<str>),
    /// `reviews.*`: everything that starts like this and is longer. Holds what precedes `*`.
    Prefix(Arc<str>),
    /// `*`: everything.
    Any,
}

/// Why a text is no domain pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidDomain {
    /// There is nothing.
    #[error("a domain is not empty")]
    Empty,
    /// A `*` in the middle, or more than one.
    #[error("`*` stands alone, first (`*.shop`) or last (`shop.*`)")]
    Wildcard,
    /// White space, a slash or a control character.
    #[error("a domain has no white space, slash or control character")]
    Character,
    /// More than 512 bytes.
    #[error("a domain has at most 512 bytes")]
    TooLong,
}

impl Domain {
    /// Reads `*`, `*.suffix`, `prefix.*` or an exact authority, and lowers ASCII letters.
    ///
    /// # Errors
    /// [`InvalidDomain`] says which rule the text breaks.
    pub fn parse(text: &str) -> Result<Self, InvalidDomain> {
        if text.is_empty() {
            return Err(InvalidDomain::Empty);
        }
        if text.len() > 512 {
            return Err(InvalidDomain::TooLong);
        }
        if text.bytes().any(|byte| byte <= b' ' || byte == b'/' || byte == 0x7f) {
            return Err(InvalidDomain::Character);
        }
        let text = text.to_ascii_lowercase();
        let stars = text.bytes().filter(|byte| *byte == b'*').count();
        match (stars, text.strip_prefix('*'), text.strip_suffix('*')) {
            (0, ..) => Ok(Self::Exact(text.into())),
            (1, Some(""), _) => Ok(Self::Any),
            (1, Some(suffix), _) => Ok(Self::Suffix(suffix.into())),
            (1, None, Some(prefix)) => Ok(Self::Prefix(prefix.into())),
            _ => Err(InvalidDomain::Wildcard),
        }
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(text) => f.write_str(text),
            Self::Suffix(text) => write!(f, "*{text}"),
            Self::Prefix(text) => write!(f, "{text}*"),
            Self::Any => f.write_str("*"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_four_kinds_and_the_mistakes() {
        assert_eq!(Domain::parse("Reviews.shop:80"), Ok(Domain::Exact("reviews.shop:80".into())));
        assert_eq!(Domain::parse("*.Shop"), Ok(Domain::Suffix(".shop".into())));
        assert_eq!(Domain::parse("shop.*"), Ok(Domain::Prefix("shop.".into())));
        assert_eq!(Domain::parse("*"), Ok(Domain::Any));
        assert_eq!(Domain::parse(""), Err(InvalidDomain::Empty));
        assert_eq!(Domain::parse("a*b"), Err(InvalidDomain::Wildcard));
        assert_eq!(Domain::parse("**"), Err(InvalidDomain::Wildcard));
        assert_eq!(Domain::parse("http://a"), Err(InvalidDomain::Character));
        assert_eq!(Domain::parse(&"a".repeat(513)), Err(InvalidDomain::TooLong));
    }
}
