//! Connections that end.

use super::ca::Ca;
use super::world::{World, chain, get, mutual, secured, serving};
use crate::fixture::{bounded, eventually};
use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::{Empty, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use mesh_core::WallTime;
use mesh_core::model::{Address, SanMatcher};
use mesh_tower::Mesh;
use mesh_tower::server::{Incoming, MeshServer, RequestBody};
use std::convert::Infallible;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Notify;

/// Two sides of the same calls.
#[derive(Default)]
struct Counts {
    begun: AtomicUsize,
    answered: AtomicUsize,
    lost: AtomicUsize,
}

fn plain() -> (Mesh, MeshServer) {
    let mesh = Mesh::builder().config(serving(vec![chain("plain", |_| {})])).build().unwrap();
    let server = mesh.server("web");
    (mesh, server)
}

/// A server whose answers take 5 ms.
fn slow(server: &MeshServer, counts: &Arc<Counts>) -> SocketAddr {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    // A queue for more than the default of 128.
    let socket = socket.listen(1024).unwrap();
    let address = socket.local_addr().unwrap();
    let (server, counts) = (server.clone(), Arc::clone(counts));
    let service = tower::service_fn(move |_: Request<RequestBody<Incoming>>| {
        counts.begun.fetch_add(1, Ordering::SeqCst);
        async {
            tokio::time::sleep(Duration::from_millis(5)).await;
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from("slow"))))
        }
    });
    tokio::spawn(async move { server.serve(socket, service).await });
    address
}

fn request() -> Request<Empty<Bytes>> {
    Request::get("http://x/").header("host", "x").body(Empty::new()).unwrap()
}

/// Calls one after another on one connection, until an answer says that it is the last.
async fn over_http1(address: SocketAddr, counts: Arc<Counts>) {
    let io = TcpStream::connect(address).await.unwrap();
    let (mut sender, driver) = http1::handshake(TokioIo::new(io)).await.unwrap();
    tokio::spawn(driver);
    loop {
        sender.ready().await.unwrap();
        let Ok(response) = bounded(sender.send_request(request())).await else {
            counts.lost.fetch_add(1, Ordering::SeqCst);
            return;
        };
        counts.answered.fetch_add(1, Ordering::SeqCst);
        if response.headers().get(header::CONNECTION).is_some_and(|value| value == "close") {
            return;
        }
        drop(http_body_util::BodyExt::collect(response.into_body()).await.unwrap());
    }
}

/// Calls side by side on one connection, until it takes no more.
async fn over_http2(address: SocketAddr, counts: Arc<Counts>) {
    let io = TcpStream::connect(address).await.unwrap();
    let (sender, driver) = http2::handshake(TokioExecutor::new(), TokioIo::new(io)).await.unwrap();
    tokio::spawn(driver);
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (mut sender, counts) = (sender.clone(), Arc::clone(&counts));
        callers.spawn(async move {
            while sender.ready().await.is_ok() {
                match bounded(sender.send_request(request())).await {
                    Ok(_) => counts.answered.fetch_add(1, Ordering::SeqCst),
                    // It was not processed: the connection takes no more.
                    Err(error) if error.is_canceled() || is_farewell(&error) => return,
                    Err(_) => counts.lost.fetch_add(1, Ordering::SeqCst),
                };
            }
        });
    }
    while callers.join_next().await.is_some() {}
}

