//! A byte stream to an endpoint, secured as its cluster wants: what every connection begins with.

use super::lanes::Refusal;
use super::shared::Shared;
use super::{BoxedIo, PoolSettings, dial};
#[cfg(feature = "tls")]
use crate::observe::TlsReport;
use crate::observe::events::Security;
#[cfg(feature = "tls")]
use crate::tls::client::{ClientTls, Late, Secured, To};
#[cfg(feature = "tls")]
use crate::tls::client_refused::NotSecured;
#[cfg(feature = "tls")]
use crate::tls::client_watch::Evidence;
use mesh_core::model::TlsPolicy;
use mesh_core::outcome::{ConnectFailure, Failure};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
#[cfg(feature = "tls")]
use tokio::time::Instant;

/// A byte stream, before anything is spoken on it.
pub(super) struct Raw {
    pub(super) io: BoxedIo,
    pub(super) security: Security,
    /// Of the time that it took, the handshake of TLS; zero without.
    pub(super) handshake: Duration,
    /// `None`: it is plaintext, or its connector secured it.
    #[cfg(feature = "tls")]
    pub(super) secured: Option<Handshake>,
}

/// What a handshake of TLS left.
#[cfg(feature = "tls")]
pub(super) struct Handshake {
    /// What was agreed on by ALPN.
    pub(super) agreed: Option<Vec<u8>>,
    pub(super) tls: Arc<TlsReport>,
    pub(super) evidence: Evidence,
    /// What the endpoint may still say of us.
    pub(super) late: Late,
}

/// Connects, sends `preface` if there is any, and does the handshake of TLS, in which `offers` are offered by ALPN.
///
/// # Errors
/// Why there is no such byte stream. Fails closed: where TLS is wanted and nobody can do it, nobody is connected to.
///
/// # Cancel safety
/// Dropping it gives the connection up.
pub(super) async fn connect(
    shared: &Shared,
    settings: &PoolSettings,
    (preface, offers): (&[u8], &[&str]),
) -> Result<Raw, Refusal> {
    let is_secured = matches!(settings.tls, TlsPolicy::Off) || settings.dial.secures();
    #[cfg(feature = "tls")]
    if let Some(tls) = settings.secure.as_ref().filter(|_| !is_secured) {
        return secure(shared, settings, tls, (preface, offers)).await;
    }
    #[cfg(not(feature = "tls"))]
    let _nobody_offers = offers;
    if !is_secured {
        return Err(unsecured(settings));
    }
    let io = dial(shared, settings, preface).await?;
    let security = match settings.tls {
        TlsPolicy::Off => Security::Plaintext,
        // By the connector, to somebody whom only it knows.
        _ => Security::Tls("".into()),
    };
    Ok(Raw {
        io,
        security,
        handshake: Duration::ZERO,
        #[cfg(feature = "tls")]
        secured: None,
    })
}

async fn dial(
    shared: &Shared,
    settings: &PoolSettings,
    preface: &[u8],
) -> Result<BoxedIo, Refusal> {
    let connected = async {
        let mut io = settings.dial.connect(shared.address()).await?;
        if !preface.is_empty() {
            io.write_all(preface).await?;
        }
        Ok(io)
    };
    connected.await.map_err(|error| Refusal {
        failure: Failure::Connect(dial::classify(&error)),
        source: Some(Arc::new(error)),
    })
}

#[cfg(feature = "tls")]
async fn secure(
    shared: &Shared,
    settings: &PoolSettings,
    tls: &ClientTls,
    (preface, offers): (&[u8], &[&str]),
) -> Result<Raw, Refusal> {
    // Before anybody is connected to; what comes of it is asked for again after that.
    tls.check().await.map_err(not_secured)?;
    let io = dial(shared, settings, preface).await?;
    let begun = Instant::now();
    let hostname = shared.hostname();
    let to = To { address: shared.address(), hostname: hostname.as_ref(), offers };
    let Secured { io, agreed, security, tls, evidence, late } =
        tls.secure(io, to).await.map_err(not_secured)?;
    let secured = Some(Handshake { agreed, tls, evidence, late });
    Ok(Raw { io, security, handshake: begun.elapsed(), secured })
}

/// Why the cluster's security can't be had here: a secret of it that is missing says more than that.
fn unsecured(settings: &PoolSettings) -> Refusal {
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

#[cfg(feature = "tls")]
pub(super) fn not_secured(error: NotSecured) -> Refusal {
    let failure = Failure::Connect(error.failure);
    Refusal { failure, source: Some(Arc::new(std::io::Error::other(error))) }
}
