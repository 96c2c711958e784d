//! [`MemoryServer`]: what a test decides about one address.

use parking_lot::Mutex;
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::DuplexStream;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

type Serve = dyn Fn(DuplexStream, CancellationToken) -> Pin<Box<dyn Future<Output = ()> + Send>>
    + Send
    + Sync;

/// The control of what is served at one address. Clones control the same; dropping all of them
/// changes nothing.
#[derive(Clone)]
pub struct MemoryServer(Arc<Inner>);

struct Inner {
    serve: Box<Serve>,
    mode: watch::Sender<Mode>,
    connections: Mutex<Tokens>,
    opened: AtomicU64,
    ended: AtomicU64,
}

/// What becomes of who wants to connect.
#[derive(Clone, Copy)]
enum Mode {
    Accept(Duration),
    Refuse,
    Hang,
}

/// The ends of the connections that are open now.
#[derive(Default)]
struct Tokens {
    close: CancellationToken,
    drain: CancellationToken,
}

impl MemoryServer {
    pub(super) fn new<F>(serve: F) -> Self
    where
        F: Fn(DuplexStream, CancellationToken) -> Pin<Box<dyn Future<Output = ()> + Send>>
            + Send
            + Sync
            + 'static,
    {
        Self(Arc::new(Inner {
            serve: Box::new(serve),
            mode: watch::Sender::new(Mode::Accept(Duration::ZERO)),
            connections: Mutex::default(),
            opened: AtomicU64::new(0),
            ended: AtomicU64::new(0),
        }))
    }

    /// New connections are refused, as by a host where nobody listens.
    pub fn refuse(&self) {
        self.0.mode.send_replace(Mode::Refuse);
    }

    /// New connections are neither made nor refused, as by a host that is gone, until
    /// [`accept`](Self::accept) or another control says otherwise.
    pub fn hang(&self) {
        self.0.mode.send_replace(Mode::Hang);
    }

    /// New connections are made at once: the state in the beginning. Those that hang are made too.
    pub fn accept(&self) {
        self.delay(Duration::ZERO);
    }

    /// New connections are made after `delay`.
    pub fn delay(&self, delay: Duration) {
        self.0.mode.send_replace(Mode::Accept(delay));
    }

    /// Ends all open connections at once, whatever is in flight. New ones are made.
    pub fn close(&self) {
        std::mem::take(&mut *self.0.connections.lock()).close.cancel();
    }

    /// Ends all open connections kindly: GOAWAY, or `connection: close`; what is in flight is
    /// answered. New ones are made. Does nothing to connections of
    /// [`serve_io`](super::MemoryNetwork::serve_io).
    pub fn drain(&self) {
        let mut connections = self.0.connections.lock();
        std::mem::take(&mut connections.drain).cancel();
    }

    /// Number of connections that were made so far.
    #[must_use]
    pub fn opened(&self) -> u64 {
        self.0.opened.load(Ordering::SeqCst)
    }

    /// Number of connections that are open now.
    #[must_use]
    pub fn open(&self) -> u64 {
        let ended = self.0.ended.load(Ordering::SeqCst);
        self.opened() - ended
    }

    /// Waits until a connection is made.
    pub(super) async fn accepted(&self) -> io::Result<()> {
        let mut mode = self.0.mode.subscribe();
        loop {
            let now = *mode.borrow_and_update();
            match now {
                Mode::Refuse => return Err(io::ErrorKind::ConnectionRefused.into()),
                Mode::Accept(delay) => {
                    if !delay.is_zero() {
                        tokio::time::sleep(delay).await;
                    }
                    return Ok(());
                }
                // The sender lives as long as `self`.
                Mode::Hang => mode.changed().await.map_err(io::Error::other)?,
            }
        }
    }

    /// Serves a connection by a task of its own.
    #[expect(clippy::disallowed_methods, reason = "a connection is a task")]
    pub(super) fn spawn(&self, io: DuplexStream) {
        let (close, drain) = {
            let connections = self.0.connections.lock();
            (connections.close.clone(), connections.drain.clone())
        };
        self.0.opened.fetch_add(1, Ordering::SeqCst);
        let open = Open(self.clone());
        drop(tokio::spawn(async move {
            tokio::select! {
                biased;
                () = close.cancelled() => {}
                () = (open.0.0.serve)(io, drain) => {}
            }
            drop(open);
        }));
    }
}

/// A connection counts as open as long as this lives.
struct Open(MemoryServer);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.0.ended.fetch_add(1, Ordering::SeqCst);
    }
}

impl fmt::Debug for MemoryServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryServer")
            .field("opened", &self.opened())
            .field("open", &self.open())
            .finish()
    }
}
