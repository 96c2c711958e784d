//! Documents of another format than `mesh.yaml`, read and reported on in the same way.
//!
//! Whoever reads Envoy's files should mark the same places, with the same words, within the same bounds. So
//! the tree that remembers where everything is written, and the report that keeps each finding once, are
//! lent out here: [`Reading::parse`] gives a [`Node`], [`Reading::report`] takes what is wrong with it,
//! [`Reading::finish`] gives the [`Diagnostic`]s. [`top_keys`] tells formats apart.
//!
//! What it does not do: variables (`${NAME}`), and any format.

pub use super::diagnostic::Finding;
pub use super::node::{Content, Entry, Node, Span, shorten};

use super::code::{self, CodeExplanation};
use super::diagnostic::{Diagnostic, Report};
use super::{Bounds, Document, parse, suggest};
use crate::inbound::{CompiledListener, ListenerError};
use crate::lb::{Balancer, EjectedBits};
use crate::model::{ClusterLoadAssignment, LbAlgorithm};
use crate::router::{CompiledHashPolicy, Router};
use crate::update::{ConfigUpdate, Origin};
use serde_saphyr::granit_parser::{Event, Parser, StrInput};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

/// Documents while they are read: their texts, and what is wrong with them so far.
#[derive(Debug)]
pub struct Reading<'a> {
    documents: &'a [Document<'a>],
    bounds: Bounds,
    report: Report,
    comparisons: usize,
}

impl<'a> Reading<'a> {
    /// Nothing is read yet.
    #[must_use]
    pub const fn new(documents: &'a [Document<'a>], bounds: Bounds) -> Self {
        let report = Report::new(bounds.diagnostics);
        Self { documents, bounds, report, comparisons: suggest::COMPARISONS }
    }

    /// The tree of a document; `None` when there is none, with the reason in the report.
    pub fn parse(&mut self, document: usize) -> Option<Rc<Node>> {
        let text = self.documents.get(document)?.text;
        parse::parse(u32::try_from(document).ok()?, text, &self.bounds, &mut self.report)
    }

    /// Adds a finding and returns it for details. One that is there already is not added again.
    ///
    /// `code` is one of [`code_explanations`](super::code_explanations); another counts as
    /// `invalid_resource`.
    pub fn report(&mut self, code: &str, span: Span, message: impl Into<String>) -> &mut Finding {
        self.report.add(known(code), span, message)
    }

    /// "did you mean `x`?", when something known is like `word`.
    pub fn did_you_mean<'k>(
        &mut self,
        word: &str,
        known: impl IntoIterator<Item = &'k str>,
    ) -> Option<String> {
        let comparisons = &mut self.comparisons;
        (!self.report.is_full()).then(|| suggest::did_you_mean(word, known, comparisons)).flatten()
    }

    /// Whether anything refuses the documents so far.
    #[must_use]
    pub const fn has_errors(&self) -> bool {
        self.report.has_errors()
    }

    /// The documents' names, and a hash of their texts.
    #[must_use]
    pub fn origin(&self) -> Origin {
        super::origin(self.documents)
    }

    /// Everything that was found, in the order of places.
    #[must_use]
    pub fn finish(self) -> Vec<Diagnostic> {
        self.report.finish(self.documents)
    }
}

fn known(code: &str) -> &'static CodeExplanation {
    super::code_explanation(code).unwrap_or(code::INVALID_RESOURCE)
}

/// What the router or a balancer would refuse of a configuration, in words that name the place: the net
/// below all other checks, as for `mesh.yaml`.
#[must_use]
pub fn refused(update: &ConfigUpdate) -> Vec<String> {
    let slots: BTreeMap<Arc<str>, u32> = update.clusters.keys().cloned().zip(0..).collect();
    let compiled = Router::compile(&update.route_configuration, &slots, None);
    let mut refused: Vec<String> =
        compiled.err().iter().flatten().map(ToString::to_string).collect();
    for (name, listener) in &update.listeners {
        let errors = CompiledListener::compile(listener, None).err().unwrap_or_default();
        refused.extend(errors.iter().map(|error| format!("listener `{name}`: {error}")));
        for chain in listener.chains() {
            let Some(forward) = &chain.forward else { continue };
            let compiled = Router::compile(&forward.routes, &slots, None);
            let errors = ListenerError::of_routes(chain, compiled.err().unwrap_or_default());
            refused.extend(errors.iter().map(|error| format!("listener `{name}`: {error}")));
        }
    }
    let (nobody, none) = (ClusterLoadAssignment::default(), EjectedBits::default());
    for (name, update) in &update.clusters {
        let policy = &update.cluster.lb_policy;
        let is_custom = matches!(policy.algorithm, LbAlgorithm::Custom(_));
        let built = (!is_custom).then(|| Balancer::build(policy, &nobody, &none, None, None));
        if let Some(Err(error)) = built {
            refused.push(format!("cluster `{name}`: {error}"));
        }
        if let Err(error) = CompiledHashPolicy::new(&policy.hash_policy) {
            refused.push(format!("cluster `{name}`: {error}"));
        }
    }
    refused
}

