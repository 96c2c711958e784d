//! The rounds: everybody takes turns, so that what the machine does besides happens to all.
//!
//! - A turn is a tenth of its length warm-up, then measured.
//! - The order rotates from round to round and runs backwards in every other one.
//! - The server's account of a turn must agree with the client's: as many requests as calls, every
//!   header in every request, and the same header names for all clients of a kind.
//! - When the base and its double differ by more than 2 %, the table is measured again.

use crate::BoxError;
use crate::arguments::Arguments;
use crate::child::Server;
use crate::clients::{self, Contestant, Kind};
use crate::cpu;
use crate::load::{Load, Run};
use crate::machine::Machine;
use crate::sample::{Quantity, Sample, quantile};
use crate::serve::Seen;
use serde::Serialize;
use std::time::Duration;

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub struct Outcome {
    /// Where and with what.
    pub machine: Machine,
    /// Rounds per table.
    pub rounds: u32,
    /// Length of a turn, in seconds.
    pub turn: f64,
    /// One per kind and number of calls in flight.
    pub tables: Vec<Table>,
}

impl Outcome {
    /// Whether every control held.
    pub fn trustworthy(&self) -> bool {
        self.tables.iter().all(|table| table.control_held)
    }
}

/// Clients of one kind with so many calls in flight.
#[derive(Debug, Serialize)]
pub struct Table {
    /// What was called.
    pub kind: Kind,
    /// Calls in flight.
    pub in_flight: usize,
    /// The names of the request headers that every client sent.
    pub headers: Vec<String>,
    /// How often it was measured until the control held, or was given up.
    pub attempts: u32,
    /// Whether the base and its double differ by at most 2 % in throughput and CPU time.
    pub control_held: bool,
    /// The clients, in the order of turns; the base first.
    pub rows: Vec<Row>,
}

/// One client.
#[derive(Debug, Serialize)]
pub struct Row {
    /// Its name.
    pub name: &'static str,
    /// Calls per second.
    pub rate: Quantity,
    /// Client CPU time per call, in microseconds.
    pub cpu: Quantity,
    /// Client CPU time beyond the floor's, in microseconds: median over rounds.
    pub cpu_over_floor: f64,
    /// Median latency, in microseconds.
    pub p50: Quantity,
    /// 99th percentile of latency, in microseconds.
    pub p99: Quantity,
    /// CPU time of a process in between, per call over all rounds, in microseconds.
    pub between_cpu: Option<f64>,
}

/// Measures everything that `arguments` ask for.
pub async fn bench(arguments: &Arguments) -> Result<Outcome, BoxError> {
    let mut server = Server::start().await?;
    let contestants = clients::connect(arguments, &server).await?;
    let envoy = contestants.envoy.as_ref().map(|envoy| envoy.version.as_str());
    let mut outcome = Outcome {
        machine: Machine::look(arguments.workers, envoy),
        rounds: arguments.rounds,
        turn: arguments.turn().as_secs_f64(),
        tables: Vec::new(),
    };
    for kind in Kind::ALL {
        let of_kind: Vec<_> =
            contestants.all.iter().filter(|contestant| contestant.kind == kind).collect();
        for &in_flight in arguments.in_flight.iter().filter(|_| !of_kind.is_empty()) {
            let load = Load { in_flight: in_flight.max(1), duration: arguments.turn() };
            let table = table(arguments, kind, load, &of_kind, &mut server).await?;
            outcome.tables.push(table);
        }
    }
    if let Some(envoy) = contestants.envoy {
        envoy.end().await?;
    }
    server.end().await?;
    Ok(outcome)
}

/// Measures one table until its control holds.
async fn table(
    arguments: &Arguments,
    kind: Kind,
    load: Load,
    contestants: &[&Contestant],
    server: &mut Server,
) -> Result<Table, BoxError> {
    let mut attempts = 0;
    loop {
        attempts += 1;
        eprintln!("{}, {} in flight, attempt {attempts}", kind.title(), load.in_flight);
        let mut turns: Vec<Turns> = contestants.iter().map(|_| Turns::default()).collect();
        let mut headers = None;
        for round in 0..arguments.rounds as usize {
            for index in order(round, contestants.len()) {
                let seen = turn(contestants[index], load, &mut turns[index], server).await?;
                same_headers(contestants[index].name, &mut headers, &seen)?;
            }
        }
        let rows = rows(kind, contestants, &turns);
        let control_held = rows.iter().filter(|row| kind.base().contains(&row.name)).all(|row| {
            [row.rate.ratio, row.cpu.ratio].iter().all(|ratio| (ratio - 1.0).abs() <= TOLERANCE)
        });
        if control_held || attempts == arguments.attempts {
            let headers = headers.unwrap_or_default();
            return Ok(Table {
                kind,
                in_flight: load.in_flight,
                headers,
                attempts,
                control_held,
                rows,
            });
        }
    }
}

/// All turns of one client.
#[derive(Default)]
struct Turns {
    samples: Vec<Sample>,
    calls: usize,
    between_cpu: Duration,
}

