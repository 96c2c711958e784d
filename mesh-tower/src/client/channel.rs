//! [`Channel`]: the stack as tonic-generated clients want it.

use super::{Client, MeshFuture, ResponseBody};
use crate::Mesh;
use crate::error::Error;
use crate::transport::Transport;
use bytes::Bytes;
use http::uri::{Authority, InvalidUri, Scheme};
use http::{Request, Response, Uri};
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tower_service::Service;

/// A gRPC channel through the mesh, for tonic-generated clients: unary and all streaming kinds.
///
/// Generated clients give paths without an authority; the channel adds its own, and the mesh routes by
/// it. What the mesh refuses or gives up comes as a gRPC status (a Trailers-Only answer), with the
/// [`Error`] in the response's extensions, so that `tonic::Status` has the right code and text. What
/// ends a stream after its head is a `tonic::Status` too, with the error as its source.
///
/// # Examples
/// ```ignore
/// let mut greeter = GreeterClient::new(mesh.channel("greeter")?);
/// ```
#[derive(Clone, Debug)]
pub struct Channel {
    client: Client,
    scheme: Scheme,
    authority: Authority,
}

impl Channel {
    /// A channel to `authority`: `greeter`, `greeter:50051`, or with a scheme before it.
    ///
    /// # Errors
    /// When that is not a host with an optional port.
    pub(crate) fn new(mesh: &Mesh, authority: &str) -> Result<Self, InvalidUri> {
        let uri: Uri = if authority.contains("://") {
            authority.parse()?
        } else {
            format!("http://{authority}").parse()?
        };
        let scheme = uri.scheme().cloned().unwrap_or(Scheme::HTTP);
        let authority = match uri.authority() {
            Some(authority) if !authority.host().is_empty() => authority.clone(),
            _ => "".parse()?,
        };
        Ok(Self { client: mesh.client().into_own_channel(), scheme, authority })
    }
}

impl Service<Request<tonic::body::Body>> for Channel {
    type Response = Response<ChannelBody>;
    type Error = Infallible;
    type Future = ChannelFuture;

    /// Always ready.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<tonic::body::Body>) -> ChannelFuture {
        let mut parts = std::mem::take(request.uri_mut()).into_parts();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        // Scheme and authority are there, and the path was part of a valid URI.
        if let Ok(uri) = Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
        *request.version_mut() = http::Version::HTTP_2;
        ChannelFuture { call: self.client.call(request) }
    }
}

/// A call of a [`Channel`].
#[pin_project]
#[derive(Debug)]
pub struct ChannelFuture {
    #[pin]
    call: MeshFuture<Transport>,
}

impl Future for ChannelFuture {
    type Output = Result<Response<ChannelBody>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(Ok(match ready!(self.project().call.poll(cx)) {
            Ok(response) => response.map(ChannelBody),
            Err(error) => grpc_reply(error).map(ChannelBody),
        }))
    }
}

/// The response body of a [`Channel`]: it fails with a gRPC status, which tonic's clients pass on.
#[derive(Debug)]
pub struct ChannelBody(ResponseBody);

impl Body for ChannelBody {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
        Pin::new(&mut self.0).poll_frame(cx).map_err(|error| {
            let mut status = status_of(&error);
            status.set_source(Arc::new(error));
            status
        })
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

#[cold]
fn status_of(error: &Error) -> tonic::Status {
    let code = i32::try_from(error.grpc_status()).unwrap_or(2);
    tonic::Status::new(tonic::Code::from(code), error.to_string())
}

/// The Trailers-Only answer that stands for an error.
#[cold]
fn grpc_reply(error: Error) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::local(None));
    crate::grpc::trailers_only(response.headers_mut(), error.grpc_status(), &error.to_string());
    response.extensions_mut().insert(Arc::new(error));
    response
}
