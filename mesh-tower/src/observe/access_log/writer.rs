//! The one thread that writes the lines of a log.

use super::queue::{Drop, Item, State};
use super::sink::AccessLogSink;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::thread;
use tokio::sync::oneshot;

/// About how many bytes are written at once.
const BATCH_BYTES: usize = 64 << 10;

/// Starts it. It ends when the queue's other end is gone and all is written.
///
/// # Errors
/// The system has no thread.
pub(super) fn start(
    receiver: Receiver<Item>,
    state: Arc<State>,
    sink: Arc<dyn AccessLogSink>,
) -> io::Result<()> {
    let writer = Writer { receiver, state, sink, failing: false };
    thread::Builder::new().name("mesh-access-log".into()).spawn(|| writer.run()).map(drop)
}

struct Writer {
    receiver: Receiver<Item>,
    state: Arc<State>,
    sink: Arc<dyn AccessLogSink>,
    /// The last lines could not be written.
    failing: bool,
}

/// Lines that are written together.
#[derive(Default)]
struct Batch {
    text: Vec<u8>,
    lines: u64,
}

impl Writer {
    fn run(mut self) {
        let mut batch = Batch::default();
        while let Ok(first) = self.receiver.recv() {
            let mut flushed = batch.take(first);
            while flushed.is_none()
                && batch.text.len() < BATCH_BYTES
                && let Ok(next) = self.receiver.try_recv()
            {
                flushed = batch.take(next);
            }
            if self.state.takes_reopen() {
                self.reopen();
            }
            self.write(&mut batch);
            if let Some(flushed) = flushed {
                let _told_or_given_up = flushed.send(());
            }
        }
    }

    fn write(&mut self, batch: &mut Batch) {
        if batch.lines == 0 {
            return;
        }
        let result = guarded(|| self.sink.write(&batch.text));
        let dropped = result.is_err().then_some(Drop::WriteFailed);
        self.state.left(batch.lines, batch.text.len(), dropped);
        match result {
            // The log hears when lines are lost and when they come again, not of each.
            Err(error) if !self.failing => tracing::warn!(
                target: "mesh::access_log", %error,
                "lines of the access log can't be written: they are dropped"
            ),
            Ok(()) if self.failing => tracing::info!(
                target: "mesh::access_log", "lines of the access log are written again"
            ),
            Ok(()) | Err(_) => {}
        }
        self.failing = dropped.is_some();
        batch.clear();
    }

    fn reopen(&self) {
        if let Err(error) = guarded(|| self.sink.reopen()) {
            tracing::warn!(
                target: "mesh::access_log", %error,
                "the access log can't be opened anew: what is open goes on"
            );
        }
    }
}

/// A sink that panics has failed.
fn guarded(work: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    let panicked = |_| Err(io::Error::other("the sink panicked"));
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(panicked)
}

impl Batch {
    /// Takes something in; who waits for what was taken in so far.
    fn take(&mut self, item: Item) -> Option<oneshot::Sender<()>> {
        match item {
            Item::Line(line) => {
                self.text.extend_from_slice(&line);
                self.lines += 1;
                None
            }
            Item::Flush(flushed) => Some(flushed),
            Item::Wake => None,
        }
    }

    fn clear(&mut self) {
        self.text.clear();
        self.text.shrink_to(2 * BATCH_BYTES);
        self.lines = 0;
    }
}
