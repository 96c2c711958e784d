//! Diagnostics for people and for programs.

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use mesh_core::config::{Diagnostic, Label, Severity};
use serde::Serialize;
use std::fmt::Write as _;
use std::ops::Range;

/// Lines shown before and after the one in question.
const CONTEXT: usize = 1;
/// A longer excerpt is not shown: a file on one line, or nearly.
const LONGEST_EXCERPT: usize = 8 << 10;

/// A file that was checked.
#[derive(Debug)]
pub(crate) struct Source {
    /// Its path as the user gave it.
    pub(crate) name: String,
    /// Its text.
    pub(crate) text: String,
}

// === for programs ===

#[derive(Serialize)]
struct Found<'a> {
    severity: &'static str,
    code: &'static str,
    message: &'a str,
    #[serde(flatten)]
    place: Place<'a>,
    suggestion: Option<&'a str>,
    labels: Vec<Labelled<'a>>,
}

#[derive(Serialize)]
struct Labelled<'a> {
    message: &'a str,
    #[serde(flatten)]
    place: Place<'a>,
}

#[derive(Serialize)]
struct Place<'a> {
    file: &'a str,
    line: usize,
    column: usize,
    start: usize,
    end: usize,
}

/// One array of objects, and a line break.
pub(crate) fn json(sources: &[Source], diagnostics: &[Diagnostic]) -> String {
    // Strings and numbers always serialize.
    let text = serde_json::to_string_pretty(&objects(sources, diagnostics)).unwrap_or_default();
    format!("{text}\n")
}

/// One array of objects.
pub(crate) fn values(sources: &[Source], diagnostics: &[Diagnostic]) -> serde_json::Value {
    serde_json::to_value(objects(sources, diagnostics)).unwrap_or_default()
}

fn objects<'a>(sources: &'a [Source], diagnostics: &'a [Diagnostic]) -> Vec<Found<'a>> {
    let file = |index: usize| sources.get(index).map_or("", |source| source.name.as_str());
    let label = |label: &'a Label| Place {
        file: file(label.document),
        line: label.line,
        column: label.column,
        start: label.span.start,
        end: label.span.end,
    };
    let found = diagnostics.iter().map(|diagnostic| Found {
        severity: diagnostic.severity.as_str(),
        code: diagnostic.code,
        message: &diagnostic.message,
        place: Place {
            file: file(diagnostic.document),
            line: diagnostic.line,
            column: diagnostic.column,
            start: diagnostic.span.start,
            end: diagnostic.span.end,
        },
        suggestion: diagnostic.suggestion.as_deref(),
        labels: diagnostic
            .labels
            .iter()
            .map(|found| Labelled { message: &found.message, place: label(found) })
            .collect(),
    });
    found.collect()
}

// === for people ===

/// Each diagnostic with its lines, and a summary.
pub(crate) fn human(sources: &[Source], diagnostics: &[Diagnostic], colour: bool) -> String {
    let mut text = list(sources, diagnostics, colour);
    let count = |severity| diagnostics.iter().filter(|d| d.severity == severity).count();
    let files = plural(sources.len(), "file");
    let summary = match (count(Severity::Error), count(Severity::Warning)) {
        (0, 0) => format!("ok: {files}"),
        (0, warnings) => format!("{} in {files}", plural(warnings, "warning")),
        (errors, 0) => format!("{} in {files}", plural(errors, "error")),
        (errors, warnings) => {
            format!("{}, {} in {files}", plural(errors, "error"), plural(warnings, "warning"))
        }
    };
    // Writing to a String does not fail.
    let _infallible = writeln!(text, "{summary}");
    text
}

/// Each diagnostic with its lines.
pub(crate) fn list(sources: &[Source], diagnostics: &[Diagnostic], colour: bool) -> String {
    let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
    let rendered = diagnostics.iter().map(|found| renderer.render(&[group(sources, found)]));
    rendered.map(|text| text + "\n\n").collect()
}

/// `1 file`, `2 files`.
pub(crate) fn plural(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

fn group<'a>(sources: &'a [Source], diagnostic: &'a Diagnostic) -> Group<'a> {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let title = format!("{} [{}]", diagnostic.message, diagnostic.code);
    let mut group = Group::with_title(level.primary_title(title));
    let mut others: Vec<&Label> = diagnostic.labels.iter().collect();
    if let Some(source) = sources.get(diagnostic.document) {
        let near = others.extract_if(.., |label| {
            label.document == diagnostic.document && label.line.abs_diff(diagnostic.line) <= 5
        });
        let near: Vec<_> = near.collect();
        let spans = near.iter().map(|label| &label.span).chain([&diagnostic.span]);
        match excerpt(&source.text, spans) {
            Some(part) => {
                let primary = AnnotationKind::Primary.span(within(&part, &diagnostic.span));
                let context = near.into_iter().map(|label| {
                    AnnotationKind::Context.span(within(&part, &label.span)).label(&label.message)
                });
                let snippet = snippet(source, &part).annotation(primary).annotations(context);
                group = group.element(snippet);
            }
            None => {
                let origin = Origin::path(&source.name).line(diagnostic.line);
                group = group.element(origin.char_column(diagnostic.column));
            }
        }
    }
    for label in others {
        let Some(source) = sources.get(label.document) else { continue };
        let Some(part) = excerpt(&source.text, [&label.span]) else { continue };
        let mark = AnnotationKind::Context.span(within(&part, &label.span)).label(&label.message);
        group = group.element(snippet(source, &part).annotation(mark));
    }
    match &diagnostic.suggestion {
        Some(suggestion) => group.element(Level::HELP.message(suggestion)),
        None => group,
    }
}

/// Some lines of a file.
struct Excerpt<'a> {
    text: &'a str,
    start: usize,
    first_line: usize,
}

