//! [`Diagnostic`]: one thing wrong with a document, where it stands, and what would be right.
//!
//! The reader goes on after a mistake, so one run reports them all. That needs three bounds, kept
//! here: the same finding is reported once (an anchor used a hundred times is read a hundred times),
//! no more than [`Bounds::diagnostics`](super::Bounds::diagnostics) are kept, and spans are clamped
//! to character boundaries of the text so that any renderer may slice by them.

use super::code::{self, CodeExplanation};
use super::{Document, node::Span};
use std::collections::BTreeSet;
use std::ops::Range;

/// One thing wrong with a document.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Diagnostic {
    /// Whether the configuration is refused.
    pub severity: Severity,
    /// Stable name of the kind of mistake; [`code_explanation`](super::code_explanation) knows more.
    pub code: &'static str,
    /// Which of the documents given to [`load`](super::load), from 0.
    pub document: usize,
    /// The bytes in question. May be empty at the end of the text.
    pub span: Range<usize>,
    /// Line of the span's start, from 1.
    pub line: usize,
    /// Column of the span's start in characters, from 1.
    pub column: usize,
    /// What is wrong: lower case, no full stop.
    pub message: String,
    /// What to do instead.
    pub suggestion: Option<String>,
    /// Other places that have to do with it.
    pub labels: Vec<Label>,
}

/// Another place that has to do with a diagnostic.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Label {
    /// Which of the documents, from 0.
    pub document: usize,
    /// The bytes in question.
    pub span: Range<usize>,
    /// Line of the span's start, from 1.
    pub line: usize,
    /// Column of the span's start in characters, from 1.
    pub column: usize,
    /// What is there.
    pub message: String,
}

/// Whether a diagnostic refuses the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_enums, reason = "closed: refused or not")]
pub enum Severity {
    /// The configuration is not usable.
    Error,
    /// The configuration is usable, but says something that it can hardly mean.
    Warning,
}

impl Severity {
    /// `error` or `warning`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// The text of `bytes`, which a document must be.
///
/// # Errors
/// A `not_utf8` diagnostic for the given document, at the first byte that is no UTF-8.
pub fn decode(document: usize, bytes: &[u8]) -> Result<&str, Box<Diagnostic>> {
    std::str::from_utf8(bytes).map_err(|error| {
        let at = error.valid_up_to();
        let before = std::str::from_utf8(&bytes[..at]).unwrap_or_default();
        let (line, column) = Lines::new(before).place(at);
        Box::new(Diagnostic {
            severity: code::NOT_UTF8.severity,
            code: code::NOT_UTF8.code,
            document,
            span: at..at,
            line,
            column,
            message: format!("byte {at} is not UTF-8"),
            suggestion: Some("save the file as UTF-8".to_owned()),
            labels: Vec::new(),
        })
    })
}

/// A finding while the documents are still being read.
#[derive(Debug)]
pub struct Finding {
    code: &'static CodeExplanation,
    span: Span,
    message: String,
    suggestion: Option<String>,
    labels: Vec<(Span, String)>,
}

impl Finding {
    /// Adds what to do instead.
    pub fn suggest(&mut self, suggestion: impl Into<String>) -> &mut Self {
        self.suggestion = Some(suggestion.into());
        self
    }

    /// Adds what to do instead, if there is something.
    pub fn suggest_if(&mut self, suggestion: Option<String>) -> &mut Self {
        self.suggestion = suggestion;
        self
    }

    /// Adds another place.
    pub fn label(&mut self, span: Span, message: impl Into<String>) -> &mut Self {
        self.labels.push((span, message.into()));
        self
    }
}

/// Collects findings: each once, and only so many.
#[derive(Debug)]
pub(super) struct Report {
    findings: Vec<Finding>,
    seen: BTreeSet<(Span, &'static str, String)>,
    most: usize,
    has_errors: bool,
    /// Some findings did not fit.
    dropped: bool,
    /// Takes the details of findings that are not shown.
    unseen: Option<Finding>,
}

impl Report {
    pub(super) const fn new(most: usize) -> Self {
        Self {
            findings: Vec::new(),
            seen: BTreeSet::new(),
            most,
            has_errors: false,
            dropped: false,
            unseen: None,
        }
    }

