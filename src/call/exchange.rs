//! The call itself, and what came of it.

use super::body::Sink;
use super::question::Question;
use crate::cli::Failure;
use http::{HeaderMap, response};
use http_body_util::BodyExt;
use mesh_core::explain::{Conclusion, Explained};
use mesh_core::outcome::grpc_status;
use mesh_tower::observe::CallReport;
use mesh_tower::{CallOptions, Error, Mesh};
use std::time::Duration;
use tower_service::Service;

/// What is waited beyond the call's own timeout, for a call that passes by every policy and so by that one.
const GRACE: Duration = Duration::from_secs(1);

/// What came of a call.
pub(super) struct Came {
    /// Why it went where it went.
    pub(super) explained: Explained,
    pub(super) received: Option<Received>,
    pub(super) failed: Option<Failed>,
    pub(super) sent: usize,
}

/// A response, or what came of it.
pub(super) struct Received {
    pub(super) head: response::Parts,
    pub(super) bytes: u64,
    pub(super) trailers: Option<HeaderMap>,
}

/// Why there is no whole response.
pub(super) enum Failed {
    /// The mesh says it.
    Mesh(Error),
    /// Nothing ended it, and its time is up.
    Late(Duration),
}

impl Came {
    /// Every attempt and phase.
    pub(super) fn report(&self) -> Option<&CallReport> {
        let of_response = || self.received.as_ref()?.head.extensions.get::<CallReport>();
        match &self.failed {
            Some(Failed::Mesh(error)) => error.report().or_else(of_response),
            Some(Failed::Late(_)) | None => of_response(),
        }
    }

    /// The gRPC status that the response says.
    pub(super) fn grpc_status(&self) -> Option<u32> {
        let received = self.received.as_ref()?;
        let of_trailers = received.trailers.as_ref().and_then(grpc_status);
        of_trailers.or_else(|| grpc_status(&received.head.headers))
    }

    /// What the response says about that.
    pub(super) fn grpc_message(&self) -> Option<String> {
        let received = self.received.as_ref()?;
        let of = |headers: &HeaderMap| Some(headers.get("grpc-message")?.as_bytes().to_vec());
        let told =
            received.trailers.as_ref().and_then(of).or_else(|| of(&received.head.headers))?;
        Some(told.escape_ascii().to_string())
    }
}

/// Calls, and gives the body to `sink`.
pub(super) async fn ask(
    mesh: &Mesh,
    question: &Question,
    sink: &mut Sink,
) -> Result<Came, Failure> {
    let mut explained = mesh.explain(&question.asked);
    let mut received = None;
    let exchange = exchange(mesh, question, sink, &mut received);
    let failed = match question.timeout.map(|timeout| timeout.saturating_add(GRACE)) {
        Some(limit) => match tokio::time::timeout(limit, exchange).await {
            Ok(failed) => failed?,
            Err(_late) => Some(Failed::Late(limit)),
        },
        None => exchange.await?,
    };
    // What was not known before is now, where a source is asked by name.
    if matches!(explained.conclusion, Conclusion::Refused(_)) {
        explained = mesh.explain(&question.asked);
    }
    Ok(Came { explained, received, failed, sent: question.body.len() })
}

async fn exchange(
    mesh: &Mesh,
    question: &Question,
    sink: &mut Sink,
    received: &mut Option<Received>,
) -> Result<Option<Failed>, Failure> {
    let request = question.request(CallOptions::new().report());
    let response = match mesh.client().call(request).await {
        Ok(response) => response,
        Err(error) => return Ok(Some(Failed::Mesh(error))),
    };
    let (head, mut body) = response.into_parts();
    let received = received.insert(Received { head, bytes: 0, trailers: None });
    sink.open()?;
    while let Some(frame) = body.frame().await {
        let frame = match frame {
            Ok(frame) => frame,
            Err(error) => return Ok(Some(Failed::Mesh(error))),
        };
        match frame.into_data() {
            Ok(data) => {
                received.bytes = received.bytes.saturating_add(data.len() as u64);
                sink.write(&data)?;
                if sink.is_closed() {
                    break;
                }
            }
            Err(frame) => received.trailers = frame.into_trailers().ok(),
        }
    }
    Ok(None)
}
