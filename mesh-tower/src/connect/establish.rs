//! Making a connection: dial, handshake, and then its driver, all in one task.

use super::io::{Gate, NetIo};
use super::lanes::{Permit, Refusal};
use super::shared::Shared;
use super::{Kind, PoolSettings, dial, h1, h2};
use crate::observe::events::CloseReason;
use mesh_core::model::TlsPolicy;
use mesh_core::outcome::{ConnectFailure, Failure};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

/// One try to make a connection. Dropped unfinished (its runtime ended, or a connector panicked), it
/// tells the waiters, so that nobody waits for it.
pub(super) struct Attempt {
    kind: Kind,
    shared: Arc<Shared>,
    settings: Arc<PoolSettings>,
    permit: Option<Permit>,
    stop: CancellationToken,
    told: bool,
}

/// A connection with its handshake done.
enum Made {
    H1(Box<h1::H1Connection>, h1::Driver),
    H2(Arc<h2::H2Connection>, Box<h2::Driver>),
}

impl Made {
    fn gate(&self) -> &Gate {
        match self {
            Self::H1(_, driver) => driver.gate(),
            Self::H2(_, driver) => driver.gate(),
        }
    }
}

impl Attempt {
    pub(super) fn new(permit: Permit, stop: CancellationToken) -> Self {
        Self {
            kind: permit.kind(),
            shared: Arc::clone(permit.shared()),
            settings: Arc::clone(permit.settings()),
            permit: Some(permit),
            stop,
            told: false,
        }
    }

    #[expect(clippy::disallowed_methods, reason = "a connection is a task")]
    pub(super) fn spawn(self) {
        let runtime = self.settings.runtime.clone();
        drop(runtime.spawn(self.run()));
    }

    async fn run(mut self) {
        let started = Instant::now();
        let stop = self.stop.clone();
        let limit = self.settings.options.connect_timeout;
        let made = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            made = timeout(limit, self.make()) => made,
        };
        match made {
            Ok(Ok(made)) => self.drive(made, started.elapsed()).await,
            Ok(Err(refusal)) => self.fail(&refusal),
            Err(_) => self.fail(&Refusal::connect(ConnectFailure::Timeout)),
        }
    }

    async fn make(&mut self) -> Result<Made, Refusal> {
        let dialler = &*self.settings.dial;
        if !matches!(self.settings.tls, TlsPolicy::Off) && !dialler.secures() {
            return Err(self.unsecured());
        }
        let io = dialler.connect(self.shared.address()).await.map_err(|error| Refusal {
            failure: Failure::Connect(dial::classify(&error)),
            source: Some(Arc::new(error)),
        })?;
        let Some(permit) = self.permit.take() else {
            return Err(Refusal::connect(ConnectFailure::Other));
        };
        let gate = Arc::new(Gate::default());
        self.shared.watch(&gate);
        let io = NetIo::new(io, Arc::clone(&gate), permit.open());
        match self.kind {
            Kind::H1 => h1::handshake(io, gate, &self.shared, &self.settings)
                .await
                .map(|(connection, driver)| Made::H1(connection, driver)),
            Kind::H2 => h2::handshake(io, gate, &self.shared, &self.settings)
                .await
                .map(|(connection, driver)| Made::H2(connection, Box::new(driver))),
        }
    }

    /// Why the cluster's security can't be had here: a secret of it that is missing says more than that.
    fn unsecured(&self) -> Refusal {
        let settings = &self.settings;
        let missing = match &settings.tls {
            TlsPolicy::On(tls) => tls.resolve(&settings.secrets.load()).err(),
            _ => None,
        };
        match missing {
            Some(error) => Refusal {
                source: Some(Arc::new(std::io::Error::other(error))),
                ..Refusal::connect(ConnectFailure::SecretUnavailable)
            },
            None => Refusal::connect(ConnectFailure::TlsUnavailable),
        }
    }

    async fn drive(mut self, made: Made, took: Duration) {
        self.told = true;
        let shared = Arc::clone(&self.shared);
        self.settings.limits.connection_opened();
        drop(self);
        let gate = made.gate();
        gate.usable();
        if shared.is_drained() {
            gate.blame(CloseReason::Drained);
        }
        match made {
            Made::H1(connection, driver) => {
                shared.opened_h1(connection, took);
                driver.await;
            }
            Made::H2(connection, driver) => {
                shared.opened_h2(&connection, took);
                drop(connection);
                driver.await;
            }
        }
    }

    fn fail(&mut self, refusal: &Refusal) {
        self.told = true;
        if let Failure::Connect(why) = &refusal.failure {
            self.settings.limits.connection_failed(*why);
        }
        self.shared.failed(self.kind, refusal);
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if !self.told {
            let failure = if std::thread::panicking() {
                ConnectFailure::Other
            } else {
                ConnectFailure::RuntimeGone
            };
            self.fail(&Refusal::connect(failure));
        }
    }
}
