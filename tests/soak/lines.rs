//! Access logs, as they are written: the lines of calls that have a flag.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// What a line has, in this order.
pub(crate) const FORMAT: &str = "line %REQ(X-REQUEST-ID)% %MESH(side)% %RESPONSE_FLAGS% %RESPONSE_CODE% %MESH(reason)% %DOWNSTREAM_REMOTE_ADDRESS%";

/// What the addresses begin with that callers of byte streams say to have (the PROXY protocol): each stream has its own.
pub(crate) const CALLED_FROM: &str = "10.";

/// Flags by `x-request-id`, or by the address of a byte stream.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    flags: Mutex<HashMap<String, String>>,
    count: AtomicU64,
}

impl Lines {
    fn read(&self, line: &str) {
        let mut words = line.split(' ');
        if words.next() != Some("line") {
            return;
        }
        self.count.fetch_add(1, Relaxed);
        let (Some(id), Some(side), Some(flag)) = (words.next(), words.next(), words.next()) else {
            return;
        };
        if flag == "-" {
            return;
        }
        let mut rest: Vec<_> = words.collect();
        // Byte streams are known by the address that their caller says to have.
        let id = rest.pop().filter(|remote| remote.starts_with(CALLED_FROM)).unwrap_or(id);
        let text = format!("{flag} ({side} {})", rest.join(" "));
        // A request that is passed on has two lines. That of the client knows more.
        let mut flags = self.flags.lock();
        if side != "server" || !flags.contains_key(id) {
            flags.insert(id.to_owned(), text);
        }
    }

    pub(crate) fn flag(&self, id: &str) -> Option<String> {
        self.flags.lock().get(id).cloned()
    }

    /// All that have a flag.
    pub(crate) fn text(&self) -> String {
        let flags = self.flags.lock();
        let mut all: Vec<_> = flags.iter().map(|(id, flag)| format!("{id} {flag}\n")).collect();
        all.sort_unstable();
        all.concat()
    }

    pub(crate) fn count(&self) -> u64 {
        self.count.load(Relaxed)
    }
}

/// How a pipe is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Pace {
    AtOnce,
    /// A line every 50 ms.
    Slowly,
    Never,
}

/// What reads a proxy's log from a pipe.
pub(crate) struct Piped {
    pub(crate) lines: Arc<Lines>,
    pace: Arc<AtomicU8>,
    reader: Option<JoinHandle<()>>,
}

impl Piped {
    pub(crate) fn new(pipe: impl Read + Send + 'static) -> Self {
        let (lines, pace) = (Arc::new(Lines::default()), Arc::new(AtomicU8::new(0)));
        let (to, how) = (Arc::clone(&lines), Arc::clone(&pace));
        let reader = thread::spawn(move || {
            for line in BufReader::with_capacity(4096, pipe).lines().map_while(Result::ok) {
                to.read(&line);
                if how.load(Relaxed) == Pace::Slowly as u8 {
                    thread::sleep(Duration::from_millis(50));
                }
                while how.load(Relaxed) == Pace::Never as u8 {
                    thread::sleep(Duration::from_millis(5));
                }
            }
        });
        Self { lines, pace, reader: Some(reader) }
    }

    pub(crate) fn pace(&self, pace: Pace) {
        self.pace.store(pace as u8, Relaxed);
    }

    /// Waits for the end of the pipe.
    pub(crate) fn end(&mut self) {
        self.pace(Pace::AtOnce);
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
    }
}

/// What reads a proxy's log from a file, which is moved away now and then.
pub(crate) struct Filed {
    pub(crate) lines: Lines,
    path: PathBuf,
    moved: PathBuf,
}

impl Filed {
    pub(crate) fn new(path: &Path) -> Self {
        let moved = path.with_extension("1");
        Self { lines: Lines::default(), path: path.to_owned(), moved }
    }

    /// Moves the file away; the proxy has to open it anew.
    pub(crate) fn move_away(&self) {
        if self.path.exists() {
            self.take();
            fs::rename(&self.path, &self.moved).unwrap();
        }
    }

    /// Reads what was moved away, and removes it.
    pub(crate) fn take(&self) {
        if let Ok(file) = File::open(&self.moved) {
            self.all(file);
            fs::remove_file(&self.moved).unwrap();
        }
    }

    /// Reads the rest, once the proxy has ended.
    pub(crate) fn end(&self) {
        self.take();
        if let Ok(file) = File::open(&self.path) {
            self.all(file);
        }
    }

    fn all(&self, file: File) {
        for line in BufReader::new(file).split(b'\n').map_while(Result::ok) {
            self.lines.read(&String::from_utf8_lossy(&line));
        }
    }
}
