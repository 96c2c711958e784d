//! What a run found, and whether that is good.
//!
//! | asked | bound |
//! |---|---|
//! | nobody crashes | both proxies, and whoever was not killed by a fault, are there to the end; told to end, both proxies exit with 0; nothing says that it panicked |
//! | nothing leaks | without load, within 30 s: [`DESCRIPTORS`] and [`THREADS`] over what there was before the load; memory at most [`MEMORY_TIMES`] of that of the warm-up and [`MEMORY_KIB`] over that |
//! | every call ends by its deadline | none takes [`SLACK`] longer than its limit |
//! | every failed call is explained | by a flag in its answer or in the line of one of both proxies; a byte stream is known in lines by the address that it says to have. A backend's own answer, or end of a stream, that is passed on as it came needs none |
//! | what is not on the way of calls costs none | no call fails while there are only such faults ([`Fault::may_cost`](crate::faults::Fault::may_cost)) |

use crate::calls::{Calls, Explained, Failed, Kind};
use crate::place::{GRPC_TIMEOUT, SILENCE, TIMEOUT};
use crate::process::Figures;
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// Descriptors over those before the load.
const DESCRIPTORS: u64 = 8;
/// Threads over those before the load: what waits for files has threads that end after 10 s.
const THREADS: u64 = 4;
const MEMORY_TIMES: f64 = 1.5;
const MEMORY_KIB: u64 = 16 * 1024;
/// What a machine with too much to do may take.
const SLACK: Duration = Duration::from_secs(2);
/// How many unexplained calls, and how many late ones, are told.
const TOLD: usize = 20;

/// The last lines that a process wrote.
pub(crate) struct Use {
    pub(crate) name: String,
    pub(crate) lines: Vec<String>,
}

/// What is known so far.
pub(crate) struct Verdict {
    pub(crate) begun: Instant,
    before: [Figures; 2],
    pub(crate) warm: [Figures; 2],
    most: [Figures; 2],
    pub(crate) after: [Figures; 2],
    pub(crate) seconds: u64,
    pub(crate) crashed: Option<String>,
    pub(crate) ended_badly: Vec<String>,
    pub(crate) complaints: Vec<Use>,
    pub(crate) pages: [String; 2],
    /// Whether the last fault may cost calls for a while.
    pub(crate) costly: bool,
    /// How often a fault was there, and how many calls ended meanwhile.
    faults: BTreeMap<String, (u64, u64)>,
}

impl Verdict {
    pub(crate) fn new(before: [Figures; 2]) -> Self {
        Self {
            begun: Instant::now(),
            before,
            warm: before,
            most: before,
            after: before,
            seconds: 0,
            crashed: None,
            ended_badly: Vec::new(),
            complaints: Vec::new(),
            pages: Default::default(),
            costly: false,
            faults: BTreeMap::new(),
        }
    }

    pub(crate) fn sample(&mut self, figures: [Figures; 2]) {
        for (most, figures) in self.most.iter_mut().zip(figures) {
            *most = most.most(figures);
        }
    }

    pub(crate) fn fault(&mut self, name: &str, calls: u64) {
        let (count, all) = self.faults.entry(name.to_owned()).or_default();
        *count += 1;
        *all += calls;
    }

    /// What was not given back.
    pub(crate) fn leaks(&self) -> Vec<String> {
        let mut leaks = Vec::new();
        for (at, name) in ["web", "app"].into_iter().enumerate() {
            let (before, warm, after) = (self.before[at], self.warm[at], self.after[at]);
            let memory = (warm.memory as f64 * MEMORY_TIMES) as u64 + MEMORY_KIB;
            for (what, is, most) in [
                ("descriptors", after.descriptors, before.descriptors + DESCRIPTORS),
                ("threads", after.threads, before.threads + THREADS),
                ("KiB of memory", after.memory, memory),
            ] {
                if is > most {
                    leaks.push(format!("{name} has {is} {what}, more than {most}"));
                }
            }
        }
        leaks
    }

