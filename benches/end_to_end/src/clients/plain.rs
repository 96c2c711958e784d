//! A plain HTTP call over any tower service.

use crate::BoxError;
use crate::echo::{PAYLOAD, PLAIN_PATH, payload};
use crate::load::Caller;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, Uri, Version};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use tower::{Service, ServiceExt};

/// Posts 100 bytes and reads them back.
#[derive(Clone)]
pub struct Plain<S> {
    service: S,
    uri: Uri,
    version: Version,
}

impl<S> Plain<S> {
    /// Calls `authority` through `service`.
    pub fn new(service: S, authority: &str, version: Version) -> Result<Self, BoxError> {
        Ok(Self { service, uri: format!("http://{authority}{PLAIN_PATH}").parse()?, version })
    }
}

impl<S, B> Caller for Plain<S>
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Future: Send,
    S::Error: Into<BoxError> + Send,
    B: Body<Data = Bytes> + Send,
    B::Error: Into<BoxError> + Send,
{
    async fn call(&mut self) -> Result<(), BoxError> {
        let mut request = Request::new(Full::new(payload()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.version_mut() = self.version;
        let service = self.service.ready().await.map_err(Into::into)?;
        expect_echo(service.call(request).await.map_err(Into::into)?).await
    }
}

/// Reads an answer to the end.
pub async fn expect_echo<B>(response: Response<B>) -> Result<(), BoxError>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let status = response.status();
    let body = response.into_body().collect().await.map_err(Into::into)?.to_bytes();
    if status != StatusCode::OK || body.len() != PAYLOAD {
        return Err(format!("{status} with {} bytes came back", body.len()).into());
    }
    Ok(())
}
