//! The servers, and what becomes of an attempt that is sent to one.

use mesh_core::model::Address;
use mesh_core::outcome::{ConnectFailure, Failure, Processed, ResetReason};
use mesh_core::random::SplitMix64;
use mesh_core::{Random, Timestamp};
use std::collections::BTreeMap;
use std::time::Duration;

/// How a server behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Behaviour {
    /// Answers 200 after about its latency.
    #[default]
    Well,
    /// Answers 200, so many times later.
    Slow(u32),
    /// This percentage of its answers is 503, and those come within a millisecond.
    Erroring(u64),
    /// Nobody listens.
    Down,
    /// Connects, and never answers.
    Hanging,
    /// Breaks connections off after the request was sent.
    Breaking,
    /// Says that it did not process the request.
    Refusing,
    /// Down and well in turn, this long each.
    Flapping(Duration),
}

/// What an attempt meets.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    /// A response head; the body ends so much later. The server said `x-mesh-retry: no`, or not.
    Head {
        status: u16,
        exhausted: bool,
        body: Duration,
    },
    Failed(Failure),
}

/// The servers of one hop.
#[derive(Debug, Default)]
pub(super) struct Network {
    servers: BTreeMap<Address, Server>,
    /// Attempts that reached a server.
    pub(super) arrived: u64,
}

#[derive(Clone, Copy, Debug)]
struct Server {
    latency: Duration,
    behaviour: Behaviour,
}

impl Network {
    pub(super) fn set(&mut self, address: &Address, behaviour: Behaviour) {
        self.server(address).behaviour = behaviour;
    }

    pub(super) fn set_latency(&mut self, address: &Address, latency: Duration) {
        self.server(address).latency = latency;
    }

    /// Everybody is well again.
    pub(super) fn heal(&mut self) {
        for server in self.servers.values_mut() {
            server.behaviour = Behaviour::Well;
        }
    }

    /// When and what it answers; `None`: never.
    pub(super) fn answer(
        &mut self,
        address: &Address,
        now: Timestamp,
        random: &mut SplitMix64,
    ) -> Option<(Duration, Answer)> {
        let server = self.server(address);
        let mut behaviour = server.behaviour;
        if let Behaviour::Flapping(period) = behaviour {
            let turn = u128::from(now.as_nanos()) / period.as_nanos();
            behaviour = if turn.is_multiple_of(2) { Behaviour::Down } else { Behaviour::Well };
        }
        let micros = u64::try_from(server.latency.as_micros()).unwrap();
        let latency = Duration::from_micros(micros / 2 + random.below(micros));
        if behaviour != Behaviour::Down {
            self.arrived += 1;
        }
        let fast = Duration::from_micros(200 + random.below(800));
        let head = |status| Answer::Head { status, exhausted: false, body: latency / 4 };
        let reset = |reason, processed| Answer::Failed(Failure::Reset { reason, processed });
        Some(match behaviour {
            Behaviour::Well | Behaviour::Flapping(_) => (latency, head(200)),
            Behaviour::Slow(times) => (latency * times, head(200)),
            Behaviour::Erroring(percent) if random.below(100) < percent => (fast, head(503)),
            Behaviour::Erroring(_) => (latency, head(200)),
            Behaviour::Down => (fast, Answer::Failed(Failure::Connect(ConnectFailure::Refused))),
            Behaviour::Hanging => return None,
            Behaviour::Breaking => {
                (fast, reset(ResetReason::ConnectionTermination, Processed::Maybe))
            }
            Behaviour::Refusing => (fast, reset(ResetReason::RefusedStream, Processed::No)),
        })
    }

    fn server(&mut self, address: &Address) -> &mut Server {
        let latency = Duration::from_millis(5);
        let server = Server { latency, behaviour: Behaviour::Well };
        self.servers.entry(address.clone()).or_insert(server)
    }
}
