//! Handshakes: each a new connection of TCP, mutual TLS 1.3, one request, and its end.
//!
//! One client for all of them, which offers one group (X25519) and one suite (AES-128-GCM with SHA-256), so that
//! every server does the same arithmetic; ECDSA P-256 on both sides; nothing is resumed.

use crate::arguments::Arguments;
use crate::calls::told;
use crate::certificates::{Certificates, HOST};
use crate::client::connected;
use crate::envoy::Envoy;
use crate::load::{Caller, Load, drive};
use crate::place::{Place, of_process};
use crate::quantity::{Quantity, order};
use crate::serve::{self, Kind};
use crate::{BoxError, Http, Security};
use rustls::crypto::aws_lc_rs::{self, cipher_suite, kx_group};
use rustls::{HandshakeKind, ProtocolVersion};
use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Handshakes that are under way at a time.
const IN_FLIGHT: usize = 8;

/// The first is the base, the second its double.
const ROWS: [(&str, Option<Kind>); 5] = [
    ("bare", Some(Kind::Bare)),
    ("bare-again", Some(Kind::Bare)),
    ("acceptor", Some(Kind::Acceptor)),
    ("server", Some(Kind::Server)),
    ("envoy", None),
];

/// What one turn measured: CPU µs a handshake, and handshakes a second.
#[derive(Clone, Copy, Debug)]
struct Sample {
    client: f64,
    server: f64,
    rate: f64,
}

/// Measures the table; whether its control held.
pub(crate) async fn measure(
    arguments: &Arguments,
    certificates: &Certificates,
) -> Result<bool, BoxError> {
    let client = Place::start("client").await?;
    let mut peers = Vec::new();
    for (name, kind) in ROWS {
        peers.push(Peer::start(name, kind, arguments, certificates).await?);
    }
    for peer in &peers {
        peer.refuses_strangers(&client, certificates).await?;
    }
    let handshake = tls(certificates, true)?;
    let load = Load { in_flight: IN_FLIGHT, duration: arguments.turn * 3 };
    let mut attempt = 0;
    loop {
        attempt += 1;
        eprintln!("handshakes, attempt {attempt}");
        let mut samples = vec![Vec::with_capacity(arguments.rounds); peers.len()];
        for round in 0..arguments.rounds {
            for index in order(round, peers.len()) {
                let sample = peers[index].turn(&client, &handshake, load).await?;
                samples[index].push(sample);
            }
        }
        let held = ratios(&samples[1], &samples[0]).is_one();
        if held || attempt >= arguments.attempts {
            println!("{}", render(&samples, held, attempt));
            return Ok(held);
        }
    }
}

/// A server, and where its CPU time is read.
struct Peer {
    name: &'static str,
    address: SocketAddr,
    runs: Runs,
}

enum Runs {
    Here(Place),
    Envoy(Envoy),
}

impl Peer {
    async fn start(
        name: &'static str,
        kind: Option<Kind>,
        arguments: &Arguments,
        certificates: &Certificates,
    ) -> Result<Self, BoxError> {
        let Some(kind) = kind else {
            let envoy = Envoy::start(arguments.envoy.as_deref(), certificates).await?;
            return Ok(Self { name, address: envoy.address, runs: Runs::Envoy(envoy) });
        };
        let place = Place::start("server").await?;
        let serving = serve::start(kind, Security::Mutual, Http::One, certificates.clone());
        let address = place.run(serving).await??.address;
        Ok(Self { name, address, runs: Runs::Here(place) })
    }

    /// Somebody without a certificate gets no answer: else this would be another handshake.
    async fn refuses_strangers(
        &self,
        client: &Place,
        certificates: &Certificates,
    ) -> Result<(), BoxError> {
        let mut stranger = Handshake { to: self.address, tls: tls(certificates, false)? };
        match client.run(async move { stranger.call().await }).await? {
            Ok(()) => Err(format!("{} answers who shows no certificate", self.name).into()),
            Err(_refused) => Ok(()),
        }
    }

