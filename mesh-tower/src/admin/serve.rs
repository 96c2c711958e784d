//! [`AdminServer`]: the pages on a thread and an address of their own.
//!
//! The thread has a runtime of its own, so that the pages answer while the runtimes of calls are full or hang: that is
//! when somebody looks.
//!
//! Bounds: [`MAX_CONNECTIONS`] at a time; the next waits until one has ended. A connection is for one request, over
//! HTTP/1.1, with a head of at most [`MAX_HEAD`] bytes, and ends after [`Admin::timeout`], where it asks for a profile a minute later: one that asks and does not
//! read, or does not ask, keeps its place no longer. Bodies are not read.

use super::origin::Ends;
use super::page::cpu_profile;
use super::service::Admin;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::runtime::{self, Runtime};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// The most connections at a time.
const MAX_CONNECTIONS: usize = 64;

/// The largest head of a request, in bytes.
const MAX_HEAD: usize = 64 * 1024;

/// How long accepting rests when it fails for want of something: files, memory.
const REST: Duration = Duration::from_millis(100);

/// The pages while they are served: until it is [stopped](Self::stop) or dropped.
#[derive(Debug)]
#[must_use = "dropping it ends the pages"]
pub struct AdminServer {
    address: SocketAddr,
    /// The same socket, for who takes it over.
    socket: TcpListener,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Admin {
    /// Serves the pages on `address`, on a thread of their own. Only a loopback address (`127.0.0.1:9901`) takes POST;
    /// port 0 is any that is free.
    ///
    /// # Errors
    /// When nothing can listen there, or no thread can be made.
    pub fn bind(self, address: impl ToSocketAddrs) -> io::Result<AdminServer> {
        self.serve(TcpListener::bind(address)?)
    }

    /// The same on a socket that listens already.
    ///
    /// # Errors
    /// When the socket is broken, or no thread can be made.
    pub fn serve(self, listener: TcpListener) -> io::Result<AdminServer> {
        listener.set_nonblocking(true)?;
        let (address, socket) = (listener.local_addr()?, listener.try_clone()?);
        let (stop, stopped) = oneshot::channel();
        let (begun, begins) = mpsc::channel();
        // All of the runtime is that thread's: whoever calls this may be in another, where none may end.
        let run = move || match prepare(listener) {
            Ok((runtime, listener)) => {
                drop(begun.send(Ok(())));
                runtime.block_on(run(self, listener, address, stopped));
            }
            Err(error) => drop(begun.send(Err(error))),
        };
        let thread = thread::Builder::new().name("mesh-admin".to_owned()).spawn(run)?;
        begins.recv().map_err(io::Error::other)??;
        Ok(AdminServer { address, socket, stop: Some(stop), thread: Some(thread) })
    }
}

fn prepare(listener: TcpListener) -> io::Result<(Runtime, tokio::net::TcpListener)> {
    let runtime = runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    let entered = runtime.enter();
    let listener = tokio::net::TcpListener::from_std(listener)?;
    drop(entered);
    Ok((runtime, listener))
}

/// Serves until it is stopped, or whoever could stop it is gone.
async fn run(
    admin: Admin,
    listener: tokio::net::TcpListener,
    local: SocketAddr,
    stopped: oneshot::Receiver<()>,
) {
    tokio::select! {
        () = accept(admin, listener, local) => {}
        _stopped_or_gone = stopped => {}
    }
}

impl AdminServer {
    /// Where it listens.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The socket that it listens at, which another may [serve](Admin::serve), in this process or in one that
    /// [takes over](crate::proxy::Takeover).
    #[must_use]
    pub const fn socket(&self) -> &TcpListener {
        &self.socket
    }

    /// Ends it: connections are closed, and its address is free when this returns. It waits for the page that is
    /// being made, if there is one.
    pub fn stop(mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // A page that panicked has ended the thread, too.
            let _ended = thread.join();
        }
    }
}

/// Accepts connections until it is dropped, and they with it.
async fn accept(admin: Admin, listener: tokio::net::TcpListener, local: SocketAddr) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    // Never closed.
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        let (stream, remote) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(target: "mesh::admin", "the admin's socket: {error}");
                tokio::time::sleep(REST).await;
                continue;
            }
        };
        let served = serve(admin.clone(), stream, Ends { local, remote });
        connections.spawn(async move {
            served.await;
            drop(place);
        });
        while connections.try_join_next().is_some() {}
    }
}

fn serve(admin: Admin, stream: TcpStream, ends: Ends) -> impl Future<Output = ()> {
    let patience = admin.options.patience;
    let profiles = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&profiles);
    let answer = service_fn(move |mut request: http::Request<Incoming>| {
        request.extensions_mut().insert(ends);
        asked.store(request.uri().path() == cpu_profile::PATH, Ordering::Relaxed);
        let response = admin.respond(request);
        async { Ok::<_, Infallible>(response.await) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(patience).keep_alive(false);
    http.max_buf_size(MAX_HEAD);
    async move {
        let mut served = pin!(http.serve_connection(TokioIo::new(stream), answer));
        let mut ended = timeout(patience, served.as_mut()).await;
        if ended.is_err() && profiles.load(Ordering::Relaxed) {
            ended = timeout(cpu_profile::LONGEST, served).await;
        }
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(target: "mesh::admin", "a connection: {error}"),
            Err(_elapsed) => tracing::debug!(target: "mesh::admin", "a connection takes too long"),
        }
    }
}
