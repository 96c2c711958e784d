//! Request bodies that can be sent again.
//!
//! A body is kept only while a re-send is possible, and up to a bound. Most bodies are here at once
//! (a unary gRPC message, a JSON text): they are gathered without waiting and become plain bytes, which
//! every attempt shares for nothing. A stream is recorded while it is sent, and what exceeds the bound
//! is passed on without being kept: from then on the call can't be tried again.

use crate::MeshBody;
use crate::body::BoxError;
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use parking_lot::Mutex;
use smallvec::SmallVec;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// The most bytes of one request body that are kept for a re-send, unless configured otherwise.
pub(crate) const DEFAULT_LIMIT: usize = 64 * 1024;

/// What is kept of a body, to make the next attempt's from.
#[derive(Debug)]
pub(crate) enum Kept {
    /// All of it.
    Full(Option<Bytes>),
    /// What has been sent so far, and the rest of the stream.
    Recording(Recording),
    /// Nothing: the body is too large.
    Nothing,
}

/// Takes a body apart into what the first attempt sends and what is kept for another.
pub(crate) fn keep(mut body: MeshBody, limit: usize) -> (MeshBody, Kept) {
    if let Some(full) = body.as_full() {
        if full.is_some_and(|bytes| bytes.len() > limit) {
            return (body, Kept::Nothing);
        }
        let kept = Kept::Full(full.cloned());
        return (body, kept);
    }
    if body.size_hint().lower() > limit as u64 {
        return (body, Kept::Nothing);
    }
    let (mut frames, end) = gather(&mut body, limit);
    let size: usize = frames.iter().map(Piece::len).sum();
    if let (End::Ended, [Piece::Data(bytes)]) = (&end, &mut frames[..])
        && size <= limit
    {
        let bytes = std::mem::take(bytes);
        return (MeshBody::full(bytes.clone()), Kept::Full(Some(bytes)));
    }
    match (end, &frames[..]) {
        (End::Ended, []) => (MeshBody::empty(), Kept::Full(None)),
        (End::Ended, _) if size <= limit && frames.iter().all(Piece::is_data) => {
            let bytes = join(&frames, size);
            (MeshBody::full(bytes.clone()), Kept::Full(Some(bytes)))
        }
        (end, _) if size > limit => {
            // Too much is here already: this attempt sends it, and nothing is kept.
            let hint = whole_length(&body, &frames, &end);
            let recording = Recording::new(body, Vec::new(), size, end, limit);
            {
                let mut tape = recording.0.lock();
                (tape.overflowed, tape.hint) = (true, hint);
            }
            let (prefix, hint) = (frames.into_vec().into_iter(), recording.0.lock().hint);
            let body = ReplayBody { recording, prefix, position: 0, live: true, hint };
            (MeshBody::replay(body), Kept::Nothing)
        }
        (end, _) => {
            let recording = Recording::new(body, frames.into_vec(), size, end, limit);
            (recording.body(), Kept::Recording(recording))
        }
    }
}

impl Kept {
    /// Whether another attempt can be made from it.
    pub(crate) fn can_resend(&self) -> bool {
        match self {
            Self::Full(_) => true,
            Self::Recording(recording) => !recording.0.lock().overflowed,
            Self::Nothing => false,
        }
    }

    /// Whether the whole body was here and is kept.
    pub(crate) fn is_complete(&self) -> bool {
        match self {
            Self::Full(_) => true,
            Self::Recording(recording) => recording.0.lock().is_complete(),
            Self::Nothing => false,
        }
    }

    /// The body of another attempt; `None`: it can't be made.
    pub(crate) fn body(&self) -> Option<MeshBody> {
        match self {
            Self::Full(bytes) => Some(bytes.clone().map_or_else(MeshBody::empty, MeshBody::full)),
            Self::Recording(recording) if self.can_resend() => Some(recording.body()),
            Self::Recording(_) | Self::Nothing => None,
        }
    }
}

/// One frame that is kept.
#[derive(Clone, Debug)]
enum Piece {
    Data(Bytes),
    Trailers(HeaderMap),
}

impl Piece {
    fn len(&self) -> usize {
        match self {
            Self::Data(bytes) => bytes.len(),
            // What a header list counts as in HTTP/2: name, value and 32 bytes each.
            Self::Trailers(map) => {
                map.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum()
            }
        }
    }

    const fn is_data(&self) -> bool {
        matches!(self, Self::Data(_))
    }

    fn frame(self) -> Frame<Bytes> {
        match self {
            Self::Data(bytes) => Frame::data(bytes),
            Self::Trailers(map) => Frame::trailers(map),
        }
    }

    /// `None`: a frame of a kind that is not known here.
    fn of(frame: Frame<Bytes>) -> Option<Self> {
        match frame.into_data() {
            Ok(bytes) => Some(Self::Data(bytes)),
            Err(frame) => frame.into_trailers().ok().map(Self::Trailers),
        }
    }
}

