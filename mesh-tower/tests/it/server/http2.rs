//! What a server does over HTTP/2 beside what h2 does: RFC 9110 and RFC 9113, seen by a client of h2.

use super::world::{chain, routed, serving};
use crate::fixture::{bounded, call, flags, get, idle, over_h2, simple};
use crate::wire::h2_server;
use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{PingPong, Reason, SendStream};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use mesh_tower::server::{Ends, Incoming, MeshServer, OnTunnel, RequestBody};
use mesh_tower::source::Updates;
use mesh_tower::testing::MemoryNetwork;
use mesh_tower::{BoxError, Mesh, MeshBody};
use parking_lot::Mutex;
use std::future::{Future, poll_fn};
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

/// What became of the body of `/tells`.
static TOLD: Mutex<&str> = Mutex::new("");

/// Answers by path.
async fn answer(
    mut request: Request<RequestBody<Incoming>>,
) -> Result<Response<MeshBody>, BoxError> {
    let mut response = Response::new(MeshBody::empty());
    let path = request.uri().path().to_owned();
    match &*path {
        "/hops" => {
            hops(response.headers_mut());
        }
        "/dated" => {
            response.headers_mut().insert("date", "today".parse().unwrap());
            *response.body_mut() = MeshBody::full("ok");
        }
        "/streams" => {
            let part = || Ok::<_, BoxError>(http_body::Frame::data(Bytes::from_static(b"more")));
            let endless = futures_util::stream::repeat_with(part);
            *response.body_mut() = MeshBody::new(http_body_util::StreamBody::new(endless));
        }
        "/fails" => return Err("it does".into()),
        "/fails-so" => return Err(Box::new(h2::Error::from(Reason::ENHANCE_YOUR_CALM))),
        "/fails-well" => return Err(Box::new(h2::Error::from(Reason::NO_ERROR))),
        "/fails-undone" => return Err(Box::new(h2::Error::from(Reason::REFUSED_STREAM))),
        "/tells" => {
            // In a task: the request is dropped with its stream.
            tokio::spawn(async move {
                let whole = request.into_body().collect().await.is_ok();
                *TOLD.lock() = if whole { "whole" } else { "broken" };
            });
            std::future::pending().await
        }
        "/told" => {
            let told = std::mem::take(&mut *TOLD.lock());
            *response.body_mut() = MeshBody::full(told);
        }
        "/reads-later" => {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let body = tokio::spawn(request.into_body().collect()).await?;
            *response.body_mut() = MeshBody::full(body?.to_bytes());
        }
        "/refuses" => {
            tokio::time::sleep(Duration::from_secs(1)).await;
            *response.status_mut() = StatusCode::FORBIDDEN;
        }
        "/counts" => {
            let body = request.into_body().collect().await?;
            let trailers = body.trailers().cloned().unwrap_or_default();
            let text = format!("{} {trailers:?}", body.to_bytes().len());
            *response.body_mut() = MeshBody::full(text);
        }
        "" if request.method() == Method::CONNECT => {
            let on_tunnel = request.extensions_mut().remove::<OnTunnel>().ok_or("no tunnel")?;
            if request.uri().authority().is_some_and(|to| to.host() == "nowhere") {
                *response.status_mut() = StatusCode::NOT_FOUND;
                tokio::spawn(async move { assert!(on_tunnel.await.is_err()) });
                return Ok(response);
            }
            tokio::spawn(speak(on_tunnel));
        }
        path => *response.body_mut() = MeshBody::full(path.to_owned()),
    }
    Ok(response)
}

/// What is of a connection, and one more.
fn hops(headers: &mut HeaderMap) {
    for (name, value) in [
        ("connection", "x-hop, keep-alive"),
        ("x-hop", "1"),
        ("keep-alive", "3"),
        ("proxy-connection", "x"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "x"),
        ("te", "trailers"),
        ("x-end", "stays"),
    ] {
        headers.insert(name, value.parse().unwrap());
    }
}

/// Says everything back, but for `reset`.
async fn speak(on_tunnel: OnTunnel) {
    let mut io = on_tunnel.await.unwrap();
    let mut said = [0; 5];
    io.read_exact(&mut said).await.unwrap();
    match &said {
        b"reset" => io.reset(),
        _ => {
            io.write_all(&said).await.unwrap();
            let (mut reader, mut writer) = tokio::io::split(io);
            tokio::io::copy(&mut reader, &mut writer).await.unwrap();
            writer.shutdown().await.unwrap();
        }
    }
}

struct Client {
    _mesh: Mesh,
    send: SendRequest<Bytes>,
}

impl Client {
    async fn new() -> Self {
        Self::of(answer).await
    }

