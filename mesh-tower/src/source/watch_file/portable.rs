//! [`Watcher`] elsewhere than on Linux: what the `notify` crate has for the system.

use super::Told;
use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use std::io;
use std::path::Path;

/// Watches directories.
pub(super) struct Watcher(RecommendedWatcher);

impl Watcher {
    /// Calls `tell` on a thread of the crate's.
    pub(super) fn new(tell: impl Fn(Told<'_>) + Send + 'static) -> io::Result<Self> {
        let told = move |event: notify::Result<notify::Event>| match event {
            Ok(event) if event.need_rescan() => tell(Told::Something),
            Ok(event) if is_reading(event.kind) => {}
            Ok(event) => event.paths.iter().for_each(|path| tell(Told::Of(path))),
            Err(_) => tell(Told::Something),
        };
        notify::recommended_watcher(told).map(Self).map_err(io::Error::other)
    }

    pub(super) fn watch(&mut self, directory: &Path) -> io::Result<()> {
        self.0.watch(directory, RecursiveMode::NonRecursive).map_err(io::Error::other)
    }

    /// Whether it is watched still: what the system drops, the crate does not tell.
    #[expect(clippy::unused_self, reason = "of Linux's it is asked")]
    pub(super) const fn has(&self, _: &Path) -> bool {
        true
    }

    pub(super) fn unwatch(&mut self, directory: &Path) -> io::Result<()> {
        self.0.unwatch(directory).map_err(io::Error::other)
    }
}

/// Whether an event only tells that somebody read, as we do ourselves.
const fn is_reading(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => false,
        EventKind::Access(_) => true,
        _ => false,
    }
}
