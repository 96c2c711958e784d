//! [`Exchange`]: a request that the service is asked, and the answer as it goes out.

use super::date::date;
use super::expects::Expects;
use super::tunnel::Opening;
use crate::body::BoxError;
use crate::clock;
use crate::outgoing::{Broken, Outgoing};
use crate::server::incoming::Incoming;
use crate::server::streams::{self, Next, Work};
use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use http::header::{CONTENT_LENGTH, DATE};
use http::{Request, Response, StatusCode};
use http_body::Body;
use mesh_core::head::decimal;
use mesh_core::proxy::hop_by_hop;
use pin_project::pin_project;
use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tower_service::Service;

/// A request that is answered. Dropped before its end, it is reset.
///
/// Requests are answered in it one after another, by the same clone of the service: each of them is a clone less.
#[pin_project]
pub(super) struct Exchange<S: Service<Request<Incoming>>, B> {
    /// `None`: it has failed.
    service: Option<S>,
    /// `None`: there is no request.
    asker: Option<Asker>,
    #[pin]
    state: State<S::Future, B>,
}

#[pin_project(project = StateProj, project_replace = StateOwn)]
#[expect(
    clippy::large_enum_variant,
    reason = "the future of a service is as large, and each request has one"
)]
enum State<F, B> {
    /// There is none.
    Over,
    /// The service is called once it is ready.
    Asked(Request<Incoming>),
    /// The service has it.
    Called(#[pin] F),
    /// The answer goes out.
    Answered(#[pin] Answer<B>),
}

/// A request, and who asks.
pub(super) type Asked = (Request<Incoming>, Asker);

/// Who waits for the answer.
pub(super) struct Asker {
    pub(super) reply: SendResponse<Bytes>,
    /// The request is CONNECT.
    pub(super) opening: Option<Opening>,
    /// Expects to be told that the request's body is wanted.
    pub(super) expects: Option<Arc<Expects>>,
}

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

impl<S: Service<Request<Incoming>>, B> Exchange<S, B> {
    /// Without a request.
    pub(super) const fn new(service: S) -> Self {
        Self { service: Some(service), asker: None, state: State::Over }
    }
}

impl<S, B> Work for Exchange<S, B>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error: Into<BoxError>> + Send + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type Request = Asked;

    fn with(self, (request, asker): Asked) -> Self {
        Self { asker: Some(asker), state: State::Asked(request), ..self }
    }

    fn put(self: Pin<&mut Self>, (request, asker): Asked) {
        let mut this = self.project();
        *this.asker = Some(asker);
        this.state.set(State::Asked(request));
    }

    fn begin(
        mut self: Pin<&mut Self>,
        next: &mut Option<Next<Self>>,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        let mut this = self.as_mut().project();
        let ready = ready_of(this.service, cx);
        let Some(Next((request, asker))) = next.take() else { return Poll::Ready(()) };
        let asker = this.asker.insert(asker);
        match ready {
            Poll::Ready(Ok(service)) => this.state.set(State::Called(service.call(request))),
            Poll::Ready(Err(error)) => {
                asker.reply.send_reset(reason_of(&*error.into()));
                return Poll::Ready(());
            }
            Poll::Pending => this.state.set(State::Asked(request)),
        }
        self.poll(cx)
    }

    fn end(self: Pin<&mut Self>) -> bool {
        let mut this = self.project();
        // Who was asked whether it is ready and then not called may keep a place for that call.
        let is_fit = this.service.is_some() && !matches!(*this.state, State::Asked(_));
        this.state.set(State::Over);
        *this.asker = None;
        is_fit
    }
}

impl<S, B> Future for Exchange<S, B>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error: Into<BoxError>>,
    B: Body<Data = Bytes, Error: Into<BoxError>>,
{
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        let Some(asker) = this.asker else { return Poll::Ready(()) };
        loop {
            let asked = match this.state.as_mut().project() {
                StateProj::Over => return Poll::Ready(()),
                StateProj::Answered(answer) => return answer.poll_send(cx),
                StateProj::Called(future) => future.poll(cx),
                StateProj::Asked(_) => match ready_of(this.service, cx) {
                    Poll::Ready(Ok(service)) => {
                        let state = this.state.as_mut().project_replace(State::Over);
                        if let StateOwn::Asked(request) = state {
                            this.state.set(State::Called(service.call(request)));
                        }
                        continue;
                    }
                    Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                    Poll::Pending => Poll::Pending,
                },
            };
            let begun = match asked {
                Poll::Pending => return asker.poll_left(cx),
                Poll::Ready(Ok(response)) => begin(asker, response),
                Poll::Ready(Err(error)) => Err(reason_of(&*error.into())),
            };
            match begun {
                Ok(Begun::Body(answer)) => this.state.set(State::Answered(answer)),
                Ok(Begun::Done) => return Poll::Ready(()),
                Err(reason) => {
                    asker.reply.send_reset(reason);
                    return Poll::Ready(());
                }
            }
        }
    }
}

/// The service, once it is ready; one that fails is gone.
fn ready_of<'a, S: Service<Request<Incoming>>>(
    service: &'a mut Option<S>,
    cx: &mut Context<'_>,
) -> Poll<Result<&'a mut S, S::Error>> {
    let polled = service.as_mut().map_or(Poll::Pending, |service| service.poll_ready(cx));
    if let Err(error) = ready!(polled) {
        *service = None;
        return Poll::Ready(Err(error));
    }
    service.as_mut().map_or(Poll::Pending, |service| Poll::Ready(Ok(service)))
}

impl Asker {
    /// The service lets it wait. Ready: it does not wait any more.
    fn poll_left(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.reply.poll_reset(cx).is_ready() {
            return Poll::Ready(());
        }
        if self.expects.as_ref().is_some_and(|expects| expects.is_wanted(cx)) {
            self.expects = None;
            go_on(&mut self.reply);
        }
        Poll::Pending
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
fn begin<B>(asker: &mut Asker, response: Response<B>) -> Result<Begun<B>, Reason>
where
    B: Body<Data = Bytes>,
{
    let reply = &mut asker.reply;
    let (head, body) = response.into_parts();
    let mut head = Response::from_parts(head, ());
    hop_by_hop::strip_answer(head.headers_mut());
    let now = streams::turn_began().unwrap_or_else(clock::now);
    head.headers_mut().entry(DATE).or_insert_with(|| date(now));
    if let Some(opening) = asker.opening.take()
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
