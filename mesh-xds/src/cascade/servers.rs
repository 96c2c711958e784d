//! [`Servers`]: the listeners that servers ask for, each with its routes put in (gRFC A36).
//!
//! - **Complete:** a listener is in force once its routes and secrets have an answer, and so have the clusters
//!   that its filters ask somebody in, with all that is behind them. Until then the last one that was stays
//!   (A36: "applying an LDS waits for its RDS").
//! - **Routes alone:** other routes change the listener in place; the chains that they are not for stay the
//!   same pointers, and so do their connections.
//! - **Gone is not serving:** a listener that does not exist, or can't serve, is not in the result, and why is
//!   beside it. Losing the control plane changes nothing.
//! - **The last good one serves** (gRFC A88): what no server can serve by, and is a listener for others, is as good as
//!   refused. The one before it stays, follows its routes, and why is beside it.
//! - Routes that do not exist are none: the listener serves, and refuses what it can't route.
//! - **One that can't be is its own trouble:** what its routes say of filters is known only here, where both are there.
//!   It is compiled before it is told, so that what is wrong with it holds up nothing else; the last one that could
//!   be stays, and why is beside it (gRFC A88).

use super::kept::{Made, Restored};
use super::version::Part;
use super::walk::Walk;
use super::{Key, aggregate};
use crate::last_good::KeptListener;
use crate::protocol::canonical;
use crate::store::{Known, Received, Store};
use crate::{Resource, ResourceType, XdsListener, XdsServer};
use mesh_core::inbound::CompiledListener;
use mesh_core::model::{FilterChain, Listener, RouteConfiguration};
use mesh_core::router::Router;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The listeners that servers ask for, by what they call them.
#[derive(Debug, Default)]
pub(super) struct Servers {
    asked: BTreeMap<Arc<str>, Server>,
    /// What served in another process, by the names of listeners: until what came since is in force.
    restored: BTreeMap<Arc<str>, Restored>,
}

/// What became of a listener.
pub(super) type Answer = Result<Arc<Listener>, Arc<str>>;

/// Names of clusters.
type Names = Arc<BTreeSet<Arc<str>>>;

#[derive(Debug)]
struct Server {
    /// The resource, or why there can be none.
    listener: Result<Arc<str>, Arc<str>>,
    answer: Option<Answer>,
    /// The last that a server can serve by.
    good: Option<Good>,
    /// Why the answer is not that of the newest, but of the one before.
    trouble: Option<Arc<str>>,
    /// What it is made from, and what its successor waits for.
    needs: Arc<BTreeSet<Key>>,
    /// What is in force is made from these.
    holds: BTreeSet<Key>,
    /// The clusters that the filters in force ask somebody in, those that aggregates stand for among them.
    clusters: Names,
    /// A hash of what the answer is made from.
    made: u64,
    /// The same as bytes, if it is a listener.
    made_of: Made,
    hash: Option<u64>,
    /// What served in another process: it stays if the first that comes can't be.
    restored: Option<Restored>,
}

/// What a server does by a listener, as it came last when it was good.
#[derive(Clone, Debug)]
pub(super) struct Good {
    pub(super) server: Arc<XdsServer>,
    /// How the listener was received.
    pub(super) received: Received,
}

impl Good {
    /// Of `listener` now; of one that is wrong, `before`, and what is wrong with it. `None`: it is for no server, or
    /// none was ever good.
    pub(super) fn of(
        listener: &XdsListener,
        store: &Store,
        before: Option<&Self>,
    ) -> (Option<Self>, Option<Arc<str>>) {
        match &listener.server {
            Some(Ok(server)) => {
                let received = store.received(ResourceType::Listener, &listener.name).cloned();
                let (server, received) = (Arc::clone(server), received.unwrap_or_default());
                (Some(Self { server, received }), None)
            }
            Some(Err(errors)) => {
                let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
                (before.cloned(), Some(errors.join("; ").into()))
            }
            None => (None, None),
        }
    }
}

/// What a look at a server has changed, each before and after it.
#[derive(Debug)]
pub(super) struct Effect {
    pub(super) needs: (Arc<BTreeSet<Key>>, Arc<BTreeSet<Key>>),
    pub(super) hash: (Option<u64>, Option<u64>),
    pub(super) secrets: (Vec<Arc<str>>, Vec<Arc<str>>),
    pub(super) clusters: (Names, Names),
    /// Its answer is another.
    pub(super) is_visible: bool,
}

/// What a server is called among those who need a resource: no authority has a space in it.
pub(super) fn user(name: &str) -> Arc<str> {
    format!("{PREFIX}{name}").into()
}

const PREFIX: &str = "server ";

