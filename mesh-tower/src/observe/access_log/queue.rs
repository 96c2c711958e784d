//! [`Queue`]: the lines between calls and the thread that writes them, bounded in lines and in bytes.
//!
//! Who has a line never waits: what finds no room is dropped, and counted. What is counted as queued includes what
//! is just being written, so the bounds are those of all memory that lines take.

use super::super::names::{Metric, label_values};
use super::super::registry::{Value, Visit};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use tokio::sync::{Notify, oneshot};

label_values! {
    /// Why a line was dropped (label `reason` of `mesh_access_log_lines_dropped_total`).
    pub(super) enum Drop {
        /// There was no room for it.
        QueueFull = "queue_full",
        /// It could not be written.
        WriteFailed = "write_failed",
        /// Nobody writes any more.
        Ended = "ended",
    }
}

/// What goes to the thread that writes.
pub(super) enum Item {
    /// A line, with its line feed.
    Line(Box<[u8]>),
    /// Everything before it is to be written; then this is told.
    Flush(oneshot::Sender<()>),
    /// There is something to do beside lines.
    Wake,
}

/// The end that calls have.
pub(super) struct Queue {
    sender: SyncSender<Item>,
    state: Arc<State>,
}

/// What both ends know, and metrics.
pub(crate) struct State {
    max_lines: usize,
    max_bytes: usize,
    bytes: AtomicUsize,
    entered: AtomicU64,
    left: AtomicU64,
    written: AtomicU64,
    dropped: [AtomicU64; Drop::ALL.len()],
    reopen: AtomicBool,
    /// Lines have left.
    room: Notify,
}

impl Queue {
    /// An empty queue, and the end that the writer has.
    pub(super) fn new(max_lines: usize, max_bytes: usize) -> (Self, Receiver<Item>) {
        // Room for at least one line, or the channel would wait for its reader.
        let (sender, receiver) = sync_channel(max_lines.max(1));
        let state = Arc::new(State {
            max_lines,
            max_bytes,
            bytes: AtomicUsize::new(0),
            entered: AtomicU64::new(0),
            left: AtomicU64::new(0),
            written: AtomicU64::new(0),
            dropped: Default::default(),
            reopen: AtomicBool::new(false),
            room: Notify::new(),
        });
        (Self { sender, state }, receiver)
    }

    /// What both ends know.
    pub(super) const fn state(&self) -> &Arc<State> {
        &self.state
    }

    /// Queues a line, or drops it.
    pub(super) fn push(&self, line: &[u8]) {
        let state = &*self.state;
        let queued = usize::try_from(state.queued()).unwrap_or(usize::MAX);
        let bytes = state.bytes.fetch_add(line.len(), Ordering::Relaxed);
        if queued >= state.max_lines || bytes.saturating_add(line.len()) > state.max_bytes {
            state.bytes.fetch_sub(line.len(), Ordering::Relaxed);
            return state.dropped(Drop::QueueFull, 1);
        }
        let why = match self.sender.try_send(Item::Line(line.into())) {
            Ok(()) => {
                state.entered.fetch_add(1, Ordering::Relaxed);
                return;
            }
            Err(TrySendError::Full(_)) => Drop::QueueFull,
            Err(TrySendError::Disconnected(_)) => Drop::Ended,
        };
        state.bytes.fetch_sub(line.len(), Ordering::Relaxed);
        state.dropped(why, 1);
    }

    /// The sink is to begin anew.
    pub(super) fn reopen(&self) {
        self.state.reopen.store(true, Ordering::Release);
        // A queue that is full is being written: its writer looks.
        let _told_or_busy = self.sender.try_send(Item::Wake);
    }

    /// Waits until everything that is queued now is written or dropped.
    pub(super) async fn flush(&self) {
        let (told, flushed) = oneshot::channel();
        let mut item = Item::Flush(told);
        loop {
            let room = self.state.room.notified();
            item = match self.sender.try_send(item) {
                Ok(()) => break,
                Err(TrySendError::Full(item)) => item,
                Err(TrySendError::Disconnected(_)) => return,
            };
            room.await;
        }
        let _flushed_or_ended = flushed.await;
    }
}

impl State {
    /// How many lines wait, or are being written.
    pub(super) fn queued(&self) -> u64 {
        let left = self.left.load(Ordering::Relaxed);
        // A line may leave before it is counted as entered.
        self.entered.load(Ordering::Relaxed).saturating_sub(left)
    }

