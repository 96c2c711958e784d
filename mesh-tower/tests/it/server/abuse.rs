//! What a server does about clients that say nothing, read nothing, or only cost: without a proxy around it, and with a
//! clock that a test can move.

use super::drain::ask_by_frames;
use super::world::{chain, serving};
use crate::fixture::{bounded, metric};
use bytes::Bytes;
use h2::client::{Connection, SendRequest};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use mesh_core::model::HttpConnectionManager;
use mesh_core::model::filter_chain::ConnectionTimeouts;
use mesh_tower::server::{Ends, Incoming, RequestBody, ServeError};
use mesh_tower::{Mesh, MeshBody};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::JoinHandle;
use tokio::time::Instant;

const DRAINED: &str = "mesh_server_connections_drained_total";
const BROKEN: &str = "mesh_server_connections_broken_total";
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// SETTINGS without any.
pub(super) const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];

/// A connection to a server that answers with `length` bytes, and what becomes of it.
fn connect(length: usize) -> (Mesh, DuplexStream, JoinHandle<Result<(), ServeError>>) {
    let mesh = Mesh::builder().config(serving(vec![chain("plain", |_| {})])).build().unwrap();
    let (client, io) = duplex(4096);
    let server = mesh.server("web");
    let service = tower::service_fn(move |_: Request<RequestBody<Incoming>>| async move {
        let body = MeshBody::full(Bytes::from(vec![b'x'; length]));
        Ok::<_, Infallible>(Response::new(body))
    });
    let ends = Ends::default();
    let served = tokio::spawn(async move { server.serve_connection(io, ends, service).await });
    (mesh, client, served)
}

