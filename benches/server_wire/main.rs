//! What a request costs a server over real sockets: ours with mutual TLS, `x-forwarded-client-cert`, ten
//! policies, a rate, the caller's deadline and metrics, beside raw hyper over rustls that asks for a certificate as
//! well.
//!
//! - All servers are in one thread, which nothing else runs in, and are called in turns over one HTTP/2 connection
//!   each, by the same client with the same headers. What is told is that thread's CPU time (the kernel's account,
//!   `schedstat`) divided by the requests that reached the service.
//! - Raw hyper takes part twice, as the control: where the two differ by more than 2 %, the machine was not quiet.
//! - A turn in which more or fewer requests came than calls were made ends the run.
//!
//! `cargo bench -p mesh-tower --bench server_wire -- [ROUNDS [SECONDS]]`: so many rounds (15) of turns of so many
//! seconds (0.5), for 1 and 64 calls in flight. `-- --only NAME` calls nothing but this server, for a profiler: its
//! thread is called `server`. Not here: what the layer alone costs in instructions
//! (`benches/server.rs`).
#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a bench is a program that prints, and owns its tasks"
)]

mod certificates;
mod serve;

use bytes::Bytes;
use certificates::Pair;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use serve::{Account, Server};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

/// What anything here may fail with: it is printed and ends the run.
type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Raw hyper first: the others are compared with it.
const NAMES: [&str; 4] = ["hyper", "mesh, no filter", "hyper again", "mesh"];

/// What is called; the last of the ten policies is about it.
const URI: &str = "https://localhost/shop.v9.Reviews/Get";

/// What is sent, and comes back.
static PAYLOAD: [u8; 100] = [b'm'; 100];

