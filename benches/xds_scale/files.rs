//! What reading the same from files costs.

use crate::measure;
use crate::world::World;
use mesh_core::config::{Bounds, Document, load};
use mesh_xds::server::Snapshot;
use std::fmt::Write as _;
use std::time::Instant;

/// Endpoints of one file: what a document may have by default, less its routes.
const OF_A_FILE: u32 = 50_000;

/// Reads, encodes, and reads again with one endpoint changed.
pub(crate) fn run(world: World) {
    let mut texts = texts(world);
    let bytes: usize = texts.iter().map(String::len).sum();
    println!("{} files, {:.1} MB", texts.len(), bytes as f64 / 1e6);
    let update = read(&texts);
    let begun = Instant::now();
    let snapshot = Snapshot::of(&update, []);
    println!("  encoded in {:.2} s", begun.elapsed().as_secs_f64());
    let middle = texts.len() / 2;
    let changed = texts[middle].replacen(":8080", ":8081", 1);
    texts[middle] = changed;
    let update = read(&texts);
    let begun = Instant::now();
    let next = snapshot.next(&update, []);
    println!("  encoded after one change in {:.2} s", begun.elapsed().as_secs_f64());
    assert_ne!(snapshot, next, "one endpoint differs");
    let [resident, highest] = measure::memory();
    println!("  {resident} MiB resident, at most {highest}");
}

fn read(texts: &[String]) -> mesh_core::ConfigUpdate {
    let names: Vec<_> = (0..texts.len()).map(|number| format!("{number}.yaml")).collect();
    let documents = names.iter().zip(texts).map(|(name, text)| Document { name, text });
    let documents: Vec<_> = documents.collect();
    let begun = Instant::now();
    let loaded = load(&documents, &(), &Bounds::default());
    println!("  read in {:.2} s", begun.elapsed().as_secs_f64());
    loaded.update.expect("a good configuration")
}

fn texts(world: World) -> Vec<String> {
    let of_a_file = (OF_A_FILE / world.endpoints).max(1);
    let mut texts = Vec::new();
    for first in (0..world.clusters).step_by(of_a_file as usize) {
        let numbers = first..(first + of_a_file).min(world.clusters);
        let mut text = String::from("version: 1\nclusters:\n");
        for number in numbers.clone() {
            writeln!(text, "  c{number}:\n    endpoints:").expect("a string takes it");
            for locality in world.assignment(number, 0).localities {
                for endpoint in &locality.endpoints {
                    writeln!(text, "      - {}", endpoint.address).expect("a string takes it");
                }
            }
        }
        texts.push(text);
    }
    texts
}
