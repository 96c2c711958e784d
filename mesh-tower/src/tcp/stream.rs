//! [`MeshStream`]: a byte stream to an endpoint, which counts until it ends.

use super::leaf::Tunnel;
use crate::connect::NetIo;
use crate::endpoint::MeshResponseBody;
use crate::error::{Error, Station};
use http::Response;
use mesh_core::local_reply::Reason;
use mesh_core::model::Address;
use mesh_core::outcome::{Failure, Processed, ResetReason};
use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A byte stream to an endpoint of a cluster: [`Mesh::connect`](crate::Mesh::connect).
///
/// - It reads and writes as the socket does: shutting down its writing half leaves the other open, until the endpoint
///   ends that.
/// - It is in flight, for circuit breakers and load balancing, until it is dropped. Dropping it closes the connection.
/// - A read or write that fails counts for outlier detection, as a call does whose answer breaks off.
/// - At the deadline of [`Mesh::shutdown`](crate::Mesh::shutdown) it is closed: reads and writes fail with
///   [`io::ErrorKind::ConnectionAborted`].
#[must_use = "dropping it closes the connection"]
pub struct MeshStream {
    body: MeshResponseBody<Tunnel>,
    endpoint: Address,
}

impl MeshStream {
    /// The connection that an answer is.
    pub(super) fn new(response: Response<MeshResponseBody<Tunnel>>) -> Result<Self, Error> {
        let body = response.into_body();
        match body.endpoint() {
            Some(endpoint) => {
                let endpoint = endpoint.clone();
                Ok(Self { body, endpoint })
            }
            // A local reply, which calls of clusters do not get.
            None => Err(Error::new(Reason::UnknownCluster, Station::default())),
        }
    }

    /// The endpoint that it leads to.
    #[must_use]
    pub const fn endpoint(&self) -> &Address {
        &self.endpoint
    }

    fn io<T>(
        &mut self,
        with: impl FnOnce(Pin<&mut NetIo>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let Some(Tunnel(stream)) = self.body.inner_mut() else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        let done = with(Pin::new(stream));
        if let Poll::Ready(Err(_)) = &done {
            let (reason, processed) = (ResetReason::ConnectionTermination, Processed::Maybe);
            self.body.broke(&Failure::Reset { reason, processed });
        }
        done
    }
}

impl Drop for MeshStream {
    fn drop(&mut self) {
        self.body.ended();
    }
}

impl AsyncRead for MeshStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.io(|stream| stream.poll_read(cx, buf))
    }
}

impl AsyncWrite for MeshStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.io(|stream| stream.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.io(|stream| stream.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        self.body.inner().is_some_and(|Tunnel(stream)| stream.is_write_vectored())
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
