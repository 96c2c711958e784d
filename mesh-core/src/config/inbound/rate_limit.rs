//! `rate_limit`: how many requests a port takes in how much time, counted in this process.
//!
//! It stands behind `deny` and `allow`, so that only what they let through takes a token. In front of them
//! a stranger, whose every request is refused anyway, could use up the tokens of those who may call; and to
//! refuse by a rule costs no more than to count.

use super::super::fields::Fields;
use super::super::node::Node;
use super::super::reader::Reader;
use super::super::shape::{Kind, Shape, key, words};
use super::super::value::{Value, word};
use crate::model::http_filter::{LocalRateLimit, RateLimitScope, TokenBucket};
use std::time::Duration;

const BY: [(&str, RateLimitScope); 3] = [
    ("port", RateLimitScope::Process),
    ("peer", RateLimitScope::Peer),
    ("connection", RateLimitScope::Connection),
];

static RATE_LIMIT: Shape = Shape::new(
    "rate_limit",
    &[&[
        key(
            "requests",
            Kind::POSITIVE,
            "How many requests are taken in each `per` in the long run.",
        )
        .required(),
        key(
            "per",
            // Envoy's filter has the same bound.
            Kind::Time { least: Duration::from_millis(50) },
            "The time that `requests` is about. They come back evenly, not all at its end.",
        )
        .required(),
        key("burst", Kind::POSITIVE, "How many may come at once. Default `requests`."),
        key(
            "by",
            Kind::Word(&words(&BY)),
            "Who is counted together: port, all requests; peer, those of one identity; connection, those of one connection. Default port.",
        ),
    ]],
);
pub(super) const RATE_LIMIT_KIND: Kind = Kind::Mapping(&RATE_LIMIT);

impl Value for LocalRateLimit {
    fn read(reader: &mut Reader<'_>, node: &Node, kind: &'static Kind) -> Option<Self> {
        let fields = Fields::open(reader, node, kind)?;
        let requests: Option<u32> = fields.read(reader, "requests");
        let per: Option<Duration> = fields.read(reader, "per");
        let burst: Option<u32> = fields.read(reader, "burst");
        let by = fields.value("by").and_then(|(node, kind)| word(reader, node, kind, &BY));
        let requests = requests?;
        let bucket = TokenBucket::new(burst.unwrap_or(requests), requests, per?);
        let mut limit = Self::new(bucket);
        limit.scope = by.unwrap_or_default();
        // gRPC's own word for it. UNAVAILABLE, which is Envoy's, asks for a retry at once.
        limit.rate_limited_as_resource_exhausted = true;
        limit.enable_retry_after_header = true;
        Some(limit)
    }
}
