//! The server: a process of its own, so that the client's CPU time is the client's alone.
//!
//! It says on stdout where it listens, answers every line on stdin with what it has seen since the
//! last one, and ends when stdin ends. It counts the names of all request headers, because a client
//! that sends fewer of them would win by that.

use crate::BoxError;
use crate::ads::Ads;
use crate::echo::{Echo, PLAIN_PATH};
use http::{HeaderMap, HeaderName, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader, stdin};
use tokio::net::{TcpListener, TcpStream};
use tonic::body::Body;
use tonic_prost::ProstCodec;

/// Where the server listens; all on loopback.
#[derive(Debug, Serialize, Deserialize)]
pub struct Addresses {
    /// HTTP/2 in cleartext: three endpoints of the same service.
    pub http2: [SocketAddr; 3],
    /// HTTP/1.1.
    pub http1: SocketAddr,
    /// The control plane, which knows the first of `http2`.
    pub ads: SocketAddr,
}

/// What was seen since the last question.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Requests.
    pub calls: u64,
    /// Request headers by name, pseudo-headers apart.
    pub headers: BTreeMap<String, u64>,
}

/// Serves until stdin ends, for an hour at most.
pub async fn serve() -> Result<(), BoxError> {
    let counts = Arc::new(Mutex::new(Counts::default()));
    let http2 = [http2(&counts).await?, http2(&counts).await?, http2(&counts).await?];
    let http1 = http1(&counts).await?;
    let addresses = Addresses { http2, http1, ads: ads(http2[0]).await? };
    println!("{}", serde_json::to_string(&addresses)?);
    tokio::select! {
        end = answer_questions(&counts) => end,
        () = tokio::time::sleep(LIFETIME) => Err("an hour is over".into()),
    }
}

async fn answer_questions(counts: &Mutex<Counts>) -> Result<(), BoxError> {
    let mut lines = BufReader::new(stdin()).lines();
    while lines.next_line().await?.is_some() {
        let seen = std::mem::take(&mut *counts.lock()).seen();
        println!("{}", serde_json::to_string(&seen)?);
    }
    Ok(())
}

async fn http2(counts: &Arc<Mutex<Counts>>) -> Result<SocketAddr, BoxError> {
    let counts = Arc::clone(counts);
    listen(move |stream| {
        let counts = Arc::clone(&counts);
        let service = service_fn(move |request| answer(Arc::clone(&counts), request));
        let io = TokioIo::new(stream);
        drop(tokio::spawn(http2::Builder::new(TokioExecutor::new()).serve_connection(io, service)));
    })
    .await
}

async fn http1(counts: &Arc<Mutex<Counts>>) -> Result<SocketAddr, BoxError> {
    let counts = Arc::clone(counts);
    listen(move |stream| {
        let counts = Arc::clone(&counts);
        let service = service_fn(move |request| answer(Arc::clone(&counts), request));
        drop(tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service)));
    })
    .await
}

async fn ads(endpoint: SocketAddr) -> Result<SocketAddr, BoxError> {
    let service = TowerToHyperService::new(Ads::service(endpoint));
    listen(move |stream| {
        let io = TokioIo::new(stream);
        let server = http2::Builder::new(TokioExecutor::new());
        drop(tokio::spawn(server.serve_connection(io, service.clone())));
    })
    .await
}

/// Binds a port of loopback and hands over what connects to it.
async fn listen(accepted: impl Fn(TcpStream) + Send + 'static) -> Result<SocketAddr, BoxError> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => match stream.set_nodelay(true) {
                    Ok(()) => accepted(stream),
                    Err(error) => eprintln!("server: {error}"),
                },
                Err(error) => {
                    eprintln!("server: {error}");
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        }
    });
    Ok(address)
}

async fn answer(
    counts: Arc<Mutex<Counts>>,
    request: Request<Incoming>,
) -> Result<Response<Body>, hyper::Error> {
    counts.lock().add(request.headers());
    if request.uri().path() == PLAIN_PATH {
        let body = request.into_body().collect().await?.to_bytes();
        return Ok(Response::new(Body::new(Full::new(body))));
    }
    let echo = tower::service_fn(|request: tonic::Request<Echo>| async move {
        Ok(tonic::Response::new(request.into_inner()))
    });
    Ok(tonic::server::Grpc::new(ProstCodec::<Echo, Echo>::default()).unary(echo, request).await)
}

/// Counts by name. A handful of names: a search along a vector is cheaper than hashing.
#[derive(Debug, Default)]
struct Counts {
    calls: u64,
    headers: Vec<(HeaderName, u64)>,
}

impl Counts {
    fn add(&mut self, headers: &HeaderMap) {
        self.calls += 1;
        for name in headers.iter().map(|(name, _)| name) {
            match self.headers.iter_mut().find(|(known, _)| known == name) {
                Some((_, count)) => *count += 1,
                None => self.headers.push((name.clone(), 1)),
            }
        }
    }

    fn seen(self) -> Seen {
        let headers = self.headers.into_iter().map(|(name, count)| (name.to_string(), count));
        Seen { calls: self.calls, headers: headers.collect() }
    }
}

/// A server that was forgotten ends by itself.
const LIFETIME: Duration = Duration::from_secs(3600);
