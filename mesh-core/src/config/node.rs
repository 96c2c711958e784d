//! [`Node`]: a YAML value that remembers where it was written.
//!
//! A serde type forgets the place of a key once it is read; a mistake is then reported at the start of
//! the mapping around it. This tree keeps the span of every key and value, so "did you mean" points at
//! the key itself. An alias is the same [`Rc`] as its anchor: expansion costs no memory, and
//! [`Node::size`] bounds the time that reading it costs.

use std::rc::Rc;

/// A range of bytes of one document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(clippy::exhaustive_structs, reason = "a document, a start and an end, nothing else")]
pub struct Span {
    /// Which of the documents, from 0.
    pub document: u32,
    /// The first byte.
    pub start: u32,
    /// The byte after the last one.
    pub end: u32,
}

impl Span {
    /// The very start of a document.
    #[must_use]
    pub const fn start_of(document: u32) -> Self {
        Self { document, start: 0, end: 0 }
    }
}

/// A value with its place.
#[derive(Debug)]
#[non_exhaustive]
pub struct Node {
    /// What a mark under it covers: a scalar whole, a mapping's or list's first line only.
    pub span: Span,
    /// The value itself.
    pub content: Content,
    /// Number of nodes within, itself included, every alias expanded; a long text counts as several.
    pub(super) size: u64,
    /// Levels of nesting within, itself included, every alias expanded.
    pub(super) depth: usize,
}

/// What a value is.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "closed by YAML, and one for what could not be read")]
pub enum Content {
    /// Nothing, `~` or `null`.
    Null,
    /// An alias without an anchor. Reported already, so whoever reads it says nothing.
    Unknown,
    /// A text, number or truth value.
    Scalar {
        /// As it is written, without quotes.
        text: Box<str>,
        /// Written without quotes, so it may be a number or a truth value.
        plain: bool,
    },
    /// A list.
    Sequence(Vec<Rc<Node>>),
    /// Keys and values, in the order of the text.
    Mapping(Vec<Entry>),
}

/// A key and its value.
#[derive(Debug)]
#[non_exhaustive]
pub struct Entry {
    /// The key as text.
    pub key: Box<str>,
    /// Where the key stands.
    pub key_span: Span,
    /// The value.
    pub value: Rc<Node>,
}

impl Node {
    /// The entry of a mapping under `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| &*entry.key == key)
    }

    /// The entries of a mapping; nothing for anything else.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        match &self.content {
            Content::Mapping(entries) => entries,
            Content::Null | Content::Unknown | Content::Scalar { .. } | Content::Sequence(_) => &[],
        }
    }

    /// The items of a list, or the value itself as its only item.
    pub(super) fn one_or_many(&self) -> Vec<&Self> {
        match &self.content {
            Content::Sequence(items) => items.iter().map(Rc::as_ref).collect(),
            Content::Null | Content::Unknown | Content::Scalar { .. } | Content::Mapping(_) => {
                vec![self]
            }
        }
    }

    /// What it is, for "expected …, found …".
    #[must_use]
    pub fn describe(&self) -> String {
        match &self.content {
            Content::Null | Content::Unknown => "nothing".to_owned(),
            Content::Scalar { text, .. } => format!("`{}`", shorten(text)),
            Content::Sequence(_) => "a list".to_owned(),
            Content::Mapping(_) => "a mapping".to_owned(),
        }
    }
}

/// Where PEM begins (RFC 7468): what follows may be a private key.
const PEM: &str = "-----BEGIN";

/// At most 60 characters of a text, for messages; of PEM nothing but that it is.
#[must_use]
pub fn shorten(text: &str) -> String {
    let whole = text.find(PEM).map_or(text, |at| &text[..at + PEM.len()]);
    let mut shown: String = whole.chars().take(60).flat_map(char::escape_debug).collect();
    if whole.len() < text.len() || whole.chars().nth(60).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_short_and_no_key() {
        assert_eq!(shorten("a\nb"), "a\\nb");
        assert_eq!(shorten(&"ä".repeat(60)), "ä".repeat(60));
        assert_eq!(shorten(&"ä".repeat(61)), format!("{}…", "ä".repeat(60)));
        let key = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIP262\n-----END EC PRIVATE KEY-----\n";
        assert_eq!(shorten(key), "-----BEGIN…");
        assert_eq!(shorten(&format!("key: {key}")), "key: -----BEGIN…");
        assert_eq!(shorten("-----BEGIN"), "-----BEGIN");
    }
}
