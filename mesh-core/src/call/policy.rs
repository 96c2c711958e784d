//! What a call is bound by: [`CallPolicy`] from the route, [`RequestFacts`] from the request.

use super::headers::Overrides;
use crate::model::route::{ForwardAction, MaxStreamDuration};
use crate::model::{HedgePolicy, RetryPolicy};
use crate::time::Timestamp;
use std::sync::Arc;
use std::time::Duration;

/// The parts of a route that bind a call; borrowed, and read once, by [`Call::new`](super::Call::new).
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct CallPolicy<'a> {
    /// Limit of the whole call, retries included; zero: none.
    pub timeout: Duration,
    /// Limit of a stream's life; takes the timeout's place for gRPC (gRFC A31).
    pub max_stream_duration: Option<MaxStreamDuration>,
    /// The longest silence of the call, before its response head and after (Envoy: the route's
    /// `idle_timeout`).
    pub idle_timeout: Option<Duration>,
    /// When a failed attempt is tried again; the virtual host's policy where the route has none.
    pub retry: Option<&'a Arc<RetryPolicy>>,
    /// Whether attempts may overlap.
    pub hedge: HedgePolicy,
    /// Whether a request that left, and that the server says it did not process, is sent elsewhere
    /// (gRFC A6 "transparent retries"). Requests that never left are sent elsewhere in any case.
    pub transparent_retry: bool,
}

impl<'a> CallPolicy<'a> {
    /// No retries but the transparent ones.
    #[must_use]
    pub const fn new(timeout: Duration) -> Self {
        Self {
            timeout,
            max_stream_duration: None,
            idle_timeout: None,
            retry: None,
            hedge: HedgePolicy { hedge_on_per_try_timeout: false },
            transparent_retry: true,
        }
    }

    /// What `route` says. Its retry and hedge policy are those that the router settled on: its own,
    /// or its virtual host's.
    #[must_use]
    pub fn of_route(route: &'a ForwardAction) -> Self {
        Self {
            timeout: route.timeout,
            max_stream_duration: route.max_stream_duration,
            idle_timeout: route.idle_timeout,
            retry: route.retry_policy.as_ref(),
            hedge: route.hedge_policy.unwrap_or_default(),
            transparent_retry: route.transparent_retry,
        }
    }
}

/// What a call needs to know of its request.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RequestFacts {
    /// Whether the call is gRPC, by its content type.
    pub grpc: bool,
    /// Whether the request matches the policy's `retriable_request_headers`; without the match it is
    /// not tried again (Envoy: `retry_on` becomes empty). Default true, which is also the answer for
    /// a policy that has none.
    pub retriable: bool,
    /// The deadline of the request that this call is made for, or the caller's `grpc-timeout`.
    pub incoming_deadline: Option<Timestamp>,
    /// What a trusted caller asks for in `x-envoy-*` headers.
    pub overrides: Option<Box<Overrides>>,
    /// What the calling code asks for.
    pub options: CallOptions,
}

impl Default for RequestFacts {
    fn default() -> Self {
        Self {
            grpc: false,
            retriable: true,
            incoming_deadline: None,
            overrides: None,
            options: CallOptions::default(),
        }
    }
}

/// What the calling code asks for, for one call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallOptions {
    /// Takes the place of the route's timeout, and of the one in `x-envoy-upstream-rq-timeout-ms`;
    /// zero: none. Never extends the incoming deadline or `max_stream_duration`.
    pub timeout: Option<Duration>,
    /// The call is not tried again by policy, nor hedged. A request that no server processed may
    /// still go elsewhere: that is the same attempt, not another.
    pub no_retry: bool,
    /// The call waits for an endpoint to be there (grpc/grpc `doc/wait-for-ready.md`): as long as
    /// connections can't be made, others are tried after ever longer pauses, until the deadline.
    pub wait_for_ready: bool,
}
