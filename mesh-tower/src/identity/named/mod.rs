//! [`Named`]: the certificates and roots that clusters and listeners name themselves: secrets that come by SDS, files,
//! and what stands in the configuration.
//!
//! Each is an identity like one of a source ([`Identities`]): verified before it is in force, kept while what
//! replaces it is not good, watched over until its end, counted in metrics. What it has in place of a source:
//!
//! - The configuration says where its bytes are (`config.rs`), and by which name it is told of: a secret's is
//!   `secret/NAME`, a pair's in files `files/CHAIN,KEY`, a file of roots is `roots/PATH`.
//! - A handshake that needs one has it look at what is there, files once a second at most (`one.rs`). So a secret is in
//!   force for the first handshake after the configuration that brought it. Who asks has no say in what is there: one that
//!   was held up brings nothing older back.
//! - A task looks at all of them, whether somebody calls or not: at once when the configuration changes or
//!   [`Mesh::reload`](crate::Mesh::reload) asks, and every [`LOOK`]. It tells as well of chains that don't lead to the
//!   roots beside them (`beside.rs`).
//!
//! Who signs for peers is decided at handshakes (`tls/`), by the same rules; here roots are looked at for their ends.
//! The system's roots are not: they are somebody else's.

mod beside;
mod config;
mod held;
mod one;
mod slots;
#[cfg(test)]
mod tests;

use super::Identities;
use crate::observe::identity::{NamedReader, ReadIdentity};
use crate::unwind;
use beside::Beside;
use config::Found;
use held::Unread;
use mesh_core::ConfigUpdate;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

pub(super) use config::Whose;
pub(crate) use config::{of_lists, of_pair, of_trust};
pub(crate) use held::Held;
#[cfg(test)]
pub(crate) use held::Texts;
pub(crate) use one::{One, Signers};
pub(crate) use slots::{Crl, Slots};

/// How old may be what a handshake needs, if it is in files.
pub(crate) const FRESH: Duration = Duration::from_secs(1);

/// How often all of them are looked at. Handshakes have looked at what they need.
const LOOK: Duration = Duration::from_secs(3);

/// Those of the configuration, by their names.
#[derive(Default)]
pub(crate) struct Named {
    /// Where they are watched over; `None`: nowhere.
    runtime: Option<Handle>,
    state: Mutex<State>,
    /// For the task: something is to be looked at.
    wanted: Arc<Notify>,
}

#[derive(Default)]
struct State {
    /// Whoever holds one, the configuration or a handshake's policy, has the same.
    all: BTreeMap<Arc<str>, Weak<One>>,
    /// Those of the configuration in force.
    followed: BTreeMap<Arc<str>, Arc<One>>,
    beside: BTreeMap<(Whose, Whose), Arc<Mutex<Beside>>>,
    task: Option<AbortHandle>,
}

impl State {
    fn of(&mut self, name: &Arc<str>) -> Arc<One> {
        if let Some(one) = self.all.get(name).and_then(Weak::upgrade) {
            return one;
        }
        let one = Arc::new(One::new(name));
        self.all.insert(Arc::clone(name), Arc::downgrade(&one));
        one
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        if let Some(task) = self.state.get_mut().task.take() {
            task.abort();
        }
    }
}

impl Named {
    pub(super) fn new(runtime: Handle) -> Self {
        Self { runtime: Some(runtime), state: Mutex::default(), wanted: Arc::default() }
    }

    /// The one of this name. It is forgotten when neither the configuration nor anybody else holds it, and watched over
    /// while the configuration does.
    pub(super) fn of(&self, name: &Arc<str>) -> Arc<One> {
        self.state.lock().of(name)
    }

