//! The transition table of the machine, as it stands in `transitions.txt`: what each event does in each
//! state. A change of it is seen, and meant.

use super::script::Sim;
use std::fmt::Write;

/// The table as it is kept.
const KEPT: &str = include_str!("transitions.txt");

/// When, in milliseconds, and what happens.
type Step = (u64, &'static str);
/// A state: its name, the call, and how it gets there. The timeout is 1000.
type State = (&'static str, &'static str, &'static [Step]);

const STATES: [State; 9] = [
    ("ready", RETRIES, &[]),
    ("first attempt out, no policy", "", &[(0, "start")]),
    ("first attempt out", RETRIES, &[(0, "start")]),
    ("first attempt out of time", RETRIES, &[(0, "start"), (100, "timer")]),
    ("backing off", RETRIES, &[(0, "start"), (5, "#1 503")]),
    ("last attempt out", RETRIES, &[(0, "start"), (5, "#1 503"), (10, "timer")]),
    ("two attempts out", HEDGING, &[(0, "start"), (100, "timer")]),
    ("two attempts out, first failed", HEDGING, &[(0, "start"), (100, "timer"), (110, "#1 503")]),
    ("done", RETRIES, &[(0, "start"), (5, "#1 200")]),
];
const RETRIES: &str = "on=5xx,reset retries=1 per_try=100";
const HEDGING: &str = "on=5xx,reset retries=1 per_try=100 hedge";

/// `#` stands for the attempt that was started last.
const EVENTS: [&str; 14] = [
    "start",
    "timer when due",
    "timer too early",
    "deadline",
    "# 200",
    "# 503",
    "# 503 x-mesh-retry=no",
    "# connect",
    "# closed",
    "# refused",
    "# goaway",
    "# lost",
    "# per-try",
    "# overflow",
];

fn table() -> String {
    let mut text = String::new();
    for (state, given, setup) in STATES {
        let policy = if given.is_empty() { "no retry policy" } else { given };
        writeln!(text, "{state} ({policy})").unwrap();
        for event in EVENTS {
            writeln!(text, "    {event:<24}{}", cell(given, setup, event)).unwrap();
        }
        text.push('\n');
    }
    text
}

/// What `event` does to a call that was set up; the timer and why it does not retry follow.
fn cell(given: &str, setup: &[Step], event: &str) -> String {
    let mut sim = Sim::given(given);
    let mut now = 0;
    for (at, step) in setup {
        now = *at;
        sim.event(now, step);
    }
    let due = sim.call.poll_timeout().map(|(at, _)| at.as_nanos() / 1_000_000);
    match event {
        "start" => sim.event(now + 1, event),
        "timer too early" => sim.event(now, "timer"),
        "timer when due" => match due {
            Some(due) => sim.event(due, "timer"),
            None => "never due".to_owned(),
        },
        "deadline" => sim.event(1_000, "timer"),
        of_attempt => {
            let last = sim.call.attempts().max(1);
            sim.event(now + 1, &of_attempt.replacen('#', &format!("#{last}"), 1))
        }
    }
}

#[test]
fn the_transition_table_is_the_one_that_is_kept() {
    let table = table();
    assert!(table == KEPT, "if this is meant, it is the new transitions.txt:\n{table}");
}
