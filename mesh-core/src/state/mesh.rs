//! [`Mesh`], the read handle.

use super::{Attach, Snapshot};
use arc_swap::ArcSwap;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// The read handle: cheap to clone, never blocks.
pub struct Mesh<A: Attach> {
    pub(super) snapshot: Arc<ArcSwap<Snapshot<A>>>,
}

impl<A: Attach> Mesh<A> {
    /// The snapshot in force: load it once per call.
    #[must_use]
    pub fn snapshot(&self) -> impl Deref<Target = Arc<Snapshot<A>>> + use<A> {
        self.snapshot.load()
    }
}

impl<A: Attach> Clone for Mesh<A> {
    fn clone(&self) -> Self {
        Self { snapshot: Arc::clone(&self.snapshot) }
    }
}

impl<A: Attach> fmt::Debug for Mesh<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mesh").field("generation", &self.snapshot().generation()).finish()
    }
}
