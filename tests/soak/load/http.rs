//! Calls over HTTP/1.1 and HTTP/2, and gRPC's: what is sent comes back.

use super::{Seen, pattern};
use crate::backend::X_BACKEND;
use crate::calls::Kind;
use crate::place::GRPC_TIMEOUT;
use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, TE};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::net::SocketAddr;
use tokio::net::TcpStream;

pub(super) const FLAG: &str = "x-mesh-response-flag";
/// After so many calls a connection is made anew.
const CALLS_PER_CONNECTION: u32 = 200;

type Body = Full<Bytes>;

enum Sender {
    One(http1::SendRequest<Body>),
    Two(http2::SendRequest<Body>),
}

/// A caller's connection, made when it is needed.
pub(super) struct Connection {
    kind: Kind,
    address: SocketAddr,
    open: Option<Sender>,
    calls: u32,
}

impl Connection {
    pub(super) const fn new(kind: Kind, address: SocketAddr) -> Self {
        Self { kind, address, open: None, calls: 0 }
    }

    pub(super) fn close(&mut self) {
        self.open = None;
        self.calls = 0;
    }

    pub(super) async fn call(&mut self, id: &str, random: &mut fastrand::Rng) -> Result<(), Seen> {
        if self.kind == Kind::Grpc {
            return self.rpc(id, random).await;
        }
        let (path, sent, want) = match random.u32(..10) {
            0..5 => ("/echo".to_owned(), Vec::new(), None),
            5..8 => ("/echo".to_owned(), pattern(1024, random), None),
            8 => ("/echo".to_owned(), pattern(150_000, random), None),
            _ => ("/bytes/200000".to_owned(), Vec::new(), Some(vec![b'b'; 200_000])),
        };
        let method = if sent.is_empty() { "GET" } else { "POST" };
        let request = self.request(method, &path, id).body(Bytes::from(sent.clone()).into());
        let (status, headers, body) = self.send(request.unwrap()).await?;
        let seen = |how: String| seen(how, &headers);
        let body = body.map_err(|error| seen(format!("{status}, and then {error}")))?.0;
        if status != StatusCode::OK {
            return Err(seen(format!("{status}: {}", String::from_utf8_lossy(&body).trim())));
        }
        if body != want.unwrap_or(sent) {
            return Err(seen(format!("{} bytes that are others", body.len())));
        }
        Ok(())
    }

    /// A unary call, or one of several messages.
    async fn rpc(&mut self, id: &str, random: &mut fastrand::Rng) -> Result<(), Seen> {
        let mut sent = BytesMut::new();
        for _ in 0..*random.choice(&[1, 1, 1, 20]).unwrap() {
            sent.put_u8(0);
            sent.put_u32(1024);
            sent.put_slice(&pattern(1024, random));
        }
        let sent = sent.freeze();
        let request = self
            .request("POST", "/soak.Echo/Echo", id)
            .header(CONTENT_TYPE, "application/grpc")
            .header(TE, "trailers")
            .header("grpc-timeout", format!("{}m", GRPC_TIMEOUT.as_millis()))
            .body(sent.clone().into());
        let (status, headers, body) = self.send(request.unwrap()).await?;
        let seen = |how: String| seen(how, &headers);
        let (body, trailers) = body.map_err(|error| seen(format!("{status}, and then {error}")))?;
        let trailers = trailers.unwrap_or_default();
        let of = |name: &str| trailers.get(name).or_else(|| headers.get(name));
        let code = of("grpc-status").map(|code| String::from_utf8_lossy(code.as_bytes()));
        match code.as_deref() {
            Some("0") if body == sent => Ok(()),
            Some("0") => Err(seen(format!("{} bytes that are others", body.len()))),
            code => {
                let why = of("grpc-message").map_or("", |why| why.to_str().unwrap_or("?"));
                Err(seen(format!("status {}: {why}", code.unwrap_or("missing"))))
            }
        }
    }

    fn request(&self, method: &str, path: &str, id: &str) -> http::request::Builder {
        let request = Request::builder().method(method).header("x-request-id", id);
        match self.kind {
            Kind::Http1 => request.uri(path).header("host", "shop"),
            _ => request.uri(format!("http://shop{path}")),
        }
    }

    async fn send(
        &mut self,
        request: Request<Body>,
    ) -> Result<(StatusCode, HeaderMap, Result<(Bytes, Option<HeaderMap>), hyper::Error>), Seen>
    {
        let response = self.response(request).await.map_err(|error| {
            self.close();
            Seen::broke(error)
        })?;
        let (head, body) = response.into_parts();
        let body = body.collect().await.map(|all| {
            let trailers = all.trailers().cloned();
            (all.to_bytes(), trailers)
        });
        Ok((head.status, head.headers, body))
    }

    async fn response(&mut self, request: Request<Body>) -> Result<Response<Incoming>, String> {
        self.calls += 1;
        if self.calls > CALLS_PER_CONNECTION {
            self.close();
        }
        let open = match self.open.take() {
            Some(open) => open,
            None => self.dial().await?,
        };
        let answered = match self.open.insert(open) {
            Sender::One(sender) => {
                sender.ready().await.map_err(|error| format!("not ready: {error}"))?;
                sender.send_request(request).await
            }
            Sender::Two(sender) => {
                sender.ready().await.map_err(|error| format!("not ready: {error}"))?;
                sender.send_request(request).await
            }
        };
        answered.map_err(|error| format!("no answer: {error:?}"))
    }

    async fn dial(&self) -> Result<Sender, String> {
        let stream = TcpStream::connect(self.address).await;
        let stream = stream.map_err(|error| format!("can't connect: {error}"))?;
        let _set = stream.set_nodelay(true);
        let io = TokioIo::new(stream);
        let failed = |error| format!("handshake: {error}");
        if self.kind == Kind::Http1 {
            let (sender, connection) = http1::handshake(io).await.map_err(failed)?;
            tokio::spawn(connection);
            return Ok(Sender::One(sender));
        }
        let executor = TokioExecutor::new();
        let (sender, connection) = http2::handshake(executor, io).await.map_err(failed)?;
        tokio::spawn(connection);
        Ok(Sender::Two(sender))
    }
}

fn seen(how: String, headers: &HeaderMap) -> Seen {
    let flag = headers.get(FLAG).map(|flag| String::from_utf8_lossy(flag.as_bytes()).into_owned());
    let own = flag.is_none() && headers.contains_key(X_BACKEND);
    Seen { how, flag, own, ended_early: false }
}