enum End {
    Ended,
    More,
    Failed(BoxError),
}

/// Takes the frames that are here already, until a little over `limit`. Whoever polls the body next
/// registers a waker of its own, so none is lost.
fn gather(body: &mut MeshBody, limit: usize) -> (SmallVec<[Piece; 2]>, End) {
    let mut cx = Context::from_waker(Waker::noop());
    let (mut frames, mut size) = (SmallVec::new(), 0);
    while size <= limit {
        if body.is_end_stream() {
            return (frames, End::Ended);
        }
        match Pin::new(&mut *body).poll_frame(&mut cx) {
            Poll::Ready(None) => return (frames, End::Ended),
            Poll::Ready(Some(Ok(frame))) => {
                let Some(piece) = Piece::of(frame) else { continue };
                size += piece.len();
                frames.push(piece);
            }
            Poll::Ready(Some(Err(error))) => return (frames, End::Failed(error)),
            Poll::Pending => break,
        }
    }
    (frames, End::More)
}

/// How long a body is of which `frames` are here and the rest is in `source`, when that is known.
fn whole_length(source: &MeshBody, frames: &[Piece], end: &End) -> SizeHint {
    let here: usize = frames.iter().filter(|piece| piece.is_data()).map(Piece::len).sum();
    match (end, source.size_hint().exact()) {
        (End::More, Some(rest)) => SizeHint::with_exact(here as u64 + rest),
        _ => SizeHint::default(),
    }
}

fn join(frames: &[Piece], size: usize) -> Bytes {
    let mut bytes = BytesMut::with_capacity(size);
    for frame in frames {
        if let Piece::Data(data) = frame {
            bytes.extend_from_slice(data);
        }
    }
    bytes.freeze()
}

/// A stream that is recorded while it is sent.
///
/// The lock is the call's own and its holders are the attempts of that one call, one after another.
#[derive(Clone)]
pub(crate) struct Recording(Arc<Mutex<Tape>>);

struct Tape {
    source: MeshBody,
    frames: Vec<Piece>,
    size: usize,
    limit: usize,
    /// How long the whole body is.
    hint: SizeHint,
    ended: bool,
    failed: Option<BoxError>,
    /// The source failed: so does every attempt, whoever was told how.
    broken: bool,
    /// The attempts that wait for the source, which itself wakes only the one that asked last.
    waiting: Vec<Waker>,
    /// More than the limit was sent: the frames are gone, and only the attempt that was sending goes on.
    overflowed: bool,
}

impl Recording {
    fn new(source: MeshBody, frames: Vec<Piece>, size: usize, end: End, limit: usize) -> Self {
        let hint = whole_length(&source, &frames, &end);
        let (ended, failed) = match end {
            End::Ended => (true, None),
            End::More => (false, None),
            End::Failed(error) => (true, Some(error)),
        };
        let (waiting, broken, overflowed) = (Vec::new(), false, false);
        let tape =
            Tape { source, frames, size, limit, hint, ended, failed, broken, waiting, overflowed };
        Self(Arc::new(Mutex::new(tape)))
    }

    fn body(&self) -> MeshBody {
        let (recording, prefix) = (self.clone(), Vec::new().into_iter());
        let hint = self.0.lock().hint;
        MeshBody::replay(ReplayBody { recording, prefix, position: 0, live: false, hint })
    }
}

impl fmt::Debug for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tape = self.0.lock();
        f.debug_struct("Recording")
            .field("size", &tape.size)
            .field("ended", &tape.ended)
            .field("overflowed", &tape.overflowed)
            .finish_non_exhaustive()
    }
}

/// One attempt's reading of a [`Recording`]: from the start, then live.
#[derive(Debug)]
pub(crate) struct ReplayBody {
    recording: Recording,
    /// Frames that are not on the tape and come first.
    prefix: std::vec::IntoIter<Piece>,
    position: usize,
    /// This attempt was sending when the recording overflowed.
    live: bool,
    /// How long it is, until it is read: a request states its length when it starts.
    hint: SizeHint,
}

/// An attempt wanted a body of which a part is no longer kept.
#[derive(Debug, thiserror::Error)]
#[error("the request body is no longer kept for another attempt")]
struct NotKept;

/// An attempt wanted a body that another attempt saw fail.
#[derive(Debug, thiserror::Error)]
#[error("the request body failed")]
struct Broken;

impl Drop for ReplayBody {
    fn drop(&mut self) {
        // The source may know only this attempt: the others have to ask again.
        self.recording.0.lock().wake_others(None);
    }
}

