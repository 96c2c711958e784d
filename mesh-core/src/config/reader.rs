//! [`Reader`]: what goes along while documents are read: surroundings, bounds, findings, references.

use super::diagnostic::Report;
use super::node::{Content, Node, Span, shorten};
use super::tls::Members;
use super::{Bounds, Document, Environment, code, regex, suggest, variable};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What goes along while documents are read.
pub(super) struct Reader<'a> {
    pub(super) documents: &'a [Document<'a>],
    pub(super) environment: &'a dyn Environment,
    pub(super) bounds: &'a Bounds,
    pub(super) report: Report,
    /// The clusters that routes and ports name, each with its place.
    pub(super) references: Vec<(String, Span)>,
    /// Patterns that were found good, so that an anchor's is not compiled at each use.
    patterns: BTreeSet<String>,
    /// The size of their programs.
    regex_bytes: usize,
    /// The files that documents name, so that a default's is read once.
    pub(super) files: BTreeMap<(u32, String), Arc<str>>,
    /// Who a peer may be that has a certificate of the mesh's; `None`: the mesh has no identity.
    pub(super) identity: Option<Members>,
    resources: Vec<usize>,
    comparisons: usize,
}

/// A scalar's text, variables replaced.
pub(super) struct Scalar<'n> {
    pub(super) text: Cow<'n, str>,
    /// May be read as a number or truth value: not quoted, or made by a variable.
    pub(super) plain: bool,
}

/// Where the text of a scalar stands in its document.
#[derive(Clone, Copy)]
pub(super) struct Place {
    whole: Span,
    /// `None`: the text is written otherwise, with escapes or folded.
    start: Option<u32>,
}

impl Place {
    /// `len` bytes from byte `start` of the text, where it stands as it is; else the whole scalar.
    pub(super) fn part(self, start: usize, len: usize) -> Span {
        let part = || {
            let start = self.start?.checked_add(u32::try_from(start).ok()?)?;
            Some(Span { start, end: start.checked_add(u32::try_from(len).ok()?)?, ..self.whole })
        };
        part().unwrap_or(self.whole)
    }
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        documents: &'a [Document<'a>],
        environment: &'a dyn Environment,
        bounds: &'a Bounds,
        report: Report,
    ) -> Self {
        Self {
            documents,
            environment,
            bounds,
            report,
            references: Vec::new(),
            patterns: BTreeSet::new(),
            regex_bytes: 0,
            files: BTreeMap::new(),
            identity: environment.has_identity().then(|| Members::of(None)),
            resources: vec![0; documents.len()],
            comparisons: suggest::COMPARISONS,
        }
    }

    /// The text of a scalar. Anything else is reported against `expected`.
    pub(super) fn scalar<'n>(&mut self, node: &'n Node, expected: &str) -> Option<Scalar<'n>> {
        let Content::Scalar { text, plain } = &node.content else {
            self.wrong_type(node, expected);
            return None;
        };
        let expanded = variable::expand(self, node, text)?;
        let plain = *plain || matches!(expanded, Cow::Owned(_));
        Some(Scalar { text: expanded, plain })
    }

    pub(super) fn wrong_type(&mut self, node: &Node, expected: &str) {
        match &node.content {
            Content::Unknown => return,
            // A variable that is not defined is what is wrong.
            Content::Scalar { text, .. } if variable::expand(self, node, text).is_none() => return,
            Content::Null | Content::Scalar { .. } | Content::Sequence(_) | Content::Mapping(_) => {
            }
        }
        let message = format!("expected {expected}, found {}", node.describe());
        let suggestion = match (&node.content, expected) {
            (Content::Null, "a mapping") => Some("write `{}`, or leave the key out".to_owned()),
            (Content::Null, _) => Some("give a value, or leave the key out".to_owned()),
            (Content::Mapping(_), "a list") => Some("start each item with `- `".to_owned()),
            _ => None,
        };
        self.report.add(code::WRONG_TYPE, node.span, message).suggest_if(suggestion);
    }

    /// "did you mean `x`?", when something known is like `word`.
    pub(super) fn did_you_mean<'k>(
        &mut self,
        word: &str,
        known: impl IntoIterator<Item = &'k str>,
    ) -> Option<String> {
        let comparisons = &mut self.comparisons;
        (!self.report.is_full()).then(|| suggest::did_you_mean(word, known, comparisons)).flatten()
    }

    /// Where the text of a scalar stands. It is searched for: ask once per scalar, not per mistake.
    pub(super) fn place(&self, node: &Node, text: &str) -> Place {
        let whole = node.span;
        let document = self.documents.get(whole.document as usize).map_or("", |d| d.text);
        let raw = document.get(whole.start as usize..whole.end as usize).unwrap_or_default();
        let start = raw.find(text).and_then(|at| u32::try_from(at).ok());
        Place { whole, start: start.and_then(|at| whole.start.checked_add(at)) }
    }

    /// Whether a scalar is exactly `word`, variables replaced. Says nothing of variables that are not
    /// defined: whoever reads the value does.
    pub(super) fn is_word(&self, node: &Node, word: &str) -> bool {
        let Content::Scalar { text, .. } = &node.content else { return false };
        variable::quietly(self.environment, text).is_some_and(|text| text == word)
    }

    /// Checks a pattern, once per text. Stops when all together are too large to compile.
    pub(super) fn check_pattern(&mut self, pattern: &str, span: Span) {
        let most = self.bounds.regex_bytes;
        if self.report.is_full() || self.regex_bytes > most || self.patterns.contains(pattern) {
            return;
        }
        match regex::check_regex(pattern) {
            Ok(bytes) => {
                self.regex_bytes += bytes;
                self.patterns.insert(pattern.to_owned());
                if self.regex_bytes > most {
                    let message = format!(
                        "up to here, regular expressions compile to more than {most} bytes"
                    );
                    self.report.add(code::INVALID_REGEX, span, message);
                }
            }
            Err(reason) => {
                let message = format!("`{}` is no regular expression: {reason}", shorten(pattern));
                self.report.add(code::INVALID_REGEX, span, message);
            }
        }
    }

    /// Notes that a route or a port names a cluster.
    pub(super) fn refer(&mut self, cluster: &str, span: Span) {
        self.references.push((cluster.to_owned(), span));
    }

    /// Counts a route or endpoint; false when its file has too many.
    pub(super) fn admit(&mut self, span: Span) -> bool {
        let most = self.bounds.resources;
        let Some(count) = self.resources.get_mut(span.document as usize) else { return false };
        *count += 1;
        if *count == most + 1 {
            let message = format!("more than {most} endpoints and routes in one file");
            self.report.add(code::TOO_MANY_RESOURCES, span, message);
        }
        *count <= most
    }

    /// Checks the name of a virtual host or cluster.
    pub(super) fn check_name(&mut self, name: &str, span: Span) {
        let wrong = match name {
            "" => "a name is not empty",
            _ if name.len() > 512 => "a name has at most 512 bytes",
            _ if name.chars().any(char::is_control) => "a name has no control characters",
            _ => return,
        };
        self.report.add(code::INVALID_NAME, span, wrong);
    }
}
