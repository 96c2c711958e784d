//! The file itself: written whole or not at all, readable by its owner only.
//!
//! [`save`] writes beside the file, forces it to disk and renames it, so that a crash at any moment leaves
//! the old file or the new one. Everything here blocks: call it where blocking is allowed.
//!
//! One process writes a path. With two, each still replaces whole files, but one may be told that its
//! write was lost, and what is half written is refused by its checksum.

use bytes::Bytes;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

/// Why a file could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The path does not end in a name.
    #[error("the path `{}` names no file", path.display())]
    NoName {
        /// The path.
        path: PathBuf,
    },
    /// There is something else than a file.
    #[error("`{}` is no regular file: name another path, or remove it", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// Others than its owner may write it, and so decide where calls go.
    #[error(
        "`{}` can be written by others than its owner (mode {mode:o}): `chmod 600` it, or remove it",
        path.display()
    )]
    Writable {
        /// The path.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// More than the bound.
    #[error("`{}` has {bytes} bytes, more than {max}: raise the bound, or remove it", path.display())]
    TooLarge {
        /// The path.
        path: PathBuf,
        /// How many bytes it has.
        bytes: u64,
        /// The bound.
        max: usize,
    },
    /// The system refused.
    #[error("{action} `{}`", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Replaces the file at `path`, with mode 0600, and returns once it is on disk.
///
/// # Errors
///
/// When the path names no file or the system refuses. What was there is there still, unless only the last
/// step failed, of making the new name durable.
pub fn save(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let temporary = temporary(path)?;
    let written = write_new(&temporary, bytes).and_then(|()| {
        std::fs::rename(&temporary, path).map_err(|error| failed("could not replace", path, error))
    });
    if let Err(error) = written {
        // It is of no use any more; when it can't be removed, the next write tries again.
        let _removed: io::Result<()> = std::fs::remove_file(&temporary);
        return Err(error);
    }
    sync_directory(path)
}

/// Reads the file at `path`, of at most `max_bytes`; `None`: there is none.
///
/// # Errors
///
/// When it is no regular file, can be written by others, is too large, or the system refuses.
pub fn load(path: &Path, max_bytes: usize) -> Result<Option<Bytes>, FileError> {
    // Opening a named pipe would wait for its other end, so that this is asked before.
    match std::fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("could not look at", path, error)),
        Ok(metadata) if !metadata.is_file() => {
            return Err(FileError::NotAFile { path: path.to_owned() });
        }
        Ok(_) => {}
    }
    let file = File::open(path).map_err(|error| failed("could not open", path, error))?;
    let metadata = file.metadata().map_err(|error| failed("could not look at", path, error))?;
    check_mode(path, &metadata)?;
    let too_large = |bytes| FileError::TooLarge { path: path.to_owned(), bytes, max: max_bytes };
    let max = u64::try_from(max_bytes).unwrap_or(u64::MAX);
    if metadata.len() > max {
        return Err(too_large(metadata.len()));
    }
    // It may grow while it is read.
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or_default());
    file.take(max.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|error| failed("could not read", path, error))?;
    match u64::try_from(bytes.len()).unwrap_or(u64::MAX) {
        length if length > max => Err(too_large(length)),
        _ => Ok(Some(bytes.into())),
    }
}

/// `.<name>.tmp` beside the file: on the same file system, as renaming needs.
fn temporary(path: &Path) -> Result<PathBuf, FileError> {
    let name = path.file_name().ok_or_else(|| FileError::NoName { path: path.to_owned() })?;
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    temporary.push(".tmp");
    Ok(path.with_file_name(temporary))
}

/// Writes a file that was not there, so that its mode is ours from the start, and no link is followed.
fn write_new(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut opened = options.open(path);
    if opened.as_ref().is_err_and(|error| error.kind() == ErrorKind::AlreadyExists) {
        // A crash left it.
        std::fs::remove_file(path).map_err(|error| failed("could not remove", path, error))?;
        opened = options.open(path);
    }
    let mut file = opened.map_err(|error| failed("could not create", path, error))?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    written.map_err(|error| failed("could not write", path, error))
}

/// Makes the new name durable (POSIX: a rename is, once its directory is synchronised).
#[cfg(unix)]
fn sync_directory(path: &Path) -> Result<(), FileError> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let directory = parent.unwrap_or_else(|| Path::new("."));
    let synced = File::open(directory).and_then(|directory| directory.sync_all());
    synced.map_err(|error| failed("could not synchronise", directory, error))
}

#[cfg(not(unix))]
fn sync_directory(_path: &Path) -> Result<(), FileError> {
    Ok(())
}

#[cfg(unix)]
fn check_mode(path: &Path, metadata: &std::fs::Metadata) -> Result<(), FileError> {
    let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o7777;
    match mode & 0o022 {
        0 => Ok(()),
        _ => Err(FileError::Writable { path: path.to_owned(), mode }),
    }
}

#[cfg(not(unix))]
fn check_mode(_path: &Path, _metadata: &std::fs::Metadata) -> Result<(), FileError> {
    Ok(())
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> FileError {
    FileError::Io { action, path: path.to_owned(), source }
}
