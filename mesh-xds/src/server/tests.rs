//! Streams, by rows of text.
//!
//! A script has one step a line. `& CDS a=1 b=2` changes what the snapshot holds of a kind, `!` does the
//! same and hands the new snapshot over, `>` is a request, and `<` is what must come of the step before,
//! in order: no more and no less. `~a=1` is a resource for those who ask by name only.

mod delta;
mod next;
mod snapshot;
mod sotw;

use super::Snapshot;
use crate::ResourceType;
use crate::encode::Encoded;
use std::collections::BTreeMap;

/// The kind of this short name.
#[track_caller]
fn kind(name: &str) -> ResourceType {
    let found = ResourceType::ALL.into_iter().find(|kind| kind.to_string() == name);
    found.unwrap_or_else(|| panic!("no kind is called {name}"))
}

/// What a script's snapshot holds, as text by kind.
#[derive(Default)]
struct World(BTreeMap<ResourceType, Vec<String>>);

impl World {
    /// Takes `CDS a=1 ~b=2`.
    #[track_caller]
    fn set(&mut self, line: &str) {
        let mut words = line.split_whitespace();
        let kind = kind(words.next().unwrap_or_default());
        self.0.insert(kind, words.map(ToOwned::to_owned).collect());
    }

    fn snapshot(&self) -> Snapshot {
        let resources = self.0.iter().flat_map(|(kind, words)| {
            words.iter().map(|word| {
                let text = word.trim_start_matches('~');
                let name = text.split('=').next().unwrap_or_default();
                let mut encoded = Encoded::new(*kind, name, text.to_owned());
                encoded.by_name_only = word.starts_with('~');
                encoded
            })
        });
        Snapshot::new(resources)
    }
}

/// Runs a script: `step` gives the lines that a line makes; they must be the `<` lines after it.
#[track_caller]
fn run(name: &str, script: &str, mut step: impl FnMut(&str) -> Vec<String>) {
    let mut made: Vec<String> = Vec::new();
    let mut before = "";
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if let Some(expected) = line.strip_prefix("< ") {
            let first = if made.is_empty() { "nothing".to_owned() } else { made.remove(0) };
            assert_eq!(first, expected, "{name}: after `{before}`");
            continue;
        }
        assert!(made.is_empty(), "{name}: `{before}` also made {made:?}");
        made = step(line);
        before = line;
    }
    assert!(made.is_empty(), "{name}: `{before}` also made {made:?}");
}

/// The text of a body.
fn text(body: &[u8]) -> String {
    String::from_utf8_lossy(body).into_owned()
}
