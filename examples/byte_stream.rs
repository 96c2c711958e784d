//! What is not HTTP: a byte stream to a cluster, and a port that passes connections on to it.
//!
//! `Mesh::connect` picks an endpoint as for calls, so the one that is down is passed over. `tcp::relay` lends that to a
//! program that knows nothing of the mesh.
//!
//! `cargo run --example byte_stream`

mod backend;

use backend::{BoxError, add_cluster};
use mesh_core::ConfigUpdate;
use mesh_core::model::{Cluster, Protocol};
use mesh_tower::Mesh;
use mesh_tower::tcp::{RelayOptions, relay};
use std::net::SocketAddr;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// A store that sends back what it is sent.
async fn store() -> Result<SocketAddr, BoxError> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut reader, mut writer) = stream.split();
                drop(tokio::io::copy(&mut reader, &mut writer).await);
            });
        }
    });
    Ok(address)
}

async fn ask(io: impl AsyncRead + AsyncWrite + Unpin, line: &str) -> Result<String, BoxError> {
    let mut io = BufReader::new(io);
    io.write_all(format!("{line}\n").as_bytes()).await?;
    let mut answer = String::new();
    io.read_line(&mut answer).await?;
    Ok(answer.trim_end().to_owned())
}

/// Passes whatever connects to this address on to the cluster.
async fn port(mesh: Mesh, cluster: &'static str) -> Result<SocketAddr, BoxError> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mesh = mesh.clone();
            tokio::spawn(async move {
                let Ok(mut endpoint) = mesh.connect(cluster).await else { return };
                relay(&mut client, &mut endpoint, RelayOptions::new()).await;
            });
        }
    });
    Ok(address)
}

/// What four questions are answered, two of them through the port; one of two endpoints is down.
pub(crate) async fn run() -> Result<Vec<String>, BoxError> {
    let down = TcpListener::bind("127.0.0.1:0").await?.local_addr()?;
    let mut cluster = Cluster::new("store");
    cluster.protocol = Protocol::Tcp;
    let mut update = ConfigUpdate::in_code();
    add_cluster(&mut update, cluster, &[down, store().await?]);
    let mesh = Mesh::builder().config(update).build()?;
    let mut answers = vec![ask(mesh.connect("store").await?, "get a").await?];
    answers.push(ask(mesh.connect("store").await?, "get b").await?);
    let port = port(mesh, "store").await?;
    for line in ["get c", "get d"] {
        answers.push(ask(TcpStream::connect(port).await?, line).await?);
    }
    Ok(answers)
}

#[tokio::main]
#[expect(clippy::print_stdout, reason = "a program that shows something")]
async fn main() -> Result<(), BoxError> {
    run().await?.iter().for_each(|answer| println!("{answer}"));
    Ok(())
}
