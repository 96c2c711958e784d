//! The application: it notes what comes, and answers what it is told to.

use super::cases::Mark;
use super::facts::Facts;
use super::wire::{Body, Head, PATIENCE};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// What HTTP/2 begins with.
const PREFACE: &[u8] = b"PRI";

/// What is to be answered, and what came.
#[derive(Default)]
struct Script {
    answers: VecDeque<Vec<u8>>,
    seen: Facts,
    /// How many requests came.
    came: usize,
}

/// The application. It serves HTTP/1.1 and HTTP/2 on one port.
pub(crate) struct Backend {
    pub(crate) port: u16,
    script: Arc<Mutex<Script>>,
}

impl Backend {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let script = Arc::<Mutex<Script>>::default();
        let shared = Arc::clone(&script);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&shared)));
            }
        });
        Self { port, script }
    }

    /// From now on it answers these.
    pub(crate) fn answer(&self, answers: &[Vec<u8>]) {
        let answers = answers.to_vec().into();
        *self.script.lock() = Script { answers, ..Script::default() };
    }

    /// What came since.
    pub(crate) fn seen(&self) -> Facts {
        self.script.lock().seen.clone()
    }
}

impl Script {
    /// A request came: what its facts are called, and what is answered.
    fn next(&mut self) -> (String, Vec<u8>) {
        self.came += 1;
        let side = match self.came {
            1 => "request".to_owned(),
            more => format!("request {more}"),
        };
        (side, self.answers.pop_front().unwrap_or_default())
    }
}

async fn serve(stream: TcpStream, script: Arc<Mutex<Script>>) {
    let mut start = [0; PREFACE.len()];
    let Ok(Ok(_)) = timeout(PATIENCE * 60, stream.peek(&mut start)).await else { return };
    if start == PREFACE {
        let service = service_fn(move |request| of_http2(request, Arc::clone(&script)));
        let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let _ended = server.serve_connection(TokioIo::new(stream), service).await;
        return;
    }
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    while let Some(head) = Head::read(&mut reader).await {
        let (side, answer) = script.lock().next();
        script.lock().seen.head(&side, &head);
        if let Some((_, answer)) = Mark::Early.cut(&answer) {
            script.lock().seen.note(&format!("{side} framing"), "(not read)");
            let _sent = writer.write_all(answer).await;
            return drop(timeout(PATIENCE, head.body(&mut reader, false)).await);
        }
        let body = timeout(PATIENCE, head.body(&mut reader, false)).await.unwrap_or_default();
        script.lock().seen.body(&side, &body);
        if Mark::Silence.cut(&answer).is_some() {
            // Until the proxy gives up.
            return drop(timeout(PATIENCE, Head::read(&mut reader)).await);
        }
        let ends = Mark::End.cut(&answer).map(|(answer, _)| answer);
        let sent = writer.write_all(ends.unwrap_or(&answer)).await;
        if ends.is_some() || sent.is_err() {
            return;
        }
    }
}

type Answer =
    Response<StreamBody<tokio_stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, Infallible>>>>>;

/// The same over HTTP/2; an error resets the stream.
async fn of_http2(
    request: Request<Incoming>,
    script: Arc<Mutex<Script>>,
) -> Result<Answer, &'static str> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map_or("", |path| path.as_str());
    let mut head = Head { first: format!("{} {path} HTTP/2", parts.method), headers: Vec::new() };
    let pseudo =
        [("host", parts.uri.authority().map(|a| a.as_str())), (":scheme", parts.uri.scheme_str())];
    for (name, value) in pseudo {
        head.headers.extend(value.map(|value| (name.to_owned(), value.to_owned())));
    }
    head.headers.extend(pairs(&parts.headers));
    let (side, answer) = script.lock().next();
    script.lock().seen.head(&side, &head);
    let body = timeout(PATIENCE, collected(body)).await.unwrap_or_default();
    script.lock().seen.body(&side, &body);
    if Mark::Silence.cut(&answer).is_some() {
        tokio::time::sleep(PATIENCE).await;
    }
    let (head, body) = Head::of(&answer).await.ok_or("no answer")?;
    let mut response = Response::new(());
    *response.status_mut() = head.status().try_into().unwrap();
    let (headers, trailers) = split(&head.headers);
    *response.headers_mut() = headers;
    let mut frames = Vec::new();
    if !body.is_empty() {
        frames.push(Ok(Frame::data(Bytes::copy_from_slice(body))));
    }
    frames.extend(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
    Ok(response.map(|()| StreamBody::new(tokio_stream::iter(frames))))
}

/// Headers of a case over HTTP/2, and trailers if there are some.
pub(crate) fn split(lines: &[(String, String)]) -> (HeaderMap, Option<HeaderMap>) {
    let (mut headers, mut trailers) = (HeaderMap::new(), HeaderMap::new());
    for (name, value) in lines {
        let name: HeaderName = name.parse().unwrap();
        let mark = Mark::Trailer.text().trim();
        match value.strip_suffix(mark) {
            Some(value) => trailers.append(name, value.trim().parse().unwrap()),
            None => headers.append(name, value.parse().unwrap()),
        };
    }
    let is_some = !trailers.is_empty();
    (headers, is_some.then_some(trailers))
}

pub(crate) fn pairs(headers: &HeaderMap) -> Vec<(String, String)> {
    let shown = |value: &http::HeaderValue| super::wire::shown(value.as_bytes());
    headers.iter().map(|(name, value)| (name.to_string(), shown(value))).collect()
}

/// A body of HTTP/2.
pub(crate) async fn collected(mut body: Incoming) -> Body {
    let mut collected = Body { framing: "frames", ..Body::default() };
    while let Some(frame) = body.frame().await {
        match frame.map(Frame::into_data) {
            Ok(Ok(data)) => collected.bytes.extend_from_slice(&data),
            Ok(Err(frame)) => {
                collected.trailers = pairs(&frame.into_trailers().unwrap_or_default());
            }
            Err(_) => collected.broken = true,
        }
    }
    collected
}
