//! Connections of HTTP/1.1 that are silent for a while, of which hyper holds nothing then, and go on.

use super::FRIEND;
use super::ca::Ca;
use super::world::{World, chain, mutual, routed, secured, serving};
use crate::fixture::{bounded, metric};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Body;
use hyper_util::rt::TokioIo;
use mesh_core::model::filter_chain::ConnectionTimeouts;
use mesh_core::model::{HttpConnectionManager, Listener};
use mesh_tower::server::{Ends, Incoming, MeshServer, RequestBody, ServeError, ServerLayer};
use mesh_tower::source::Updates;
use mesh_tower::{BoxError, Mesh, MeshBody};
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex, split};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tower::{Layer, Service};

const REQUEST: &str = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";

/// Says what it was asked for, and becomes what it is asked to.
#[derive(Clone, Copy)]
struct Says;

impl Service<Request<RequestBody<Incoming>>> for Says {
    type Response = Response<MeshBody>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<RequestBody<Incoming>>) -> Self::Future {
        let upgrades = request.headers().contains_key("upgrade");
        let mut response = Response::new(MeshBody::full(Bytes::from(request.uri().to_string())));
        if upgrades {
            let becomes = hyper::upgrade::on(&mut request);
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            *response.body_mut() = MeshBody::empty();
            response.headers_mut().insert("upgrade", "echo".parse().unwrap());
            response.headers_mut().insert("connection", "upgrade".parse().unwrap());
            tokio::spawn(async move {
                // Who reads and who writes are two tasks, as those of applications may be.
                let (mut reads, mut writes) = split(TokioIo::new(becomes.await.unwrap()));
                let (says, mut said) = mpsc::channel::<[u8; 5]>(1);
                tokio::spawn(async move {
                    while let Some(said) = said.recv().await {
                        writes.write_all(&said).await.unwrap();
                    }
                });
                let mut heard = [0; 5];
                while reads.read_exact(&mut heard).await.is_ok() {
                    says.send(heard).await.unwrap();
                }
            });
        }
        ready(Ok(response))
    }
}

struct Caller {
    mesh: Mesh,
    server: MeshServer,
    client: DuplexStream,
    served: JoinHandle<Result<(), ServeError>>,
}

impl Caller {
    fn new() -> Self {
        Self::of(ConnectionTimeouts::default())
    }

    fn of(timeouts: ConnectionTimeouts) -> Self {
        let mut http = HttpConnectionManager::serving(Vec::new());
        http.timeouts = timeouts;
        let chain = chain("plain", |chain| chain.http = Some(Arc::new(http)));
        let mesh = Mesh::builder().config(serving(vec![chain])).build().unwrap();
        Self::to(mesh.server("web"), mesh)
    }

    fn to(server: MeshServer, mesh: Mesh) -> Self {
        Self::over(server, mesh, Says)
    }

