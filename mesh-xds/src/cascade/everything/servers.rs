//! [`Servers`]: what servers ask for among all listeners: by a listener's name, or by where they listen.
//!
//! - **By name**: the listener of this name, or of the name that the bootstrap's template makes of an address (gRFC
//!   A36).
//! - **By address**, where there is no template: the listener that has it (Envoy binds the addresses of all listeners
//!   itself, so a listener's address says which server is meant). It is the very address: a server is not served
//!   anywhere else (gRFC A36). A listener that only servers use is better than another, and of two that are as good,
//!   the first by name counts.
//! - **Gone is not serving** (gRFC A36): why is beside it. What has no answer yet stays as it was.
//!
//! What it does not do: wait for routes, clusters and secrets; [`Listeners`] has in force what is complete.

use super::super::Key;
use super::super::version::{Part, Version};
use super::listener::InForce;
use super::{Listeners, Now, Users, is_named, replace};
use crate::ResourceType;
use crate::protocol::canonical;
use crate::store::Known;
use mesh_core::model::{Address, Listener};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

/// What servers ask for, by what they call it.
#[derive(Debug, Default)]
pub(super) struct Servers {
    asked: BTreeMap<Arc<str>, Server>,
    users: Users,
    /// Something has changed that an answer depends on.
    stale: bool,
    version: Version,
}

type Answer = Result<Arc<Listener>, Arc<str>>;

#[derive(Debug)]
struct Server {
    /// The resource, or why it has no name.
    resource: Result<Arc<str>, Arc<str>>,
    /// The listener that it is.
    listener: Option<Arc<str>>,
    /// `None`: none yet.
    answer: Option<Answer>,
    hash: Option<u64>,
}

/// The listeners that are served, and why others are not.
pub(super) type Answers = (BTreeMap<Arc<str>, Arc<Listener>>, Arc<BTreeMap<Arc<str>, Arc<str>>>);

impl Servers {
    /// A server asks for `name`.
    pub(super) fn add(
        &mut self,
        name: &Arc<str>,
        resource: Result<Arc<str>, Arc<str>>,
        touched: &mut BTreeSet<Key>,
    ) {
        if self.asked.contains_key(name) {
            return;
        }
        let needs = needs(&resource);
        replace(&mut self.users, name, (&BTreeSet::new(), &needs), touched);
        let server = Server { resource, listener: None, answer: None, hash: None };
        self.asked.insert(Arc::clone(name), server);
        self.stale = true;
    }

    /// No server asks for it any more.
    pub(super) fn remove(&mut self, name: &Arc<str>, touched: &mut BTreeSet<Key>) {
        let Some(server) = self.asked.remove(name) else { return };
        replace(&mut self.users, name, (&needs(&server.resource), &BTreeSet::new()), touched);
        self.version.replace(server.hash, None);
        self.stale = true;
    }

    /// Something has changed that an answer depends on.
    pub(super) fn look_again(&mut self) {
        self.stale = true;
    }

    /// Looks at the listeners again, and tells them which are asked for. Whether an answer is another one.
    pub(super) fn settle(&mut self, known: Now<'_>, listeners: &mut Listeners) -> bool {
        if !std::mem::take(&mut self.stale) {
            return false;
        }
        let mut names = BTreeSet::new();
        let mut changed = false;
        for (name, server) in &mut self.asked {
            server.listener = match &server.resource {
                Ok(resource) => Some(canonical(resource)),
                Err(_) => by_address(name, listeners),
            };
            names.extend(server.listener.clone());
            let Some(answer) = server.answer(name, known, listeners) else { continue };
            let mut hash = Part::new("asked for", name);
            hash.text(server.listener.as_deref().unwrap_or_default());
            hash.text(answer.as_ref().err().map_or("", |why| &**why));
            let hash = Some(hash.hash());
            self.version.replace(std::mem::replace(&mut server.hash, hash), hash);
            let answer = Some(answer);
            changed |= server.answer != answer;
            server.answer = answer;
        }
        listeners.set_asked(names) | changed
    }

