//! Calls by plain hyper, to one endpoint.

use super::super::exchange::Came;
use super::super::question::Question;
use super::PATIENCE;
use crate::cli::Failure;
use http::header::HOST;
use http::{HeaderValue, Request, Response, Uri, Version};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use mesh_core::explain::{Conclusion, Explained};
use mesh_core::model::Address;
use mesh_core::router::RewrittenHost;
use mesh_tower::Mesh;
use mesh_tower::connector::{BoxedIo, Connect, TcpConnector};
use std::sync::Arc;
use tokio::time::timeout;

/// How often a connection of the mesh's is asked for until it is one to the endpoint.
const TRIES: u32 = 64;

/// One endpoint, and a connection to it.
pub(super) struct Direct {
    mesh: Mesh,
    cluster: Arc<str>,
    endpoint: Address,
    is_secured: bool,
    version: Version,
    request: Request<Full<Bytes>>,
    sender: Option<Sender>,
    connections: u32,
}

enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Direct {
    /// To the endpoint that answered.
    pub(super) fn new(mesh: &Mesh, question: &Question, came: &Came) -> Result<Self, Failure> {
        let last = came.report().and_then(|report| report.attempts.last());
        let known = last.and_then(|last| {
            let (cluster, endpoint) = (last.cluster.clone()?, last.endpoint.clone()?);
            Some((cluster, endpoint, last.connection.clone()?))
        });
        let Some((cluster, endpoint, connection)) = known else {
            let message = "no endpoint of a cluster answered, so there is nobody to call directly";
            return Err(failure(message));
        };
        let request = sent(&came.explained, &cluster, question, connection.version)?;
        Ok(Self {
            mesh: mesh.clone(),
            cluster,
            endpoint,
            is_secured: connection.tls.is_some(),
            version: connection.version,
            request,
            sender: None,
            connections: 0,
        })
    }

    pub(super) const fn endpoint(&self) -> &Address {
        &self.endpoint
    }

    pub(super) const fn is_secured(&self) -> bool {
        self.is_secured
    }

    /// How many were made.
    pub(super) const fn connections(&self) -> u32 {
        self.connections
    }

    pub(super) fn request(&self) -> Request<Full<Bytes>> {
        self.request.clone()
    }

    /// Makes a connection, if there is none that can be used.
    pub(super) async fn connect(&mut self) -> Result<(), Failure> {
        let is_usable = match &mut self.sender {
            Some(Sender::Http1(sender)) => sender.ready().await.is_ok(),
            Some(Sender::Http2(sender)) => sender.ready().await.is_ok(),
            None => false,
        };
        if !is_usable {
            let made = timeout(PATIENCE, self.make()).await;
            let made = made.map_err(|_late| failure("no connection in time"))?;
            self.sender = Some(made?);
            self.connections += 1;
        }
        Ok(())
    }

    async fn make(&self) -> Result<Sender, Failure> {
        let io = TokioIo::new(self.stream().await?);
        let wrong = |error: hyper::Error| failure(error.to_string());
        if self.version == Version::HTTP_2 {
            let executor = TokioExecutor::new();
            let (sender, connection) = http2::handshake(executor, io).await.map_err(wrong)?;
            drop(tokio::spawn(connection));
            return Ok(Sender::Http2(sender));
        }
        let (sender, connection) = http1::handshake(io).await.map_err(wrong)?;
        drop(tokio::spawn(connection));
        Ok(Sender::Http1(sender))
    }

    async fn stream(&self) -> Result<BoxedIo, Failure> {
        if !self.is_secured {
            let stream = TcpConnector.connect(&self.endpoint).await;
            return stream.map_err(|error| failure(error.to_string()));
        }
        for _ in 0..TRIES {
            let stream = self.mesh.connect(&self.cluster).await;
            let stream = stream.map_err(|error| failure(error.to_string()))?;
            if stream.endpoint() == Some(&self.endpoint) {
                return Ok(Box::new(stream));
            }
        }
        let message = format!("{TRIES} connections of `{}` led elsewhere", self.cluster);
        Err(failure(message))
    }

    /// The response; `None`: there is none.
    pub(super) async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Option<Response<Incoming>> {
        match self.sender.as_mut()? {
            Sender::Http1(sender) => sender.send_request(request).await.ok(),
            Sender::Http2(sender) => sender.send_request(request).await.ok(),
        }
    }
}

fn failure(message: impl AsRef<str>) -> Failure {
    Failure::new("not_compared", format!("can't compare: {}", message.as_ref()))
}

/// What the endpoint gets to see of the request, but for what the mesh adds to each attempt.
fn sent(
    explained: &Explained,
    cluster: &str,
    question: &Question,
    version: Version,
) -> Result<Request<Full<Bytes>>, Failure> {
    let Conclusion::Forward(forward) = &explained.conclusion else {
        return Err(failure("the call is not forwarded any more"));
    };
    let mut parts = forward.parts.iter();
    // Of an aggregate the endpoint is a child's.
    let part = parts.find(|part| *part.share.cluster == *cluster).or_else(|| forward.parts.first());
    let part = part.ok_or_else(|| failure("the route has no cluster"))?;
    let host = match &part.host {
        RewrittenHost::To(authority) => authority.to_string(),
        RewrittenHost::Unchanged | RewrittenHost::EndpointHostname => {
            question.asked.authority().to_owned()
        }
    };
    let invalid = |error: &dyn std::fmt::Display| failure(error.to_string());
    let mut request = Request::new(Full::new(question.body.clone()));
    *request.method_mut() = question.asked.method.clone();
    *request.headers_mut() = part.headers.clone();
    let uri = if version == Version::HTTP_2 {
        *request.version_mut() = version;
        format!("http://{host}{}", forward.path).parse::<Uri>()
    } else {
        let value = HeaderValue::try_from(&host).map_err(|error| invalid(&error))?;
        request.headers_mut().insert(HOST, value);
        forward.path.parse()
    };
    *request.uri_mut() = uri.map_err(|error| invalid(&error))?;
    Ok(request)
}
