//! The request body of the stack: [`MeshBody`].
//!
//! One concrete type, so that no layer is generic over bodies. Bodies that the stack knows are
//! recognised without an allocation; any other costs one, stated here and nowhere hidden.

use crate::call::{Activity, ReplayBody};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use std::any::Any;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

/// A boxed error, as bodies and transports give them.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A request body on its way through the mesh. `Send` and `Unpin`, never `Sync`.
///
/// Trailers travel as frames and are never dropped.
pub struct MeshBody(Inner);

enum Inner {
    Full(Option<Bytes>),
    #[cfg(feature = "tonic")]
    Tonic(tonic::body::Body),
    Boxed(UnsyncBoxBody<Bytes, BoxError>),
    Replay(Box<ReplayBody>),
    Watched(Box<Watched>),
    Counted(Box<Counted>),
}

/// A body whose bytes are counted.
struct Counted {
    body: MeshBody,
    bytes: Arc<AtomicU64>,
}

/// A body whose progress is told.
struct Watched {
    body: MeshBody,
    activity: Activity,
}

impl MeshBody {
    /// No body.
    #[must_use]
    pub const fn empty() -> Self {
        Self(Inner::Full(None))
    }

    /// A body that is here already.
    #[must_use]
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self(Inner::Full((!bytes.is_empty()).then_some(bytes)))
    }

    /// Takes any body. `MeshBody`, `Empty<Bytes>`, `Full<Bytes>`, `Bytes`-like known types and tonic's
    /// are recognised, and so is a body that has ended; every other costs one allocation.
    #[must_use]
    pub fn new<B>(body: B) -> Self
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let mut body = Some(body);
        if let Some(known) = take::<B, Self>(&mut body) {
            return known;
        }
        if take::<B, Empty<Bytes>>(&mut body).is_some() {
            return Self::empty();
        }
        if let Some(full) = take::<B, Full<Bytes>>(&mut body) {
            return Self::from_full(full);
        }
        #[cfg(feature = "tonic")]
        if let Some(tonic) = take::<B, tonic::body::Body>(&mut body) {
            return Self(Inner::Tonic(tonic));
        }
        match body {
            // The body of a GET that is passed on.
            Some(body) if body.is_end_stream() => Self::empty(),
            Some(body) => Self(Inner::Boxed(body.map_err(Into::into).boxed_unsync())),
            None => Self::empty(),
        }
    }

    /// The bytes, when the whole body is known to be here; an empty body gives no bytes.
    ///
    /// `None`: it has to be polled.
    #[must_use]
    pub fn as_full(&self) -> Option<Option<&Bytes>> {
        match &self.0 {
            Inner::Full(bytes) => Some(bytes.as_ref()),
            #[cfg(feature = "tonic")]
            Inner::Tonic(_) => None,
            Inner::Boxed(_) | Inner::Replay(_) | Inner::Watched(_) | Inner::Counted(_) => None,
        }
    }

    /// A body that is read from what is kept for another attempt.
    pub(crate) fn replay(body: ReplayBody) -> Self {
        Self(Inner::Replay(Box::new(body)))
    }

    /// A body that tells when a part of it is taken.
    pub(crate) fn watched(body: Self, activity: Activity) -> Self {
        Self(Inner::Watched(Box::new(Watched { body, activity })))
    }

    /// A body that counts its bytes as they are taken.
    pub(crate) fn counted(body: Self, bytes: Arc<AtomicU64>) -> Self {
        Self(Inner::Counted(Box::new(Counted { body, bytes })))
    }

    fn from_full(full: Full<Bytes>) -> Self {
        let mut full = full;
        let mut cx = Context::from_waker(std::task::Waker::noop());
        match Pin::new(&mut full).poll_frame(&mut cx) {
            Poll::Ready(Some(Ok(frame))) => {
                Self(Inner::Full(frame.into_data().ok().filter(|bytes| !bytes.is_empty())))
            }
            _ => Self::empty(),
        }
    }
}

/// Moves `body` out when it is of type `T`.
fn take<B: 'static, T: 'static>(body: &mut Option<B>) -> Option<T> {
    (body as &mut dyn Any).downcast_mut::<Option<T>>()?.take()
}

impl Default for MeshBody {
    fn default() -> Self {
        Self::empty()
    }
}

impl Body for MeshBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.0 {
            Inner::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            #[cfg(feature = "tonic")]
            Inner::Tonic(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
            Inner::Boxed(body) => Pin::new(body).poll_frame(cx),
            Inner::Replay(body) => body.poll_frame(cx),
            Inner::Watched(watched) => {
                let polled = Pin::new(&mut watched.body).poll_frame(cx);
                if polled.is_ready() {
                    watched.activity.tell(crate::clock::now());
                }
                polled
            }
            Inner::Counted(counted) => {
                let polled = Pin::new(&mut counted.body).poll_frame(cx);
                if let Poll::Ready(Some(Ok(frame))) = &polled
                    && let Some(data) = frame.data_ref()
                {
                    counted.bytes.fetch_add(data.len() as u64, Ordering::Relaxed);
                }
                polled
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Inner::Full(bytes) => bytes.is_none(),
            #[cfg(feature = "tonic")]
            Inner::Tonic(body) => body.is_end_stream(),
            Inner::Boxed(body) => body.is_end_stream(),
            Inner::Replay(body) => body.is_end_stream(),
            Inner::Watched(watched) => watched.body.is_end_stream(),
            Inner::Counted(counted) => counted.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Inner::Full(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            #[cfg(feature = "tonic")]
            Inner::Tonic(body) => body.size_hint(),
            Inner::Boxed(body) => body.size_hint(),
            Inner::Replay(body) => body.size_hint(),
            Inner::Watched(watched) => watched.body.size_hint(),
            Inner::Counted(counted) => counted.body.size_hint(),
        }
    }
}

impl From<Bytes> for MeshBody {
    fn from(bytes: Bytes) -> Self {
        Self::full(bytes)
    }
}

impl From<()> for MeshBody {
    fn from((): ()) -> Self {
        Self::empty()
    }
}

impl From<&'static str> for MeshBody {
    fn from(text: &'static str) -> Self {
        Self::full(text)
    }
}

impl From<String> for MeshBody {
    fn from(text: String) -> Self {
        Self::full(text)
    }
}

impl fmt::Debug for MeshBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.0 {
            Inner::Full(_) => "Full",
            #[cfg(feature = "tonic")]
            Inner::Tonic(_) => "Tonic",
            Inner::Boxed(_) => "Boxed",
            Inner::Replay(_) => "Replay",
            Inner::Watched(_) => "Watched",
            Inner::Counted(_) => "Counted",
        };
        f.debug_tuple("MeshBody").field(&kind).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_bodies_are_recognised() {
        assert!(matches!(MeshBody::new(Empty::<Bytes>::new()).0, Inner::Full(None)));
        assert!(matches!(MeshBody::new(Full::from("x")).0, Inner::Full(Some(_))));
        assert!(matches!(MeshBody::new(MeshBody::full("x")).0, Inner::Full(Some(_))));
        let ended = http_body_util::Limited::new(Empty::<Bytes>::new(), 1);
        assert!(matches!(MeshBody::new(ended).0, Inner::Full(None)));
        let stream = http_body_util::StreamBody::new(futures_util::stream::empty::<
            Result<Frame<Bytes>, BoxError>,
        >());
        assert!(matches!(MeshBody::new(stream).0, Inner::Boxed(_)));
    }
}
