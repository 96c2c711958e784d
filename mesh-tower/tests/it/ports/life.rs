//! Ports come and go with the configuration, and end in order.

use super::kit::{Ports, say, until, update};
use crate::fixture::{Server, bounded, eventually};
use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use mesh_core::model::Address;
use mesh_tower::Mesh;
use mesh_tower::proxy::{PortState, Proxy, ProxyError};
use mesh_tower::source::Updates;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

const ASK: &str = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

fn text(server: &Server, outbound: &str) -> String {
    let address = server.address;
    format!(
        "virtual_hosts: {{ a: {{ routes: [{{ cluster: a }}] }} }}\nclusters: {{ a: {{ endpoints: [\"{address}\"] }} }}\noutbound: {{ {outbound} }}\n"
    )
}

const ONE: &str = "one: { listen: \"127.0.0.1:1\" }";
const TWO: &str = "two: { listen: \"127.0.0.1:2\", cluster: a }";

#[tokio::test]
async fn ports_follow_the_configuration() {
    let server = Server::text("hello").await;
    let (updates, source) = Updates::new();
    updates.apply(update(&text(&server, ONE)));
    let mesh = Mesh::builder().source(source).build().unwrap();
    mesh.applied(1).await.unwrap();
    let ports = Ports::of(mesh);
    let one = ports.port("outbound|one");
    assert!(ports.proxy.is_ready());
    updates.apply(update(&text(&server, &format!("{ONE}, {TWO}"))));
    eventually("a port is added", || ports.proxy.ports().len() == 2).await;
    assert_eq!(ports.port("outbound|one"), one, "the other stays");
    let two = ports.port("outbound|two");
    for port in [one, two] {
        assert!(say(port, ASK, false).await.ends_with("hello"));
    }
    updates.apply(update(&text(&server, TWO)));
    eventually("a port is gone", || ports.proxy.ports().len() == 1).await;
    eventually("nobody listens", || std::net::TcpStream::connect(one).is_err()).await;
    assert!(say(two, ASK, false).await.ends_with("hello"));
    // By other routes it is another port, with the same socket.
    let by_authority = "two: { listen: \"127.0.0.1:2\" }";
    updates.apply(update(&text(&server, by_authority)));
    let unknown = ASK.replace("Host: a", "Host: b");
    let mut answer = String::new();
    while !answer.starts_with("HTTP/1.1 404 ") {
        answer = ports.ask("outbound|two", &unknown).await;
        assert!(answer.starts_with("HTTP/1.1 "), "{answer:?}");
    }
    assert_eq!(ports.port("outbound|two"), two);
    drop(ports);
}

/// What listens where another did is there at once: nobody finds nobody, and who waits is not lost. What was asked of
/// the one before may be what the configuration has no route for any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_that_is_another_one_loses_nobody() {
    let server = Server::text("hello").await;
    let (updates, source) = Updates::new();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let change = |outbound: &str| {
        let mut update = update(&text(&server, outbound));
        for listener in update.listeners.values_mut() {
            Arc::make_mut(listener).address = Some(free.into());
        }
        updates.apply(update);
    };
    change(ONE);
    let mesh = Mesh::builder().source(source).build().unwrap();
    mesh.applied(1).await.unwrap();
    let ports = Ports::of(mesh);
    let by_cluster = "one: { listen: \"127.0.0.1:1\", cluster: a }";
    for (round, outbound) in [by_cluster, ONE].iter().cycle().take(20).enumerate() {
        change(outbound);
        let until = ports.mesh.applied(round as u64 + 2);
        let asking = async {
            for _ in 0..8 {
                let answer = say(free, ASK, false).await;
                assert!(answer.starts_with("HTTP/1.1 "), "{answer:?} in round {round}");
            }
        };
        let (applied, ()) = tokio::join!(until, asking);
        applied.unwrap();
    }
    assert!(say(free, ASK, false).await.ends_with("hello"));
    assert!(ports.proxy.is_ready(), "{:?}", ports.proxy);
}

