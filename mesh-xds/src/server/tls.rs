//! [`ServerTls`]: the server's half of TLS.
//!
//! ```text
//! listener ── accept ──> handshake, one task each ──> Connection ──> AdsServer
//! ```
//!
//! With roots for clients, a client must show a certificate of one of them (mTLS); its SPIFFE id, if it has
//! one, is shown with the clients; whose word counts for which id, `roots` says. Without, anybody may connect. The files are looked at again at a handshake, at
//! most once a second: what was rotated serves the next connection.
//!
//! A client that showed a certificate is to show one again at its end, and after [`MAX_AGE`] at most: then its
//! streams end, so that what was renewed or taken out of the roots counts.
//!
//! Bounds: [`MAX_HANDSHAKES`] at a time, [`PATIENCE`] for each. When there are so many, the next connection waits until
//! one ends, or until the oldest has lasted for [`CROWDED`]: then it is ended. So whoever opens connections and says
//! nothing holds up nobody for longer than that.
//!
//! What it does not do: decide who may have what. Whoever has a certificate of the roots reads the whole
//! configuration, unless there are [`Readers`](super::Readers).

use super::accept::next;
use super::clients::Clients;
use super::connection::Connection;
use super::roots::{ClientRoots, spiffe_id};
use crate::bootstrap::CertificateFiles;
use crate::tls::{CertificateError, H2, Material, Reload, provider, refused_crypto, refused_pair};
use mesh_core::WallTime;
use mesh_core::identity::proof::counts_for;
use mesh_core::random::SplitMix64;
use rustls::pki_types::CertificateDer;
use rustls::server::NoServerSessionStorage;
use rustls::{ServerConfig, ServerConnection};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{timeout, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

/// The most handshakes at a time.
const MAX_HANDSHAKES: usize = 256;
/// How long a handshake may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long it may take when another connection waits for its place: a client needs two turns to the server and back.
const CROWDED: Duration = Duration::from_secs(1);
/// The longest that a client's certificate counts without being shown again, up to a fifth less by chance.
const MAX_AGE: Duration = Duration::from_secs(30 * 60);
/// The files are not looked at more often.
const PAUSE: Duration = Duration::from_secs(1);

pub(super) type Secured = Connection<TlsStream<TcpStream>>;

/// The certificate of a control plane, and the roots of its clients. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ServerTls {
    shared: Arc<Reload<ServerConfig>>,
}

impl ServerTls {
    /// The identity of `files` is shown to clients. With CA certificates, clients must show one of theirs; one that is
    /// named by a SPIFFE id vouches for no SPIFFE ids but those of its own trust domain. The
    /// files are read now, and again as they change; the refresh interval does not count.
    ///
    /// It blocks.
    ///
    /// # Errors
    /// There is no identity, or something is wrong with a file.
    pub fn new(files: CertificateFiles) -> Result<Self, CertificateError> {
        let shared = Arc::new(Reload::new(files, build, PAUSE));
        shared.read(Instant::now())?;
        Ok(Self { shared })
    }

    async fn config(&self) -> Result<Arc<ServerConfig>, String> {
        let now = Instant::now();
        if let Some(recent) = self.shared.recent(now) {
            return Ok(recent);
        }
        let shared = Arc::clone(&self.shared);
        match tokio::task::spawn_blocking(move || shared.read(now)).await {
            Ok(read) => read.map_err(|error| error.to_string()),
            Err(_ended) => Err("the runtime ends".to_owned()),
        }
    }

    /// Accepts, and hands over what is secure; for ever.
    pub(super) async fn accept(
        self,
        listener: TcpListener,
        secured: mpsc::Sender<Secured>,
        clients: Clients,
    ) {
        let mut places = Places::new(MAX_HANDSHAKES);
        // Ends with this future.
        let mut handshakes = JoinSet::new();
        loop {
            while handshakes.try_join_next().is_some() {}
            let (stream, address) = next(&listener).await;
            let Some(mut place) = places.next().await else { return };
            let (tls, secured, clients) = (self.clone(), secured.clone(), clients.clone());
            handshakes.spawn(async move {
                let shaken = tokio::select! {
                    shaken = timeout(PATIENCE, tls.handshake(stream, address)) => Some(shaken),
                    () = place.is_taken_away() => None,
                };
                drop(place);
                let is_crowded_out = shaken.is_none();
                let why = match shaken {
                    Some(Ok(Ok(connection))) => {
                        // An error: the server ends.
                        let _taken = secured.send(connection).await.is_ok();
                        return;
                    }
                    Some(Ok(Err(why))) => why,
                    Some(Err(_elapsed)) => format!("no handshake within {PATIENCE:?}"),
                    None => format!(
                        "no handshake within {CROWDED:?}, and there were {MAX_HANDSHAKES} others"
                    ),
                };
                match is_crowded_out {
                    true => clients.crowd_out(),
                    false => clients.refuse_connection(),
                }
                tracing::info!(target: "mesh::ads", peer = %address, why, "connection refused");
            });
        }
    }