    async fn of<F, Fut>(answer: F) -> Self
    where
        F: Fn(Request<RequestBody<Incoming>>) -> Fut + Clone + Send + 'static,
        Fut: Future<Output = Result<Response<MeshBody>, BoxError>> + Send + 'static,
    {
        let mesh = Mesh::builder().config(serving(vec![chain("plain", |_| {})])).build().unwrap();
        let server = mesh.server("web");
        Self::to(&server, mesh, answer).await.0
    }

    /// One of `server`, and what pings it.
    async fn to<F, Fut>(server: &MeshServer, mesh: Mesh, answer: F) -> (Self, PingPong)
    where
        F: Fn(Request<RequestBody<Incoming>>) -> Fut + Clone + Send + 'static,
        Fut: Future<Output = Result<Response<MeshBody>, BoxError>> + Send + 'static,
    {
        let (client, io) = duplex(1 << 16);
        let server = server.clone();
        let service = tower::service_fn(answer);
        tokio::spawn(async move { server.serve_connection(io, Ends::default(), service).await });
        let (send, mut connection) = h2::client::handshake(client).await.unwrap();
        let pings = connection.ping_pong().unwrap();
        tokio::spawn(connection);
        (Self { _mesh: mesh, send }, pings)
    }

    async fn send(
        &mut self,
        request: Request<()>,
        ends: bool,
    ) -> (ResponseFuture, SendStream<Bytes>) {
        self.send = self.send.clone().ready().await.unwrap();
        self.send.send_request(request, ends).unwrap()
    }

    async fn get(&mut self, path: &str) -> Result<Response<h2::RecvStream>, h2::Error> {
        let request = Request::get(format!("http://x{path}")).body(()).unwrap();
        bounded(self.send(request, true).await.0).await
    }
}

/// Another configuration is for all requests that come after it, and a connection that is silent does not keep the one
/// before.
#[tokio::test(start_paused = true)]
async fn requests_of_a_connection_follow_the_configuration() {
    let (updates, source) = Updates::new();
    updates.apply(serving(vec![routed("first", false)]));
    let mesh = Mesh::builder().source(source).build().unwrap();
    bounded(mesh.ready()).await.unwrap();
    let server = mesh.server("web");
    let (mut client, mut pings) = Client::to(&server, mesh.clone(), answer).await;
    let counted = |route: &str| {
        let text = mesh.metrics().prometheus_text();
        text.lines().any(|line| line.contains(&format!("route=\"{route}\"")))
    };
    for _ in 0..3 {
        assert_eq!(client.get("/a").await.unwrap().status(), StatusCode::OK);
    }
    assert!(counted("first"));
    updates.apply(serving(vec![routed("second", true)]));
    tokio::time::sleep(Duration::from_secs(1)).await;
    for _ in 0..3 {
        assert_eq!(client.get("/a").await.unwrap().status(), StatusCode::FORBIDDEN);
    }
    assert!(!counted("first") && counted("second"));
    updates.apply(serving(vec![routed("third", false)]));
    tokio::time::sleep(Duration::from_secs(1)).await;
    // The layer looks when a request comes, and what is silent when it is polled.
    let (mut other, _pings) = Client::to(&server, mesh.clone(), answer).await;
    assert_eq!(other.get("/a").await.unwrap().status(), StatusCode::OK);
    bounded(pings.ping(h2::Ping::opaque())).await.unwrap();
    assert!(counted("third"));
    assert!(!counted("second"));
}

