//! How large a request's body may be.
//!
//! A head that says more is refused at once. Of any other body nobody knows before it has come: the adapter
//! counts it ([`Pass::body_limit`](super::Pass::body_limit): the smallest limit that is enforced is kept), and
//! what it counted decides what each filter tells, once ([`Pass::handle_body`](super::Pass::handle_body)).

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

/// The limits of the filters that were asked, of which none has told what became of the body.
#[derive(Debug)]
pub(super) struct Bounds {
    first: Bound,
    /// Behind it: a chain rarely has more than one.
    others: Vec<Bound>,
}

#[derive(Debug)]
struct Bound {
    limit: BodyLimit,
    enforced: bool,
}

impl Bounds {
    fn all(&self) -> impl Iterator<Item = &Bound> {
        [&self.first].into_iter().chain(&self.others)
    }

    /// The smallest that is enforced, of two the first.
    pub(super) fn enforced(&self) -> Option<&BodyLimit> {
        let enforced = self.all().filter(|bound| bound.enforced).map(|bound| &bound.limit);
        enforced.min_by_key(|limit| limit.max_request_bytes)
    }

    /// The smallest, enforced or not.
    pub(super) fn least(&self) -> u64 {
        self.all().map(|bound| bound.limit.max_request_bytes).min().unwrap_or(u64::MAX)
    }

    /// Tells what each says of a body of which so many bytes came; the answer of the smallest that is enforced and has
    /// less.
    pub(super) fn tell(
        &self,
        read: u64,
        observer: &mut impl FilterObserver,
    ) -> Option<FilterReply> {
        for Bound { limit, enforced } in self.all() {
            let told = Limit::of(read <= limit.max_request_bytes, *enforced);
            observer.told(&limit.filter, Told::Limit(told));
        }
        self.enforced().filter(|limit| read > limit.max_request_bytes).map(BodyLimit::reply)
    }
}

impl Limit {
    const fn of(fits: bool, enforced: bool) -> Self {
        match (fits, enforced) {
            (true, _) => Self::Allowed,
            (false, true) => Self::Limited,
            (false, false) => Self::WouldBeLimited,
        }
    }
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
    let enforced = model.enforced.takes(call.random.next_u64());
    let limit =
        BodyLimit { filter: Arc::clone(call.name), max_request_bytes: model.max_request_bytes };
    if length.is_some_and(|length| length > model.max_request_bytes) {
        observer.told(call.name, Told::Limit(Limit::of(false, enforced)));
        return enforced.then(|| Step::Reply(Box::new(limit.reply_to(length))));
    }
    let bound = Bound { limit, enforced };
    match &mut *call.body_bounds {
        Some(bounds) => bounds.others.push(bound),
        none => *none = Some(Box::new(Bounds { first: bound, others: Vec::new() })),
    }
    None
}
