//! [`Wire`]: a connection's frames, which its own task turns, and at times a call.
//!
//! A turn hands what has come to the calls, and lets out what they have queued. When many calls are woken at once, as by
//! one read, all of them queue their next requests before the connection's task comes to run: the server would get the
//! first of them with the last, and do nothing until then. So a call that finds half of all queued turns the connection
//! itself, and the server works on that half while the calls prepare the other.
//!
//! Nobody waits for a turn: who finds it taken leaves a word for who has it.

use crate::connect::io::NetIo;
use crate::corked::{Cork, Corked};
use bytes::Bytes;
use h2::client::Connection;
use parking_lot::{Mutex, MutexGuard};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering, fence};
use std::task::{Context, Poll, Waker};

/// The fewest requests that a call lets out itself: with fewer, the write and the server's waking would be a good part
/// of what each costs.
const FEWEST: u32 = 8;

/// After so many it does in any case.
const MOST: u32 = 64;

/// After how many queued requests a call does not wait for the connection's task, with so many streams in use.
fn enough(active: u32) -> u32 {
    active.div_ceil(2).clamp(FEWEST, MOST)
}

/// A connection's frames.
pub(super) struct Wire {
    turn: Mutex<Turn>,
    /// Requests since the last turn. Calls on several threads may miss some of each other's: that turn comes later.
    queued: AtomicU32,
    /// What is to be done after a turn, for who found it taken: one of the words below.
    word: AtomicU8,
    /// Its peer takes nothing more.
    is_deaf: AtomicBool,
}

const NOTHING: u8 = 0;
/// The connection's task is to be woken.
const WAKE: u8 = 1;
/// The connection is to be dropped.
const CLOSE: u8 = 2;
/// The connection's task has had no turn: before, nobody else has one, as that task is not known.
const UNBEGUN: u8 = 3;

struct Turn {
    /// `None`: it is closed. Behind a `dyn`, so that what holds a connection is no deeper a type by it.
    frames: Option<Box<dyn Frames>>,
    /// The connection's own task, whoever turns it; `None`: it had no turn yet.
    task: Option<Waker>,
    /// It had its last turn.
    is_over: bool,
    /// How it ended in a call's turn.
    ended: Option<Ended>,
}

/// What is turned.
trait Frames: Send {
    /// One turn; `Some`: it was the last.
    fn turn(&mut self, cx: &mut Context<'_>) -> Option<Ended>;

    /// How many streams the peer takes; `None`: nothing more, its stream is broken.
    fn limit(&self) -> Option<usize>;
}

/// A connection of `h2`, and what lets out what it writes.
struct H2Frames {
    connection: Connection<Corked<NetIo>, Bytes>,
    cork: Cork<NetIo>,
    is_deaf: bool,
}

/// Why a connection is over, in the words of HTTP/2.
pub(super) type Ended = Result<(), h2::Error>;

/// What the connection's task finds.
pub(super) enum Turned {
    /// It goes on, and its peer takes so many streams.
    On { limit: usize },
    /// Its peer takes nothing more; what it has said is still read.
    Deaf,
    /// A call turns it right now; the task is woken after that.
    Elsewhere,
    /// It is over.
    Ended(Ended),
}

impl Wire {
    pub(super) fn new(connection: Connection<Corked<NetIo>, Bytes>, cork: Cork<NetIo>) -> Self {
        Self::of(Box::new(H2Frames { connection, cork, is_deaf: false }))
    }

    fn of(frames: Box<dyn Frames>) -> Self {
        let turn = Turn { frames: Some(frames), task: None, is_over: false, ended: None };
        let (queued, word) = (AtomicU32::new(0), AtomicU8::new(UNBEGUN));
        Self { turn: Mutex::new(turn), queued, word, is_deaf: AtomicBool::new(false) }
    }

