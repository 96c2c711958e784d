//! How the benches measure: nanoseconds by the clock, instructions by callgrind.
//!
//! `cargo bench -p mesh-tower --bench NAME` prints one line per case: the median of several rounds in nanoseconds, and,
//! when valgrind is there, the instructions of one iteration. Those do not depend on how busy the machine
//! is: the bench runs itself under callgrind with n and with 3n iterations and divides the difference.
//!
//! - `-- --pin` (`.ci/steps/bench`) measures no time. It fails when a case needs more than [`TOLERANCE`]
//!   above what `benches/instructions.txt` says, when that file lacks a case or has one too many, when
//!   there is no valgrind, and when a look-up among 10,000 costs more than [`GROWTH`] times the same
//!   among 10.
//! - `-- --write` writes that file anew for the cases of this bench: in the commit that changes what they
//!   cost, and with `--config .ci/calls.toml` (no link-time optimization), as the pins are looked at.
//!
//! Counts differ between processors (memcpy and the like choose their instructions) and between
//! versions of libc and of the compiler. That is what the tolerance is for.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Instant;

/// One case: a name, and what makes the thing to be measured.
pub(crate) struct Case {
    name: &'static str,
    iterations: u64,
    make: fn() -> Box<dyn FnMut()>,
}

impl Case {
    /// A case that is repeated `iterations` times under callgrind.
    pub(crate) fn new(name: &'static str, iterations: u64, make: fn() -> Box<dyn FnMut()>) -> Self {
        Self { name, iterations, make }
    }
}

/// What a case may need more than it is pinned to.
const TOLERANCE: f64 = 1.03;

/// What a case called `…: 10,000` may need more than its sister `…: 10`.
const GROWTH: f64 = 3.0;

/// What was measured: instructions per iteration, by `bench/case`.
type Counts = BTreeMap<String, u64>;

/// Runs the bench called `bench`.
pub(crate) fn main(bench: &'static str, cases: &[Case]) -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, name, count] = &arguments[..]
        && flag == "--under-callgrind"
    {
        let case = cases.iter().find(|case| case.name == name).expect("a case of this bench");
        let mut step = (case.make)();
        for _ in 0..count.parse().expect("a number") {
            step();
        }
        return ExitCode::SUCCESS;
    }
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let (pin, write) = (has("--pin"), has("--write"));
    let pinned = read_pinned();
    let measured = measure(bench, cases, &pinned, !pin);
    if write {
        write_pinned(bench, pinned, measured);
        return ExitCode::SUCCESS;
    }
    let complaints = if pin { complaints(bench, cases, &pinned, &measured) } else { Vec::new() };
    for complaint in &complaints {
        eprintln!("{complaint}");
    }
    if complaints.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Prints a line per case, and gives the instructions of those that could be counted.
fn measure(bench: &str, cases: &[Case], pinned: &Counts, timed: bool) -> Counts {
    let mut measured = Counts::new();
    println!("{bench:<44}{:>12}{:>16}{:>12}", "ns", "instructions", "pinned");
    for case in cases {
        let key = format!("{bench}/{}", case.name);
        let nanos = if timed { format!("{:.1}", nanos(case)) } else { String::new() };
        let number = |count: Option<u64>| count.map(|count| count.to_string()).unwrap_or_default();
        let count = instructions(case);
        let (shown, known) = (number(count), number(pinned.get(&key).copied()));
        println!("{:<44}{nanos:>12}{shown:>16}{known:>12}", case.name);
        measured.extend(count.map(|count| (key, count)));
    }
    measured
}

/// Everything that is not as pinned.
fn complaints(bench: &str, cases: &[Case], pinned: &Counts, measured: &Counts) -> Vec<String> {
    let mut complaints = Vec::new();
    for case in cases {
        let key = format!("{bench}/{}", case.name);
        match (measured.get(&key), pinned.get(&key)) {
            (None, _) => complaints.push(format!("{key}: not counted; is valgrind there?")),
            (_, None) => complaints.push(format!("{key}: not in benches/instructions.txt")),
            (Some(count), Some(known)) if *count as f64 > *known as f64 * TOLERANCE => {
                complaints.push(format!("{key}: {count} instructions, pinned are {known}"));
            }
            _ => {}
        }
        let Some(many) = measured.get(&key) else { continue };
        let few = key.strip_suffix(": 10,000").and_then(|of| measured.get(&format!("{of}: 10")));
        if few.is_some_and(|few| *many as f64 > *few as f64 * GROWTH) {
            complaints
                .push(format!("{key}: {many} instructions, more than {GROWTH} times the few"));
        }
    }
    let stale = of_bench(bench, pinned).filter(|key| !measured.contains_key(*key));
    complaints.extend(stale.map(|key| format!("{key}: pinned, and no case of this bench")));
    complaints
}

fn of_bench<'a>(bench: &'a str, counts: &'a Counts) -> impl Iterator<Item = &'a String> {
    let is_of = move |key: &&String| key.split_once('/').is_some_and(|(of, _)| of == bench);
    counts.keys().filter(is_of)
}

/// The median of nine rounds, each about 20 ms, in nanoseconds per iteration.
fn nanos(case: &Case) -> f64 {
    let mut step = (case.make)();
    let mut count = 1u64;
    loop {
        let start = Instant::now();
        for _ in 0..count {
            step();
        }
        if start.elapsed().as_millis() >= 20 || count >= 1 << 24 {
            break;
        }
        count *= 2;
    }
    let mut rounds: Vec<f64> = (0..9)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..count {
                step();
            }
            start.elapsed().as_nanos() as f64 / count as f64
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    rounds[rounds.len() / 2]
}

fn instructions(case: &Case) -> Option<u64> {
    let run = |count: u64| -> Option<u64> {
        let output = Command::new("valgrind")
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .arg(std::env::current_exe().ok()?)
            .args(["--under-callgrind", case.name, &count.to_string()])
            .output()
            .ok()?;
        let text = String::from_utf8_lossy(&output.stderr);
        let collected = text.lines().find_map(|line| line.split("Collected :").nth(1))?;
        collected.trim().parse().ok()
    };
    let (few, many) = (run(case.iterations)?, run(case.iterations * 3)?);
    Some((many.saturating_sub(few)) / (case.iterations * 2))
}

fn pinned_path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../benches/instructions.txt")
}

/// What is pinned: nothing, if there is no such file.
fn read_pinned() -> Counts {
    let text = std::fs::read_to_string(pinned_path()).unwrap_or_default();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (count, key) = line.split_once(' ').expect("a count and a case in each line");
            (key.trim().to_owned(), count.parse().expect("a count"))
        })
        .collect()
}

fn write_pinned(bench: &str, mut pinned: Counts, measured: Counts) {
    pinned.retain(|key, _| key.split_once('/').is_none_or(|(of, _)| of != bench));
    pinned.extend(measured);
    let mut text = String::from(
        "# Instructions per iteration (callgrind). `cargo --config .ci/calls.toml bench -p mesh-tower --bench NAME -- --write` writes this.\n",
    );
    for (key, count) in pinned {
        writeln!(text, "{count} {key}").expect("a string");
    }
    std::fs::write(pinned_path(), text).expect("benches/instructions.txt is writable");
}