impl Servers {
    /// A server asks for `name`, which is the listener `resource`. Whether it is new.
    pub(super) fn add(&mut self, name: &Arc<str>, resource: Result<Arc<str>, Arc<str>>) -> bool {
        if self.asked.contains_key(name) {
            return false;
        }
        let restored = resource.as_ref().ok().and_then(|of| self.restored.get(&canonical(of)));
        let server = Server {
            listener: resource,
            answer: None,
            good: None,
            trouble: None,
            needs: Arc::default(),
            holds: BTreeSet::new(),
            clusters: Arc::default(),
            made: 0,
            made_of: Made::default(),
            hash: None,
            restored: restored.cloned(),
        };
        self.asked.insert(Arc::clone(name), server);
        true
    }

    /// What served by the listener `name` in another process: before a server asks for it.
    pub(super) fn restore(&mut self, name: &Arc<str>, restored: Restored) {
        self.restored.insert(canonical(name), restored);
    }

    /// No server asks for it any more.
    pub(super) fn remove(&mut self, name: &str) -> Option<Effect> {
        let server = self.asked.remove(name)?;
        Some(Effect {
            needs: (server.needs, Arc::default()),
            hash: (server.hash, None),
            secrets: (secrets(server.answer.as_ref()), Vec::new()),
            clusters: (server.clusters, Arc::default()),
            is_visible: server.answer.is_some(),
        })
    }

    /// Whether this user is one of them.
    pub(super) fn is_user(user: &str) -> bool {
        user.starts_with(PREFIX)
    }

    /// Looks at a server again, by what it is called as a user.
    pub(super) fn walk(&mut self, user: &str, store: &Store) -> Option<(Arc<str>, Effect)> {
        let (name, server) = self.asked.get_key_value(user.strip_prefix(PREFIX)?)?;
        let name = Arc::clone(name);
        let (before, trouble, hash) = (server.answer.clone(), server.trouble.clone(), server.hash);
        let server = self.asked.get_mut(&name)?;
        let asked = Arc::clone(&server.clusters);
        let mut look = Look::new(store, server.good.take().or_else(|| server.restored_good()));
        let serving = server.serving().cloned();
        let answer = look.listener(&server.listener, serving.as_ref());
        server.good.clone_from(&look.good);
        match answer {
            Some(answer) => server.take(&name, answer, &look),
            None => server.go_on(&name, &look),
        }
        if server.answer.is_some() && server.trouble.is_none() && !look.is_pending {
            let listener = server.listener.as_ref().ok();
            listener.and_then(|of| self.restored.remove(&canonical(of)));
        }
        // What serves is kept until its successor is complete.
        look.needs.extend(server.holds.iter().cloned());
        server.clusters.iter().for_each(|cluster| look.cluster(cluster));
        let needs = Arc::new(look.needs);
        let effect = Effect {
            needs: (std::mem::replace(&mut server.needs, Arc::clone(&needs)), needs),
            hash: (hash, server.hash),
            secrets: (secrets(before.as_ref()), secrets(server.answer.as_ref())),
            clusters: (asked, Arc::clone(&server.clusters)),
            is_visible: before != server.answer || trouble != server.trouble,
        };
        Some((name, effect))
    }

    /// Those that are served.
    pub(super) fn listeners(&self) -> BTreeMap<Arc<str>, Arc<Listener>> {
        let all = self.asked.iter();
        let served = all.filter_map(|(name, server)| match &server.answer {
            Some(Ok(listener)) => Some((Arc::clone(name), Arc::clone(listener))),
            Some(Err(_)) | None => None,
        });
        served.collect()
    }

    /// Those that are not, and why.
    pub(super) fn absent(&self) -> BTreeMap<Arc<str>, Arc<str>> {
        let all = self.asked.iter();
        let absent = all.filter_map(|(name, server)| match &server.answer {
            Some(Err(why)) => Some((Arc::clone(name), Arc::clone(why))),
            Some(Ok(_)) | None => None,
        });
        absent.collect()
    }

    /// The listeners of which the last that could be stays, and why.
    pub(super) fn kept(&self) -> BTreeMap<Arc<str>, Arc<str>> {
        let kept = self.asked.values().filter_map(|server| {
            Some((server.listener.as_ref().ok()?.clone(), server.trouble.clone()?))
        });
        kept.collect()
    }

    /// Those that serve by what is not the newest, because nobody can by that, or it waits for its routes: as they go to
    /// disk, by their names.
    pub(super) fn kept_forms(&self, store: &Store) -> BTreeMap<Arc<str>, KeptListener> {
        let kept = self.asked.values().filter_map(|server| {
            let name = server.listener.as_ref().ok()?;
            let is_kept = server.trouble.is_some() || !server.made_of.is_newest(name, store);
            (is_kept && matches!(server.answer, Some(Ok(_))))
                .then(|| (Arc::clone(name), server.made_of.raw(name)))
        });
        kept.collect()
    }

