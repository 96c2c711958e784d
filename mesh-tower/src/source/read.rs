//! Reading files: all of them with one fingerprint, or the first fault.
//!
//! Blocking; called from a blocking thread ([`finished`] waits for it).

use super::content_hash::xxh64;
use super::directory::files_of;
use super::sink::{RejectCause, Rejected};
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use tokio::task::JoinHandle;

/// Largest file, in bytes: a mistake in a path must not fill the memory.
pub(crate) const MAX_BYTES: u64 = 16 * 1024 * 1024;

/// What is in the files now.
#[derive(Debug)]
pub(crate) struct Reading {
    /// Equal when the content or the fault is.
    pub(crate) fingerprint: u64,
    /// The texts with their paths, or what is wrong.
    pub(crate) texts: Result<Vec<(PathBuf, String)>, Rejected>,
}

/// Reads all of `paths`, in their order; a directory stands for [its files](files_of).
pub(crate) fn read(paths: &[PathBuf]) -> Reading {
    match files_of(paths) {
        Ok(files) => read_files(files),
        Err(rejected) => fault(rejected),
    }
}

/// Reads all of `files`, in their order; a directory among them is a fault.
///
/// The fingerprint of one file is its XXH64; that of several is the XXH64 of theirs, each as eight
/// bytes, most significant first.
pub(crate) fn read_files(files: Vec<PathBuf>) -> Reading {
    let mut texts = Vec::with_capacity(files.len());
    let mut hashes = Vec::with_capacity(files.len());
    for path in files {
        match read_one(&path) {
            Ok(text) => {
                hashes.push(xxh64(text.as_bytes()));
                texts.push((path, text));
            }
            Err(rejected) => return fault(rejected),
        }
    }
    let fingerprint = match hashes.as_slice() {
        [one] => *one,
        several => xxh64(&several.iter().flat_map(|hash| hash.to_be_bytes()).collect::<Vec<_>>()),
    };
    Reading { fingerprint, texts: Ok(texts) }
}

fn fault(rejected: Rejected) -> Reading {
    let text = format!("\0{rejected}");
    Reading { fingerprint: xxh64(text.as_bytes()), texts: Err(rejected) }
}

fn read_one(path: &Path) -> Result<String, Rejected> {
    let bytes = read_bytes(path, MAX_BYTES).map_err(|error| {
        let cause = match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => RejectCause::Missing,
            _ => RejectCause::Unreadable,
        };
        Rejected::new(cause, [format!("{}: {error}", path.display())])
    })?;
    let invalid = |what: &str| Rejected::invalid([format!("{}: {what}", path.display())]);
    if bytes.len() as u64 > MAX_BYTES {
        return Err(invalid("the file is larger than 16 MiB"));
    }
    let text = String::from_utf8(bytes)
        .map_err(|error| invalid(&format!("not UTF-8: {}", error.utf8_error())))?;
    // A file that is being written starts out empty; nobody means "no mesh" by it.
    if text.trim().is_empty() {
        return Err(invalid("the file is empty"));
    }
    Ok(text)
}

/// All of a regular file, or its first `most` bytes and one more.
pub(crate) fn read_bytes(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    // Before opening: opening a FIFO waits for a writer.
    let about = fs::metadata(path)?;
    if about.is_dir() {
        return Err(io::Error::other("not a regular file, but a directory: name a file in it"));
    }
    if !about.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What a job that reads gave; `None`: it panicked.
pub(crate) async fn finished<T>(job: JoinHandle<T>) -> Option<T> {
    match job.await {
        Ok(done) => Some(done),
        Err(error) if error.is_panic() => None,
        // It was cancelled, with the runtime: nothing is polled any more.
        Err(_) => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_fault(path: &Path, cause: RejectCause, text: &str) {
        let rejected = read(&[path.to_owned()]).texts.unwrap_err();
        assert_eq!(rejected.cause, cause);
        assert!(rejected.diagnostics[0].contains(text), "{rejected}");
    }

    #[test]
    fn each_fault_has_its_cause() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mesh.yaml");
        check_fault(&path, RejectCause::Missing, "mesh.yaml");
        check_fault(directory.path(), RejectCause::Missing, "no *.yaml");
        fs::create_dir(directory.path().join("a.yaml")).unwrap();
        check_fault(directory.path(), RejectCause::Unreadable, "not a regular file");
        fs::write(&path, " \n").unwrap();
        check_fault(&path, RejectCause::Invalid, "empty");
        fs::write(&path, [b'a', 0xff]).unwrap();
        check_fault(&path, RejectCause::Invalid, "not UTF-8");
        fs::write(&path, vec![b'a'; MAX_BYTES as usize + 1]).unwrap();
        check_fault(&path, RejectCause::Invalid, "larger than");
        check_fault(&path.join("below"), RejectCause::Missing, "below");
    }

    #[test]
    fn the_fingerprint_is_the_content_hash() {
        let directory = tempfile::tempdir().unwrap();
        let (a, b) = (directory.path().join("a"), directory.path().join("b"));
        fs::write(&a, "abc").unwrap();
        fs::write(&b, "abc").unwrap();
        assert_eq!(read(std::slice::from_ref(&a)).fingerprint, xxh64(b"abc"));
        let both = read(&[a.clone(), b.clone()]);
        assert_eq!(both.texts.unwrap().len(), 2);
        fs::write(&b, "abd").unwrap();
        assert_ne!(read(&[a.clone(), b.clone()]).fingerprint, both.fingerprint);
        assert_ne!(read(&[b, a.clone()]).fingerprint, read(&[a]).fingerprint);
    }
}