/// The next proxy has the sockets of the first, whose callers all have an answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_proxy_goes_on_with_its_sockets() {
    let server = Server::text("hello").await;
    let first = Ports::open(&text(&server, &format!("{ONE}, {TWO}")));
    let at = [first.port("outbound|one"), first.port("outbound|two")];
    // It has one port less, and one more.
    let three = "three: { listen: \"127.0.0.1:3\" }";
    let update = update(&text(&server, &format!("{TWO}, {three}")));
    let mesh = Mesh::builder().config(update).build().unwrap();
    let next = Proxy::open_with(&mesh, first.proxy.sockets()).unwrap();
    let next = Ports { mesh, proxy: next };
    assert_eq!(next.port("outbound|two"), at[1]);
    assert_ne!(next.port("outbound|three"), at[0]);
    let asking = tokio::spawn(async move {
        for _ in 0..200 {
            assert!(say(at[1], ASK, false).await.ends_with("hello"));
        }
    });
    bounded(first.proxy.drain(Duration::from_secs(10))).await;
    assert!(first.proxy.sockets().is_empty(), "{:?}", first.proxy.sockets());
    bounded(asking).await.unwrap();
    assert!(TcpStream::connect(at[0]).await.is_err(), "nobody has it");
}

/// The configuration with the port `one` at `address`.
fn at(server: &Server, address: SocketAddr) -> mesh_core::update::ConfigUpdate {
    let mut update = update(&text(server, ONE));
    let listener = update.listeners.get_mut("outbound|one").unwrap();
    Arc::make_mut(listener).address = Some(address.into());
    update
}

#[tokio::test]
async fn a_port_that_is_taken_is_an_error_at_first_and_tried_again_later() {
    let server = Server::text("hello").await;
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    let mesh = Mesh::builder().config(at(&server, address)).build().unwrap();
    let Err(ProxyError::Bind { port, address: told, .. }) = Proxy::open(&mesh) else {
        panic!("it is open");
    };
    assert_eq!((&*port, told), ("outbound|one", Address::from(address)));

    let (updates, source) = Updates::new();
    updates.apply(update(&text(&server, TWO)));
    let mesh = Mesh::builder().source(source).build().unwrap();
    mesh.applied(1).await.unwrap();
    let ports = Ports::of(mesh);
    updates.apply(at(&server, address));
    eventually("it is told", || !ports.proxy.is_ready()).await;
    let told = ports.proxy.ports();
    assert!(matches!(&told[..], [port] if matches!(port.state, PortState::Failed(_))), "{told:?}");
    drop(taken);
    eventually("it is tried again", || ports.proxy.is_ready()).await;
    assert!(say(address, ASK, false).await.ends_with("hello"));
}

#[tokio::test]
async fn who_calls_the_application_is_let_finish_before_what_it_calls_is() {
    // The application calls another while it answers, and takes its time.
    let other = Server::text("from the other").await;
    let outbound: Arc<std::sync::OnceLock<SocketAddr>> = Arc::default();
    let (through, asked) = (Arc::clone(&outbound), Arc::new(AtomicBool::new(false)));
    let is_asked = Arc::clone(&asked);
    let application = Server::start(move |_| {
        let (port, asked) = (*through.get().unwrap(), Arc::clone(&asked));
        async move {
            asked.store(true, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(500)).await;
            let answer = say(port, ASK, false).await;
            let body = answer.rsplit("\r\n\r\n").next().unwrap().to_owned();
            Response::new(Full::from(Bytes::from(body)))
        }
    })
    .await;
    let address = application.address;
    let inbound = format!(
        "inbound: {{ web: {{ listen: \"127.0.0.1:9\", mtls: off, allow: [{{ from: anyone, match: {{ prefix: / }} }}], forward: \"{address}\" }} }}\n"
    );
    let ports = Ports::open(&(text(&other, ONE) + &inbound));
    outbound.set(ports.port("outbound|one")).unwrap();
    let web = ports.port("web");
    let calling = tokio::spawn(async move { say(web, ASK, false).await });
    eventually("the application is asked", || is_asked.load(Ordering::SeqCst)).await;
    bounded(ports.proxy.drain(Duration::from_secs(20))).await;
    assert!(bounded(calling).await.unwrap().ends_with("from the other"));
    assert!(TcpStream::connect(web).await.is_err());
    assert!(!ports.proxy.is_ready());
}

