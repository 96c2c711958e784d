//! [`Keeper`]: what a server does when the configuration changes: whether it serves, which connections end,
//! and what is told of ports that are open.
//!
//! One task for each server, because the connections themselves must not wake at every change.

use super::accept::{Acceptor, Ends};
use super::accept_error::AcceptError;
use super::listen::elsewhere;
use super::serve::{Inner, ServeError};
use crate::clock;
use mesh_core::WallTime;
use mesh_core::inbound::{CompiledListener, Opening, openings};
use mesh_core::model::Address;
use parking_lot::Mutex;
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Whether a server serves (gRFC A36).
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "closed by gRFC A36")]
pub enum ServingMode {
    /// It does.
    Serving,
    /// It does not: connections are closed at once, or will be in a moment.
    NotServing(Arc<str>),
}

/// The longest announcement of an end.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

type Callback = Box<dyn Fn(&ServingMode) + Send + Sync>;

/// What a server knows of itself.
pub(super) struct Keeper {
    state: Mutex<State>,
    /// Callbacks are not called under the lock of the state, because they may ask for the mode.
    callbacks: Mutex<Vec<Callback>>,
    /// The server is gone, or ends.
    wake: Arc<Notify>,
    /// Who looks at the configuration: one after the other, so that the last that is told is what is in force.
    looking: Mutex<()>,
}

struct State {
    mode: ServingMode,
    /// Where it listens.
    bound: Vec<Address>,
    announce: Duration,
    /// It ends, and goes on to accept until then.
    ends: Option<Instant>,
    told: Vec<Opening>,
    /// The last fault of ours, so that each connection does not tell it again.
    fault: String,
}

impl Default for Keeper {
    fn default() -> Self {
        let state = State {
            mode: ServingMode::NotServing("there is no configuration yet".into()),
            bound: Vec::new(),
            announce: Duration::ZERO,
            ends: None,
            told: Vec::new(),
            fault: String::new(),
        };
        let (state, wake) = (Mutex::new(state), Arc::new(Notify::new()));
        Self { state, callbacks: Mutex::default(), wake, looking: Mutex::default() }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.wake.notify_one();
    }
}

impl Keeper {
    pub(super) fn mode(&self) -> ServingMode {
        self.state.lock().mode.clone()
    }

    pub(super) fn tell(&self, callback: Callback) {
        let mut callbacks = self.callbacks.lock();
        callback(&self.mode());
        callbacks.push(callback);
    }

    pub(super) fn announce(&self, time: Duration) {
        self.state.lock().announce = time;
    }

    /// It listens there, until it does no more ([`left`](Self::left)).
    pub(super) fn bound(&self, address: Option<&Address>) {
        self.state.lock().bound.extend(address.cloned());
    }

    /// It does not listen there any more. What that means is looked at by the server's task: whoever is told of a mode may
    /// be the one who ends this.
    pub(super) fn left(&self, address: Option<&Address>) {
        let mut state = self.state.lock();
        let at = state.bound.iter().position(|bound| Some(bound) == address);
        if let Some(at) = at {
            state.bound.swap_remove(at);
        }
        drop(state);
        self.wake.notify_one();
    }

    /// Where it listens.
    pub(super) fn bounds(&self) -> Vec<Address> {
        self.state.lock().bound.clone()
    }

    /// The server ends within `deadline`: how long it goes on to accept from now on.
    pub(super) fn ends(&self, deadline: Duration) -> Duration {
        let announce = {
            let (mut state, now) = (self.state.lock(), Instant::now());
            let announce = state.announce.min(deadline).min(LONGEST);
            let ends = *state.ends.get_or_insert(now + announce);
            ends.saturating_duration_since(now).min(deadline)
        };
        self.turn(&ServingMode::NotServing("it ends".into()));
        announce
    }

    fn turn(&self, mode: &ServingMode) {
        let callbacks = self.callbacks.lock();
        {
            let mut state = self.state.lock();
            // What was judged before the end is told no more after it.
            let is_late = state.ends.is_some() && *mode == ServingMode::Serving;
            if is_late || state.mode == *mode {
                return;
            }
            state.mode = mode.clone();
        }
        callbacks.iter().for_each(|callback| callback(mode));
    }

    /// The mode by this configuration.
    fn judge(
        &self,
        listener: Option<&CompiledListener>,
        absent: impl FnOnce() -> Option<Arc<str>>,
    ) -> ServingMode {
        let state = self.state.lock();
        if state.ends.is_some() {
            return state.mode.clone();
        }
        let Some(listener) = listener else {
            let unknown = || "the configuration does not have the listener".into();
            return ServingMode::NotServing(absent().unwrap_or_else(unknown));
        };
        let configured = listener.model().address.as_ref();
        let elsewhere = state.bound.iter().find_map(|bound| elsewhere(configured?, bound));
        elsewhere.map_or(ServingMode::Serving, |why| ServingMode::NotServing(why.into()))
    }

