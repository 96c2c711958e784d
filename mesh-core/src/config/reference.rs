//! The reference of `mesh.yaml` for people, printed from the tables that the reader reads by.
//!
//! One section for each kind of mapping: where it stands, and for each key what it takes, its default
//! and its meaning. Defaults are the last sentence of a key's text.

use super::document::DOCUMENT_KIND;
use super::duration;
use super::shape::{Key, Kind, Shape};
use std::fmt::Write;

/// Places that are listed for a mapping that stands in many.
const PLACES: usize = 4;

const INTRODUCTION: &str = "\
# mesh.yaml

Every key, printed by `mesh schema --format markdown` from the tables that files are read by.
`mesh schema` prints the same as a JSON Schema, for editors.

- Durations are a number and a unit: `500ms`, `1.5s`, `2m`, `1h`; at most a year.
- `${NAME}` and `${NAME:-default}` stand for environment variables inside a value; `$${` is a literal `${`.
- Texts take a scalar as it is written: `version: 2` as a header's value is the text `2`.
- A key that is not listed here is an error. At the top, keys that begin with `x-` hold anchors.
- Several files unite by name. Nothing is merged: a name that is defined twice is an error.
- `defaults` fill what a route or cluster leaves out, key by key. A retry policy is taken whole.
- With an `identity`, clusters are `tls: mesh` and ports of `inbound` are `mtls: strict` unless they say otherwise.
  A program's own identity (`Builder::identity`) counts before that of a file.
- A port of `inbound` refuses what `deny` names, then takes what `allow` names, and refuses all the rest. Of what
  `allow` lets in, `jwt` wants a token, `ext_authz` asks somebody, and `rate_limit` counts what is left, in this order.
- `match: { grpc: SERVICE }` of `deny` refuses the service's paths whatever the content type is: servers of gRPC need not
  look at it. A request with several `content-type` is refused.

Two things are a program's alone (`mesh_tower::Mesh::builder()`), and have no key: whether callers may
override policies by `x-envoy-*` headers (`trusted_overrides`), and whether requests carry
`x-envoy-expected-rq-timeout-ms` (`expected_timeout_header`). They are about who calls, not about the
services that are called.
";

/// The reference of `mesh.yaml`, as Markdown.
#[must_use]
pub fn reference() -> String {
    let mut sections = Vec::new();
    visit(&DOCUMENT_KIND, "the file", "", &mut sections);
    let mut text = INTRODUCTION.to_owned();
    for section in &sections {
        // Writing to a String can't fail.
        let _always_ok = section.write(&mut text);
    }
    text
}

struct Section {
    shape: &'static Shape,
    places: Vec<String>,
}

/// Collects the mappings within `kind`, in the order of the file. `prefix` is the place of their keys.
fn visit(kind: &'static Kind, place: &str, prefix: &str, sections: &mut Vec<Section>) {
    match kind {
        Kind::Mapping(shape) => {
            let known = sections.iter_mut().find(|section| section.shape.title == shape.title);
            if let Some(section) = known {
                section.places.push(place.to_owned());
                return;
            }
            sections.push(Section { shape, places: vec![place.to_owned()] });
            for key in shape.keys() {
                let place = format!("{prefix}{}", key.name);
                visit(&key.kind, &place, &format!("{place}."), sections);
            }
        }
        Kind::List(item) => visit(item, &format!("{place}[]"), &format!("{place}[]."), sections),
        Kind::Named(value) => {
            visit(value, &format!("{place}.NAME"), &format!("{place}.NAME."), sections);
        }
        Kind::OneOrMany(item) => visit(item, place, prefix, sections),
        Kind::Either(kinds) => kinds.iter().for_each(|kind| visit(kind, place, prefix, sections)),
        Kind::Text
        | Kind::Flag
        | Kind::Count { .. }
        | Kind::Number { .. }
        | Kind::Time { .. }
        | Kind::Moment
        | Kind::Share
        | Kind::Word(_) => {}
    }
}

impl Section {
    fn write(&self, text: &mut String) -> std::fmt::Result {
        let places: Vec<_> = self.places.iter().take(PLACES).map(|p| format!("`{p}`")).collect();
        let more = self.places.len().saturating_sub(PLACES);
        let more = if more > 0 { format!(", and {more} more places") } else { String::new() };
        writeln!(text, "\n## {}\n", self.shape.title)?;
        match &*self.places {
            [only] if only == "the file" => writeln!(text, "The file itself.\n")?,
            _ => writeln!(text, "Stands at {}{more}.\n", places.join(", "))?,
        }
        if !self.shape.exactly_one.is_empty() {
            let keys: Vec<_> =
                self.shape.exactly_one.iter().map(|key| format!("`{key}`")).collect();
            writeln!(text, "Exactly one of {}.\n", keys.join(", "))?;
        }
        writeln!(text, "| key | takes | default | meaning |\n|---|---|---|---|")?;
        for key in self.shape.keys() {
            let (meaning, default) = meaning_and_default(key);
            let takes = takes(&key.kind);
            writeln!(text, "| `{}` | {takes} | {default} | {meaning} |", key.name)?;
        }
        Ok(())
    }
}

/// A key's text without its last sentence, where that says the default; and the default.
fn meaning_and_default(key: &Key) -> (String, String) {
    let cell = |text: &str| text.trim().replace('|', "\\|");
    if key.required {
        return (cell(key.doc), "required".to_owned());
    }
    let at = key.doc.rfind("Default ").filter(|at| *at == 0 || key.doc[..*at].ends_with(". "));
    match at {
        Some(at) => {
            let default = key.doc[at + "Default ".len()..].trim_end_matches('.');
            (cell(&key.doc[..at]), cell(default))
        }
        None => (cell(key.doc), "–".to_owned()),
    }
}

fn takes(kind: &Kind) -> String {
    match kind {
        Kind::Text => "text".to_owned(),
        Kind::Flag => "`true` or `false`".to_owned(),
        Kind::Count { least: i64::MIN, most: i64::MAX } => "whole number".to_owned(),
        Kind::Count { least, most } if *most == i64::from(u32::MAX) => {
            format!("whole number from {least}")
        }
        Kind::Count { least, most } if least == most => format!("`{least}`"),
        Kind::Count { least, most } => format!("whole number, {least} to {most}"),
        Kind::Number { least, most } => format!("number, {least} to {most}"),
        Kind::Time { least } if least.is_zero() => "duration".to_owned(),
        Kind::Time { least } => format!("duration from {}", duration::show(*least)),
        Kind::Moment => "date, such as `2030-12-31` or `2030-12-31T08:00:00Z`".to_owned(),
        Kind::Share => "share, such as `10%`".to_owned(),
        Kind::Word(words) => {
            let words: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
            words.join(", ")
        }
        Kind::Mapping(shape) => format!("[{0}](#{0})", shape.title),
        Kind::List(item) => format!("list of {}", takes(item)),
        Kind::OneOrMany(item) => format!("{}, or a list of them", takes(item)),
        Kind::Named(value) => format!("mapping of names to {}", takes(value)),
        Kind::Either(kinds) => kinds.iter().map(takes).collect::<Vec<_>>().join(", or "),
    }
}