    /// Whether all have an answer.
    pub(super) fn is_complete(&self) -> bool {
        self.asked.values().all(|server| server.answer.is_some())
    }
}

impl Server {
    /// What serves, or did in another process before there is anything.
    fn serving(&self) -> Option<&Arc<Listener>> {
        let serving = self.answer.as_ref().and_then(|answer| answer.as_ref().ok());
        serving.or_else(|| self.restored.as_ref().map(|restored| &restored.listener))
    }

    fn restored_good(&self) -> Option<Good> {
        self.restored.as_ref().map(|restored| restored.good.clone())
    }

    /// Its successor waits for something. What served in another process serves until that is there.
    fn go_on(&mut self, name: &str, look: &Look<'_>) {
        if self.answer.is_none()
            && let Some(restored) = self.restored.take()
        {
            self.take_restored(name, restored);
            self.settle(name, look.store);
        }
    }

    /// What served in another process serves again.
    fn take_restored(&mut self, name: &str, Restored { listener, made, .. }: Restored) {
        let kind = ResourceType::RouteConfiguration;
        self.holds = made.routes().map(|name| (kind, Arc::clone(name))).collect();
        let secrets = listener.secrets();
        self.holds.extend(secrets.map(|name| (ResourceType::Secret, canonical(name))));
        (self.made, self.made_of) = (made.hash(name), made);
        self.answer = Some(Ok(listener));
    }

    /// Takes over what it comes to. One that can't be leaves what serves in force.
    fn take(&mut self, name: &str, mut answer: Answer, look: &Look<'_>) {
        let serving = self.serving();
        let why = answer.as_ref().ok().and_then(|next| refused(next, serving));
        let why = why.zip(self.listener.as_ref().ok());
        let why = why.map(|(why, listener)| Arc::from(format!("listener {listener}: {why}")));
        let is_kept = why.is_some() && serving.is_some();
        self.trouble = match (why, serving) {
            (Some(why), None) => {
                answer = Err(why);
                None
            }
            (why, _) => why.or_else(|| look.trouble.clone()),
        };
        let restored = self.restored.take().filter(|_| !matches!(self.answer, Some(Ok(_))));
        if !is_kept {
            self.holds.clone_from(&look.needs);
            self.made = hash_of(name, &answer, look);
            self.made_of =
                look.good.as_ref().map_or_else(Made::default, |good| Made::of(good, look.store));
            self.answer = Some(answer);
        } else if let Some(restored) = restored {
            self.take_restored(name, restored);
        }
        self.settle(name, look.store);
    }

    /// What follows from the answer.
    fn settle(&mut self, name: &str, store: &Store) {
        let answer = self.answer.as_ref();
        self.clusters = Arc::new(answer.map(|all| clusters(all, store)).unwrap_or_default());
        self.hash = Some(self.trouble.as_ref().map_or(self.made, |why| {
            let mut hash = Part::new("kept listener", name);
            hash.number(self.made);
            hash.text(why);
            hash.hash()
        }));
    }
}

/// Why nobody can serve by a listener, with its routes put in; `None`: it can be, as it is `before`, for one.
pub(super) fn refused(found: &Arc<Listener>, before: Option<&Arc<Listener>>) -> Option<Arc<str>> {
    if before.is_some_and(|before| Arc::ptr_eq(before, found)) {
        return None;
    }
    let mut errors: Vec<String> = Vec::new();
    let compiled = CompiledListener::compile(found, None).err().unwrap_or_default();
    errors.extend(compiled.iter().map(ToString::to_string));
    for forward in found.chains().filter_map(|chain| chain.forward.as_ref()) {
        let compiled = Router::compile(&forward.routes, &BTreeMap::new(), None).err();
        errors.extend(compiled.iter().flatten().map(ToString::to_string));
    }
    (!errors.is_empty()).then(|| errors.join("; ").into())
}

/// The secrets that a listener in force names.
fn secrets(answer: Option<&Answer>) -> Vec<Arc<str>> {
    let listener = answer.and_then(|answer| answer.as_ref().ok());
    listener.iter().flat_map(|listener| listener.secrets()).cloned().collect()
}

/// The clusters that the filters of a listener in force ask somebody in. gRFC A75: what an aggregate stands
/// for are clusters of their own.
fn clusters(answer: &Answer, store: &Store) -> BTreeSet<Arc<str>> {
    let listener = answer.as_ref().ok();
    let mut found: BTreeSet<_> =
        listener.iter().flat_map(|listener| listener.clusters()).cloned().collect();
    let leaves: Vec<_> = found.iter().flat_map(|name| aggregate::leaves(store, name)).collect();
    found.extend(leaves);
    found
}

