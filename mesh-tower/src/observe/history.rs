//! [`History`]: the last configurations that were applied or refused, for people who ask what changed.
//!
//! When calls begin to fail, "what changed at 14:03" is the first question, and metrics know only how many.
//! At most [`MAX_CONFIGURATIONS`] are kept, whatever they are of: files, code or a control plane.

use super::changes::Changes;
use mesh_core::WallTime;
use mesh_core::update::Origin;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

/// How many configurations are kept.
pub const MAX_CONFIGURATIONS: usize = 20;

/// One configuration that was applied or refused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConfigurationRecord {
    /// When.
    pub at: WallTime,
    /// Where it came from: the control plane, or the paths of files. For a single resource that was
    /// refused, its type and name.
    pub source: Arc<str>,
    /// Its version, or the hash of its content; empty where there is none.
    pub version: Arc<str>,
    /// What became of it.
    pub outcome: ConfigurationOutcome,
    /// What is different from the one that was in force; of one that was refused before it could be
    /// compared, nothing.
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
    /// `mesh.yaml 5f2e: applied: clusters +1 (v2)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, version, changes, .. } = self;
        let between = if version.is_empty() { "" } else { " " };
        write!(f, "{source}{between}{version}: ")?;
        match &self.outcome {
            ConfigurationOutcome::Applied => write!(f, "applied: {changes}"),
            ConfigurationOutcome::Refused(why) => write!(f, "refused: {why}"),
        }
    }
}

/// The last ones, oldest first.
#[derive(Default)]
pub(crate) struct History(Mutex<VecDeque<Arc<ConfigurationRecord>>>);

impl History {
    /// One more; the oldest gives way.
    pub(crate) fn record(
        &self,
        origin: &Origin,
        outcome: ConfigurationOutcome,
        changes: Changes,
        at: WallTime,
    ) {
        let Origin { source, version, .. } = origin.clone();
        let record = Arc::new(ConfigurationRecord { at, source, version, outcome, changes });
        let mut records = self.0.lock();
        if records.len() >= MAX_CONFIGURATIONS {
            records.pop_front();
        }
        records.push_back(record);
    }

    /// The last ones, the newest first.
    pub(crate) fn recent(&self) -> Vec<Arc<ConfigurationRecord>> {
        self.0.lock().iter().rev().cloned().collect()
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
}
