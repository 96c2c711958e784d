//! How many requests are served at the same time. Ours.
//!
//! A place is held from here to the end of the answer, or until the request is dropped. Another
//! configuration takes over who is inside, so a lowered limit throws nobody out.

use super::gauge::Gauge;
use super::held::Held;
use super::pass::{Call, FilterObserver, Limit, Step, Told};
use super::reply::FilterReply;
use crate::model::ConcurrencyLimit;
use crate::random::Random;
use std::sync::Arc;

/// The limit, and who is inside.
#[derive(Debug)]
pub(super) struct CompiledConcurrencyLimit {
    model: Arc<ConcurrencyLimit>,
    inside: Arc<Gauge>,
}

impl CompiledConcurrencyLimit {
    pub(super) fn new(model: &Arc<ConcurrencyLimit>, before: Option<&Self>) -> Self {
        let inside = before.map(|before| Arc::clone(&before.inside)).unwrap_or_default();
        Self { model: Arc::clone(model), inside }
    }

    pub(super) fn ask(
        &self,
        call: &mut Call<'_>,
        observer: &mut impl FilterObserver,
    ) -> Option<Step> {
        let model = &*self.model;
        let fits = self.inside.enter(model.max_concurrent_requests);
        if !fits && model.enforced.takes(call.random.next_u64()) {
            observer.told(call.name, Told::Limit(Limit::Limited));
            return Some(Step::Reply(Box::new(self.reply(call.name))));
        }
        if !fits {
            self.inside.enter_beyond();
        }
        call.holds.take(call.at, Held::Place(Arc::clone(&self.inside)));
        let limit = if fits { Limit::Allowed } else { Limit::WouldBeLimited };
        observer.told(call.name, Told::Limit(limit));
        None
    }

    #[cold]
    fn reply(&self, name: &Arc<str>) -> FilterReply {
        let limit = self.model.max_concurrent_requests;
        let text = format!("{limit} requests are served already (max_concurrent_requests)");
        FilterReply::limited(name, self.model.status, "concurrency_limited", text)
    }

    #[cfg(test)]
    pub(super) fn inside(&self) -> u32 {
        self.inside.inside()
    }
}
