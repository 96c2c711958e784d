//! Raw hyper: one connection and nothing else. The floor.

use super::plain::expect_echo;
use crate::BoxError;
use crate::echo::{PLAIN_PATH, payload};
use crate::load::Caller;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, Uri, header};
use http_body::Body;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpStream;
use tower::Service;

/// One HTTP/2 connection as a service. Nothing is boxed: the future is hyper's own.
pub async fn http2<B>(
    address: SocketAddr,
) -> Result<
    impl Service<Request<B>, Response = Response<Incoming>, Error = hyper::Error, Future: Send>
    + Clone
    + Send
    + Sync
    + 'static,
    BoxError,
>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    let io = TokioIo::new(connected(address).await?);
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
    drop(tokio::spawn(connection));
    Ok(tower::service_fn(move |request| sender.send_request(request)))
}

/// HTTP/1.1: every task in flight has a connection, and leaves it to the next one.
pub struct Http1 {
    address: SocketAddr,
    host: HeaderValue,
    idle: Arc<Mutex<Vec<SendRequest<Full<Bytes>>>>>,
    own: Option<SendRequest<Full<Bytes>>>,
}

impl Http1 {
    /// Calls the server at `address`.
    pub fn new(address: SocketAddr) -> Self {
        let host = HeaderValue::try_from(address.to_string());
        let host = host.unwrap_or(HeaderValue::from_static("localhost"));
        Self { address, host, idle: Arc::default(), own: None }
    }

    async fn connection(&mut self) -> Result<&mut SendRequest<Full<Bytes>>, BoxError> {
        let own = match self.own.take() {
            Some(own) => own,
            None => {
                let idle = self.idle.lock().pop();
                match idle {
                    Some(idle) => idle,
                    None => self.connect().await?,
                }
            }
        };
        Ok(self.own.insert(own))
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, BoxError> {
        let io = TokioIo::new(connected(self.address).await?);
        let (sender, connection) = http1::handshake(io).await?;
        drop(tokio::spawn(connection));
        Ok(sender)
    }
}

impl Clone for Http1 {
    fn clone(&self) -> Self {
        let (host, idle) = (self.host.clone(), Arc::clone(&self.idle));
        Self { address: self.address, host, idle, own: None }
    }
}

impl Drop for Http1 {
    fn drop(&mut self) {
        self.idle.lock().extend(self.own.take());
    }
}

impl Caller for Http1 {
    async fn call(&mut self) -> Result<(), BoxError> {
        let mut request = Request::new(Full::new(payload()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = Uri::from_static(PLAIN_PATH);
        request.headers_mut().insert(header::HOST, self.host.clone());
        let connection = self.connection().await?;
        connection.ready().await?;
        expect_echo(connection.send_request(request).await?).await
    }
}

async fn connected(address: SocketAddr) -> Result<TcpStream, BoxError> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
