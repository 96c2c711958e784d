//! [`RequestBody`]: the body of a request, counted as it comes.

use super::scope::BodyLimit;
use crate::body::BoxError;
use bytes::Buf;
use http_body::{Body, Frame, SizeHint};
use mesh_core::inbound::Refusal;
use pin_project::pin_project;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

/// The body of a request. Beyond the listener's `max_body_bytes` it fails, and whatever the service then says,
/// the caller is answered 413. Without that limit, or when the length was known beforehand, it is the body
/// that came, and nothing else.
#[pin_project]
#[derive(Debug)]
pub struct RequestBody<B> {
    #[pin]
    body: B,
    limit: Option<BodyLimit>,
    read: u64,
}

impl<B> RequestBody<B> {
    pub(super) const fn new(body: B, limit: Option<BodyLimit>) -> Self {
        Self { body, limit, read: 0 }
    }

    /// The body that came, without any limit on it.
    pub fn into_inner(self) -> B {
        self.body
    }
}

impl<B> Body for RequestBody<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    type Data = B::Data;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, BoxError>>> {
        let this = self.project();
        let polled = this.body.poll_frame(cx).map_err(Into::into);
        let Some(limit) = this.limit else { return polled };
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            *this.read = this.read.saturating_add(data.remaining() as u64);
            if *this.read > limit.limit {
                limit.exceeded.store(true, Ordering::Relaxed);
                let refusal = Refusal::BodyTooLarge { limit: limit.limit };
                return Poll::Ready(Some(Err(Box::new(refusal))));
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
