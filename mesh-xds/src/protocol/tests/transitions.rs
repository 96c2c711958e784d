//! The transition table of a resource, as it stands in `transitions.txt`: what each event does in each
//! state. A change of it is seen, and meant.

use super::script::Sim;
use std::fmt::Write;

/// The table as it is kept.
const KEPT: &str = include_str!("transitions.txt");

/// A state: its name, and how the cluster `a` gets there, one event a second.
type State = (&'static str, &'static [&'static str]);

const STATES: [State; 11] = [
    ("not asked for yet", &["watch CDS a"]),
    ("asked for", &["watch CDS a", "connected"]),
    ("absent by silence", &["watch CDS a", "connected", "timer when due"]),
    ("held", &["watch CDS a", "connected", HELD]),
    ("held, with a time to live", &["watch CDS a", "connected", "CDS v1 n1 a=1@9000"]),
    ("held, update refused", &["watch CDS a", "connected", HELD, "CDS v2 n2 a=!x"]),
    ("held, error of the server", &["watch CDS a", "connected", HELD, "CDS v2 n2 a?14 b=1"]),
    ("held, then deleted", &["watch CDS a", "connected", HELD, "CDS v2 n2 -a"]),
    ("refused", &["watch CDS a", "connected", "CDS v2 n2 a=!x"]),
    ("nobody watches, untold", &["watch CDS a", "connected", HELD, "~unwatch CDS a"]),
    ("held by wildcard", &["watch CDS *", "connected", HELD]),
];
const HELD: &str = "CDS v1 n1 a=1";

const EVENTS: [&str; 13] = [
    "CDS v9 n9 a=1",
    "CDS v9 n9 a=2",
    "CDS v9 n9 a=!y",
    "CDS v9 n9 a=~",
    "CDS v9 n9 b=1",
    "CDS v9 n9 -a",
    "CDS v9 n9 a?14",
    "CDS v9 n9 a?7",
    "CDS v9 n9 a?0 b=1",
    "timer when due",
    "watch CDS a",
    "unwatch CDS a",
    "closed",
];

fn table() -> String {
    let mut text = String::new();
    for (given, title) in [("", "state of the world"), ("delta fail", "delta, fail_on_data_errors")]
    {
        for (state, setup) in STATES {
            writeln!(text, "{state} ({title})").unwrap();
            for event in EVENTS {
                let line = format!("    {event:<20}{}", cell(given, setup, event));
                writeln!(text, "{}", line.trim_end()).unwrap();
            }
            text.push('\n');
        }
    }
    text
}

/// What `event` does after `setup`; what is then known of the resources follows.
fn cell(given: &str, setup: &[&str], event: &str) -> String {
    let mut sim = Sim::given(given);
    let (mut now, mut out) = (0, String::new());
    for event in setup.iter().chain([&event]) {
        now += 1_000;
        let due = sim.protocol.poll_timeout().map(|(at, _)| at.as_nanos() / 1_000_000);
        out = match (*event, due) {
            ("timer when due", None) => return "never due".to_owned(),
            ("timer when due", Some(due)) => {
                now = now.max(due);
                sim.event(now, "timer")
            }
            _ => sim.event(now, event),
        };
    }
    format!("{out} => {}", sim.resources())
}

#[test]
fn the_transition_table_is_the_one_that_is_kept() {
    let table = table();
    assert!(table == KEPT, "if this is meant, it is the new transitions.txt:\n{table}");
}
