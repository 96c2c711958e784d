//! One client alone in a loop, for `perf` or callgrind to look at.

use crate::BoxError;
use crate::arguments::Arguments;
use crate::child::Server;
use crate::clients;
use crate::cpu;
use crate::load::Load;
use crate::sample::Sample;
use std::process;

/// Calls through the client called `name` and prints what it cost.
pub async fn profile(arguments: &Arguments, name: &str) -> Result<(), BoxError> {
    let server = Server::start().await?;
    let contestants = clients::connect(arguments, &server).await?;
    for contestant in &contestants.all {
        let in_flight = arguments.in_flight.iter().copied().max().unwrap_or(1).max(1);
        let load = Load { in_flight, duration: arguments.profile_length() };
        eprintln!("{name}: process {}, {in_flight} calls in flight", process::id());
        let before = cpu::of_this_process()?;
        let mut run = contestant.client.drive(load).await?;
        let cpu = cpu::of_this_process()? - before;
        let calls = run.latencies.len();
        let sample = Sample::of(&mut run, cpu);
        println!("{calls} calls, {:.0} calls/s, {:.2} µs of CPU each", sample.rate, sample.cpu);
    }
    if let Some(envoy) = contestants.envoy {
        envoy.end().await?;
    }
    server.end().await
}
