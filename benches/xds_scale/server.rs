//! The control plane, in a process of its own: it does what it is told by lines on its standard input.
//!
//! `change N` changes one endpoint of cluster N and answers with the time before, how long it took to
//! publish, and how often was changed so far; `stat` answers with CPU time, memory and the bytes that went
//! each way. It ends with its input.

use crate::measure;
use crate::world::{self, World};
use mesh_xds::server::{AdsServer, Snapshot};
use std::io::{BufRead as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

/// Serves until its input ends.
pub(crate) fn run(world: World) {
    let runtime = Runtime::new().expect("a runtime");
    let begun = Instant::now();
    let mut update = world.update();
    let built = begun.elapsed();
    let begun = Instant::now();
    let mut snapshot = Arc::new(Snapshot::of(&update, []));
    let encoded = begun.elapsed();
    let server = AdsServer::new(Arc::clone(&snapshot));
    let bytes: [Arc<AtomicU64>; 2] = Default::default();
    let address = runtime.block_on(serve(&server, &bytes));
    let [resident, _] = measure::memory();
    say(&format!("{address} {} {} {resident}", built.as_millis(), encoded.as_millis()));
    let mut changed = 0;
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("a line");
        match line.split_once(' ') {
            Some((_, number)) => {
                changed += 1;
                let number: u32 = number.parse().expect("a number");
                let name = world::cluster(number);
                let cluster = update.clusters.get_mut(&*name).expect("a cluster");
                cluster.endpoints = Some(Arc::new(world.assignment(number, changed)));
                let (at, begun) = (measure::wall(), Instant::now());
                snapshot = Arc::new(snapshot.next(&update, []));
                server.publish(Arc::clone(&snapshot));
                say(&format!("{at} {} {changed}", begun.elapsed().as_micros()));
            }
            None => {
                let [resident, highest] = measure::memory();
                let [down, up] = [0, 1].map(|way: usize| bytes[way].load(Ordering::Relaxed));
                let cpu = measure::cpu().as_micros();
                say(&format!("{cpu} {resident} {highest} {down} {up}"));
            }
        }
    }
}

/// Serves in the background, behind a relay that counts bytes.
async fn serve(server: &AdsServer, bytes: &[Arc<AtomicU64>; 2]) -> std::net::SocketAddr {
    let inner = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let outer = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let (to, address) = (inner.local_addr(), outer.local_addr().expect("an address"));
    let (to, server, bytes) = (to.expect("an address"), server.clone(), bytes.clone());
    tokio::spawn(async move { server.serve(inner, std::future::pending()).await });
    tokio::spawn(async move {
        loop {
            let (client, _) = outer.accept().await.expect("a connection");
            let control = TcpStream::connect(to).await.expect("the control plane");
            for stream in [&client, &control] {
                stream.set_nodelay(true).expect("an open socket");
            }
            let (from_client, to_client) = client.into_split();
            let (from_control, to_control) = control.into_split();
            let [down, up] = bytes.clone();
            tokio::spawn(relay(from_control, to_client, down));
            tokio::spawn(relay(from_client, to_control, up));
        }
    });
    address
}

async fn relay(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    bytes: Arc<AtomicU64>,
) {
    let mut buffer = vec![0; 256 << 10];
    while let Ok(read) = from.read(&mut buffer).await
        && read > 0
        && to.write_all(&buffer[..read]).await.is_ok()
    {
        bytes.fetch_add(read as u64, Ordering::Relaxed);
    }
}

fn say(line: &str) {
    println!("{line}");
    std::io::stdout().flush().expect("somebody listens");
}