/// One turn; what the server saw of it.
async fn turn(
    contestant: &Contestant,
    load: Load,
    turns: &mut Turns,
    server: &mut Server,
) -> Result<Seen, BoxError> {
    let failed = |error: BoxError| format!("{}: {error}", contestant.name);
    // What the last one left in the server's account.
    server.seen().await?;
    let warm_up = Load { duration: load.duration / 10, ..load };
    let warm = contestant.client.drive(warm_up).await.map_err(failed)?;
    let between = || contestant.between.map_or(Ok(Duration::ZERO), cpu::of_process);
    let before = (settled_cpu().await?, between()?);
    let mut run = contestant.client.drive(load).await.map_err(failed)?;
    let after = (settled_cpu().await?, between()?);
    let seen = server.seen().await?;
    honest(contestant.name, &seen, &[&warm, &run])?;
    turns.samples.push(Sample::of(&mut run, after.0.saturating_sub(before.0)));
    turns.calls += run.latencies.len();
    turns.between_cpu += after.1.saturating_sub(before.1);
    Ok(seen)
}

/// The CPU time so far, after a sleep that makes the kernel bring it up to date.
async fn settled_cpu() -> Result<Duration, BoxError> {
    tokio::time::sleep(Duration::from_millis(2)).await;
    Ok(cpu::of_this_process()?)
}

/// As many requests as calls, and every header in each of them.
fn honest(name: &str, seen: &Seen, runs: &[&Run]) -> Result<(), BoxError> {
    let calls: usize = runs.iter().map(|run| run.latencies.len()).sum();
    if seen.calls != calls as u64 {
        return Err(format!("{name}: {calls} calls, but {} requests came", seen.calls).into());
    }
    match seen.headers.iter().find(|(_, count)| **count != seen.calls) {
        Some((header, count)) => {
            Err(format!("{name}: {calls} calls, but {count} headers `{header}`").into())
        }
        None => Ok(()),
    }
}

/// The same header names as everybody before.
fn same_headers(
    name: &str,
    headers: &mut Option<Vec<String>>,
    seen: &Seen,
) -> Result<(), BoxError> {
    let these: Vec<_> = seen.headers.keys().cloned().collect();
    match headers {
        Some(others) if *others != these => {
            Err(format!("{name} sends the headers {these:?}, the others {others:?}").into())
        }
        _ => {
            *headers = Some(these);
            Ok(())
        }
    }
}

/// Who is when: rotated by one each round, backwards in odd rounds.
fn order(round: usize, count: usize) -> Vec<usize> {
    let mut order: Vec<_> = (0..count).map(|place| (place + round) % count).collect();
    if round % 2 == 1 {
        order.reverse();
    }
    order
}

fn rows(kind: Kind, contestants: &[&Contestant], turns: &[Turns]) -> Vec<Row> {
    let samples = |name: &str| {
        let place = contestants.iter().position(|contestant| contestant.name == name);
        place.map_or(&[][..], |place| turns[place].samples.as_slice())
    };
    let (base, floor) = (samples(kind.base()[0]), samples(kind.floor()));
    let row = |(contestant, turns): (&&Contestant, &Turns)| {
        let quantity = |of: fn(&Sample) -> f64| {
            let values = |samples: &[Sample]| samples.iter().map(of).collect::<Vec<_>>();
            Quantity::paired(&values(&turns.samples), &values(base))
        };
        let over_floor: Vec<_> =
            turns.samples.iter().zip(floor).map(|(own, floor)| own.cpu - floor.cpu).collect();
        let between_cpu = turns.between_cpu.as_secs_f64() * 1e6 / turns.calls as f64;
        Row {
            name: contestant.name,
            rate: quantity(|sample| sample.rate),
            cpu: quantity(|sample| sample.cpu),
            cpu_over_floor: quantile(&over_floor, 0.5),
            p50: quantity(|sample| sample.p50),
            p99: quantity(|sample| sample.p99),
            between_cpu: contestant.between.map(|_| between_cpu),
        }
    };
    contestants.iter().zip(turns).map(row).collect()
}

/// How far the control may be from 1.
const TOLERANCE: f64 = 0.02;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_round_has_everybody_once_and_in_another_order() {
        let rounds: Vec<_> = (0..4).map(|round| order(round, 4)).collect();
        for round in &rounds {
            let mut sorted = round.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, [0, 1, 2, 3]);
        }
        let firsts: Vec<_> = rounds.iter().map(|round| round[0]).collect();
        assert_eq!(firsts, [0, 0, 2, 2]);
        assert_eq!(rounds[1], [0, 3, 2, 1]);
    }

    fn seen(calls: u64, headers: &[(&str, u64)]) -> Seen {
        let headers = headers.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
        Seen { calls, headers }
    }

    #[test]
    fn who_sends_fewer_headers_or_requests_is_found_out() {
        let run = Run { elapsed: Duration::from_secs(1), latencies: vec![1; 3] };
        let check = |calls, te| honest("x", &seen(calls, &[("te", te)]), &[&run]).is_ok();
        assert!(check(3, 3));
        assert!(!check(2, 2), "a call without a request");
        assert!(!check(4, 4), "a request without a call");
        assert!(!check(3, 2), "a request without the header");

        let mut headers = None;
        let mut check =
            |names: &[(&str, u64)]| same_headers("x", &mut headers, &seen(1, names)).is_ok();
        assert!(check(&[("te", 1), ("user-agent", 1)]));
        assert!(check(&[("user-agent", 1), ("te", 1)]));
        assert!(!check(&[("te", 1)]));
        assert!(!check(&[("te", 1), ("grpc-timeout", 1)]));
    }
}
