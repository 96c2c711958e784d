//! The control plane of `--xds`: the tool's `mesh ads`, a process of its own, on the same file.

use super::BoxError;
use mesh_tower::source::Bootstrap;
use parking_lot::Mutex;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

/// How long it may take until it listens: it has a file to read.
const START: Duration = Duration::from_secs(10);

/// `mesh ads` while it runs. It ends when dropped.
#[derive(Debug)]
pub(crate) struct Ads {
    address: SocketAddr,
    /// What it says on standard error.
    log: Arc<Mutex<Vec<String>>>,
    _output: Lines<BufReader<ChildStdout>>,
    _child: Child,
}

impl Ads {
    /// Starts `mesh ads` of this `tool`; it serves `file` and follows it.
    pub(crate) async fn start(tool: &Path, file: &Path) -> Result<Self, BoxError> {
        let mut child = Command::new(tool)
            .args(["ads", "--listen", "127.0.0.1:0"])
            .arg(file)
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("{}: {error}", tool.display()))?;
        let log = Arc::<Mutex<Vec<String>>>::default();
        let errors = BufReader::new(child.stderr.take().ok_or("no standard error")?);
        tokio::spawn(collect(errors.lines(), Arc::clone(&log)));
        let output = BufReader::new(child.stdout.take().ok_or("no standard output")?);
        let mut output = output.lines();
        let first = tokio::time::timeout(START, output.next_line()).await??;
        let first = first.ok_or_else(|| format!("mesh ads ended: {}", log.lock().join("\n")))?;
        let address = first.strip_prefix("listening on ").ok_or_else(|| first.clone())?;
        Ok(Self { address: address.parse()?, log, _output: output, _child: child })
    }

    /// Where it is, for clients: what gRPC's would find in their bootstrap file.
    pub(crate) fn bootstrap(&self) -> Result<Bootstrap, BoxError> {
        Ok(Bootstrap::parse(&format!(
            r#"{{ "xds_servers": [{{ "server_uri": "{}", "channel_creds": [{{ "type": "insecure" }}] }}],
                 "node": {{ "id": "quickstart" }} }}"#,
            self.address
        ))?)
    }

    /// The first line of its log that has `part`.
    pub(crate) fn said(&self, part: &str) -> Option<String> {
        self.log.lock().iter().find(|line| line.contains(part)).cloned()
    }
}

async fn collect(
    mut lines: Lines<BufReader<tokio::process::ChildStderr>>,
    log: Arc<Mutex<Vec<String>>>,
) {
    while let Ok(Some(line)) = lines.next_line().await {
        log.lock().push(line);
    }
}

/// The tool beside this example; cargo builds it if it is not there, or is older than its sources.
pub(crate) async fn tool() -> Result<PathBuf, BoxError> {
    let example = std::env::current_exe()?;
    // target/release/examples/quickstart
    let directory = example.ancestors().nth(2).ok_or("this example is in no target directory")?;
    let target = directory.parent().ok_or("this example is in no target directory")?;
    let profile = match directory.file_name().and_then(|name| name.to_str()) {
        None | Some("debug") => "dev",
        Some(name) => name,
    };
    let status = Command::new(env!("CARGO"))
        .arg("build")
        // Together: by itself the tool's dependencies would have other features, and be built once more.
        .args(["--quiet", "--bin", "mesh", "--example", "quickstart", "--profile", profile])
        .args(["--manifest-path", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")])
        .arg("--target-dir")
        .arg(target)
        .status()
        .await
        .map_err(|error| format!("no cargo to build `mesh` with: {error}; give --mesh PATH"))?;
    if !status.success() {
        return Err(format!("`mesh` can't be built: {status}; give --mesh PATH").into());
    }
    Ok(directory.join("mesh"))
}