impl ReplayBody {
    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.hint = SizeHint::default();
        if let Some(piece) = self.prefix.next() {
            return Poll::Ready(Some(Ok(piece.frame())));
        }
        let mut tape = self.recording.0.lock();
        if let Some(piece) = tape.frames.get(self.position) {
            let frame = piece.clone().frame();
            self.position += 1;
            return Poll::Ready(Some(Ok(frame)));
        }
        if tape.overflowed && !self.live {
            return Poll::Ready(Some(Err(Box::new(NotKept))));
        }
        if let Some(error) = tape.failed.take() {
            tape.broken = true;
            return Poll::Ready(Some(Err(error)));
        }
        if tape.broken {
            return Poll::Ready(Some(Err(Box::new(Broken))));
        }
        if tape.ended {
            return Poll::Ready(None);
        }
        let polled = Pin::new(&mut tape.source).poll_frame(cx);
        if polled.is_pending() {
            tape.wait(cx.waker());
        } else {
            tape.wake_others(Some(cx.waker()));
        }
        match polled {
            Poll::Pending => Poll::Pending,
            Poll::Ready(None) => {
                tape.ended = true;
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => {
                (tape.ended, tape.broken) = (true, true);
                Poll::Ready(Some(Err(error)))
            }
            Poll::Ready(Some(Ok(frame))) => {
                let Some(piece) = Piece::of(frame) else {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                };
                let (kept, live) = tape.record(&piece);
                self.position += usize::from(kept);
                self.live |= live;
                if live {
                    self.position = 0;
                }
                Poll::Ready(Some(Ok(piece.frame())))
            }
        }
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        self.hint
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        let tape = self.recording.0.lock();
        let read_all = self.prefix.len() == 0 && self.position >= tape.frames.len();
        let failed = tape.broken || tape.failed.is_some();
        read_all && !failed && (tape.ended || tape.source.is_end_stream())
    }
}

impl Tape {
    fn is_complete(&self) -> bool {
        let failed = self.broken || self.failed.is_some();
        !self.overflowed && !failed && (self.ended || self.source.is_end_stream())
    }

    fn wait(&mut self, waker: &Waker) {
        if !self.waiting.iter().any(|waiting| waiting.will_wake(waker)) {
            self.waiting.push(waker.clone());
        }
    }

    fn wake_others(&mut self, me: Option<&Waker>) {
        for waiting in self.waiting.drain(..) {
            if !me.is_some_and(|me| waiting.will_wake(me)) {
                waiting.wake();
            }
        }
    }

    /// Keeps a frame, or gives up keeping: (kept, now beyond the limit).
    fn record(&mut self, piece: &Piece) -> (bool, bool) {
        if self.overflowed {
            return (false, true);
        }
        self.size += piece.len();
        if self.size > self.limit {
            self.overflowed = true;
            self.frames = Vec::new();
            return (false, true);
        }
        self.frames.push(piece.clone());
        (true, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;
    use http_body_util::{BodyExt, StreamBody};

    fn stream_of(parts: &[&'static str]) -> MeshBody {
        let frames: Vec<Result<_, BoxError>> =
            parts.iter().map(|part| Ok(Frame::data(Bytes::from_static(part.as_bytes())))).collect();
        MeshBody::new(StreamBody::new(stream::iter(frames)))
    }

    async fn text(body: MeshBody) -> String {
        String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap()
    }

    #[tokio::test]
    async fn what_is_here_at_once_becomes_bytes() {
        let (first, kept) = keep(stream_of(&["a", "bc"]), 16);
        assert!(matches!(kept, Kept::Full(Some(_))));
        assert_eq!(text(first).await, "abc");
        assert_eq!(text(kept.body().unwrap()).await, "abc");
    }

    #[tokio::test]
    async fn a_stream_is_recorded_and_replayed_from_the_start() {
        let (sender, receiver) = tokio::sync::mpsc::channel::<&'static str>(4);
        let frames = stream::unfold(receiver, |mut receiver| async move {
            let text = receiver.recv().await?;
            Some((Ok::<_, BoxError>(Frame::data(Bytes::from(text))), receiver))
        });
        let (mut first, kept) = keep(MeshBody::new(StreamBody::new(Box::pin(frames))), 16);
        sender.send("one").await.unwrap();
        let frame = first.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), "one");
        drop(first);
        assert!(kept.can_resend());
        let again = kept.body().unwrap();
        sender.send("two").await.unwrap();
        drop(sender);
        assert_eq!(text(again).await, "onetwo");
    }

    #[tokio::test]
    async fn beyond_the_limit_only_the_sender_goes_on() {
        let (first, kept) = keep(stream_of(&["12345", "678", "90"]), 6);
        assert_eq!(text(first).await, "1234567890");
        assert!(!kept.can_resend());
        assert!(kept.body().is_none());
        let (_, kept) = keep(MeshBody::full("1234567"), 6);
        assert!(!kept.can_resend());
    }

    #[tokio::test]
    async fn a_failing_body_fails_every_attempt() {
        let frames: Vec<Result<Frame<Bytes>, BoxError>> =
            vec![Ok(Frame::data(Bytes::from_static(b"x"))), Err("broken".into())];
        let (first, _kept) = keep(MeshBody::new(StreamBody::new(stream::iter(frames))), 16);
        assert_eq!(first.collect().await.unwrap_err().to_string(), "broken");
    }
}
