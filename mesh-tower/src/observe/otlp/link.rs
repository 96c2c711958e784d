//! [`Link`]: to a collector, over gRPC.
//!
//! One request is on its way at a time, and a batch has one deadline: for all tries, and the waits between them. After
//! a request without an answer the connection is given up, for one that hangs would hang the next one, too.

use super::super::exported::Lost;
use super::answer::{self, Partial};
use super::dial;
use crate::error::with_sources;
use crate::net::Draw;
use crate::protobuf::Raw;
use bytes::Bytes;
use http::uri::PathAndQuery;
use mesh_core::otlp::{OtlpTarget, is_retryable, pause};
use tokio::time::{Instant, sleep_until, timeout_at};
use tonic::client::Grpc;
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;
use tonic::{Request, Status};

/// The method that takes metrics.
pub(super) const METRICS: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";

/// The method that takes spans.
pub(super) const TRACES: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// To one collector, for one signal.
pub(super) struct Link {
    target: OtlpTarget,
    method: &'static str,
    channel: Option<Channel>,
}

/// Why a batch was dropped, and in words.
pub(super) type Failed = (Lost, String);

/// Why one try failed.
enum Trouble {
    Unreachable(String),
    Status(Box<Status>),
}

impl Link {
    /// Nothing is connected before something is sent.
    pub(super) const fn new(target: OtlpTarget, method: &'static str) -> Self {
        Self { target, method, channel: None }
    }

    /// Whom it leads to.
    pub(super) const fn target(&self) -> &OtlpTarget {
        &self.target
    }

    /// Sends a message until it is taken, refused for good, or `deadline` has come.
    pub(super) async fn send(
        &mut self,
        message: &Bytes,
        deadline: Instant,
    ) -> Result<Partial, Failed> {
        let mut failures: u32 = 0;
        loop {
            let Ok(tried) = timeout_at(deadline, self.once(message)).await else {
                self.channel = None;
                return Err((Lost::Timeout, "no answer in time".to_owned()));
            };
            let (said, told) = match tried {
                Ok(partial) => return Ok(partial),
                Err(Trouble::Unreachable(error)) => {
                    self.channel = None;
                    (error, None)
                }
                Err(Trouble::Status(status)) => {
                    let said = format!("{:?}: {}", status.code(), status.message());
                    let told = answer::retry_delay(status.details());
                    if !is_retryable(i32::from(status.code()).unsigned_abs(), told.is_some()) {
                        return Err((Lost::Rejected, said));
                    }
                    (said, told)
                }
            };
            failures = failures.saturating_add(1);
            let again = Instant::now() + pause(failures, told, &mut Draw);
            if again >= deadline {
                return Err((Lost::ExportFailed, said));
            }
            sleep_until(again).await;
        }
    }

    async fn once(&mut self, message: &Bytes) -> Result<Partial, Trouble> {
        let channel = match &self.channel {
            Some(channel) => channel.clone(),
            None => {
                let dialed = dial::channel(&self.target.endpoint).await;
                let channel = dialed.map_err(Trouble::Unreachable)?;
                self.channel.insert(channel).clone()
            }
        };
        let mut client = Grpc::new(channel);
        let ready = client.ready().await;
        ready.map_err(|error| Trouble::Unreachable(with_sources(&error)))?;
        let mut request = Request::new(message.clone());
        *request.metadata_mut() = MetadataMap::from_headers(self.target.headers.clone());
        let path = PathAndQuery::from_static(self.method);
        let response = client.unary(request, path, Raw).await;
        let response = response.map_err(|status| match std::error::Error::source(&status) {
            // Nobody said that: the connection broke, or there is none any more.
            Some(why) => Trouble::Unreachable(with_sources(why)),
            None => Trouble::Status(Box::new(status)),
        })?;
        Ok(answer::partial(response.get_ref()))
    }
}