/// How long a connection lasts on which `sent` came and nothing is read.
#[track_caller]
fn check(
    sent: impl Into<Vec<u8>>,
    length: usize,
    expected: (u64, &'static str),
) -> impl Future<Output = ()> {
    let (caller, sent) = (std::panic::Location::caller(), sent.into());
    async move {
        let (mesh, mut client, served) = connect(length);
        let start = Instant::now();
        client.write_all(&sent).await.unwrap();
        let ended = bounded(served).await.unwrap();
        assert!(ended.is_err(), "{caller}");
        let (lasted, reason) = expected;
        assert_eq!(start.elapsed().as_secs(), lasted, "{caller}: {ended:?}");
        assert_eq!(metric(&mesh, BROKEN, &[("reason", reason)]), 1, "{caller}: {ended:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_does_not_say_what_he_wants_is_let_go() {
    check("", 1, (30, "silent")).await;
    check("PRI * HTTP/2.0\r\n\r\n", 1, (30, "silent")).await;
    check("GET / HTTP/1.1\r\nhost", 1, (30, "head_timeout")).await;
}

#[tokio::test(start_paused = true)]
async fn who_does_not_read_is_let_go() {
    let request = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";
    check(request, 1 << 20, (60, "write_stalled")).await;
    // Window and stream are his to open; what is answered has to be taken. GET / of http://x.
    let head = [0x82, 0x86, 0x84, 0x41, 0x01, b'x'];
    let head = [&[0, 0, 6, 1, 5, 0, 0, 0, 1][..], &head].concat();
    let bytes = [PREFACE, SETTINGS, &head].concat();
    check(bytes, 1 << 20, (60, "write_stalled")).await;
}

/// A client that takes a little now and then is none of those.
#[tokio::test(start_paused = true)]
async fn who_reads_slowly_is_served() {
    let (mesh, mut client, served) = connect(64 << 10);
    client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let (mut piece, mut length) = ([0; 4096], 0);
    loop {
        tokio::time::sleep(Duration::from_secs(50)).await;
        let read = client.read(&mut piece).await.unwrap();
        if read == 0 {
            break;
        }
        length += read;
    }
    assert!(length > 64 << 10);
    bounded(served).await.unwrap().unwrap();
    assert_eq!(metric(&mesh, BROKEN, &[]), 0);
}

/// A connection of HTTP/2 to a server that answers with `body`, whose client opens windows of `window` bytes.
async fn http2(
    window: u32,
    body: impl Fn() -> MeshBody + Clone + Send + Sync + 'static,
) -> (Mesh, SendRequest<Bytes>, Connection<DuplexStream, Bytes>) {
    http2_with(window, body, |_| {}).await
}

/// The same, of a chain with these timeouts.
async fn http2_with(
    window: u32,
    body: impl Fn() -> MeshBody + Clone + Send + Sync + 'static,
    timeouts: impl FnOnce(&mut ConnectionTimeouts),
) -> (Mesh, SendRequest<Bytes>, Connection<DuplexStream, Bytes>) {
    let mut http = HttpConnectionManager::serving(Vec::new());
    timeouts(&mut http.timeouts);
    let chain = chain("plain", |chain| chain.http = Some(Arc::new(http)));
    let mesh = Mesh::builder().config(serving(vec![chain])).build().unwrap();
    let (client, io) = duplex(4096);
    let server = mesh.server("web");
    let service = tower::service_fn(move |_: Request<RequestBody<Incoming>>| {
        let body = body();
        async move { Ok::<_, Infallible>(Response::new(body)) }
    });
    let ends = Ends::default();
    tokio::spawn(async move { server.serve_connection(io, ends, service).await });
    let mut builder = h2::client::Builder::new();
    let (send, connection) = builder.initial_window_size(window).handshake(client).await.unwrap();
    (mesh, send, connection)
}

/// Asks, and reads the whole answer.
async fn ask(send: &mut SendRequest<Bytes>) -> Result<usize, h2::Error> {
    ask_so(send, Request::get("http://x/").body(()).unwrap()).await
}

async fn ask_so(send: &mut SendRequest<Bytes>, request: Request<()>) -> Result<usize, h2::Error> {
    let mut body = send.send_request(request, true)?.0.await?.into_body();
    let mut length = 0;
    while let Some(data) = body.data().await {
        let data = data?;
        length += data.len();
        body.flow_control().release_capacity(data.len())?;
    }
    Ok(length)
}

/// What comes of `asked` while `connection` runs.
async fn with<T>(
    connection: &mut Connection<DuplexStream, Bytes>,
    asked: impl Future<Output = T>,
) -> T {
    tokio::select! {
        ended = connection => panic!("{ended:?}"),
        answer = asked => answer,
    }
}

const STALLED: &str = "mesh_server_streams_stalled_total";

/// The same for whoever is run by the connection, and for whoever has a task of its own.
#[tokio::test(start_paused = true)]
async fn a_stream_whose_client_opens_no_window_is_reset_and_others_go_on() {
    for waits in [false, true] {
        let body = move || match waits {
            false => MeshBody::full(Bytes::from_static(&[b'x'; 1000])),
            true => in_parts(Duration::from_millis(1)),
        };
        let (mesh, mut send, mut connection) = http2(0, body).await;
        let start = Instant::now();
        let mut second = send.clone();
        let both = async {
            let late = async {
                tokio::time::sleep(Duration::from_secs(10)).await;
                (ask(&mut second).await.unwrap_err(), start.elapsed().as_secs())
            };
            let first = async { (ask(&mut send).await.unwrap_err(), start.elapsed().as_secs()) };
            tokio::join!(first, late)
        };
        let (first, late) = with(&mut connection, both).await;
        for ((error, lasted), expected) in [(first, 300), (late, 310)] {
            assert_eq!(error.reason(), Some(h2::Reason::CANCEL), "{error}");
            assert_eq!(lasted, expected);
        }
        assert_eq!(metric(&mesh, STALLED, &[]), 2);
        connection.set_initial_window_size(65_535).unwrap();
        assert_eq!(with(&mut connection, ask(&mut send)).await.unwrap(), 1000);
        assert_eq!(metric(&mesh, STALLED, &[]), 2);
    }
}

/// Nobody waits for the rest any more, and the body is not asked while it waits for the client.
#[tokio::test(start_paused = true)]
async fn a_stream_that_waits_for_its_client_ends_at_the_callers_deadline() {
    for (waits, flag) in [(false, ""), (true, "DT")] {
        let body = move || match waits {
            false => MeshBody::full(Bytes::from_static(&[b'x'; 1000])),
            true => in_parts(Duration::from_millis(1)),
        };
        let (mesh, mut send, mut connection) = http2(0, body).await;
        let start = Instant::now();
        let request = Request::post("http://x/").header("content-type", "application/grpc");
        let request = request.header("grpc-timeout", "2S").body(()).unwrap();
        let error = with(&mut connection, ask_so(&mut send, request)).await.unwrap_err();
        assert_eq!(error.reason(), Some(h2::Reason::CANCEL), "{error}");
        assert_eq!(start.elapsed().as_secs(), 2);
        assert_eq!(metric(&mesh, STALLED, &[]), 0);
        // Of what was given as a whole nothing is told any more.
        let ended = [("response_flag", flag)];
        assert_eq!(metric(&mesh, "mesh_server_requests_total", &ended), 1);
    }
}

/// A thousand bytes in ten parts, with a pause before each.
fn in_parts(pause: Duration) -> MeshBody {
    let parts = futures_util::stream::unfold(0, move |part| async move {
        tokio::time::sleep(pause).await;
        let frame = Frame::data(Bytes::from_static(&[b'x'; 100]));
        (part < 10).then(|| (Ok::<_, mesh_tower::BoxError>(frame), part + 1))
    });
    MeshBody::new(StreamBody::new(parts))
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_the_application_is_not_stalled() {
    let (mesh, mut send, mut connection) =
        http2(65_535, || in_parts(Duration::from_secs(900))).await;
    assert_eq!(with(&mut connection, ask(&mut send)).await.unwrap(), 1000);
    assert_eq!(metric(&mesh, STALLED, &[]), 0);
}

/// One that has a request is not idle, however long that takes: the body here lasts for 2 h 45 min.
#[tokio::test(start_paused = true)]
async fn a_connection_without_requests_is_told_to_end() {
    let (mesh, mut send, mut connection) =
        http2(65_535, || in_parts(Duration::from_secs(900))).await;
    let start = Instant::now();
    assert_eq!(with(&mut connection, ask(&mut send)).await.unwrap(), 1000);
    let answered = start.elapsed().as_secs();
    assert_eq!(answered, 11 * 900);
    let drained = || metric(&mesh, "mesh_server_connections_drained_total", &[("reason", "idle")]);
    assert_eq!(drained(), 0);
    // GOAWAY, and no error.
    connection.await.unwrap();
    let idle = start.elapsed().as_secs() - answered;
    assert!((3600..=3900).contains(&idle), "{idle}");
    assert_eq!(drained(), 1);
    assert_eq!(metric(&mesh, BROKEN, &[]), 0);
}

#[tokio::test(start_paused = true)]
async fn both_times_are_the_chains() {
    let body = || MeshBody::full(Bytes::from_static(&[b'x'; 1000]));
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    for (flush, expected) in [(seconds(7), Some(7)), (None, None)] {
        let (_mesh, mut send, mut connection) =
            http2_with(0, body, |timeouts| timeouts.stream_flush = flush).await;
        let start = Instant::now();
        let asked = tokio::time::timeout(Duration::from_secs(3000), ask(&mut send));
        let answer = with(&mut connection, asked).await;
        let reset = answer.ok().map(|answer| answer.unwrap_err().reason());
        assert_eq!(reset, expected.map(|_| Some(h2::Reason::CANCEL)));
        assert_eq!(start.elapsed().as_secs(), expected.unwrap_or(3000));
    }
    for (idle, expected) in [(seconds(24), Some(24..=28)), (None, None)] {
        let (_mesh, _send, connection) =
            http2_with(65_535, body, |timeouts| timeouts.idle = idle).await;
        let start = Instant::now();
        let ended = tokio::time::timeout(Duration::from_secs(100_000), connection).await;
        assert_eq!(ended.is_ok(), expected.is_some());
        let lasted = start.elapsed().as_secs();
        assert!(expected.unwrap_or(100_000..=100_000).contains(&lasted), "{lasted}");
    }
}

#[tokio::test]
async fn who_only_costs_is_let_go() {
    for (frame, reason) in [
        (&[0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8][..], "ping_flood"),
        (SETTINGS, "settings_flood"),
        (&[0, 0, 5, 2, 0, 0, 0, 0, 3, 0, 0, 0, 1, 16][..], "priority_flood"),
        (&[0, 0, 4, 8, 0, 0, 0, 0, 0, 0, 0, 0, 1][..], "window_update_flood"),
    ] {
        let (mesh, mut client, served) = connect(1);
        client.write_all(&[PREFACE, SETTINGS].concat()).await.unwrap();
        let (mut reader, mut writer) = tokio::io::split(client);
        let reads = tokio::spawn(async move { reader.read_to_end(&mut Vec::new()).await });
        let many = frame.repeat(100);
        for _ in 0..1000 {
            if writer.write_all(&many).await.is_err() {
                break;
            }
        }
        let ended = bounded(served).await.unwrap();
        assert!(matches!(ended, Err(ServeError::Flood(_))), "{reason}: {ended:?}");
        assert_eq!(metric(&mesh, BROKEN, &[("reason", reason)]), 1);
        let _ended = bounded(reads).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn bodies_that_nobody_reads_hold_up_no_others() {
    let mesh = Mesh::builder().config(serving(vec![chain("plain", |_| {})])).build().unwrap();
    let (client, io) = duplex(1 << 16);
    let server = mesh.server("web");
    let service = tower::service_fn(|request: Request<RequestBody<Incoming>>| async move {
        if request.uri().path() == "/unread" {
            std::future::pending::<()>().await;
        }
        let length = request.into_body().collect().await.unwrap().to_bytes().len();
        Ok::<_, Infallible>(Response::new(MeshBody::full(length.to_string())))
    });
    tokio::spawn(async move { server.serve_connection(io, Ends::default(), service).await });
    let (mut send, connection) = h2::client::handshake(client).await.unwrap();
    tokio::spawn(connection);
    let mut post = async |path| {
        send = send.clone().ready().await.unwrap();
        let request = Request::post(format!("http://x{path}")).body(()).unwrap();
        send.send_request(request, false).unwrap()
    };
    let mut unread = Vec::new();
    for _ in 0..8 {
        let (response, mut body) = post("/unread").await;
        body.send_data(Bytes::from(vec![b'x'; 2 << 20]), true).unwrap();
        unread.push((response, body));
    }
    // All that may come has come.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (response, mut body) = post("/read").await;
    body.send_data(Bytes::from(vec![b'x'; 3 << 20]), true).unwrap();
    let mut answer = bounded(response).await.unwrap().into_body();
    assert_eq!(answer.data().await.unwrap().unwrap(), (3 << 20).to_string());
}

/// Over HTTP/2 nobody can know that his request meets the end of an idle connection.
#[tokio::test(start_paused = true)]
async fn what_comes_while_an_idle_connection_ends_has_its_time() {
    let mut http = HttpConnectionManager::serving(Vec::new());
    http.timeouts.idle = Some(Duration::from_secs(60));
    let chain = chain("plain", |chain| chain.http = Some(Arc::new(http)));
    let mesh = Mesh::builder().config(serving(vec![chain])).build().unwrap();
    let server = mesh.server("web");
    // None, and one of 100 s.
    for late in [false, true] {
        let (mut client, io) = duplex(4096);
        let service = tower::service_fn(move |_: Request<RequestBody<Incoming>>| async {
            tokio::time::sleep(Duration::from_secs(100)).await;
            Ok::<_, Infallible>(Response::new(MeshBody::full("late")))
        });
        let (server, ends) = (server.clone(), Ends::default());
        let served = tokio::spawn(async move { server.serve_connection(io, ends, service).await });
        client.write_all(PREFACE).await.unwrap();
        client.write_all(SETTINGS).await.unwrap();
        assert_eq!(ask_by_frames(&mut client, 1).await, "late");
        let start = Instant::now();
        let counted = || metric(&mesh, DRAINED, &[("reason", "idle")]) == 1 + u64::from(late);
        while !counted() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        assert!((60..=75).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
        let start = Instant::now();
        if late {
            assert_eq!(ask_by_frames(&mut client, 3).await, "late");
            assert_eq!(start.elapsed().as_secs(), 100);
            let answer = ask_by_frames(&mut client, 5).await;
            assert!(answer.ends_with("takes no requests any more: connect anew"), "{answer}");
        }
        // Who answers no PING is let go all the same.
        let ended = served.await.unwrap();
        assert!(matches!(ended, Err(ServeError::Deadline)), "{ended:?}");
        let lasted = start.elapsed().as_secs();
        assert!(lasted.abs_diff(if late { 630 } else { 30 }) <= 2, "{lasted}");
    }
}
