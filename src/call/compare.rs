//! `--compare`: what the mesh adds to a call, beside calls by plain hyper to the same endpoint.
//!
//! Both run on one thread, over connections that are kept, in turn, and each begins as often as the other, so that what
//! else happens meanwhile meets both alike. What is measured is from the request to the end of the response's body, and
//! the time of the thread on a CPU. A TLS connection without the mesh is one of `Mesh::connect`: the same handshake with
//! the same identity, and hyper alone over it.

use super::exchange::Came;
use super::json::millis;
use super::question::Question;
use crate::cli::Failure;
use direct::Direct;
use http_body_util::BodyExt;
use hyper::body::{Body, Bytes};
use mesh_core::model::Address;
use mesh_tower::{CallOptions, Mesh};
use serde_json::{Value, json};
use std::fmt;
use std::time::{Duration, Instant};
use tower_service::Service;

mod direct;

/// The most bytes of a body, of either kind.
const MAX_BODY: usize = 1 << 20;
/// The most calls of each kind before the first that counts.
const WARM_UP: u32 = 100;
/// How long one call, or a connection, may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Calls through the mesh, beside calls without it.
pub(super) struct Compared {
    calls: u32,
    warm_up: u32,
    /// How many were made for the calls without the mesh.
    connections: u32,
    endpoint: Address,
    is_secured: bool,
    mesh: Times,
    direct: Times,
}

/// The times of calls of one kind.
#[derive(Default)]
struct Times {
    walls: Vec<Duration>,
    cpu: Duration,
    failed: u32,
}

/// What one call took; `None`: it failed.
type Took = Option<(Duration, Duration)>;

/// Makes `calls` calls of each kind.
pub(super) async fn run(
    mesh: &Mesh,
    question: &Question,
    came: &Came,
    calls: u32,
) -> Result<Compared, Failure> {
    if question.body.len() > MAX_BODY {
        return Err(too_large("request"));
    }
    if came.received.as_ref().is_some_and(|received| received.bytes > MAX_BODY as u64) {
        return Err(too_large("response"));
    }
    let mut direct = Direct::new(mesh, question, came)?;
    direct.connect().await?;
    let warm_up = calls.min(WARM_UP);
    let mut compared = Compared {
        calls,
        warm_up,
        connections: 0,
        endpoint: direct.endpoint().clone(),
        is_secured: direct.is_secured(),
        mesh: Times::default(),
        direct: Times::default(),
    };
    let mut is_answered = false;
    for call in 0..warm_up.saturating_add(calls) {
        let (through, past) = if call % 2 == 0 {
            let through = through(mesh, question).await?;
            (through, past(&mut direct).await?)
        } else {
            let past = past(&mut direct).await?;
            (through(mesh, question).await?, past)
        };
        is_answered |= past.is_some();
        if call >= warm_up {
            if !is_answered {
                return Err(unanswered(&compared));
            }
            compared.mesh.add(through);
            compared.direct.add(past);
        }
    }
    compared.connections = direct.connections();
    compared.mesh.walls.sort_unstable();
    compared.direct.walls.sort_unstable();
    Ok(compared)
}

fn too_large(what: &str) -> Failure {
    let message = format!(
        "the {what}'s body has more than {MAX_BODY} bytes, of which most time would be: compare with a smaller one"
    );
    Failure::new("body_too_large", message)
}

/// All calls without the mesh failed where one with it was good.
fn unanswered(compared: &Compared) -> Failure {
    let Compared { warm_up, endpoint, .. } = compared;
    let why = match compared.is_secured {
        true => "it may want ALPN, which connections without the mesh do not offer",
        false => "it may want what the mesh adds to each attempt",
    };
    let message = format!(
        "can't compare: none of {warm_up} calls by hyper to {endpoint} had a good answer; {why}"
    );
    Failure::new("not_compared", message)
}

/// A call through the mesh.
async fn through(mesh: &Mesh, question: &Question) -> Result<Took, Failure> {
    let mut client = mesh.client();
    let request = question.request(CallOptions::new());
    timed(async {
        let response = client.call(request).await.ok()?;
        let is_good = response.status().as_u16() < 400;
        drain(response.into_body()).await.filter(|_| is_good)
    })
    .await
}

