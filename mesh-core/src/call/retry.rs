//! Whether an outcome is worth another attempt.
//!
//! A retry is right only where the failure may pass and where repeating is what the configuration
//! asked for; everything else is an answer. The conditions are Envoy's (`x-envoy-retry-on`,
//! `x-envoy-retry-grpc-on`; `source/common/router/retry_state_impl.cc`), with these additions:
//!
//! - A gRPC status counts in the trailers of a unary answer as it does in the headers (Envoy looks at
//!   headers only).
//! - In a gRPC call that has no gRPC status, the status that the caller would see decides: the one of
//!   the local reply, or the one that the HTTP status stands for (grpc/grpc
//!   `doc/http-grpc-status-mapping.md`). So `unavailable` covers a lost connection, as in gRPC.
//! - The user's classifier decides before any condition.
//! - `x-mesh-retry: no` says that a hop nearer to the failure has retried already.
//!
//! Not here: whether there *may* be another attempt (counts, budget, deadline: [`super::Call`]), and
//! what no server processed (sent elsewhere without any policy).

use super::backoff::{Pushback, pushback};
use crate::local_reply::Reason;
use crate::model::RetryOn;
use crate::outcome::{
    Class, ConnectFailure, Failure, Outcome, Processed, ProtocolFailure, ResetReason,
    ResponseOutcome, grpc, http_to_grpc,
};
use http::{HeaderMap, HeaderName, StatusCode};

/// The response header by which a server says `no` to being tried again, because it has done so
/// itself: only the hop nearest to a failure retries.
pub const X_MESH_RETRY: HeaderName = HeaderName::from_static("x-mesh-retry");

/// The response header of Envoy's rate limits: not tried again, unless the policy names
/// `envoy-ratelimited`.
static X_ENVOY_RATELIMITED: HeaderName = HeaderName::from_static("x-envoy-ratelimited");

/// The conditions of one call: the route's, united with a trusted caller's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Conditions<'a> {
    pub(super) on: RetryOn,
    /// Whether the call is gRPC.
    pub(super) grpc: bool,
    /// The codes of [`RetryOn::RETRIABLE_STATUS_CODES`]: the policy's and the caller's.
    pub(super) codes: [&'a [u16]; 2],
    /// Headers whose presence is [`RetryOn::RETRIABLE_HEADERS`], by the caller.
    pub(super) header_names: &'a [HeaderName],
}

impl Conditions<'_> {
    /// Whether `outcome` is worth another attempt. `policy_headers` says whether a response matches
    /// the policy's `retriable_headers`.
    pub(super) fn ask_for_retry(
        &self,
        outcome: &Outcome<'_>,
        policy_headers: impl FnOnce(&HeaderMap) -> bool,
    ) -> bool {
        match outcome {
            Outcome::Response(response) => self.after_response(response, policy_headers),
            Outcome::Failed(failure) => self.after_failure(failure),
        }
    }

    fn after_response(
        &self,
        response: &ResponseOutcome<'_>,
        policy_headers: impl FnOnce(&HeaderMap) -> bool,
    ) -> bool {
        // Envoy: a rate limit comes from an upstream Envoy and counts before all else.
        let is_rate_limited = || response.headers.contains_key(&X_ENVOY_RATELIMITED);
        if self.on.contains(RetryOn::ENVOY_RATELIMITED) {
            return is_rate_limited() || self.after_unlimited(response, policy_headers);
        }
        // Most responses are worth no retry: looking for the header is for the others.
        self.after_unlimited(response, policy_headers) && !is_rate_limited()
    }

    /// The same, of a response that is not rate limited.
    fn after_unlimited(
        &self,
        response: &ResponseOutcome<'_>,
        policy_headers: impl FnOnce(&HeaderMap) -> bool,
    ) -> bool {
        if let Some(class) = response.class {
            return class == Class::Retryable;
        }
        let status = response.status.as_u16();
        let on = |condition| self.on.contains(condition);
        on(RetryOn::SERVER_ERROR) && (500..=599).contains(&status)
            || on(RetryOn::GATEWAY_ERROR) && (502..=504).contains(&status)
            || on(RetryOn::RETRIABLE_4XX) && status == 409
            || on(RetryOn::RETRIABLE_STATUS_CODES)
                && self.codes.iter().any(|codes| codes.contains(&status))
            || self.on.intersects(RetryOn::ANY_GRPC)
                && seen_grpc_status(response).is_some_and(|status| self.on_grpc(status))
            || on(RetryOn::RETRIABLE_HEADERS)
                && (self.header_names.iter().any(|name| response.headers.contains_key(name))
                    || policy_headers(response.headers))
    }

    fn after_failure(&self, failure: &Failure) -> bool {
        let Some(kinds) = conditions_met_by(failure) else { return false };
        self.on.intersects(kinds)
            || self.grpc && self.on_grpc(Reason::Attempt(failure.clone()).grpc_status())
    }

    fn on_grpc(&self, status: u32) -> bool {
        let condition = match status {
            grpc::CANCELLED => RetryOn::CANCELLED,
            grpc::DEADLINE_EXCEEDED => RetryOn::DEADLINE_EXCEEDED,
            grpc::INTERNAL => RetryOn::INTERNAL,
            grpc::RESOURCE_EXHAUSTED => RetryOn::RESOURCE_EXHAUSTED,
            grpc::UNAVAILABLE => RetryOn::UNAVAILABLE,
            _ => return false,
        };
        self.on.contains(condition)
    }
}

