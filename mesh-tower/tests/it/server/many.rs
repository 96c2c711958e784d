//! Many requests on few connections of HTTP/2, whose services do all that services do.

use super::world::{chain, serving};
use crate::fixture::bounded;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use mesh_tower::Mesh;
use mesh_tower::server::{Incoming, RequestBody};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

const CONNECTIONS: usize = 4;
/// On each of them.
const CALLERS: usize = 16;
/// Of each of them.
const CALLS: usize = 96;

/// What services do; the number of each caller's calls is a multiple of this.
const KINDS: [&str; 8] = ["at-once", "echo", "yield", "sleep", "task", "pair", "busy", "panic"];

async fn answer(request: Request<RequestBody<Incoming>>, pair: Arc<Barrier>) -> Bytes {
    let (head, body) = request.into_parts();
    let body = async { body.collect().await.unwrap().to_bytes() };
    match &head.uri.path()[1..] {
        "at-once" => Bytes::from("body"),
        "echo" => body.await,
        "yield" => {
            tokio::task::yield_now().await;
            body.await
        }
        "sleep" => {
            tokio::time::sleep(Duration::from_millis(1)).await;
            body.await
        }
        "task" => tokio::spawn(body).await.unwrap(),
        // Whoever comes first waits for another request, of the same connection or not.
        "pair" => {
            pair.wait().await;
            body.await
        }
        "busy" => {
            std::thread::sleep(Duration::from_micros(200));
            body.await
        }
        _ => panic!("as services do"),
    }
}

async fn serve(workers: usize) -> (Mesh, SocketAddr) {
    let mesh = Mesh::builder().config(serving(vec![chain("plain", |_| {})])).build().unwrap();
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let pair = Arc::new(Barrier::new(2));
    assert!((workers * CALLS / KINDS.len()).is_multiple_of(2), "nobody is left without a partner");
    let service = tower::service_fn(move |request| {
        let pair = Arc::clone(&pair);
        async move { Ok::<_, Infallible>(Response::new(Full::new(answer(request, pair).await))) }
    });
    let server = mesh.server("web");
    tokio::spawn(async move { server.serve(socket, service).await });
    (mesh, address)
}

/// Calls one after another; how many broke off.
async fn call(mut sender: http2::SendRequest<Full<Bytes>>, first: usize) -> usize {
    let mut broken = 0;
    for at in 0..CALLS {
        let kind = KINDS[(first + at) % KINDS.len()];
        let body = Full::new(Bytes::from("body"));
        let request = Request::post(format!("http://x/{kind}")).body(body).unwrap();
        sender.ready().await.unwrap();
        match bounded(sender.send_request(request)).await {
            Ok(response) => {
                assert_eq!(response.status(), StatusCode::OK, "{kind}");
                let body = bounded(response.into_body().collect()).await.unwrap().to_bytes();
                assert_eq!(body, "body", "{kind}");
            }
            Err(error) => {
                assert_eq!(kind, "panic", "{error}");
                broken += 1;
            }
        }
    }
    broken
}

async fn all_are_answered() {
    let (mesh, address) = serve(CONNECTIONS * CALLERS).await;
    let mut callers = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let io = TokioIo::new(TcpStream::connect(address).await.unwrap());
        let (sender, driver) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(driver);
        for first in 0..CALLERS {
            callers.spawn(call(sender.clone(), first));
        }
    }
    let mut broken = 0;
    while let Some(ended) = callers.join_next().await {
        broken += ended.unwrap();
    }
    assert_eq!(broken, CONNECTIONS * CALLERS * CALLS / KINDS.len(), "one of each kind breaks off");
    mesh.shutdown(Duration::from_secs(1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn all_are_answered_by_several_threads() {
    all_are_answered().await;
}

#[tokio::test]
async fn all_are_answered_by_one_thread() {
    all_are_answered().await;
}