/// How far the control may be from 1.
const TOLERANCE: f64 = 0.02;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let only = arguments.iter().skip_while(|argument| *argument != "--only").nth(1);
    // `cargo bench` puts `--bench` before what it passes on.
    let numbers: Vec<f64> = arguments.iter().filter_map(|argument| argument.parse().ok()).collect();
    let rounds = numbers.first().map_or(15, |rounds| rounds.clamp(1.0, 1000.0) as usize);
    let turn = Duration::from_secs_f64(numbers.get(1).copied().unwrap_or(0.5).clamp(0.001, 60.0));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime
        .map_err(BoxError::from)
        .and_then(|runtime| runtime.block_on(measure(rounds, turn, only.map(String::as_str))))
    {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(2),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Prints a table for each number of calls in flight; whether the control held in each.
async fn measure(rounds: usize, length: Duration, only: Option<&str>) -> Result<bool, BoxError> {
    let server = Server::start().await?;
    let tls = client(&server.caller)?;
    let mut callers = Vec::new();
    for address in [server.hyper, server.bare_mesh, server.hyper, server.mesh] {
        callers.push(connect(address, &tls).await?);
    }
    let mut all_held = true;
    for in_flight in [1, 64] {
        let mut micros = vec![Vec::with_capacity(rounds); callers.len()];
        for round in 0..rounds {
            // Rotated by one each round, and backwards in every other one.
            let mut order: Vec<usize> = (0..callers.len()).collect();
            order.rotate_left(round % callers.len());
            if round % 2 == 1 {
                order.reverse();
            }
            for at in order {
                if only.is_some_and(|only| only != NAMES[at]) {
                    continue;
                }
                drive(&callers[at], in_flight, length / 10).await?;
                let before = server.account().await?;
                let calls = drive(&callers[at], in_flight, length).await?;
                micros[at].push(cost(before, server.account().await?, calls)?);
            }
        }
        match only.and_then(|only| NAMES.iter().position(|name| *name == only)) {
            Some(at) => println!("{in_flight} in flight: {:.2} µs", quantile(&micros[at], 0.5)),
            None => all_held &= print(in_flight, &micros),
        }
    }
    Ok(all_held)
}

/// CPU time for each request, in microseconds.
fn cost(before: Account, after: Account, calls: u64) -> Result<f64, BoxError> {
    let requests = after.requests - before.requests;
    if requests != calls {
        return Err(format!("{calls} calls, but {requests} requests came").into());
    }
    Ok((after.cpu_nanos - before.cpu_nanos) as f64 / requests as f64 / 1e3)
}

/// Keeps so many calls in flight for so long; how many there were.
async fn drive(caller: &Caller, in_flight: usize, length: Duration) -> Result<u64, BoxError> {
    let end = Instant::now() + length;
    let mut tasks = JoinSet::new();
    for _ in 0..in_flight {
        let mut caller = caller.clone();
        tasks.spawn(async move {
            let mut calls = 0;
            while Instant::now() < end {
                caller.call().await?;
                calls += 1;
            }
            Ok::<u64, BoxError>(calls)
        });
    }
    let mut calls = 0;
    while let Some(part) = tasks.join_next().await {
        calls += part??;
    }
    Ok(calls)
}

/// One connection to one of the servers.
#[derive(Clone)]
struct Caller(SendRequest<Full<Bytes>>);

impl Caller {
    async fn call(&mut self) -> Result<(), BoxError> {
        let request = Request::post(URI)
            .header("user-agent", "bench")
            .header("accept", "*/*")
            // Who has a certificate is believed about it: the deadline.
            .header("x-envoy-expected-rq-timeout-ms", "15000");
        self.0.ready().await?;
        let body = Full::new(Bytes::from_static(&PAYLOAD));
        let response = self.0.send_request(request.body(body)?).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        if status != StatusCode::OK || body.len() != PAYLOAD.len() {
            return Err(format!("{status} with {} bytes came back", body.len()).into());
        }
        Ok(())
    }
}

fn client(caller: &Pair) -> Result<Arc<ClientConfig>, BoxError> {
    let (chain, key) = caller.own()?;
    let builder = ClientConfig::builder_with_provider(certificates::provider());
    let builder = builder.with_safe_default_protocol_versions()?;
    let builder = builder.with_root_certificates(caller.trusted()?);
    let mut config = builder.with_client_auth_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

async fn connect(address: SocketAddr, tls: &Arc<ClientConfig>) -> Result<Caller, BoxError> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let connector = TlsConnector::from(Arc::clone(tls));
    let io = TokioIo::new(connector.connect("localhost".try_into()?, stream).await?);
    let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
    drop(tokio::spawn(connection));
    let mut caller = Caller(sender);
    caller.call().await?;
    Ok(caller)
}

fn print(in_flight: usize, micros: &[Vec<f64>]) -> bool {
    println!(
        "\n{in_flight} in flight, CPU µs of the server for each request, {} rounds\n",
        micros[0].len()
    );
    println!("| server | lowest tenth | over hyper | median | over hyper | × hyper | quartiles |");
    println!("|---|--:|--:|--:|--:|--:|--:|");
    let base = &micros[0];
    let paired = |own: &[f64], of: fn(f64, f64) -> f64| -> Vec<f64> {
        own.iter().zip(base).map(|(own, base)| of(*own, *base)).collect()
    };
    for (name, own) in NAMES.iter().zip(micros) {
        let (over, ratios) =
            (paired(own, |own, base| own - base), paired(own, |own, base| own / base));
        let lowest = quantile(own, 0.1);
        println!(
            "| {name} | {lowest:.2} | {:+.2} | {:.2} | {:+.2} | {:.3} | {:.3}–{:.3} |",
            lowest - quantile(base, 0.1),
            quantile(own, 0.5),
            quantile(&over, 0.5),
            quantile(&ratios, 0.5),
            quantile(&ratios, 0.25),
            quantile(&ratios, 0.75),
        );
    }
    let control = quantile(&paired(&micros[2], |own, base| own / base), 0.5);
    let held = (control - 1.0).abs() <= TOLERANCE;
    println!(
        "\ncontrol (hyper again within 2 % of hyper): {}",
        if held { "held" } else { "DID NOT HOLD" }
    );
    held
}

/// The quantile of `values`, interpolated between neighbours.
fn quantile(values: &[f64], share: f64) -> f64 {
    let mut values = values.to_vec();
    values.sort_unstable_by(f64::total_cmp);
    let Some(last) = values.len().checked_sub(1) else { return f64::NAN };
    let place = share * last as f64;
    let (low, high) = (values[place.floor() as usize], values[place.ceil() as usize]);
    low + (high - low) * place.fract()
}
