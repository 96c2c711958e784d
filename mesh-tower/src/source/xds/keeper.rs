//! [`Keeper`]: the copy of the last good configuration, on disk.
//!
//! It reads the copy once at the start, and writes what is in force when that changed. Both happen on a
//! blocking thread; only what a mesh that ends has not written yet is written at once, because a runtime
//! that ends would not.
//!
//! A file that can't be written (disk full, no permission, no directory) is counted each time, told of once
//! for each reason, and tried again ever more seldom ([`Writes`]). It changes no call.

use super::writes::Writes;
use crate::clock;
use crate::observe::source::SourceCells;
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
    cells: Arc<SourceCells>,
    writes: Writes,
    job: Option<JoinHandle<Ended>>,
    /// The number of the last write that was begun.
    begun: u64,
    file: Arc<OneFile>,
    /// Why the last write failed, if it did.
    failing: Option<String>,
}

/// How a write ended: with how many bytes on disk, or why not.
pub(super) type Ended = Result<u64, String>;

/// The file, which is written by one at a time, and never by an older one after a newer one: a job may be
/// late, or dropped with its runtime before it began.
#[derive(Debug, Default)]
struct OneFile(Mutex<u64>);

impl OneFile {
    /// Writes, unless a newer one than `number` was written; how, if it did.
    fn write(&self, number: u64, write: impl FnOnce() -> Ended) -> Option<Ended> {
        let mut newest = self.0.lock();
        if *newest >= number {
            return None;
        }
        let ended = write();
        if ended.is_ok() {
            *newest = number;
        }
        Some(ended)
    }
}

/// What a keeper waits for.
#[derive(Debug)]
pub(super) enum Turn {
    /// It is time to write.
    Due,
    /// What was begun is written, or could not be.
    Written(Ended),
}

impl Keeper {
    /// What is written is counted in `cells`.
    pub(super) fn new(place: Place, cells: &Arc<SourceCells>) -> Self {
        cells.keeps_copy();
        Self {
            place,
            cells: Arc::clone(cells),
            writes: Writes::default(),
            job: None,
            begun: 0,
            file: Arc::default(),
            failing: None,
        }
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

    /// Takes in that something else is in force; `is_whole`: not only its endpoints are.
    pub(super) fn handle_changed(&mut self, is_whole: bool) {
        self.writes.handle_changed(is_whole, clock::now());
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

    /// Begins to write what is in force.
    pub(super) fn begin(&mut self, in_use: InUse) {
        self.writes.handle_begun(clock::now());
        self.begun += 1;
        let (place, file, number) = (self.place.clone(), Arc::clone(&self.file), self.begun);
        self.job = Some(spawn_blocking(move || {
            // Nobody else writes while this one is waited for.
            file.write(number, || place.write(in_use)).unwrap_or(Ok(0))
        }));
    }

    /// Takes in how writing ended.
    pub(super) fn handle_written(&mut self, ended: Ended) {
        self.writes.handle_ended(ended.as_ref().ok().copied(), clock::now());
        self.tell(ended);
    }

    /// Counts, and tells what is new: a disk stays full for long.
    fn tell(&mut self, ended: Ended) {
        self.cells.copy_written(ended.is_ok());
        match ended {
            Err(why) if self.failing.as_ref() == Some(&why) => {
                tracing::debug!(target: "mesh", "the copy of the configuration is still not written: {why}");
            }
            Err(why) => {
                tracing::warn!(
                    target: "mesh",
                    "the copy of the configuration is not written, and tried again later: {why}"
                );
                self.failing = Some(why);
            }
            Ok(_) if self.failing.take().is_some() => {
                tracing::info!(target: "mesh", "the copy of the configuration is written again");
            }
            Ok(_) => {}
        }
    }

    /// Writes now what is not on disk yet: the mesh has ended. A write that is under way is waited for; one
    /// that its runtime has not begun will never be.
    pub(super) fn finish(&mut self, in_use: impl FnOnce() -> InUse) {
        if !self.writes.is_pending() {
            return;
        }
        self.begun += 1;
        let (place, number) = (&self.place, self.begun);
        if let Some(ended) = self.file.write(number, || place.write(in_use())) {
            self.tell(ended);
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

    fn write(&self, in_use: InUse) -> Ended {
        let (copy, left_out) = in_use.into_last_good(self.origin.clone(), clock::wall());
        for why in &left_out {
            tracing::debug!(target: "mesh", "left out of the copy of the configuration: {why}");
        }
        let bytes = last_good::write(&copy, self.max_bytes)
            .map_err(|error: WriteError| error.to_string())?;
        file::save(&self.path, &bytes).map_err(|error| with_source(&error))?;
        Ok(u64::try_from(bytes.len()).unwrap_or(u64::MAX))
    }
}

fn with_source(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}
