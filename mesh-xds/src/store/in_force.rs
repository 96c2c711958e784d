//! [`Journal`]: what the store held when what was made of it went into force.
//!
//! A store is ahead of the mesh: a value may wait to be told, or what was made of it may be refused. What goes
//! to disk has to be what is in force, as a fact and not as a guess after a while. So what changes is noted as
//! it was *before*, until the mesh has said that it works with what came after:
//!
//! ```text
//!   in force ──── told "a" ──── told "b" ──── now
//!        before "a"    before "b"     fresh         the first that knows a key has its value in force
//! ```
//!
//! It costs what has changed, and is bounded by the resources that there are: of what is told and not
//! acknowledged, more than [`MAX_TOLD`] are taken together.

use super::Entry;
use crate::ResourceType;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// A resource by its type and canonical name.
pub(super) type Key = (ResourceType, Arc<str>);

/// What was there; `None`: nothing.
type Before = BTreeMap<Key, Option<Entry>>;

/// The most configurations that are told and wait for their acknowledgement, each on its own.
const MAX_TOLD: usize = 16;

/// What changed since what is in force.
#[derive(Clone, Debug, Default)]
pub(super) struct Journal {
    /// Before what changed since the last configuration was told.
    fresh: Before,
    /// What was told and is not acknowledged, oldest first.
    told: VecDeque<Told>,
}

/// A configuration that was told.
#[derive(Clone, Debug)]
struct Told {
    version: Arc<str>,
    is_whole: bool,
    before: Before,
}

impl Journal {
    /// A resource changes; `before`: what is held of it.
    pub(super) fn note(&mut self, key: &Key, before: Option<&Entry>) {
        if !self.fresh.contains_key(key) {
            self.fresh.insert(key.clone(), before.cloned());
        }
    }

    /// A configuration of all that is held is told; `is_whole`: not only its endpoints are new.
    pub(super) fn told(&mut self, version: &Arc<str>, is_whole: bool) {
        let before = std::mem::take(&mut self.fresh);
        self.told.push_back(Told { version: Arc::clone(version), is_whole, before });
        if self.told.len() > MAX_TOLD
            && let Some(oldest) = self.told.pop_front()
            && let Some(next) = self.told.front_mut()
        {
            next.before.extend(oldest.before);
            next.is_whole |= oldest.is_whole;
        }
    }

    /// The configuration of this version is in force. Whether anything but endpoints is new since the one
    /// before; `None`: it was not told, or others are in force since.
    pub(super) fn acknowledged(&mut self, version: &str) -> Option<bool> {
        let last = self.told.iter().rposition(|told| *told.version == *version)?;
        Some(self.told.drain(..=last).fold(false, |is_whole, told| is_whole | told.is_whole))
    }

    /// Whether nothing changed since what is in force.
    pub(super) fn is_settled(&self) -> bool {
        self.told.is_empty() && self.fresh.is_empty()
    }

    /// What was otherwise in what is in force.
    pub(super) fn before(&self) -> BTreeMap<&Key, Option<&Entry>> {
        let told = self.told.iter().rev().map(|told| &told.before);
        let newest_first = std::iter::once(&self.fresh).chain(told).flatten();
        newest_first.map(|(key, before)| (key, before.as_ref())).collect()
    }
}
