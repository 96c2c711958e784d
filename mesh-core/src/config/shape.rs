//! [`Shape`]: which keys a mapping has, of which kind and within which bounds; said once.
//!
//! Two things need this knowledge, the reader and the JSON Schema, and they must never differ. So it
//! is data: [`Fields`](super::fields::Fields) refuses keys that are not in the table, takes bounds from
//! it, and asserts in debug builds that each key of the table is read; [`schema`](super::schema)
//! prints the same table.

use std::time::Duration;

/// The keys of one kind of mapping.
#[derive(Debug)]
pub(super) struct Shape {
    /// Its name in the JSON Schema.
    pub(super) title: &'static str,
    /// The keys, in groups so that shapes can share some.
    pub(super) keys: &'static [&'static [Key]],
    /// Of these keys exactly one is there.
    pub(super) exactly_one: &'static [&'static str],
    /// Keys that start with `x-` are let through.
    pub(super) extensions: bool,
}

impl Shape {
    pub(super) const fn new(title: &'static str, keys: &'static [&'static [Key]]) -> Self {
        Self { title, keys, exactly_one: &[], extensions: false }
    }

    pub(super) const fn exactly_one(mut self, keys: &'static [&'static str]) -> Self {
        self.exactly_one = keys;
        self
    }

    pub(super) const fn with_extensions(mut self) -> Self {
        self.extensions = true;
        self
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &'static Key> {
        self.keys.iter().flat_map(|group| group.iter())
    }
}

/// One key of a mapping.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// What it means, with the default. Shown by editors.
    pub(super) doc: &'static str,
    pub(super) required: bool,
}

/// A key that may be left out.
pub(super) const fn key(name: &'static str, kind: Kind, doc: &'static str) -> Key {
    Key { name, kind, doc, required: false }
}

impl Key {
    pub(super) const fn required(mut self) -> Self {
        self.required = true;
        self
    }
}

/// What a value looks like.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// A scalar as it is written.
    Text,
    /// `true` or `false`.
    Flag,
    /// A whole number.
    Count { least: i64, most: i64 },
    /// A number.
    Number { least: f64, most: f64 },
    /// A duration with its unit.
    Time { least: Duration },
    /// A date, or a date and a time of day.
    Moment,
    /// A share of a whole, with its `%`.
    Share,
    /// One of some words.
    Word(&'static [&'static str]),
    /// A mapping of known keys.
    Mapping(&'static Shape),
    /// A list.
    List(&'static Self),
    /// A list, or its only item without the brackets.
    OneOrMany(&'static Self),
    /// A mapping of free names.
    Named(&'static Self),
    /// Any of these.
    Either(&'static [Self]),
}

impl Kind {
    /// `0` to `u32::MAX`.
    pub(super) const U32: Self = Self::Count { least: 0, most: u32::MAX as i64 };
    /// `1` to `u32::MAX`.
    pub(super) const POSITIVE: Self = Self::Count { least: 1, most: u32::MAX as i64 };
    /// `0` to `100`.
    pub(super) const PERCENT: Self = Self::Count { least: 0, most: 100 };
    /// Zero to [`LONGEST`](super::duration::LONGEST).
    pub(super) const TIME: Self = Self::Time { least: Duration::ZERO };
    /// A millisecond to [`LONGEST`](super::duration::LONGEST).
    pub(super) const POSITIVE_TIME: Self = Self::Time { least: Duration::from_millis(1) };
    /// The word that switches something off.
    pub(super) const OFF: Self = Self::Word(&["off"]);

    /// The first of the alternatives that `choose` takes, looking into [`Kind::Either`].
    pub(super) fn find<T>(&'static self, choose: fn(&'static Self) -> Option<T>) -> Option<T> {
        match self {
            Self::Either(kinds) => kinds.iter().find_map(|kind| kind.find(choose)),
            _ => choose(self),
        }
    }

    /// The keys, for a mapping.
    pub(super) fn shape(&'static self) -> Option<&'static Shape> {
        self.find(|kind| if let Self::Mapping(shape) = kind { Some(*shape) } else { None })
    }

    /// The kind of each item, for a list.
    pub(super) fn item(&'static self) -> Option<&'static Self> {
        self.find(|kind| match kind {
            Self::List(inner) | Self::OneOrMany(inner) => Some(*inner),
            _ => None,
        })
    }

    /// The kind of each value, for a mapping of free names.
    pub(super) fn named(&'static self) -> Option<&'static Self> {
        self.find(|kind| if let Self::Named(inner) = kind { Some(*inner) } else { None })
    }

    /// The allowed words.
    pub(super) fn words(&'static self) -> Option<&'static [&'static str]> {
        self.find(|kind| if let Self::Word(words) = kind { Some(*words) } else { None })
    }
}

/// The words of a table of words and their meanings.
pub(super) const fn words<T, const N: usize>(table: &[(&'static str, T); N]) -> [&'static str; N] {
    let mut words = [""; N];
    let mut at = 0;
    while at < N {
        words[at] = table[at].0;
        at += 1;
    }
    words
}
