//! [`Federation`]: which servers are asked for which names, as a machine without streams or time.
//!
//! A bootstrap has a list of servers for names of the old style, and may have another for each authority
//! of `xdstp:` names (gRFC A47). Of a list the first server is asked; a later one only when those before
//! it can't be reached and something is missing (gRFC A71). Clients get this wrong at the edges: a server
//! that two lists share, a failure that is known before the first watch, an answer that comes from the
//! server that was just left. So it is decided here, for all names at once, and what to do comes out.
//!
//! ```text
//!   handle_watch, handle_unwatch ─────────▶ ┌──────────────────────┐
//!   handle_unreachable, handle_response ──▶ │ authority: active    │ ──▶ poll_op: Watch, Unwatch,
//!   handle_value, handle_failed ──────────▶ │ server: names, reach │      Replaced, Close, Switched
//!                    whether it counts ◀──  └──────────────────────┘
//! ```
//!
//! **The rules:**
//!
//! - A watched name is asked of every server of its list up to the active one, and of no other (gRFC A71:
//!   the ones before the active are still tried).
//! - The next server becomes active when the active one can't be reached and a watched name of this
//!   authority has no answer; with `fallback_on_reachability_only` (gRFC A95) when it can't be reached.
//!   That something does not exist, or is refused, is an answer. A value from a copy on disk is none: a
//!   server that speaks is better than a file.
//! - A value from a server before the active one makes that one active; those after it are asked for
//!   nothing any more. That a stream is open changes nothing, nor that the server answers without one of
//!   the watched names.
//! - What a server that is not active says of a name does not count. Of one after the active it is late,
//!   and one before it knows less.
//! - An authority of which nothing is watched begins anew with its first server.
//! - Servers that are equal in address, credentials and known features are one (gRFC A47), with one
//!   stream; a server that is asked for nothing has none.
//!
//! - The wildcard is the name `*` of the old style: its answer is a response of its type. It covers what
//!   nobody asked for by name, but for names of authorities that have servers of their own.
//!
//! What it does not do: hold values, open streams, or tell watchers.

mod op;
mod scope;
#[cfg(test)]
mod tests;

pub(super) use op::{Authority, Cause, Op, ServerAt};

use crate::ResourceType;
use crate::bootstrap::{Bootstrap, ResourceName, Server};
use crate::cascade::Key;
use crate::protocol::{WILDCARD, canonical};
use scope::Scope;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// Whether a server can be reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Reach {
    #[default]
    Unknown,
    Reachable,
    Unreachable,
}

/// What is known of a server.
#[derive(Debug, Default)]
struct ServerState {
    /// Names that are asked of it.
    names: usize,
    reach: Reach,
    /// Names that count as absent because it said nothing, on a stream that has had no response yet.
    silent: BTreeSet<Key>,
}

/// All servers, authorities and names.
#[derive(Debug)]
pub(super) struct Federation {
    servers: Vec<ServerState>,
    scopes: BTreeMap<Authority, Scope>,
    ops: VecDeque<Op>,
}

impl Federation {
    /// The authorities of `bootstrap`, and its servers: each once, those for names of the old style
    /// first.
    pub(super) fn new(bootstrap: &Bootstrap) -> (Self, Vec<Server>) {
        let mut servers: Vec<Server> = Vec::new();
        let mut places = |list: &[Server]| {
            let mut places = Vec::new();
            for server in list {
                let at = servers.iter().position(|known| known == server).unwrap_or_else(|| {
                    servers.push(server.clone());
                    servers.len() - 1
                });
                if !places.contains(&at) {
                    places.push(at);
                }
            }
            places
        };
        let mut scopes = BTreeMap::new();
        scopes.insert(None, Scope::new(places(bootstrap.servers()), false));
        for authority in bootstrap.authorities() {
            let own = authority.servers();
            let list = if own.is_empty() { bootstrap.servers() } else { own };
            let scope = Scope::new(places(list), authority.fallback_on_reachability_only());
            scopes.insert(Some(Arc::clone(authority.name())), scope);
        }
        let states = servers.iter().map(|_| ServerState::default()).collect();
        (Self { servers: states, scopes, ops: VecDeque::new() }, servers)
    }

