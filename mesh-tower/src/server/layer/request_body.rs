//! [`RequestBody`]: the body of a request, counted as it comes.

use super::body_limit::BodyLimit;
use crate::body::BoxError;
use crate::filter::Prefixed;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use mesh_core::inbound::Refusal;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

/// The body of a request. Beyond the limit of the listener or of a filter it fails, and whatever the service
/// then says, the caller is answered 413, unless the answer has begun. Without a limit, or when the length was known beforehand, it is the
/// body that came; what an authorizer was sent of it is still there.
#[derive(Debug)]
pub struct RequestBody<B> {
    body: Prefixed<B>,
    /// Boxed: most bodies are not counted, and a request is moved a few times.
    counted: Option<Box<Counted>>,
}

#[derive(Debug)]
struct Counted {
    limit: BodyLimit,
    read: u64,
    /// What filters have read of it before.
    before: u64,
}

impl<B> RequestBody<B> {
    #[inline]
    pub(super) fn new(body: Prefixed<B>, limit: Option<BodyLimit>) -> Self {
        let counted = limit.map(|limit| {
            let before = limit.read();
            Box::new(Counted { limit, read: 0, before })
        });
        Self { body, counted }
    }
}

impl<B> Body for RequestBody<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let polled = Pin::new(&mut this.body).poll_frame(cx).map_err(Into::into);
        let Some(Counted { limit, read, before }) = this.counted.as_deref_mut() else {
            return polled;
        };
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            *read = read.saturating_add(data.len() as u64);
            limit.counter.store((*read).max(*before), Ordering::Relaxed);
            if *read > limit.limit {
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
