//! What applying an update did, or why it was refused.

use super::Turn;
use crate::inbound::ListenerError;
use crate::lb::LbError;
use crate::router::{CompileError, RegexError};
use std::sync::Arc;

/// What an update changed.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Applied {
    /// Clusters that appeared.
    pub clusters_added: usize,
    /// Clusters that are gone.
    pub clusters_removed: usize,
    /// Clusters whose configuration changed.
    pub clusters_changed: usize,
    /// Endpoints that appeared, in all clusters.
    pub endpoints_added: usize,
    /// Endpoints that are gone, from all clusters.
    pub endpoints_removed: usize,
    /// Whether what servers do changed.
    pub listeners_changed: bool,
    /// Whether the routes changed.
    pub routes_changed: bool,
    /// Whether a secret appeared, is gone, or is another.
    pub secrets_changed: bool,
    /// What happened on the way: ejections that ended, panic.
    pub happened: Turn,
}

/// Why an update was refused; nothing of it was applied.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ApplyError {
    /// Routes don't compile.
    #[error("{}", join(.0))]
    Routes(Vec<CompileError>),
    /// A cluster's load balancing can't be built.
    #[error("cluster `{cluster}`: {error}")]
    Balancing {
        /// The cluster.
        cluster: Arc<str>,
        /// Why.
        error: LbError,
    },
    /// A cluster's hash policy has a rewrite that is no regular expression.
    #[error("cluster `{cluster}`: lb_policy.hash_policy: {error}")]
    HashPolicy {
        /// The cluster.
        cluster: Arc<str>,
        /// Why.
        error: RegexError,
    },
    /// A listener can't be used.
    #[error("listener `{listener}`: {}", join(errors))]
    Listener {
        /// The listener.
        listener: Arc<str>,
        /// What is wrong with each of its chains.
        errors: Vec<ListenerError>,
    },
    /// A cluster names a policy that nobody registered.
    #[error("cluster `{cluster}`: no load-balancing policy `{policy}` is registered")]
    UnknownPolicy {
        /// The cluster.
        cluster: Arc<str>,
        /// The policy's name.
        policy: Arc<str>,
    },
}

fn join(errors: &[impl ToString]) -> String {
    let texts: Vec<_> = errors.iter().map(ToString::to_string).collect();
    texts.join("; ")
}