fn is_farewell(error: &hyper::Error) -> bool {
    let source = std::error::Error::source(error);
    let h2 = source.and_then(|source| source.downcast_ref::<h2::Error>());
    h2.is_some_and(|h2| h2.is_go_away() && h2.reason() == Some(h2::Reason::NO_ERROR))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_is_lost_while_a_server_ends() {
    for round in 0..3 {
        let ((mesh, server), counts) = (plain(), Arc::new(Counts::default()));
        let address = slow(&server, &counts);
        let mut clients = tokio::task::JoinSet::new();
        for _ in 0..8 {
            clients.spawn(over_http1(address, Arc::clone(&counts)));
            clients.spawn(over_http2(address, Arc::clone(&counts)));
        }
        eventually("calls are made", || counts.answered.load(Ordering::SeqCst) > 200).await;
        bounded(mesh.shutdown(Duration::from_secs(10))).await;
        assert!(!server.is_serving());
        while let Some(ended) = bounded(clients.join_next()).await {
            ended.unwrap();
        }
        let of = |cell: &AtomicUsize| cell.load(Ordering::SeqCst);
        assert_eq!(of(&counts.lost), 0, "round {round}");
        assert_eq!(of(&counts.begun), of(&counts.answered), "round {round}");
        assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
    }
}

/// Serves by somebody who never answers.
async fn hanging(
    server: &MeshServer,
) -> (SocketAddr, tokio::task::JoinHandle<std::io::Result<()>>) {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let hangs = tower::service_fn(|_: Request<RequestBody<Incoming>>| {
        std::future::pending::<Result<Response<Full<Bytes>>, Infallible>>()
    });
    let server = server.clone();
    (address, tokio::spawn(async move { server.serve(socket, hangs).await }))
}

#[tokio::test]
async fn at_the_deadline_what_hangs_is_closed() {
    let (_mesh, server) = plain();
    let (address, serves) = hanging(&server).await;
    for is_http2 in [false, true] {
        let io = TcpStream::connect(address).await.unwrap();
        tokio::spawn(get(io, is_http2));
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    let begun = std::time::Instant::now();
    bounded(server.drain(Duration::from_millis(400))).await;
    assert!(begun.elapsed() >= Duration::from_millis(350), "{:?}", begun.elapsed());
    bounded(serves).await.unwrap().unwrap();
}

/// Calls over HTTP/1.1 and HTTP/2, which have come.
async fn hanging_calls(address: SocketAddr) -> tokio::task::JoinSet<Result<String, String>> {
    let mut clients = tokio::task::JoinSet::new();
    for is_http2 in [false, true] {
        let io = TcpStream::connect(address).await.unwrap();
        clients.spawn(get(io, is_http2));
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    clients
}

/// Also while silent connections of HTTP/1.1 have not been told yet, and of one that never said anything.
#[tokio::test]
async fn who_has_less_patience_is_heard_at_once() {
    let (_mesh, server) = plain();
    let (address, serves) = hanging(&server).await;
    let _silent = TcpStream::connect(address).await.unwrap();
    let mut clients = hanging_calls(address).await;
    let patient = tokio::spawn({
        let server = server.clone();
        async move { server.drain(Duration::from_secs(600)).await }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    let begun = std::time::Instant::now();
    bounded(server.drain(Duration::from_millis(100))).await;
    assert!(begun.elapsed() < Duration::from_millis(700), "{:?}", begun.elapsed());
    while let Some(ended) = bounded(clients.join_next()).await {
        assert!(ended.unwrap().is_err());
    }
    bounded(patient).await.unwrap();
    bounded(serves).await.unwrap().unwrap();
}

/// Of two drains the earlier deadline counts, also for connections that were told of the other.
#[tokio::test]
async fn who_has_less_patience_is_heard() {
    let (_mesh, server) = plain();
    let (address, serves) = hanging(&server).await;
    let mut clients = hanging_calls(address).await;
    let patient = tokio::spawn({
        let server = server.clone();
        async move { server.drain(Duration::from_secs(600)).await }
    });
    // Silent connections of HTTP/1.1 are told after a second.
    tokio::time::sleep(Duration::from_millis(1200)).await;
    bounded(server.drain(Duration::from_millis(200))).await;
    while let Some(ended) = bounded(clients.join_next()).await {
        assert!(ended.unwrap().is_err());
    }
    bounded(patient).await.unwrap();
    bounded(serves).await.unwrap().unwrap();
}

#[tokio::test]
async fn the_end_of_a_server_is_that_of_connections_that_were_drained_before() {
    let world = World::new(Ca::new("ours"), vec![mutual(|_| {})]).await;
    let address = holding(&world, &Arc::new(Notify::new())).await;
    let mut config = world.client(Some(&world.ca.issue(super::FRIEND)));
    config.alpn_protocols = vec![b"h2".to_vec()];
    let io = secured(TcpStream::connect(address).await.unwrap(), config).await.unwrap();
    let (mut sender, driver) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(io)).await.unwrap();
    let ends = tokio::spawn(driver);
    let hangs = tokio::spawn(async move { sender.send_request(request()).await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    world.updates.apply(serving(vec![mutual(super::only_friends)]));
    let drained = || world.counts(DRAINED) == ["{reason=\"configuration\"} 1"];
    eventually("it is drained, for ten minutes", drained).await;
    bounded(world.server.drain(Duration::from_millis(400))).await;
    bounded(hangs).await.unwrap().unwrap_err();
    let _closed = bounded(ends).await.unwrap();
}

#[tokio::test]
async fn health_turns_first_and_the_door_closes_later() {
    let (_mesh, server) = plain();
    let server = server.announce(Duration::from_millis(300));
    let counts = Arc::new(Counts::default());
    let address = slow(&server, &counts);
    eventually("it serves", || server.is_serving()).await;
    let ends = tokio::spawn({
        let server = server.clone();
        async move { server.drain(Duration::from_secs(5)).await }
    });
    eventually("it says so", || !server.is_serving()).await;
    let io = TcpStream::connect(address).await.unwrap();
    assert_eq!(get(io, false).await.as_deref(), Ok("slow"));
    bounded(ends).await.unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}

/// A connection of HTTP/2 that is open, and whose driver says when it ends.
async fn idle<I>(io: I) -> (http2::SendRequest<Empty<Bytes>>, tokio::task::JoinHandle<()>)
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, driver) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(io)).await.unwrap();
    let ends = tokio::spawn(async move { drop(driver.await) });
    assert_eq!(bounded(sender.send_request(request())).await.unwrap().status(), 200);
    (sender, ends)
}

#[tokio::test]
async fn connections_end_whose_chain_is_secured_otherwise() {
    let world = World::new(Ca::new("ours"), vec![mutual(|_| {})]).await;
    let friend = world.ca.issue(super::FRIEND);
    let connect = async || {
        let mut config = world.client(Some(&friend));
        config.alpn_protocols = vec![b"h2".to_vec()];
        secured(TcpStream::connect(world.address).await.unwrap(), config).await.unwrap()
    };
    let (_sender, ends) = idle(connect().await).await;
    // Something else of the chain: it stays.
    let mut same = mutual(|_| {});
    same.handshake_timeout = Duration::from_secs(7);
    world.updates.apply(serving(vec![same]));
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!ends.is_finished());
    world.updates.apply(serving(vec![mutual(super::only_friends)]));
    bounded(ends).await.unwrap();
    drop(idle(connect().await).await);
}

/// A port that is opened for plaintext, and closed again, is one and the same for who proves who he is.
#[tokio::test]
async fn connections_of_mutual_tls_stay_while_their_port_is_opened_and_closed() {
    let world = World::new(Ca::new("ours"), vec![mutual(|_| {})]).await;
    let friend = world.ca.issue(super::FRIEND);
    let mut config = world.client(Some(&friend));
    config.alpn_protocols = vec![b"h2".to_vec()];
    let io = secured(TcpStream::connect(world.address).await.unwrap(), config).await.unwrap();
    let (mut sender, ends) = idle(io).await;
    for _ in 0..2 {
        world.updates.apply(serving(super::permissive(|_| {})));
        let (_plain, closes) = idle(TcpStream::connect(world.address).await.unwrap()).await;
        assert_eq!(bounded(sender.send_request(request())).await.unwrap().status(), 200);
        world.updates.apply(serving(vec![mutual(|_| {})]));
        // Who proved nothing has to go.
        bounded(closes).await.unwrap();
        assert_eq!(bounded(sender.send_request(request())).await.unwrap().status(), 200);
    }
    assert!(!ends.is_finished());
    assert!(world.call(None).await.is_err());
}

const ACTIVE: &str = "mesh_server_connections_active";
const DRAINED: &str = "mesh_server_connections_drained_total";

/// Another socket of a server, whose service answers when it is told to.
async fn holding(world: &World, release: &Arc<Notify>) -> SocketAddr {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let (server, release) = (world.server.clone(), Arc::clone(release));
    let service = tower::service_fn(move |_: Request<RequestBody<Incoming>>| {
        let release = Arc::clone(&release);
        async move {
            release.notified().await;
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from("held"))))
        }
    });
    tokio::spawn(async move { server.serve(socket, service).await });
    address
}

