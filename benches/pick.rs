//! What it costs to pick an endpoint, by algorithm and number of endpoints.
#![expect(
    dead_code,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a bench is a program that fails loudly and prints"
)]

#[path = "support/mod.rs"]
mod support;
#[path = "support/tables.rs"]
mod tables;

use mesh_core::Timestamp;
use mesh_core::model::LbAlgorithm;
use mesh_core::random::{Random, SplitMix64};
use mesh_core::state::{Mesh, PickRequest, Updater};
use std::hint::black_box;
use std::process::ExitCode;
use support::Case;

fn main() -> ExitCode {
    support::main(
        "pick",
        &[
            Case::new("round robin, 16", 5_000, || pick(LbAlgorithm::RoundRobin, 16)),
            Case::new("round robin, 100,000", 5_000, || pick(LbAlgorithm::RoundRobin, 100_000)),
            Case::new("random, 16", 5_000, || pick(LbAlgorithm::Random, 16)),
            Case::new("least request, 16", 5_000, || pick(LbAlgorithm::least_request(), 16)),
            Case::new("least request, 100,000", 5_000, || {
                pick(LbAlgorithm::least_request(), 100_000)
            }),
            Case::new("peak EWMA, 16", 5_000, || pick(LbAlgorithm::peak_ewma(), 16)),
            Case::new("ring hash, 16", 5_000, || pick(LbAlgorithm::ring_hash(), 16)),
            Case::new("Maglev, 16", 5_000, || pick(LbAlgorithm::maglev(), 16)),
        ],
    )
}

fn pick(algorithm: LbAlgorithm, size: u32) -> Box<dyn FnMut()> {
    let (mut updater, mesh): (Updater<()>, Mesh<()>) = Updater::new(());
    let update = tables::update(Vec::new(), [tables::cluster("a", algorithm, size)], 1);
    updater.apply(update, Timestamp::ZERO).expect("a good configuration");
    let cluster = mesh.snapshot().cluster("a").expect("the cluster").clone();
    let mut random = SplitMix64::new(1);
    Box::new(move || {
        let _kept = &updater;
        let hash = Some(random.next_u64());
        let now = Timestamp::from_millis(1);
        let request = PickRequest { now, hash, previous: &[], max_reselect: 0 };
        black_box(cluster.picker().pick(&cluster, request, &mut random));
    })
}