    /// Adds a finding and returns it for details. What is there already, or does not fit any more,
    /// goes to a place that is never shown.
    pub(super) fn add(
        &mut self,
        code: &'static CodeExplanation,
        span: Span,
        message: impl Into<String>,
    ) -> &mut Finding {
        let message = message.into();
        self.has_errors |= code.severity == Severity::Error;
        let finding = Finding { code, span, message, suggestion: None, labels: Vec::new() };
        let known = self.seen.contains(&(span, code.code, finding.message.clone()));
        if known || self.is_full() {
            self.dropped |= !known;
            return self.unseen.insert(finding);
        }
        self.seen.insert((span, code.code, finding.message.clone()));
        let last = self.findings.len();
        self.findings.push(finding);
        &mut self.findings[last]
    }

    /// Whether further findings are dropped, so that looking for suggestions is wasted.
    pub(super) fn is_full(&self) -> bool {
        self.findings.len() >= self.most
    }

    pub(super) const fn has_errors(&self) -> bool {
        self.has_errors
    }

    /// The diagnostics in the order of their places.
    pub(super) fn finish(mut self, documents: &[Document<'_>]) -> Vec<Diagnostic> {
        if self.dropped {
            let message =
                format!("there are more than {} diagnostics: the rest is not shown", self.most);
            self.findings.push(Finding {
                code: code::TOO_MANY_DIAGNOSTICS,
                span: self.findings.last().map_or(Span::start_of(0), |finding| finding.span),
                message,
                suggestion: Some("mend these first".to_owned()),
                labels: Vec::new(),
            });
        }
        self.findings.sort_by_key(|finding| (finding.span.document, finding.span.start));
        let lines: Vec<_> = documents.iter().map(|document| Lines::new(document.text)).collect();
        self.findings.into_iter().map(|finding| finish(finding, &lines)).collect()
    }
}

fn finish(finding: Finding, lines: &[Lines<'_>]) -> Diagnostic {
    let (span, line, column) = place(finding.span, lines);
    let labels = finding.labels.into_iter().map(|(at, message)| {
        let (span, line, column) = place(at, lines);
        Label { document: at.document as usize, span, line, column, message }
    });
    Diagnostic {
        severity: finding.code.severity,
        code: finding.code.code,
        document: finding.span.document as usize,
        span,
        line,
        column,
        message: finding.message,
        suggestion: finding.suggestion,
        labels: labels.collect(),
    }
}

fn place(span: Span, lines: &[Lines<'_>]) -> (Range<usize>, usize, usize) {
    let Some(lines) = lines.get(span.document as usize) else { return (0..0, 1, 1) };
    let start = floor_char(lines.text, span.start as usize);
    let end = floor_char(lines.text, span.end as usize).max(start);
    let (line, column) = lines.place(start);
    (start..end, line, column)
}

/// The last character boundary at or before `at`.
pub(super) fn floor_char(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// Where the lines of a text start, and its characters.
struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
    /// Characters before each block: a document may be one long line.
    blocks: Vec<usize>,
}

/// Bytes of a block.
const BLOCK: usize = 4096;

impl<'a> Lines<'a> {
    fn new(text: &'a str) -> Self {
        let after =
            text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        let blocks = text.as_bytes().chunks(BLOCK).scan(0, |characters, block| {
            *characters += count_characters(block);
            Some(*characters)
        });
        Self {
            text,
            starts: std::iter::once(0).chain(after).collect(),
            blocks: std::iter::once(0).chain(blocks).collect(),
        }
    }

    /// Line and column of a character boundary, both from 1.
    fn place(&self, at: usize) -> (usize, usize) {
        let line = self.starts.partition_point(|start| *start <= at);
        let start = self.starts.get(line.saturating_sub(1)).copied().unwrap_or_default();
        // A byte-order mark stands before column 1.
        let mark = usize::from(start == 0 && at > 0 && self.text.starts_with('\u{feff}'));
        (line, self.characters_before(at) - self.characters_before(start) - mark + 1)
    }

    fn characters_before(&self, at: usize) -> usize {
        let block = at / BLOCK;
        let rest = self.text.as_bytes().get(block * BLOCK..at).unwrap_or_default();
        self.blocks.get(block).copied().unwrap_or_default() + count_characters(rest)
    }
}

/// The characters that start in some bytes of UTF-8.
fn count_characters(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| (**byte & 0xc0) != 0x80).count()
}