    /// How many lines were written.
    pub(super) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// How many lines were dropped.
    pub(super) fn all_dropped(&self) -> u64 {
        self.dropped.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// Lines of so many bytes together have left; `dropped`: unwritten.
    pub(super) fn left(&self, lines: u64, bytes: usize, dropped: Option<Drop>) {
        match dropped {
            Some(why) => self.dropped(why, lines),
            None => {
                self.written.fetch_add(lines, Ordering::Relaxed);
            }
        }
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.left.fetch_add(lines, Ordering::Relaxed);
        self.room.notify_waiters();
    }

    /// Whether the sink is to begin anew; asked once.
    pub(super) fn takes_reopen(&self) -> bool {
        self.reopen.swap(false, Ordering::Acquire)
    }

    fn dropped(&self, why: Drop, lines: u64) {
        self.dropped[why as usize].fetch_add(lines, Ordering::Relaxed);
    }
}

/// A log with one line that waits and one that was dropped, for the tests of exporters.
#[cfg(test)]
pub(crate) fn counted() -> Arc<State> {
    let (queue, _receiver) = Queue::new(1, 10);
    queue.push(b"1\n");
    queue.push(b"2\n");
    Arc::clone(queue.state())
}

/// Gives `visit` all series of `metric`, of all logs together.
pub(crate) fn visit(logs: &[Arc<State>], metric: Metric, visit: &mut Visit<'_>) {
    if logs.is_empty() {
        return;
    }
    let sum = |of: &dyn Fn(&State) -> u64| Value::Number(logs.iter().map(|log| of(log)).sum());
    match metric {
        Metric::AccessLogWritten => visit(&[], sum(&State::written)),
        Metric::AccessLogQueued => visit(&[], sum(&State::queued)),
        Metric::AccessLogDropped => {
            for why in Drop::ALL {
                let of = |log: &State| log.dropped[*why as usize].load(Ordering::Relaxed);
                visit(&[why.as_str()], sum(&of));
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(state: &State, queued: u64, bytes: usize, dropped: [u64; 3]) {
        assert_eq!(state.queued(), queued);
        assert_eq!(state.bytes.load(Ordering::Relaxed), bytes);
        let counts = [&state.dropped[0], &state.dropped[1], &state.dropped[2]];
        assert_eq!(counts.map(|count| count.load(Ordering::Relaxed)), dropped);
    }

    #[test]
    fn lines_are_bounded_in_number_and_in_bytes() {
        let (queue, receiver) = Queue::new(3, 10);
        let state = Arc::clone(queue.state());
        queue.push(b"12345\n");
        queue.push(b"12345\n");
        check(&state, 1, 6, [1, 0, 0]);
        queue.push(b"1\n");
        queue.push(b"\n");
        queue.push(b"\n");
        check(&state, 3, 9, [2, 0, 0]);
        // What is being written counts still.
        assert!(matches!(receiver.recv(), Ok(Item::Line(line)) if *line == *b"12345\n"));
        queue.push(b"\n");
        check(&state, 3, 9, [3, 0, 0]);
        state.left(1, 6, None);
        queue.push(b"\n");
        check(&state, 3, 4, [3, 0, 0]);
        state.left(3, 4, Some(Drop::WriteFailed));
        assert_eq!((state.written(), state.all_dropped()), (1, 6));
        drop(receiver);
        queue.push(b"\n");
        check(&state, 0, 0, [3, 3, 1]);
    }

    #[test]
    fn a_queue_without_room_takes_nothing_and_does_not_wait() {
        for (lines, bytes) in [(0, 10), (10, 0)] {
            let (queue, _receiver) = Queue::new(lines, bytes);
            queue.push(b"1\n");
            check(queue.state(), 0, 0, [1, 0, 0]);
        }
    }

    #[test]
    fn to_reopen_is_said_once() {
        let (queue, receiver) = Queue::new(1, 10);
        queue.reopen();
        queue.reopen();
        assert!(queue.state().takes_reopen());
        assert!(!queue.state().takes_reopen());
        assert!(matches!(receiver.try_recv(), Ok(Item::Wake)));
    }

    #[tokio::test]
    async fn flushing_without_a_writer_ends() {
        let (queue, receiver) = Queue::new(1, 10);
        let flushed = tokio::join!(queue.flush(), async { drop(receiver) });
        assert_eq!(flushed, ((), ()));
        queue.flush().await;
    }
}
