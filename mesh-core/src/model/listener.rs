//! Ports that serve (Envoy: `config.listener.v3.Listener`; gRFC A36).

use super::Address;
use super::filter_chain::{FilterChain, HttpConnectionManager};
use std::sync::Arc;

/// A port that serves.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Listener {
    /// Its name, by which a server asks for it: of `mesh.yaml` the key under `inbound`, of an xDS
    /// server what its template makes of the address (gRFC A36).
    pub name: Arc<str>,
    /// Where it listens; `None`: where the program says. A program that listens elsewhere must not
    /// serve by it (gRFC A36).
    pub address: Option<Address>,
    /// Where requests that pass are sent, when the program has no service of its own (`mesh proxy`).
    pub forward: Option<Address>,
    /// What holds for which connections. The most specific one counts, as Envoy matches them.
    pub filter_chains: Vec<Arc<FilterChain>>,
    /// What holds for all others; `None`: they are closed.
    pub default_filter_chain: Option<Arc<FilterChain>>,
}

impl Listener {
    /// A listener of this name that closes every connection.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self {
            name: name.into(),
            address: None,
            forward: None,
            filter_chains: Vec::new(),
            default_filter_chain: None,
        }
    }

    /// The names of the secrets that its chains need; one may be there several times.
    pub fn secrets(&self) -> impl Iterator<Item = &Arc<str>> {
        self.chains().filter_map(|chain| chain.tls.as_ref()).flat_map(|tls| tls.secrets())
    }

    /// The clusters that its filters ask somebody in; one may be there several times.
    pub fn clusters(&self) -> impl Iterator<Item = &Arc<str>> {
        let managers = self.chains().filter_map(|chain| chain.http.as_deref());
        managers.flat_map(HttpConnectionManager::clusters)
    }

    /// All chains, the default one last.
    pub fn chains(&self) -> impl Iterator<Item = &Arc<FilterChain>> {
        self.filter_chains.iter().chain(&self.default_filter_chain)
    }
}
