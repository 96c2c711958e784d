//! [`Demand`]: what calls ask a source for.
//!
//! A control plane that is asked by name (gRPC) has to be told the names; calls know them. The first
//! call to an authority leaves it here and waits; a source that works on demand takes it, and answers
//! with a configuration whose [`on_demand`](mesh_core::ConfigUpdate::on_demand) has it.
//!
//! A source that finds that an authority is not used any more lets go of it ([`Demand::release`]): then the
//! next call to it asks anew.
//!
//! Without such a source nothing is left here, and a call pays one load of a flag.

use super::trouble::Trouble;
use crate::clock;
use crate::observe::registry::Registry;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use tokio::sync::Notify;

/// The most authorities that are asked for. Calls to further ones are refused.
pub const MAX_AUTHORITIES: usize = 10_000;

/// The most listeners that servers of one program ask for.
pub const MAX_LISTENERS: usize = 1_000;

/// The source's end: the authorities that calls are made to, and the listeners of servers.
#[derive(Debug)]
pub struct Demand(Arc<Interests>);

/// An authority that calls are made to, in lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct Interest {
    /// The authority as the call has it.
    pub authority: Arc<str>,
    /// The port that the call's scheme stands for, for an authority without one.
    pub default_port: u16,
}

/// What is asked of a source.
#[derive(Debug)]
#[cfg_attr(not(feature = "xds"), expect(dead_code, reason = "for XdsSource"))]
pub(super) enum Wish {
    /// Calls are made to an authority.
    Calls(Interest),
    /// A server asks for its listener.
    Server(Arc<str>),
}

impl Demand {
    /// Waits for the next authority that was not asked for before.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn next(&mut self) -> Interest {
        self.0.next().await
    }

    /// Waits for the next listener that a server asks for and that was not asked for before, by what the
    /// server calls it: where it listens, or a name. The source answers with a configuration whose
    /// [`listeners`](mesh_core::ConfigUpdate::listeners) or
    /// [`absent_listeners`](mesh_core::ConfigUpdate::absent_listeners) have it.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn next_listener(&mut self) -> Arc<str> {
        self.0.next_listener().await
    }

    /// Waits for whichever comes first. Cancel safe, as both are.
    #[cfg_attr(not(feature = "xds"), expect(dead_code, reason = "for XdsSource"))]
    pub(super) async fn next_wish(&self) -> Wish {
        tokio::select! {
            interest = self.0.next() => Wish::Calls(interest),
            name = self.0.next_listener() => Wish::Server(name),
        }
    }

    /// Holds an authority that the source answers for by itself, so that it counts and can be
    /// [released](Self::release). One that is held already stays so, however many there are.
    pub fn hold(&mut self, authority: &Arc<str>) {
        self.0.state.lock().known.entry(Arc::clone(authority)).or_default();
    }

    /// Lets go of an authority: the next call that finds no answer for it asks for it again. The answer has
    /// to be gone from [`on_demand`](mesh_core::ConfigUpdate::on_demand) with the next configuration.
    pub fn release(&mut self, authority: &str) {
        let mut state = self.0.state.lock();
        state.known.remove(authority);
        state.fresh.retain(|interest| *interest.authority != *authority);
    }

    /// Says that a server of the source can't be reached: so many attempts in a row failed, the last one with
    /// this error. Calls that end without an answer say so.
    pub fn unreachable(&self, server: &Arc<str>, attempts: u32, error: &Arc<str>) {
        self.0.unreachable(server, attempts, error);
    }

    /// Says that a server of the source can be reached, for the first time or again.
    pub fn reachable(&self, server: &str) {
        self.0.reachable(server);
    }

    /// Names all clusters that routes lead to and that there are not, each with the reason. Calls that end for
    /// want of a cluster say so.
    pub fn missing(&self, clusters: BTreeMap<Arc<str>, Arc<str>>) {
        self.0.missing(clusters);
    }

    /// The authorities that are held, with how often calls asked for each.
    #[cfg_attr(not(any(feature = "xds", test)), expect(dead_code, reason = "for XdsSource"))]
    pub(super) fn held(&self) -> Vec<(Arc<str>, u64)> {
        let state = self.0.state.lock();
        state.known.iter().map(|(authority, asked)| (Arc::clone(authority), *asked)).collect()
    }
}

impl Drop for Demand {
    fn drop(&mut self) {
        self.0.is_open.store(false, Ordering::Relaxed);
    }
}

