//! [`Reload`]: what was made of files, made again when it is asked for and they may have changed.

use super::{CertificateError, Material};
use crate::bootstrap::CertificateFiles;
use parking_lot::Mutex;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Makes a configuration of what files hold.
type Build<C> = fn(&CertificateFiles, Material) -> Result<C, CertificateError>;

/// A TLS configuration that follows its files.
pub(crate) struct Reload<C> {
    files: CertificateFiles,
    build: Build<C>,
    /// No file is looked at more often.
    pause: Duration,
    state: Mutex<State<C>>,
}

struct State<C> {
    good: Option<Arc<C>>,
    looked: Option<Instant>,
    /// What was logged last, so that it is logged once.
    told: Option<CertificateError>,
}

impl<C> Reload<C> {
    /// Reads nothing yet.
    pub(crate) const fn new(files: CertificateFiles, build: Build<C>, pause: Duration) -> Self {
        let state = Mutex::new(State { good: None, looked: None, told: None });
        Self { files, build, pause, state }
    }

    pub(crate) const fn files(&self) -> &CertificateFiles {
        &self.files
    }

    /// What there is, if the files need not be looked at now.
    pub(crate) fn recent(&self, now: Instant) -> Option<Arc<C>> {
        let state = self.state.lock();
        match is_due(state.looked, now, self.pause) {
            true => None,
            false => state.good.clone(),
        }
    }

    /// What the files say now; if they can't be used, what they said last. It blocks.
    ///
    /// # Errors
    /// The files can't be used, and never could.
    pub(crate) fn read(&self, now: Instant) -> Result<Arc<C>, CertificateError> {
        // At once, so that others use what there is meanwhile.
        self.state.lock().looked = Some(now);
        let read = Material::read(&self.files).and_then(|held| (self.build)(&self.files, held));
        let mut state = self.state.lock();
        match (read, state.good.clone()) {
            (Ok(built), _) => {
                let built = Arc::new(built);
                state.good = Some(Arc::clone(&built));
                if state.told.take().is_some() {
                    tracing::info!(target: "mesh::xds", "the certificates can be used again");
                }
                Ok(built)
            }
            (Err(error), None) => Err(error),
            (Err(error), Some(good)) => {
                if state.told.as_ref() != Some(&error) {
                    tracing::warn!(
                        target: "mesh::xds", "the certificates that were read before stay: {error}"
                    );
                    state.told = Some(error);
                }
                Ok(good)
            }
        }
    }
}

/// Whether files are looked at again.
fn is_due(looked: Option<Instant>, now: Instant, pause: Duration) -> bool {
    looked.is_none_or(|looked| now.saturating_duration_since(looked) >= pause)
}

impl<C> fmt::Debug for Reload<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reload").field("files", &self.files).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_looked_at_after_a_pause() {
        let begun = Instant::now();
        let second = Duration::from_secs(1);
        for (looked, now, pause, expected) in [
            (None, begun, second, true),
            (Some(begun), begun, second, false),
            (Some(begun), begun + second / 2, second, false),
            (Some(begun), begun + second, second, true),
            (Some(begun), begun, Duration::ZERO, true),
            (Some(begun + second), begun, second, false),
        ] {
            assert_eq!(is_due(looked, now, pause), expected, "{looked:?} {now:?} {pause:?}");
        }
    }
}
