//! [`AccessLogSink`]: where lines go, and the places that there are without one's own.

use parking_lot::Mutex;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Where the lines of an access log go. It is called by the log's own thread alone, so it may wait: then lines are
/// queued, and dropped when the queue is full, but no call waits.
pub trait AccessLogSink: Send + Sync {
    /// Writes some lines, each of which ends with a line feed.
    ///
    /// # Errors
    /// They can't be written. They are dropped and counted, and the next ones are tried anew. A panic counts as
    /// that.
    fn write(&self, lines: &[u8]) -> io::Result<()>;

    /// Begins anew, because what it writes to was moved away ([`AccessLog::reopen`](super::AccessLog::reopen)).
    /// Default: nothing.
    ///
    /// # Errors
    /// It can't. It is told to the log, and what was open goes on being written to.
    fn reopen(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Standard output.
pub(super) struct Stdout;

impl AccessLogSink for Stdout {
    fn write(&self, lines: &[u8]) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(lines)?;
        out.flush()
    }
}

/// Standard error.
pub(super) struct Stderr;

impl AccessLogSink for Stderr {
    fn write(&self, lines: &[u8]) -> io::Result<()> {
        io::stderr().lock().write_all(lines)
    }
}

/// A file that is appended to.
pub(super) struct Appended {
    path: PathBuf,
    open: Mutex<Open>,
}

struct Open {
    file: File,
    /// The last line was not written to its end: what follows begins another.
    torn: bool,
}

impl Appended {
    /// Opens it, and makes it where it is not.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let open = Open { file: append(path)?, torn: false };
        Ok(Self { path: path.to_owned(), open: Mutex::new(open) })
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

impl AccessLogSink for Appended {
    fn write(&self, lines: &[u8]) -> io::Result<()> {
        let mut open = self.open.lock();
        if open.torn {
            open.file.write_all(b"\n")?;
            open.torn = false;
        }
        let (written, result) = write_all(&mut open.file, lines);
        open.torn = lines[..written].last().is_some_and(|byte| *byte != b'\n');
        result
    }

    fn reopen(&self) -> io::Result<()> {
        let file = append(&self.path)?;
        *self.open.lock() = Open { file, torn: false };
        Ok(())
    }
}

/// Writes all, or as much as can be: how much that was.
fn write_all(out: &mut impl Write, bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut written = 0;
    while written < bytes.len() {
        match out.write(&bytes[written..]) {
            Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
            Ok(more) => written += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (written, Err(error)),
        }
    }
    (written, Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes so many bytes, and then fails.
    struct Full(usize);

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.0 == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let taken = bytes.len().min(self.0).min(3);
            self.0 -= taken;
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn how_much_was_written_is_known() {
        assert!(matches!(write_all(&mut Full(9), b"12345678"), (8, Ok(()))));
        assert!(matches!(write_all(&mut Full(5), b"12345678"), (5, Err(_))));
    }

    #[test]
    fn a_torn_line_is_ended_before_the_next() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("access.log");
        let sink = Appended::open(&path).unwrap();
        sink.write(b"one\n").unwrap();
        sink.open.lock().file.write_all(b"tw").unwrap();
        sink.open.lock().torn = true;
        sink.write(b"three\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\ntw\nthree\n");
    }

    #[test]
    fn a_file_is_appended_to_and_opened_anew() {
        let directory = tempfile::tempdir().unwrap();
        let (path, moved) = (directory.path().join("access.log"), directory.path().join("old"));
        std::fs::write(&path, "before\n").unwrap();
        let sink = Appended::open(&path).unwrap();
        sink.write(b"one\n").unwrap();
        std::fs::rename(&path, &moved).unwrap();
        sink.write(b"two\n").unwrap();
        sink.reopen().unwrap();
        sink.write(b"three\n").unwrap();
        assert_eq!(std::fs::read_to_string(&moved).unwrap(), "before\none\ntwo\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "three\n");
        drop(directory);
        assert!(sink.reopen().is_err(), "what is open stays open");
        sink.write(b"four\n").unwrap();
    }
}