/// A call without it.
async fn past(direct: &mut Direct) -> Result<Took, Failure> {
    let request = direct.request();
    timed(async {
        direct.connect().await.ok()?;
        let response = direct.send(request).await?;
        let is_good = response.status().as_u16() < 400;
        drain(response.into_body()).await.filter(|_| is_good)
    })
    .await
}

/// Reads a body to its end; how much it was, or `None`: it has none.
async fn drain<B: Body<Data = Bytes> + Unpin>(mut body: B) -> Option<usize> {
    let mut length = 0_usize;
    while let Some(frame) = body.frame().await {
        length = length.saturating_add(frame.ok()?.data_ref().map_or(0, Bytes::len));
        if length > MAX_BODY {
            break;
        }
    }
    Some(length)
}

async fn timed(call: impl Future<Output = Option<usize>>) -> Result<Took, Failure> {
    let (cpu, began) = (on_cpu(), Instant::now());
    let length = tokio::time::timeout(PATIENCE, call).await.ok().flatten();
    let wall = began.elapsed();
    let cpu = on_cpu().saturating_sub(cpu);
    match length {
        Some(length) if length > MAX_BODY => Err(too_large("response")),
        length => Ok(length.map(|_| (wall, cpu))),
    }
}

/// How long this thread has been on a CPU; zero where that is not known.
fn on_cpu() -> Duration {
    #[cfg(unix)]
    {
        use rustix::time::{ClockId, clock_gettime};
        Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
    }
    #[cfg(not(unix))]
    Duration::ZERO
}

impl Times {
    fn add(&mut self, took: Took) {
        match took {
            Some((wall, cpu)) => {
                self.walls.push(wall);
                self.cpu += cpu;
            }
            None => self.failed += 1,
        }
    }

    /// The time that `percent` of the calls did not exceed; they are sorted.
    fn percentile(&self, percent: usize) -> Duration {
        let rank = (self.walls.len() * percent).div_ceil(100).max(1);
        self.walls.get(rank - 1).copied().unwrap_or_default()
    }

    /// Of the CPU, per call.
    fn cpu(&self) -> Duration {
        self.cpu
            .checked_div(u32::try_from(self.walls.len()).unwrap_or(u32::MAX))
            .unwrap_or_default()
    }

    fn to_json(&self) -> Value {
        json!({
            "median_ms": millis(self.percentile(50)),
            "p99_ms": millis(self.percentile(99)),
            "cpu_ms": millis(self.cpu()),
            "failed": self.failed,
        })
    }
}

impl Compared {
    /// Whether a call failed.
    pub(super) const fn has_failed(&self) -> bool {
        self.mesh.failed + self.direct.failed > 0
    }

    pub(super) fn to_json(&self) -> Value {
        json!({
            "calls": self.calls,
            "warm_up": self.warm_up,
            "connections": self.connections,
            "endpoint": self.endpoint.to_string(),
            "tls": self.is_secured,
            "mesh": self.mesh.to_json(),
            "direct": self.direct.to_json(),
        })
    }
}

impl fmt::Display for Compared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { calls, warm_up, endpoint, mesh, direct, .. } = self;
        let how = if self.is_secured { "hyper over the same TLS" } else { "hyper alone" };
        writeln!(f, "\ncompared    {calls} calls each, in turn, after {warm_up} to warm up; µs")?;
        writeln!(f, "            through the mesh, and by {how} to {endpoint}")?;
        if self.connections > 1 {
            let made = self.connections;
            writeln!(
                f,
                "            it ends its connections: {made} were made, and are in the times"
            )?;
        }
        writeln!(f, "{:12}{:>10}{:>10}{:>12}", "", "mesh", "direct", "difference")?;
        for (label, of) in [
            ("median", (mesh.percentile(50), direct.percentile(50))),
            ("p99", (mesh.percentile(99), direct.percentile(99))),
            ("CPU", (mesh.cpu(), direct.cpu())),
        ] {
            let (through, past) = (micros(of.0), micros(of.1));
            writeln!(f, "{label:12}{through:>10.1}{past:>10.1}{:>+12.1}", through - past)?;
        }
        if self.has_failed() {
            writeln!(f, "{:12}{:>10}{:>10}", "failed", mesh.failed, direct.failed)?;
        }
        Ok(())
    }
}

fn micros(duration: Duration) -> f64 {
    duration.as_nanos() as f64 / 1_000.0
}
