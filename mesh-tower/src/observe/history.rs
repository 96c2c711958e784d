//! [`History`]: the last configurations that were applied or refused, for people who ask what changed.
//!
//! When calls begin to fail, "what changed at 14:03" is the first question, and metrics know only how many.
//! At most [`MAX_CONFIGURATIONS`] are kept, whatever they are of: files, code or a control plane.
//!
//! Endpoints may change many times a second, and would push everything else out: those that a source tells
//! alone, one after another, are one record with a count. So is a configuration that stays refused while its
//! endpoints change. Whatever else is applied or refused has a record of its own.

use super::changes::Changes;
use mesh_core::WallTime;
use mesh_core::update::Origin;
use parking_lot::Mutex;
use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;

/// How many configurations are kept.
pub const MAX_CONFIGURATIONS: usize = 20;

/// One configuration that was applied or refused, or several in a row that differ in their endpoints only.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConfigurationRecord {
    /// When; of several, when the first one was.
    pub at: WallTime,
    /// When the last one was.
    pub last: WallTime,
    /// How many it stands for, at least 1.
    pub count: u64,
    /// Where it came from: the control plane, or the paths of files. For a single resource that was
    /// refused, its type and name.
    pub source: Arc<str>,
    /// Its version, or the hash of its content; of several, that of the last one; empty where there is none.
    pub version: Arc<str>,
    /// What became of it.
    pub outcome: ConfigurationOutcome,
    /// What is different from the one that was in force; of several that were applied, from the one before
    /// the first; of one that was refused before it could be compared, nothing.
    pub changes: Changes,
}

/// What became of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "closed: it is in force or it is not")]
pub enum ConfigurationOutcome {
    /// It went into force.
    Applied,
    /// It did not, for this reason.
    Refused(Arc<str>),
}

impl fmt::Display for ConfigurationRecord {
    /// `mesh.yaml 5f2e: applied: clusters +1 (v2)`, or `… : applied 70 times in 12 s: endpoints ~1 (a)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, version, changes, .. } = self;
        let between = if version.is_empty() { "" } else { " " };
        write!(f, "{source}{between}{version}: ")?;
        f.write_str(match &self.outcome {
            ConfigurationOutcome::Applied => "applied",
            ConfigurationOutcome::Refused(_) => "refused",
        })?;
        if self.count > 1 {
            let seconds = self.last.as_unix_seconds().saturating_sub(self.at.as_unix_seconds());
            write!(f, " {} times in {seconds} s", self.count)?;
        }
        match &self.outcome {
            ConfigurationOutcome::Applied => write!(f, ": {changes}"),
            ConfigurationOutcome::Refused(why) => write!(f, ": {why}"),
        }
    }
}

/// The last ones.
#[derive(Default)]
pub(crate) struct History(Mutex<Records>);

#[derive(Default)]
struct Records {
    /// Oldest first.
    kept: VecDeque<Arc<ConfigurationRecord>>,
    /// The clusters of the newest one, if that is of endpoints alone. There are as many at most as the
    /// configuration has.
    run: Option<BTreeSet<Arc<str>>>,
}

impl History {
    /// One more; the oldest gives way.
    pub(crate) fn record(
        &self,
        origin: &Origin,
        outcome: ConfigurationOutcome,
        changes: Changes,
        at: WallTime,
    ) {
        let mut records = self.0.lock();
        records.push(origin, outcome, changes, at);
        records.run = None;
    }

    /// Other endpoints of these clusters, told alone, were applied. How many times in a row, with this one.
    pub(crate) fn record_endpoints<'a>(
        &self,
        origin: &Origin,
        clusters: impl Iterator<Item = &'a Arc<str>>,
        at: WallTime,
    ) -> u64 {
        let mut records = self.0.lock();
        let Records { kept, run } = &mut *records;
        let newest = kept.back_mut().filter(|newest| newest.source == origin.source);
        if let (Some(newest), Some(run)) = (newest, run) {
            run.extend(clusters.cloned());
            let newest = Arc::make_mut(newest);
            newest.again(origin, at);
            newest.changes = Changes::of_endpoints(run.iter());
            return newest.count;
        }
        let run: BTreeSet<_> = clusters.cloned().collect();
        records.push(origin, ConfigurationOutcome::Applied, Changes::of_endpoints(run.iter()), at);
        records.run = Some(run);
        1
    }

    /// What was refused last was refused again, with other endpoints and for the same reason.
    pub(crate) fn record_again(&self, origin: &Origin, at: WallTime) {
        let is_it = |record: &&mut Arc<ConfigurationRecord>| {
            matches!(record.outcome, ConfigurationOutcome::Refused(_))
                && record.source == origin.source
        };
        if let Some(refused) = self.0.lock().kept.iter_mut().rev().find(is_it) {
            Arc::make_mut(refused).again(origin, at);
        }
    }

    /// The last ones, the newest first.
    pub(crate) fn recent(&self) -> Vec<Arc<ConfigurationRecord>> {
        self.0.lock().kept.iter().rev().cloned().collect()
    }
}