/// What calls asked for so far.
#[derive(Default)]
pub(crate) struct Interests {
    is_open: AtomicBool,
    state: Mutex<State>,
    arrived: Notify,
    listeners: Mutex<Wanted>,
    listener_arrived: Notify,
    /// Somebody wants the source to look again.
    reload: Notify,
    /// What is wrong with the source.
    trouble: Mutex<Trouble>,
    /// Where calls are counted.
    counted: OnceLock<Weak<Registry>>,
}

#[derive(Default)]
struct State {
    /// With how often each was asked for.
    known: BTreeMap<Arc<str>, u64>,
    fresh: Vec<Interest>,
}

/// The listeners that servers ask for. They stay wanted: a server ends with its program.
#[derive(Default)]
struct Wanted {
    /// Those that the program has itself.
    own: BTreeSet<Arc<str>>,
    known: BTreeSet<Arc<str>>,
    fresh: Vec<Arc<str>>,
}

/// No more authorities can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("calls ask for more than {MAX_AUTHORITIES} authorities")]
pub(crate) struct TooMany;

/// No more listeners can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("servers of this program ask for more than {MAX_LISTENERS} listeners")]
pub(crate) struct TooManyListeners;

impl Interests {
    /// The source is to look again.
    pub(crate) fn reload(&self) {
        self.reload.notify_one();
    }

    /// Waits until somebody wants that.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(crate) async fn reload_wanted(&self) {
        self.reload.notified().await;
    }

    async fn next(&self) -> Interest {
        loop {
            if let Some(interest) = self.state.lock().fresh.pop() {
                return interest;
            }
            self.arrived.notified().await;
        }
    }

    /// See [`Demand::next_listener`]; also of a source that asks for everything.
    pub(super) async fn next_listener(&self) -> Arc<str> {
        loop {
            if let Some(name) = self.listeners.lock().fresh.pop() {
                return name;
            }
            self.listener_arrived.notified().await;
        }
    }

    /// Whether a source takes them.
    pub(crate) fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Relaxed)
    }

    /// A source that takes them will start.
    pub(crate) fn expect_source(&self) {
        self.is_open.store(true, Ordering::Relaxed);
    }

    /// The end of the source that takes them from now on.
    pub(crate) fn open(self: &Arc<Self>) -> Demand {
        self.is_open.store(true, Ordering::Relaxed);
        Demand(Arc::clone(self))
    }

    /// See [`Demand::unreachable`].
    pub(super) fn unreachable(&self, server: &Arc<str>, attempts: u32, error: &Arc<str>) {
        self.trouble.lock().unreachable(server, attempts, error, clock::now());
    }

    /// See [`Demand::reachable`].
    pub(super) fn reachable(&self, server: &str) {
        self.trouble.lock().reachable(server);
    }

    /// See [`Demand::missing`].
    pub(super) fn missing(&self, clusters: BTreeMap<Arc<str>, Arc<str>>) {
        self.trouble.lock().missing(clusters);
    }

    /// What is wrong with the source, now.
    pub(crate) fn trouble(&self) -> Trouble {
        self.trouble.lock().clone()
    }

    /// Calls are counted in `registry`.
    pub(crate) fn count_in(&self, registry: &Arc<Registry>) {
        // Once, when the mesh is built.
        let _counted_already = self.counted.set(Arc::downgrade(registry));
    }

    /// Calls by virtual host: how many were begun, and whether any is in flight.
    #[cfg_attr(not(feature = "xds"), expect(dead_code, reason = "for XdsSource"))]
    pub(super) fn calls(&self) -> BTreeMap<Arc<str>, (u64, bool)> {
        let registry = self.counted.get().and_then(Weak::upgrade);
        registry.map(|registry| registry.calls_by_virtual_host()).unwrap_or_default()
    }

    /// A server asks for its listener: of a control plane by where it listens (`0.0.0.0:8080`), or by the
    /// listener's own name. Without a source that works on demand nothing happens, and what the configuration
    /// has is all there is.
    ///
    /// # Errors
    /// [`TooManyListeners`]: servers ask for [`MAX_LISTENERS`] already.
    pub(crate) fn want_listener(&self, name: &str) -> Result<(), TooManyListeners> {
        let mut listeners = self.listeners.lock();
        if listeners.known.contains(name) || listeners.own.contains(name) {
            return Ok(());
        }
        if listeners.known.len() >= MAX_LISTENERS {
            return Err(TooManyListeners);
        }
        let name: Arc<str> = name.into();
        listeners.known.insert(Arc::clone(&name));
        listeners.fresh.push(name);
        drop(listeners);
        self.listener_arrived.notify_one();
        Ok(())
    }

    /// The program has these listeners itself: no source is asked for them.
    pub(crate) fn has_listeners(&self, names: impl Iterator<Item = Arc<str>>) {
        self.listeners.lock().own = names.collect();
    }

    /// A call is made to `authority`.
    pub(crate) fn ask(&self, authority: &str, default_port: u16) -> Result<(), TooMany> {
        let mut state = self.state.lock();
        if let Some(asked) = state.known.get_mut(authority) {
            *asked = asked.wrapping_add(1);
            return Ok(());
        }
        if state.known.len() >= MAX_AUTHORITIES {
            return Err(TooMany);
        }
        let authority: Arc<str> = authority.into();
        state.known.insert(Arc::clone(&authority), 1);
        state.fresh.push(Interest { authority, default_port });
        drop(state);
        self.arrived.notify_one();
        Ok(())
    }
}

