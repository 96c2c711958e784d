//! Processes: what they say, what they use, and that they are still there.

use parking_lot::Mutex;
use std::fmt;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long anything may take to start, or to end.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// How many of the last lines are kept.
const LAST: usize = 200;

/// A running process; killed when dropped.
pub(crate) struct Process {
    pub(crate) name: String,
    child: Child,
    complaints: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}

impl Process {
    /// Starts it; what it writes to its standard error is kept. Its standard input is ours to write to, its standard
    /// output is `out`.
    pub(crate) fn start(name: &str, command: &mut Command, out: Stdio) -> Self {
        command.stdin(Stdio::piped()).stdout(out).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let complaints = Arc::new(Mutex::new(Vec::new()));
        let (kept, errors) = (Arc::clone(&complaints), child.stderr.take().unwrap());
        let reader = thread::spawn(move || {
            for line in BufReader::new(errors).split(b'\n').map_while(Result::ok) {
                let mut kept = kept.lock();
                if kept.len() == LAST {
                    kept.remove(LAST / 2);
                }
                kept.push(String::from_utf8_lossy(&line).into_owned());
            }
        });
        Self { name: name.to_owned(), child, complaints, reader: Some(reader) }
    }

    pub(crate) fn take_output(&mut self) -> std::process::ChildStdout {
        self.child.stdout.take().unwrap()
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Writes a line to its standard input.
    pub(crate) fn tell(&mut self, line: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Sends it a signal, such as `STOP`.
    pub(crate) fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", signal, &id]).status();
        assert!(sent.unwrap().success(), "{signal} to {}", self.name);
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits until it accepts at `address`.
    pub(crate) fn listens(&mut self, address: SocketAddr) {
        let until = Instant::now() + PATIENCE;
        while TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_err() {
            let (ended, complaints) = (self.ended(), self.complaints().join("\n"));
            let name = &self.name;
            assert!(ended.is_none(), "{name} ended: {ended:?}: {complaints}");
            assert!(Instant::now() < until, "{name} does not listen on {address}: {complaints}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Whether it has ended, and how.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits until it has ended.
    pub(crate) fn wait(&mut self, patience: Duration) -> Option<ExitStatus> {
        let until = Instant::now() + patience;
        loop {
            let status = self.ended();
            if status.is_some() || Instant::now() > until {
                if status.is_some()
                    && let Some(reader) = self.reader.take()
                {
                    let _joined = reader.join();
                }
                return status;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// What it wrote to its standard error last.
    pub(crate) fn complaints(&self) -> Vec<String> {
        self.complaints.lock().clone()
    }

    pub(crate) fn figures(&self) -> Figures {
        Figures::of(self.id())
    }
}

/// What a process uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Figures {
    /// Its resident memory, in KiB.
    pub(crate) memory: u64,
    pub(crate) descriptors: u64,
    pub(crate) threads: u64,
}

impl Figures {
    fn of(pid: u32) -> Self {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
        };
        let descriptors =
            fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, |all| all.count() as u64);
        Self { memory: field("VmRSS:"), descriptors, threads: field("Threads:") }
    }

    pub(crate) fn most(self, other: Self) -> Self {
        Self {
            memory: self.memory.max(other.memory),
            descriptors: self.descriptors.max(other.descriptors),
            threads: self.threads.max(other.threads),
        }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let memory = self.memory as f64 / 1024.0;
        write!(f, "{memory:.1} MiB, {} descriptors, {} threads", self.descriptors, self.threads)
    }
}