    async fn turn(
        &self,
        client: &Place,
        tls: &TlsConnector,
        load: Load,
    ) -> Result<Sample, BoxError> {
        let caller = Handshake { to: self.address, tls: tls.clone() };
        let warm_up = Load { duration: load.duration / 10, ..load };
        let failed = |error: BoxError| format!("{}: {}", self.name, told(&*error));
        client.run(drive(caller.clone(), warm_up)).await?.map_err(failed)?;
        let before = (client.cpu()?, self.cpu().await?);
        let run = client.run(drive(caller, load)).await?.map_err(failed)?;
        let after = (client.cpu()?, self.cpu().await?);
        let count = run.calls as f64;
        let each = |after: Duration, before: Duration| {
            after.saturating_sub(before).as_secs_f64() * 1e6 / count
        };
        Ok(Sample {
            client: each(after.0, before.0),
            server: each(after.1, before.1),
            rate: count / run.elapsed.as_secs_f64(),
        })
    }

    /// After a sleep: the last connections are closed, and the kernel's numbers are up to date.
    async fn cpu(&self) -> Result<Duration, BoxError> {
        tokio::time::sleep(Duration::from_millis(10)).await;
        match &self.runs {
            Runs::Here(place) => place.cpu(),
            Runs::Envoy(envoy) => of_process(envoy.id()),
        }
    }
}

fn tls(certificates: &Certificates, shows: bool) -> Result<TlsConnector, BoxError> {
    let mut provider = aws_lc_rs::default_provider();
    provider.kx_groups = vec![kx_group::X25519];
    provider.cipher_suites = vec![cipher_suite::TLS13_AES_128_GCM_SHA256];
    Ok(certificates.client(Http::One.alpn(), provider, shows)?.into())
}

/// Makes connections.
#[derive(Clone)]
struct Handshake {
    to: SocketAddr,
    tls: TlsConnector,
}

impl Caller for Handshake {
    async fn call(&mut self) -> Result<(), BoxError> {
        let stream = connected(self.to).await?;
        let mut stream = self.tls.connect(HOST.try_into()?, stream).await?;
        is_full(&stream)?;
        stream.write_all(REQUEST).await?;
        stream.flush().await?;
        let mut answer = Vec::with_capacity(512);
        match stream.read_to_end(&mut answer).await {
            Ok(_) => {}
            // A server that closes without saying so in TLS; what it sent is looked at.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
            Err(error) => return Err(error.into()),
        }
        match answer.starts_with(b"HTTP/1.1 200") {
            true => Ok(()),
            false => Err(format!("it answers {:?}", String::from_utf8_lossy(&answer)).into()),
        }
    }
}

/// TLS 1.3 from the beginning, without a session that was there before.
fn is_full<I>(stream: &TlsStream<I>) -> Result<(), BoxError> {
    let (_, connection) = stream.get_ref();
    let (version, kind) = (connection.protocol_version(), connection.handshake_kind());
    match (version, kind) {
        (Some(ProtocolVersion::TLSv1_3), Some(HandshakeKind::Full)) => Ok(()),
        _ => Err(format!("no full handshake of TLS 1.3: {version:?}, {kind:?}").into()),
    }
}

/// What the server needed of what the base needed, within rounds.
fn ratios(of: &[Sample], base: &[Sample]) -> Quantity {
    Quantity::of(of.iter().zip(base).map(|(of, base)| of.server / base.server))
}

fn render(samples: &[Vec<Sample>], held: bool, attempt: usize) -> String {
    let mut text = format!(
        "## Handshakes, {IN_FLIGHT} at a time\n\n\
         Mutual TLS 1.3, ECDSA P-256, X25519, AES-128-GCM; each a new connection with one request over HTTP/1.1. \
         CPU µs a handshake; × and its quartiles: the server's, of `bare`, within rounds.\n\n\
         | server | its CPU | × `bare` | quartiles | handshakes a second of one core | seen a second | CPU of the client |\n\
         |---|--:|--:|--:|--:|--:|--:|\n"
    );
    for ((name, _), row) in ROWS.iter().zip(samples) {
        let median = |of: fn(&Sample) -> f64| Quantity::of(row.iter().map(of)).median;
        let Quantity { median: ratio, quartiles: [low, high] } = ratios(row, &samples[0]);
        // Writing to a string can't fail.
        let _infallible = writeln!(
            text,
            "| {name} | {:.0} | {ratio:.3} | {low:.3}–{high:.3} | {:.0} | {:.0} | {:.0} |",
            median(|sample| sample.server),
            median(|sample| 1e6 / sample.server),
            median(|sample| sample.rate),
            median(|sample| sample.client),
        );
    }
    let verdict = if held { "held" } else { "DID NOT HOLD" };
    let _infallible = write!(
        text,
        "\nControl (`bare-again` within 2 % of `bare`): {verdict}, attempt {attempt}\n"
    );
    text
}

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
