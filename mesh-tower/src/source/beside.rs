//! [`Beside`]: the files that documents name beside themselves.

use super::content_hash::xxh64;
use super::mesh_yaml::read_beside;
use mesh_core::config::FileError;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Reads the files that documents name, such as roots in PEM, and remembers which they were and what was in them.
///
/// A [`FileSource`](super::FileSource) that [has it](super::FileSource::beside) follows them as it follows the
/// documents: another content is another version of the whole, and one that is missing is looked for.
#[derive(Debug, Default)]
pub struct Beside(Mutex<BTreeMap<Named, u64>>);

/// A document, and what it names.
type Named = (String, String);

impl Beside {
    /// As [`read_beside`], for parsers.
    ///
    /// # Errors
    /// Those of [`read_beside`].
    pub fn read(&self, document: &str, path: &str) -> Result<String, FileError> {
        let text = read_beside(document, path);
        self.0.lock().insert((document.to_owned(), path.to_owned()), hash(&text));
        text
    }

    /// The documents are read anew, and may name others.
    pub(super) fn forget(&self) {
        self.0.lock().clear();
    }

    /// Where they are.
    pub(super) fn paths(&self) -> Vec<PathBuf> {
        self.0.lock().keys().map(|(document, path)| place(document, path)).collect()
    }

    /// The fingerprint of documents with this one, and of what was read with them. Without anything beside them
    /// it is theirs.
    pub(super) fn fingerprint(&self, documents: u64) -> u64 {
        of(documents, self.0.lock().values().copied())
    }

    /// What the fingerprint is now, if the documents still name the same. It blocks.
    pub(super) fn fingerprint_now(&self, documents: u64) -> u64 {
        let named: Vec<_> = self.0.lock().keys().cloned().collect();
        of(documents, named.iter().map(|(document, path)| hash(&read_beside(document, path))))
    }
}

/// What `path` means in `document`: relative to its directory.
pub(super) fn place(document: &str, path: &str) -> PathBuf {
    Path::new(document).parent().unwrap_or_else(|| Path::new("")).join(path)
}

/// Equal when the content or the fault is.
fn hash(text: &Result<String, FileError>) -> u64 {
    match text {
        Ok(text) => xxh64(text.as_bytes()),
        Err(error) => xxh64(format!("\0{error}").as_bytes()),
    }
}

fn of(documents: u64, beside: impl Iterator<Item = u64>) -> u64 {
    let all: Vec<u8> =
        std::iter::once(documents).chain(beside).flat_map(u64::to_be_bytes).collect();
    if all.len() == size_of::<u64>() { documents } else { xxh64(&all) }
}
