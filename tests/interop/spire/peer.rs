//! Two services whose identities come from SPIRE: `server ENDPOINT PORT PEER_ID` answers calls until its input
//! ends, `client ENDPOINT PORT PEER_ID SECONDS` makes them. Both say on their output what they saw.
//!
//! Each connection is mutual TLS by the identity that is in force when it is made, and lives for 50 calls, so
//! that certificates of all ages meet. The peer must be who was named, by the roots of its own trust domain.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a program that owns its tasks, and whose output is what it is for"
)]

use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use mesh_core::identity::SpiffeId;
use mesh_tower::identity::{Certificate, Identities, Identity, Trust, WorkloadIdentity};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme,
};
use std::convert::Infallible;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::{TlsAcceptor, TlsConnector};

type Failure = Box<dyn Error + Send + Sync>;

/// How many clients call at once.
const WORKERS: u64 = 4;
/// How many calls a connection is for, and the pause between two.
const CALLS: u64 = 50;
const PAUSE: Duration = Duration::from_millis(5);
const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[1..] {
        ["server", endpoint, port, peer] => server(endpoint, port.parse()?, peer.parse()?).await,
        ["client", endpoint, port, peer, seconds] => {
            let life = Duration::from_secs(seconds.parse()?);
            client(endpoint, port.parse()?, peer.parse()?, life).await
        }
        _ => {
            Err("usage: server ENDPOINT PORT PEER_ID | client ENDPOINT PORT PEER_ID SECONDS".into())
        }
    }
}

/// The identity in force, followed; says each that comes.
async fn identities(endpoint: &str) -> Result<(Identities, Arc<AtomicU64>), Failure> {
    let identities = Identities::new(None);
    let source = WorkloadIdentity::new(endpoint)?;
    let running = identities.clone();
    tokio::spawn(async move { running.run(Box::new(source)).await });
    let (seen, rotations) = (identities.clone(), Arc::new(AtomicU64::new(0)));
    let count = Arc::clone(&rotations);
    tokio::spawn(async move {
        let mut last = None;
        loop {
            if let Ok(current) = seen.current() {
                let serial = Arc::clone(&current.certificate().serial);
                if last.as_ref().is_some_and(|last| *last != serial) {
                    count.fetch_add(1, Ordering::Relaxed);
                }
                if last.as_ref() != Some(&serial) {
                    let end = current.certificate().validity.not_after.as_unix_seconds();
                    println!("identity {serial} until {end}, {} roots", current.roots().len());
                }
                last = Some(serial);
            }
            sleep(Duration::from_millis(50)).await;
        }
    });
    let there = timeout(PATIENCE, async {
        while identities.current().is_err() {
            sleep(Duration::from_millis(20)).await;
        }
    });
    match there.await {
        Ok(()) => Ok((identities, rotations)),
        Err(_) => Err(format!("no identity: {:?}", identities.current().err()).into()),
    }
}

async fn server(endpoint: &str, port: u16, peer: SpiffeId) -> Result<(), Failure> {
    let (identities, rotations) = identities(endpoint).await?;
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    println!("listening {port}");
    let answered = Arc::new(AtomicU64::new(0));
    let (mut input, mut end) = (tokio::io::stdin(), [0]);
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted?.0,
            _ended = input.read(&mut end) => break,
        };
        let (identity, answered) = (identities.current()?, Arc::clone(&answered));
        let verifier = Arc::new(Peer::new(&identity, &peer));
        tokio::spawn(async move {
            if let Err(error) = answer(stream, &identity, verifier, &answered).await {
                println!("refused: {error}");
            }
        });
    }
    let status = identities.status();
    println!(
        "server: {} answers, {} rotations, {} failures of the source",
        answered.load(Ordering::Relaxed),
        rotations.load(Ordering::Relaxed),
        status.failures
    );
    Ok(())
}

async fn answer(
    stream: TcpStream,
    identity: &Identity,
    verifier: Arc<Peer>,
    answered: &AtomicU64,
) -> Result<(), Failure> {
    let ours = Arc::new(SingleCertAndKey::from((**identity.key()).clone()));
    let config = ServerConfig::builder_with_provider(crypto())
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(ours);
    let stream = TlsAcceptor::from(Arc::new(config)).accept(stream).await?;
    let service = hyper::service::service_fn(|_: Request<Incoming>| {
        answered.fetch_add(1, Ordering::Relaxed);
        async { Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"hello")))) }
    });
    let connection = hyper::server::conn::http1::Builder::new();
    Ok(connection.serve_connection(TokioIo::new(stream), service).await?)
}

