//! The whole table as Markdown: `docs/xds-support.md` is this text, and a test holds it to it.

use super::{Support, rows};
use std::fmt::{self, Write};

const HEAD: &str = "\
# What is read of xDS

Every field of Envoy's messages that are decoded, and what becomes of it. *Used*: it does what Envoy says it
does, as far as the note says. *Ignored*: it does nothing here, and that is reported when it is set. *Refused*:
a resource that sets it is refused, with all else that is wrong in it.

Written by `mesh_xds::decode::support::markdown`, whose tests hold the table to the decoders and this file to
the table.

| message | field | support | note |
|---|---|---|---|
";

impl fmt::Display for Support {
    /// `used`, `ignored`, `refused`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Used => "used",
            Self::Ignored => "ignored",
            Self::Refused => "refused",
        })
    }
}

/// The whole table as a document in Markdown, in the order of [`rows`].
#[must_use]
pub fn markdown() -> String {
    let mut text = HEAD.to_owned();
    for row in rows() {
        // `|` would end the cell, even in code.
        let note = row.note.replace('|', "\\|");
        let (message, field) = (row.message, row.field);
        // Writing to a string can't fail.
        let _fits: fmt::Result =
            writeln!(text, "| {message} | `{field}` | {} | {note} |", row.support);
    }
    text
}
