//! The tables and the decoders agree.

use super::{Row, Support};
use crate::decode::Decoded;
use std::collections::BTreeSet;
use std::fmt::Debug;

/// Sets a field of a message in a resource that is accepted without a report.
pub(in crate::decode) type Setter<M> = (&'static str, &'static str, fn(&mut M));

/// Every field of `message` is in the table; of a `oneof`, each of its kinds is.
#[track_caller]
pub(in crate::decode) fn check_fields(
    rows: &[Row],
    message: &str,
    default: &impl Debug,
    kinds: &[(&str, &[&str])],
) {
    let text = format!("{default:?}");
    let fields = text.split_once('{').unwrap().1.trim_end_matches('}').trim();
    let fields = fields.split(", ").map(|field| field.split_once(':').unwrap().0.trim());
    let fields = fields.map(|field| field.trim_start_matches("r#"));
    let expected: BTreeSet<&str> = fields
        .flat_map(|field| match kinds.iter().find(|(oneof, _)| *oneof == field) {
            Some((_, kinds)) => kinds.to_vec(),
            None => vec![field],
        })
        .collect();
    let listed: Vec<&str> =
        rows.iter().filter(|row| row.message == message).map(|row| row.field).collect();
    let unique: BTreeSet<&str> = listed.iter().copied().collect();
    assert_eq!(unique, expected, "{message}");
    assert_eq!(unique.len(), listed.len(), "{message}: a field is there twice");
}

/// What is ignored is reported when set; what is refused is refused when set.
#[track_caller]
pub(in crate::decode) fn check_effects<M: Default>(
    rows: &[Row],
    setters: &[Setter<M>],
    base: impl Fn() -> M,
    decode: impl Fn(&M) -> Decoded,
) {
    for row in rows {
        let name = format!("{}.{} ({})", row.message, row.field, row.note);
        let setter = setters.iter().find(|(m, f, _)| (*m, *f) == (row.message, row.field));
        let Some((.., set)) = setter else {
            assert_eq!(row.support, Support::Used, "{name}: nothing sets it");
            continue;
        };
        let mut message = base();
        set(&mut message);
        let decoded = decode(&message);
        let hit = |path: &str| {
            let parts = path.split(['.', '[']).map(|part| part.trim_end_matches(']'));
            parts.collect::<Vec<_>>().contains(&row.field)
        };
        match row.support {
            Support::Used => panic!("{name}: it is used, and needs no setter"),
            Support::Ignored => {
                assert!(decoded.resource.is_ok(), "{name}: {:?}", decoded.resource);
                assert!(
                    decoded.ignored.iter().any(|ignored| hit(&ignored.path)),
                    "{name}: {:?}",
                    decoded.ignored
                );
            }
            Support::Refused => {
                let errors = decoded.resource.expect_err(&name);
                assert!(errors.iter().any(|error| hit(&error.path)), "{name}: {errors:?}");
            }
        }
    }
    for (message, field, _) in setters {
        let known = rows.iter().any(|row| (row.message, row.field) == (*message, *field));
        assert!(known, "{message}.{field} is not in the table");
    }
}