    async fn handshake(&self, stream: TcpStream, address: SocketAddr) -> Result<Secured, String> {
        let acceptor = TlsAcceptor::from(self.config().await?);
        let stream = acceptor.accept(stream).await.map_err(|error| error.to_string())?;
        let (_, session) = stream.get_ref();
        let identity = identity(session);
        let shown = session.peer_certificates().and_then(<[_]>::first);
        let until = shown.map(|shown| {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let mut random = SplitMix64::new(fastrand::u64(..));
            tokio::time::Instant::now() + counts_for(end(shown), now, MAX_AGE, &mut random)
        });
        let mut connection = Connection::new(stream).with_address(address);
        if let Some(until) = until {
            connection = connection.until(until);
        }
        Ok(match identity {
            Some(identity) => connection.with_identity(identity),
            None => connection,
        })
    }
}

/// The places of handshakes.
struct Places {
    free: Arc<Semaphore>,
    most: usize,
    /// Those that are taken, the oldest first; among them some that have ended.
    taken: VecDeque<(tokio::time::Instant, oneshot::Sender<Infallible>)>,
}

/// The place of one handshake, which is free when it is dropped.
struct Place {
    _permit: OwnedSemaphorePermit,
    away: oneshot::Receiver<Infallible>,
}

impl Places {
    fn new(most: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(most)), most, taken: VecDeque::new() }
    }

    /// The next place: one that is free, or that of a handshake that has had its time. `None` never comes.
    async fn next(&mut self) -> Option<Place> {
        if self.taken.len() >= 2 * self.most {
            self.taken.retain(|(_, place)| !place.is_closed());
        }
        while self.taken.front().is_some_and(|(_, place)| place.is_closed()) {
            self.taken.pop_front();
        }
        let free = || Arc::clone(&self.free).acquire_owned();
        let permit = match self.taken.front() {
            None => free().await.ok()?,
            Some((since, _)) => match timeout_at(*since + CROWDED, free()).await {
                Ok(permit) => permit.ok()?,
                Err(_elapsed) => {
                    // Whose place it was is told so, and gives it back.
                    drop(self.taken.pop_front());
                    free().await.ok()?
                }
            },
        };
        let (held, away) = oneshot::channel();
        self.taken.push_back((tokio::time::Instant::now(), held));
        Some(Place { _permit: permit, away })
    }
}

impl Place {
    /// Waits until the place is another's.
    async fn is_taken_away(&mut self) {
        let _gone = (&mut self.away).await;
    }
}

/// The SPIFFE id of the client.
fn identity(connection: &ServerConnection) -> Option<Arc<str>> {
    spiffe_id(connection.peer_certificates()?.first()?)
}

/// The last second of a certificate.
fn end(certificate: &CertificateDer<'_>) -> Option<WallTime> {
    let (_, read) = X509Certificate::from_der(certificate).ok()?;
    let end = u64::try_from(read.validity().not_after.timestamp()).unwrap_or_default();
    Some(WallTime::from_unix_seconds(end))
}

fn build(files: &CertificateFiles, held: Material) -> Result<ServerConfig, CertificateError> {
    let (chain, key) = held.identity.ok_or(CertificateError::NoIdentity)?;
    let provider = provider()?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| refused_crypto(&error))?;
    let builder = match held.roots {
        None => builder.with_no_client_auth(),
        Some(roots) => {
            let verifier = ClientRoots::new(&roots.certificates, &provider);
            let verifier = verifier.map_err(|error| refused_crypto(&error))?;
            builder.with_client_cert_verifier(Arc::new(verifier))
        }
    };
    let mut config =
        builder.with_single_cert(chain, key).map_err(|error| refused_pair(files, &error))?;
    config.alpn_protocols = vec![H2.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair};

    #[test]
    fn the_last_second_of_a_certificate() {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.not_after = rcgen::date_time_ymd(2026, 2, 1);
        let certificate = params.self_signed(&key).unwrap();
        let read = end(certificate.der()).map(|end| end.to_string());
        assert_eq!(read.as_deref(), Some("2026-02-01T00:00:00Z"));
        assert_eq!(end(&CertificateDer::from_slice(b"none")), None);
    }
}