    /// Ports that are open, if that has changed.
    fn opened(
        &self,
        listener: Option<&CompiledListener>,
        has_identity: bool,
        today: WallTime,
    ) -> Vec<Opening> {
        let now = listener.map(|listener| openings(listener, has_identity, today));
        let now = now.unwrap_or_default();
        let mut state = self.state.lock();
        let news: Vec<_> = now.iter().filter(|one| !state.told.contains(one)).cloned().collect();
        state.told = now;
        news
    }

    /// Tells why a connection was not served to its end: loudly what is ours, so that it is seen, and once.
    pub(super) fn failed(&self, acceptor: &Acceptor, ends: Ends, error: &ServeError) {
        let (listener, remote) = (acceptor.name(), ends.remote.map(|remote| remote.to_string()));
        match error {
            ServeError::Accept(error) if error.is_ours() => {
                let text = error.to_string();
                let is_new = std::mem::replace(&mut self.state.lock().fault, text.clone()) != text;
                if is_new {
                    tracing::warn!(target: "mesh::server", %listener, "{text}");
                }
            }
            ServeError::Accept(
                AcceptError::Closed | AcceptError::Io(_) | AcceptError::NotServing { .. },
            )
            | ServeError::Http(_) => {
                tracing::debug!(target: "mesh::server", %listener, remote, "{error}");
            }
            ServeError::Accept(_)
            | ServeError::Flood(_)
            | ServeError::Silent
            | ServeError::Deadline => {
                tracing::info!(target: "mesh::server", %listener, remote, "{error}");
            }
        }
    }
}

impl Inner {
    /// Looks at the configuration in force. How long until the next chain ends by itself.
    pub(super) fn look(&self) -> Option<Duration> {
        let _looking = self.keeper.looking.lock();
        let (listener, today) = (self.acceptor.listener(), clock::wall());
        let listener = listener.as_deref();
        self.keeper.turn(&self.keeper.judge(listener, || self.acceptor.absent()));
        self.drains.changed(listener, today);
        #[cfg(feature = "tls")]
        self.acceptor.let_go(listener);
        for opening in self.keeper.opened(listener, self.has_identity(), today) {
            tracing::warn!(target: "mesh::server", listener = %self.acceptor.name(), "{opening}");
        }
        let chains = listener.map_or(&[][..], CompiledListener::chains);
        let ends = chains.iter().filter_map(|chain| chain.model().until);
        let next = ends.filter(|until| *until > today).min();
        // The clock may jump: it is looked at again within a minute, whenever it will be.
        next.map(|next| next.saturating_duration_since(today).min(Duration::from_secs(60)))
    }

    #[cfg(feature = "tls")]
    fn has_identity(&self) -> bool {
        self.mesh.identities().is_some()
    }

    #[cfg(not(feature = "tls"))]
    #[expect(clippy::unused_self, reason = "with TLS it depends")]
    const fn has_identity(&self) -> bool {
        false
    }
}

/// Starts the task that keeps a server up to date. It ends with the server, or with the mesh.
#[expect(clippy::disallowed_methods, reason = "a server's watch over the configuration is a task")]
pub(super) fn start(server: &Arc<Inner>) {
    server.look();
    let weak = Arc::downgrade(server);
    let wake = Arc::clone(&server.keeper.wake);
    let mut progress = server.mesh.progress();
    drop(server.mesh.shared().runtime.spawn(async move {
        while let Some(next) = look(&weak) {
            let due = async {
                match next {
                    Some(next) => tokio::time::sleep(next).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = progress.changed() => if changed.is_err() { return },
                () = wake.notified() => {}
                () = due => {}
            }
        }
    }));
}

fn look(server: &Weak<Inner>) -> Option<Option<Duration>> {
    server.upgrade().map(|server| server.look())
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeper").field("mode", &self.mode()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_server_that_ends_serves_no_more() {
        let keeper = Keeper::default();
        keeper.turn(&ServingMode::Serving);
        assert_eq!(keeper.mode(), ServingMode::Serving);
        keeper.announce(Duration::from_secs(10));
        assert_eq!(keeper.ends(Duration::from_secs(30)), Duration::from_secs(10));
        let told = keeper.mode();
        assert!(matches!(told, ServingMode::NotServing(_)), "{told:?}");
        // Judged before.
        keeper.turn(&ServingMode::Serving);
        assert_eq!(keeper.mode(), told);
        // Who drains it as well cuts nothing off, but by his deadline.
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(keeper.ends(Duration::from_secs(30)), Duration::from_secs(8));
        assert_eq!(keeper.ends(Duration::from_secs(5)), Duration::from_secs(5));
    }
}
