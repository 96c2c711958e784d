//! The peers as processes, which end with the test.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a peer may take to start.
const STARTUP: Duration = Duration::from_secs(20);

/// What `tests/interop/install` made: `name` in its directory.
pub(crate) fn installed(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/.peers").join(name);
    assert!(path.exists(), "{} is missing: run tests/interop/install", path.display());
    path
}

/// A file of the peers in the tree.
pub(crate) fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/peers").join(name)
}

/// A running peer; killed when dropped.
pub(crate) struct Peer {
    child: Child,
    /// The ports that it listens on, in the order in which it says them.
    pub(crate) ports: Vec<u16>,
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}

impl Peer {
    /// Starts a peer that chooses its ports and says `listening PORT...` on its first line.
    pub(crate) fn that_says_its_ports(command: &mut Command) -> Self {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ports = line.strip_prefix("listening ").unwrap_or_else(|| panic!("it said {line:?}"));
        let ports = ports.split_whitespace().map(|port| port.parse().unwrap()).collect();
        Self { child, ports }
    }

    /// Starts a peer that was told its `ports`, and waits until it accepts on all of them.
    pub(crate) fn on_ports(command: &mut Command, ports: Vec<u16>) -> Self {
        let child = command.stdin(Stdio::null()).spawn();
        let child = child.unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut peer = Self { child, ports };
        let deadline = Instant::now() + STARTUP;
        for port in peer.ports.clone() {
            while TcpStream::connect(("127.0.0.1", port)).is_err() {
                let status = peer.child.try_wait().unwrap();
                assert!(status.is_none(), "{command:?} ended: {status:?}");
                assert!(Instant::now() < deadline, "{command:?} does not listen on {port}");
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        peer
    }
}

/// Ports that nobody listens on now.
pub(crate) fn free_ports<const N: usize>() -> [u16; N] {
    let held = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    held.map(|listener| listener.local_addr().unwrap().port())
}

/// A directory for one run, removed when dropped.
pub(crate) struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _removed = fs::remove_dir_all(&self.0);
    }
}

impl Scratch {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("mesh-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Copies the template `from`, its words replaced, and says where to.
    pub(crate) fn fill(&self, from: &str, words: &[(&str, &str)]) -> PathBuf {
        let template = fs::read_to_string(source(from)).unwrap();
        let text = words.iter().fold(template, |text, (word, value)| text.replace(word, value));
        let path = self.0.join(Path::new(from).file_name().unwrap());
        fs::write(&path, text).unwrap();
        path
    }
}