/// The top of a document, as far as it has to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "closed: a list, a key, or neither")]
pub enum Top<'t> {
    /// It is a list.
    List,
    /// It is a mapping with this key.
    Key(&'t str),
    /// It is one text, number or truth value.
    Scalar,
}

/// Shows the top of a text to `decide`, piece by piece in the order of the text, until it says that it has
/// seen enough. A text that is no YAML ends where it stops to be some.
pub fn top_keys(text: &str, mut decide: impl FnMut(Top<'_>) -> bool) {
    let mut options = serde_saphyr::granit_parser::options! { emit_unresolved_aliases: true };
    options.set_emit_comments(false);
    let parser = Parser::<StrInput<'_>>::new_from_str_with_options(text, options);
    let (mut depth, mut is_key) = (0_usize, true);
    for event in events(parser) {
        let is_top = depth == 1;
        match &event {
            Event::SequenceStart(..) | Event::MappingStart(..) => {
                if depth == 0 && matches!(event, Event::SequenceStart(..)) {
                    decide(Top::List);
                    return;
                }
                depth += 1;
                is_key ^= is_top;
            }
            Event::SequenceEnd | Event::MappingEnd => depth = depth.saturating_sub(1),
            Event::Scalar(value, ..) if depth == 0 => {
                if !value.is_empty() {
                    decide(Top::Scalar);
                }
                return;
            }
            Event::Scalar(value, ..) if is_top => {
                if is_key && decide(Top::Key(value)) {
                    return;
                }
                is_key = !is_key;
            }
            Event::Alias(_) | Event::UnresolvedAlias(_) => is_key ^= is_top,
            Event::DocumentEnd => return,
            _ => {}
        }
    }
}

fn events<'t>(mut parser: Parser<'t, StrInput<'t>>) -> impl Iterator<Item = Event<'t>> {
    std::iter::from_fn(move || parser.next_event()?.ok().map(|(event, _)| event))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let mut seen = Vec::new();
        top_keys(text, |top| {
            seen.push(format!("{top:?}"));
            seen.len() == 3
        });
        assert_eq!(seen.join(" "), expected, "{text:?}");
    }

    #[test]
    fn the_top_of_a_document() {
        check("a: 1\nb: {c: [1, {d: 2}]}\ne:\nf: 1\n", "Key(\"a\") Key(\"b\") Key(\"e\")");
        check("x: &x [1]\ny: *x\nz: 1", "Key(\"x\") Key(\"y\") Key(\"z\")");
        check("- a: 1\n", "List");
        check("{\"@type\": t, \"b\": [{}], }", "Key(\"@type\") Key(\"b\")");
        check("text", "Scalar");
        check("", "");
        check("# nothing\n", "");
        check("a: [1\nb: 2", "Key(\"a\")");
    }

    #[test]
    fn findings_have_places_and_known_codes() {
        let documents = [Document { name: "a.yaml", text: "a: 1\nbb: 2\n" }];
        let mut reading = Reading::new(&documents, Bounds::default());
        let root = reading.parse(0).unwrap();
        let place = root.get("bb").unwrap().key_span;
        let suggestion = reading.did_you_mean("clustr", ["cluster"]);
        reading.report("ignored_field", place, "it does nothing").suggest_if(suggestion);
        assert!(!reading.has_errors());
        reading.report("no_such_code", place, "wrong");
        assert!(reading.has_errors());
        let found = reading.finish();
        let shown: Vec<_> = found.iter().map(|d| (d.code, d.line, d.column)).collect();
        assert_eq!(shown, [("ignored_field", 2, 1), ("invalid_resource", 2, 1)]);
        assert_eq!(found[0].suggestion.as_deref(), Some("did you mean `cluster`?"));
    }
}
