//! `identity`: who the mesh is, by files or by a SPIRE agent.
//!
//! Only the places are read here. What is in them changes while the configuration stays; who wants to know
//! now (`mesh check`) says so by [`Environment::examine_identity`](super::Environment::examine_identity).

use super::address::{self, Wrong};
use super::code::{self, CodeExplanation};
use super::fields::Fields;
use super::node::{Entry, Node, Span, shorten};
use super::reader::Reader;
use super::shape::{Kind, Shape, key};
use crate::identity::SpiffeId;
use crate::model::{IdentityConfig, IdentityFiles, IdentityOrigin};
use std::path::Path;
use std::sync::Arc;

const SOURCES: [&str; 2] = ["cert", "spire"];
static IDENTITY: Shape = Shape::new(
    "identity",
    &[&[
        key(
            "cert",
            Kind::Text,
            "A PEM file of our certificates, the workload's first, beside this file; followed as it changes.",
        ),
        key("key", Kind::Text, "With `cert`: a PEM file of its private key, not encrypted."),
        key(
            "roots",
            Kind::Text,
            "With `cert`: a PEM file of those who sign the certificates of peers.",
        ),
        key(
            "crl",
            Kind::Text,
            "With `cert`: a PEM file of lists of revoked certificates. Default none.",
        ),
        key(
            "spire",
            Kind::Text,
            "The SPIFFE Workload API, of a SPIRE agent for example: `unix:///run/spire/agent.sock`.",
        ),
        key(
            "spiffe_id",
            Kind::Text,
            "Who we have to be: a certificate of somebody else is not used. Default whoever the certificate says.",
        ),
    ]],
)
.exactly_one(&SOURCES);
/// `identity` of a document.
pub(super) const IDENTITY_KIND: Kind = Kind::Mapping(&IDENTITY);
static KIND: Kind = IDENTITY_KIND;

/// A part of an identity that something is wrong with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "closed: the keys of `identity`")]
pub enum IdentityPart {
    /// The chain of certificates.
    Cert,
    /// The private key.
    Key,
    /// The roots.
    Roots,
    /// The lists of revoked certificates.
    Crl,
    /// Who we have to be.
    SpiffeId,
    /// The Workload API.
    Spire,
}

/// What is wrong with an identity that a document names, as far as somebody has looked.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct IdentityTrouble {
    /// Which part.
    pub part: IdentityPart,
    /// What kind of trouble it is.
    pub kind: IdentityTroubleKind,
    /// What is wrong: lower case, no full stop. Never a byte of a key.
    pub message: String,
    /// What to do instead.
    pub suggestion: Option<String>,
}

/// What kind of trouble there is with an identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "closed: not there, not usable, not for long")]
pub enum IdentityTroubleKind {
    /// A file can't be read: an error.
    Unreadable,
    /// It would not be put into force: an error.
    Invalid,
    /// It is good, and not for long: a warning.
    EndsSoon,
}

impl IdentityTrouble {
    /// A trouble without a suggestion.
    #[must_use]
    pub fn new(part: IdentityPart, kind: IdentityTroubleKind, message: impl Into<String>) -> Self {
        Self { part, kind, message: message.into(), suggestion: None }
    }

    /// Adds what to do instead.
    #[must_use]
    pub fn suggest(mut self, suggestion: impl Into<String>) -> Self {
        self.suggestion = Some(suggestion.into());
        self
    }
}

/// Reads `identity`, and has it examined.
pub(super) fn identity(reader: &mut Reader<'_>, entry: &Entry) -> Option<Arc<IdentityConfig>> {
    let node = &entry.value;
    let fields = Fields::open(reader, node, &KIND)?;
    let chosen = fields.exactly_one(reader, &SOURCES, (code::MISSING_KEY, code::CONFLICTING_KEYS));
    if fields.present(&SOURCES).len() > 1 {
        // Which of them is meant decides what else is missing or too much.
        fields.skip(&["key", "roots", "crl", "spiffe_id"]);
        return None;
    }
    let files = files(reader, &fields);
    let spire = fields.value("spire").and_then(|(node, _)| workload_api(reader, node));
    let id = fields.value("spiffe_id").map(|(node, _)| spiffe_id(reader, node));
    if chosen.is_some_and(|entry| &*entry.key == "spire") {
        fields.misplaced(reader, &["key", "roots", "crl"], "beside `spire`, which gives all of it");
    }
    let source =
        files.map(IdentityOrigin::Files).or_else(|| spire.map(IdentityOrigin::WorkloadApi))?;
    let mut identity = IdentityConfig::new(source);
    // An id that can't be read must not become none: anybody's certificate would do.
    identity.spiffe_id = id.map(|id| id.ok_or(())).transpose().ok()?;
    examine(reader, node, &identity);
    Some(Arc::new(identity))
}

