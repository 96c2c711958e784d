//! The processes beside the client: the server, and Envoy.
//!
//! Both end when their stdin ends, which the kernel sees to even when this process is killed.

use crate::BoxError;
use crate::echo::{SERVICE, TIMEOUT};
use crate::serve::{Addresses, Seen};
use serde::de::DeserializeOwned;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

/// The server's process.
pub struct Server {
    process: Process,
    /// Where it listens.
    pub addresses: Addresses,
}

impl Server {
    /// Starts it.
    pub async fn start() -> Result<Self, BoxError> {
        let mut process = Process::start(&["serve".to_owned()])?;
        let addresses = process.answer().await?;
        Ok(Self { process, addresses })
    }

    /// What it has seen since the last question.
    pub async fn seen(&mut self) -> Result<Seen, BoxError> {
        self.process.ask().await?;
        self.process.answer().await
    }

    /// Ends it.
    pub async fn end(self) -> Result<(), BoxError> {
        self.process.end().await
    }
}

/// Envoy as a sidecar would run it: one hop to one endpoint.
pub struct Envoy {
    process: Process,
    /// Its process id.
    pub id: u32,
    /// Where it listens.
    pub address: SocketAddr,
    /// What it says that it is.
    pub version: String,
}

impl Envoy {
    /// Starts it in front of `upstream`, and waits until it listens.
    pub async fn start(upstream: SocketAddr) -> Result<Self, BoxError> {
        let program = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(".peers/bin/envoy");
        if !program.exists() {
            let folder = env!("CARGO_MANIFEST_DIR");
            return Err(format!("Envoy is not installed: run {folder}/peers.sh").into());
        }
        let program = program.to_string_lossy().into_owned();
        let version = timeout(PATIENCE, Command::new(&program).arg("--version").output()).await??;
        let version = String::from_utf8_lossy(&version.stdout);
        // …/<commit>/1.40.0/Clean/RELEASE/BoringSSL
        let version = version.rsplit('/').nth(3).unwrap_or("?").to_owned();
        let address = unused_address().await?;
        let config = config(address, upstream).to_string();
        let arguments = ["keep", &program, "--config-yaml", &config];
        let options = ["--concurrency", "1", "--disable-hot-restart", "--log-level", "error"];
        let arguments = arguments.into_iter().chain(options).map(str::to_owned);
        let mut process = Process::start(&arguments.collect::<Vec<_>>())?;
        let id = process.answer().await?;
        let listening = async {
            while TcpStream::connect(address).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, listening).await.map_err(|_| "Envoy does not listen after 15 s")?;
        Ok(Self { process, id, address, version })
    }

    /// Ends it.
    pub async fn end(self) -> Result<(), BoxError> {
        self.process.end().await
    }
}

/// This binary, run again; asked and answering by lines.
struct Process {
    child: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Process {
    fn start(arguments: &[String]) -> Result<Self, BoxError> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdin = child.stdin.take().ok_or("no stdin")?;
        let stdout = child.stdout.take().ok_or("no stdout")?;
        Ok(Self { child, stdin, lines: BufReader::new(stdout).lines() })
    }

    async fn ask(&mut self) -> Result<(), BoxError> {
        self.stdin.write_all(b"\n").await?;
        Ok(self.stdin.flush().await?)
    }

    async fn answer<T: DeserializeOwned>(&mut self) -> Result<T, BoxError> {
        let line = timeout(PATIENCE, self.lines.next_line()).await;
        let line = line.map_err(|_| "a child process does not answer after 15 s")??;
        Ok(serde_json::from_str(&line.ok_or("a child process has ended")?)?)
    }

    async fn end(self) -> Result<(), BoxError> {
        let Self { mut child, stdin, lines } = self;
        drop((stdin, lines));
        match timeout(PATIENCE, child.wait()).await {
            Ok(status) => drop(status?),
            Err(_) => child.kill().await?,
        }
        Ok(())
    }
}

/// An address that nobody listens at.
async fn unused_address() -> Result<SocketAddr, BoxError> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?.local_addr()?)
}

/// The same work as ours: timeout, breaker, outlier detection, least request; statistics are always
/// on. What Envoy adds to requests is left out, so that the server sees the same headers.
fn config(listen: SocketAddr, upstream: SocketAddr) -> serde_json::Value {
    let address = |address: SocketAddr| {
        serde_json::json!({ "socket_address": {
            "address": address.ip().to_string(), "port_value": address.port(),
        }})
    };
    let extension = |name: &str| format!("type.googleapis.com/envoy.extensions.{name}");
    let connection_manager = serde_json::json!({
        "@type": extension("filters.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": SERVICE,
        "codec_type": "HTTP2",
        "generate_request_id": false,
        "route_config": {
            "request_headers_to_remove": ["x-forwarded-proto"],
            "virtual_hosts": [{
                "name": SERVICE, "domains": ["*"],
                "routes": [{ "match": { "prefix": "/" }, "route": {
                    "cluster": SERVICE, "timeout": format!("{}s", TIMEOUT.as_secs()),
                }}],
            }],
        },
        "http_filters": [{ "name": "envoy.filters.http.router", "typed_config": {
            "@type": extension("filters.http.router.v3.Router"), "suppress_envoy_headers": true,
        }}],
    });
    let http2 = serde_json::json!({ "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": extension("upstreams.http.v3.HttpProtocolOptions"),
        "explicit_http_config": { "http2_protocol_options": {} },
    }});
    serde_json::json!({ "static_resources": {
        "listeners": [{ "name": SERVICE, "address": address(listen), "filter_chains": [{
            "filters": [{
                "name": "envoy.filters.network.http_connection_manager",
                "typed_config": connection_manager,
            }],
        }]}],
        "clusters": [{
            "name": SERVICE, "type": "STATIC", "lb_policy": "LEAST_REQUEST",
            "outlier_detection": {}, "circuit_breakers": {},
            "typed_extension_protocol_options": http2,
            "load_assignment": { "cluster_name": SERVICE, "endpoints": [{
                "lb_endpoints": [{ "endpoint": { "address": address(upstream) } }],
            }]},
        }],
    }})
}

/// How long a child may take to start, to answer or to end.
const PATIENCE: Duration = Duration::from_secs(15);
