//! The part of a request's body that an authorizer is sent, and the body as if nobody had looked at it; and
//! certificates as authorizers are sent them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use std::collections::VecDeque;
use std::fmt::Write;
use std::pin::Pin;
use std::task::{Context, Poll};

/// A body of which a part was read already.
#[derive(Debug)]
pub(crate) struct Prefixed<B> {
    read: VecDeque<Frame<Bytes>>,
    bytes: u64,
    rest: B,
    /// `rest` has said so: it is asked no more.
    ended: bool,
}

/// What was read of a body.
#[derive(Debug)]
pub(crate) struct Prefix {
    /// At most as much as was asked for.
    pub(crate) bytes: Bytes,
    /// The body has more; of a part that is as long as may be sent, it may have.
    pub(crate) more: bool,
}

impl<B> Prefixed<B> {
    /// A body of which nothing was read.
    pub(crate) const fn new(rest: B) -> Self {
        Self { read: VecDeque::new(), bytes: 0, rest, ended: false }
    }

    /// How many bytes were read, and not taken yet.
    pub(crate) const fn bytes_read(&self) -> u64 {
        self.bytes
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
    let mut bytes = BytesMut::new();
    let mut more = false;
    let mut at = 0;
    while !more {
        if at == body.read.len() {
            if part && bytes.len() == most {
                more = !(body.ended || body.rest.is_end_stream());
                break;
            }
            if !body.read_on().await? {
                break;
            }
        }
        let data = body.read.get(at).and_then(Frame::data_ref);
        at += 1;
        let Some(data) = data else { continue };
        let room = most - bytes.len();
        more = data.len() > room;
        bytes.extend_from_slice(data.get(..room).unwrap_or(data));
    }
    Ok(Prefix { bytes: bytes.freeze(), more })
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
        let length = frame.data_ref().map_or(0, Bytes::len);
        self.bytes += u64::try_from(length).unwrap_or_default();
        self.read.push_back(frame);
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
        let Some(frame) = self.read.pop_front() else {
            if self.ended {
                return Poll::Ready(None);
            }
            return Pin::new(&mut self.rest).poll_frame(cx);
        };
        let length = frame.data_ref().map_or(0, Bytes::len);
        self.bytes = self.bytes.saturating_sub(u64::try_from(length).unwrap_or_default());
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.read.is_empty() && (self.ended || self.rest.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(self.bytes));
        if let Some(upper) = rest.upper().and_then(|upper| upper.checked_add(self.bytes)) {
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
