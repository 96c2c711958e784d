//! What `h2` and `hyper` say, in the words that all deciders share. Errors are rare: cost is no matter.

use super::SendError;
use super::head::InvalidRequest;
use super::lanes::Refusal;
use crate::{BoxError, MeshBody};
use http::Request;
use mesh_core::outcome::{Failure, Processed, ProtocolFailure, ResetReason};
use std::error::Error as StdError;

/// The connection ended; the server may have acted.
pub(super) const TERMINATED: Failure =
    Failure::Reset { reason: ResetReason::ConnectionTermination, processed: Processed::Maybe };

const UNSENT: Failure =
    Failure::Reset { reason: ResetReason::ConnectionTermination, processed: Processed::No };

/// Why a stream has no response head.
pub(super) fn of_h2(error: &h2::Error) -> Failure {
    if let Some(reason) = error.reason() {
        if error.is_go_away() && error.is_remote() {
            // h2 ends only the streams above the last one that the GOAWAY names: RFC 9113 section 6.8.
            return Failure::Reset { reason: ResetReason::GoAway, processed: Processed::No };
        }
        if error.is_reset() && error.is_remote() {
            return reset_by_peer(reason);
        }
        if error.is_reset() && error.is_library() && reason == h2::Reason::PROTOCOL_ERROR {
            // h2 resets like this for a head above SETTINGS_MAX_HEADER_LIST_SIZE, and for one that is
            // malformed (RFC 9113 section 8.1.1), and tells them apart by nothing: the reason's text says both.
            return Failure::Protocol(ProtocolFailure::ResponseHeadTooLarge);
        }
        if error.is_library() {
            return Failure::Protocol(ProtocolFailure::InvalidResponse);
        }
        return Failure::Reset { reason: ResetReason::Local, processed: Processed::Maybe };
    }
    TERMINATED
}

/// Why a stream broke off after its head.
pub(super) fn of_h2_body(error: &h2::Error) -> Failure {
    match of_h2(error) {
        Failure::Protocol(ProtocolFailure::ResponseHeadTooLarge) => {
            Failure::Protocol(ProtocolFailure::InvalidResponse)
        }
        failure => failure,
    }
}

fn reset_by_peer(reason: h2::Reason) -> Failure {
    match reason {
        h2::Reason::REFUSED_STREAM => {
            Failure::Reset { reason: ResetReason::RefusedStream, processed: Processed::No }
        }
        reason => Failure::Reset {
            reason: ResetReason::Remote(reason.into()),
            processed: Processed::Maybe,
        },
    }
}

/// Why a stream could not be opened on a connection that just was in order: nothing was sent.
pub(super) fn of_unopened(error: &h2::Error) -> Failure {
    if error.reason().is_none() && !error.is_io() {
        return Failure::Protocol(ProtocolFailure::InvalidRequest);
    }
    match of_h2(error) {
        Failure::Reset { reason, .. } => Failure::Reset { reason, processed: Processed::No },
        failure => failure,
    }
}

/// Whether we ended the stream: of the calls that are still waited for, only because their request
/// body could not be sent.
pub(super) fn is_ours(error: &h2::Error) -> bool {
    error.is_reset() && !error.is_remote() && !error.is_library()
}

/// Why an HTTP/1.1 exchange has no response head.
pub(super) fn of_h1(error: &hyper::Error) -> Failure {
    if is_request_body(error) {
        return REQUEST_BODY;
    }
    #[cfg(feature = "tls")]
    if let Some(refused) = not_secured(error) {
        // The handshake was refused after it was over for us: nothing was processed.
        return Failure::Connect(refused.failure);
    }
    if error.is_parse() {
        // Without hyper's server half there is no `is_parse_too_large`.
        let too_large = error.to_string().contains("too large");
        return Failure::Protocol(if too_large {
            ProtocolFailure::ResponseHeadTooLarge
        } else {
            ProtocolFailure::InvalidResponse
        });
    }
    TERMINATED
}

/// What the peer said of who we are, when that is behind an error (RFC 8446: after the client is done).
#[cfg(feature = "tls")]
fn not_secured(error: &hyper::Error) -> Option<&crate::tls::client_refused::NotSecured> {
    let mut next = StdError::source(error);
    while let Some(source) = next {
        let io = source.downcast_ref::<std::io::Error>();
        if let Some(found) = io.and_then(crate::tls::client_refused::NotSecured::behind) {
            return Some(found);
        }
        next = source.source();
    }
    None
}

/// The caller's request body failed after the head was sent.
pub(super) const REQUEST_BODY: Failure =
    Failure::Reset { reason: ResetReason::RequestBody, processed: Processed::Maybe };

/// The error of a request body on its way through hyper, to know it again.
#[derive(Debug, thiserror::Error)]
#[error("the request body failed")]
pub(super) struct RequestBodyError(#[source] pub(super) BoxError);

pub(super) fn is_request_body(error: &(dyn StdError + 'static)) -> bool {
    let mut next = error.source();
    while let Some(source) = next {
        if source.is::<RequestBodyError>() {
            return true;
        }
        next = source.source();
    }
    false
}

impl SendError {
    /// The request's body failed before anything was sent.
    pub(super) fn body_failed_first(source: BoxError) -> Self {
        let (reason, processed) = (ResetReason::RequestBody, Processed::No);
        Self::new(Failure::Reset { reason, processed }).with_source(source)
    }

    pub(super) fn invalid(reason: InvalidRequest, request: Request<MeshBody>) -> Self {
        Self::new(Failure::Protocol(ProtocolFailure::InvalidRequest))
            .with_request(request)
            .with_source(reason)
    }

    /// A connection ended with the request still unsent.
    pub(super) fn unsent(source: impl Into<BoxError>, request: Request<MeshBody>) -> Self {
        Self::new(UNSENT).with_request(request).with_source(source)
    }

    pub(super) fn refused(refusal: Refusal, request: Request<MeshBody>) -> Self {
        let error = Self::new(refusal.failure).with_request(request);
        match refusal.source {
            Some(source) => error.with_source(source),
            None => error,
        }
    }
}