fn hash_of(name: &str, answer: &Answer, look: &Look<'_>) -> u64 {
    let mut hash = match answer {
        Ok(_) => Part::new("listener", name),
        Err(why) => {
            let mut hash = Part::new("absent listener", name);
            hash.text(why);
            hash
        }
    };
    // Secrets and clusters have parts of their own, as they change alone.
    let parts = look.needs.iter().filter(|(kind, _)| {
        matches!(kind, ResourceType::Listener | ResourceType::RouteConfiguration)
    });
    parts.for_each(|(kind, name)| hash.resource(look.store, *kind, name));
    hash.number(look.good.as_ref().map_or(0, |good| good.received.hash));
    hash.hash()
}

/// One look at a listener and all that it names.
struct Look<'s> {
    store: &'s Store,
    needs: BTreeSet<Key>,
    is_pending: bool,
    /// The last that a server can serve by.
    good: Option<Good>,
    /// What is wrong with the newest, if that is not it.
    trouble: Option<Arc<str>>,
}

impl<'s> Look<'s> {
    const fn new(store: &'s Store, good: Option<Good>) -> Self {
        Self { store, needs: BTreeSet::new(), is_pending: false, good, trouble: None }
    }

    fn look(&mut self, kind: ResourceType, name: &Arc<str>) -> Known<'s> {
        let name = canonical(name);
        let known = self.store.look(kind, &name);
        self.needs.insert((kind, name));
        self.is_pending |= known == Known::Pending;
        known
    }

    /// A cluster and all that is behind it.
    fn cluster(&mut self, name: &Arc<str>) {
        let mut walk = Walk::new(self.store, &mut self.needs);
        walk.need_cluster(name);
        self.is_pending |= walk.is_pending();
    }

    /// What it comes to; `None`: something has no answer yet.
    fn listener(
        &mut self,
        resource: &Result<Arc<str>, Arc<str>>,
        before: Option<&Arc<Listener>>,
    ) -> Option<Answer> {
        let name = match resource {
            Ok(name) => name,
            Err(why) => return Some(Err(Arc::clone(why))),
        };
        let listener = match self.look(ResourceType::Listener, name) {
            Known::Value(Resource::Listener(listener)) => listener,
            Known::Missing(why) => {
                self.good = None;
                return Some(Err(format!("listener {name}: {why}").into()));
            }
            Known::Value(_) | Known::Pending => return None,
        };
        let (good, trouble) = Good::of(listener, self.store, self.good.as_ref());
        self.trouble = trouble.map(|why| format!("listener {name}: {why}").into());
        self.good.clone_from(&good);
        let Some(good) = good else {
            let unfit = "is for clients: a server's is a socket listener, inbound";
            let why =
                self.trouble.take().unwrap_or_else(|| format!("listener {name} {unfit}").into());
            return Some(Err(why));
        };
        let found = self.server(&good.server, before);
        (!self.is_pending).then_some(Ok(found))
    }

    /// A listener with its routes put in; what is equal to `before` stays the same pointer.
    fn server(&mut self, server: &XdsServer, before: Option<&Arc<Listener>>) -> Arc<Listener> {
        for name in server.listener.secrets() {
            self.look(ResourceType::Secret, name);
        }
        let mut found = (*server.listener).clone();
        let chains = found.filter_chains.iter_mut().chain(&mut found.default_filter_chain);
        for (chain, routes) in chains.zip(&server.routes) {
            let known =
                routes.as_ref().map(|name| self.look(ResourceType::RouteConfiguration, name));
            if let Some(Known::Value(Resource::RouteConfiguration(routes))) = known {
                *chain = with_routes(chain, &routes.model);
            }
            let same = before.and_then(|before| before.chains().find(|old| *old == &*chain));
            if let Some(same) = same {
                *chain = Arc::clone(same);
            }
        }
        found.clusters().for_each(|cluster| self.cluster(cluster));
        match before {
            Some(before) if **before == found => Arc::clone(before),
            _ => Arc::new(found),
        }
    }
}

/// A listener with the routes that `find` has of those that it names; the others are none.
pub(super) fn with_all_routes<'r>(
    server: &XdsServer,
    mut find: impl FnMut(&Arc<str>) -> Option<&'r Arc<RouteConfiguration>>,
) -> Listener {
    let mut found = (*server.listener).clone();
    let chains = found.filter_chains.iter_mut().chain(&mut found.default_filter_chain);
    for (chain, name) in chains.zip(&server.routes) {
        if let Some(routes) = name.as_ref().and_then(&mut find) {
            *chain = with_routes(chain, routes);
        }
    }
    found
}

fn with_routes(chain: &Arc<FilterChain>, routes: &Arc<RouteConfiguration>) -> Arc<FilterChain> {
    let mut chain = (**chain).clone();
    if let Some(http) = &mut chain.http {
        let routes = routes.for_filters(&http.http_filters);
        Arc::make_mut(http).route_configuration = routes;
    }
    Arc::new(chain)
}
