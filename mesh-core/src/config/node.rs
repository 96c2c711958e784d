//! [`Node`]: a YAML value that remembers where it was written.
//!
//! A serde type forgets the place of a key once it is read; a mistake is then reported at the start of
//! the mapping around it. This tree keeps the span of every key and value, so "did you mean" points at
//! the key itself. An alias is the same [`Rc`] as its anchor: expansion costs no memory, and
//! [`Node::size`] bounds the time that reading it costs.

use std::rc::Rc;

/// A range of bytes of one document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Span {
    pub(super) document: u32,
    pub(super) start: u32,
    pub(super) end: u32,
}

impl Span {
    /// The very start of a document.
    pub(super) const fn start_of(document: u32) -> Self {
        Self { document, start: 0, end: 0 }
    }
}

/// A value with its place.
#[derive(Debug)]
pub(super) struct Node {
    /// What a mark under it covers: a scalar whole, a mapping's or list's first line only.
    pub(super) span: Span,
    pub(super) content: Content,
    /// Number of nodes within, itself included, every alias expanded; a long text counts as several.
    pub(super) size: u64,
    /// Levels of nesting within, itself included, every alias expanded.
    pub(super) depth: usize,
}

#[derive(Debug)]
pub(super) enum Content {
    /// Nothing, `~` or `null`.
    Null,
    /// An alias without an anchor. Reported already, so whoever reads it says nothing.
    Unknown,
    Scalar {
        text: Box<str>,
        /// Written without quotes, so it may be a number or a truth value.
        plain: bool,
    },
    Sequence(Vec<Rc<Node>>),
    Mapping(Vec<Entry>),
}

/// A key and its value.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: Box<str>,
    pub(super) key_span: Span,
    pub(super) value: Rc<Node>,
}

impl Node {
    /// The entry of a mapping under `key`.
    pub(super) fn get(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| &*entry.key == key)
    }

    /// The entries of a mapping; nothing for anything else.
    pub(super) fn entries(&self) -> &[Entry] {
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
    pub(super) fn describe(&self) -> String {
        match &self.content {
            Content::Null | Content::Unknown => "nothing".to_owned(),
            Content::Scalar { text, .. } => format!("`{}`", shorten(text)),
            Content::Sequence(_) => "a list".to_owned(),
            Content::Mapping(_) => "a mapping".to_owned(),
        }
    }
}

/// At most 60 characters of a text, for messages.
pub(super) fn shorten(text: &str) -> String {
    let mut shown: String = text.chars().take(60).flat_map(char::escape_debug).collect();
    if text.chars().nth(60).is_some() {
        shown.push('…');
    }
    shown
}
