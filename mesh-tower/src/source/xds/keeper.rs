//! [`Keeper`]: the copy of the last good configuration, on disk.
//!
//! It reads the copy once at the start, and writes what is in use when that changed. Both happen on a
//! blocking thread; only what a mesh that ends has not written yet is written at once, because a runtime
//! that ends would not.

use super::writes::Writes;
use crate::clock;
use crate::source::{RejectCause, Rejected, Sink};
use mesh_core::update::Origin;
use mesh_xds::client::InUse;
use mesh_xds::last_good::{self, LastGood, WriteError, file};
use parking_lot::Mutex;
use std::path::Path;
use std::sync::Arc;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::sleep_until;

/// Where the copy is, and whose.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) path: Arc<Path>,
    pub(super) max_bytes: usize,
    pub(super) origin: last_good::Origin,
}

/// Reads and writes the copy.
#[derive(Debug)]
pub(super) struct Keeper {
    place: Place,
    writes: Writes,
    job: Option<JoinHandle<Result<(), String>>>,
    /// Held while the file is written: one at a time.
    lock: Arc<Mutex<()>>,
}

/// What a keeper waits for.
#[derive(Debug)]
pub(super) enum Turn {
    /// It is time to write.
    Due,
    /// What was begun is written, or could not be.
    Written(Result<(), String>),
}

impl Keeper {
    pub(super) fn new(place: Place) -> Self {
        Self { place, writes: Writes::default(), job: None, lock: Arc::default() }
    }

    /// Reads the copy; `None`: there is none that can be used, and why was reported to `sink`.
    pub(super) async fn load(&self, sink: &Sink) -> Option<LastGood> {
        let place = self.place.clone();
        let read = spawn_blocking(move || place.read()).await;
        // It does not panic, and is cancelled only with the runtime.
        let why = match read.ok()? {
            Ok(copy) => return copy,
            Err(why) => why,
        };
        let mut rejected = Rejected::new(why.0, [why.1]);
        rejected.origin = Origin::new(self.place.path.display().to_string(), "");
        tracing::warn!(target: "mesh", "the copy of the configuration is not used: {rejected}");
        sink.reject(rejected);
        None
    }

    /// Takes in that what is in use changed.
    pub(super) fn handle_changed(&mut self) {
        self.writes.handle_changed(clock::now());
    }

    /// Waits for the next thing to do.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(super) async fn next(&mut self) -> Turn {
        if let Some(job) = &mut self.job {
            // It does not panic, and is cancelled only with the runtime.
            let ended = job.await.unwrap_or_else(|error| Err(error.to_string()));
            self.job = None;
            return Turn::Written(ended);
        }
        match self.writes.poll_timeout() {
            Some(due) => sleep_until(clock::instant(due)).await,
            None => std::future::pending().await,
        }
        Turn::Due
    }

    /// Begins to write what is in use; without it, what changed could not be put into force.
    pub(super) fn begin(&mut self, in_use: Option<InUse>) {
        let now = clock::now();
        let Some(in_use) = in_use else { return self.writes.handle_refused(now) };
        self.writes.handle_begun(now);
        let (place, lock) = (self.place.clone(), Arc::clone(&self.lock));
        self.job = Some(spawn_blocking(move || {
            let _one_at_a_time = lock.lock();
            place.write(in_use)
        }));
    }

    /// Takes in how writing ended.
    pub(super) fn handle_written(&mut self, ended: Result<(), String>) {
        self.writes.handle_ended(ended.is_ok(), clock::now());
        if let Err(why) = ended {
            tracing::warn!(target: "mesh", "the copy of the configuration is not written: {why}");
        }
    }

    /// Writes now what is not written yet: the mesh has ended.
    pub(super) fn finish(&self, in_use: impl FnOnce() -> InUse) {
        if self.writes.is_due() {
            let _one_at_a_time = self.lock.lock();
            if let Err(why) = self.place.write(in_use()) {
                tracing::warn!(target: "mesh", "the copy of the configuration is not written: {why}");
            }
        }
    }
}

impl Place {
    fn read(&self) -> Result<Option<LastGood>, (RejectCause, String)> {
        let bytes = file::load(&self.path, self.max_bytes)
            .map_err(|error| (RejectCause::Unreadable, with_source(&error)))?;
        let Some(bytes) = bytes else { return Ok(None) };
        let copy = last_good::read(&bytes, &self.origin, self.max_bytes);
        copy.map(Some).map_err(|error| (RejectCause::Invalid, error.to_string()))
    }

    fn write(&self, in_use: InUse) -> Result<(), String> {
        let (copy, left_out) = in_use.into_last_good(self.origin.clone(), clock::wall());
        for why in &left_out {
            tracing::debug!(target: "mesh", "left out of the copy of the configuration: {why}");
        }
        let bytes = last_good::write(&copy, self.max_bytes)
            .map_err(|error: WriteError| error.to_string())?;
        file::save(&self.path, &bytes).map_err(|error| with_source(&error))
    }
}

fn with_source(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}