/// A connection with a call in flight ends for this reason after `withdraw`, and the call does not.
async fn check_outlived(life: i64, why: &str, withdraw: impl AsyncFnOnce(&World)) {
    let world = World::new(Ca::new("ours"), vec![mutual(|_| {})]).await;
    let release = Arc::new(Notify::new());
    let address = holding(&world, &release).await;
    let mut config = world.client(Some(&world.ca.issue_for(super::FRIEND, (-60, life), 7)));
    config.alpn_protocols = vec![b"h2".to_vec()];
    let io = secured(TcpStream::connect(address).await.unwrap(), config.clone()).await.unwrap();
    let (sender, driver) = http2::handshake(TokioExecutor::new(), TokioIo::new(io)).await.unwrap();
    let ends = tokio::spawn(driver);
    let mut first = sender.clone();
    let in_flight = tokio::spawn(async move { first.send_request(request()).await });
    // A renewal that takes nothing back, and time to look at it.
    let renewed = world.ca.material(&world.ca.issue(super::OURS));
    world.identity.publish(renewed).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1300)).await;
    assert_eq!(world.counts(DRAINED), [""; 0], "{why}");
    assert!(!ends.is_finished(), "{why}");
    withdraw(&world).await;
    let counted = || world.counts(DRAINED) == [format!("{{reason=\"{why}\"}} 1")];
    eventually("it is told to end", counted).await;
    // The caller has heard of it, and the call goes on.
    let mut next = sender.clone();
    let refused = async {
        while next.ready().await.is_ok() {
            let answer = next.send_request(request());
            // One that was on its way is held, and given up.
            if let Ok(Err(_)) = tokio::time::timeout(Duration::from_millis(200), answer).await {
                break;
            }
        }
    };
    bounded(refused).await;
    // Whoever drives the connection may have ended: hyper sends no more on it. The call has not.
    assert!(!in_flight.is_finished() && world.counts(ACTIVE) == ["{} 1"], "{why}");
    release.notify_waiters();
    let response = bounded(in_flight).await.unwrap().unwrap();
    let body = http_body_util::BodyExt::collect(response.into_body()).await.unwrap();
    assert_eq!(body.to_bytes(), "held", "{why}");
    bounded(ends).await.unwrap().unwrap();
    eventually("it is closed", || world.counts(ACTIVE).is_empty()).await;
    let again = world.call(Some(config)).await;
    assert!(again.is_err(), "{why}: {again:?}");
}

