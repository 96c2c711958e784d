//! Tests over real connections: hyper's servers and hand-written ones, on duplex streams and loopback.

mod h1;
mod h2;
mod h2_streams;
mod lifecycle;
mod pool;
mod stress;

use super::*;
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Response};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use mesh_core::model::{Address, ConnectionOptions, Protocol, RoutingPriority, TlsPolicy};
use mesh_core::outcome::{ConnectFailure, Overflow, Processed, ProtocolFailure, ResetReason};
use parking_lot::Mutex;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::DuplexStream;
use tokio::time::{sleep, timeout};

/// Circuit breakers that count, and say no where a test wants it.
#[derive(Debug)]
struct Limits {
    connections: AtomicI64,
    pending: AtomicI64,
    max_connections: i64,
    max_pending: i64,
    opened: AtomicI64,
    closed: Mutex<Vec<CloseReason>>,
    failed: Mutex<Vec<ConnectFailure>>,
}

impl Default for Limits {
    fn default() -> Self {
        Self::new(i64::MAX, i64::MAX)
    }
}

impl Limits {
    const fn new(max_connections: i64, max_pending: i64) -> Self {
        Self {
            connections: AtomicI64::new(0),
            pending: AtomicI64::new(0),
            max_connections,
            max_pending,
            opened: AtomicI64::new(0),
            closed: Mutex::new(Vec::new()),
            failed: Mutex::new(Vec::new()),
        }
    }

    fn open(&self) -> i64 {
        self.connections.load(Ordering::SeqCst)
    }

    fn are_released(&self) -> bool {
        let counted = self.opened.load(Ordering::SeqCst) == self.closed().len() as i64;
        self.open() == 0 && self.pending.load(Ordering::SeqCst) == 0 && counted
    }

    /// Why the connections that were usable ended, in that order.
    fn closed(&self) -> Vec<CloseReason> {
        self.closed.lock().clone()
    }
}

fn take(counter: &AtomicI64, max: i64) -> bool {
    counter.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| (n < max).then_some(n + 1)).is_ok()
}

impl PoolLimits for Limits {
    fn try_connection(&self, first: bool) -> bool {
        let max = if first && self.max_connections > 0 { i64::MAX } else { self.max_connections };
        take(&self.connections, max)
    }

    fn release_connection(&self) {
        self.connections.fetch_sub(1, Ordering::SeqCst);
    }

    fn connection_opened(&self, _: &Security, _: &Arc<AtomicU64>) {
        self.opened.fetch_add(1, Ordering::SeqCst);
    }

    fn connection_failed(&self, why: ConnectFailure) {
        self.failed.lock().push(why);
    }

    fn connection_closed(&self, reason: CloseReason) {
        self.closed.lock().push(reason);
    }

    fn try_pending(&self, _: RoutingPriority) -> bool {
        take(&self.pending, self.max_pending)
    }

    fn release_pending(&self, _: RoutingPriority) {
        self.pending.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A connector whose every connection is served by `serve`, told which one it is.
fn dial<F, S>(serve: S) -> Arc<dyn Connect>
where
    F: Future<Output = ()> + Send + 'static,
    S: Fn(usize, DuplexStream) -> F + Send + Sync + 'static,
{
    struct Dial<S>(S, AtomicUsize);

    impl<S> fmt::Debug for Dial<S> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("Dial")
        }
    }

    impl<F, S> Connect for Dial<S>
    where
        F: Future<Output = ()> + Send + 'static,
        S: Fn(usize, DuplexStream) -> F + Send + Sync,
    {
        fn connect<'a>(&'a self, _: &'a Address) -> Connecting<'a> {
            let (client, server) = tokio::io::duplex(64 << 10);
            let number = self.1.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(self.0(number, server));
            async move { Ok(Box::new(client) as BoxedIo) }.boxed()
        }
    }

    Arc::new(Dial(serve, AtomicUsize::new(0)))
}

/// A connector that fails like this, after a moment.
#[derive(Debug)]
struct Failing(std::io::ErrorKind);

impl Connect for Failing {
    fn connect<'a>(&'a self, _: &'a Address) -> Connecting<'a> {
        Box::pin(async {
            sleep(Duration::from_millis(1)).await;
            Err(self.0.into())
        })
    }
}

/// A pool, its settings, and the breakers they point to.
pub(super) struct Bench {
    pool: EndpointPool,
    pub(super) settings: Arc<PoolSettings>,
    limits: Arc<Limits>,
}

impl Bench {
    pub(super) fn new(protocol: Protocol, dial: Arc<dyn Connect>) -> Self {
        Self::with(protocol, dial, Limits::default(), |_| {})
    }

    fn with(
        protocol: Protocol,
        dial: Arc<dyn Connect>,
        limits: Limits,
        change: impl FnOnce(&mut PoolSettings),
    ) -> Self {
        let limits = Arc::new(limits);
        let mut settings = PoolSettings {
            proxy_protocol: None,
            speaks: Speaks::of(protocol),
            options: ConnectionOptions::default(),
            preserve_header_case: false,
            max_connections_per_endpoint: None,
            tls: TlsPolicy::Off,
            #[cfg(feature = "tls")]
            secure: None,
            secrets: Arc::default(),
            dial,
            runtime: tokio::runtime::Handle::current(),
            limits: Arc::clone(&limits) as _,
        };
        change(&mut settings);
        let address = Address::Socket(([127, 0, 0, 1], 80).into());
        Self { pool: EndpointPool::new(address), settings: Arc::new(settings), limits }
    }

