//! `mesh.yaml`: text in, a [`ConfigUpdate`] or every mistake out.
//!
//! A file is checked as a whole before any of it is used. The reader never stops at the first mistake:
//! each [`Diagnostic`] names its place to the byte, says what is wrong, and where it can, what would be
//! right. Text becomes a tree that remembers places (`node`), the tree is read against tables of keys
//! (`shape`) that the JSON Schema is printed from as well, names are resolved across all documents,
//! and what is left without error is linted.
//!
//! Rules of the format:
//! - A scalar header or SAN matcher means exact. Unknown keys are errors; top-level `x-…` keys are for
//!   anchors. There are no tags, merge keys or includes.
//! - `${NAME}` and `${NAME:-default}` work inside scalar values, after parsing, where they are read.
//! - Durations carry a unit (`500ms`, `1.5s`, `2m`, `1h`, at most a year), shares a `%`.
//! - Text keys take a scalar as it is written: `version: 2` as a header matcher is the text `2`.
//! - `defaults` fill what a route or cluster leaves out, key by key; a policy is taken whole.
//! - Several documents unite by name; a name defined twice is an error.
//!
//! Pure: variables and files come through [`Environment`]. Watching files is `mesh-tower`'s.

mod action;
mod address;
mod breakers;
mod cluster;
mod code;
mod diagnostic;
mod document;
mod drop_overload;
mod duration;
mod egress;
mod endpoint;
mod expectations;
mod fields;
pub mod foreign;
mod hash;
mod headers;
mod identity;
mod inbound;
mod lb;
mod lint;
mod matcher;
mod node;
mod outbound;
mod outlier;
mod parse;
mod protocol;
mod reader;
mod reference;
mod refused;
mod regex;
mod retry;
mod route;
mod route_match;
mod schema;
mod shape;
mod split;
mod suggest;
mod tls;
mod value;
mod variable;
mod virtual_host;

#[cfg(test)]
mod tests;

pub use code::{CodeExplanation, code_explanation, code_explanations};
pub use diagnostic::{Diagnostic, Label, Severity, decode};
pub use egress::egress_rule;
pub use expectations::{Suite, TestResult};
pub use identity::{IdentityPart, IdentityTrouble, IdentityTroubleKind};
pub use reference::reference;
pub use schema::json_schema;
pub(crate) use suggest::closest;

use crate::model::IdentityConfig;
use crate::time::WallTime;
use crate::update::{ConfigUpdate, Origin};
use diagnostic::Report;
use document::Draft;
use reader::Reader;
use std::collections::BTreeSet;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use xxhash_rust::xxh64::Xxh64;

/// A file's text and the name to show for it.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "a name and a text, nothing else")]
pub struct Document<'a> {
    /// The path as the user knows it.
    pub name: &'a str,
    /// The text.
    pub text: &'a str,
}

/// What a file may refer to outside of itself.
pub trait Environment {
    /// The value of an environment variable; `None` when it is not set.
    fn variable(&self, name: &str) -> Option<String>;

    /// The text of a file that the document called `document` names; relative paths are relative to
    /// that document's directory.
    ///
    /// # Errors
    /// [`FileError`] says why there is no text.
    fn file(&self, document: &str, path: &str) -> Result<String, FileError>;

    /// The load-balancing policies that the program has registered, by name: what files of Envoy's take from
    /// a list of which the first that is supported counts (gRFC A52). A `mesh.yaml` may name any; one that is
    /// not registered is an error when the configuration is put into force. Default: none.
    fn lb_policies(&self) -> BTreeSet<Arc<str>> {
        BTreeSet::new()
    }

    /// Whether the program says who the mesh is, so that a document without `identity` may say `tls: mesh`.
    /// Clusters are secured by it then, unless they say otherwise. Default: no.
    fn has_identity(&self) -> bool {
        false
    }

    /// What is wrong, now, in the places that a document's `identity` names. Certificates come and go while
    /// a configuration stays, so a mesh does not ask: what is bad is not put into force, and told. It is for
    /// `mesh check`. Default: nothing is looked at.
    fn examine_identity(&self, _: &IdentityConfig) -> Vec<IdentityTrouble> {
        Vec::new()
    }

    /// The same of the roots that a cluster's `tls` names by a file: `path` is that of the file, `pem` what is in it.
    /// Default: nothing is looked at.
    fn examine_roots(&self, _path: &Path, _pem: &str) -> Vec<IdentityTrouble> {
        Vec::new()
    }

    /// The time of day, by which it is told what has ended by itself (`until`). Default: it is not
    /// known.
    fn now(&self) -> Option<WallTime> {
        None
    }
}

