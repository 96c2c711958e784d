//! The client: it sends a request as it stands, and notes what it is answered.

use super::backend::{collected, pairs, split};
use super::cases::Mark;
use super::facts::Facts;
use super::wire::{Body, Head, PATIENCE};
use bytes::Bytes;
use http::{Request, Version};
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::body::Frame;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::convert::Infallible;
use tokio::io::{AsyncBufRead, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

const SIDE: &str = "answer";

/// Notes what `port` answers.
pub(crate) async fn ask(port: u16, request: &[u8], facts: &mut Facts) {
    let first = request.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let asked = async {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        match first.ends_with(b"HTTP/2") {
            true => over_http2(stream, request, facts).await,
            false => over_http1(stream, request, facts).await,
        }
    };
    if timeout(PATIENCE, asked).await.is_err() {
        facts.note(SIDE, "nothing for long");
    }
}

async fn over_http1(stream: TcpStream, request: &[u8], facts: &mut Facts) {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let (begin, rest) = Mark::Wait.cut(request).unwrap_or((request, b""));
    // A proxy may answer, and close, before it has read all.
    let _sent = writer.write_all(begin).await;
    if !rest.is_empty() {
        let Some(head) = Head::read(&mut reader).await else { return facts.note(SIDE, "none") };
        note_interim(&head, facts);
        let _sent = writer.write_all(rest).await;
        if head.status() >= 200 {
            return note_answer(request, &head, &mut reader, facts).await;
        }
    }
    loop {
        let Some(head) = Head::read(&mut reader).await else { return facts.note(SIDE, "none") };
        if (100..200).contains(&head.status()) && head.status() != 101 {
            note_interim(&head, facts);
            continue;
        }
        return note_answer(request, &head, &mut reader, facts).await;
    }
}

fn note_interim(head: &Head, facts: &mut Facts) {
    if head.status() < 200 {
        facts.note("interim line", &head.first);
        facts.headers("interim", &head.headers);
    }
}

async fn note_answer(
    request: &[u8],
    head: &Head,
    reader: &mut (impl AsyncBufRead + Unpin),
    facts: &mut Facts,
) {
    facts.head(SIDE, head);
    let has_no_body = request.starts_with(b"HEAD") || matches!(head.status(), 101 | 204 | 304);
    let body = match has_no_body {
        true => Body { framing: "none", ..Body::default() },
        false => head.body(reader, true).await,
    };
    facts.body(SIDE, &body);
}

async fn over_http2(stream: TcpStream, request: &[u8], facts: &mut Facts) {
    let (mut head, body) = Head::of(request).await.unwrap();
    let host = head.value("host").unwrap().to_owned();
    head.headers.retain(|(name, _)| name != "Host");
    let mut first = head.first.split(' ');
    let (method, path) = (first.next().unwrap(), first.next().unwrap());
    let builder = Request::builder().version(Version::HTTP_2).method(method);
    let mut request = builder.uri(format!("http://{host}{path}")).body(()).unwrap();
    let (headers, trailers) = split(&head.headers);
    *request.headers_mut() = headers;
    let mut frames: Vec<Result<_, Infallible>> = Vec::new();
    if !body.is_empty() {
        frames.push(Ok(Frame::data(Bytes::copy_from_slice(body))));
    }
    frames.extend(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
    let body = match frames.is_empty() {
        true => Empty::new().boxed(),
        false => StreamBody::new(tokio_stream::iter(frames)).boxed(),
    };
    let request = request.map(|()| body);
    let made = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (mut send, connection) = made.await.unwrap();
    let connection = tokio::spawn(connection);
    match send.send_request(request).await {
        Err(_) => facts.note(SIDE, "none"),
        Ok(response) => {
            let (parts, body) = response.into_parts();
            let first = format!("HTTP/2 {}", parts.status.as_str());
            facts.head(SIDE, &Head { first, headers: pairs(&parts.headers) });
            facts.body(SIDE, &collected(body).await);
        }
    }
    connection.abort();
}
