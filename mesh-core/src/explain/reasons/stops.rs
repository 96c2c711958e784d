//! The table of what stops a retry: a sentence each for meaning, causes and what to look at.

use super::table::{Text, meaning};
use super::{CodeKind, Meaning};
use crate::call::{RetryRefused, RetryStop};

/// Everything that stops a retry.
pub fn retry_stops() -> impl Iterator<Item = Meaning> {
    STOPS.iter().map(|(stop, text)| meaning(stop.code(), CodeKind::RetryStop(*stop), *text))
}

const STOPS: &[(RetryStop, Text)] = &[
    (
        RetryStop::Limit,
        [
            "An attempt failed, and the route's num_retries were made already.",
            "More than a passing failure, or a num_retries of 0.",
            "Why the attempts failed: the call's report lists them.",
        ],
    ),
    (
        RetryStop::Refused(RetryRefused::Budget),
        [
            "An attempt failed, a retry was due, and the cluster's retry budget had none left.",
            "Much fails at once; the budget keeps retries from making it worse.",
            "Why the attempts failed: the call's report; then retry_budget of the cluster.",
        ],
    ),
    (
        RetryStop::Refused(RetryRefused::Concurrency),
        [
            "An attempt failed, a retry was due, and too large a share of the calls in flight are retries.",
            "Much fails at once; `retry_budget.concurrency` keeps retries from making it worse.",
            "Why the attempts failed: the call's report; then budget_percent and min_retry_concurrency.",
        ],
    ),
    (
        RetryStop::Refused(RetryRefused::MaxRetries),
        [
            "An attempt failed, a retry was due, and the circuit breaker's max_retries was reached.",
            "Many calls wait for a retry at once; the limit counts those that back off too.",
            "max_retries of the cluster's circuit breakers; why the attempts failed.",
        ],
    ),
    (
        RetryStop::Server,
        [
            "An attempt failed, and the server said not to try again.",
            "`grpc-retry-pushback-ms: -1`, or `x-mesh-retry: no` from a hop that has retried itself.",
            "The answer's headers and trailers; the failure behind the server that answered.",
        ],
    ),
    (
        RetryStop::NotReplayable,
        [
            "An attempt failed, a retry was due, and the request was no longer at hand.",
            "A request body larger than what is saved (64 KiB by default), or one that is still being sent.",
            "The size of request bodies; whether the call may be repeated by its caller.",
        ],
    ),
    (
        RetryStop::Deadline,
        [
            "An attempt failed, and the pause before the next would have lasted until the deadline.",
            "A timeout that leaves no room for retries, or a server that asks for a long pause.",
            "The route's timeout and per_try_timeout; back_off; `retry-after` of the answer.",
        ],
    ),
];
