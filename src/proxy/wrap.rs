//! The command that a proxy is around.

use super::signals;
use crate::cli::Failure;
use rustix::process::{Pid, Signal, getpgrp, kill_process};
use rustix::termios::tcgetpgrp;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use tokio::process::{Child, Command};

/// A command that runs.
#[derive(Debug)]
pub(super) struct Wrapped(Child);

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ended(ExitStatus);

impl Ended {
    /// Its exit code; of one that a signal ended, 128 and its number.
    pub(super) fn code(self) -> u8 {
        let code = self.0.code().map(|code| u8::try_from(code).unwrap_or(u8::MAX));
        code.or_else(|| self.0.signal().map(signals::code)).unwrap_or(u8::MAX)
    }
}

impl Wrapped {
    /// Runs `program`. It has our environment, directory, input and output.
    pub(super) fn start(program: &OsString, arguments: &[OsString]) -> Result<Self, Failure> {
        let mut command = Command::new(program);
        // It goes with us if we are killed by a panic; by SIGKILL nobody is told.
        command.args(arguments).kill_on_drop(true);
        let started = command.spawn().map_err(|error| {
            let program = program.to_string_lossy();
            Failure::new("command", format!("can't run `{program}`: {error}"))
        });
        started.map(Self)
    }

    /// Waits until it has ended.
    pub(super) async fn ended(&mut self) -> Result<Ended, Failure> {
        let failed =
            |error| Failure::new("command", format!("can't wait for the command: {error}"));
        self.0.wait().await.map(Ended).map_err(failed)
    }

    /// Passes a signal on; to one that has ended, nothing, and nothing that the terminal has given it itself.
    pub(super) fn signal(&self, signal: i32) {
        if signals::is_of_keys(signal) && is_in_foreground() {
            return;
        }
        let pid = self.0.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        if let (Some(pid), Some(signal)) = (pid, Signal::from_named_raw(signal)) {
            // It may have ended just now.
            let _gone = kill_process(pid, signal).is_err();
        }
    }

    /// Ends it at once.
    pub(super) fn kill(&mut self) {
        let _gone = self.0.start_kill().is_err();
    }
}

/// Whether keys of the terminal signal all that run with us, the command too: it is in our process group.
///
/// The terminal is one of the three, or `/dev/tty`, which some containers don't have.
fn is_in_foreground() -> bool {
    let is_ours = |terminal: BorrowedFd<'_>| tcgetpgrp(terminal) == Ok(getpgrp());
    is_ours(io::stdin().as_fd())
        || is_ours(io::stdout().as_fd())
        || is_ours(io::stderr().as_fd())
        || File::open("/dev/tty").is_ok_and(|terminal| is_ours(terminal.as_fd()))
}