impl Records {
    fn push(
        &mut self,
        origin: &Origin,
        outcome: ConfigurationOutcome,
        changes: Changes,
        at: WallTime,
    ) {
        let Origin { source, version, .. } = origin.clone();
        let (last, count) = (at, 1);
        let record = ConfigurationRecord { at, last, count, source, version, outcome, changes };
        if self.kept.len() >= MAX_CONFIGURATIONS {
            self.kept.pop_front();
        }
        self.kept.push_back(Arc::new(record));
    }
}

impl ConfigurationRecord {
    /// It stands for one more.
    fn again(&mut self, origin: &Origin, at: WallTime) {
        self.last = at;
        self.count = self.count.saturating_add(1);
        self.version = Arc::clone(&origin.version);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_bounded_and_the_newest_comes_first() {
        let history = History::default();
        for number in 0..1_000_u64 {
            let outcome = match number % 2 {
                0 => ConfigurationOutcome::Applied,
                _ => ConfigurationOutcome::Refused("no".into()),
            };
            let origin = Origin::new("mesh.yaml", number.to_string());
            let at = WallTime::from_unix_seconds(number);
            history.record(&origin, outcome, Changes::default(), at);
        }
        let recent = history.recent();
        assert_eq!(recent.len(), MAX_CONFIGURATIONS);
        assert_eq!(recent[0].to_string(), "mesh.yaml 999: refused: no");
        assert_eq!(recent[19].to_string(), "mesh.yaml 980: applied: nothing");
    }

    /// Steps, one a second: `+v` a configuration is applied, `a,b` other endpoints of these clusters, `!v` a
    /// configuration is refused, `~` it is refused again. The records, oldest first.
    #[track_caller]
    fn check(steps: &str, expected: &[&str]) {
        let history = History::default();
        for (second, step) in steps.split_whitespace().enumerate() {
            let at = WallTime::from_unix_seconds(second as u64);
            let origin = Origin::new("plane", second.to_string());
            if step.starts_with('+') {
                let applied = ConfigurationOutcome::Applied;
                history.record(&origin, applied, Changes::default(), at);
            } else if step.starts_with('!') {
                let refused = ConfigurationOutcome::Refused("no".into());
                history.record(&origin, refused, Changes::default(), at);
            } else if step == "~" {
                history.record_again(&origin, at);
            } else {
                let clusters: Vec<Arc<str>> = step.split(',').map(Arc::from).collect();
                history.record_endpoints(&origin, clusters.iter(), at);
            }
        }
        let found: Vec<_> = history.recent().iter().rev().map(ToString::to_string).collect();
        assert_eq!(found, expected, "{steps}");
    }

    #[test]
    fn endpoints_in_a_row_are_one_and_everything_else_has_its_place() {
        check("a", &["plane 0: applied: endpoints ~1 (a)"]);
        check("a b a,c", &["plane 2: applied 3 times in 2 s: endpoints ~3 (a, b, c)"]);
        check(
            "+ a a + b b b",
            &[
                "plane 0: applied: nothing",
                "plane 2: applied 2 times in 1 s: endpoints ~1 (a)",
                "plane 3: applied: nothing",
                "plane 6: applied 3 times in 2 s: endpoints ~1 (b)",
            ],
        );
        check(
            "a ! a !",
            &[
                "plane 0: applied: endpoints ~1 (a)",
                "plane 1: refused: no",
                "plane 2: applied: endpoints ~1 (a)",
                "plane 3: refused: no",
            ],
        );
        check("! ~ ~", &["plane 2: refused 3 times in 2 s: no"]);
        let churn: Vec<_> = (0..1_000).map(|n| format!("c{}", n % 7)).collect();
        check(
            &format!("+ ! {}", churn.join(" ")),
            &[
                "plane 0: applied: nothing",
                "plane 1: refused: no",
                "plane 1001: applied 1000 times in 999 s: endpoints ~7 (c0, c1, c2, c3, c4, …)",
            ],
        );
    }

    #[test]
    fn endpoints_of_another_source_are_another_record() {
        let history = History::default();
        let clusters = [Arc::from("a")];
        for source in ["one", "one", "other"] {
            let at = WallTime::from_unix_seconds(7);
            history.record_endpoints(&Origin::new(source, "1"), clusters.iter(), at);
        }
        let counts: Vec<_> = history.recent().iter().map(|record| record.count).collect();
        assert_eq!(counts, [1, 2]);
    }
}
