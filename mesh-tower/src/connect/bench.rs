//! What a call costs the client's thread: raw hyper `SendRequest` against [`EndpointPool::send`].
//!
//! `cargo test --release -p mesh-tower pool_against_hyper -- --nocapture`. Server on a thread of its
//! own, client on one thread, rounds in turn, median of the ratios, CPU time of the thread (not wall
//! time: the cores are shared).

use super::*;
use crate::connect::tests::Limits;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, StreamBody};
use hyper::client::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use mesh_core::model::{ConnectionOptions, Protocol, TlsPolicy};
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use tokio::net::{TcpListener, TcpStream};

const CALLS: usize = 6_400;
const ROUNDS: usize = 21;

/// CPU time of this thread, in nanoseconds.
fn cpu() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    text.split(' ').next().and_then(|ns| ns.parse().ok()).expect("a number")
}

/// A gRPC-like server: headers, a small message, trailers.
fn server() -> SocketAddr {
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            tell.send(listener.local_addr().unwrap()).unwrap();
            loop {
                let (io, _) = listener.accept().await.unwrap();
                io.set_nodelay(true).unwrap();
                let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                tokio::spawn(async move {
                    drop(server.serve_connection(TokioIo::new(io), service_fn(answer)).await);
                });
            }
        });
    });
    told.recv().unwrap()
}

async fn answer(
    request: Request<hyper::body::Incoming>,
) -> Result<Response<impl Body<Data = Bytes, Error = Infallible>>, Infallible> {
    drop(request.into_body().collect().await);
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let frames = [Ok(Frame::data(Bytes::from_static(&[0; 32]))), Ok(Frame::trailers(trailers))];
    let mut response = Response::new(StreamBody::new(futures_util::stream::iter(frames)));
    let content_type = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert("content-type", content_type);
    Ok(response)
}

/// A unary request; `whole`: a body that is known to be whole, else one that has to be polled.
fn request(uri: &http::Uri, whole: bool) -> Request<MeshBody> {
    let body = Bytes::from_static(&[0; 32]);
    let body = if whole {
        MeshBody::full(body)
    } else {
        let frames = [Ok::<_, Infallible>(Frame::data(body))];
        MeshBody::new(StreamBody::new(futures_util::stream::iter(frames)))
    };
    let mut request = Request::new(body);
    *request.method_mut() = http::Method::POST;
    *request.version_mut() = http::Version::HTTP_2;
    *request.uri_mut() = uri.clone();
    let headers = request.headers_mut();
    headers.insert("te", HeaderValue::from_static("trailers"));
    headers.insert("content-type", HeaderValue::from_static("application/grpc"));
    headers.insert("user-agent", HeaderValue::from_static("bench"));
    request
}

async fn read<B: Body + Unpin>(mut body: B)
where
    B::Error: fmt::Debug,
{
    let mut frames = 0;
    while let Some(frame) = body.frame().await {
        frame.unwrap();
        frames += 1;
    }
    assert_eq!(frames, 2);
}

/// Nanoseconds of CPU per call, `in_flight` at a time.
async fn round<F, C>(in_flight: usize, call: C) -> f64
where
    F: Future<Output = ()> + Send + 'static,
    C: Fn() -> F + Clone + Send + 'static,
{
    let before = cpu();
    let tasks = (0..in_flight).map(|_| {
        let call = call.clone();
        tokio::spawn(async move {
            for _ in 0..CALLS / in_flight {
                call().await;
            }
        })
    });
    futures_util::future::try_join_all(tasks).await.unwrap();
    (cpu() - before) as f64 / CALLS as f64
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[test]
fn pool_against_hyper() {
    let address = server();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        for whole in [true, false] {
            for in_flight in [1, 64] {
                compare(address, in_flight, whole).await;
            }
        }
    });
}

async fn compare(address: SocketAddr, in_flight: usize, whole: bool) {
    let uri: http::Uri = format!("http://{address}/shop.Reviews/List").parse().unwrap();
    let io = TcpStream::connect(address).await.unwrap();
    io.set_nodelay(true).unwrap();
    let io = TokioIo::new(io);
    let (send, connection) =
        http2::handshake::<_, _, MeshBody>(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    let hyper_uri = uri.clone();
    let hyper = move || {
        let (mut send, uri) = (send.clone(), hyper_uri.clone());
        async move { read(send.send_request(request(&uri, whole)).await.unwrap().into_body()).await }
    };
    let settings = Arc::new(PoolSettings {
        protocol: Protocol::Http2,
        options: ConnectionOptions::default(),
        max_connections_per_endpoint: None,
        tls: TlsPolicy::Off,
        dial: Arc::new(TcpConnector),
        runtime: tokio::runtime::Handle::current(),
        limits: Arc::new(Limits::default()),
    });
    let pool = Arc::new(EndpointPool::new(address.into()));
    let ours = move || {
        let sending = pool.send(&settings, request(&uri, whole));
        async move { read(sending.await.unwrap().into_body()).await }
    };
    round(in_flight, hyper.clone()).await;
    round(in_flight, ours.clone()).await;
    let (mut hypers, mut pools) = (Vec::new(), Vec::new());
    for number in 0..ROUNDS {
        if number % 2 == 0 {
            hypers.push(round(in_flight, hyper.clone()).await);
            pools.push(round(in_flight, ours.clone()).await);
        } else {
            pools.push(round(in_flight, ours.clone()).await);
            hypers.push(round(in_flight, hyper.clone()).await);
        }
    }
    let ratios = pools.iter().zip(&hypers).map(|(pool, hyper)| pool / hyper).collect();
    println!(
        "{in_flight:>2} in flight, {} body: hyper {:.2} µs, pool {:.2} µs, ratio {:.3}",
        if whole { "whole" } else { "polled" },
        median(hypers) / 1000.0,
        median(pools) / 1000.0,
        median(ratios),
    );
}
