//! `tls`: how a cluster's connections are secured.

use super::fields::Fields;
use super::matcher::STRING_MATCHER;
use super::node::{Content, Node, shorten};
use super::shape::{Kind, Shape, key};
use super::value::{Value, unknown_word};
use super::{code, reader::Reader};
use crate::model::tls::{TlsRoots, UpstreamTls};
use crate::model::{SanMatcher, TlsPolicy};
use std::sync::Arc;

const SAN: Kind = Kind::OneOrMany(&STRING_MATCHER);
const WORDS: [&str; 2] = ["off", "system"];

static TLS: Shape = Shape::new(
    "tls",
    &[&[
        key(
            "san",
            SAN,
            "Any of these must match a subject alternative name. Default the SNI must.",
        ),
        key("sni", Kind::Text, "The name sent as SNI. Default the endpoint's hostname."),
        key(
            "roots",
            Kind::Text,
            "A PEM file of those who sign, beside this file. Default the system's.",
        ),
    ]],
);
/// `tls` of a cluster.
pub(super) const TLS_KIND: Kind = Kind::Either(&[Kind::Word(&WORDS), Kind::Mapping(&TLS)]);

impl Value for TlsPolicy {
    fn read(reader: &mut Reader<'_>, node: &Node, kind: &'static Kind) -> Option<Self> {
        let mut tls = UpstreamTls::default();
        if let Content::Mapping(_) = node.content {
            let fields = Fields::open(reader, node, kind)?;
            let mut names = Vec::new();
            fields.set(reader, "san", &mut names);
            tls.san = names.into_iter().map(SanMatcher::any).collect();
            fields.set_some(reader, "sni", &mut tls.sni);
            if let Some((node, _)) = fields.value("roots") {
                tls.roots = TlsRoots::Pem(roots(reader, node)?);
            }
            return Some(Self::On(Arc::new(tls)));
        }
        let scalar = reader.scalar(node, "`off`, `system` or a mapping")?;
        match &*scalar.text {
            "off" => Some(Self::Off),
            "system" => Some(Self::On(Arc::new(tls))),
            "mesh" => {
                reader
                    .report
                    .add(
                        code::TLS_WITHOUT_IDENTITY,
                        node.span,
                        "`tls: mesh` needs an identity, and there is none",
                    )
                    .suggest("write `tls: off`, `tls: system` or `tls: { roots: … }`");
                None
            }
            text => {
                unknown_word(reader, text, node.span, &WORDS);
                None
            }
        }
    }
}

fn roots(reader: &mut Reader<'_>, node: &Node) -> Option<Arc<str>> {
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
