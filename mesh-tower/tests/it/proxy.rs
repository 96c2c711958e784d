//! A TCP proxy before a server, which can be told to misbehave.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// What a proxy does, to new connections and to those that are open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Passes on.
    None,
    /// Nobody listens, and what was open is closed.
    Killed,
    /// Connections are made, and nothing passes.
    Hangs,
    /// Connections are reset (RST).
    Resets,
    /// The client is told that nothing more comes; what it sends is taken.
    HalfClosed,
}

/// Ends when dropped.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    fault: Arc<watch::Sender<Fault>>,
    task: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    /// A proxy before `server`.
    pub(crate) async fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let fault = Arc::new(watch::Sender::new(Fault::None));
        let task = tokio::spawn(run(listener, address, server, Arc::clone(&fault)));
        Self { address, fault, task }
    }

    pub(crate) fn set(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }
}

async fn run(
    listener: TcpListener,
    address: SocketAddr,
    server: SocketAddr,
    fault: Arc<watch::Sender<Fault>>,
) {
    let mut connections = JoinSet::new();
    let mut changes = fault.subscribe();
    let mut listener = Some(listener);
    loop {
        if *changes.borrow_and_update() == Fault::Killed {
            listener = None;
            changes.changed().await.unwrap();
            continue;
        }
        if listener.is_none() {
            listener = TcpListener::bind(address).await.ok();
        }
        let Some(listening) = &listener else {
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        };
        tokio::select! {
            _ = changes.changed() => {}
            accepted = listening.accept() => {
                let Ok((client, _)) = accepted else { continue };
                connections.spawn(connection(client, server, fault.subscribe()));
            }
        }
    }
}

async fn connection(client: TcpStream, server: SocketAddr, mut fault: watch::Receiver<Fault>) {
    client.set_nodelay(true).unwrap();
    let Ok(upstream) = TcpStream::connect(server).await else { return };
    upstream.set_nodelay(true).unwrap();
    let (mut from_client, mut to_client) = client.into_split();
    let (from_server, mut to_server) = upstream.into_split();
    loop {
        let now = *fault.borrow_and_update();
        match now {
            Fault::None => tokio::select! {
                _ = fault.changed() => {}
                ended = pass(&from_client, &mut to_server) => if ended { return },
                ended = pass(&from_server, &mut to_client) => if ended { return },
            },
            Fault::Killed => return,
            // Dropped while it lingers for no time: RST.
            Fault::Resets => return reset(from_client, to_client),
            Fault::Hangs => drop(fault.changed().await),
            Fault::HalfClosed => {
                drop(to_client.shutdown().await);
                let mut sink = [0; 4096];
                while matches!(from_client.read(&mut sink).await, Ok(1..)) {}
                return;
            }
        }
    }
}

fn reset(from: OwnedReadHalf, to: OwnedWriteHalf) {
    if let Ok(client) = from.reunite(to) {
        client.set_zero_linger().unwrap();
    }
}

/// Passes one piece on; `true`: it ended. What was read is written whole before anything else is
/// looked at, unless that waits for ever.
async fn pass(from: &OwnedReadHalf, to: &mut OwnedWriteHalf) -> bool {
    if from.readable().await.is_err() {
        return true;
    }
    let mut piece = [0; 16 * 1024];
    match from.try_read(&mut piece) {
        Ok(0) => true,
        Ok(length) => {
            let whole =
                tokio::time::timeout(Duration::from_secs(1), to.write_all(&piece[..length]));
            !matches!(whole.await, Ok(Ok(())))
        }
        Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
    }
}