/// Nothing: no variable is set, and no file can be read.
impl Environment for () {
    fn variable(&self, _: &str) -> Option<String> {
        None
    }

    fn file(&self, _: &str, _: &str) -> Result<String, FileError> {
        Err(FileError::new("no files can be read here"))
    }
}

/// Why a file that a document names can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FileError(String);

impl FileError {
    /// The reason in lower case, without full stop.
    #[must_use]
    pub fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

/// How much is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Bounds {
    /// The largest document, in bytes. Default 4 MiB.
    pub document_bytes: usize,
    /// The deepest nesting, aliases counted where they are used. Default 64.
    pub nesting: usize,
    /// The most values of one document, every alias expanded. Default 2,000,000.
    pub nodes: u64,
    /// The most endpoints and routes of one document, together. Default 100,000.
    pub resources: usize,
    /// The longest scalar, as written and after its variables are put in, in bytes. Default 64 KiB.
    pub text_bytes: usize,
    /// The largest sum of all compiled regular expressions, in bytes. Default 64 MiB.
    pub regex_bytes: usize,
    /// The most diagnostics that are kept; one more says that there are others. Default 1,000.
    pub diagnostics: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            document_bytes: 4 << 20,
            nesting: 64,
            nodes: 2_000_000,
            resources: 100_000,
            text_bytes: 64 << 10,
            regex_bytes: 64 << 20,
            diagnostics: 1_000,
        }
    }
}

/// What came of some documents.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Loaded {
    /// The configuration. `None` when there is an error, or no document at all.
    pub update: Option<ConfigUpdate>,
    /// What is wrong or suspicious, in the order of documents and places.
    pub diagnostics: Vec<Diagnostic>,
}

impl Loaded {
    /// What came of documents that somebody else has read.
    #[must_use]
    pub const fn new(update: Option<ConfigUpdate>, diagnostics: Vec<Diagnostic>) -> Self {
        Self { update, diagnostics }
    }
}

/// A duration as `mesh.yaml` writes it: a number and a unit (`500ms`, `1.5s`, `2m`, `1h`), at most a year; `None`: it is
/// none.
#[must_use]
pub fn duration(text: &str) -> Option<std::time::Duration> {
    duration::parse(text).ok()
}

/// Reads documents that unite into one configuration.
///
/// # Examples
/// ```
/// use mesh_core::config::{Bounds, Document, load};
///
/// let text = "version: 1
/// virtual_hosts:
///   reviews: { routes: [{ cluster: reviews }] }
/// clusters:
///   reviews: { endpoints: [\"127.0.0.1:8081\"] }
/// ";
/// let loaded = load(&[Document { name: "mesh.yaml", text }], &(), &Bounds::default());
/// assert!(loaded.diagnostics.is_empty());
/// assert_eq!(loaded.update.unwrap().clusters.len(), 1);
/// ```
#[must_use]
pub fn load(documents: &[Document<'_>], environment: &dyn Environment, bounds: &Bounds) -> Loaded {
    let mut report = Report::new(bounds.diagnostics);
    let mut roots: Vec<Rc<node::Node>> = Vec::with_capacity(documents.len());
    for (index, document) in (0..).zip(documents) {
        roots.extend(parse::parse(index, document.text, bounds, &mut report));
    }
    let mut reader = Reader::new(documents, environment, bounds, report);
    let draft = document::read(&mut reader, &roots);
    if roots.len() == documents.len() {
        // A name may be defined in a document that could not be read at all.
        document::check_references(&mut reader, &draft);
    }
    let update = usable(&mut reader, &draft);
    if update.is_some() {
        lint::check(&mut reader, &draft);
    }
    let diagnostics = reader.report.finish(documents);
    Loaded { update, diagnostics }
}

/// The configuration, when nothing in it is refused.
fn usable(reader: &mut Reader<'_>, draft: &Draft<'_>) -> Option<ConfigUpdate> {
    if reader.report.has_errors() || reader.documents.is_empty() {
        return None;
    }
    let mut update = draft.update();
    refused::check(reader, draft, &update);
    update.origin = origin(reader.documents);
    (!reader.report.has_errors()).then_some(update)
}

/// The documents' names, and a hash of their texts.
pub(in crate::config) fn origin(documents: &[Document<'_>]) -> Origin {
    let names: Vec<_> = documents.iter().map(|document| document.name).collect();
    let mut hash = Xxh64::new(0);
    for document in documents {
        hash.update(&(document.text.len() as u64).to_le_bytes());
        hash.update(document.text.as_bytes());
    }
    Origin::new(names.join(", "), format!("{:016x}", hash.digest()))
}
