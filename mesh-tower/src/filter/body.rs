//! The part of a request's body that an authorizer is sent, and the body as if nobody had looked at it; and
//! certificates as authorizers are sent them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use std::cmp::Ordering;
use std::collections::VecDeque;
use std::fmt::Write;
use std::pin::Pin;
use std::task::{Context, Poll};

/// A body of which a part was read already.
#[derive(Debug)]
pub(crate) struct Prefixed<B> {
    /// Boxed: most bodies are read by nobody but the service.
    held: Option<Box<Held>>,
    rest: B,
    /// `rest` has said so: it is asked no more.
    ended: bool,
}

/// What was read, in its order: data, then what is gathered, then trailers.
#[derive(Debug, Default)]
struct Held {
    data: VecDeque<Bytes>,
    /// Small parts, which would cost more than their bytes one by one.
    gathered: BytesMut,
    trailers: Option<HeaderMap>,
    bytes: u64,
}

/// Parts with fewer bytes are gathered.
const SMALL: usize = 1024;

/// What was read of a body.
#[derive(Debug)]
pub(crate) struct Prefix {
    /// At most as much as was asked for.
    pub(crate) bytes: Bytes,
    /// The body has more; of a part that is as long as may be sent, it may have.
    pub(crate) more: bool,
}

impl Held {
    fn push(&mut self, frame: Frame<Bytes>) {
        let data = match frame.into_data() {
            Ok(data) => data,
            Err(other) => {
                self.trailers = other.into_trailers().ok();
                return;
            }
        };
        self.bytes += u64::try_from(data.len()).unwrap_or_default();
        if data.len() < SMALL {
            self.gathered.extend_from_slice(&data);
            return;
        }
        if !self.gathered.is_empty() {
            self.data.push_back(self.gathered.split().freeze());
        }
        self.data.push_back(data);
    }

    fn pop(&mut self) -> Option<Frame<Bytes>> {
        let gathered = || (!self.gathered.is_empty()).then(|| self.gathered.split().freeze());
        if let Some(data) = self.data.pop_front().or_else(gathered) {
            self.bytes = self.bytes.saturating_sub(u64::try_from(data.len()).unwrap_or_default());
            return Some(Frame::data(data));
        }
        self.trailers.take().map(Frame::trailers)
    }

    fn is_empty(&self) -> bool {
        self.data.is_empty() && self.gathered.is_empty() && self.trailers.is_none()
    }

    /// Its first bytes, at most so many.
    fn first(&self, most: usize) -> Bytes {
        let mut bytes = BytesMut::new();
        for data in self.data.iter().map(|data| &**data).chain([&*self.gathered]) {
            let room = most - bytes.len();
            bytes.extend_from_slice(data.get(..room).unwrap_or(data));
        }
        bytes.freeze()
    }
}

impl<B> Prefixed<B> {
    /// A body of which nothing was read.
    pub(crate) const fn new(rest: B) -> Self {
        Self { held: None, rest, ended: false }
    }

    /// How many bytes were read, and not taken yet.
    pub(crate) fn bytes_read(&self) -> u64 {
        self.held.as_ref().map_or(0, |held| held.bytes)
    }
}

/// Reads `most` bytes of a body, or all when it has no more. It may be read again from its start: each
/// authorizer of a chain is sent the same body.
///
/// Where a `part` is enough, nothing is waited for behind it: Envoy asks as soon as it has `max_request_bytes`
/// (`Filter::decodeData`), and a stream may pause there until it is answered.
///
/// # Errors
/// The body's own.
pub(crate) async fn read_prefix<B>(
    body: &mut Prefixed<B>,
    most: usize,
    part: bool,
) -> Result<Prefix, B::Error>
where
    B: Body<Data = Bytes> + Unpin,
{
    let limit = u64::try_from(most).unwrap_or(u64::MAX);
    let more = loop {
        match body.bytes_read().cmp(&limit) {
            Ordering::Greater => break true,
            Ordering::Equal if part => break !(body.ended || body.rest.is_end_stream()),
            Ordering::Equal | Ordering::Less => {}
        }
        if !body.read_on().await? {
            break false;
        }
    };
    let bytes = body.held.as_ref().map_or_else(Bytes::new, |held| held.first(most));
    Ok(Prefix { bytes, more })
}

impl<B: Body<Data = Bytes> + Unpin> Prefixed<B> {
    /// Reads one frame on; whether there was one.
    async fn read_on(&mut self) -> Result<bool, B::Error> {
        if self.ended {
            return Ok(false);
        }
        let Some(frame) = self.rest.frame().await.transpose()? else {
            self.ended = true;
            return Ok(false);
        };
        self.held.get_or_insert_default().push(frame);
        Ok(true)
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Prefixed<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if let Some(frame) = self.held.as_mut().and_then(|held| held.pop()) {
            return Poll::Ready(Some(Ok(frame)));
        }
        if self.ended {
            return Poll::Ready(None);
        }
        Pin::new(&mut self.rest).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.held.as_ref().is_none_or(|held| held.is_empty())
            && (self.ended || self.rest.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let (rest, bytes) = (self.rest.size_hint(), self.bytes_read());
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(bytes));
        if let Some(upper) = rest.upper().and_then(|upper| upper.checked_add(bytes)) {
            hint.set_upper(upper);
        }
        hint
    }
}

/// A certificate in PEM (RFC 7468).
pub(super) fn pem(der: &[u8]) -> String {
    let base64 = STANDARD.encode(der);
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    for (at, letter) in base64.chars().enumerate() {
        if at > 0 && at % 64 == 0 {
            text.push('\n');
        }
        text.push(letter);
    }
    text.push_str("\n-----END CERTIFICATE-----\n");
    text
}

/// All but unreserved bytes encoded (RFC 3986 §2.3), as Envoy sends certificates.
pub(super) fn url_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            // Writing to a text can't fail.
            let _written = write!(out, "%{byte:02X}");
        }
    }
    out
}
