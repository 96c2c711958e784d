//! [`Mesh`], the read handle.

use super::{Attach, Snapshot};
use arc_swap::ArcSwap;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The read handle: cheap to clone, never blocks.
pub struct Mesh<A: Attach> {
    pub(super) published: Arc<Published<A>>,
}

/// The snapshot in force, and how many came before it.
pub(super) struct Published<A: Attach> {
    snapshot: ArcSwap<Snapshot<A>>,
    version: AtomicU64,
}

impl<A: Attach> Published<A> {
    pub(super) fn new(snapshot: Snapshot<A>) -> Self {
        Self { snapshot: ArcSwap::from_pointee(snapshot), version: AtomicU64::new(0) }
    }

    pub(super) fn load_full(&self) -> Arc<Snapshot<A>> {
        self.snapshot.load_full()
    }

    /// Puts `snapshot` in force. The one before.
    pub(super) fn swap(&self, snapshot: Snapshot<A>) -> Arc<Snapshot<A>> {
        let before = self.snapshot.swap(Arc::new(snapshot));
        // Afterwards: who reads the new number finds the new snapshot.
        self.version.fetch_add(1, Ordering::Release);
        before
    }
}

impl<A: Attach> Mesh<A> {
    /// The snapshot in force: load it once per call.
    #[must_use]
    pub fn snapshot(&self) -> impl Deref<Target = Arc<Snapshot<A>>> + use<A> {
        self.published.snapshot.load()
    }

    /// A number that changes with the snapshot in force: what was read of it after this number was read is good while the
    /// number stays the same. Reading it costs less than loading the snapshot.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.published.version.load(Ordering::Acquire)
    }
}

impl<A: Attach> Clone for Mesh<A> {
    fn clone(&self) -> Self {
        Self { published: Arc::clone(&self.published) }
    }
}

impl<A: Attach> fmt::Debug for Mesh<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mesh").field("generation", &self.snapshot().generation()).finish()
    }
}