#[derive(Default)]
struct Seen {
    calls: AtomicU64,
    failed: AtomicU64,
    handshakes: AtomicU64,
}

async fn client(endpoint: &str, port: u16, peer: SpiffeId, life: Duration) -> Result<(), Failure> {
    let (identities, rotations) = identities(endpoint).await?;
    let (seen, end) = (Arc::new(Seen::default()), Instant::now() + life);
    let workers = (0..WORKERS).map(|_| {
        let (identities, seen, peer) = (identities.clone(), Arc::clone(&seen), peer.clone());
        tokio::spawn(async move {
            while Instant::now() < end {
                if let Err(error) = connection(&identities, port, &peer, &seen).await {
                    seen.failed.fetch_add(1, Ordering::Relaxed);
                    println!("failed: {error}");
                    sleep(Duration::from_millis(100)).await;
                }
            }
        })
    });
    for worker in workers.collect::<Vec<_>>() {
        worker.await?;
    }
    let (status, number) = (identities.status(), |cell: &AtomicU64| cell.load(Ordering::Relaxed));
    let (calls, failed) = (number(&seen.calls), number(&seen.failed));
    println!(
        "client: {calls} calls, {failed} failed, {} handshakes, {} rotations, {} failures of the source",
        number(&seen.handshakes),
        number(&rotations),
        status.failures
    );
    if failed == 0 && calls > 0 { Ok(()) } else { Err("calls failed".into()) }
}

/// One connection, and all its calls.
async fn connection(
    identities: &Identities,
    port: u16,
    peer: &SpiffeId,
    seen: &Seen,
) -> Result<(), Failure> {
    let identity = identities.current()?;
    let ours = Arc::new(SingleCertAndKey::from((**identity.key()).clone()));
    let config = ClientConfig::builder_with_provider(crypto())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Peer::new(&identity, peer)))
        .with_client_cert_resolver(ours);
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let name = ServerName::try_from("localhost")?;
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    seen.handshakes.fetch_add(1, Ordering::Relaxed);
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    for _ in 0..CALLS {
        sender.ready().await?;
        let request = Request::get("/").header("host", "localhost").body(Empty::<Bytes>::new())?;
        let answer = timeout(PATIENCE, sender.send_request(request)).await??;
        if answer.into_body().collect().await?.to_bytes() != "hello" {
            return Err("another answer".into());
        }
        seen.calls.fetch_add(1, Ordering::Relaxed);
        sleep(PAUSE).await;
    }
    Ok(())
}

fn crypto() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// Whom we talk to: this id, by the roots of its trust domain.
#[derive(Debug)]
struct Peer {
    id: SpiffeId,
    trust: Arc<Trust>,
    crypto: Arc<CryptoProvider>,
}

impl Peer {
    fn new(ours: &Identity, id: &SpiffeId) -> Self {
        Self { id: id.clone(), trust: Arc::clone(ours.trust()), crypto: crypto() }
    }

    fn verify(
        &self,
        chain: (&CertificateDer<'_>, &[CertificateDer<'_>]),
        usage: webpki::KeyUsage,
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        let refused = |error: &dyn Error| rustls::Error::General(error.to_string());
        let certificate = Certificate::parse(chain.0).map_err(|error| refused(&error))?;
        let found = certificate.names.spiffe_id().map_err(|error| refused(&error))?;
        if found != self.id {
            return Err(rustls::Error::General(format!("`{found}` came, not `{}`", self.id)));
        }
        let roots = self.trust.roots().of(Some(&found.trust_domain())).unwrap_or_default();
        let anchors: Vec<_> =
            roots.iter().filter_map(|root| webpki::anchor_from_trusted_cert(root).ok()).collect();
        let entity = webpki::EndEntityCert::try_from(chain.0).map_err(|error| refused(&error))?;
        let algorithms = self.crypto.signature_verification_algorithms.all;
        entity
            .verify_for_usage(algorithms, &anchors, chain.1, now, usage, None, None)
            .map(|_| ())
            .map_err(|error| refused(&error))
    }
}

impl ServerCertVerifier for Peer {
    fn verify_server_cert(
        &self,
        first: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.verify((first, rest), webpki::KeyUsage::server_auth(), now)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.crypto.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.crypto.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.crypto.signature_verification_algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for Peer {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        first: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.verify((first, rest), webpki::KeyUsage::client_auth(), now)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        ServerCertVerifier::verify_tls12_signature(self, message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        ServerCertVerifier::verify_tls13_signature(self, message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ServerCertVerifier::supported_verify_schemes(self)
    }
}
