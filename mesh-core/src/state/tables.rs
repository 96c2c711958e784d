//! [`Tables`]: the routes that filter chains of ports send by, each its own (Envoy: a connection manager's routes).
//!
//! The virtual hosts of a configuration are for calls by name; a port whose chains have routes of their own knows
//! nothing of them. Chains with the same routes share one table.

use super::snapshot::{Listeners, Targets};
use super::{ApplyError, Attach, Snapshot, Target};
use crate::inbound::{CompiledFilterChain, ListenerError};
use crate::model::RouteConfiguration;
use crate::router::{ClusterSlots, Router};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Routers of chains, before anything is published: the chain, and its routes.
pub(super) type Routers = BTreeMap<Arc<str>, BTreeMap<Arc<str>, Routed>>;

/// A chain and its routes.
pub(super) type Routed = (Arc<CompiledFilterChain>, Arc<Router>);

/// The tables in force, by listener and chain.
#[derive(Debug)]
pub(super) struct Tables<A: Attach> {
    chains: BTreeMap<Arc<str>, BTreeMap<Arc<str>, Entry<A>>>,
    /// Each once, in the order of listeners and chains.
    all: Vec<Arc<Table<A>>>,
}

#[derive(Debug)]
struct Entry<A: Attach> {
    chain: Arc<CompiledFilterChain>,
    table: Arc<Table<A>>,
}

/// Routes, and what is behind each of their targets.
#[derive(Debug)]
pub(super) struct Table<A: Attach> {
    pub(super) router: Arc<Router>,
    pub(super) targets: Targets<A>,
}

impl<A: Attach> Default for Tables<A> {
    fn default() -> Self {
        Self { chains: BTreeMap::new(), all: Vec::new() }
    }
}

impl<A: Attach> Tables<A> {
    /// Tables of these routers, whose targets are made by `targets`.
    pub(super) fn new(routers: &Routers, targets: impl Fn(&Router) -> Targets<A>) -> Self {
        let mut tables = Self::default();
        let mut made: HashMap<*const Router, Arc<Table<A>>> = HashMap::new();
        for (listener, chains) in routers {
            let entries = chains.iter().map(|(name, (chain, router))| {
                let table = made.entry(Arc::as_ptr(router)).or_insert_with(|| {
                    let targets = targets(router);
                    let table = Arc::new(Table { router: Arc::clone(router), targets });
                    tables.all.push(Arc::clone(&table));
                    table
                });
                let entry = Entry { chain: Arc::clone(chain), table: Arc::clone(table) };
                (Arc::clone(name), entry)
            });
            let entries = entries.collect();
            tables.chains.insert(Arc::clone(listener), entries);
        }
        tables
    }

    /// The table of a chain, and whether the chain in force says the same. `None`: it is gone, or lets in others now.
    pub(super) fn of(
        &self,
        listener: &str,
        chain: &Arc<CompiledFilterChain>,
    ) -> Option<(&Table<A>, bool)> {
        let entry = self.chains.get(listener)?.get(&chain.model().name)?;
        if Arc::ptr_eq(&entry.chain, chain) {
            return Some((&entry.table, true));
        }
        // Its listener was compiled anew, for this chain or for another.
        let (now, then) = (entry.chain.model(), chain.model());
        now.admits_as(then).then(|| (&*entry.table, now == then))
    }

    /// The targets of all tables.
    pub(super) fn targets(&self) -> impl Iterator<Item = &super::snapshot::TargetSlot<A>> {
        self.all.iter().flat_map(|table| table.targets.iter())
    }

    fn router(&self, listener: &str, chain: &str) -> Option<&Arc<Router>> {
        Some(&self.chains.get(listener)?.get(chain)?.table.router)
    }
}

/// Compiles the routes of all chains that have some; what is as before is taken over.
///
/// # Errors
/// [`ApplyError::Listener`]: the first listener with routes that don't compile.
pub(super) fn compile<A: Attach>(
    listeners: &Listeners,
    slots: &impl ClusterSlots,
    before: &Snapshot<A>,
) -> Result<Routers, ApplyError> {
    let mut routers = Routers::new();
    let mut made: HashMap<*const RouteConfiguration, Arc<Router>> = HashMap::new();
    for (name, listener) in listeners {
        let mut chains = BTreeMap::new();
        for chain in listener.chains() {
            let Some(forward) = &chain.model().forward else { continue };
            let pointer = Arc::as_ptr(&forward.routes);
            let router = match made.get(&pointer) {
                Some(router) => Arc::clone(router),
                None => {
                    let before = before.tables.router(name, &chain.model().name);
                    let router = Router::compile(&forward.routes, slots, before.map(|old| &**old));
                    let router = router.map_err(|errors| ApplyError::Listener {
                        listener: Arc::clone(name),
                        errors: ListenerError::of_routes(chain.model(), errors),
                    });
                    Arc::clone(made.entry(pointer).or_insert(Arc::new(router?)))
                }
            };
            chains.insert(Arc::clone(&chain.model().name), (Arc::clone(chain), router));
        }
        if !chains.is_empty() {
            routers.insert(Arc::clone(name), chains);
        }
    }
    Ok(routers)
}

impl<A: Attach> Snapshot<A> {
    /// Every pair of a route and a cluster that it forwards to: of the virtual hosts, in the order of the
    /// configuration, and then of the ports whose filter chains have routes of their own.
    pub fn targets(&self) -> impl Iterator<Item = &Arc<Target<A>>> {
        self.targets.iter().chain(self.tables.targets()).filter_map(|slot| slot.forward())
    }
}
