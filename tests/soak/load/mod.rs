//! Callers, each with a connection of its own, that call until they are stopped.

mod bytes;
mod http;

use crate::calls::{Calls, Failed, Kind};
use crate::settings::Settings;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Callers of each kind, and the pause of each after a call.
const CALLERS: [(Kind, usize); 5] =
    [(Kind::Http1, 4), (Kind::Http2, 4), (Kind::Grpc, 4), (Kind::Upgrade, 2), (Kind::Bytes, 3)];
const PAUSE: Duration = Duration::from_millis(40);
/// What has not ended by then is given up; it is far beyond every deadline.
pub(crate) const GIVES_UP: Duration = Duration::from_secs(20);

/// What a caller saw of a call that did not end well.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) how: String,
    pub(crate) flag: Option<String>,
    pub(crate) own: bool,
    pub(crate) ended_early: bool,
}

impl Seen {
    pub(crate) fn broke(how: impl Into<String>) -> Self {
        Self { how: how.into(), ..Self::default() }
    }
}

pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

impl Load {
    pub(crate) fn start(
        calls: &Arc<Calls>,
        [web, bytes]: [SocketAddr; 2],
        settings: &Settings,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        let wanted = |(kind, _): &(Kind, usize)| {
            settings.calls.as_ref().is_none_or(|only| kind.name() == only)
        };
        for (kind, count) in CALLERS.into_iter().filter(wanted) {
            for at in 0..count {
                let caller = Caller {
                    kind,
                    address: if kind == Kind::Bytes { bytes } else { web },
                    random: fastrand::Rng::with_seed(
                        settings.seed ^ ((kind as u64) << 8) ^ at as u64,
                    ),
                    calls: Arc::clone(calls),
                    stop: Arc::clone(&stop),
                };
                tasks.spawn(caller.run());
            }
        }
        Self { stop, tasks }
    }

    /// Ends the load; calls that run are waited for.
    pub(crate) async fn end(mut self) {
        self.stop.store(true, Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
    }
}

struct Caller {
    kind: Kind,
    address: SocketAddr,
    random: fastrand::Rng,
    calls: Arc<Calls>,
    stop: Arc<AtomicBool>,
}

impl Caller {
    async fn run(mut self) {
        let mut http = http::Connection::new(self.kind, self.address);
        while !self.stop.load(Relaxed) {
            let (id, now) = (self.calls.id(self.kind), self.calls.now());
            let begun = Instant::now();
            let call = async {
                match self.kind {
                    Kind::Bytes => bytes::stream(self.address, &id, &mut self.random).await,
                    Kind::Upgrade => bytes::upgraded(self.address, &id, &mut self.random).await,
                    _ => http.call(&id, &mut self.random).await,
                }
            };
            let seen = match tokio::time::timeout(GIVES_UP, call).await {
                Ok(seen) => seen,
                Err(_) => Err(Seen::broke("it never ended")),
            };
            let took = begun.elapsed();
            let failed = seen.err().map(|Seen { how, flag, own, ended_early }| {
                // What comes next has nothing to do with this.
                http.close();
                let (at, during, quiet) = (Duration::ZERO, [now.fault, String::new()], now.quiet);
                let kind = self.kind;
                Failed { kind, id, how, flag, own, ended_early, during, quiet, at, took }
            });
            self.calls.ended(self.kind, took, failed);
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Bytes that tell if one of them is missing, or another.
fn pattern(length: usize, random: &mut fastrand::Rng) -> Vec<u8> {
    let mut bytes = vec![0; length];
    random.fill(&mut bytes);
    bytes
}
