//! Making a connection: dial, handshakes (TLS, HTTP), and then its driver, all in one task.

#[cfg(feature = "tls")]
use super::alpn;
use super::io::{Gate, NetIo};
use super::lanes::{Permit, Refusal, Took};
use super::shared::Shared;
use super::{BoxedIo, Kind, PoolSettings, h1, h2, raw};
#[cfg(feature = "tls")]
use crate::observe::TlsReport;
use crate::observe::events::{CloseReason, Security};
#[cfg(feature = "tls")]
use crate::tls::client::Late;
#[cfg(feature = "tls")]
use crate::tls::client_watch::{Evidence, Retire};
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
    security: Security,
    /// Of the time that it takes, the handshake of TLS.
    handshake: Duration,
    #[cfg(feature = "tls")]
    tls: Option<Arc<TlsReport>>,
    #[cfg(feature = "tls")]
    evidence: Option<Evidence>,
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
            security: Security::Plaintext,
            handshake: Duration::ZERO,
            #[cfg(feature = "tls")]
            tls: None,
            #[cfg(feature = "tls")]
            evidence: None,
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
            Ok(Ok(made)) => {
                let tls = self.handshake;
                let connect = started.elapsed().saturating_sub(tls);
                self.drive(made, Took { connect, tls }).await;
            }
            Ok(Err(refusal)) => self.fail(&refusal),
            Err(_) => self.fail(&Refusal::connect(ConnectFailure::Timeout)),
        }
    }

    /// Connects, and does the handshakes of TLS, with who we are at this very moment, and of HTTP.
    async fn make(&mut self) -> Result<Made, Refusal> {
        let (shared, settings) = (Arc::clone(&self.shared), Arc::clone(&self.settings));
        #[cfg(feature = "tls")]
        let offers = match &settings.secure {
            Some(tls) => alpn::offers(settings.speaks, &tls.policy().alpn, self.kind),
            None => Vec::new(),
        };
        #[cfg(not(feature = "tls"))]
        let offers = [];
        let raw = raw::connect(&shared, &settings, (&[], &offers)).await?;
        (self.security, self.handshake) = (raw.security, raw.handshake);
        #[cfg(feature = "tls")]
        if let Some(secured) = raw.secured {
            (self.tls, self.evidence) = (Some(secured.tls), Some(secured.evidence));
            let agreed = secured.agreed.as_deref();
            self.go_over(alpn::agreed(settings.speaks, self.kind, agreed));
            let gate = Arc::new(Gate::default());
            let made = self.speak(raw.io, Arc::clone(&gate)).await;
            return made.map_err(|refusal| refused(&secured.late, &gate, refusal));
        }
        self.speak(raw.io, Arc::default()).await
    }

    /// The handshake of HTTP.
    async fn speak(&mut self, io: BoxedIo, gate: Arc<Gate>) -> Result<Made, Refusal> {
        let Some(permit) = self.permit.take() else {
            return Err(Refusal::connect(ConnectFailure::Other));
        };
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

    /// The endpoint agreed on this: from now on it is an attempt of that lane.
    #[cfg(feature = "tls")]
    fn go_over(&mut self, kind: Kind) {
        if kind != self.kind {
            self.kind = kind;
            if let Some(permit) = &mut self.permit {
                permit.go_over(kind);
            }
            self.shared.goes_over(kind);
        }
    }

    async fn drive(mut self, made: Made, took: Took) {
        self.told = true;
        let shared = Arc::clone(&self.shared);
        self.settings.limits.connection_opened(&self.security, made.gate().calls());
        #[cfg(feature = "tls")]
        if let Some(tls) = self.tls.take() {
            made.gate().secured(tls);
        }
        #[cfg(feature = "tls")]
        self.watch(&made);
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

    /// It is looked after from now on whether what it was made with still holds.
    #[cfg(feature = "tls")]
    fn watch(&mut self, made: &Made) {
        let (Some(tls), Some(evidence)) = (&self.settings.secure, self.evidence.take()) else {
            return;
        };
        let retirement: Box<dyn Retire> = match made {
            Made::H1(connection, _) => Box::new(connection.retirement()),
            Made::H2(connection, _) => Box::new(h2::Retirement::of(connection)),
        };
        tls.watch(evidence, retirement, &self.settings.runtime);
    }

    fn fail(&mut self, refusal: &Refusal) {
        self.told = true;
        if let Failure::Connect(why) = &refusal.failure {
            self.settings.limits.connection_failed(*why);
        }
        self.shared.failed(self.kind, refusal);
    }
}

/// Why the handshake of HTTP failed, where the endpoint did not take us, or for its own reason.
#[cfg(feature = "tls")]
fn refused(late: &Late, gate: &Gate, refusal: Refusal) -> Refusal {
    let meant = || late.meant(refusal.source.as_deref()).filter(|_| gate.ended_unheard());
    late.said().or_else(meant).map_or(refusal, raw::not_secured)
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
