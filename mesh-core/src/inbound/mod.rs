//! What a server does with connections and requests: listeners, compiled.
//!
//! | module | what |
//! |---|---|
//! | `chain_match.rs` | which filter chain a connection gets |
//! | [`head`] | limits of a head, which host it names, and what its caller may not say |
//! | [`client_address`] | who made a request, behind proxies |
//! | [`path`] | the one path of all its spellings |
//! | `detect.rs` | what becomes of connections of which it was to be found out whether they are HTTP |
//! | [`flood`] | whether a connection of HTTP/2 carries work, or only costs |
//! | `refusal.rs` | what a server answers by itself |
//! | `opening.rs` | where a listener lets in who proves nothing |
//! | [`streams`] | which requests of a connection of HTTP/2 get tasks of their own |
//!
//! A connection gets its chain once, when it is accepted. Its requests are routed by the chain's own
//! router: the route says which filters do what, and whether it is for this server at all.

mod chain_match;
pub mod client_address;
mod detect;
pub mod flood;
pub mod head;
mod opening;
pub mod path;
mod refusal;
pub mod streams;
#[cfg(test)]
mod tests;

pub use chain_match::{ConnectionFacts, DuplicateMatch, check_matches};
pub use detect::{Carries, Detection, NeedsRequests};
pub use opening::{Opening, OpeningKind, openings};
pub use refusal::{HostRefused, Refusal};

use crate::filter::{Chain, FilterError, OverrideCompiler, Overrides, RouteLimits};
use crate::head::RequestHead;
use crate::local_reply::Reason;
use crate::model::filter_chain::TransportProtocol;
use crate::model::http_filter::JwksSource;
use crate::model::{FilterChain, HttpConnectionManager, Listener, VirtualHost};
use crate::random::Random;
use crate::rbac::{CompiledRbacFilter, RbacError};
use crate::router::{CompileError, Decision, RouteError, Router};
use bytes::Bytes;
use chain_match::ChainMatch;
use http::Response;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A listener, compiled. Immutable but for the counts of its filters.
#[derive(Debug)]
pub struct CompiledListener {
    model: Arc<Listener>,
    /// The default chain last, if there is one.
    chains: Box<[Arc<CompiledFilterChain>]>,
    matches: ChainMatch,
}

/// A filter chain, compiled.
#[derive(Debug)]
pub struct CompiledFilterChain {
    model: Arc<FilterChain>,
    network_rbac: Box<[CompiledRbacFilter]>,
    http: Option<Arc<CompiledHttp>>,
    detection: Option<Detection>,
}

/// A request that a chain with routes of its own has let pass: by which of them it goes on
/// ([`Snapshot::route_chain`](crate::state::Snapshot::route_chain)).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HandedOn {
    /// The chain.
    pub chain: Arc<CompiledFilterChain>,
    /// The number of the route that it found; `None`: none was looked for, as for bytes.
    pub route: Option<u32>,
}

impl HandedOn {
    /// Handed on by `chain`, by this route.
    #[must_use]
    pub const fn new(chain: Arc<CompiledFilterChain>, route: Option<u32>) -> Self {
        Self { chain, route }
    }
}

/// What is done with requests, compiled.
#[derive(Debug)]
pub struct CompiledHttp {
    model: Arc<HttpConnectionManager>,
    router: Router,
    chain: Chain,
    /// By the number of the route's target.
    overrides: Box<[Overrides]>,
}

/// Why a listener can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{kind}", within(chain))]
#[non_exhaustive]
pub struct ListenerError {
    /// The filter chain; `None`: the listener itself.
    pub chain: Option<Arc<str>>,
    /// What is wrong.
    pub kind: ListenerErrorKind,
}

