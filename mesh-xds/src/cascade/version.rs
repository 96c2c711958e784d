//! [`Version`]: a hash of what is in force, kept up to date part by part.
//!
//! The hash of the whole is the sum of the hashes of its parts, so that a part that changes costs a
//! subtraction and an addition. Each part holds its name, so no two are equal and their order says nothing.
//! XXH64 and fixed encodings: another build, or another machine, gets the same.

use crate::ResourceType;
use crate::store::{Known, Store};
use std::sync::Arc;
use xxhash_rust::xxh64::Xxh64;

/// The hash of some parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Version(u64);

impl Version {
    /// Puts the hash of a part in the place of another; `None`: there is no part.
    pub(super) fn replace(&mut self, before: Option<u64>, after: Option<u64>) {
        self.0 = self.0.wrapping_sub(before.unwrap_or(0)).wrapping_add(after.unwrap_or(0));
    }

    /// Of both.
    pub(super) const fn and(self, other: Self) -> Self {
        Self(self.0.wrapping_add(other.0))
    }

    /// 16 hexadecimal digits.
    pub(super) fn text(self) -> Arc<str> {
        format!("{:016x}", self.0).into()
    }
}

/// The hash of one part, on its way.
#[derive(Clone)]
pub(super) struct Part(Xxh64);

impl Part {
    /// Of something of this kind and name.
    pub(super) fn new(kind: &str, name: &str) -> Self {
        let mut part = Self(Xxh64::new(0));
        part.text(kind);
        part.text(name);
        part
    }

    /// With a text; its length keeps it apart from the next one.
    pub(super) fn text(&mut self, text: &str) {
        self.0.update(&(text.len() as u64).to_le_bytes());
        self.0.update(text.as_bytes());
    }

    /// With a number.
    pub(super) fn number(&mut self, number: u64) {
        self.0.update(&number.to_le_bytes());
    }

    /// With a resource, and what is known of it.
    pub(super) fn resource(&mut self, store: &Store, kind: ResourceType, name: &Arc<str>) {
        self.text(kind.type_url());
        self.text(name);
        let known = match store.look(kind, name) {
            Known::Value(_) => 2,
            Known::Missing(_) => 1,
            Known::Pending => 0,
        };
        self.0.update(&[known]);
        // Not its version: that of the type stands still while some resources of it are refused.
        self.number(store.hash(kind, name).unwrap_or(0));
    }

    /// The hash.
    pub(super) fn hash(&self) -> u64 {
        self.0.digest()
    }
}