    /// Takes in that a name is watched, once more; `answered`: its value is held from before.
    ///
    /// # Errors
    /// When it is no name of its kind, or of an authority that the bootstrap does not have (gRFC A47).
    pub(super) fn handle_watch(
        &mut self,
        kind: ResourceType,
        name: &Arc<str>,
        answered: bool,
    ) -> Result<(), Arc<str>> {
        let authority = authority_of(kind, name)?;
        let Some(scope) = self.scopes.get_mut(&authority) else {
            let authority = authority.unwrap_or_default();
            let why = format!(
                "its authority `{authority}` is not in the bootstrap: add it to `authorities` (gRFC A47)"
            );
            return Err(why.into());
        };
        let key = (kind, canonical(name));
        if scope.watch(&key) {
            scope.set_answered(&key, answered);
            for at in 0..=scope.active {
                watch(&mut self.servers, &mut self.ops, scope.servers[at], key.clone());
            }
            self.fall_back(&authority);
        }
        Ok(())
    }

    /// Takes in that one watcher of a name is gone. One that never was is ignored.
    pub(super) fn handle_unwatch(&mut self, kind: ResourceType, name: &Arc<str>) {
        let Ok(authority) = authority_of(kind, name) else { return };
        let Some(scope) = self.scopes.get_mut(&authority) else { return };
        let key = (kind, canonical(name));
        if !scope.unwatch(&key) {
            return;
        }
        for at in 0..=scope.active {
            unwatch(&mut self.servers, &mut self.ops, scope.servers[at], &key);
        }
        if scope.is_idle() {
            scope.active = 0;
        }
    }

    /// Takes in that a server can't be reached: no stream, or one without a response (gRFC A57).
    pub(super) fn handle_unreachable(&mut self, server: ServerAt) {
        let state = &mut self.servers[server];
        if state.names == 0 {
            return;
        }
        state.reach = Reach::Unreachable;
        // A server that never spoke said nothing about what it has not.
        for key in std::mem::take(&mut state.silent) {
            self.scopes.values_mut().for_each(|scope| scope.set_answered(&key, false));
        }
        let authorities: Vec<Authority> = self.scopes.keys().cloned().collect();
        authorities.iter().for_each(|authority| self.fall_back(authority));
    }

    /// Takes in that a server has sent a response.
    pub(super) fn handle_response(&mut self, server: ServerAt) {
        let state = &mut self.servers[server];
        if state.names > 0 {
            state.reach = Reach::Reachable;
            state.silent.clear();
        }
    }

    /// Takes in that a server has sent a value. Whether it counts.
    pub(super) fn handle_value(
        &mut self,
        server: ServerAt,
        kind: ResourceType,
        name: &Arc<str>,
    ) -> bool {
        let Some((authority, place)) = self.place(server, kind, name) else { return false };
        let Some(scope) = self.scopes.get_mut(&authority) else { return false };
        if place > scope.active {
            return false;
        }
        scope.set_answered(&(kind, canonical(name)), true);
        if place < scope.active {
            self.switch_back(authority, place);
        }
        true
    }

    /// Takes in that a server has an answer for a name that is no value: it is refused, deleted, or does
    /// not exist; `silent`: that follows from its saying nothing for too long. Whether it counts.
    pub(super) fn handle_failed(
        &mut self,
        server: ServerAt,
        kind: ResourceType,
        name: &Arc<str>,
        silent: bool,
    ) -> bool {
        let Some((authority, place)) = self.place(server, kind, name) else { return false };
        let Some(scope) = self.scopes.get_mut(&authority) else { return false };
        if place != scope.active {
            return false;
        }
        let key = (kind, canonical(name));
        scope.set_answered(&key, true);
        if silent && self.servers[server].reach != Reach::Reachable {
            self.servers[server].silent.insert(key);
        }
        true
    }

    /// The next thing to do.
    pub(super) fn poll_op(&mut self) -> Option<Op> {
        self.ops.pop_front()
    }

    /// Whether a name is watched, or covered by a wildcard that is.
    pub(super) fn is_watched(&self, kind: ResourceType, name: &Arc<str>) -> bool {
        self.watched_by(kind, name).is_some()
    }

    /// Whether only a wildcard covers a name.
    pub(super) fn is_wild(&self, kind: ResourceType, name: &Arc<str>) -> bool {
        let key = (kind, canonical(name));
        let by_name = self.watched_by(kind, name).and_then(|of| self.scopes.get(&of));
        by_name.is_some_and(|scope| !scope.watches(&key))
    }

    /// The authority whose servers are asked for a name; `None`: none is.
    fn watched_by(&self, kind: ResourceType, name: &Arc<str>) -> Option<Authority> {
        let authority = authority_of(kind, name).ok()?;
        let scope = self.scopes.get(&authority);
        if scope.is_some_and(|scope| scope.watches(&(kind, canonical(name)))) {
            return Some(authority);
        }
        let top = self.scopes.get(&None)?;
        let is_theirs = scope.is_none_or(|scope| scope.servers == top.servers);
        (is_theirs && top.watches(&(kind, WILDCARD.into()))).then_some(None)
    }