/// The lines that hold `spans`, with some around; `None` when that is too much to show.
fn excerpt<'a, 's>(
    text: &'a str,
    spans: impl IntoIterator<Item = &'s Range<usize>>,
) -> Option<Excerpt<'a>> {
    let (mut first, mut last) = (text.len(), 0);
    for span in spans {
        first = first.min(span.start);
        last = last.max(span.end);
    }
    let mut start = text.get(..first)?.rfind('\n').map_or(0, |at| at + 1);
    let mut end = text.get(last..)?.find('\n').map_or(text.len(), |at| last + at);
    for _ in 0..CONTEXT {
        start = text[..start.saturating_sub(1)].rfind('\n').map_or(0, |at| at + 1);
        let after = (end + 1).min(text.len());
        end = text[after..].find('\n').map_or(text.len(), |at| after + at);
    }
    if end - start > LONGEST_EXCERPT || shows_key(text, start..end) {
        return None;
    }
    let first_line = text[..start].bytes().filter(|byte| *byte == b'\n').count() + 1;
    Some(Excerpt { text: &text[start..end], start, first_line })
}

/// Whether a private key in PEM (RFC 7468) is in this part of a text, or some of one.
fn shows_key(text: &str, part: Range<usize>) -> bool {
    text.match_indices("-----BEGIN").any(|(begin, _)| {
        let rest = &text[begin..];
        let label =
            rest.get(10..).and_then(|rest| rest.split_once("-----")).map_or("", |(label, _)| label);
        let end = rest.find("-----END").map_or(text.len(), |end| begin + end);
        label.contains("PRIVATE KEY") && begin < part.end && part.start < end
    })
}

fn snippet<'a, T: Clone>(source: &'a Source, part: &Excerpt<'a>) -> Snippet<'a, T> {
    Snippet::source(part.text).line_start(part.first_line).path(&source.name).fold(true)
}

fn within(part: &Excerpt<'_>, span: &Range<usize>) -> Range<usize> {
    span.start - part.start..span.end - part.start
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_is_whole_lines_around_the_span() {
        let text = "one\ntwo\nthree\nfour\nfive";
        let part = excerpt(text, [&(9..10)]).unwrap();
        assert_eq!((part.text, part.start, part.first_line), ("two\nthree\nfour", 4, 2));
        let whole = excerpt(text, [&(0..0), &(text.len()..text.len())]).unwrap();
        assert_eq!((whole.text, whole.first_line), (text, 1));
        assert!(excerpt(&"x".repeat(LONGEST_EXCERPT + 1), [&(0..1)]).is_none());
        assert_eq!(excerpt("", [&(0..0)]).unwrap().text, "");
    }

    #[test]
    fn no_excerpt_shows_a_private_key() {
        let pem = |label: &str| {
            format!("-----BEGIN {label}-----\nMIIB\nMIIC\nMIID\n-----END {label}-----\n")
        };
        for label in ["PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY", "ENCRYPTED PRIVATE KEY"] {
            let text = format!("one\ntwo\nthree\n{}four\nfive\nsix\n", pem(label));
            for at in 0..text.len() {
                let shown = excerpt(&text, [&(at..at)]).map_or("", |part| part.text);
                assert!(!shown.contains("MII"), "{at}: {shown}");
            }
            assert!(excerpt(&text, [&(1..1)]).is_some());
            assert!(excerpt(&text, [&(text.len() - 2..text.len() - 2)]).is_some());
            // Half of one.
            let half = &text[..text.find("MIIC").unwrap()];
            assert!(excerpt(half, [&(half.len()..half.len())]).is_none());
        }
        let text = pem("CERTIFICATE");
        assert!(excerpt(&text, [&(30..30)]).is_some_and(|part| part.text.contains("MIIB")));
    }

    #[test]
    fn numbers_agree_with_their_words() {
        assert_eq!((plural(1, "error"), plural(2, "error")), ("1 error".into(), "2 errors".into()));
    }
}
