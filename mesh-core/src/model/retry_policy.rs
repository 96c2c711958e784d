//! When a failed attempt is tried again (Envoy: `RetryPolicy`, `HedgePolicy`; gRFC A6, A44).

use super::HeaderMatcher;
use http::HeaderName;
use std::fmt;
use std::ops::{BitOr, BitOrAssign};
use std::time::Duration;

/// When and how a failed attempt is tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetryPolicy {
    /// The failures that are tried again.
    pub retry_on: RetryOn,
    /// Attempts beyond the first. Default 1.
    pub num_retries: u32,
    /// Limit of each attempt, from the moment that it has a connection to the response head; `None`:
    /// only the route's timeout limits it.
    pub per_try_timeout: Option<Duration>,
    /// The longest silence within an attempt; goes on after the head.
    pub per_try_idle_timeout: Option<Duration>,
    /// Statuses for [`RetryOn::RETRIABLE_STATUS_CODES`].
    pub retriable_status_codes: Vec<u16>,
    /// Response headers for [`RetryOn::RETRIABLE_HEADERS`]: any of them that matches.
    pub retriable_headers: Vec<HeaderMatcher>,
    /// Only requests that match one of these are tried again; empty: all.
    pub retriable_request_headers: Vec<HeaderMatcher>,
    /// The pause before a retry.
    pub back_off: BackOff,
    /// Pauses that the server asks for; `None`: not listened to.
    pub rate_limited_back_off: Option<RateLimitedBackOff>,
    /// Passes over endpoints that this call has tried. Default true (Envoy: `previous_hosts`).
    pub previous_hosts: bool,
    /// How often the pick is repeated to find one not tried before; then the last is taken.
    /// Default 5.
    pub host_selection_max_attempts: u32,
}

impl RetryPolicy {
    /// One retry on the given failures, with Envoy's back-off.
    #[must_use]
    pub fn new(retry_on: RetryOn) -> Self {
        Self {
            retry_on,
            num_retries: 1,
            per_try_timeout: None,
            per_try_idle_timeout: None,
            retriable_status_codes: Vec::new(),
            retriable_headers: Vec::new(),
            retriable_request_headers: Vec::new(),
            back_off: BackOff::default(),
            rate_limited_back_off: None,
            previous_hosts: true,
            host_selection_max_attempts: 5,
        }
    }
}

/// The pause before retry n is uniform over `[0, min(base · 2^(n-1), max))`.
///
/// Envoy: class `JitteredExponentialBackOffStrategy`; its documentation describes an older formula.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackOff {
    /// Upper end of the first pause. Default 25 ms.
    pub base_interval: Duration,
    /// Upper end of every pause. Default ten times the base.
    pub max_interval: Duration,
}

impl BackOff {
    /// Pauses from `base_interval` to `max_interval`.
    #[must_use]
    pub const fn new(base_interval: Duration, max_interval: Duration) -> Self {
        Self { base_interval, max_interval }
    }
}

impl Default for BackOff {
    fn default() -> Self {
        Self::new(Duration::from_millis(25), Duration::from_millis(250))
    }
}

/// Pauses that the server asks for (Envoy: `RateLimitedRetryBackOff`).
///
/// Headers are tried in order; a value above `max_interval` passes on to the next. The pause is
/// uniform over `[v, 1.5 v)`. It does not cause a retry, it only delays one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RateLimitedBackOff {
    /// The headers that say how long.
    pub reset_headers: Vec<ResetHeader>,
    /// The longest pause that is obeyed. Default 300 s.
    pub max_interval: Duration,
}

impl RateLimitedBackOff {
    /// Obeys `reset_headers` up to 300 s.
    #[must_use]
    pub const fn new(reset_headers: Vec<ResetHeader>) -> Self {
        Self { reset_headers, max_interval: Duration::from_secs(300) }
    }
}

/// A header that says how long to wait.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "closed by Envoy's `ResetHeader`")]
pub struct ResetHeader {
    /// Its name, for example `retry-after`.
    pub name: HeaderName,
    /// How its value reads.
    pub format: ResetHeaderFormat,
}