    /// Whether a server is the active one of an authority of which something is watched.
    pub(super) fn is_active(&self, server: ServerAt) -> bool {
        self.busy().any(|scope| scope.servers[scope.active] == server)
    }

    /// The active server of an authority that the bootstrap has.
    pub(super) fn active(&self, authority: &Authority) -> Option<ServerAt> {
        self.scopes.get(authority).map(|scope| scope.servers[scope.active])
    }

    /// The active server for a name; `None`: it can't be asked for.
    pub(super) fn server_of(&self, kind: ResourceType, name: &Arc<str>) -> Option<ServerAt> {
        let authority = self.watched_by(kind, name);
        self.active(&authority.or_else(|| authority_of(kind, name).ok())?)
    }

    /// The names of an authority that are watched.
    pub(super) fn names(&self, authority: &Authority) -> impl Iterator<Item = &Key> {
        self.scopes.get(authority).into_iter().flat_map(Scope::names)
    }

    /// Whether all active servers can be reached; `None`: nothing is watched, or one has not been heard
    /// of yet.
    pub(super) fn is_reachable(&self) -> Option<bool> {
        let mut reaches = self.busy().map(|scope| self.servers[scope.servers[scope.active]].reach);
        let first = reaches.next()?;
        let worst = reaches.fold(first, |worst, reach| match (worst, reach) {
            (Reach::Unreachable, _) | (_, Reach::Unreachable) => Reach::Unreachable,
            (Reach::Unknown, _) | (_, Reach::Unknown) => Reach::Unknown,
            (Reach::Reachable, Reach::Reachable) => Reach::Reachable,
        });
        match worst {
            Reach::Unknown => None,
            Reach::Reachable => Some(true),
            Reach::Unreachable => Some(false),
        }
    }

    /// The authorities of which something is watched.
    fn busy(&self) -> impl Iterator<Item = &Scope> {
        self.scopes.values().filter(|scope| !scope.is_idle())
    }

    /// The authority of a watched name, and the place of a server in its list.
    fn place(
        &self,
        server: ServerAt,
        kind: ResourceType,
        name: &Arc<str>,
    ) -> Option<(Authority, usize)> {
        let authority = self.watched_by(kind, name)?;
        let place = self.scopes.get(&authority)?.servers.iter().position(|of| *of == server)?;
        Some((authority, place))
    }

    /// Makes the next server active for as long as the rules say so.
    fn fall_back(&mut self, authority: &Authority) {
        let Some(scope) = self.scopes.get_mut(authority) else { return };
        loop {
            let from = scope.servers[scope.active];
            let is_cut_off = self.servers[from].reach == Reach::Unreachable;
            let Some(to) = scope.servers.get(scope.active + 1).copied() else { return };
            if !is_cut_off || !scope.needs_fallback() {
                return;
            }
            scope.active += 1;
            self.ops.push_back(Op::Replaced { server: from });
            let (authority, cause) = (authority.clone(), Cause::Unreachable);
            self.ops.push_back(Op::Switched { authority, from, to, cause });
            for key in scope.names() {
                watch(&mut self.servers, &mut self.ops, to, key.clone());
            }
        }
    }

    fn switch_back(&mut self, authority: Authority, place: usize) {
        let Some(scope) = self.scopes.get_mut(&authority) else { return };
        let from = scope.servers[scope.active];
        for at in place + 1..=scope.active {
            for key in scope.names() {
                unwatch(&mut self.servers, &mut self.ops, scope.servers[at], key);
            }
        }
        scope.active = place;
        let (to, cause) = (scope.servers[place], Cause::Returned);
        self.ops.push_back(Op::Switched { authority, from, to, cause });
    }
}

fn watch(servers: &mut [ServerState], ops: &mut VecDeque<Op>, server: ServerAt, key: Key) {
    servers[server].names += 1;
    ops.push_back(Op::Watch { server, key });
}

/// A server that is asked for nothing has no stream, and nobody knows whether it can be reached.
fn unwatch(servers: &mut [ServerState], ops: &mut VecDeque<Op>, server: ServerAt, key: &Key) {
    let state = &mut servers[server];
    state.names = state.names.saturating_sub(1);
    state.silent.remove(key);
    ops.push_back(Op::Unwatch { server, key: key.clone() });
    if state.names == 0 {
        *state = ServerState::default();
        ops.push_back(Op::Close { server });
    }
}

/// The authority of a name.
fn authority_of(kind: ResourceType, name: &str) -> Result<Authority, Arc<str>> {
    if !name.starts_with("xdstp:") {
        return Ok(None);
    }
    let name = ResourceName::parse(kind, name).map_err(|invalid| Arc::from(invalid.to_string()))?;
    Ok(name.authority().map(Arc::from))
}
