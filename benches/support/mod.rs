//! How the benches measure: nanoseconds by the clock, instructions by callgrind.
//!
//! `cargo bench --bench NAME` prints one line per case: the median of several rounds in nanoseconds, and,
//! when valgrind is there, the instructions of one iteration. Those do not depend on how busy the machine
//! is: the bench runs itself under callgrind with n and with 3n iterations and divides the difference.
//! Cases that must not grow with their table ([`Growth`]) are compared by them, and fail the bench.
//! `-- --pin` compares them with `benches/instructions.txt` and fails when a case needs more than 5 % above
//! what is written there; `-- --write` writes what was measured.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
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

/// A promise: the case `large` needs at most `most` times the instructions of the case `small`.
pub(crate) struct Growth {
    pub(crate) small: &'static str,
    pub(crate) large: &'static str,
    pub(crate) most: f64,
}

const TOLERANCE: f64 = 1.05;

/// Runs the bench called `bench`, and holds it to its promises.
pub(crate) fn main(bench: &'static str, cases: &[Case], growths: &[Growth]) -> ExitCode {
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
    let valgrind = Command::new("valgrind").arg("--version").stdout(Stdio::null()).status().is_ok();
    let mut measured = BTreeMap::new();
    let mut worse = 0;
    println!("{:<44}{:>12}{:>16}{:>12}", bench, "ns", "instructions", "pinned");
    for case in cases {
        let nanos = if pin { f64::NAN } else { nanos(case) };
        let instructions = valgrind.then(|| instructions(case)).flatten();
        let key = format!("{bench}/{}", case.name);
        let known = pinned.get(&key).copied();
        let mut line = format!("{:<44}{nanos:>12.1}", case.name);
        match instructions {
            Some(count) => {
                write!(line, "{count:>16}").expect("a string");
                measured.insert(key, count);
            }
            None => line.push_str("               -"),
        }
        if let Some(known) = known {
            write!(line, "{known:>12}").expect("a string");
            if instructions.is_some_and(|count| count as f64 > known as f64 * TOLERANCE) {
                line.push_str("  MORE THAN PINNED");
                worse += 1;
            }
        }
        println!("{line}");
    }
    worse += growths.iter().filter(|growth| outgrown(bench, growth, &measured)).count();
    if write {
        write_pinned(pinned, measured);
    }
    if worse > 0 {
        eprintln!("{worse} cases need more instructions than promised or pinned");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Prints how much more the large case needs, and whether that is too much.
fn outgrown(bench: &str, growth: &Growth, measured: &BTreeMap<String, u64>) -> bool {
    let count = |name: &str| measured.get(&format!("{bench}/{name}")).copied();
    let (Some(small), Some(large)) = (count(growth.small), count(growth.large)) else {
        return false;
    };
    let factor = large as f64 / small as f64;
    println!("{:<44}{factor:>12.2} times the small one's, at most {}", growth.large, growth.most);
    factor > growth.most
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
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("benches/instructions.txt")
}

fn read_pinned() -> BTreeMap<String, u64> {
    let text = std::fs::read_to_string(pinned_path()).unwrap_or_default();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| {
            let (count, key) = line.split_once(' ')?;
            Some((key.trim().to_owned(), count.parse().ok()?))
        })
        .collect()
}

fn write_pinned(mut pinned: BTreeMap<String, u64>, measured: BTreeMap<String, u64>) {
    pinned.extend(measured);
    let mut text = String::from(
        "# Instructions per iteration (callgrind); `cargo bench --bench NAME -- --write` writes this.\n",
    );
    for (key, count) in pinned {
        writeln!(text, "{count} {key}").expect("a string");
    }
    std::fs::write(pinned_path(), text).expect("benches/instructions.txt is writable");
}
