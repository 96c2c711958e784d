//! Servers that are written by hand, to do what no well-behaved server does.

use crate::fixture::{Count, at};
use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::StreamBody;
use mesh_tower::testing::{MemoryNetwork, MemoryServer};
use mesh_tower::{BoxError, MeshBody};
use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

pub(crate) type Headers = &'static [(&'static str, &'static str)];

/// What a hand-written HTTP/2 server does with one call.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Act {
    /// Answers with a status and these headers, and no body.
    Head(u16, Headers),
    /// Answers as gRPC does: a head, a message, and after the delay these trailers.
    Grpc(Duration, Headers),
    /// Answers 200 after a while.
    Slow(Duration),
    /// Resets the stream.
    Reset(Reason),
    /// Sends a head and a part of the body, and resets the stream after a while.
    Break(Duration, Reason),
    /// Never answers.
    Hang,
}

pub(crate) const OK: Act = Act::Head(200, &[]);
pub(crate) const GRPC_OK: Act = Act::Grpc(Duration::ZERO, &[("grpc-status", "0")]);

/// A server that does `acts` one after another, and the last one for ever; and how many calls it got.
pub(crate) fn scripted(network: &MemoryNetwork, number: u8, acts: &[Act]) -> (MemoryServer, Count) {
    let (acts, count): (Arc<[Act]>, _) = (acts.into(), Count::default());
    let calls = count.clone();
    let server = h2_server(network, number, move |_, respond| {
        let act = acts[calls.add().min(acts.len() - 1)];
        perform(act, respond)
    });
    (server, count)
}

/// A server over `h2` itself.
pub(crate) fn h2_server<F, Fut>(network: &MemoryNetwork, number: u8, answer: F) -> MemoryServer
where
    F: Fn(Request<RecvStream>, SendResponse<Bytes>) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    network.serve_io(at(number), move |io| {
        let answer = answer.clone();
        async move {
            let Ok(mut connection) = h2::server::handshake(io).await else { return };
            while let Some(Ok((request, respond))) = connection.accept().await {
                tokio::spawn(answer(request, respond));
            }
        }
    })
}

pub(crate) async fn perform(act: Act, mut respond: SendResponse<Bytes>) {
    match act {
        Act::Head(status, headers) => {
            drop(respond.send_response(head(status, headers), true));
        }
        Act::Grpc(delay, trailers) => {
            let head = head(200, &[("content-type", "application/grpc")]);
            let mut stream = respond.send_response(head, false).unwrap();
            stream.send_data(Bytes::from_static(b"\0\0\0\0\0"), false).unwrap();
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            drop(stream.send_trailers(map(trailers)));
        }
        Act::Slow(delay) => {
            tokio::time::sleep(delay).await;
            drop(respond.send_response(Response::new(()), true));
        }
        Act::Reset(reason) => respond.send_reset(reason),
        Act::Break(delay, reason) => {
            let mut stream = respond.send_response(Response::new(()), false).unwrap();
            stream.send_data(Bytes::from_static(b"part"), false).unwrap();
            tokio::time::sleep(delay).await;
            stream.send_reset(reason);
        }
        Act::Hang => drop(poll_fn(|cx| respond.poll_reset(cx)).await),
    }
}

fn head(status: u16, headers: Headers) -> Response<()> {
    let mut response = Response::builder().status(status).body(()).unwrap();
    *response.headers_mut() = map(headers);
    response
}

pub(crate) fn map(headers: Headers) -> HeaderMap {
    let pairs = headers
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
    pairs.collect()
}

/// An HTTP/1.1 server that answers the nth connection's first request with `answer(n)`, as it is, and
/// closes. What was received before the answer goes to `received`.
pub(crate) fn raw_h1<F>(
    network: &MemoryNetwork,
    number: u8,
    answer: F,
) -> (MemoryServer, mpsc::UnboundedReceiver<String>)
where
    F: Fn(usize) -> &'static [u8] + Clone + Send + Sync + 'static,
{
    let (sender, received) = mpsc::unbounded_channel();
    let count = Count::default();
    let server = network.serve_io(at(number), move |mut io| {
        let (answer, sender, connection) = (answer.clone(), sender.clone(), count.add());
        async move {
            let mut request = Vec::new();
            while !request.windows(4).any(|window| window == b"\r\n\r\n") {
                match io.read_buf(&mut request).await {
                    Ok(0) | Err(_) => return,
                    Ok(_) => {}
                }
            }
            drop(sender.send(String::from_utf8_lossy(&request).into_owned()));
            drop(io.write_all(answer(connection)).await);
            drop(io.shutdown().await);
        }
    });
    (server, received)
}

/// A body whose frames are sent by hand.
pub(crate) fn channel() -> (mpsc::Sender<Result<Frame<Bytes>, BoxError>>, MeshBody) {
    let (sender, receiver) = mpsc::channel(1);
    (sender, MeshBody::new(StreamBody::new(ReceiverStream::new(receiver))))
}

pub(crate) fn data(bytes: impl Into<Bytes>) -> Result<Frame<Bytes>, BoxError> {
    Ok(Frame::data(bytes.into()))
}
