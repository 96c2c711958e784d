//! `hash`: what a request is hashed by, for consistent hashing and for splits that stay put.
//!
//! A list of inputs, or one: `{ header: x-user }`, `{ cookie: { name: s, ttl: 0s } }`,
//! `{ query_parameter: user }`, or the words `source_ip`, `peer_identity`, `channel_id`.

use super::fields::Fields;
use super::node::{Content, Node};
use super::shape::{Kind, Shape, key, words};
use super::value::{Value, word};
use super::{code, reader::Reader};
use crate::model::{HashPolicy, HashSource, RegexPattern};
use std::sync::Arc;

static HASH_HEADER: Shape = Shape::new(
    "hash_header",
    &[&[
        key("name", Kind::Text, "The header's name.").required(),
        key("regex", Kind::Text, "A pattern whose matches are replaced before hashing."),
        key("substitution", Kind::Text, "What takes their place; `\\1` is the first group."),
    ]],
);

static COOKIE: Shape = Shape::new(
    "hash_cookie",
    &[&[
        key("name", Kind::Text, "The cookie's name.").required(),
        key(
            "ttl",
            Kind::TIME,
            "Makes the cookie where it is missing, for this long; 0s: a session cookie.",
        ),
        key("path", Kind::Text, "`Path` of a cookie made here."),
    ]],
);

const INPUTS: [&str; 4] = ["header", "cookie", "query_parameter", "source"];
const SOURCES: [(&str, Source); 3] = [
    ("source_ip", Source::Ip),
    ("peer_identity", Source::Identity),
    ("channel_id", Source::Channel),
];

#[derive(Clone, Copy)]
enum Source {
    Ip,
    Identity,
    Channel,
}

static INPUT: Shape = Shape::new(
    "hash_input",
    &[&[
        key(
            "header",
            Kind::Either(&[Kind::Text, Kind::Mapping(&HASH_HEADER)]),
            "The values of a header.",
        ),
        key(
            "cookie",
            Kind::Either(&[Kind::Text, Kind::Mapping(&COOKIE)]),
            "The value of a cookie.",
        ),
        key("query_parameter", Kind::Text, "The first value of a query parameter."),
        key(
            "source",
            Kind::Word(&words(&SOURCES)),
            "The peer's address or identity, or the channel.",
        ),
        key("terminal", Kind::Flag, "Stops here when there is a hash. Default false."),
    ]],
)
.exactly_one(&INPUTS);

/// One input.
pub(super) const HASH_INPUT: Kind =
    Kind::Either(&[Kind::Word(&words(&SOURCES)), Kind::Mapping(&INPUT)]);
/// A list of inputs, or one.
pub(super) const HASH: Kind = Kind::OneOrMany(&HASH_INPUT);

impl Value for HashPolicy {
    fn read(reader: &mut Reader<'_>, node: &Node, kind: &'static Kind) -> Option<Self> {
        if matches!(node.content, Content::Scalar { .. }) {
            return source(reader, node, kind).map(Self::new);
        }
        let fields = Fields::open(reader, node, kind)?;
        fields.exactly_one(reader, &INPUTS, (code::MISSING_KEY, code::CONFLICTING_KEYS));
        let header = fields.value("header").and_then(|(node, kind)| header(reader, node, kind));
        let cookie = fields.value("cookie").and_then(|(node, kind)| cookie(reader, node, kind));
        let query = fields.read(reader, "query_parameter").map(HashSource::QueryParameter);
        let peer = fields.value("source").and_then(|(node, kind)| source(reader, node, kind));
        let terminal = fields.read(reader, "terminal").unwrap_or_default();
        let mut policy = Self::new(header.or(cookie).or(query).or(peer)?);
        policy.terminal = terminal;
        Some(policy)
    }
}

fn source(reader: &mut Reader<'_>, node: &Node, kind: &'static Kind) -> Option<HashSource> {
    Some(match word(reader, node, kind, &SOURCES)? {
        Source::Ip => HashSource::SourceIp,
        Source::Identity => HashSource::PeerIdentity,
        Source::Channel => HashSource::ChannelId,
    })
}

fn header(reader: &mut Reader<'_>, node: &Node, kind: &'static Kind) -> Option<HashSource> {
    if matches!(node.content, Content::Scalar { .. }) {
        let name = Value::read(reader, node, kind)?;
        return Some(HashSource::Header { name, rewrite: None });
    }
    let fields = Fields::open(reader, node, kind)?;
    let name = fields.read(reader, "name");
    let pattern: Option<RegexPattern> = fields.read(reader, "regex");
    let substitution: Option<Arc<str>> = fields.read(reader, "substitution");
    if pattern.is_some() != substitution.is_some() {
        let message = "`regex` and `substitution` come together";
        reader.report.add(code::MISSING_KEY, node.span, message);
    }
    Some(HashSource::Header { name: name?, rewrite: pattern.zip(substitution) })
}

fn cookie(reader: &mut Reader<'_>, node: &Node, kind: &'static Kind) -> Option<HashSource> {
    if matches!(node.content, Content::Scalar { .. }) {
        let name = Value::read(reader, node, kind)?;
        return Some(HashSource::Cookie { name, ttl: None, path: None });
    }
    let fields = Fields::open(reader, node, kind)?;
    let name = fields.read(reader, "name");
    let ttl = fields.read(reader, "ttl");
    let path = fields.read(reader, "path");
    Some(HashSource::Cookie { name: name?, ttl, path })
}