/// How a reset header's value reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "closed: Envoy's `ResetHeaderFormat`, and RFC 9110's dates"
)]
pub enum ResetHeaderFormat {
    /// Whole seconds from now.
    Seconds,
    /// Seconds since the Unix epoch.
    UnixTimestamp,
    /// `Retry-After` of RFC 9110 §10.2.3: whole seconds from now, or an HTTP date.
    RetryAfter,
}

/// Sends another attempt while the first is still out (Envoy: `HedgePolicy`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HedgePolicy {
    /// A per-try timeout starts the next attempt and leaves the first in flight; the first acceptable
    /// answer wins.
    pub hedge_on_per_try_timeout: bool,
}

/// A set of failures that are tried again.
///
/// The names are Envoy's (`x-envoy-retry-on`, `x-envoy-retry-grpc-on`), parsed by
/// [`RetryOn::from_name`].
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct RetryOn(u32);

macro_rules! retry_on {
    ($($(#[$doc:meta])* $constant:ident = $bit:literal, $name:literal;)*) => {
        impl RetryOn {
            $($(#[$doc])* pub const $constant: Self = Self(1 << $bit);)*
            /// Every condition with its name.
            pub const NAMES: &'static [(&'static str, Self)] = &[$(($name, Self::$constant)),*];
        }
    };
}

retry_on! {
    /// HTTP 5xx, or no response at all (disconnect, reset, per-try timeout), which includes connect
    /// failures and refused streams.
    SERVER_ERROR = 0, "5xx";
    /// 502, 503, 504, or no response at all.
    GATEWAY_ERROR = 1, "gateway-error";
    /// No response at all: disconnect, reset, per-try timeout.
    RESET = 2, "reset";
    /// A reset before the request's headers were sent.
    RESET_BEFORE_REQUEST = 3, "reset-before-request";
    /// No connection could be made.
    CONNECT_FAILURE = 4, "connect-failure";
    /// Allows retries of responses marked `x-envoy-ratelimited`.
    ENVOY_RATELIMITED = 5, "envoy-ratelimited";
    /// HTTP 409.
    RETRIABLE_4XX = 6, "retriable-4xx";
    /// The stream was refused (REFUSED_STREAM).
    REFUSED_STREAM = 7, "refused-stream";
    /// One of the policy's status codes.
    RETRIABLE_STATUS_CODES = 8, "retriable-status-codes";
    /// One of the policy's response headers.
    RETRIABLE_HEADERS = 9, "retriable-headers";
    /// A failure after an HTTP/3 connection was made; never happens without HTTP/3.
    HTTP3_POST_CONNECT_FAILURE = 10, "http3-post-connect-failure";
    /// gRPC CANCELLED (1).
    CANCELLED = 16, "cancelled";
    /// gRPC DEADLINE_EXCEEDED (4).
    DEADLINE_EXCEEDED = 17, "deadline-exceeded";
    /// gRPC INTERNAL (13).
    INTERNAL = 18, "internal";
    /// gRPC RESOURCE_EXHAUSTED (8).
    RESOURCE_EXHAUSTED = 19, "resource-exhausted";
    /// gRPC UNAVAILABLE (14).
    UNAVAILABLE = 20, "unavailable";
}

impl RetryOn {
    /// The empty set.
    pub const NONE: Self = Self(0);
    /// Every gRPC status.
    pub const ANY_GRPC: Self = Self(0b11111 << 16);

    /// The condition called `name`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, condition)| *condition)
    }

    /// Whether all of `other` is in this set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether anything of `other` is in this set.
    #[must_use]
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether the set is empty.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The union of both.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOr for RetryOn {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        self.union(other)
    }
}

impl BitOrAssign for RetryOn {
    fn bitor_assign(&mut self, other: Self) {
        *self = self.union(other);
    }
}

impl fmt::Debug for RetryOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set()
            .entries(Self::NAMES.iter().filter(|(_, c)| self.contains(*c)).map(|(name, _)| name))
            .finish()
    }
}
