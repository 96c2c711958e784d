//! `tls`: how a cluster's connections are secured.
//!
//! Where there is an identity, clusters are secured by it unless they say otherwise; where there is none,
//! they are not secured. Without `san`, a peer that the mesh's roots sign for may be any workload: of our
//! own trust domain, if the configuration says who we are.

use super::fields::Fields;
use super::identity::{IdentityTroubleKind, beside};
use super::matcher::STRING_MATCHER;
use super::node::{Content, Node, shorten};
use super::shape::{Kind, Shape, key};
use super::value::{Value, unknown_word};
use super::{code, reader::Reader};
use crate::model::matcher::StringPattern;
use crate::model::tls::{TlsIdentity, TlsRoots, UpstreamTls};
use crate::model::{IdentityConfig, SanKind, SanMatcher, StringMatcher, TlsPolicy};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

const SAN: Kind = Kind::OneOrMany(&STRING_MATCHER);
const WORDS: [&str; 3] = ["off", "mesh", "system"];

static TLS: Shape = Shape::new(
    "tls",
    &[&[
        key(
            "san",
            SAN,
            "Any of these must match a subject alternative name. Default with the mesh's roots any SPIFFE id, else the SNI must.",
        ),
        key("sni", Kind::Text, "The name sent as SNI. Default the endpoint's hostname."),
        key(
            "roots",
            Kind::Text,
            "Who signs: mesh, system, or a PEM file beside this one. Default mesh with an identity, else system.",
        ),
        key(
            "client_certificate",
            Kind::Flag,
            "Whether our identity is shown to a peer that asks for one. Default with the mesh's roots.",
        ),
    ]],
);
/// `tls` of a cluster.
pub(super) const TLS_KIND: Kind = Kind::Either(&[Kind::Word(&WORDS), Kind::Mapping(&TLS)]);

/// Who a peer may be that says nothing of itself: whoever the mesh's roots sign for.
#[derive(Clone, Debug)]
pub(super) struct Members(Arc<str>);

impl Members {
    pub(super) fn of(identity: Option<&IdentityConfig>) -> Self {
        let id = identity.and_then(|identity| identity.spiffe_id.as_ref());
        let domain = id.map(|id| format!("spiffe://{}/", id.trust_domain().as_str()));
        Self(domain.as_deref().unwrap_or("spiffe://").into())
    }
}

impl Members {
    /// Their names are URIs: a SPIFFE id is nothing else.
    fn matcher(&self) -> SanMatcher {
        let matcher = StringMatcher::new(StringPattern::Prefix(Arc::clone(&self.0)));
        SanMatcher { kind: SanKind::Uri, matcher }
    }
}

/// What a cluster is that says nothing.
pub(super) fn default_policy(reader: &Reader<'_>) -> TlsPolicy {
    reader.identity.as_ref().map_or(TlsPolicy::Off, mesh)
}

/// Mutual TLS by our own identity and roots, with any member.
fn mesh(members: &Members) -> TlsPolicy {
    let mut tls = UpstreamTls::default();
    (tls.roots, tls.identity) = (TlsRoots::Mesh, TlsIdentity::Mesh);
    tls.san = vec![members.matcher()];
    TlsPolicy::On(Arc::new(tls))
}

impl Value for TlsPolicy {
    fn read(reader: &mut Reader<'_>, node: &Node, kind: &'static Kind) -> Option<Self> {
        if let Content::Mapping(_) = node.content {
            return custom(reader, node, kind).map(Arc::new).map(Self::On);
        }
        let scalar = reader.scalar(node, "`off`, `mesh`, `system` or a mapping")?;
        match &*scalar.text {
            "off" => Some(Self::Off),
            "system" => Some(Self::On(Arc::default())),
            "mesh" => match &reader.identity {
                Some(members) => Some(mesh(members)),
                None => {
                    without_identity(reader, node, "`tls: mesh`");
                    None
                }
            },
            text => {
                unknown_word(reader, text, node.span, &WORDS);
                None
            }
        }
    }
}

fn custom(reader: &mut Reader<'_>, node: &Node, kind: &'static Kind) -> Option<UpstreamTls> {
    let fields = Fields::open(reader, node, kind)?;
    let mut tls = UpstreamTls::default();
    if reader.identity.is_some() {
        tls.roots = TlsRoots::Mesh;
    }
    let san: Option<Vec<StringMatcher>> = fields.read(reader, "san");
    if let (Some((node, _)), Some(names)) = (fields.value("san"), &san) {
        names.iter().for_each(|name| check_exact(reader, node, name));
    }
    fields.set_some(reader, "sni", &mut tls.sni);
    if let (Some((node, _)), Some(name)) = (fields.value("sni"), &tls.sni) {
        check_sni(reader, node, name);
    }
    // What is written counts, and the endpoint's hostname where nothing is.
    tls.auto_host_sni = tls.sni.is_none();
    let roots = fields.value("roots").map(|(node, _)| roots(reader, node));
    let shown = fields.read(reader, "client_certificate");
    if let Some(roots) = roots {
        tls.roots = roots?;
    }
    let of_mesh = tls.roots == TlsRoots::Mesh;
    if shown.unwrap_or(of_mesh) {
        tls.identity = TlsIdentity::Mesh;
        if reader.identity.is_none()
            && let Some((node, _)) = fields.value("client_certificate")
        {
            without_identity(reader, node, "`client_certificate: true`");
        }
    }
    let members = reader.identity.as_ref().filter(|_| of_mesh);
    tls.san = match san {
        Some(names) => names.into_iter().map(SanMatcher::any).collect(),
        None => members.map(Members::matcher).into_iter().collect(),
    };
    Some(tls)
}

