//! Signals that come, by their numbers.

use crate::cli::Failure;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGHUP.
pub(super) const HANGUP: i32 = 1;

/// SIGINT, of Ctrl-C.
const INTERRUPT: i32 = 2;

/// SIGQUIT, of Ctrl-\.
const QUIT: i32 = 3;

/// SIGTERM.
pub(super) const TERMINATE: i32 = 15;

/// A signal that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Came {
    /// One that ends the proxy.
    Ending(i32),
    /// One that does not.
    Other(i32),
}

/// Those that end the proxy, and those that are for the command.
#[derive(Debug)]
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    quit: Signal,
    user1: Signal,
    user2: Signal,
}

impl Signals {
    pub(super) fn new() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind)
                .map_err(|error| Failure::new("signal", format!("can't wait for signals: {error}")))
        };
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup: listen(SignalKind::hangup())?,
            quit: listen(SignalKind::quit())?,
            user1: listen(SignalKind::user_defined1())?,
            user2: listen(SignalKind::user_defined2())?,
        })
    }

    /// Waits for the next.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(super) async fn next(&mut self) -> Came {
        let (ends, kind) = tokio::select! {
            _ = self.interrupt.recv() => (true, SignalKind::interrupt()),
            _ = self.terminate.recv() => (true, SignalKind::terminate()),
            _ = self.hangup.recv() => (false, SignalKind::hangup()),
            _ = self.quit.recv() => (false, SignalKind::quit()),
            _ = self.user1.recv() => (false, SignalKind::user_defined1()),
            _ = self.user2.recv() => (false, SignalKind::user_defined2()),
        };
        if ends { Came::Ending(kind.as_raw_value()) } else { Came::Other(kind.as_raw_value()) }
    }
}

/// Whether keys of a terminal send it, to all that run in its foreground.
pub(super) const fn is_of_keys(signal: i32) -> bool {
    matches!(signal, INTERRUPT | QUIT)
}

/// The exit code of who ended by a signal, as shells say it.
pub(super) fn code(signal: i32) -> u8 {
    u8::try_from(signal).map_or(u8::MAX, |signal| signal.saturating_add(128))
}

/// How it is called.
pub(super) fn name(signal: i32) -> String {
    match signal {
        INTERRUPT => "SIGINT".to_owned(),
        TERMINATE => "SIGTERM".to_owned(),
        other => other.to_string(),
    }
}