/// What is wrong with a listener.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ListenerErrorKind {
    /// Two chains are for the same connections.
    #[error(transparent)]
    Duplicate(#[from] DuplicateMatch),
    /// A filter of requests.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// Who may connect.
    #[error("network filter: {0}")]
    Rbac(#[from] RbacError),
    /// A route.
    #[error(transparent)]
    Route(#[from] CompileError),
}

impl ListenerError {
    /// What is wrong with the routes that `chain` sends by.
    pub(crate) fn of_routes(chain: &FilterChain, errors: Vec<CompileError>) -> Vec<Self> {
        let of_chain =
            |error: CompileError| Self { chain: Some(chain.name.clone()), kind: error.into() };
        errors.into_iter().map(of_chain).collect()
    }
}

fn within(chain: &Option<Arc<str>>) -> String {
    chain.as_ref().map_or_else(String::new, |chain| format!("filter chain `{chain}`: "))
}

impl CompiledListener {
    /// Compiles a listener; counts of filters that `before` has as well go on.
    ///
    /// # Errors
    /// [`ListenerError`]: every chain that can't be used, with the first reason for each.
    pub fn compile(
        model: &Arc<Listener>,
        before: Option<&Self>,
    ) -> Result<Self, Vec<ListenerError>> {
        let mut errors = Vec::new();
        let matches = ChainMatch::compile(&model.filter_chains).map_err(|duplicate| {
            errors.push(ListenerError { chain: None, kind: duplicate.into() });
        });
        let mut chains: Vec<Arc<CompiledFilterChain>> = Vec::new();
        for chain in model.chains() {
            let before = before.and_then(|before| before.chain(&chain.name));
            match CompiledFilterChain::compile(chain, &chains, before) {
                Ok(compiled) => chains.push(Arc::new(compiled)),
                Err(kind) => errors.push(ListenerError { chain: Some(chain.name.clone()), kind }),
            }
        }
        match matches {
            Ok(matches) if errors.is_empty() => {
                Ok(Self { model: Arc::clone(model), chains: chains.into(), matches })
            }
            _ => Err(errors),
        }
    }

    /// The listener as it was configured.
    #[must_use]
    pub const fn model(&self) -> &Arc<Listener> {
        &self.model
    }

    /// The chain of this name.
    #[must_use]
    pub fn chain(&self, name: &str) -> Option<&Arc<CompiledFilterChain>> {
        self.chains.iter().find(|chain| &*chain.model.name == name)
    }

    /// All chains, the default one last.
    #[must_use]
    pub fn chains(&self) -> &[Arc<CompiledFilterChain>] {
        &self.chains
    }

    /// The chain of a connection; `None`: none is for it, and it is closed.
    #[must_use]
    pub fn select(&self, facts: &ConnectionFacts<'_>) -> Option<&Arc<CompiledFilterChain>> {
        let default = self.model.default_filter_chain.is_some();
        match self.matches.find(facts) {
            Some(at) => self.chains.get(at),
            None if default => self.chains.last(),
            None => None,
        }
    }

    /// Whether a connection's first bytes are needed to choose its chain, or to serve it: some chain
    /// has TLS, and some has not, or a chain asks for a server name or a protocol.
    #[must_use]
    pub fn looks_at_client_hello(&self) -> bool {
        let tls = self.chains.iter().filter(|chain| chain.model.tls.is_some()).count();
        let asks = |chain: &Arc<CompiledFilterChain>| {
            let matcher = &chain.model.matcher;
            matcher.transport_protocol.is_some_and(|one| one != TransportProtocol::Undetected)
                || !matcher.server_names.is_empty()
                || !matcher.application_protocols.is_empty()
        };
        (tls > 0 && tls < self.chains.len()) || self.chains.iter().any(asks)
    }
}

impl CompiledFilterChain {
    /// Chains that are ways to the same, as those of a permissive port are, share it with its counts: a rate
    /// is one rate, whichever way requests come.
    fn compile(
        model: &Arc<FilterChain>,
        others: &[Arc<Self>],
        before: Option<&Arc<Self>>,
    ) -> Result<Self, ListenerErrorKind> {
        let network_rbac = model.network_rbac.iter().map(|rbac| CompiledRbacFilter::new(rbac));
        let before = before.and_then(|before| before.http.as_deref());
        let shared = |http: &Arc<HttpConnectionManager>| {
            let mut others = others.iter().filter_map(|other| other.http.as_ref());
            others.find(|other| Arc::ptr_eq(&other.model, http)).cloned()
        };
        let http = model.http.as_ref().map(|http| match shared(http) {
            Some(shared) => Ok(shared),
            None => CompiledHttp::compile(http, before).map(Arc::new),
        });
        let http = http.transpose()?;
        let detects = model.http.as_ref().zip(model.detect);
        let detection = detects.map(|(http, timeout)| Detection::compile(timeout, http));
        Ok(Self {
            model: Arc::clone(model),
            network_rbac: network_rbac.collect::<Result<_, _>>()?,
            http,
            detection: detection.transpose()?,
        })
    }

    /// The chain as it was configured.
    #[must_use]
    pub const fn model(&self) -> &Arc<FilterChain> {
        &self.model
    }

    /// Who may connect, in order.
    #[must_use]
    pub fn network_rbac(&self) -> &[CompiledRbacFilter] {
        &self.network_rbac
    }

    /// What is done with requests; `None`: bytes are passed on.
    #[must_use]
    pub fn http(&self) -> Option<&CompiledHttp> {
        self.http.as_deref()
    }

    /// Whether a connection of bytes that this chain let pass is asked the same by `other`: its network filters aside, which
    /// [`FilterChain::admits_as`] compares.
    #[must_use]
    pub fn asks_bytes_as(&self, other: &Self) -> bool {
        detect::asks_the_same(&self.model, &other.model)
    }

    /// How it is found out whether a connection is one of HTTP; `None`: it is, if there is [`http`](Self::http).
    #[must_use]
    pub const fn detection(&self) -> Option<&Detection> {
        self.detection.as_ref()
    }
}

impl CompiledHttp {
    fn compile(
        model: &Arc<HttpConnectionManager>,
        before: Option<&Self>,
    ) -> Result<Self, ListenerErrorKind> {
        let no_clusters = BTreeMap::new();
        let reuse = before.map(|before| &before.router);
        let router = Router::compile(&model.route_configuration, &no_clusters, reuse);
        let router = router.map_err(|errors| errors.into_iter().next());
        let router = match router {
            Ok(router) => router,
            Err(Some(error)) => return Err(error.into()),
            // An error without an error: nothing is wrong.
            Err(None) => Router::default(),
        };
        let chain = Chain::compile(&model.http_filters, before.map(|before| &before.chain))?;
        let hosts = &model.route_configuration.virtual_hosts;
        let hosts: BTreeMap<&str, &Arc<VirtualHost>> =
            hosts.iter().map(|host| (&*host.name, host)).collect();
        let said_before = before.map_or(&[][..], |before| &before.overrides);
        let mut compiler = OverrideCompiler::new(&chain, said_before);
        let overrides = router.targets().map(|target| {
            let host = hosts.get(&**target.route.virtual_host()).copied();
            let route = target.route.model();
            let levels = std::iter::once(&route.filters).chain(host.map(|host| &host.filters));
            let limits = RouteLimits::of(route, host);
            let overrides = compiler.compile_route(&levels.collect::<Vec<_>>(), limits)?;
            Ok(overrides.with_metadata(&route.metadata))
        });
        let overrides = overrides.collect::<Result<_, FilterError>>()?;
        Ok(Self { model: Arc::clone(model), router, chain, overrides })
    }

    /// As it was configured.
    #[must_use]
    pub const fn model(&self) -> &Arc<HttpConnectionManager> {
        &self.model
    }

    /// The filters.
    #[must_use]
    pub const fn chain(&self) -> &Chain {
        &self.chain
    }

    /// What the route of this target says of the filters ([`Router::targets`]).
    #[must_use]
    pub fn overrides(&self, target: u32) -> &Overrides {
        self.overrides.get(target as usize).unwrap_or(&NOTHING_SAID)
    }

    /// Keys that are wanted before the first request needs them (Envoy: `async_fetch`).
    pub fn early_keys(&self) -> impl Iterator<Item = &Arc<JwksSource>> {
        let routes = self.overrides.iter().flat_map(Overrides::early_keys);
        self.chain.early_keys().chain(routes)
    }

    /// The routes.
    #[must_use]
    pub const fn router(&self) -> &Router {
        &self.router
    }

    /// What a route answers by itself, with its header edits; `None`: it is for the service.
    ///
    /// # Errors
    /// [`Reason`]: what the redirect makes of the request can't be sent.
    #[must_use]
    pub fn answer(
        decision: &Decision<'_>,
        head: &RequestHead<'_>,
    ) -> Option<Result<Response<Bytes>, Reason>> {
        match decision {
            Decision::Redirect { .. } | Decision::DirectResponse { .. } => {
                Some(crate::state::reply(decision, head))
            }
            Decision::Forward { .. } | Decision::NonForwarding { .. } => None,
        }
    }

    /// What becomes of a request, and what its route says of the filters. What the route does comes
    /// after them: they may refuse a request that the route answers.
    ///
    /// # Errors
    /// [`RouteError`]: no route is for it. Then the filters are not asked, as in gRPC (gRFC A36), where they are
    /// those of a route; Envoy asks them as the chain has them, and answers 404 after.
    pub fn route(
        &self,
        head: &RequestHead<'_>,
        random: &mut impl Random,
    ) -> Result<(Decision<'_>, &Overrides), RouteError> {
        let decision = self.router.route(head, random)?;
        let target = match &decision {
            Decision::Forward { target, .. }
            | Decision::Redirect { target, .. }
            | Decision::DirectResponse { target, .. }
            | Decision::NonForwarding { target, .. } => *target,
        };
        Ok((decision, self.overrides(target)))
    }
}

static NOTHING_SAID: Overrides = Overrides::none();
