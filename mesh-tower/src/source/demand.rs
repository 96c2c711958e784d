//! [`Demand`]: what calls ask a source for.
//!
//! A control plane that is asked by name (gRPC) has to be told the names; calls know them. The first
//! call to an authority leaves it here and waits; a source that works on demand takes it, and answers
//! with a configuration whose [`on_demand`](mesh_core::ConfigUpdate::on_demand) has it.
//!
//! Without such a source nothing is left here, and a call pays one load of a flag.

use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Notify;

/// The most authorities that are asked for. Calls to further ones are refused.
pub const MAX_AUTHORITIES: usize = 10_000;

/// The source's end: the authorities that calls are made to.
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

impl Demand {
    /// Waits for the next authority that was not asked for before.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn next(&mut self) -> Interest {
        loop {
            if let Some(interest) = self.0.state.lock().fresh.pop() {
                return interest;
            }
            self.0.arrived.notified().await;
        }
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
}

#[derive(Default)]
struct State {
    known: BTreeSet<Arc<str>>,
    fresh: Vec<Interest>,
}

/// No more authorities can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("calls ask for more than {MAX_AUTHORITIES} authorities")]
pub(crate) struct TooMany;

impl Interests {
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

    /// A call is made to `authority`.
    pub(crate) fn ask(&self, authority: &str, default_port: u16) -> Result<(), TooMany> {
        let mut state = self.state.lock();
        if state.known.contains(authority) {
            return Ok(());
        }
        if state.known.len() >= MAX_AUTHORITIES {
            return Err(TooMany);
        }
        let authority: Arc<str> = authority.into();
        state.known.insert(Arc::clone(&authority));
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
    fn they_are_bounded() {
        let interests = Interests::default();
        for number in 0..MAX_AUTHORITIES {
            assert_eq!(interests.ask(&number.to_string(), 80), Ok(()));
        }
        assert_eq!(interests.ask("one more", 80), Err(TooMany));
        assert_eq!(interests.ask("7", 80), Ok(()), "known before");
    }
}