#[tokio::test]
async fn connections_end_with_their_certificate_and_calls_do_not() {
    check_outlived(8, "certificate_ended", async |_| {}).await;
}

#[tokio::test]
async fn connections_end_whose_root_was_withdrawn_and_calls_do_not() {
    check_outlived(3600, "untrusted", async |world| {
        let other = Ca::new("theirs");
        let material = other.material(&other.issue(super::OURS));
        world.identity.publish(material).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn connections_end_whose_certificate_was_revoked_and_calls_do_not() {
    check_outlived(3600, "revoked", async |world| {
        let list = mesh_tower::identity::revocation_lists(world.ca.revoke(7, 3600).as_bytes());
        let material = world.ca.material(&world.ca.issue(super::OURS));
        world.identity.publish(material.with_revoked(list.unwrap())).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_chain_that_was_opened_for_a_while_ends_by_itself() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let until = WallTime::from_unix_seconds(now + 2);
    let open = super::permissive(|plain| plain.until = Some(until));
    let world = World::new(Ca::new("ours"), open).await;
    let (_sender, ends) = idle(TcpStream::connect(world.address).await.unwrap()).await;
    bounded(ends).await.unwrap();
    assert!(world.call(None).await.is_err());
    assert_eq!(world.counts(super::REFUSED), ["{reason=\"over\"} 1"]);
    let friend = world.ca.issue(super::FRIEND);
    assert!(world.call(Some(world.client(Some(&friend)))).await.is_ok());
}

/// More than a task takes in before the runtime wants its turn (tokio: 128).
#[tokio::test]
async fn who_waits_in_the_queue_when_a_server_ends_is_served() {
    let (_mesh, server) = plain();
    let address = slow(&server, &Arc::new(Counts::default()));
    eventually("it accepts", || server.is_serving()).await;
    // Nothing else runs meanwhile, so all of them wait.
    let connect = |_| {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        // Who is silent is let go after a second.
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        stream.set_nonblocking(true).unwrap();
        TcpStream::from_std(stream).unwrap()
    };
    let waiting: Vec<_> = (0..500).map(connect).collect();
    let ends = server.drain(Duration::from_secs(20));
    let answers = async {
        for (at, mut io) in waiting.into_iter().enumerate() {
            let mut answer = String::new();
            let read = io.read_to_string(&mut answer).await;
            assert!(read.is_ok() && answer.ends_with("slow"), "{at}: {read:?}, {answer:?}");
        }
    };
    bounded(futures_util::future::join(ends, answers)).await;
}

/// A process that drains its server ends with it: nobody is answered later.
#[tokio::test]
async fn a_server_without_connections_ends_after_those_that_wait_in_its_queue() {
    let (_mesh, server) = plain();
    let address = slow(&server, &Arc::new(Counts::default()));
    eventually("it serves", || server.is_serving()).await;
    // It accepts.
    assert!(bounded(TcpStream::connect(address)).await.is_ok());
    tokio::time::sleep(Duration::from_millis(20)).await;
    // Nothing else runs meanwhile.
    let mut waiting = std::net::TcpStream::connect(address).unwrap();
    waiting.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    bounded(server.drain(Duration::from_secs(20))).await;
    let mut answer = String::new();
    waiting.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let read = std::io::Read::read_to_string(&mut waiting, &mut answer);
    assert!(read.is_ok() && answer.ends_with("slow"), "{read:?}, {answer:?}");
}

/// Whoever accepts may not be polled any more.
#[tokio::test(start_paused = true)]
async fn a_server_that_nobody_polls_ends_all_the_same() {
    let (_mesh, server) = plain();
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let service = tower::service_fn(|_: Request<RequestBody<Incoming>>| async {
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::new())))
    });
    let mut serving = std::pin::pin!(server.serve(socket, service));
    assert!(futures_util::poll!(serving.as_mut()).is_pending());
    let begun = tokio::time::Instant::now();
    server.drain(Duration::from_secs(20)).await;
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}

/// What comes of a request on this stream, without an answer to any PING.
pub(super) async fn ask_by_frames(
    io: &mut (impl AsyncRead + AsyncWrite + Unpin),
    stream: u8,
) -> String {
    // HEADERS of GET / of https://x.
    let frame = [0, 0, 6, 1, 5, 0, 0, 0, stream, 0x82, 0x87, 0x84, 0x41, 0x01, b'x'];
    io.write_all(&frame).await.unwrap();
    io.flush().await.unwrap();
    loop {
        let mut head = [0; 9];
        io.read_exact(&mut head).await.unwrap();
        let mut rest = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        io.read_exact(&mut rest).await.unwrap();
        if head[3] == 0 && head[8] == stream && !rest.is_empty() {
            return String::from_utf8(rest).unwrap();
        }
    }
}

/// The end of a certificate is that of its calls, whether or not the client wants to hear of it.
#[tokio::test]
async fn who_answers_no_ping_makes_no_calls_without_a_certificate() {
    let world = World::new(Ca::new("ours"), vec![mutual(|_| {})]).await;
    let mut config = world.client(Some(&world.ca.issue(super::FRIEND)));
    config.alpn_protocols = vec![b"h2".to_vec()];
    let mut io = secured(TcpStream::connect(world.address).await.unwrap(), config).await.unwrap();
    io.write_all(super::abuse::PREFACE).await.unwrap();
    io.write_all(super::abuse::SETTINGS).await.unwrap();
    assert_eq!(bounded(ask_by_frames(&mut io, 1)).await, super::FRIEND);
    let other = Ca::new("theirs");
    let material = other.material(&other.issue(super::OURS));
    world.identity.publish(material).await.unwrap();
    let counted = || world.counts(DRAINED) == ["{reason=\"untrusted\"} 1"];
    eventually("it is told to end", counted).await;
    // One that was on its way is served.
    assert_eq!(bounded(ask_by_frames(&mut io, 3)).await, super::FRIEND);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let answer = bounded(ask_by_frames(&mut io, 5)).await;
    assert!(answer.ends_with("takes no requests any more: connect anew"), "{answer}");
}

/// Nor does who would not be let in by the policy that is in force now, whatever his connection is to end for.
#[tokio::test]
async fn who_answers_no_ping_makes_no_calls_by_a_policy_that_does_not_know_him() {
    let world = World::new(Ca::new("ours"), vec![mutual(|_| {})]).await;
    let mut ios = Vec::new();
    for name in [super::FRIEND, "spiffe://mesh.example/former"] {
        let mut config = world.client(Some(&world.ca.issue(name)));
        config.alpn_protocols = vec![b"h2".to_vec()];
        let io = TcpStream::connect(world.address).await.unwrap();
        let mut io = secured(io, config).await.unwrap();
        io.write_all(super::abuse::PREFACE).await.unwrap();
        io.write_all(super::abuse::SETTINGS).await.unwrap();
        assert_eq!(bounded(ask_by_frames(&mut io, 1)).await, name);
        ios.push(io);
    }
    let friends = mutual(|tls| tls.san = vec![SanMatcher::uri(super::FRIEND)]);
    world.updates.apply(serving(vec![friends]));
    let counted = || world.counts(DRAINED) == ["{reason=\"configuration\"} 2"];
    eventually("both are told to end", counted).await;
    let former = &mut ios[1];
    let mut stream = 3;
    // It is looked at once a second, and what is on its way is served for a second.
    let refused = async {
        loop {
            let answer = ask_by_frames(former, stream).await;
            if answer.ends_with("takes no requests any more: connect anew") {
                break;
            }
            assert_eq!(answer, "spiffe://mesh.example/former");
            stream += 2;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    bounded(refused).await;
    assert_eq!(bounded(ask_by_frames(&mut ios[0], 3)).await, super::FRIEND);
}

/// gRFC A36: a server whose listener is elsewhere does not serve, and its connections end.
#[tokio::test]
async fn connections_end_whose_listener_has_moved() {
    let world = World::new(Ca::new("ours"), vec![chain("plain", |_| {})]).await;
    let (_sender, ends) = idle(TcpStream::connect(world.address).await.unwrap()).await;
    let at = |address: SocketAddr| {
        let mut update = serving(vec![chain("plain", |_| {})]);
        let listener = update.listeners.get_mut("web").map(Arc::make_mut).unwrap();
        listener.address = Some(Address::Socket(address));
        update
    };
    world.updates.apply(at(world.address));
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!ends.is_finished() && world.server.is_serving());
    let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
    world.updates.apply(at(other.local_addr().unwrap()));
    bounded(ends).await.unwrap();
    assert!(!world.server.is_serving());
    assert_eq!(world.counts(DRAINED), ["{reason=\"configuration\"} 1"]);
}

/// A socket that was given up is none that the configuration could be wrong about.
#[tokio::test]
async fn a_server_that_listens_elsewhere_by_now_serves() {
    let both = [(); 2].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let [first, second] = both.map(|socket| {
        socket.set_nonblocking(true).unwrap();
        TcpListener::from_std(socket).unwrap()
    });
    let mut update = serving(vec![chain("plain", |_| {})]);
    let listener = update.listeners.get_mut("web").map(Arc::make_mut).unwrap();
    listener.address = Some(Address::Socket(second.local_addr().unwrap()));
    let mesh = Mesh::builder().config(update).build().unwrap();
    let server = mesh.server("web");
    let serve = |socket: TcpListener| {
        let server = server.clone();
        let hello = tower::service_fn(|_: Request<RequestBody<Incoming>>| async {
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("hello")))
        });
        tokio::spawn(async move { server.serve(socket, hello).await })
    };
    let at_first = serve(first);
    eventually("it is elsewhere", || !server.is_serving()).await;
    at_first.abort();
    eventually("it listens nowhere", || server.is_serving()).await;
    let address = second.local_addr().unwrap();
    let _at_second = serve(second);
    drop(idle(TcpStream::connect(address).await.unwrap()).await);
    assert!(server.is_serving());
}