    fn over<S, B>(server: MeshServer, mesh: Mesh, service: S) -> Self
    where
        S: Service<Request<RequestBody<Incoming>>, Response = Response<B>, Error = Infallible>,
        S: Clone + Send + 'static,
        S::Future: Send + 'static,
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let (client, io) = duplex(4096);
        let ends = Ends::default();
        let serving = server.clone();
        let served = tokio::spawn(async move { serving.serve_connection(io, ends, service).await });
        Self { mesh, server, client, served }
    }

    async fn say(&mut self, what: &str) {
        self.client.write_all(what.as_bytes()).await.unwrap();
    }

    /// What comes, up to its end.
    async fn hear(&mut self, end: &str) -> String {
        let mut heard = Vec::new();
        while !heard.ends_with(end.as_bytes()) {
            let mut piece = [0; 1024];
            let read = bounded(self.client.read(&mut piece)).await.unwrap();
            assert!(read > 0, "{}", String::from_utf8_lossy(&heard));
            heard.extend_from_slice(&piece[..read]);
        }
        String::from_utf8(heard).unwrap()
    }

    async fn answered(&mut self) {
        self.say(REQUEST).await;
        self.hear("\r\n\r\n/").await;
    }

    async fn ended(mut self) -> Result<(), ServeError> {
        assert_eq!(bounded(self.client.read(&mut [0; 8])).await.unwrap(), 0, "nothing more");
        bounded(self.served).await.unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn it_goes_on_after_any_silence() {
    let mut caller = Caller::new();
    for (at, silence) in [0, 2, 20, 50, 1800, 3590].into_iter().enumerate() {
        sleep(Duration::from_secs(silence)).await;
        caller.say(&format!("GET /{at} HTTP/1.1\r\nhost: x\r\n\r\n")).await;
        let answer = caller.hear(&format!("\r\n\r\n/{at}")).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(!answer.contains("connection: close"), "{answer}");
    }
    let mesh = caller.mesh.clone();
    drop(caller);
    assert_eq!(metric(&mesh, "mesh_server_connections_broken_total", &[]), 0);
}

#[tokio::test(start_paused = true)]
async fn what_comes_byte_by_byte_after_it_is_whole() {
    let mut caller = Caller::new();
    for _ in 0..3 {
        for byte in REQUEST.chars() {
            caller.say(&byte.to_string()).await;
            // Slower than a connection comes to rest; faster than a head is late.
            sleep(Duration::from_millis(1010)).await;
        }
        caller.hear("\r\n\r\n/").await;
        sleep(Duration::from_secs(5)).await;
    }
}

/// Another configuration is for all requests that come after it. One that rests keeps nothing of the one before, nor does
/// one that has part of a head.
#[tokio::test(start_paused = true)]
async fn requests_of_a_connection_follow_the_configuration() {
    let (updates, source) = Updates::new();
    updates.apply(serving(vec![routed("first", false)]));
    let mesh = Mesh::builder().source(source).build().unwrap();
    bounded(mesh.ready()).await.unwrap();
    let counted = |route: &str| {
        let text = mesh.metrics().prometheus_text();
        text.lines().any(|line| line.contains(&format!("route=\"{route}\"")))
    };
    let server = mesh.server("web");
    let mut caller = Caller::to(server.clone(), mesh.clone());
    // What rests is made anew, so none of them may have the time.
    let between = Duration::from_millis(100);
    let changes = [
        ("first", "200"),
        ("second", "403"),
        ("third", "200"),
        ("fourth", "403"),
        ("fifth", "200"),
    ];
    for (route, status) in changes {
        updates.apply(serving(vec![routed(route, status == "403")]));
        sleep(between).await;
        for _ in 0..3 {
            caller.say(REQUEST).await;
            let end = if status == "200" { "\r\n\r\n/" } else { "RBAC: access denied" };
            let answer = caller.hear(end).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{route}: {answer}");
        }
        assert!(counted(route));
    }
    assert!(!counted("fourth"));
    updates.apply(serving(vec![routed("sixth", false)]));
    sleep(Duration::from_secs(10)).await;
    // The layer looks when a request comes.
    Caller::to(server, mesh.clone()).answered().await;
    assert!(counted("sixth") && !counted("fifth"));
    caller.answered().await;
    let (part, rest) = REQUEST.split_at(1);
    caller.say(part).await;
    sleep(between).await;
    updates.apply(serving(vec![routed("seventh", false)]));
    sleep(Duration::from_secs(10)).await;
    Caller::to(caller.server.clone(), mesh.clone()).answered().await;
    assert!(counted("seventh") && !counted("sixth"));
    caller.say(rest).await;
    caller.hear("\r\n\r\n/").await;
}

/// What the requests of a connection have in common is that of one layer.
#[tokio::test(start_paused = true)]
async fn a_layer_below_the_servers_own_does_not_take_its_requests_for_its_own() {
    let mut config = serving(vec![chain("plain", |_| {})]);
    let other = Listener::clone(&config.listeners["web"]);
    config.listeners.insert("other".into(), Arc::new(other));
    let mesh = Mesh::builder().config(config).build().unwrap();
    let below = tower::service_fn(|_: Request<RequestBody<RequestBody<Incoming>>>| {
        ready(Ok::<_, Infallible>(Response::new(MeshBody::full("below"))))
    });
    let service = ServerLayer::new(&mesh, "other").layer(below);
    let mut caller = Caller::over(mesh.server("web"), mesh, service);
    for _ in 0..4 {
        caller.say(REQUEST).await;
        let answer = caller.hear("not those of this service").await;
        assert!(answer.starts_with("HTTP/1.1 500 "), "{answer}");
    }
}

/// A head has its 30 s from its first byte, wherever that comes.
#[tokio::test(start_paused = true)]
async fn a_head_that_does_not_end_is_late_all_the_same() {
    for (first, from) in [("", 0), (REQUEST, 0), (REQUEST, 10)] {
        let mut caller = Caller::new();
        caller.say(first).await;
        if !first.is_empty() {
            caller.hear("\r\n\r\n/").await;
        }
        sleep(Duration::from_secs(from)).await;
        let start = Instant::now();
        caller.say("GET / HTTP/1.1\r\n").await;
        assert!(caller.ended().await.is_err());
        assert_eq!(start.elapsed().as_secs(), 30, "{first:?}, {from}");
    }
    // Part of it came with the request before.
    let mut caller = Caller::new();
    let start = Instant::now();
    caller.say(&format!("{REQUEST}GET /")).await;
    caller.hear("\r\n\r\n/").await;
    assert!(caller.ended().await.is_err());
    assert!(start.elapsed().as_secs() <= 31, "{:?}", start.elapsed());
    // And is the beginning of one that ends in time.
    let mut caller = Caller::new();
    caller.say(&format!("{REQUEST}GET /ab")).await;
    caller.hear("\r\n\r\n/").await;
    sleep(Duration::from_secs(5)).await;
    caller.say("c HTTP/1.1\r\nhost: x\r\n\r\n").await;
    caller.hear("\r\n\r\n/abc").await;
}

#[tokio::test(start_paused = true)]
async fn after_an_hour_it_is_closed_without_a_word() {
    let mut caller = Caller::new();
    caller.say(REQUEST).await;
    caller.hear("\r\n\r\n/").await;
    let (mesh, start) = (caller.mesh.clone(), Instant::now());
    let ended = timeout(Duration::from_secs(7200), caller.client.read(&mut [0; 8])).await;
    assert_eq!(ended.unwrap().unwrap(), 0);
    caller.ended().await.unwrap();
    assert!((3600..3603).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    assert_eq!(metric(&mesh, "mesh_server_connections_broken_total", &[]), 0);
}

/// How long one of HTTP/1.1 lasts after its request, which began `before` seconds after it.
async fn lasts(before: u64, idle: Option<u64>) -> Option<u64> {
    let mut timeouts = ConnectionTimeouts::default();
    timeouts.idle = idle.map(Duration::from_secs);
    let mut caller = Caller::of(timeouts);
    sleep(Duration::from_secs(before)).await;
    caller.say(REQUEST).await;
    caller.hear("\r\n\r\n/").await;
    let start = Instant::now();
    let ended = timeout(Duration::from_secs(100_000), caller.client.read(&mut [0; 8])).await;
    ended.ok().map(|read| {
        assert_eq!(read.unwrap(), 0);
        start.elapsed().as_secs()
    })
}

#[tokio::test(start_paused = true)]
async fn how_long_it_is_kept_is_the_chains() {
    for (before, idle, expected) in
        [(0, Some(10), Some(10)), (5, Some(10), Some(10)), (0, Some(0), Some(1)), (0, None, None)]
    {
        let lasted = lasts(before, idle).await;
        let close = |(lasted, expected): (u64, u64)| lasted.abs_diff(expected) <= 1;
        assert_eq!(lasted.is_some(), expected.is_some(), "{before} {idle:?}: {lasted:?}");
        assert!(lasted.zip(expected).is_none_or(close), "{before} {idle:?}: {lasted:?}");
    }
    // Before its first request, too.
    let mut timeouts = ConnectionTimeouts::default();
    timeouts.idle = Some(Duration::from_secs(10));
    let (mut caller, start) = (Caller::of(timeouts), Instant::now());
    assert_eq!(caller.client.read(&mut [0; 8]).await.unwrap(), 0);
    caller.ended().await.unwrap();
    assert_eq!(start.elapsed().as_secs(), 10);
}

/// The beginning of a request that comes with the one before changes nothing for those after it.
#[tokio::test(start_paused = true)]
async fn it_rests_again_after_a_request_that_came_in_pieces() {
    let mut timeouts = ConnectionTimeouts::default();
    timeouts.idle = Some(Duration::from_secs(300));
    let mut caller = Caller::of(timeouts);
    let (first, rest) = REQUEST.split_at(1);
    caller.say(REQUEST).await;
    for _ in 0..3 {
        caller.hear("\r\n\r\n/").await;
        caller.say(&format!("{REQUEST}{first}")).await;
        caller.hear("\r\n\r\n/").await;
        sleep(Duration::from_secs(5)).await;
        caller.say(rest).await;
    }
    caller.hear("\r\n\r\n/").await;
    let start = Instant::now();
    let ended = timeout(Duration::from_secs(1000), caller.client.read(&mut [0; 8])).await;
    assert_eq!(ended.unwrap().unwrap(), 0);
    assert!(start.elapsed().as_secs().abs_diff(300) <= 1, "{:?}", start.elapsed());
    caller.ended().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_leaves_while_it_rests_ends_it() {
    let mut caller = Caller::new();
    caller.say(REQUEST).await;
    caller.hear("\r\n\r\n/").await;
    sleep(Duration::from_secs(5)).await;
    caller.client.shutdown().await.unwrap();
    caller.ended().await.unwrap();
}

/// Drained while it rests, it is told with the answer to what comes in time, and closed otherwise.
#[tokio::test(start_paused = true)]
async fn it_is_drained_as_one_that_does_not_rest() {
    for asks in [false, true] {
        let mut caller = Caller::new();
        caller.say(REQUEST).await;
        caller.hear("\r\n\r\n/").await;
        sleep(Duration::from_secs(5)).await;
        let (server, start) = (caller.server.clone(), Instant::now());
        let drained = tokio::spawn(async move { server.drain(Duration::from_secs(20)).await });
        sleep(Duration::from_millis(500)).await;
        if asks {
            caller.say(REQUEST).await;
            let answer = caller.hear("\r\n\r\n/").await;
            assert!(answer.contains("connection: close\r\n"), "{answer}");
        }
        caller.ended().await.unwrap();
        bounded(drained).await.unwrap();
        assert!(start.elapsed() <= Duration::from_secs(2), "{:?}", start.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn it_may_become_another_protocol() {
    let mut caller = Caller::new();
    caller.say(REQUEST).await;
    caller.hear("\r\n\r\n/").await;
    sleep(Duration::from_secs(5)).await;
    caller.say("GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\nhe").await;
    let answer = caller.hear("\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    // As long as it likes: it is no HTTP any more.
    sleep(Duration::from_secs(100)).await;
    caller.say("llo").await;
    assert_eq!(caller.hear("hello").await, "hello");
}

/// What it became is the service's, and yet a drain waits for it, and closes it at its deadline.
#[tokio::test(start_paused = true)]
async fn what_it_became_is_drained_with_it() {
    const UPGRADE: &str =
        "GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";
    for leaves in [false, true] {
        let mut caller = Caller::new();
        caller.say(UPGRADE).await;
        caller.hear("\r\n\r\n").await;
        caller.say("hello").await;
        caller.hear("hello").await;
        let (server, start) = (caller.server.clone(), Instant::now());
        let drained = tokio::spawn(async move { server.drain(Duration::from_secs(20)).await });
        sleep(Duration::from_secs(10)).await;
        caller.say("still here").await;
        caller.hear("still here").await;
        assert!(!drained.is_finished() && !caller.served.is_finished());
        assert_eq!(metric(&caller.mesh, "mesh_server_connections_active", &[]), 1);
        if leaves {
            caller.client.shutdown().await.unwrap();
            caller.ended().await.unwrap();
        } else {
            // It is closed, and not only counted as such.
            let ended = timeout(Duration::from_secs(15), caller.client.read(&mut [0; 8])).await;
            assert_eq!(ended.unwrap().unwrap(), 0);
            assert!(matches!(caller.ended().await, Err(ServeError::Deadline)));
        }
        bounded(drained).await.unwrap();
        let took = if leaves { 10 } else { 20 };
        assert!(start.elapsed().as_secs().abs_diff(took) <= 1, "{:?}", start.elapsed());
    }
}

/// Over TLS, an end without a word looks like somebody who cuts the connection.
#[tokio::test]
async fn over_tls_the_client_is_told_that_it_ends() {
    let world = World::new(Ca::new("ours"), vec![mutual(|_| {})]).await;
    let tls = world.client(Some(&world.ca.issue(FRIEND)));
    let io = TcpStream::connect(world.address).await.unwrap();
    let mut client = secured(io, tls).await.unwrap();
    client.write_all(REQUEST.as_bytes()).await.unwrap();
    assert!(bounded(client.read(&mut [0; 1024])).await.unwrap() > 0);
    // It comes to rest within two.
    sleep(Duration::from_secs(3)).await;
    let server = world.server.clone();
    let drained = tokio::spawn(async move { server.drain(Duration::from_secs(1)).await });
    // rustls has an error for an end without `close_notify`.
    assert_eq!(bounded(client.read(&mut [0; 1024])).await.unwrap(), 0);
    bounded(drained).await.unwrap();
}
