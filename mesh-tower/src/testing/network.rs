//! [`MemoryNetwork`]: addresses, and who answers there.

use super::server::MemoryServer;
use crate::body::{BoxError, MeshBody};
use crate::connect::{BoxedIo, Connect, Connecting};
use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{Method, Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use mesh_core::model::Address;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::DuplexStream;
use tokio_util::sync::CancellationToken;
use tower_service::Service;

/// Room of a stream in each direction.
const PIPE: usize = 64 * 1024;

/// A network in memory: give it to [`Builder::connector`](crate::Builder::connector).
///
/// Nobody listens at an address until something is served there. Clones are the same network.
/// Connections live on the runtime of the mesh that made them.
#[derive(Clone, Default)]
pub struct MemoryNetwork {
    servers: Arc<Mutex<HashMap<Address, MemoryServer>>>,
}

impl MemoryNetwork {
    /// A network without servers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Serves HTTP/1.1 and HTTP/2 at `address` by a tower service: an axum router, tonic's routes, a
    /// `tower::service_fn`. What was served there before is replaced; its connections live on.
    pub fn serve<S, B>(&self, address: impl Into<Address>, service: S) -> MemoryServer
    where
        S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + Sync + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        self.listen(address.into(), move |io, drain| {
            let service = TowerToHyperService::new(service.clone());
            let service = service_fn(move |request: Request<Incoming>| {
                let is_head = *request.method() == Method::HEAD;
                let answer = hyper::service::Service::call(&service, request);
                async move { answer.await.map(|response| fitted(response, is_head)) }
            });
            Box::pin(http(io, service, drain))
        })
    }

    /// Like [`serve`](Self::serve), by a function that always answers.
    pub fn serve_fn<F, Fut, B>(&self, address: impl Into<Address>, answer: F) -> MemoryServer
    where
        F: Fn(Request<Incoming>) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Response<B>> + Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        self.serve(address, Answer(answer))
    }

    /// Serves bytes at `address`: `serve` gets the server's end of each connection, which ends with
    /// the future that it returns.
    pub fn serve_io<F, Fut>(&self, address: impl Into<Address>, serve: F) -> MemoryServer
    where
        F: Fn(DuplexStream) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.listen(address.into(), move |io, _| Box::pin(serve(io)))
    }

    fn listen<F>(&self, address: Address, serve: F) -> MemoryServer
    where
        F: Fn(DuplexStream, CancellationToken) -> Pin<Box<dyn Future<Output = ()> + Send>>
            + Send
            + Sync
            + 'static,
    {
        let server = MemoryServer::new(serve);
        self.servers.lock().insert(address, server.clone());
        server
    }
}

impl Connect for MemoryNetwork {
    fn connect<'a>(&'a self, address: &'a Address) -> Connecting<'a> {
        let server = self.servers.lock().get(address).cloned();
        Box::pin(async move {
            let Some(server) = server else { return Err(io::ErrorKind::ConnectionRefused.into()) };
            server.accepted().await?;
            let (client, end) = tokio::io::duplex(PIPE);
            server.spawn(end);
            Ok(Box::new(client) as BoxedIo)
        })
    }
}

/// An answer as servers send it: hyper's leaves the body of one to HEAD to the service over HTTP/2, which
/// no client may take (RFC 9110 section 9.3.2).
fn fitted<B>(response: Response<B>, is_head: bool) -> Response<MeshBody>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    if !is_head {
        return response.map(MeshBody::new);
    }
    let (mut head, body) = response.into_parts();
    if let Some(length) = body.size_hint().exact() {
        head.headers.entry(CONTENT_LENGTH).or_insert_with(|| length.into());
    }
    Response::from_parts(head, MeshBody::empty())
}

/// Speaks HTTP on one connection, until it ends or is drained and has answered what it has.
async fn http<S, B>(io: DuplexStream, service: S, drain: CancellationToken)
where
    S: hyper::service::Service<Request<Incoming>, Response = Response<B>>,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let builder = auto::Builder::new(TokioExecutor::new());
    let mut connection = pin!(builder.serve_connection(TokioIo::new(io), service));
    tokio::select! {
        ended = connection.as_mut() => return log(ended),
        () = drain.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    log(connection.await);
}

fn log(ended: Result<(), BoxError>) {
    if let Err(error) = ended {
        tracing::debug!(error, "connection in memory ended");
    }
}

/// A function as a service.
#[derive(Clone)]
struct Answer<F>(F);

impl<F, Fut> Service<Request<Incoming>> for Answer<F>
where
    F: Fn(Request<Incoming>) -> Fut,
    Fut: Future,
{
    type Response = Fut::Output;
    type Error = Infallible;
    type Future = Answering<Fut>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        Answering((self.0)(request))
    }
}

#[pin_project::pin_project]
struct Answering<Fut>(#[pin] Fut);

impl<Fut: Future> Future for Answering<Fut> {
    type Output = Result<Fut::Output, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().0.poll(cx).map(Ok)
    }
}

impl fmt::Debug for MemoryNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let servers = self.servers.lock();
        f.debug_struct("MemoryNetwork").field("servers", &servers.keys()).finish()
    }
}
