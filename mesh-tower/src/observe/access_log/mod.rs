//! The access log: a line for each call and for each served request, when its response's body has ended.
//!
//! What lines say, and what they never say, is [`mesh_core::access_log`]. Here is where they come from, and how
//! they get away: a call that is over renders its line and leaves it in a queue; one thread of the log's own writes
//! what is queued. So a disk that is slow, full or broken, or a reader of a pipe that has stopped, costs lines, and
//! never a call: telemetry fails open.
//!
//! - The queue is bounded in lines and in bytes. A line that finds no room is dropped. So are those that can't be
//!   written, and the next ones are tried anew. All are counted: `mesh_access_log_lines_written_total`,
//!   `mesh_access_log_lines_dropped_total`, `mesh_access_log_lines_queued`.
//! - Without a log, a call looks whether there is one, and has a null pointer with it: some 100 of its 12,000
//!   instructions (`benches/call.rs`), and no allocation (`tests/zero_alloc.rs`).
//! - With one, a call keeps its report ([`CallReport`](super::CallReport)) until its line is written, the headers
//!   that the format names, and counts the bytes of its bodies.
//!
//! Calls that are answered by their route or refused have lines, and so have those that pass by every policy, and
//! connections of bytes that a port passes on. Those of a program's own ([`Mesh::connect`](crate::Mesh::connect)) have none.
//!
//! | file | holds |
//! |---|---|
//! | `builder.rs` | how a log is made |
//! | `sink.rs` | where lines go |
//! | `queue.rs`, `writer.rs` | how they get there |
//! | `given.rs` | which log is of which side |
//! | `line.rs` | what a line is made of, of both sides |
//! | `call.rs` | the line of a call |
//! | `stream.rs` | the line of a connection of bytes to a port |
//! | `peer.rs` | who the endpoint of an attempt proved to be |

mod builder;
mod call;
mod given;
mod line;
mod queue;
mod sink;
mod stream;
mod writer;

pub use builder::AccessLogBuilder;
pub(crate) use call::{CallLine, Ended, Way};
pub(crate) use given::{Given, Logs};
pub(crate) use line::{Came, DIRECT_RESPONSE, Line, Logging, Received, VIA_UPSTREAM};
#[cfg(test)]
pub(super) use queue::counted;
pub(super) use queue::{State, visit};
pub use sink::AccessLogSink;
pub(crate) use stream::{Cut, OfPort, StreamLine};

use crate::net::Draw;
use mesh_core::access_log::{AccessLogFilter, Format, Record, Side};
use queue::Queue;
use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

/// An access log. Clones are handles to the same; when the last one is dropped, what is queued is still written.
///
/// # Examples
/// ```
/// # async fn example() -> std::io::Result<()> {
/// use mesh_core::access_log::{AccessLogFilter, Format};
/// use mesh_tower::Mesh;
/// use mesh_tower::observe::AccessLog;
///
/// let log = AccessLog::builder(Format::default_json())
///     .filter(AccessLogFilter::all().status_at_least(500).flagged())
///     .stdout()?;
/// let mesh = Mesh::builder().file("mesh.yaml").access_log(log.clone()).build();
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct AccessLog(Arc<Inner>);

struct Inner {
    format: Format,
    filter: AccessLogFilter,
    /// Whose lines it has; `None`: both sides'.
    side: Option<Side>,
    hostname: Option<Box<str>>,
    queue: Queue,
}

/// What became of the lines of a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AccessLogCounts {
    /// Written.
    pub written: u64,
    /// Dropped: there was no room, they could not be written, or nobody writes any more.
    pub dropped: u64,
    /// Waiting, or being written just now.
    pub queued: u64,
}

thread_local! {
    /// The line that is rendered.
    static RENDERED: RefCell<String> = const { RefCell::new(String::new()) };
}

/// How much memory of a long line is kept for the next.
const KEPT_BYTES: usize = 16 << 10;

impl AccessLog {
    /// Begins to make a log whose lines have this format.
    pub fn builder(format: Format) -> AccessLogBuilder {
        AccessLogBuilder::new(format)
    }

    /// Opens a file anew, after it was moved away: the next lines are in a new one. It is done by the log's thread,
    /// soon, and does not wait.
    pub fn reopen(&self) {
        self.0.queue.reopen();
    }

    /// Waits until everything that is queued now was written or dropped. Behind a sink that waits for ever that is
    /// never.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn flush(&self) {
        self.0.queue.flush().await;
    }

    /// What became of its lines so far.
    #[must_use]
    pub fn counts(&self) -> AccessLogCounts {
        let state = self.0.queue.state();
        AccessLogCounts {
            written: state.written(),
            dropped: state.all_dropped(),
            queued: state.queued(),
        }
    }

    /// Whether it has lines of `side`.
    pub(crate) fn is_of(&self, side: Side) -> bool {
        self.0.side.is_none_or(|own| own == side)
    }

    /// What metrics read.
    pub(crate) fn state(&self) -> &Arc<State> {
        self.0.queue.state()
    }

    /// The format of its lines.
    pub(crate) fn format(&self) -> &Format {
        &self.0.format
    }

    /// Writes the line of `record`, unless the filter is against it.
    pub(crate) fn write<'r>(&'r self, mut record: Record<'r>) {
        record.hostname = self.0.hostname.as_deref();
        if !self.0.filter.takes(&record, &mut Draw) {
            return;
        }
        // On a thread that ends nothing is rendered any more.
        let _ended = RENDERED.try_with(|line| {
            // Nothing that is rendered logs anything.
            let Ok(mut line) = line.try_borrow_mut() else { return };
            self.0.format.render(&record, &mut line);
            self.0.queue.push(line.as_bytes());
            line.clear();
            line.shrink_to(KEPT_BYTES);
        });
    }
}

impl fmt::Debug for AccessLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessLog").field("counts", &self.counts()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
