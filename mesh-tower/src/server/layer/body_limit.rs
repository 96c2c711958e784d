//! [`BodyLimit`]: how many bytes a request's body may have, and how many came.
//!
//! The body is wherever the service took it; what filters say of it is told here, where the request ends, or where
//! it is refused for its body.

use super::observer::would_be_limited;
use super::reply::Refused;
use super::scope::RequestScope;
use bytes::Bytes;
use http::Response;
use http_body::SizeHint;
use mesh_core::filter::{FilterReply, Limit, Told};
use mesh_core::inbound::Refusal;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The most bytes of a body, and how many came.
#[derive(Clone, Debug)]
pub(super) struct BodyLimit {
    /// The smaller one of the listener's and that of filters, as far as they are enforced.
    pub(super) limit: u64,
    /// The listener's.
    own: u64,
    /// The log's own counter, if there is a log.
    pub(super) counter: Arc<AtomicU64>,
}

impl BodyLimit {
    /// The listener's.
    pub(super) fn new(own: u64) -> Self {
        Self { limit: own, own, counter: Arc::default() }
    }

    /// The bytes that came.
    pub(super) fn read(&self) -> u64 {
        self.counter.load(Ordering::Relaxed)
    }
}

impl RequestScope {
    /// The bounds of filters count as well, for a body of this size: the smaller one. What none of them enforces is
    /// counted without a limit.
    pub(super) fn bound_body(&mut self, size: &SizeHint) {
        let Some(least) = self.pass.counts_body() else { return };
        if size.upper().is_some_and(|upper| upper <= least) {
            return;
        }
        let enforced = self.pass.body_limit().map_or(u64::MAX, |limit| limit.max_request_bytes);
        let limit = self.body_limit.get_or_insert_with(|| BodyLimit::new(u64::MAX));
        limit.limit = limit.own.min(enforced);
    }

    pub(super) fn body_limit(&self) -> Option<BodyLimit> {
        self.body_limit.clone()
    }

    /// Whether its body had more bytes than it may.
    pub(super) fn is_body_too_large(&self) -> bool {
        self.body_limit.as_ref().is_some_and(|limit| limit.read() > limit.limit)
    }

    /// Answers that.
    #[cold]
    pub(super) fn body_too_large(&mut self) -> Response<Bytes> {
        let limit = self.body_limit.as_ref().map_or(0, |limit| limit.limit);
        match self.body_over() {
            Some(reply) => self.refuse_by_filter(&reply, "limited", None),
            None => self.refuse(&Refusal::BodyTooLarge { limit }),
        }
    }

    /// The request is over, and so is its body: what filters say of that, unless they have said it. What was cut
    /// off after the answer had begun was refused, too.
    #[cold]
    pub(super) fn tell_of_body(&mut self) {
        let limit = self.body_limit.as_ref().map_or(0, |limit| limit.limit);
        let is_too_large = self.is_body_too_large();
        let reply = self.body_over();
        if !is_too_large {
            return;
        }
        let refused = match reply {
            Some(reply) => Refused::by_filter(&reply, "limited", None),
            None => Refused::by_layer(&Refusal::BodyTooLarge { limit }),
        };
        self.note_refused(&refused);
    }

    /// Filters are told what came of the body; the answer of one that takes no such body. What is beyond the
    /// listener's own limit gets to none of them.
    fn body_over(&mut self) -> Option<FilterReply> {
        let limit = self.body_limit.take();
        let read = limit.map_or(0, |limit| limit.read().min(limit.own));
        let (wants_reasons, mut would_be) = (self.wants_reasons(), None);
        let chain = self.common.chain.as_ref().ok();
        let mut observer = |filter: &Arc<str>, told: Told<'_>| {
            let Told::Limit(limit) = told else { return };
            if let Some(cells) = chain.and_then(|chain| chain.filter(filter)) {
                cells.count(limit.into());
            }
            if wants_reasons && limit == Limit::WouldBeLimited {
                would_be = Some(would_be_limited(filter));
            }
        };
        let reply = self.pass.handle_body(read, &mut observer);
        self.noted(None, would_be);
        reply
    }
}
