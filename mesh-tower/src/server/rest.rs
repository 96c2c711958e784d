//! [`Rest`]: a connection of HTTP that waits for its first byte, or for its next request.
//!
//! hyper holds 8 KiB for what it reads, and the memory of a request, as long as a connection lives. Most connections of
//! a server are silent most of the time. So hyper is asked to serve one when something has come, and gives it back when
//! it has been silent for a second (HTTP/1.1 alone: of HTTP/2 there is a state that both sides know).

use super::guarded::Guarded;
use super::io::Rewind;
use bytes::Bytes;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::ready;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::timeout;

/// The preface of HTTP/2 has so many bytes, and what is none is known by fewer.
const FIRST: usize = 24;

/// How long closing one may take.
const CLOSE: Duration = Duration::from_secs(1);

/// What a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spoken {
    /// HTTP/1.1, or nothing that is known.
    Http1,
    Http2,
}

/// A connection of which nobody is served.
pub(super) struct Rest<I> {
    io: Guarded<I>,
    /// What came of what is to be served.
    first: [u8; FIRST],
    came: usize,
}

impl<I> Rest<I> {
    pub(super) const fn new(io: Guarded<I>) -> Self {
        Self { io, first: [0; FIRST], came: 0 }
    }

    /// The connection, of which everything that came is still to be read.
    pub(super) fn into_io(self) -> Rewind<Guarded<I>> {
        Rewind::new(Bytes::copy_from_slice(&self.first[..self.came]), self.io)
    }
}

impl<I: AsyncWrite + Unpin> Rest<I> {
    /// Ends it as hyper does: over TLS the client is told, so that it is not taken for an attack.
    pub(super) async fn close(mut self) {
        let shut_down = poll_fn(|cx| Pin::new(&mut self.io).poll_shutdown(cx));
        // Who takes nothing is not waited for.
        let _late = timeout(CLOSE, shut_down).await;
    }
}

impl<I: AsyncRead + Unpin> Rest<I> {
    /// Waits until it is known what the client speaks; `None`: it has ended without a word.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(super) async fn begins(&mut self) -> io::Result<Option<Spoken>> {
        poll_fn(|cx| {
            loop {
                if self.came > 0
                    && let Some(spoken) = self.io.spoken()
                {
                    return Ok(Some(spoken)).into();
                }
                let mut buf = ReadBuf::new(&mut self.first[self.came..]);
                ready!(Pin::new(&mut self.io).poll_read(cx, &mut buf))?;
                let came = buf.filled().len();
                if came == 0 {
                    // Of less than a preface hyper says what is wrong with it.
                    return Ok((self.came > 0).then_some(Spoken::Http1)).into();
                }
                self.came += came;
            }
        })
        .await
    }
}
