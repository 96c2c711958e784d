//! A look at the trailers of an answer before its head is handed over.
//!
//! Only where a gRPC status decides about a retry, only once the request has been sent whole, and,
//! unless the route says that the method is unary, only as far as the frames are here already: a
//! bidirectional client that waits for headers would hang otherwise.

use crate::body::BoxError;
use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame};
use mesh_core::Timestamp;
use smallvec::SmallVec;
use std::pin::Pin;
use std::task::{Context, Poll};

/// The most bytes of a body that are held while its trailers are looked for.
const LIMIT: usize = 64 * 1024;

/// What was taken from a body before it was handed over; it is read before the body goes on.
#[derive(Default)]
pub(crate) struct Peeked {
    /// A unary answer is one frame of data and the trailers.
    frames: SmallVec<[Option<Frame<Bytes>>; 2]>,
    /// How many of them were read.
    read: usize,
    /// What the body said after them: its end, or an error.
    end: Option<Result<(), BoxError>>,
    /// When the trailers were here, if they are.
    ended: Option<Timestamp>,
}

impl Peeked {
    /// Takes frames of `body` until the trailers. Ready: as far as is worth looking. Pending: more may
    /// come.
    pub(super) fn poll_trailers<R>(&mut self, body: &mut R, cx: &mut Context<'_>) -> Poll<()>
    where
        R: Body<Data = Bytes> + Unpin,
        R::Error: Into<BoxError>,
    {
        let held = self.frames.iter().flatten().filter_map(Frame::data_ref);
        let mut size: usize = held.map(Bytes::len).sum();
        while size <= LIMIT && self.end.is_none() && !body.is_end_stream() {
            match Pin::new(&mut *body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    let trailers = frame.is_trailers();
                    size += frame.data_ref().map_or(0, Bytes::len);
                    self.frames.push(Some(frame));
                    if trailers {
                        break;
                    }
                }
                Poll::Ready(Some(Err(error))) => self.end = Some(Err(error.into())),
                Poll::Ready(None) => self.end = Some(Ok(())),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(())
    }

    /// It was looked as far as is worth it, at `now`.
    pub(super) fn looked(&mut self, now: Timestamp) {
        self.ended = self.trailers().map(|_| now);
    }

    /// When the trailers came, if they were found: the answer has ended then, whenever it is read.
    pub(crate) const fn ended(&self) -> Option<Timestamp> {
        self.ended
    }

    /// The trailers, when they were found.
    pub(super) fn trailers(&self) -> Option<&HeaderMap> {
        self.frames.last()?.as_ref()?.trailers_ref()
    }

    /// What comes next of what was taken; `None`: the body goes on itself.
    pub(crate) fn next(&mut self) -> Option<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(frame) = self.frames.get_mut(self.read).and_then(Option::take) {
            self.read += 1;
            return Some(Some(Ok(frame)));
        }
        match self.end.take()? {
            Ok(()) => {
                self.end = Some(Ok(()));
                Some(None)
            }
            Err(error) => {
                self.end = Some(Ok(()));
                Some(Some(Err(error)))
            }
        }
    }

    /// Whether everything that was taken was read, and the body has not ended here.
    pub(crate) fn is_read(&self) -> bool {
        self.read == self.frames.len() && self.end.is_none()
    }

    /// Whether the body ended here, and all was read.
    pub(crate) fn is_end(&self) -> bool {
        self.read == self.frames.len() && matches!(self.end, Some(Ok(())))
    }
}
