//! Names to addresses: the trait, what it answers, and how it fails.

use super::name::MalformedName;
use futures_core::future::BoxFuture;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// Looks names up.
///
/// [`DnsClusters`](super::DnsClusters) asks for at most
/// [`MAX_LOOKUPS`](super::DnsClusters::MAX_LOOKUPS) names at once, drops a lookup that takes longer
/// than [`LOOKUP_LIMIT`](super::DnsClusters::LOOKUP_LIMIT), and never asks for an IP address or a
/// malformed name. A resolver needs no cache: each name is asked for once per refresh.
pub trait Resolve: Send + Sync + fmt::Debug {
    /// Looks `name` up. A final dot means that search domains do not apply.
    ///
    /// # Errors
    /// The future gives a [`ResolveError`] that says whose fault it is.
    fn resolve(&self, name: &str) -> BoxFuture<'static, Result<Answer, ResolveError>>;
}

/// The addresses of a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Answer {
    /// The addresses, best first. Empty counts as [`ResolveError::NoRecords`].
    pub addresses: Vec<IpAddr>,
    /// How long it may be kept: the least over all its records; `None`: not known.
    pub ttl: Option<Duration>,
    /// The lookup of the other address family failed: what was known of a family that is not in
    /// [`addresses`](Self::addresses) is kept.
    pub incomplete: bool,
}

impl Answer {
    /// A complete answer.
    #[must_use]
    pub const fn new(addresses: Vec<IpAddr>, ttl: Option<Duration>) -> Self {
        Self { addresses, ttl, incomplete: false }
    }
}

/// Why a name gave no addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// It is not a host name; asking again does not help.
    #[error("`{name}` is not a host name: {reason}")]
    Malformed {
        /// What was written.
        name: Arc<str>,
        /// What is wrong with it.
        reason: MalformedName,
    },
    /// The name does not exist (NXDOMAIN).
    #[error("no such name: `{name}`")]
    NotFound {
        /// The name that was asked for.
        name: Arc<str>,
        /// How long this holds (RFC 2308 §5).
        ttl: Option<Duration>,
    },
    /// The name exists but has no usable address.
    #[error("`{name}` has no address")]
    NoRecords {
        /// The name that was asked for.
        name: Arc<str>,
        /// How long this holds (RFC 2308 §5).
        ttl: Option<Duration>,
    },
    /// No answer came in time.
    #[error("no answer for `{name}` in time")]
    Timeout {
        /// The name that was asked for.
        name: Arc<str>,
    },
    /// The name server failed or could not be asked (SERVFAIL, REFUSED, connection refused, …).
    #[error("the name server failed for `{name}`: {detail}")]
    ServerFailure {
        /// The name that was asked for.
        name: Arc<str>,
        /// What it said.
        detail: Arc<str>,
    },
}

impl ResolveError {
    /// The name that was asked for.
    #[must_use]
    pub const fn name(&self) -> &Arc<str> {
        match self {
            Self::Malformed { name, .. }
            | Self::NotFound { name, .. }
            | Self::NoRecords { name, .. }
            | Self::Timeout { name }
            | Self::ServerFailure { name, .. } => name,
        }
    }

    /// How long an authoritative "no" holds; `None` for every other failure.
    #[must_use]
    pub const fn negative_ttl(&self) -> Option<Duration> {
        match self {
            Self::NotFound { ttl, .. } | Self::NoRecords { ttl, .. } => *ttl,
            Self::Malformed { .. } | Self::Timeout { .. } | Self::ServerFailure { .. } => None,
        }
    }
}
