//! [`SecureIo`]: the bytes of a secured connection.
//!
//! In TLS 1.3 the handshake is over for us before the peer has looked at our certificate: what it thinks of
//! it comes with the first bytes that are read. That is then told as what it is.

use super::client_refused::{NotSecured, Showed, refused_late};
use crate::connect::BoxedIo;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::client::TlsStream;

/// The peer's late word on who we are; empty while there is none.
pub(crate) type LateWord = Arc<OnceLock<NotSecured>>;

/// A secured byte stream.
pub(crate) struct SecureIo {
    stream: TlsStream<BoxedIo>,
    showed: Showed,
    late: LateWord,
}

impl SecureIo {
    pub(super) fn new(stream: TlsStream<BoxedIo>, showed: Showed) -> (Self, LateWord) {
        let late = LateWord::default();
        (Self { stream, showed, late: Arc::clone(&late) }, late)
    }

    /// What it is over.
    pub(crate) fn below(&self) -> &BoxedIo {
        self.stream.get_ref().0
    }

    #[cold]
    fn failed(&self, error: io::Error) -> io::Error {
        match refused_late(&error, &self.showed) {
            Some(refused) => {
                let refused = self.late.get_or_init(|| refused).clone();
                io::Error::new(error.kind(), refused)
            }
            None => error,
        }
    }
}

impl AsyncRead for SecureIo {
    #[inline]
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        read.map_err(|error| self.failed(error))
    }
}

impl AsyncWrite for SecureIo {
    #[inline]
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    #[inline]
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    #[inline]
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