    /// The turn of the connection's own task.
    pub(super) fn turn(&self, cx: &mut Context<'_>) -> Turned {
        let Some(mut turn) = self.take(WAKE) else { return Turned::Elsewhere };
        if turn.task.is_none() {
            self.word.store(NOTHING, Ordering::SeqCst);
        }
        if !turn.task.as_ref().is_some_and(|task| task.will_wake(cx.waker())) {
            turn.task = Some(cx.waker().clone());
        }
        self.queued.store(0, Ordering::Relaxed);
        if let Some(ended) = turn.poll(cx).or_else(|| turn.ended.take()) {
            return Turned::Ended(ended);
        }
        match turn.frames.as_ref().map(|frames| frames.limit()) {
            Some(Some(limit)) => Turned::On { limit },
            Some(None) => {
                self.is_deaf.store(true, Ordering::Relaxed);
                Turned::Deaf
            }
            None => Turned::Ended(Ok(())),
        }
    }

    /// Whether its peer takes nothing more: what is sent on it is lost.
    pub(super) fn is_deaf(&self) -> bool {
        self.is_deaf.load(Ordering::Relaxed)
    }

    /// The turn, or who has it finds `word`.
    fn take(&self, word: u8) -> Option<MutexGuard<'_, Turn>> {
        self.turn.try_lock().or_else(|| {
            self.word.store(word, Ordering::SeqCst);
            // Pairs with that of `turn_early`: either it was let go of, and is had now, or the word is found.
            fence(Ordering::SeqCst);
            self.turn.try_lock()
        })
    }

    /// A request was queued on a connection that has so many streams in use.
    pub(super) fn queued(&self, active: u32) {
        let queued = self.queued.load(Ordering::Relaxed).saturating_add(1);
        self.queued.store(queued, Ordering::Relaxed);
        if queued >= enough(active) && self.word.load(Ordering::SeqCst) != UNBEGUN {
            self.turn_early();
        }
    }

    #[inline(never)]
    fn turn_early(&self) {
        let Some(mut turn) = self.turn.try_lock() else { return };
        let Some(task) = turn.task.clone() else { return };
        self.queued.store(0, Ordering::Relaxed);
        // What it waits for wakes the connection's task.
        if let Some(ended) = turn.poll(&mut Context::from_waker(&task)) {
            turn.ended = Some(ended);
        }
        let is_deaf = turn.frames.as_ref().is_some_and(|frames| frames.limit().is_none());
        // Before the task knows: until then calls may come.
        self.is_deaf.store(is_deaf, Ordering::Relaxed);
        let is_over = turn.is_over || is_deaf;
        drop(turn);
        fence(Ordering::SeqCst);
        match self.word.swap(NOTHING, Ordering::SeqCst) {
            CLOSE => self.close(),
            WAKE => task.wake(),
            _ if is_over => task.wake(),
            _ => {}
        }
    }

    /// The connection's task is gone, and with it the connection.
    pub(super) fn close(&self) {
        let frames = self.take(CLOSE).and_then(|mut turn| turn.frames.take());
        drop(frames);
    }
}

impl Turn {
    /// One turn, unless it is over; `Some`: it was the last.
    fn poll(&mut self, cx: &mut Context<'_>) -> Option<Ended> {
        let frames = self.frames.as_mut().filter(|_| !self.is_over)?;
        let ended = frames.turn(cx);
        self.is_over = ended.is_some();
        ended
    }
}

impl Frames for H2Frames {
    fn turn(&mut self, cx: &mut Context<'_>) -> Option<Ended> {
        loop {
            let ended = Pin::new(&mut self.connection).poll(cx);
            // Also what it said last.
            let out = self.cork.poll_out(cx);
            match (ended, out) {
                (Poll::Ready(ended), _) => return Some(ended),
                (Poll::Pending, Poll::Ready(Err(error))) => {
                    tracing::debug!(%error, "HTTP/2 connection takes nothing more");
                    self.is_deaf = true;
                }
                (Poll::Pending, _) => return None,
            }
        }
    }

    fn limit(&self) -> Option<usize> {
        (!self.is_deaf).then(|| self.connection.max_concurrent_send_streams())
    }
}

#[cfg(test)]
mod tests;
