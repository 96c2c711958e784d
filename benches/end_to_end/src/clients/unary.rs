//! A unary gRPC call as generated code makes it, over any channel.

use crate::BoxError;
use crate::echo::{Echo, METHOD, PAYLOAD, TIMEOUT, payload};
use crate::load::Caller;
use bytes::Bytes;
use http::Uri;
use http_body::Body;
use std::net::SocketAddr;
use tonic::Request;
use tonic::client::{Grpc, GrpcService};
use tonic::metadata::{Ascii, MetadataValue};
use tonic_prost::ProstCodec;

/// Which headers a channel writes by itself.
#[derive(Clone, Copy)]
pub struct OwnHeaders {
    user_agent: bool,
    timeout: bool,
}

impl OwnHeaders {
    /// None: the application writes them.
    pub const NONE: Self = Self { user_agent: false, timeout: false };
    /// `user-agent`.
    pub const USER_AGENT: Self = Self { user_agent: true, timeout: false };
    /// `grpc-timeout`, from its configuration.
    #[cfg(feature = "mesh")]
    pub const TIMEOUT: Self = Self { user_agent: false, timeout: true };
}

/// Calls the method over a channel.
#[derive(Clone)]
pub struct Unary<S> {
    grpc: Grpc<S>,
    user_agent: Option<MetadataValue<Ascii>>,
    /// Text that was written once: formatting it for each call would be on the rivals' account.
    timeout: Option<MetadataValue<Ascii>>,
}

impl<S> Unary<S> {
    /// Calls over `channel`, giving `origin` to one that wants absolute URIs.
    pub fn new(channel: S, origin: Option<SocketAddr>, own: OwnHeaders) -> Self {
        let origin = origin.and_then(|address| format!("http://{address}").parse::<Uri>().ok());
        let timeout = format!("{}m", TIMEOUT.as_millis()).parse().ok();
        Self {
            grpc: Grpc::with_origin(channel, origin.unwrap_or_default()),
            user_agent: (!own.user_agent).then(|| MetadataValue::from_static("tonic/0.14.9")),
            timeout: timeout.filter(|_| !own.timeout),
        }
    }
}

impl<S> Caller for Unary<S>
where
    S: GrpcService<tonic::body::Body> + Clone + Send + Sync + 'static,
    S::Future: Send,
    S::Error: Send,
    S::ResponseBody: Body<Data = Bytes> + Send + 'static,
    <S::ResponseBody as Body>::Error: Into<BoxError>,
{
    async fn call(&mut self) -> Result<(), BoxError> {
        let mut request = Request::new(Echo { payload: payload() });
        if let Some(user_agent) = &self.user_agent {
            request.metadata_mut().insert("user-agent", user_agent.clone());
        }
        if let Some(timeout) = &self.timeout {
            request.metadata_mut().insert("grpc-timeout", timeout.clone());
        }
        self.grpc.ready().await.map_err(Into::into)?;
        let codec = ProstCodec::<Echo, Echo>::default();
        let response = self.grpc.unary(request, METHOD, codec).await?;
        match response.into_inner().payload.len() {
            PAYLOAD => Ok(()),
            length => Err(format!("{length} bytes came back").into()),
        }
    }
}
