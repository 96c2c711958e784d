//! Making a connection: dial, handshakes (TLS, HTTP), and then its driver, all in one task.

#[cfg(feature = "tls")]
use super::alpn;
use super::io::{Gate, NetIo};
use super::lanes::{Permit, Refusal, Took};
use super::shared::Shared;
use super::{BoxedIo, Kind, PoolSettings, dial, h1, h2};
use crate::observe::events::{CloseReason, Security};
#[cfg(feature = "tls")]
use crate::tls::client::{ClientTls, Secured, To};
#[cfg(feature = "tls")]
use crate::tls::client_refused::NotSecured;
#[cfg(feature = "tls")]
use crate::tls::client_watch::{Evidence, Retire};
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
    security: Security,
    /// Of the time that it takes, the handshake of TLS.
    handshake: Duration,
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

    async fn make(&mut self) -> Result<Made, Refusal> {
        let settings = Arc::clone(&self.settings);
        let dialler = &*settings.dial;
        let is_secured = matches!(settings.tls, TlsPolicy::Off) || dialler.secures();
        #[cfg(feature = "tls")]
        if let Some(tls) = settings.secure.as_ref().filter(|_| !is_secured) {
            return self.make_secure(tls).await;
        }
        if !is_secured {
            return Err(self.unsecured());
        }
        let io = self.dial().await?;
        if !matches!(settings.tls, TlsPolicy::Off) {
            // By the connector, to somebody whom only it knows.
            self.security = Security::Tls("".into());
        }
        self.speak(io).await
    }

    async fn dial(&self) -> Result<BoxedIo, Refusal> {
        let connecting = self.settings.dial.connect(self.shared.address());
        connecting.await.map_err(|error| Refusal {
            failure: Failure::Connect(dial::classify(&error)),
            source: Some(Arc::new(error)),
        })
    }

    /// The handshake of HTTP.
    async fn speak(&mut self, io: BoxedIo) -> Result<Made, Refusal> {
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

    /// Connects, and does the handshake of TLS with who we are at this very moment.
    #[cfg(feature = "tls")]
    async fn make_secure(&mut self, tls: &ClientTls) -> Result<Made, Refusal> {
        // Before anybody is connected to; what comes of it is asked for again after that.
        tls.check().await.map_err(not_secured)?;
        let io = self.dial().await?;
        let begun = Instant::now();
        let speaks = self.settings.speaks;
        let offers = alpn::offers(speaks, &tls.policy().alpn, self.kind);
        let hostname = self.shared.hostname();
        let (address, hostname) = (self.shared.address(), hostname.as_deref());
        let to = To { address, hostname, offers: &offers };
        let Secured { io, agreed, security, evidence, late } =
            tls.secure(io, to).await.map_err(not_secured)?;
        self.handshake = begun.elapsed();
        (self.security, self.evidence) = (security, Some(evidence));
        self.go_over(alpn::agreed(speaks, self.kind, agreed.as_deref()));
        let made = self.speak(io).await;
        made.map_err(|refusal| late.said().map_or(refusal, not_secured))
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

    async fn drive(mut self, made: Made, took: Took) {
        self.told = true;
        let shared = Arc::clone(&self.shared);
        self.settings.limits.connection_opened(&self.security, made.gate().calls());
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
            Made::H1(_, driver) => Box::new(driver.retirement()),
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

#[cfg(feature = "tls")]
pub(super) fn not_secured(error: NotSecured) -> Refusal {
    let failure = Failure::Connect(error.failure);
    Refusal { failure, source: Some(Arc::new(std::io::Error::other(error))) }
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