/// Reports an exact name that is meant as several: no SPIFFE id has a `*` (SPIFFE-ID section 2), so it would match nobody.
/// Names of hosts may have one (RFC 6125 section 6.4.3).
fn check_exact(reader: &mut Reader<'_>, node: &Node, name: &StringMatcher) {
    let StringPattern::Exact(text) = &name.pattern else { return };
    if !text.contains('*') || (!text.contains("://") && &**text != "*") {
        return;
    }
    let message = format!("`{}` is compared as it is, and nobody has that name", shorten(text));
    let suggestion = match text.strip_suffix('*').filter(|prefix| !prefix.is_empty()) {
        Some(prefix) => format!("write `{{ prefix: \"{prefix}\" }}`"),
        None => "for any workload of a trust domain write `{ prefix: \"spiffe://example.org/\" }`"
            .to_owned(),
    };
    reader.report.add(code::INVALID_SPIFFE_ID, node.span, message).suggest(suggestion);
}

/// Reports an SNI that is no DNS name (RFC 6066 section 3): no peer proves another, and so no call would succeed.
fn check_sni(reader: &mut Reader<'_>, node: &Node, name: &str) {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let is_label = |label: &str| (1..64).contains(&label.len()) && label.bytes().all(is_letter);
    let is_name = name.len() < 254 && name.split('.').all(is_label);
    if is_name && name.parse::<IpAddr>().is_err() {
        return;
    }
    let message = format!("`{}` is no DNS name, and nothing else is sent as SNI", shorten(name));
    reader
        .report
        .add(code::INVALID_ADDRESS, node.span, message)
        .suggest("write a host without port and `*`; who may answer beside is said by `san`");
}

/// Reports what needs an identity, and has none.
pub(super) fn without_identity(reader: &mut Reader<'_>, node: &Node, what: &str) {
    let message = format!("{what} needs an identity, and there is none");
    reader.report.add(code::TLS_WITHOUT_IDENTITY, node.span, message).suggest(
        "say who we are: `identity: { cert: …, key: …, roots: … }`, or write `tls: off`, `tls: system` or `tls: { roots: … }`",
    );
}

fn roots(reader: &mut Reader<'_>, node: &Node) -> Option<TlsRoots> {
    if reader.is_word(node, "mesh") && reader.identity.is_none() {
        without_identity(reader, node, "`roots: mesh`");
        return None;
    }
    match (reader.is_word(node, "mesh"), reader.is_word(node, "system")) {
        (true, _) => Some(TlsRoots::Mesh),
        (_, true) => Some(TlsRoots::System),
        (false, false) => pem(reader, node).map(TlsRoots::Pem),
    }
}

fn pem(reader: &mut Reader<'_>, node: &Node) -> Option<Arc<str>> {
    let path = reader.scalar(node, "the path of a PEM file")?.text;
    let document = node.span.document;
    let name = reader.documents.get(document as usize)?.name;
    let shown = shorten(&path);
    let key = (document, path.into_owned());
    if let Some(known) = reader.files.get(&key) {
        return Some(Arc::clone(known));
    }
    match reader.environment.file(name, &key.1) {
        Ok(text) if text.contains("-----BEGIN CERTIFICATE-----") => {
            let path = beside(reader, node.span, &key.1);
            examine(reader, node, &path, &text)?;
            let text: Arc<str> = text.into();
            reader.files.insert(key, Arc::clone(&text));
            Some(text)
        }
        Ok(_) => {
            let message = format!("`{shown}` holds no PEM certificate");
            reader
                .report
                .add(code::INVALID_ROOTS, node.span, message)
                .suggest("the file must hold `-----BEGIN CERTIFICATE-----`");
            None
        }
        Err(error) => {
            let message = format!("`{shown}` can't be read: {error}");
            reader
                .report
                .add(code::UNREADABLE_FILE, node.span, message)
                .suggest("paths are relative to the file that names them");
            None
        }
    }
}

/// Reports what somebody who may look has found in a file of roots; `None`: it can't be used.
fn examine(reader: &mut Reader<'_>, node: &Node, path: &Path, pem: &str) -> Option<()> {
    let mut is_usable = true;
    for trouble in reader.environment.examine_roots(path, pem) {
        let code = match trouble.kind {
            IdentityTroubleKind::Unreadable => code::UNREADABLE_FILE,
            IdentityTroubleKind::Invalid => code::INVALID_ROOTS,
            IdentityTroubleKind::EndsSoon => code::IDENTITY_ENDS_SOON,
        };
        is_usable &= trouble.kind == IdentityTroubleKind::EndsSoon;
        reader.report.add(code, node.span, trouble.message).suggest_if(trouble.suggestion);
    }
    is_usable.then_some(())
}
