//! [`MeshStream`]: a byte stream to an endpoint, which counts until it ends.

use crate::connect::{H2Stream, NetIo, OwnBody};
use crate::endpoint::MeshResponseBody;
use crate::error::{Error, Station};
use http::Response;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use mesh_core::local_reply::Reason;
use mesh_core::model::Address;
use mesh_core::outcome::{Failure, Processed, ResetReason};
use mesh_core::proxy::stream::StreamEnd;
use std::fmt;
use std::io::{self, IoSlice};
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A byte stream to an endpoint of a cluster: [`Mesh::connect`](crate::Mesh::connect), or what a request has become
/// that was upgraded.
///
/// - It reads and writes as the socket does: shutting down its writing half leaves the other open, until the endpoint
///   ends that.
/// - It is in flight, for circuit breakers and load balancing, until it is dropped. Dropping it closes the connection.
/// - A read or write that fails counts for outlier detection, as a call does whose answer breaks off.
/// - At the deadline of [`Mesh::shutdown`](crate::Mesh::shutdown) it is closed: reads and writes fail with
///   [`io::ErrorKind::ConnectionAborted`].
#[must_use = "dropping it closes the connection"]
pub struct MeshStream {
    io: Io,
    /// What it counts as, until it ends.
    body: MeshResponseBody<OwnBody>,
    endpoint: Option<Address>,
    /// Bytes that the endpoint has got, and that came from it.
    written: u64,
    read: u64,
}

enum Io {
    Own(Box<NetIo>),
    Upgraded(TokioIo<Upgraded>),
    Stream(Box<H2Stream>),
    /// It was reset.
    Over(tokio::io::Empty),
}

impl Io {
    /// Either, as what both are.
    fn duplex(&mut self) -> Pin<&mut dyn Duplex> {
        match self {
            Self::Own(io) => Pin::new(&mut **io),
            Self::Upgraded(io) => Pin::new(io),
            Self::Stream(io) => Pin::new(&mut **io),
            Self::Over(io) => Pin::new(io),
        }
    }
}

trait Duplex: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Duplex for T {}

impl MeshStream {
    const fn new(io: Io, body: MeshResponseBody<OwnBody>, endpoint: Option<Address>) -> Self {
        Self { io, body, endpoint, written: 0, read: 0 }
    }

    /// The connection that an answer to CONNECT is.
    pub(crate) fn of_bytes(response: Response<MeshResponseBody<OwnBody>>) -> Result<Self, Error> {
        let mut body = response.into_body();
        let endpoint = body.endpoint().cloned();
        match body.inner_mut().map(|body| mem::replace(body, OwnBody::Taken)) {
            Some(OwnBody::Bytes(io)) => Ok(Self::new(Io::Own(io), body, endpoint)),
            // A local reply, which calls of clusters do not get.
            _ => Err(Error::new(Reason::UnknownCluster, Station::default())),
        }
    }

    /// The connection that becomes of an upgrade to which the endpoint has agreed, once it is handed over.
    pub(crate) async fn of_upgrade(mut body: MeshResponseBody<OwnBody>) -> io::Result<Self> {
        let endpoint = body.endpoint().cloned();
        match body.inner_mut().map(|body| mem::replace(body, OwnBody::Taken)) {
            Some(OwnBody::Upgraded(upgrade)) => {
                let upgraded = upgrade.await.map_err(io::Error::other)?;
                Ok(Self::new(Io::Upgraded(TokioIo::new(upgraded)), body, endpoint))
            }
            Some(OwnBody::Stream(stream)) => Ok(Self::new(Io::Stream(stream), body, endpoint)),
            _ => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// The endpoint that it leads to; `None`: to a host that passes by every policy.
    #[must_use]
    pub const fn endpoint(&self) -> Option<&Address> {
        self.endpoint.as_ref()
    }

    /// How many bytes the endpoint has got, and how many came from it.
    #[must_use]
    pub const fn carried(&self) -> (u64, u64) {
        (self.written, self.read)
    }

    /// Says how it ended, for metrics and the access log, where a read or a write of it has not said that already: who
    /// passes bytes on knows more than the stream does. Without it, it ended well.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(mesh: &mesh_tower::Mesh, mut client: tokio::net::TcpStream) -> Result<(), mesh_tower::Error> {
    /// use mesh_tower::tcp::{RelayOptions, relay};
    ///
    /// let mut endpoint = mesh.connect("orders-db").await?;
    /// let relayed = relay(&mut client, &mut endpoint, RelayOptions::new()).await;
    /// endpoint.ended(relayed.end.of_client());
    /// # Ok(()) }
    /// ```
    pub fn ended(&mut self, end: StreamEnd) {
        self.body.carried(self.written, self.read);
        match end.reason() {
            None => self.body.ended(),
            Some(reason) => self.body.cut_off(reason),
        }
    }

    /// Closes it so that the endpoint does not take what it got for the whole: with a reset of the connection, where it
    /// is TCP, or of the stream of HTTP/2. How it ended has been said.
    pub(crate) fn reset(&mut self) {
        match mem::replace(&mut self.io, Io::Over(tokio::io::empty())) {
            Io::Own(io) => io.reset(),
            Io::Upgraded(io) => {
                if let Ok(parts) = io.into_inner().downcast::<TokioIo<NetIo>>() {
                    parts.io.into_inner().reset();
                }
            }
            // Dropping it resets it.
            Io::Stream(_) | Io::Over(_) => {}
        }
    }

    fn io<T>(
        &mut self,
        with: impl FnOnce(Pin<&mut dyn Duplex>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let done = with(self.io.duplex());
        if let Poll::Ready(Err(_)) = &done {
            let (reason, processed) = (ResetReason::ConnectionTermination, Processed::Maybe);
            self.body.carried(self.written, self.read);
            self.body.broke(&Failure::Reset { reason, processed });
        }
        done
    }

    const fn wrote(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = &written {
            self.written += *bytes as u64;
        }
        written
    }
}

impl Drop for MeshStream {
    fn drop(&mut self) {
        self.ended(StreamEnd::Complete);
    }
}

impl AsyncRead for MeshStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = self.io(|stream| stream.poll_read(cx, buf));
        self.read += buf.filled().len().saturating_sub(before) as u64;
        read
    }
}

impl AsyncWrite for MeshStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = self.io(|stream| stream.poll_write(cx, buf));
        self.wrote(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = self.io(|stream| stream.poll_write_vectored(cx, bufs));
        self.wrote(written)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.io {
            Io::Own(io) => io.is_write_vectored(),
            Io::Upgraded(io) => io.is_write_vectored(),
            Io::Stream(io) => io.is_write_vectored(),
            Io::Over(io) => io.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io(|stream| stream.poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io(|stream| stream.poll_shutdown(cx))
    }
}

impl fmt::Debug for MeshStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MeshStream").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}
