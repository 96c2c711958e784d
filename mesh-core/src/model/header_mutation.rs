//! Edits of header lists (Envoy: `HeaderValueOption`, `request_headers_to_remove`, …).

use http::header::{CONNECTION, CONTENT_LENGTH, TE, TRANSFER_ENCODING, UPGRADE};
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

impl HeaderMutation {
    /// The header's name.
    #[must_use]
    pub const fn name(&self) -> &HeaderName {
        match self {
            Self::Remove(name) | Self::Append { name, .. } => name,
        }
    }

    /// Whether it would change where the message ends (RFC 9112 section 6.3), or write what is of one connection alone
    /// (RFC 9110 section 7.6.1): a body would be cut, or an answer be two. What is of the connection may be taken off.
    #[must_use]
    pub fn breaks_framing(&self) -> bool {
        let ends = [CONTENT_LENGTH, TRANSFER_ENCODING].contains(self.name());
        let is_removal = matches!(self, Self::Remove(_));
        ends || !is_removal
            && ([CONNECTION, TE, UPGRADE].contains(self.name())
                || matches!(self.name().as_str(), "keep-alive" | "proxy-connection"))
    }
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
