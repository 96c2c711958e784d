//! [`AccessLogBuilder`]: how a log is made.

use super::queue::Queue;
use super::sink::{AccessLogSink, Appended, Stderr, Stdout};
use super::{AccessLog, Inner, writer};
use mesh_core::access_log::{AccessLogFilter, Format, Side};
use std::io;
use std::path::Path;
use std::sync::Arc;

/// The most lines that wait, without another word.
const MAX_LINES: usize = 8_192;

/// The most bytes that wait.
const MAX_BYTES: usize = 4 << 20;

/// Makes an [`AccessLog`].
#[must_use = "a builder does nothing until it is told where lines go"]
#[derive(Clone, Debug)]
pub struct AccessLogBuilder {
    format: Format,
    filter: AccessLogFilter,
    side: Option<Side>,
    hostname: Option<Box<str>>,
    max_lines: usize,
    max_bytes: usize,
}

impl AccessLogBuilder {
    pub(super) const fn new(format: Format) -> Self {
        Self {
            format,
            filter: AccessLogFilter::all(),
            side: None,
            hostname: None,
            max_lines: MAX_LINES,
            max_bytes: MAX_BYTES,
        }
    }

    /// Which lines are written. Default: all.
    pub const fn filter(mut self, filter: AccessLogFilter) -> Self {
        self.filter = filter;
        self
    }

    /// Lines of one side only: of the calls that the program makes, or of the requests that it serves. Default:
    /// both.
    pub const fn only(mut self, side: Side) -> Self {
        self.side = Some(side);
        self
    }

    /// The most lines that wait to be written, or are being written; what comes when there are as many is dropped.
    /// Room for them is made at once, 32 bytes each. Default 8,192.
    pub const fn max_lines(mut self, lines: usize) -> Self {
        self.max_lines = lines;
        self
    }

    /// The most bytes of all these lines together. Default 4 MiB.
    pub const fn max_bytes(mut self, bytes: usize) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// What `%HOSTNAME%` is. Default: what the system says, or the environment variable `HOSTNAME`.
    pub fn hostname(mut self, hostname: impl Into<Box<str>>) -> Self {
        self.hostname = Some(hostname.into());
        self
    }

    /// Writes to standard output.
    ///
    /// # Errors
    /// The system has no thread for it.
    pub fn stdout(self) -> io::Result<AccessLog> {
        self.sink(Arc::new(Stdout))
    }

    /// Writes to standard error.
    ///
    /// # Errors
    /// The system has no thread for it.
    pub fn stderr(self) -> io::Result<AccessLog> {
        self.sink(Arc::new(Stderr))
    }

    /// Appends to a file, which is made where it is not. After it was moved away, [`AccessLog::reopen`] begins a
    /// new one.
    ///
    /// # Errors
    /// The file can't be opened, or the system has no thread for it.
    pub fn file(self, path: impl AsRef<Path>) -> io::Result<AccessLog> {
        let file = Appended::open(path.as_ref())?;
        self.sink(Arc::new(file))
    }

    /// Gives lines to `sink`, on a thread of their own.
    ///
    /// # Errors
    /// The system has no thread for it.
    pub fn sink(self, sink: Arc<dyn AccessLogSink>) -> io::Result<AccessLog> {
        let Self { format, filter, side, hostname, max_lines, max_bytes } = self;
        let (queue, receiver) = Queue::new(max_lines, max_bytes);
        writer::start(receiver, Arc::clone(queue.state()), sink)?;
        let hostname = hostname.or_else(system_hostname);
        Ok(AccessLog(Arc::new(Inner { format, filter, side, hostname, queue })))
    }
}

/// What the machine is called; `None`: nobody says.
fn system_hostname() -> Option<Box<str>> {
    let of_system = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let hostname = of_system.or_else(|| std::env::var("HOSTNAME").ok())?;
    Some(hostname.trim()).filter(|hostname| !hostname.is_empty()).map(Into::into)
}
