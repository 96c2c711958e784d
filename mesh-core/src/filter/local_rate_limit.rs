//! A rate that this process keeps by itself (Envoy: `local_ratelimit`).
//!
//! A request that is looked at takes a token, or is beyond the rate; whether that is enforced is drawn
//! then, as in Envoy. Another configuration goes on with the buckets: an empty bucket stays empty.
//! Descriptors are not read.

use super::buckets::Buckets;
use super::chain::FilterErrorKind;
use super::held::Held;
use super::pass::{Call, FilterContext, FilterObserver, Limit, Step, Told};
use super::reply::FilterReply;
use super::token_bucket::{Bucket, Rate};
use crate::head::decimal;
use crate::model::{LocalRateLimit, RateLimitScope};
use crate::outcome::grpc;
use crate::random::Random;
use crate::rbac::Connection;
use crate::router::header_edits;
use crate::time::Timestamp;
use http::{HeaderMap, HeaderName, StatusCode, header};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use xxhash_rust::xxh64::xxh64;

/// The limit, and what was taken.
#[derive(Debug)]
pub(super) struct CompiledLocalRateLimit {
    model: Arc<LocalRateLimit>,
    /// `None`: no limit.
    rate: Option<Rate>,
    taken: Taken,
}

#[derive(Clone, Debug)]
enum Taken {
    Process(Arc<Bucket>),
    /// By the hash of a connection, or of a peer's name.
    Each(RateLimitScope, Arc<Buckets>),
}

static LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
static REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
static RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

impl CompiledLocalRateLimit {
    pub(super) fn new(
        model: &Arc<LocalRateLimit>,
        before: Option<&Self>,
    ) -> Result<Self, FilterErrorKind> {
        let rate = model.token_bucket.as_ref().map(Rate::new).transpose();
        let rate = rate.map_err(|(field, rule)| FilterErrorKind::Value { field, rule })?;
        if !(1..=Buckets::MOST).contains(&model.max_buckets) {
            let rule = "it is not within 1 and 65536";
            return Err(FilterErrorKind::Value { field: "max_buckets", rule });
        }
        let taken = match (model.scope, before.map(|before| &before.taken)) {
            (RateLimitScope::Process, Some(Taken::Process(bucket))) => {
                Taken::Process(Arc::clone(bucket))
            }
            (RateLimitScope::Process, _) => Taken::Process(Arc::default()),
            (scope, Some(Taken::Each(was, buckets)))
                if *was == scope
                    && before.map(|before| before.model.max_buckets) == Some(model.max_buckets) =>
            {
                Taken::Each(scope, Arc::clone(buckets))
            }
            (scope, _) => Taken::Each(scope, Arc::new(Buckets::new(model.max_buckets))),
        };
        Ok(Self { model: Arc::clone(model), rate, taken })
    }

    pub(super) fn ask(
        &self,
        call: &mut Call<'_>,
        cx: &mut FilterContext<'_>,
        observer: &mut impl FilterObserver,
    ) -> Option<Step> {
        let rate = self.rate.as_ref()?;
        if !self.model.filter_enabled.takes(call.random.next_u64()) {
            return None;
        }
        let key = self.key(cx.connection);
        let bucket = self.bucket(key);
        if self.model.enable_x_ratelimit_headers {
            call.holds.take(call.at, Held::RateKey(key));
        }
        if bucket.take(rate, cx.now) {
            observer.told(call.name, Told::Limit(Limit::Allowed));
            return None;
        }
        if !self.model.filter_enforced.takes(call.random.next_u64()) {
            let edits = &self.model.request_headers_to_add_when_not_enforced;
            edits.iter().for_each(|edit| header_edits::apply(edit, &mut cx.request.headers));
            observer.told(call.name, Told::Limit(Limit::WouldBeLimited));
            return None;
        }
        observer.told(call.name, Told::Limit(Limit::Limited));
        let next = bucket.left(rate, cx.now).next;
        Some(Step::Reply(Box::new(self.reply(call.name, next))))
    }

    /// Writes what is left into the head of an answer, if that is wanted; `key` is what the request
    /// held. Where its bucket was given away meanwhile, the next one is full.
    pub(super) fn write_rest(&self, key: u64, headers: &mut HeaderMap, now: Timestamp) {
        let Some(rate) = &self.rate else { return };
        let left = match &self.taken {
            Taken::Process(bucket) => bucket.left(rate, now),
            Taken::Each(_, buckets) => match buckets.find(key) {
                Some(bucket) => bucket.left(rate, now),
                None => Bucket::default().left(rate, now),
            },
        };
        headers.insert(&LIMIT, decimal(rate.max_tokens()));
        headers.insert(&REMAINING, decimal(left.tokens));
        headers.insert(&RESET, decimal(seconds(left.next)));
    }

    #[cold]
    fn reply(&self, name: &Arc<str>, next: Duration) -> FilterReply {
        const TEXT: &str = "local_rate_limited";
        let model = &*self.model;
        let mut reply = FilterReply::limited(name, model.status, TEXT, TEXT);
        if model.rate_limited_as_resource_exhausted {
            reply.grpc_status = Some(grpc::RESOURCE_EXHAUSTED);
        }
        for edit in &model.response_headers_to_add {
            header_edits::apply(edit, &mut reply.headers);
        }
        if model.enable_retry_after_header
            && model.status == StatusCode::TOO_MANY_REQUESTS
            && !reply.headers.contains_key(header::RETRY_AFTER)
        {
            reply.headers.insert(header::RETRY_AFTER, decimal(seconds(next).max(1)));
        }
        reply
    }

    fn key(&self, connection: &Connection<'_>) -> u64 {
        match &self.taken {
            Taken::Process(_) => 0,
            Taken::Each(RateLimitScope::Connection, _) => {
                let seed = connection.local.map_or(0, |local| hash(local, 0));
                connection.direct_remote.map_or(seed, |remote| hash(remote, seed))
            }
            Taken::Each(..) => {
                let name = connection.peer.principals().next().unwrap_or_default();
                xxh64(name.as_bytes(), 0)
            }
        }
    }

    fn bucket(&self, key: u64) -> &Bucket {
        match &self.taken {
            Taken::Process(bucket) => bucket,
            Taken::Each(_, buckets) => buckets.get(key),
        }
    }
}

fn hash(address: SocketAddr, seed: u64) -> u64 {
    let seed = xxh64(&address.port().to_le_bytes(), seed);
    match address.ip() {
        IpAddr::V4(ip) => xxh64(&ip.octets(), seed),
        IpAddr::V6(ip) => xxh64(&ip.octets(), seed),
    }
}

/// Whole seconds, rounded up.
const fn seconds(duration: Duration) -> u64 {
    duration.as_secs() + (duration.subsec_nanos() > 0) as u64
}
