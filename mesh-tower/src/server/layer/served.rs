//! [`Listening`]: what a listener serves now, with where it is counted.

use crate::Mesh;
use crate::filter::Asker;
use crate::observe::decisions::FilterCells;
use crate::observe::server::{ListenerCells, ServedCells};
use crate::server::Connection;
use arc_swap::ArcSwap;
use mesh_core::identity::Peer;
use mesh_core::inbound::{CompiledFilterChain, CompiledHttp, CompiledListener, Refusal};
use mesh_core::router::CompiledRoute;
use mesh_core::state::Listeners;
use std::sync::Arc;

/// One listener of a mesh, as its requests see it.
pub(super) struct Listening {
    pub(super) mesh: Mesh,
    pub(super) listener: Arc<str>,
    pub(super) cells: Arc<ListenerCells>,
    /// Of requests that no route took.
    pub(super) unrouted: Arc<ServedCells>,
    /// Who asks for filters.
    pub(super) asker: Arc<Asker>,
    served: ArcSwap<Served>,
}

/// What is in force, as long as `listeners` is.
#[derive(Default)]
struct Served {
    listeners: Arc<Listeners>,
    /// `None`: there is no such listener.
    chains: Option<Box<[Arc<ServedChain>]>>,
}

/// A filter chain, and where the requests of each of its routes are counted.
pub(super) struct ServedChain {
    pub(super) compiled: Arc<CompiledFilterChain>,
    /// By the number of the route's target.
    routes: Box<[ServedRoute]>,
    filters: Box<[(Arc<str>, Arc<FilterCells>)]>,
}

/// A route.
pub(super) struct ServedRoute {
    pub(super) route: Arc<CompiledRoute>,
    pub(super) cells: Arc<ServedCells>,
}

impl Listening {
    pub(super) fn new(mesh: Mesh, listener: Arc<str>) -> Self {
        let cells = mesh.shared().registry.listener(&listener);
        let nobody = Arc::from("");
        let unrouted = cells.route(&nobody, &nobody);
        let asker = Asker::new(&mesh);
        let own = Self { mesh, listener, cells, unrouted, asker, served: ArcSwap::default() };
        // Now, where there is something: keys that are wanted early are there before the first request.
        let served = own.serve(own.mesh.snapshot().listeners(), &Served::default());
        own.served.store(Arc::new(served));
        own
    }

    /// The chain of `connection` that is in force now.
    ///
    /// # Errors
    /// [`Refusal`]: it is not served any more, or not so. The same for all requests of a connection, until the
    /// configuration changes.
    pub(super) fn chain(&self, connection: &Connection) -> Result<Arc<ServedChain>, Refusal> {
        if *connection.listener != *self.listener {
            return Err(Refusal::OtherListener(Arc::clone(&connection.listener)));
        }
        let snapshot = self.mesh.snapshot();
        let known = self.served.load();
        let fresh;
        let served = if Arc::ptr_eq(&known.listeners, snapshot.listeners()) {
            &**known
        } else {
            // Once per configuration. Whoever comes at the same time makes the same.
            fresh = Arc::new(self.serve(snapshot.listeners(), &known));
            self.served.store(Arc::clone(&fresh));
            &*fresh
        };
        let chains = served.chains.as_deref().ok_or(Refusal::NoListener)?;
        let by_pointer =
            |chain: &&Arc<ServedChain>| Arc::ptr_eq(&chain.compiled, &connection.chain);
        if let Some(chain) = chains.iter().find(by_pointer) {
            return Ok(Arc::clone(chain));
        }
        // One that lets in others now may not have let in this one.
        let accepted = connection.chain.model();
        let chain = chains.iter().find(|chain| chain.compiled.model().admits_as(accepted));
        let chain = chain.filter(|chain| still_secures(&chain.compiled, &connection.peer));
        chain.cloned().ok_or(Refusal::ChainGone)
    }

    #[cold]
    fn serve(&self, listeners: &Arc<Listeners>, before: &Served) -> Served {
        let compiled = listeners.get(&self.listener);
        let chains = compiled.map(|listener| self.chains(listener, before));
        Served { listeners: Arc::clone(listeners), chains }
    }

    fn chains(&self, listener: &CompiledListener, before: &Served) -> Box<[Arc<ServedChain>]> {
        let known = before.chains.as_deref().unwrap_or_default();
        let chains = listener.chains().iter().map(|compiled| {
            let same = |known: &&Arc<ServedChain>| Arc::ptr_eq(&known.compiled, compiled);
            let known = known.iter().find(same).cloned();
            known.unwrap_or_else(|| {
                let early = compiled.http().into_iter().flat_map(CompiledHttp::early_keys);
                self.asker.want_keys(early);
                Arc::new(ServedChain::new(compiled, &self.cells))
            })
        });
        chains.collect()
    }
}

/// Whether a connection with `peer` is what `chain` asks for: its security may be another than when the
/// connection was accepted. Such connections are drained; until then nothing is served on them.
fn still_secures(chain: &CompiledFilterChain, peer: &Peer) -> bool {
    match (&chain.model().tls, peer) {
        (None, _) | (Some(_), Peer::Certified(_)) => true,
        (Some(tls), Peer::Tls) => !tls.wants_certificate(None),
        (Some(_), Peer::Plaintext) => false,
    }
}

impl ServedChain {
    fn new(compiled: &Arc<CompiledFilterChain>, cells: &ListenerCells) -> Self {
        let targets = compiled.http().into_iter().flat_map(|http| http.router().targets());
        let routes = targets.map(|target| ServedRoute {
            route: Arc::clone(target.route),
            cells: cells.route(target.route.virtual_host(), target.route.name()),
        });
        let names = compiled.http().into_iter().flat_map(|http| http.chain().names());
        let filters = names.map(|name| (Arc::clone(name), cells.filter(name)));
        Self {
            routes: routes.collect(),
            filters: filters.collect(),
            compiled: Arc::clone(compiled),
        }
    }

    /// What is done with requests; `None`: the chain has none.
    pub(super) fn http(&self) -> Option<&CompiledHttp> {
        self.compiled.http()
    }

    /// Whether what passes goes on by routes of the chain.
    pub(super) fn hands_on(&self) -> bool {
        self.compiled.model().forward.is_some()
    }

    /// Where the decisions of the filter of this name are counted.
    pub(super) fn filter(&self, name: &Arc<str>) -> Option<&FilterCells> {
        // The name is the chain's own, so nothing has to be compared but where it is.
        let found = self.filters.iter().find(|(known, _)| Arc::ptr_eq(known, name));
        found.map(|(_, cells)| &**cells)
    }

    /// The route of this target.
    pub(super) fn route(&self, target: u32) -> Option<&ServedRoute> {
        self.routes.get(target as usize)
    }
}