/// Nobody goes on by what was configured before, and nobody waits for ever: connections end as those of a chain that is
/// gone.
#[tokio::test]
async fn connections_of_a_port_that_is_another_one_end() {
    let server = Server::text("hello").await;
    let (updates, source) = Updates::new();
    updates.apply(update(&text(&server, TWO)));
    let mesh = Mesh::builder().source(source).build().unwrap();
    mesh.applied(1).await.unwrap();
    let ports = Ports::of(mesh);
    let (by_authority, moved) =
        ("two: { listen: \"127.0.0.1:2\" }", "two: { listen: \"127.0.0.2:2\", cluster: a }");
    for next in [moved, ONE, by_authority] {
        let mut stream = TcpStream::connect(ports.port("outbound|two")).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        until(&mut stream, "hello").await;
        updates.apply(update(&text(&server, next)));
        let mut rest = Vec::new();
        bounded(stream.read_to_end(&mut rest)).await.unwrap();
        assert!(rest.is_empty(), "{next}: {rest:?}");
        updates.apply(update(&text(&server, TWO)));
        let is_back = || {
            let all = ports.proxy.ports();
            matches!(&all[..], [port] if &*port.name == "outbound|two" && port.address.to_string().starts_with("127.0.0.1:"))
        };
        eventually("it is back", is_back).await;
    }
}

/// The application may end when nobody calls it any more: not before the calls of a port that is gone.
#[tokio::test]
async fn calls_of_ports_that_are_gone_are_let_finish_too() {
    let (release, asked) = (Arc::new(Notify::new()), Arc::new(AtomicBool::new(false)));
    let (held, is_asked) = (Arc::clone(&release), Arc::clone(&asked));
    let application = Server::start(move |_| {
        let (held, asked) = (Arc::clone(&held), Arc::clone(&asked));
        async move {
            asked.store(true, Ordering::SeqCst);
            held.notified().await;
            Response::new(Full::from(Bytes::from("held")))
        }
    })
    .await;
    let address = application.address;
    let inbound = format!(
        "inbound: {{ web: {{ listen: \"127.0.0.1:9\", mtls: off, allow: [{{ from: anyone, match: {{ prefix: / }} }}], forward: \"{address}\" }} }}\n"
    );
    let (updates, source) = Updates::new();
    updates.apply(update(&(text(&application, ONE) + &inbound)));
    let mesh = Mesh::builder().source(source).build().unwrap();
    mesh.applied(1).await.unwrap();
    let ports = Ports::of(mesh);
    let web = ports.port("web");
    let calling = tokio::spawn(async move { say(web, ASK, false).await });
    eventually("the application is asked", || is_asked.load(Ordering::SeqCst)).await;
    updates.apply(update(&text(&application, ONE)));
    eventually("its port is gone", || ports.proxy.ports().len() == 1).await;
    let proxy = ports.proxy.clone();
    let drained = tokio::spawn(async move { proxy.drain_inbound(Duration::from_secs(20)).await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!drained.is_finished(), "a call is in flight");
    release.notify_waiters();
    assert!(bounded(calling).await.unwrap().ends_with("held"));
    bounded(drained).await.unwrap();
}

#[cfg(unix)]
#[tokio::test]
async fn a_port_may_be_a_unix_socket() {
    let server = Server::text("hello").await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("web.sock");
    let port = format!("one: {{ listen: \"unix:{}\" }}", path.display());
    let ports = Ports::open(&text(&server, &port));
    assert_eq!(ports.proxy.ports()[0].address, Address::Unix(path.as_path().into()));
    let mut stream = tokio::net::UnixStream::connect(&path).await.unwrap();
    stream.write_all(ASK.as_bytes()).await.unwrap();
    let mut answer = String::new();
    bounded(stream.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.ends_with("hello"), "{answer}");
}
