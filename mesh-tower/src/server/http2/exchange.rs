//! [`Exchange`]: a request that the service has, and the answer as it goes out.

use super::date::date;
use super::expects::Expects;
use super::tunnel::Opening;
use crate::body::BoxError;
use crate::clock;
use crate::outgoing::{Broken, Outgoing};
use crate::server::streams;
use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use http::header::{CONTENT_LENGTH, DATE};
use http::{Response, StatusCode};
use http_body::Body;
use mesh_core::head::decimal;
use mesh_core::proxy::hop_by_hop;
use pin_project::pin_project;
use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// A request that is answered. Dropped before its end, it is reset.
#[pin_project]
pub(super) struct Exchange<F, B> {
    reply: SendResponse<Bytes>,
    #[pin]
    state: State<F, B>,
}

#[pin_project(project = StateProj)]
enum State<F, B> {
    /// The service has it.
    Asked(#[pin] F, Kind),
    /// The answer goes out.
    Answered(#[pin] Answer<B>),
}

/// It is CONNECT, or expects to be told that its body is wanted, or (mostly) neither.
pub(super) type Kind = (Option<Opening>, Option<Arc<Expects>>);

/// A body on its way.
#[pin_project]
struct Answer<B> {
    #[pin]
    body: B,
    outgoing: Outgoing,
}

/// What becomes of an answer.
enum Begun<B> {
    Body(Answer<B>),
    /// Nothing more is to be done.
    Done,
}

impl<F, B> Exchange<F, B> {
    pub(super) const fn new(answer: F, reply: SendResponse<Bytes>, kind: Kind) -> Self {
        Self { reply, state: State::Asked(answer, kind) }
    }
}

impl<F, B, E> Future for Exchange<F, B>
where
    F: Future<Output = Result<Response<B>, E>>,
    E: Into<BoxError>,
    B: Body<Data = Bytes, Error: Into<BoxError>>,
{
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        loop {
            let begun = match this.state.as_mut().project() {
                StateProj::Answered(answer) => return answer.poll_send(cx),
                StateProj::Asked(asked, (opening, expects)) => match asked.poll(cx) {
                    // Who asked does not wait for it any more.
                    Poll::Pending if this.reply.poll_reset(cx).is_ready() => return Poll::Ready(()),
                    Poll::Pending => {
                        if expects.as_ref().is_some_and(|expects| expects.is_wanted(cx)) {
                            *expects = None;
                            go_on(this.reply);
                        }
                        return Poll::Pending;
                    }
                    Poll::Ready(Ok(response)) => begin(this.reply, response, opening.take()),
                    Poll::Ready(Err(error)) => Err(reason_of(&*error.into())),
                },
            };
            match begun {
                Ok(Begun::Body(answer)) => this.state.set(State::Answered(answer)),
                Ok(Begun::Done) => return Poll::Ready(()),
                Err(reason) => {
                    this.reply.send_reset(reason);
                    return Poll::Ready(());
                }
            }
        }
    }
}

/// Says that the body is wanted.
#[cold]
fn go_on(reply: &mut SendResponse<Bytes>) {
    let mut head = Response::new(());
    *head.status_mut() = StatusCode::CONTINUE;
    // What becomes of a stream that is gone is seen when it is polled next.
    drop(reply.send_informational(head));
}

/// Sends the head.
///
/// # Errors
/// With what the stream is to be reset.
fn begin<B>(
    reply: &mut SendResponse<Bytes>,
    response: Response<B>,
    opening: Option<Opening>,
) -> Result<Begun<B>, Reason>
where
    B: Body<Data = Bytes>,
{
    let (head, body) = response.into_parts();
    let mut head = Response::from_parts(head, ());
    hop_by_hop::strip_answer(head.headers_mut());
    let now = streams::turn_began().unwrap_or_else(clock::now);
    head.headers_mut().entry(DATE).or_insert_with(|| date(now));
    if let Some(opening) = opening
        && head.status().is_success()
    {
        // RFC 9110 section 9.3.6.
        head.headers_mut().remove(CONTENT_LENGTH);
        opening.open(send_head(reply, head, false)?);
        return Ok(Begun::Done);
    }
    if body.is_end_stream() {
        send_head(reply, head, true)?;
        return Ok(Begun::Done);
    }
    if let Some(length) = body.size_hint().exact() {
        head.headers_mut().entry(CONTENT_LENGTH).or_insert_with(|| decimal(length));
    }
    let stream = send_head(reply, head, false)?;
    Ok(Begun::Body(Answer { body, outgoing: Outgoing::new(stream) }))
}

fn send_head(
    reply: &mut SendResponse<Bytes>,
    head: Response<()>,
    ends: bool,
) -> Result<SendStream<Bytes>, Reason> {
    reply.send_response(head, ends).map_err(|error| unsendable(&error))
}

/// With what a stream is reset whose service failed so: as an error of `h2` behind it says, or INTERNAL_ERROR. That all
/// was well, or nothing done, is not for others to say of it (RFC 9113 sections 8.1 and 8.7).
#[cold]
fn reason_of(error: &(dyn Error + 'static)) -> Reason {
    tracing::debug!(%error, "a service failed");
    let mut next = Some(error);
    while let Some(error) = next {
        match error.downcast_ref::<h2::Error>().and_then(h2::Error::reason) {
            Some(Reason::NO_ERROR | Reason::REFUSED_STREAM) => return Reason::INTERNAL_ERROR,
            Some(reason) => return reason,
            None => {}
        }
        next = error.source();
    }
    Reason::INTERNAL_ERROR
}

impl<B: Body<Data = Bytes, Error: Into<BoxError>>> Answer<B> {
    /// Sends it to its end, or to that of its stream.
    fn poll_send(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        if let Err(broken) = ready!(this.outgoing.poll_send(this.body, cx)) {
            this.outgoing.reset(match broken {
                Broken::Body(error) => reason_of(&*error),
                Broken::Stream(error) => unsendable(&error),
            });
        }
        Poll::Ready(())
    }
}

#[cold]
fn unsendable(error: &h2::Error) -> Reason {
    tracing::debug!(%error, "an answer can't be sent");
    Reason::INTERNAL_ERROR
}