/// Whether the server said that it must not be tried again.
pub(super) fn server_forbids(response: &ResponseOutcome<'_>) -> bool {
    response.headers.get(X_MESH_RETRY).is_some_and(|value| value == "no")
        || pushback(response) == Some(Pushback::Never)
}

/// The conditions of which any one asks to try again after `failure`; `None`: nothing does.
fn conditions_met_by(failure: &Failure) -> Option<RetryOn> {
    // Envoy: no response at all is a 5xx, a gateway error and a reset.
    let no_response = RetryOn::SERVER_ERROR | RetryOn::GATEWAY_ERROR | RetryOn::RESET;
    Some(match failure {
        // What the configuration forbids, or lacks, it does so everywhere.
        Failure::Connect(
            ConnectFailure::TlsUnavailable
            | ConnectFailure::SecretUnavailable
            | ConnectFailure::IdentityUnavailable,
        ) => return None,
        Failure::Connect(_) => {
            no_response | RetryOn::CONNECT_FAILURE | RetryOn::RESET_BEFORE_REQUEST
        }
        // Envoy's HTTP/2 codec reports streams above a GOAWAY's last one as refused.
        Failure::Reset { reason: ResetReason::RefusedStream | ResetReason::GoAway, .. } => {
            no_response | RetryOn::REFUSED_STREAM
        }
        // The request itself broke, or we ended it: another endpoint would see the same.
        Failure::Reset { reason: ResetReason::RequestBody | ResetReason::Local, .. } => {
            return None;
        }
        Failure::Reset { processed: Processed::No, .. } => {
            no_response | RetryOn::RESET_BEFORE_REQUEST
        }
        Failure::Reset { processed: Processed::Maybe, .. } | Failure::PerTryTimeout => no_response,
        Failure::Protocol(ProtocolFailure::InvalidRequest) => return None,
        Failure::Protocol(_) => no_response,
        // Envoy: a reset for overflow is never retried; more load is the last thing that helps. gRPC: nor
        // is what was dropped.
        Failure::Overflow(_)
        | Failure::Dropped { .. }
        | Failure::NoEndpoint(_)
        | Failure::Cancelled { .. } => return None,
    })
}

/// The gRPC status that the caller would see so far: nothing while a stream goes on.
fn seen_grpc_status(response: &ResponseOutcome<'_>) -> Option<u32> {
    let implied =
        || (response.grpc && response.status != StatusCode::OK).then_some(response.status);
    response.grpc_status.or_else(|| implied().map(http_to_grpc))
}

