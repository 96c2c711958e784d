//! What is used, ignored and refused of Envoy's messages, field by field.
//!
//! gRPC ignores in silence what it does not support, so that nobody can tell what a configuration
//! does; here it is a table. Tests hold it to the decoders: every field of a message is in it, what it
//! calls ignored is reported, and what it calls refused is refused. [`markdown`] shows it to people, as
//! `docs/xds-support.md`.

pub(super) mod asking;
mod cluster;
mod document;
mod endpoint;
mod file;
pub(super) mod filter;
pub(super) mod listener;
pub(super) mod port;
pub(super) mod rbac;
pub(super) mod route;
mod secret;
pub(super) mod server;
#[cfg(test)]
mod tests;

pub use document::markdown;

/// What is done with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "closed: a field does something, nothing, or harm")]
pub enum Support {
    /// It does what Envoy says it does, as far as the note says.
    Used,
    /// It does nothing, and that is reported when it is set.
    Ignored,
    /// A resource that sets it is refused.
    Refused,
}

/// A field of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Row {
    /// The message, without its package.
    pub message: &'static str,
    /// The field.
    pub field: &'static str,
    /// What is done with it.
    pub support: Support,
    /// What a reader has to know; empty: nothing.
    pub note: &'static str,
}

/// Every field of the messages that are decoded, and of those that stand around resources in files.
pub fn rows() -> impl Iterator<Item = &'static Row> {
    let resources = cluster::ROWS.iter().chain(endpoint::ROWS).chain(listener::ROWS);
    let resources = resources.chain(server::ROWS).chain(port::ROWS).chain(rbac::ROWS);
    let resources = resources.chain(filter::ROWS).chain(asking::ROWS);
    resources.chain(route::ROWS).chain(secret::ROWS).chain(file::ROWS)
}

const fn row(
    message: &'static str,
    field: &'static str,
    support: Support,
    note: &'static str,
) -> Row {
    Row { message, field, support, note }
}

/// Rows of a table: `"Message" { Used field: "note"; … }`.
macro_rules! table {
    ($($message:literal { $($support:ident $field:tt: $note:literal;)* })*) => {
        /// The rows of this file.
        pub(in crate::decode) const ROWS: &[super::Row] = &[
            $($(super::Row {
                message: $message,
                field: stringify!($field),
                support: super::Support::$support,
                note: $note,
            },)*)*
        ];
    };
}

use table;

#[cfg(test)]
pub(super) mod agreement;
