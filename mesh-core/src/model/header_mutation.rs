//! Edits of header lists (Envoy: `HeaderValueOption`, `request_headers_to_remove`, …).

use http::{HeaderName, HeaderValue};

/// The edits that one level of configuration makes to requests and to responses.
///
/// Levels apply from the most specific to the least: split, route, virtual host (Envoy's default
/// order), and removals of a level come before its additions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HeaderMutations {
    /// Edits of the request's headers.
    pub request: Vec<HeaderMutation>,
    /// Edits of the response's headers.
    pub response: Vec<HeaderMutation>,
}

impl HeaderMutations {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.request.is_empty() && self.response.is_empty()
    }
}

/// One edit of a header list.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "closed by Envoy's `HeaderMutation`")]
pub enum HeaderMutation {
    /// Takes every value of the name away.
    Remove(HeaderName),
    /// Writes a value.
    Append {
        /// The header's name.
        name: HeaderName,
        /// The value.
        value: HeaderValue,
        /// What to do with values that are there already.
        action: AppendAction,
    },
}

/// What an addition does with values that are there already (Envoy: `HeaderAppendAction`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "closed by Envoy's `HeaderAppendAction`")]
pub enum AppendAction {
    /// Keeps them and adds one more.
    AppendIfExistsOrAdd,
    /// Adds only where there is none.
    AddIfAbsent,
    /// Replaces them, or adds.
    OverwriteIfExistsOrAdd,
    /// Replaces them, or does nothing.
    OverwriteIfExists,
}