fn files(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<IdentityFiles> {
    let [cert, key, roots, crl] =
        ["cert", "key", "roots", "crl"].map(|name| path(reader, fields, name));
    fields.own("cert")?;
    for name in ["key", "roots"] {
        if fields.own(name).is_none() {
            let message = format!("the key `{name}` is missing: files come with all three");
            let suggestion = "write `{ cert: …, key: …, roots: … }`";
            reader.report.add(code::MISSING_KEY, fields.span(), message).suggest(suggestion);
        }
    }
    let mut files = IdentityFiles::new(cert?, key?, roots?);
    files.crl = crl;
    Some(files)
}

/// A path, from the directory of the document.
fn path(reader: &mut Reader<'_>, fields: &Fields<'_>, name: &str) -> Option<Arc<Path>> {
    let (node, _) = fields.value(name)?;
    let text = reader.scalar(node, "the path of a PEM file")?.text;
    if text.is_empty() || text.contains("-----BEGIN") {
        let what = if text.is_empty() { "nothing" } else { "PEM itself" };
        let message = format!("expected the path of a PEM file, found {what}");
        let suggestion = "put it into a file beside this one: a configuration is no place for keys";
        reader.report.add(code::WRONG_TYPE, node.span, message).suggest(suggestion);
        return None;
    }
    Some(beside(reader, node.span, &text).into())
}

/// What `path` means in the document of `span`.
pub(super) fn beside(reader: &Reader<'_>, span: Span, path: &str) -> std::path::PathBuf {
    let document = reader.documents.get(span.document as usize).map_or("", |d| d.name);
    Path::new(document).parent().unwrap_or_else(|| Path::new("")).join(path)
}

fn workload_api(reader: &mut Reader<'_>, node: &Node) -> Option<Arc<str>> {
    let text = reader.scalar(node, "the address of a SPIFFE Workload API")?.text;
    match check_workload_api(&text) {
        Ok(()) => Some(text.into()),
        Err((why, suggestion)) => {
            let message = format!("`{}`: {why}", shorten(&text));
            reader.report.add(code::INVALID_ADDRESS, node.span, message).suggest_if(suggestion);
            None
        }
    }
}

/// SPIFFE Workload Endpoint section 4: `unix` with an absolute path and no authority, or `tcp` with an IP
/// address, a port, and nothing more.
fn check_workload_api(text: &str) -> Result<(), Wrong> {
    let example = "`unix:///run/spire/agent.sock` or `tcp://127.0.0.1:8081`";
    if let Some(rest) = text.strip_prefix("unix:") {
        let path = rest.strip_prefix("//").unwrap_or(rest);
        return address::check_socket_path(path);
    }
    let Some(rest) = text.strip_prefix("tcp://") else {
        let suggestion = match text.starts_with('/') {
            true => format!("write `unix://{text}`"),
            false => format!("for example {example}"),
        };
        return Err(("a Workload API is at `unix:` or `tcp:`", Some(suggestion)));
    };
    match rest.parse::<std::net::SocketAddr>() {
        Ok(_) => Ok(()),
        Err(_) => {
            Err(("of `tcp:` an IP address and a port", Some(format!("for example {example}"))))
        }
    }
}

/// Reads the SPIFFE id of a workload.
pub(super) fn spiffe_id(reader: &mut Reader<'_>, node: &Node) -> Option<SpiffeId> {
    let text = reader.scalar(node, "a SPIFFE id")?.text;
    let why = match SpiffeId::parse(&text) {
        Ok(id) if !id.path().is_empty() => return Some(id),
        Ok(_) => "it names a trust domain, and no workload in it".to_owned(),
        Err(error) => error.to_string(),
    };
    let message = format!("`{}`: {why}", shorten(&text));
    reader
        .report
        .add(code::INVALID_SPIFFE_ID, node.span, message)
        .suggest("for example `spiffe://example.org/reviews`");
    None
}

/// Reports what somebody who may look has found in the places that are named.
fn examine(reader: &mut Reader<'_>, node: &Node, identity: &IdentityConfig) {
    for trouble in reader.environment.examine_identity(identity) {
        let key = match trouble.part {
            IdentityPart::Cert => "cert",
            IdentityPart::Key => "key",
            IdentityPart::Roots => "roots",
            IdentityPart::Crl => "crl",
            IdentityPart::SpiffeId => "spiffe_id",
            IdentityPart::Spire => "spire",
        };
        let code: &'static CodeExplanation = match trouble.kind {
            IdentityTroubleKind::Unreadable => code::UNREADABLE_FILE,
            IdentityTroubleKind::Invalid => code::INVALID_IDENTITY,
            IdentityTroubleKind::EndsSoon => code::IDENTITY_ENDS_SOON,
        };
        let span = node.get(key).map_or(node.span, |entry| entry.value.span);
        reader.report.add(code, span, trouble.message).suggest_if(trouble.suggestion);
    }
}
