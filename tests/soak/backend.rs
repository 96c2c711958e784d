//! A backend: HTTP/1.1, HTTP/2, gRPC, upgrades and bytes, all of which it turns round. It behaves as its standard input
//! says, and ends with it.

use bytes::{Buf, Bytes};
use futures_util::stream::{self, StreamExt as _};
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, UPGRADE};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use std::convert::Infallible;
use std::io::{self, BufRead};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Answers have the name of the backend in it.
pub(crate) const X_BACKEND: &str = "x-backend";

/// As it should.
const WELL: u8 = 0;
/// 503, or UNAVAILABLE.
const REFUSES: u8 = 1;
/// Half of each answer, and then the end.
const HALF: u8 = 2;

type Body = BoxBody<Bytes, io::Error>;

#[derive(Clone)]
struct Backend {
    name: HeaderValue,
    mode: Arc<AtomicU8>,
}

/// Serves until its standard input ends.
pub(crate) fn serve(name: &str, http: SocketAddr, bytes: SocketAddr) -> ExitCode {
    let backend =
        Backend { name: HeaderValue::from_str(name).unwrap(), mode: Arc::new(AtomicU8::new(WELL)) };
    let runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = { runtime }.worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let http = TcpListener::bind(http).await.unwrap();
        let bytes = TcpListener::bind(bytes).await.unwrap();
        tokio::spawn(accept(http, backend.clone(), requests));
        tokio::spawn(accept(bytes, backend.clone(), turn_round));
    });
    println!("listening");
    for line in io::stdin().lock().lines().map_while(Result::ok) {
        let mode = match &*line {
            "well" => WELL,
            "refuse" => REFUSES,
            "half" => HALF,
            other => panic!("nobody knows how to be `{other}`"),
        };
        backend.mode.store(mode, Relaxed);
    }
    runtime.shutdown_background();
    ExitCode::SUCCESS
}

async fn accept<F>(listener: TcpListener, backend: Backend, serve: fn(Backend, TcpStream) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            let _set = stream.set_nodelay(true);
            tokio::spawn(serve(backend.clone(), stream));
        }
    }
}

async fn requests(backend: Backend, stream: TcpStream) {
    let service = service_fn(move |request| {
        let backend = backend.clone();
        async move { Ok::<_, Infallible>(backend.answer(request).await) }
    });
    let builder = auto::Builder::new(TokioExecutor::new());
    let _ended = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await;
}

/// Bytes, until the other half ends.
async fn turn_round(backend: Backend, mut stream: TcpStream) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(read @ 1..) = stream.read(&mut buffer).await {
        let (keep, last) = match backend.mode.load(Relaxed) {
            HALF => (read / 2, true),
            REFUSES => return,
            _ => (read, false),
        };
        if stream.write_all(&buffer[..keep]).await.is_err() {
            return;
        }
        if last {
            let _closed = stream.shutdown().await;
            // The other half goes on until the caller ends it.
            while let Ok(1..) = stream.read(&mut buffer).await {}
            return;
        }
    }
}

impl Backend {
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let grpc =
            request.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == "application/grpc");
        let mut response = match self.mode.load(Relaxed) {
            REFUSES => refused(grpc),
            HALF => half(request, grpc).await,
            _ if grpc => of_grpc(request.into_body()),
            _ if request.headers().contains_key(UPGRADE) => upgraded(request),
            _ => echo(request),
        };
        response.headers_mut().insert(X_BACKEND, self.name.clone());
        response
    }
}

fn refused(grpc: bool) -> Response<Body> {
    let mut response = Response::new(whole("no\n"));
    if grpc {
        *response.body_mut() = whole("");
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        response.headers_mut().insert("grpc-status", HeaderValue::from_static("14"));
    } else {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    response
}

/// What was sent, but that it ends in the middle.
async fn half(request: Request<Incoming>, grpc: bool) -> Response<Body> {
    let Ok(sent) = request.into_body().collect().await else { return refused(grpc) };
    let sent = sent.to_bytes();
    let length = sent.len().max(1000);
    let part = Bytes::from(vec![b'x'; length / 2]);
    let broken = io::Error::new(io::ErrorKind::BrokenPipe, "as it was told to");
    let end = stream::once(async {
        // Not before the first part is sent.
        tokio::time::sleep(Duration::from_millis(20)).await;
        Err(broken)
    });
    let frames = stream::iter([Ok(Frame::data(part))]).chain(end);
    let mut response = Response::new(BodyExt::boxed(StreamBody::new(frames)));
    if grpc {
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    } else {
        response.headers_mut().insert(CONTENT_LENGTH, length.into());
    }
    response
}

fn of_grpc(sent: Incoming) -> Response<Body> {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let body = sent.map_err(io::Error::other).with_trailers(async move { Some(Ok(trailers)) });
    let mut response = Response::new(body.boxed());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

fn upgraded(request: Request<Incoming>) -> Response<Body> {
    tokio::spawn(async move {
        let Ok(upgraded) = hyper::upgrade::on(request).await else { return };
        let (mut read, mut write) = tokio::io::split(TokioIo::new(upgraded));
        let _ended = tokio::io::copy(&mut read, &mut write).await;
        let _closed = write.shutdown().await;
    });
    let mut response = Response::new(whole(""));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
    response.headers_mut().insert(UPGRADE, HeaderValue::from_static("echo"));
    response
}

/// What was sent; of `/bytes/N`, N bytes of our own.
fn echo(request: Request<Incoming>) -> Response<Body> {
    let count = request.uri().path().strip_prefix("/bytes/").and_then(|n| n.parse().ok());
    let Some(mut left) = count else {
        return Response::new(request.into_body().map_err(io::Error::other).boxed());
    };
    let frames = std::iter::from_fn(move || {
        let mut part = Bytes::from_static(&[b'b'; 8192]);
        part.truncate(left);
        left -= part.len();
        part.has_remaining().then_some(Ok(Frame::data(part)))
    });
    Response::new(BodyExt::boxed(StreamBody::new(stream::iter(frames))))
}

fn whole(text: &'static str) -> Body {
    Full::from(text).map_err(|never| match never {}).boxed()
}
