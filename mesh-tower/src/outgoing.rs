//! [`Outgoing`]: a body as it goes out on a stream of HTTP/2, of a request or of an answer.

use crate::body::BoxError;
use bytes::Bytes;
use h2::{Reason, SendStream};
use http::HeaderMap;
use http_body::{Body, Frame};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// The most bytes of a piece that is small.
const SMALL: usize = 1024;

/// What is left of a body, which is asked for more when its stream has room.
pub(crate) struct Outgoing {
    stream: SendStream<Bytes>,
    /// Data that waits for room.
    held: Option<Bytes>,
}

/// Why a body did not come to its end.
pub(crate) enum Broken {
    /// The body failed.
    Body(BoxError),
    /// What it gave can't be sent.
    Stream(h2::Error),
}

impl Outgoing {
    pub(crate) const fn new(stream: SendStream<Bytes>) -> Self {
        Self { stream, held: None }
    }

    /// Asks for room for `data`: one byte, as `h2` takes the whole piece once there is any, and more would be taken from
    /// the other streams of the connection while this one waits. A [small](SMALL) piece asks for all it needs, or `h2`
    /// looks for the rest when it takes it.
    pub(crate) fn hold(&mut self, data: Bytes) {
        if !data.is_empty() {
            self.stream.reserve_capacity(if data.len() > SMALL { 1 } else { data.len() });
        }
        self.held = Some(data);
    }

    /// Resets the stream; no effect if its peer has ended it.
    pub(crate) fn reset(&mut self, reason: Reason) {
        self.stream.send_reset(reason);
    }

    /// Sends `body` to its end, or to that of its stream, which the peer may reset whenever it likes.
    pub(crate) fn poll_send<B>(
        &mut self,
        mut body: Pin<&mut B>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Broken>>
    where
        B: Body<Data = Bytes, Error: Into<BoxError>>,
    {
        let sent = self.poll_all(body.as_mut(), cx);
        // Whoever has ended the stream waits for nothing more, and what could not be sent is nobody's fault.
        if matches!(sent, Poll::Pending | Poll::Ready(Err(Broken::Stream(_))))
            && self.stream.poll_reset(cx).is_ready()
        {
            return Poll::Ready(Ok(()));
        }
        sent
    }

    fn poll_all<B>(
        &mut self,
        mut body: Pin<&mut B>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Broken>>
    where
        B: Body<Data = Bytes, Error: Into<BoxError>>,
    {
        loop {
            if ready!(self.poll_held(cx, || body.is_end_stream()))? {
                return Poll::Ready(Ok(()));
            }
            let ended = match ready!(body.as_mut().poll_frame(cx)) {
                None => self.stream.send_data(Bytes::new(), true),
                Some(Err(error)) => return Poll::Ready(Err(Broken::Body(error.into()))),
                Some(Ok(frame)) => match split(frame) {
                    Split::Trailers(trailers) => self.stream.send_trailers(trailers),
                    // It takes no room: a body that goes on so would keep its connection from reading.
                    Split::Data(data) if data.is_empty() && !body.is_end_stream() => {
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                    Split::Data(data) => {
                        self.hold(data);
                        continue;
                    }
                },
            };
            return Poll::Ready(ended.map_err(Broken::Stream));
        }
    }

    /// Sends what is held; `true`: that was the last of it, or the stream takes no more.
    fn poll_held(
        &mut self,
        cx: &mut Context<'_>,
        is_last: impl FnOnce() -> bool,
    ) -> Poll<Result<bool, Broken>> {
        let Some(data) = &self.held else { return Poll::Ready(Ok(false)) };
        while !data.is_empty() && self.stream.capacity() == 0 {
            match ready!(self.stream.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                // Its reset says why.
                Some(Err(_)) | None => return Poll::Ready(Ok(true)),
            }
        }
        let is_last = is_last();
        if let Some(data) = self.held.take()
            && (is_last || !data.is_empty())
        {
            self.stream.send_data(data, is_last).map_err(Broken::Stream)?;
        }
        Poll::Ready(Ok(is_last))
    }
}

pub(crate) enum Split {
    Data(Bytes),
    Trailers(HeaderMap),
}

/// A frame is data or trailers: there is no third kind.
pub(crate) fn split(frame: Frame<Bytes>) -> Split {
    match frame.into_data() {
        Ok(data) => Split::Data(data),
        Err(frame) => Split::Trailers(frame.into_trailers().unwrap_or_default()),
    }
}
