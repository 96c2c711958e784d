//! Edits of headers by a filter (Envoy: `extensions.filters.http.header_mutation.v3.HeaderMutation`).

use crate::model::HeaderMutations;

/// Edits of headers. They are made in their order, removals where they stand.
///
/// What a route says ([`HttpFilterOverride::Config`](super::HttpFilterOverride::Config)) is done in
/// addition, after what the chain says: that of all levels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HeaderMutationFilter {
    /// The edits (Envoy: `mutations`).
    pub mutations: HeaderMutations,
    /// Whether the most specific level comes last, and so has the last word (Envoy:
    /// `most_specific_header_mutations_wins`). Read in the chain, not in routes. Default false: the
    /// most specific comes first.
    pub most_specific_header_mutations_wins: bool,
}