    /// Watches over those of this configuration, and over no others; `whose`: the identities whose roots may stand beside.
    pub(super) fn follow(
        self: &Arc<Self>,
        config: &ConfigUpdate,
        whose: impl Fn(&Whose) -> Option<Identities>,
    ) {
        let Found { held, beside } = Found::of(config);
        let mut state = self.state.lock();
        let next = held.into_iter().map(|(name, held)| {
            let one = state.of(&name);
            one.follow(held, self.runtime.as_ref());
            (name, one)
        });
        let next: BTreeMap<_, _> = next.collect();
        let identities = |of: &Whose| match of {
            Whose::Named(name) => next.get(name).map(|one| one.identities().clone()),
            other => whose(other),
        };
        let mut before = std::mem::take(&mut state.beside);
        let beside = beside.into_iter().filter_map(|pair| {
            let known = before.remove(&pair);
            let (own, roots) = (identities(&pair.0)?, identities(&pair.1)?);
            let known = known.filter(|known| known.lock().is_of(&own, &roots));
            Some((pair, known.unwrap_or_else(|| Arc::new(Mutex::new(Beside::new(own, roots))))))
        });
        state.beside = beside.collect();
        let before = std::mem::replace(&mut state.followed, next);
        let gone = before.into_iter().filter(|(name, _)| !state.followed.contains_key(name));
        gone.for_each(|(_, one)| one.unfollow());
        state.all.retain(|_, one| one.strong_count() > 0);
        if state.task.is_none() && !(state.followed.is_empty() && state.beside.is_empty()) {
            state.task = self.runtime.as_ref().map(|runtime| self.start(runtime));
        }
        drop(state);
        self.look();
    }

    /// Has all of them looked at now, without waiting for it.
    pub(super) fn look(&self) {
        self.wanted.notify_one();
    }

    /// Those of the configuration, by their names.
    pub(super) fn all(&self) -> Vec<(Arc<str>, Identities)> {
        let state = self.state.lock();
        let all = state.followed.iter();
        all.map(|(name, one)| (Arc::clone(name), one.identities().clone())).collect()
    }

    /// The same, for metrics.
    pub(super) fn readers(&self) -> Vec<NamedReader> {
        let readers = self.all().into_iter();
        readers.map(|(name, one)| (name, Arc::new(one) as Arc<dyn ReadIdentity>)).collect()
    }

    #[expect(clippy::disallowed_methods, reason = "who watches over certificates is a task")]
    fn start(self: &Arc<Self>, runtime: &Handle) -> AbortHandle {
        let (named, wanted) = (Arc::downgrade(self), Arc::clone(&self.wanted));
        let task = async move {
            let mut is_idle = true;
            loop {
                let due = async {
                    match is_idle {
                        true => std::future::pending().await,
                        false => tokio::time::sleep(LOOK).await,
                    }
                };
                tokio::select! {
                    () = wanted.notified() => {}
                    () = due => {}
                }
                let Some(named) = named.upgrade() else { return };
                is_idle = named.look_at_all().await;
            }
        };
        runtime.spawn(task).abort_handle()
    }

    /// Takes in what is there. `true`: there is nothing to look at.
    async fn look_at_all(&self) -> bool {
        let (followed, beside): (Vec<_>, Vec<_>) = {
            let state = self.state.lock();
            (state.followed.values().cloned().collect(), state.beside.values().cloned().collect())
        };
        look_at(&followed, beside.clone()).await;
        followed.is_empty() && beside.is_empty()
    }
}

/// Takes in what is there, of each by itself: one at which that panics hides no other.
async fn look_at(followed: &[Arc<One>], beside: Vec<Arc<Mutex<Beside>>>) {
    const PANICKED: &str = "looking at it panicked; it is looked at again";
    for one in followed {
        if unwind::caught(one.look(None, Duration::ZERO)).await.is_none() {
            one.take(Err(Unread::because(PANICKED)));
        }
    }
    // Chains are verified.
    let looked = tokio::task::spawn_blocking(move || {
        for beside in beside {
            if unwind::call(|| beside.lock().look()).is_none() {
                tracing::error!(target: "mesh::identity", "whether a chain leads to the roots beside it: {PANICKED}");
            }
        }
    });
    drop(looked.await);
}

impl fmt::Debug for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.state.lock().followed.keys()).finish()
    }
}