#[cfg(test)]
mod tests {
    use super::super::script::Event;
    use super::*;
    use crate::outcome::{NoEndpoint, Overflow};
    use std::time::Duration;

    const CODES: [&[u16]; 2] = [&[418], &[425]];

    fn asks(on: RetryOn, grpc: bool, outcome: &Outcome<'_>) -> bool {
        let names = [HeaderName::from_static("x-by-caller")];
        Conditions { on, grpc, codes: CODES, header_names: &names }
            .ask_for_retry(outcome, |headers| headers.contains_key("x-by-policy"))
    }

    /// Of all conditions, exactly `expected` retry the failure.
    #[track_caller]
    fn check_failure(grpc: bool, failure: Failure, expected: &str) {
        let outcome = Outcome::Failed(failure);
        let names: Vec<_> = RetryOn::NAMES
            .iter()
            .filter(|(_, condition)| asks(*condition, grpc, &outcome))
            .map(|(name, _)| *name)
            .collect();
        assert_eq!(names, expected.split_whitespace().collect::<Vec<_>>(), "{outcome:?}");
    }

    #[test]
    fn each_failure_meets_exactly_its_conditions() {
        let reset = |reason, processed| Failure::Reset { reason, processed };
        for (failure, expected) in [
            (
                Failure::Connect(ConnectFailure::Refused),
                "5xx gateway-error reset reset-before-request connect-failure",
            ),
            (Failure::Connect(ConnectFailure::TlsUnavailable), ""),
            (Failure::Connect(ConnectFailure::SecretUnavailable), ""),
            (Failure::Connect(ConnectFailure::IdentityUnavailable), ""),
            (
                reset(ResetReason::RefusedStream, Processed::No),
                "5xx gateway-error reset refused-stream",
            ),
            (reset(ResetReason::GoAway, Processed::No), "5xx gateway-error reset refused-stream"),
            (
                reset(ResetReason::ConnectionTermination, Processed::No),
                "5xx gateway-error reset reset-before-request",
            ),
            (
                reset(ResetReason::ConnectionTermination, Processed::Maybe),
                "5xx gateway-error reset",
            ),
            (reset(ResetReason::Remote(2), Processed::Maybe), "5xx gateway-error reset"),
            (reset(ResetReason::RequestBody, Processed::Maybe), ""),
            (reset(ResetReason::Local, Processed::No), ""),
            (Failure::PerTryTimeout, "5xx gateway-error reset"),
            (Failure::Protocol(ProtocolFailure::InvalidResponse), "5xx gateway-error reset"),
            (Failure::Protocol(ProtocolFailure::InvalidRequest), ""),
            (Failure::Overflow(Overflow::Requests), ""),
            (Failure::NoEndpoint(NoEndpoint::default()), ""),
            (Failure::Cancelled { elapsed: Duration::ZERO, headers_seen: false }, ""),
        ] {
            check_failure(false, failure, expected);
        }
    }

    #[test]
    fn a_failure_of_a_grpc_call_also_counts_as_the_status_that_its_caller_sees() {
        let reset = Failure::Reset { reason: ResetReason::Remote(2), processed: Processed::Maybe };
        check_failure(true, reset, "5xx gateway-error reset unavailable");
        check_failure(true, Failure::PerTryTimeout, "5xx gateway-error reset deadline-exceeded");
        let invalid = Failure::Protocol(ProtocolFailure::InvalidResponse);
        check_failure(true, invalid, "5xx gateway-error reset internal");
        check_failure(true, Failure::Overflow(Overflow::Requests), "");
        check_failure(false, Failure::Dropped { category: "c".into() }, "");
        check_failure(true, Failure::Dropped { category: "c".into() }, "");
        check_failure(true, Failure::NoEndpoint(NoEndpoint::default()), "");
    }

