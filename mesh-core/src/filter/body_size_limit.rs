//! How large a request's body may be.
//!
//! A head that says more is refused at once. What has no length is counted by the adapter as it comes
//! ([`Pass::body_limit`](super::Pass::body_limit)): the smallest limit of all filters counts.

use super::pass::{Call, FilterContext, FilterObserver, Limit, Step, Told};
use super::reply::FilterReply;
use crate::head::content_length;
use crate::model::BodySizeLimit;
use crate::outcome::grpc;
use crate::random::Random;
use http::StatusCode;
use std::fmt::Write as _;
use std::sync::Arc;

/// The limit of a body, and whose it is.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct BodyLimit {
    /// The filter that says so.
    pub filter: Arc<str>,
    /// The most bytes.
    pub max_request_bytes: u64,
}

impl BodyLimit {
    /// The answer to a body that is larger: 413; gRPC: RESOURCE_EXHAUSTED.
    #[must_use]
    pub fn reply(&self) -> FilterReply {
        self.reply_to(None)
    }

    fn reply_to(&self, length: Option<u64>) -> FilterReply {
        let mut text = String::from("the body of the request ");
        // Writing to a text does not fail.
        let _written = match length {
            Some(length) => write!(text, "has {length} bytes, more than"),
            None => write!(text, "is larger than"),
        };
        let _written = write!(text, " the limit of {} (max_request_bytes)", self.max_request_bytes);
        let status = StatusCode::PAYLOAD_TOO_LARGE;
        let mut reply =
            FilterReply::limited(&self.filter, status, "request_payload_too_large", text);
        reply.grpc_status = Some(grpc::RESOURCE_EXHAUSTED);
        reply
    }
}

pub(super) fn ask(
    model: &BodySizeLimit,
    call: &mut Call<'_>,
    cx: &FilterContext<'_>,
    observer: &mut impl FilterObserver,
) -> Option<Step> {
    let length = content_length(&cx.request.headers);
    let fits = length.is_none_or(|length| length <= model.max_request_bytes);
    let enforced = model.enforced.takes(call.random.next_u64());
    let limit = match (fits, enforced) {
        (true, _) => Limit::Allowed,
        (false, true) => Limit::Limited,
        (false, false) => Limit::WouldBeLimited,
    };
    observer.told(call.name, Told::Limit(limit));
    if !enforced {
        return None;
    }
    let own =
        BodyLimit { filter: Arc::clone(call.name), max_request_bytes: model.max_request_bytes };
    if !fits {
        return Some(Step::Reply(Box::new(own.reply_to(length))));
    }
    let before = call.body_limit.as_ref().map_or(u64::MAX, |limit| limit.max_request_bytes);
    if own.max_request_bytes < before {
        *call.body_limit = Some(own);
    }
    None
}