async fn text(response: Response<h2::RecvStream>) -> String {
    let mut body = response.into_body();
    let mut text = Vec::new();
    while let Some(data) = bounded(body.data()).await {
        let data = data.unwrap();
        body.flow_control().release_capacity(data.len()).unwrap();
        text.extend_from_slice(&data);
    }
    String::from_utf8(text).unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_answer_has_a_date_and_a_length_and_nothing_of_a_connection() {
    let mut client = Client::new().await;
    let response = client.get("/hops").await.unwrap();
    let mut names: Vec<_> = response.headers().keys().map(|name| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["date", "x-end"]);
    assert!(response.body().is_end_stream());
    let date = response.headers()["date"].to_str().unwrap().to_owned();
    assert!(date.ends_with(" GMT") && date.len() == 29, "{date}");
    let response = client.get("/dated").await.unwrap();
    assert_eq!(response.headers()["date"], "today");
    assert_eq!(response.headers()["content-length"], "2");
    assert_eq!(text(response).await, "ok");
}

/// RFC 9110 section 9.3.2: no frame of its body, of whatever kind it is, and the length that it has.
#[tokio::test(start_paused = true)]
async fn an_answer_to_head_ends_with_its_head() {
    let mut client = Client::new().await;
    for (path, length) in [("/dated", Some("2")), ("/hops", None), ("/streams", None)] {
        let request = Request::head(format!("http://x{path}")).body(()).unwrap();
        let response = bounded(client.send(request, true).await.0).await.unwrap();
        assert!(response.body().is_end_stream(), "{path}");
        let said = response.headers().get("content-length").map(|said| said.to_str().unwrap());
        assert_eq!(said, length, "{path}");
    }
    assert_eq!(text(client.get("/then").await.unwrap()).await, "/then");
}

/// It is whole for whoever asked and for who was asked, though its end is a frame that nobody waits for.
#[tokio::test(start_paused = true)]
async fn an_answer_to_head_that_is_passed_on_was_not_given_up() {
    let network = MemoryNetwork::new();
    h2_server(&network, 1, |_, mut respond| async move {
        let head = Response::builder().header("content-length", "7").body(()).unwrap();
        let mut stream = respond.send_response(head, false).unwrap();
        stream.send_data(Bytes::new(), true).unwrap();
    });
    let calls = simple(&network, 1, |_| {});
    let passing = calls.clone();
    let mut client = Client::of(move |_| {
        let calls = passing.clone();
        async move {
            let mut asked = over_h2(get("/"));
            *asked.method_mut() = Method::HEAD;
            Ok(call(&calls, asked).await?.map(MeshBody::new))
        }
    })
    .await;
    let request = Request::head("http://x/").body(()).unwrap();
    let response = bounded(client.send(request, true).await.0).await.unwrap();
    assert!(response.body().is_end_stream());
    assert_eq!(response.headers()["content-length"], "7");
    idle(&calls).await;
    assert_eq!(flags(&calls), "-:1");
}

#[tokio::test(start_paused = true)]
async fn a_service_that_fails_resets_its_stream_alone() {
    let mut client = Client::new().await;
    for (path, reason) in [
        ("/fails", Reason::INTERNAL_ERROR),
        ("/fails-so", Reason::ENHANCE_YOUR_CALM),
        // It may not say that all was well, nor that nothing was done.
        ("/fails-well", Reason::INTERNAL_ERROR),
        ("/fails-undone", Reason::INTERNAL_ERROR),
    ] {
        let error = client.get(path).await.unwrap_err();
        assert_eq!(error.reason(), Some(reason), "{path}");
        assert_eq!(text(client.get("/then").await.unwrap()).await, "/then");
    }
}

#[tokio::test(start_paused = true)]
async fn bodies_and_their_trailers_come_whole() {
    let mut client = Client::new().await;
    let request = Request::post("http://x/counts").body(()).unwrap();
    let (response, mut body) = client.send(request, false).await;
    body.send_data(Bytes::from(vec![1; 3 << 20]), false).unwrap();
    let trailers = HeaderMap::from_iter([("x-end".parse().unwrap(), "yes".parse().unwrap())]);
    body.send_trailers(trailers).unwrap();
    let said = text(bounded(response).await.unwrap()).await;
    assert_eq!(said, "3145728 {\"x-end\": \"yes\"}");
    // A client has no way to end a body but its end: NO_ERROR is a server's word (RFC 9113 section 8.1).
    for reason in [Reason::CANCEL, Reason::NO_ERROR] {
        let request = Request::post("http://x/tells").body(()).unwrap();
        let (response, mut body) = client.send(request, false).await;
        body.send_data(Bytes::from_static(b"some"), false).unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
        body.send_reset(reason);
        assert!(bounded(response).await.is_err());
        assert_eq!(text(client.get("/told").await.unwrap()).await, "broken");
    }
    assert_eq!(text(client.get("/then").await.unwrap()).await, "/then");
}

/// Of the last frame of each body a connection gets its room back with the stream: more of them come than it has room for.
#[tokio::test(start_paused = true)]
async fn the_room_of_last_frames_comes_back_with_their_streams() {
    let mut client = Client::new().await;
    for _ in 0..11 {
        let mut answers = Vec::new();
        for _ in 0..100 {
            let request = Request::post("http://x/counts").body(()).unwrap();
            let (answer, mut body) = client.send(request, false).await;
            body.send_data(Bytes::from(vec![1; 16 << 10]), true).unwrap();
            answers.push(answer);
        }
        for answer in answers {
            assert_eq!(text(bounded(answer).await.unwrap()).await, "16384 {}");
        }
    }
}

/// RFC 9110 section 10.1.1: when the body is wanted, wherever it is read; and not where it is not.
#[tokio::test(start_paused = true)]
async fn who_expects_100_is_told_when_the_body_is_wanted() {
    let mut client = Client::new().await;
    for (path, expects, told) in
        [("/reads-later", true, true), ("/reads-later", false, false), ("/refuses", true, false)]
    {
        let mut request = Request::post(format!("http://x{path}")).body(()).unwrap();
        if expects {
            request.headers_mut().insert("expect", "100-continue".parse().unwrap());
        }
        let (mut response, mut body) = client.send(request, false).await;
        let mut early = async || {
            let early = poll_fn(|cx| response.poll_informational(cx));
            tokio::time::timeout(Duration::from_secs(30), early).await.ok().flatten()
        };
        let early = early().await.map(|early| early.unwrap().status());
        assert_eq!(early, told.then_some(StatusCode::CONTINUE), "{path} {expects}");
        if path == "/refuses" {
            assert_eq!(bounded(response).await.unwrap().status(), StatusCode::FORBIDDEN);
            continue;
        }
        body.send_data(Bytes::from_static(b"wanted"), true).unwrap();
        assert_eq!(text(bounded(response).await.unwrap()).await, "wanted");
    }
}

#[tokio::test(start_paused = true)]
async fn connect_is_a_tunnel_where_a_service_says_so() {
    let mut client = Client::new().await;
    let connect = |to: &str| Request::connect(to.to_owned()).body(()).unwrap();
    // What comes back is what was said, more than all windows hold, and the end.
    let (response, mut writes) = client.send(connect("here:1"), false).await;
    let mut response = bounded(response).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert!(!response.headers().contains_key("content-length"));
    writes.send_data(Bytes::from(vec![b'x'; 3 << 20]), true).unwrap();
    let (mut came, body) = (0, response.body_mut());
    while let Some(data) = bounded(body.data()).await {
        let length = data.unwrap().len();
        body.flow_control().release_capacity(length).unwrap();
        came += length;
    }
    assert_eq!(came, 3 << 20);
    // It may be reset, which is not its end.
    let (response, mut writes) = client.send(connect("here:1"), false).await;
    let mut response = bounded(response).await.unwrap();
    writes.send_data(Bytes::from_static(b"reset"), false).unwrap();
    let error = bounded(response.body_mut().data()).await.unwrap().unwrap_err();
    assert_eq!(error.reason(), Some(Reason::CONNECT_ERROR));
    // One that is refused is an answer like others.
    let (response, _writes) = client.send(connect("nowhere:1"), false).await;
    assert_eq!(bounded(response).await.unwrap().status(), StatusCode::NOT_FOUND);
    // And it has no body.
    let mut request = connect("here:1");
    request.headers_mut().insert("content-length", "3".parse().unwrap());
    let (response, _writes) = client.send(request, false).await;
    assert_eq!(bounded(response).await.unwrap_err().reason(), Some(Reason::PROTOCOL_ERROR));
    assert_eq!(text(client.get("/then").await.unwrap()).await, "/then");
}

/// Whoever resets his stream is waited for by nobody: not by the service, nor by its body.
#[tokio::test(start_paused = true)]
async fn a_request_ends_with_its_stream() {
    struct Gone(tokio::sync::mpsc::UnboundedSender<()>);
    impl Drop for Gone {
        fn drop(&mut self) {
            let _nobody = self.0.send(());
        }
    }
    let (gone, mut is_gone) = tokio::sync::mpsc::unbounded_channel();
    let mesh = Mesh::builder().config(serving(vec![chain("plain", |_| {})])).build().unwrap();
    let (client, io) = duplex(1 << 16);
    let server = mesh.server("web");
    let service = tower::service_fn(move |request: Request<RequestBody<Incoming>>| {
        let gone = Gone(gone.clone());
        async move {
            if request.uri().path() == "/head" {
                std::future::pending::<()>().await;
            }
            // It never ends: it says nothing, or pieces of nothing.
            let says = request.uri().path() == "/empties";
            let endless = futures_util::stream::poll_fn(move |_| {
                let _held = &gone;
                let nothing = || Ok::<_, BoxError>(http_body::Frame::data(Bytes::new()));
                if says { Poll::Ready(Some(nothing())) } else { Poll::Pending }
            });
            let body = MeshBody::new(http_body_util::StreamBody::new(endless));
            Ok::<_, std::convert::Infallible>(Response::new(body))
        }
    });
    tokio::spawn(async move { server.serve_connection(io, Ends::default(), service).await });
    let (mut send, connection) = h2::client::handshake(client).await.unwrap();
    tokio::spawn(connection);
    for path in ["/head", "/body", "/empties"] {
        send = send.ready().await.unwrap();
        let request = Request::get(format!("http://x{path}")).body(()).unwrap();
        let (response, mut stream) = send.send_request(request, true).unwrap();
        let response = async { if path == "/head" { None } else { Some(response.await.unwrap()) } };
        let _response = bounded(response).await;
        // Time stands still while somebody has something to say.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert!(is_gone.try_recv().is_err());
        stream.send_reset(Reason::CANCEL);
        bounded(is_gone.recv()).await.unwrap();
    }
}
