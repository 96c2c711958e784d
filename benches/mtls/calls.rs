//! Calls on warm connections.

use crate::arguments::Arguments;
use crate::certificates::Certificates;
use crate::client::Calling;
use crate::load::Load;
use crate::place::Place;
use crate::quantity::order;
use crate::serve::{self, Kind, Seen};
use crate::table::{self, Sample, Samples};
use crate::{BoxError, Http, Security};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The rows: whether the mesh calls, and who serves. The first one is the base, the second one its double.
pub(crate) const ROWS: [(&str, bool, Kind); 6] = [
    ("bare", false, Kind::Bare),
    ("bare-again", false, Kind::Bare),
    ("acceptor", false, Kind::Acceptor),
    ("server", false, Kind::Server),
    ("client", true, Kind::Bare),
    ("both", true, Kind::Server),
];

/// Measures every table of one protocol; whether all controls held.
pub(crate) async fn measure(
    arguments: &Arguments,
    http: Http,
    certificates: &Certificates,
) -> Result<bool, BoxError> {
    let mut pairs = Vec::new();
    for security in [Security::Mutual, Security::Plaintext] {
        for row in ROWS {
            pairs.push(Pair::start(row, security, http, certificates).await?);
        }
    }
    let mut all_held = true;
    for in_flight in [1, 64] {
        let load = Load { in_flight, duration: arguments.turn };
        for attempt in 1..=arguments.attempts {
            eprintln!("calls, {http:?}, {in_flight} in flight, attempt {attempt}");
            let samples = rounds(&pairs, load, arguments.rounds).await?;
            let held = table::held(&samples);
            if held || attempt == arguments.attempts {
                println!("{}", table::render(http, in_flight, &samples, attempt));
                all_held &= held;
                break;
            }
        }
    }
    Ok(all_held)
}

/// Runs one row alone.
pub(crate) async fn profile(
    arguments: &Arguments,
    row: &str,
    certificates: &Certificates,
) -> Result<(), BoxError> {
    let parts: Vec<&str> = row.split('/').collect();
    let (http, security, name) = match parts[..] {
        ["h1", security, name] => (Http::One, security, name),
        ["h2", security, name] => (Http::Two, security, name),
        _ => return Err(format!("--profile {row}: as in h2/mtls/server").into()),
    };
    let security = match security {
        "mtls" => Security::Mutual,
        "plain" => Security::Plaintext,
        _ => return Err(format!("--profile {row}: `mtls` or `plain`, not `{security}`").into()),
    };
    let row = ROWS.into_iter().find(|(known, ..)| *known == name);
    let row = row.ok_or_else(|| format!("--profile: there is no row `{name}`"))?;
    let pair = Pair::start(row, security, http, certificates).await?;
    let load = Load { in_flight: arguments.in_flight, duration: arguments.turn };
    let Sample { client, server, rate } = pair.turn(load).await?;
    println!("{client:.2} and {server:.2} µs of CPU a call, {rate:.0} calls a second");
    let calls = pair.seen.requests.load(Ordering::Relaxed);
    println!("{calls} calls from the start");
    Ok(())
}

async fn rounds(pairs: &[Pair], load: Load, rounds: usize) -> Result<Samples, BoxError> {
    let mut samples = vec![Vec::with_capacity(rounds); pairs.len()];
    for round in 0..rounds {
        for index in order(round, pairs.len()) {
            samples[index].push(pairs[index].turn(load).await?);
        }
    }
    let plaintext = samples.split_off(ROWS.len());
    Ok(Samples { mutual: samples, plaintext })
}

/// A client and its server, each a thread.
struct Pair {
    name: &'static str,
    client: Place,
    server: Place,
    calling: Calling,
    seen: Arc<Seen>,
}

impl Pair {
    async fn start(
        (name, is_mesh, kind): (&'static str, bool, Kind),
        security: Security,
        http: Http,
        certificates: &Certificates,
    ) -> Result<Self, BoxError> {
        let (client, server) = (Place::start("client").await?, Place::start("server").await?);
        let serving = serve::start(kind, security, http, certificates.clone());
        let serve::Serving { address, seen } = server.run(serving).await??;
        let calling = Calling::connect(is_mesh, (security, http), address, certificates.clone());
        let calling = client.run(calling).await??;
        Ok(Self { name, client, server, calling, seen })
    }

    /// One turn, during which no connection was made.
    async fn turn(&self, load: Load) -> Result<Sample, BoxError> {
        for _ in 0..MAX_COLD {
            let warm_up = Load { duration: load.duration / 10, ..load };
            self.drive(warm_up).await?;
            let connections = self.seen.connections.load(Ordering::Relaxed);
            let sample = self.drive(load).await?;
            if self.seen.connections.load(Ordering::Relaxed) == connections {
                return Ok(sample);
            }
        }
        Err(format!("{}: there is no turn without a new connection", self.name).into())
    }

    async fn drive(&self, load: Load) -> Result<Sample, BoxError> {
        let requests = self.seen.requests.load(Ordering::Relaxed);
        let before = self.cpu().await?;
        let run = self.client.run(self.calling.clone().drive(load)).await?;
        let run = run.map_err(|error| format!("{}: {}", self.name, told(&*error)))?;
        let after = self.cpu().await?;
        let requests = self.seen.requests.load(Ordering::Relaxed) - requests;
        if requests != run.calls {
            let (name, calls) = (self.name, run.calls);
            return Err(format!("{name}: {calls} calls, but {requests} requests came").into());
        }
        let calls = run.calls as f64;
        let each = |after: Duration, before: Duration| {
            after.saturating_sub(before).as_secs_f64() * 1e6 / calls
        };
        Ok(Sample {
            client: each(after.0, before.0),
            server: each(after.1, before.1),
            rate: calls / run.elapsed.as_secs_f64(),
        })
    }

    /// Of both threads, which sleep meanwhile: that brings the kernel's numbers up to date.
    async fn cpu(&self) -> Result<(Duration, Duration), BoxError> {
        tokio::time::sleep(Duration::from_millis(2)).await;
        Ok((self.client.cpu()?, self.server.cpu()?))
    }
}

/// An error with what caused it.
pub(crate) fn told(error: &(dyn std::error::Error + 'static)) -> String {
    let sources = std::iter::successors(Some(error), |error| error.source());
    sources.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// How often a turn in which a connection was made is repeated.
const MAX_COLD: usize = 10;