    fn send(&self, request: Request<MeshBody>) -> Sending {
        self.pool.send(&self.settings, request)
    }

    async fn call(&self, request: Request<MeshBody>) -> Result<Response<NetBody>, SendError> {
        bounded(self.send(request)).await
    }

    /// The body of a call that must succeed.
    async fn text(&self, request: Request<MeshBody>) -> String {
        let response = self.call(request).await.expect("a response");
        text(response.into_body()).await
    }

    /// Why a call that must fail did, and whether its request came back.
    async fn fails(&self, request: Request<MeshBody>) -> (Failure, bool) {
        let error = self.call(request).await.expect_err("a failure");
        (error.failure, error.request.is_some())
    }
}

pub(super) async fn bounded<F: Future>(future: F) -> F::Output {
    timeout(Duration::from_secs(600), future).await.expect("it hangs")
}

async fn eventually(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..2000 {
        if condition() {
            return;
        }
        sleep(Duration::from_millis(2)).await;
    }
    panic!("never: {what}");
}

async fn text(body: impl Body<Data = Bytes, Error: fmt::Debug>) -> String {
    let bytes = bounded(body.collect()).await.expect("a whole body").to_bytes();
    String::from_utf8(bytes.to_vec()).expect("text")
}

fn get(path: &str) -> Request<MeshBody> {
    Request::get(format!("http://test{path}")).body(MeshBody::empty()).expect("a request")
}

fn post(path: &str, body: MeshBody) -> Request<MeshBody> {
    Request::post(format!("http://test{path}")).body(body).expect("a request")
}

/// A body that its sender writes frame by frame.
fn channel() -> (tokio::sync::mpsc::Sender<Result<Frame<Bytes>, BoxError>>, MeshBody) {
    let (sender, receiver) = tokio::sync::mpsc::channel(4);
    let stream = tokio_stream::wrappers::ReceiverStream::new(receiver);
    (sender, MeshBody::new(http_body_util::StreamBody::new(stream)))
}

fn data(text: &'static str) -> Result<Frame<Bytes>, BoxError> {
    Ok(Frame::data(Bytes::from_static(text.as_bytes())))
}

fn trailers(name: &'static str, value: &'static str) -> Result<Frame<Bytes>, BoxError> {
    let mut map = HeaderMap::new();
    map.insert(name, http::HeaderValue::from_static(value));
    Ok(Frame::trailers(map))
}

type Reply = Response<http_body_util::Either<Incoming, http_body_util::Full<Bytes>>>;

/// What hyper's servers answer, by path.
async fn answer(request: Request<Incoming>) -> Result<Reply, Infallible> {
    use http_body_util::{Either, Full};
    let mut response = Response::new(Either::Right(Full::from("hello")));
    match request.uri().path() {
        "/echo" => {
            // hyper's HTTP/1 server sends trailers that were announced only.
            response.headers_mut().insert("trailer", http::HeaderValue::from_static("x-end"));
            *response.body_mut() = Either::Left(request.into_body());
        }
        "/count" => {
            let body = request.into_body().collect().await.map(|body| body.to_bytes());
            let length = body.map_or_else(|error| error.to_string(), |body| body.len().to_string());
            *response.body_mut() = Either::Right(Full::from(length));
        }
        "/head" => {
            let mut lines: Vec<_> = request
                .headers()
                .iter()
                .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap_or("?")))
                .collect();
            lines.sort();
            let head = format!("{:?} {}\n{}", request.version(), request.uri(), lines.join("\n"));
            *response.body_mut() = Either::Right(Full::from(head));
        }
        "/big" => *response.body_mut() = Either::Right(Full::from(vec![b'x'; 10 << 20])),
        "/headers" => {
            for number in 0..300 {
                let name: http::HeaderName = format!("x-h{number}").parse().expect("a name");
                let value = http::HeaderValue::try_from("v".repeat(190)).expect("a value");
                response.headers_mut().insert(name, value);
            }
        }
        "/close" => {
            response.headers_mut().insert("connection", http::HeaderValue::from_static("close"));
        }
        "/hang" => std::future::pending().await,
        "/early" => {}
        _ => {}
    }
    Ok(response)
}

pub(super) fn hyper_h1() -> Arc<dyn Connect> {
    dial(|_, io| async move {
        let server = hyper::server::conn::http1::Builder::new();
        drop(server.serve_connection(TokioIo::new(io), service_fn(answer)).with_upgrades().await);
    })
}

pub(super) fn hyper_h2() -> Arc<dyn Connect> {
    dial(|_, io| async move {
        let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        drop(server.serve_connection(TokioIo::new(io), service_fn(answer)).await);
    })
}

/// Polls `future` at most `polls` times, letting everybody else run in between; whether it is done.
async fn poll_times<F: Future + Unpin>(future: &mut F, polls: usize) -> Option<F::Output> {
    for _ in 0..polls {
        let polled = std::future::poll_fn(|cx: &mut Context<'_>| {
            Poll::Ready(Pin::new(&mut *future).poll(cx))
        })
        .await;
        if let Poll::Ready(output) = polled {
            return Some(output);
        }
        tokio::task::yield_now().await;
    }
    None
}

const fn reset(reason: ResetReason, processed: Processed) -> Failure {
    Failure::Reset { reason, processed }
}

type Served = BoxFuture<'static, ()>;
