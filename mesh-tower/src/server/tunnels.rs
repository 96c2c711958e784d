//! [`Tunnels`]: what a connection carries when it is no longer HTTP: upgraded requests, and tunnels.
//!
//! What hyper knows of a connection ends where they begin, or goes on beside them: an upgraded connection of HTTP/1.1 is in
//! the hands of the service, and its bytes know that they are a tunnel ([`Guarded`](super::guarded::Guarded)). The connection itself does not: it
//! counts as open, and a drain waits for it, until the last of them has ended; at the drain's deadline they are told
//! to end.

use std::future::Future;
use std::sync::{Arc, OnceLock};
use tokio::sync::watch;

/// The tunnels of one connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tunnels(Arc<OnceLock<State>>);

#[derive(Debug)]
struct State {
    open: watch::Sender<usize>,
    closed: watch::Sender<bool>,
}

impl Default for State {
    fn default() -> Self {
        Self { open: watch::Sender::new(0), closed: watch::Sender::new(false) }
    }
}

/// A tunnel that is open until this is dropped.
#[derive(Debug)]
pub(crate) struct Tunnel {
    tunnels: Tunnels,
    closed: watch::Receiver<bool>,
}

impl Tunnels {
    fn state(&self) -> &State {
        self.0.get_or_init(State::default)
    }

    /// One begins.
    pub(crate) fn open(&self) -> Tunnel {
        let state = self.state();
        state.open.send_modify(|open| *open += 1);
        Tunnel { tunnels: self.clone(), closed: state.closed.subscribe() }
    }

    /// Tells all of them to end.
    pub(super) fn close(&self) {
        if let Some(state) = self.0.get() {
            state.closed.send_replace(true);
        }
    }

    /// Tells when all of them are to end.
    pub(super) fn closed(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut closed = self.state().closed.subscribe();
        // Without its sender the connection is forgotten, and nobody tells it anything.
        async move {
            if closed.wait_for(|closed| *closed).await.is_err() {
                std::future::pending().await
            }
        }
    }

    /// Waits until there is none.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(super) async fn ended(&self) {
        if let Some(state) = self.0.get() {
            // The sender is here.
            drop(state.open.subscribe().wait_for(|open| *open == 0).await);
        }
    }
}

impl Tunnel {
    /// All of its connection.
    pub(super) const fn tunnels(&self) -> &Tunnels {
        &self.tunnels
    }

    /// Waits until it is told to end.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(crate) async fn closed(&mut self) {
        // The sender lives as long as this does.
        drop(self.closed.wait_for(|closed| *closed).await);
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.tunnels.state().open.send_modify(|open| *open = open.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::timeout;

    #[tokio::test(start_paused = true)]
    async fn a_connection_waits_for_its_tunnels_and_tells_them() {
        let tunnels = Tunnels::default();
        tunnels.ended().await;
        let (mut one, two) = (tunnels.open(), tunnels.open());
        let moment = Duration::from_secs(1);
        assert!(timeout(moment, tunnels.ended()).await.is_err());
        assert!(timeout(moment, one.closed()).await.is_err());
        tunnels.close();
        one.closed().await;
        drop((one, two));
        tunnels.ended().await;
        // Who comes late is told at once.
        tunnels.open().closed().await;
    }
}
