//! Edits of headers (Envoy: `header_mutation`).
//!
//! First those of the chain, then those of the route's levels, each list in its order. Edits of
//! answers are made on the way back, so by the last filter first.

use crate::model::{HeaderMutation, HeaderMutationFilter};
use crate::router::header_edits;
use http::HeaderMap;

/// All edits, in the order in which they are made.
#[derive(Debug)]
pub(super) struct CompiledHeaderMutation {
    request: Box<[HeaderMutation]>,
    response: Box<[HeaderMutation]>,
}

impl CompiledHeaderMutation {
    /// The edits of the chain, and of the levels of a route, the most specific first.
    pub(super) fn new(own: &HeaderMutationFilter, levels: &[&HeaderMutationFilter]) -> Self {
        let ordered: Vec<&HeaderMutationFilter> = match own.most_specific_header_mutations_wins {
            true => levels.iter().rev().copied().collect(),
            false => levels.to_vec(),
        };
        let all = || std::iter::once(own).chain(ordered.iter().copied());
        Self {
            request: all().flat_map(|level| level.mutations.request.iter().cloned()).collect(),
            response: all().flat_map(|level| level.mutations.response.iter().cloned()).collect(),
        }
    }

    pub(super) fn edit_request(&self, headers: &mut HeaderMap) {
        self.request.iter().for_each(|edit| header_edits::apply(edit, headers));
    }

    pub(super) fn edit_response(&self, headers: &mut HeaderMap) {
        self.response.iter().for_each(|edit| header_edits::apply(edit, headers));
    }
}