    /// `response` as [`Event`] reads it, after `grpc` for a gRPC call; of all conditions, exactly
    /// `expected` retry it.
    #[track_caller]
    fn check_response(response: &str, expected: &str) {
        let grpc = response.starts_with("grpc ");
        let event = Event::parse(response.trim_start_matches("grpc "));
        let outcome = event.outcome(grpc);
        let names: Vec<_> = RetryOn::NAMES
            .iter()
            .filter(|(_, condition)| asks(*condition, grpc, &outcome))
            .map(|(name, _)| *name)
            .collect();
        assert_eq!(names, expected.split_whitespace().collect::<Vec<_>>(), "{response}");
    }

    #[test]
    fn each_http_status_meets_exactly_its_conditions() {
        check_response("200", "");
        check_response("404", "");
        check_response("409", "retriable-4xx");
        check_response("418", "retriable-status-codes");
        check_response("425", "retriable-status-codes");
        check_response("500", "5xx");
        check_response("501", "5xx");
        check_response("502", "5xx gateway-error");
        check_response("503", "5xx gateway-error");
        check_response("504", "5xx gateway-error");
        check_response("505", "5xx");
        check_response("600", "");
        check_response("200 x-by-policy=1", "retriable-headers");
        check_response("200 x-by-caller=1", "retriable-headers");
    }

    #[test]
    fn a_grpc_status_counts_in_headers_and_in_trailers() {
        for (status, expected) in [
            (0, ""),
            (1, "cancelled"),
            (2, ""),
            (4, "deadline-exceeded"),
            (8, "resource-exhausted"),
            (13, "internal"),
            (14, "unavailable"),
            (16, ""),
        ] {
            check_response(&format!("grpc 200 grpc-status={status}"), expected);
            check_response(&format!("grpc 200 | grpc-status={status}"), expected);
            check_response(&format!("200 grpc-status={status}"), "");
        }
        // A stream that goes on has no status yet.
        check_response("grpc 200", "");
        check_response("grpc 200 |", "");
    }

    #[test]
    fn an_http_error_of_a_grpc_call_stands_for_a_grpc_status() {
        check_response("grpc 503", "5xx gateway-error unavailable");
        check_response("grpc 429", "unavailable");
        check_response("grpc 400", "internal");
        check_response("grpc 500", "5xx");
        check_response("grpc 503 grpc-status=13", "5xx gateway-error internal");
    }

    #[test]
    fn a_rate_limit_is_retried_only_where_asked_for() {
        check_response("429 x-envoy-ratelimited=true", "envoy-ratelimited");
        check_response("503 x-envoy-ratelimited=true", "envoy-ratelimited");
        check_response("grpc 200 x-envoy-ratelimited=true | grpc-status=14", "envoy-ratelimited");
        check_response("503 x-envoy-ratelimited=true retryable", "envoy-ratelimited");
    }

    #[test]
    fn the_users_classifier_decides_before_the_conditions() {
        check_response("503 success", "");
        check_response("503 failure", "");
        let all: Vec<_> = RetryOn::NAMES.iter().map(|(name, _)| *name).collect();
        check_response("200 retryable", &all.join(" "));
        let outcome = Event::parse("200 retryable");
        let outcome = outcome.outcome(false);
        assert!(asks(RetryOn::NONE, false, &outcome), "without any condition");
    }

    #[test]
    fn several_conditions_are_an_or() {
        let on = RetryOn::RETRIABLE_4XX | RetryOn::GATEWAY_ERROR;
        let asks = |status: &str| asks(on, false, &Event::parse(status).outcome(false));
        assert!(asks("409") && asks("502") && !asks("500"));
    }

    #[test]
    fn the_server_forbids_by_header_or_pushback() {
        let forbids = |response: &str, grpc| match Event::parse(response).outcome(grpc) {
            Outcome::Response(response) => server_forbids(&response),
            Outcome::Failed(_) => false,
        };
        assert!(forbids("503 x-mesh-retry=no", false));
        assert!(!forbids("503 x-mesh-retry=yes", false));
        assert!(forbids("200 | grpc-status=14 grpc-retry-pushback-ms=-1", true));
        assert!(!forbids("200 | grpc-status=14 grpc-retry-pushback-ms=5", true));
        assert!(!forbids("503 grpc-retry-pushback-ms=-1", false));
    }
}