    /// Says all of it; whether it is good is the exit code.
    pub(crate) fn tell(
        &self,
        calls: &Calls,
        explained: &[(Failed, Explained)],
        [near, far]: [u64; 2],
    ) -> ExitCode {
        Self::tell_calls(calls, explained);
        self.tell_faults(explained);
        println!("\nlines: {near} of web, {far} of app");
        for (at, name) in ["web", "app"].into_iter().enumerate() {
            println!("{name} before the load: {}", self.before[at]);
            println!("{name} warm:            {}", self.warm[at]);
            println!("{name} at most:         {}", self.most[at]);
            println!("{name} after the load:  {}", self.after[at]);
            let dropped = self.pages[at].lines().filter(|line| {
                line.starts_with("mesh_access_log_lines_dropped_total") && !line.ends_with(" 0")
            });
            dropped.for_each(|line| println!("{name} {line}"));
        }
        let mut wrong: Vec<_> = self.crashed.iter().cloned().collect();
        wrong.extend(self.ended_badly.iter().cloned());
        wrong.extend(self.leaks());
        wrong.extend(late(calls));
        wrong.extend(told(explained, "nothing explains", |_, why| *why == Explained::Not));
        wrong.extend(told(explained, "nothing may cost", |failed, _| failed.quiet));
        if wrong.is_empty() {
            println!("\ngood: {} calls in {} s", calls.count(), self.seconds);
            return ExitCode::SUCCESS;
        }
        for Use { name, lines } in &self.complaints {
            println!("\nthe last lines of {name}:\n  {}", lines.join("\n  "));
        }
        println!("\nwrong:");
        wrong.iter().for_each(|wrong| println!("- {wrong}"));
        ExitCode::FAILURE
    }

    fn tell_calls(calls: &Calls, explained: &[(Failed, Explained)]) {
        println!(
            "\n| calls | all | failed | longest, ms | flag in the answer | in the line of `web` | of `app` | a backend's own | unexplained |"
        );
        println!("|---|--:|--:|--:|--:|--:|--:|--:|--:|");
        for kind in Kind::ALL {
            let counts = calls.of(kind);
            let of = |is: fn(&Explained) -> bool| {
                explained.iter().filter(|(failed, why)| failed.kind == kind && is(why)).count()
            };
            println!(
                "| {} | {} | {} | {} | {} | {} | {} | {} | {} |",
                kind.name(),
                counts.all.load(Relaxed),
                counts.failed.load(Relaxed),
                counts.longest.load(Relaxed),
                of(|why| matches!(why, Explained::Header(_))),
                of(|why| matches!(why, Explained::Near(_))),
                of(|why| matches!(why, Explained::Far(_))),
                of(|why| *why == Explained::Backend),
                of(|why| *why == Explained::Not),
            );
        }
        let mut flags = BTreeMap::<_, usize>::new();
        for (_, why) in explained {
            if let Explained::Header(flag) | Explained::Near(flag) | Explained::Far(flag) = why {
                *flags.entry(flag.clone()).or_default() += 1;
            }
        }
        let flags: Vec<_> = flags.iter().map(|(flag, count)| format!("{flag} {count}")).collect();
        println!("\nflags, of lines with status and reason: {}", flags.join(", "));
    }

    fn tell_faults(&self, explained: &[(Failed, Explained)]) {
        println!("\n| fault | times | calls | failed |\n|---|--:|--:|--:|");
        for (name, (times, calls)) in &self.faults {
            let failed = explained.iter().filter(|(failed, _)| {
                failed.during[0].strip_prefix("after ").unwrap_or(&failed.during[0]) == name
            });
            println!("| {name} | {times} | {calls} | {} |", failed.count());
        }
    }
}

/// The limit of a call.
const fn limit(kind: Kind) -> Duration {
    match kind {
        Kind::Http1 | Kind::Http2 => TIMEOUT,
        Kind::Grpc => GRPC_TIMEOUT,
        // Each of them has some rounds, and is silent in one of them.
        Kind::Upgrade => Duration::from_secs(TIMEOUT.as_secs() + SILENCE.as_secs()),
        Kind::Bytes => SILENCE,
    }
}

fn late(calls: &Calls) -> Vec<String> {
    let over = Kind::ALL.into_iter().filter_map(|kind| {
        let longest = Duration::from_millis(calls.of(kind).longest.load(Relaxed));
        let limit = limit(kind) + SLACK;
        (longest > limit)
            .then(|| format!("a call of {} took {longest:?}, longer than {limit:?}", kind.name()))
    });
    over.collect()
}

/// The first of those failed calls that are as they may not be, and how many there are.
fn told(
    explained: &[(Failed, Explained)],
    what: &str,
    wrong: fn(&Failed, &Explained) -> bool,
) -> Vec<String> {
    let all: Vec<_> = explained.iter().filter(|(failed, why)| wrong(failed, why)).collect();
    let told = all.iter().take(TOLD).map(|(failed, _)| {
        let Failed { kind, id, how, during: [during, until], at, took, .. } = failed;
        format!(
            "{what}: {at:.1?} {} {id}, from {during} to {until}, after {took:.1?}: {how}",
            kind.name()
        )
    });
    let mut told: Vec<_> = told.collect();
    if all.len() > TOLD {
        told.push(format!("{what}: {} more", all.len() - TOLD));
    }
    told
}