impl fmt::Debug for Interests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interests").field("is_open", &self.is_open()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    #[test]
    fn an_authority_is_asked_for_once() {
        let interests = Arc::new(Interests::default());
        assert!(!interests.is_open());
        let mut demand = interests.open();
        assert!(interests.is_open());
        assert_eq!(demand.next().now_or_never(), None);
        for _ in 0..3 {
            assert_eq!(interests.ask("a:80", 443), Ok(()));
        }
        let asked = demand.next().now_or_never().unwrap();
        assert_eq!((&*asked.authority, asked.default_port), ("a:80", 443));
        assert_eq!(demand.next().now_or_never(), None);
        drop(demand);
        assert!(!interests.is_open());
    }

    #[test]
    fn what_is_released_is_asked_for_again() {
        let interests = Arc::new(Interests::default());
        let mut demand = interests.open();
        let held = |demand: &Demand| {
            let held = demand.held().into_iter();
            held.map(|(authority, asked)| format!("{authority} {asked}")).collect::<Vec<_>>()
        };
        demand.hold(&"kept".into());
        for _ in 0..2 {
            assert_eq!(interests.ask("a", 80), Ok(()));
        }
        assert_eq!(held(&demand), ["a 2", "kept 0"]);
        assert!(demand.next().now_or_never().is_some());
        demand.release("a");
        assert_eq!(held(&demand), ["kept 0"]);
        assert_eq!(interests.ask("kept", 80), Ok(()));
        assert_eq!(demand.next().now_or_never(), None, "the source answers for it by itself");
        assert_eq!(interests.ask("a", 80), Ok(()));
        demand.release("a");
        assert_eq!(demand.next().now_or_never(), None, "released before it was taken");
        assert_eq!(interests.ask("a", 80), Ok(()));
        assert!(demand.next().now_or_never().is_some());
    }

    #[test]
    fn a_listener_is_asked_for_once() {
        let interests = Arc::new(Interests::default());
        assert_eq!(interests.want_listener("before"), Ok(()));
        let mut demand = interests.open();
        for _ in 0..2 {
            assert_eq!(interests.want_listener("0.0.0.0:80"), Ok(()));
        }
        let mut asked = || demand.next_listener().now_or_never();
        assert_eq!(asked().as_deref(), Some("0.0.0.0:80"));
        assert_eq!(asked().as_deref(), Some("before"));
        assert_eq!(asked(), None);
        for number in 2..MAX_LISTENERS {
            assert_eq!(interests.want_listener(&number.to_string()), Ok(()));
        }
        assert_eq!(interests.want_listener("one more"), Err(TooManyListeners));
    }

    #[test]
    fn they_are_bounded() {
        let interests = Interests::default();
        for number in 0..MAX_AUTHORITIES {
            assert_eq!(interests.ask(&number.to_string(), 80), Ok(()));
        }
        assert_eq!(interests.ask("one more", 80), Err(TooMany));
        assert_eq!(interests.ask("7", 80), Ok(()), "known before");
        let interests = Arc::new(interests);
        interests.open().release("7");
        assert_eq!(interests.ask("one more", 80), Ok(()), "there is room again");
    }
}