    /// The listeners that are served: those that are for servers alone by their names, and those that are asked for;
    /// and why others that are asked for are not.
    pub(super) fn answers(&self, listeners: &Listeners) -> Answers {
        let mut served: BTreeMap<_, _> = listeners.for_servers().collect();
        let mut absent = BTreeMap::new();
        for (name, server) in &self.asked {
            match &server.answer {
                Some(Ok(listener)) => {
                    served.insert(Arc::clone(name), Arc::clone(listener));
                }
                Some(Err(why)) => {
                    absent.insert(Arc::clone(name), Arc::clone(why));
                }
                None => {}
            }
        }
        (served, Arc::new(absent))
    }

    /// Whether all have an answer.
    pub(super) fn is_complete(&self) -> bool {
        self.asked.values().all(|server| server.answer.is_some())
    }

    /// Who needs what by its name.
    pub(super) const fn users(&self) -> &Users {
        &self.users
    }

    /// The hash of all answers.
    pub(super) const fn version(&self) -> Version {
        self.version
    }
}

impl Server {
    /// What it comes to; `None`: it has no answer yet, or none but the last.
    fn answer(&self, name: &str, known: Now<'_>, listeners: &Listeners) -> Option<Answer> {
        let Some(listener) = &self.listener else {
            let Err(why) = &self.resource else { return None };
            let is_known = known.asked.is_complete() && listeners.is_complete();
            return is_known.then(|| Err(no_address(name, why)));
        };
        let Some(in_force) = listeners.get(listener) else {
            return absent(listener, known, listeners);
        };
        match (&in_force.listener.server, &in_force.server) {
            (_, Some(served)) => Some(Ok(Arc::clone(served))),
            (Some(Ok(_)), None) => {
                let why = in_force.trouble.as_ref()?;
                Some(Err(format!("listener {listener}: {why}").into()))
            }
            (Some(Err(errors)), None) => {
                let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
                Some(Err(format!("listener {listener}: {}", errors.join("; ")).into()))
            }
            (None, None) => Some(Err(format!(
                "listener {listener} is for clients: a server's is a socket listener, inbound"
            )
            .into())),
        }
    }
}

/// Why a listener is not there; `None`: it may come.
fn absent(name: &Arc<str>, known: Now<'_>, listeners: &Listeners) -> Option<Answer> {
    if listeners.has_come(name) {
        return None;
    }
    let why = match known.store.look(ResourceType::Listener, name) {
        Known::Missing(why) => Arc::clone(why),
        Known::Value(_) => return None,
        Known::Pending if is_named(&(ResourceType::Listener, Arc::clone(name))) => return None,
        Known::Pending if known.asked.is_complete() => "the control plane does not have it".into(),
        Known::Pending => return None,
    };
    Some(Err(format!("listener {name}: {why}").into()))
}

/// Neither a listener has the address, nor has the bootstrap a name for it.
fn no_address(name: &str, why: &str) -> Arc<str> {
    let none = "no listener of the control plane that is for servers has the address";
    format!("{none} {name}, and {why}").into()
}

/// What is asked for by its name.
fn needs(resource: &Result<Arc<str>, Arc<str>>) -> BTreeSet<Key> {
    let key = resource.iter().map(|name| (ResourceType::Listener, canonical(name)));
    key.filter(is_named).collect()
}

/// The best listener for a server that listens at `bound`.
fn by_address(bound: &str, listeners: &Listeners) -> Option<Arc<str>> {
    let bound: SocketAddr = bound.parse().ok()?;
    let fitting = listeners.all().filter_map(|(name, in_force)| {
        let rank = rank(in_force, bound)?;
        Some((rank, in_force.listener.http.is_some(), name))
    });
    fitting.min().map(|(_, _, name)| Arc::clone(name))
}

/// How well a listener fits; the lower, the better. `None`: it does not.
fn rank(in_force: &InForce, bound: SocketAddr) -> Option<u8> {
    let Some(good) = &in_force.good else {
        // Whose it is can be told by its port alone: so that somebody hears what is wrong with it.
        let listener = &in_force.listener;
        let is_wrong = listener.server.is_some();
        return (is_wrong && listener.port == Some(bound.port())).then_some(1);
    };
    match &good.server.listener.address {
        Some(Address::Socket(address)) => {
            let is_same = address.ip().to_canonical() == bound.ip().to_canonical();
            (is_same && address.port() == bound.port()).then_some(0)
        }
        Some(Address::Unix(_)) | None => None,
    }
}
