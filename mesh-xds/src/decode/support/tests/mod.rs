//! The table and the decoders say the same.
//!
//! For each message there is a change per field, and a list of its fields that does not compile when
//! the message has another. What the table calls used makes another resource, without a report; what it
//! calls ignored is accepted and reported by its path; what it calls refused is refused by its path.

mod cluster;
mod cluster_parts;
mod document;
mod endpoint;
mod file;
mod secret;

use super::{Row, Support, rows};
use crate::decode::Decoded;
use std::collections::BTreeSet;

/// The fields of a message: all of them, or it does not compile.
macro_rules! fields {
    ($message:path { $($field:ident),* $(,)? }) => {{
        #[expect(dead_code, reason = "it only has to compile")]
        fn all(message: $message) {
            #[allow(
                deprecated,
                clippy::allow_attributes,
                reason = "some messages have deprecated fields, others have none"
            )]
            let $message { $($field: _),* } = message;
        }
        [$(stringify!($field)),*]
    }};
}
use fields;

/// A field and a change that sets it.
type Set<M> = (&'static str, fn(&mut M));

/// One message within a resource.
struct Message<'m, R> {
    name: &'static str,
    /// The path of the message in the resource; empty: it is the resource.
    path: &'static str,
    /// Fields that are one of several are listed apart.
    fields: &'m [&'static str],
    base: fn() -> R,
    decode: fn(&R) -> Decoded,
    changes: &'m [Set<R>],
}

impl<R> Message<'_, R> {
    #[track_caller]
    fn check(&self) {
        let rows: Vec<&Row> = rows().filter(|row| row.message == self.name).collect();
        let in_table: BTreeSet<_> = rows.iter().map(|row| row.field).collect();
        assert_eq!(in_table.len(), rows.len(), "{}: a field stands twice", self.name);
        assert_eq!(in_table, self.fields.iter().copied().collect(), "{}", self.name);
        let changed: BTreeSet<_> = self.changes.iter().map(|(field, _)| *field).collect();
        assert_eq!(in_table, changed, "{}: a field without a change", self.name);
        for row in rows {
            for (_, change) in self.changes.iter().filter(|(field, _)| *field == row.field) {
                self.check_row(row, *change);
            }
        }
    }

    #[track_caller]
    fn check_row(&self, row: &Row, change: fn(&mut R)) {
        let base = (self.decode)(&(self.base)());
        let mut message = (self.base)();
        change(&mut message);
        let decoded = (self.decode)(&message);
        let path = match self.path.is_empty() {
            true => row.field.to_owned(),
            false => format!("{}.{}", self.path, row.field),
        };
        let reported = decoded.ignored.iter().any(|ignored| ignored.path == path);
        match (row.support, &decoded.resource) {
            (Support::Used, Ok(found)) => {
                assert!(!reported, "{path} is used, and reported as ignored");
                assert_ne!(
                    base.resource.as_ref(),
                    Ok(found),
                    "{path} is used, and changes nothing"
                );
            }
            (Support::Ignored, Ok(_)) => assert!(reported, "{path}: {:?}", decoded.ignored),
            (Support::Refused, Err(errors)) => {
                assert!(errors.iter().any(|error| error.path == path), "{path}: {errors:?}");
            }
            (support, found) => panic!("{path} is {support:?}: {found:?}"),
        }
    }
}

#[test]
fn notes_are_plain() {
    for row in rows() {
        assert!(!row.note.ends_with('.') && row.note.len() < 100, "{row:?}");
    }
}
