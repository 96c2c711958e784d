//! A rate that this process keeps by itself (Envoy:
//! `extensions.filters.http.local_ratelimit.v3.LocalRateLimit`).

use crate::model::{Fraction, HeaderMutation};
use http::StatusCode;
use std::time::Duration;

/// So many requests in so much time, counted here.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LocalRateLimit {
    /// How many in how much time; `None`: no limit.
    pub token_bucket: Option<TokenBucket>,
    /// Who shares a bucket. Default: all requests.
    pub scope: RateLimitScope,
    /// How many buckets there are at most with a scope of [`Peer`](RateLimitScope::Peer) or
    /// [`Connection`](RateLimitScope::Connection), at most 65,536. Beyond them the bucket that has been
    /// idle longest is given away, of eight that share a place in the table. Default 1024. Ours.
    pub max_buckets: u32,
    /// Of how many requests the rate is looked at. Default none, as in Envoy.
    pub filter_enabled: Fraction,
    /// Of those beyond the rate, how many are refused; the others are counted as those that would
    /// have been, which is the shadow mode. Default none, as in Envoy.
    pub filter_enforced: Fraction,
    /// What is answered. Default 429; Envoy: what is below 400 counts as 429.
    pub status: StatusCode,
    /// Whether gRPC calls get RESOURCE_EXHAUSTED in place of UNAVAILABLE. Default false.
    pub rate_limited_as_resource_exhausted: bool,
    /// Edits of a request that is beyond the rate and goes on.
    pub request_headers_to_add_when_not_enforced: Vec<HeaderMutation>,
    /// Edits of the answer that refuses.
    pub response_headers_to_add: Vec<HeaderMutation>,
    /// Whether answers say what is left: `x-ratelimit-limit`, `-remaining`, `-reset`. Default false.
    pub enable_x_ratelimit_headers: bool,
    /// Whether an answer of 429 says when to come again, in seconds (`retry-after`). Default false.
    pub enable_retry_after_header: bool,
}

/// So many requests in so much time (Envoy: `type.v3.TokenBucket`). It begins full, and fills evenly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TokenBucket {
    /// How many requests may come at once; at least 1.
    pub max_tokens: u32,
    /// How many may come in each interval in the long run; at least 1. Default 1.
    pub tokens_per_fill: u32,
    /// The interval; at least 50 ms, as in Envoy's filter.
    pub fill_interval: Duration,
}

/// Who shares a bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RateLimitScope {
    /// All requests.
    #[default]
    Process,
    /// Those of one connection (Envoy: `local_rate_limit_per_downstream_connection`), which is told
    /// from others by its two addresses; all of Unix sockets count as one.
    Connection,
    /// Those of one peer, by its first name (a SPIFFE id); all without a name share one. Ours.
    Peer,
}

impl Default for LocalRateLimit {
    fn default() -> Self {
        Self {
            token_bucket: None,
            scope: RateLimitScope::Process,
            max_buckets: 1024,
            filter_enabled: Fraction::NONE,
            filter_enforced: Fraction::NONE,
            status: StatusCode::TOO_MANY_REQUESTS,
            rate_limited_as_resource_exhausted: false,
            request_headers_to_add_when_not_enforced: Vec::new(),
            response_headers_to_add: Vec::new(),
            enable_x_ratelimit_headers: false,
            enable_retry_after_header: false,
        }
    }
}

impl LocalRateLimit {
    /// This rate, looked at for all requests, and enforced.
    #[must_use]
    pub fn new(token_bucket: TokenBucket) -> Self {
        Self {
            token_bucket: Some(token_bucket),
            filter_enabled: Fraction::ALL,
            filter_enforced: Fraction::ALL,
            ..Self::default()
        }
    }
}

impl TokenBucket {
    /// `max_tokens` at once, and `tokens_per_fill` in each `fill_interval`.
    #[must_use]
    pub const fn new(max_tokens: u32, tokens_per_fill: u32, fill_interval: Duration) -> Self {
        Self { max_tokens, tokens_per_fill, fill_interval }
    }
}
