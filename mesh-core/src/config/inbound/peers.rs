//! `from`: who asks, as principals of RBAC.
//!
//! An id stands for a peer whose certificate was verified and has that name: nothing that a request says
//! counts.

use super::super::fields::Fields;
use super::super::identity::spiffe_id;
use super::super::matcher::STRING_MATCHER;
use super::super::node::{Content, Node, shorten};
use super::super::reader::Reader;
use super::super::shape::{Kind, Shape, key};
use super::super::value::Value;
use super::super::{code, fields::list};
use crate::identity::{SpiffeId, TrustDomain};
use crate::model::matcher::StringPattern;
use crate::model::{Cidr, Principal, RegexPattern, SanKind, SanMatcher, StringMatcher};
use std::net::IpAddr;
use std::sync::Arc;

const KINDS: [&str; 3] = ["namespace", "id", "ip"];
static PEERS: Shape = Shape::new(
    "peers",
    &[&[
        key(
            "namespace",
            Kind::Text,
            "Workloads of this Kubernetes namespace, of any trust domain: `spiffe://…/ns/NAMESPACE/sa/…`.",
        ),
        key(
            "id",
            STRING_MATCHER,
            "Workloads whose SPIFFE id matches. A text is read as in `from` itself: `spiffe://example.org/*` is all of a trust domain.",
        ),
        key(
            "ip",
            Kind::Text,
            "Whoever connects from this address or range: `10.0.0.0/8`. It proves nothing.",
        ),
    ]],
)
.exactly_one(&KINDS);
const PEER: Kind = Kind::Either(&[Kind::Text, Kind::Mapping(&PEERS)]);
pub(super) const FROM: Kind = Kind::OneOrMany(&PEER);

const WORDS: [&str; 2] = ["anyone", "authenticated"];

/// Who asks.
#[derive(Debug)]
pub(super) struct From {
    pub(super) principals: Vec<Principal>,
    /// Some of them have to prove who they are.
    pub(super) of_identities: bool,
}

impl From {
    pub(super) fn anyone() -> Self {
        Self { principals: vec![Principal::Any], of_identities: false }
    }
}

impl Value for From {
    fn read(reader: &mut Reader<'_>, node: &Node, kind: &'static Kind) -> Option<Self> {
        let inner = kind.item()?;
        if let Content::Sequence(items) = &node.content
            && items.is_empty()
        {
            let message = "an empty `from` fits nobody";
            let suggestion = "write `anyone`, or leave the rule out";
            reader.report.add(code::OUT_OF_RANGE, node.span, message).suggest(suggestion);
            return None;
        }
        let items = node.one_or_many().into_iter();
        let principals: Vec<_> = items.filter_map(|item| principal(reader, item, inner)).collect();
        let of_identities =
            principals.iter().any(|one| matches!(one, Principal::MtlsAuthenticated(_)));
        Some(Self { principals, of_identities })
    }
}

fn principal(reader: &mut Reader<'_>, node: &Node, kind: &'static Kind) -> Option<Principal> {
    if let Content::Mapping(_) = node.content {
        return mapping(reader, node, kind);
    }
    let text = reader.scalar(node, "a SPIFFE id, `anyone`, `authenticated` or a mapping")?.text;
    match &*text {
        "anyone" => return Some(Principal::Any),
        "authenticated" => return Some(Principal::MtlsAuthenticated(None)),
        _ => {}
    }
    names(reader, node).map(proven)
}

/// The ids that a text stands for: one, or all below what stands before `/*`.
fn names(reader: &mut Reader<'_>, node: &Node) -> Option<StringMatcher> {
    let text = reader.scalar(node, "a SPIFFE id")?.text;
    if let Some(prefix) = text.strip_suffix('*') {
        return several(reader, node, prefix);
    }
    if text.starts_with("spiffe://") {
        if TrustDomain::parse(text.trim_start_matches("spiffe://")).is_ok() {
            let message = format!("`{}` is a trust domain, and no workload in it", shorten(&text));
            let suggestion = format!("for every workload of it, write `{}/*`", shorten(&text));
            reader.report.add(code::INVALID_SPIFFE_ID, node.span, message).suggest(suggestion);
            return None;
        }
        return spiffe_id(reader, node).map(|id| StringMatcher::exact(id.as_str()));
    }
    let suggestion = reader
        .did_you_mean(&text, WORDS)
        .unwrap_or_else(|| "for example `spiffe://example.org/reviews`".to_owned());
    let message = format!("`{}` is no SPIFFE id, and not {}", shorten(&text), list(&WORDS));
    reader.report.add(code::INVALID_SPIFFE_ID, node.span, message).suggest(suggestion);
    None
}

/// Workloads with a name of this kind that was proven.
fn proven(matcher: StringMatcher) -> Principal {
    Principal::MtlsAuthenticated(Some(SanMatcher { kind: SanKind::Uri, matcher }))
}

/// `spiffe://example.org/*`, `spiffe://example.org/ns/shop/*`: what stands before the `*`.
fn several(reader: &mut Reader<'_>, node: &Node, prefix: &str) -> Option<StringMatcher> {
    let within = prefix.strip_suffix('/');
    let is_domain = |id: &str| id.strip_prefix("spiffe://").map(TrustDomain::parse);
    let is_right = within.is_some_and(|within| {
        SpiffeId::parse(within).is_ok() || matches!(is_domain(within), Some(Ok(_)))
    });
    if is_right {
        return Some(StringMatcher::new(StringPattern::Prefix(prefix.into())));
    }
    let message = format!("`{}*` stands for no SPIFFE ids", shorten(prefix));
    let suggestion = match within {
        None => "the `*` stands for whole segments: `spiffe://example.org/*`",
        Some(_) => "for example `spiffe://example.org/*` or `spiffe://example.org/ns/shop/*`",
    };
    reader.report.add(code::INVALID_SPIFFE_ID, node.span, message).suggest(suggestion);
    None
}

fn mapping(reader: &mut Reader<'_>, node: &Node, kind: &'static Kind) -> Option<Principal> {
    let fields = Fields::open(reader, node, kind)?;
    let chosen = fields.exactly_one(reader, &KINDS, (code::MISSING_KEY, code::CONFLICTING_KEYS));
    let namespace = fields.value("namespace").and_then(|(node, _)| namespace(reader, node));
    let id = fields.value("id").and_then(|(node, kind)| id(reader, node, kind)).map(proven);
    let ip = fields.value("ip").and_then(|(node, _)| range(reader, node));
    chosen?;
    namespace.or(id).or_else(|| ip.map(Principal::DirectRemoteIp))
}

/// A text, or an `exact`, is what it is in `from` itself: one that no peer can have would deny nobody.
fn id(reader: &mut Reader<'_>, node: &Node, kind: &'static Kind) -> Option<StringMatcher> {
    if let Content::Scalar { .. } = node.content {
        return names(reader, node);
    }
    let matcher = StringMatcher::read(reader, node, kind)?;
    match (&matcher.pattern, node.get("exact")) {
        (StringPattern::Exact(_), Some(exact)) => {
            let mut found = names(reader, &exact.value)?;
            found.ignore_case = matcher.ignore_case;
            Some(found)
        }
        _ => Some(matcher),
    }
}

/// Istio's ids: `spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT`.
fn namespace(reader: &mut Reader<'_>, node: &Node) -> Option<Principal> {
    let text = reader.scalar(node, "a namespace")?.text;
    let is_label = (1..=63).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if !is_label {
        let message = format!("`{}` is no Kubernetes namespace", shorten(&text));
        let suggestion = "1 to 63 of a-z, 0-9 and `-` (RFC 1123)";
        reader.report.add(code::INVALID_SPIFFE_ID, node.span, message).suggest(suggestion);
        return None;
    }
    // Such a name has no character that means something in a pattern.
    let pattern: Arc<str> = format!("spiffe://[^/]+/ns/{text}/sa/[^/]+").into();
    Some(proven(StringMatcher::new(StringPattern::Regex(RegexPattern(pattern)))))
}

fn range(reader: &mut Reader<'_>, node: &Node) -> Option<Cidr> {
    let text = reader.scalar(node, "an IP address or a range")?.text;
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, length.parse::<u32>().ok()),
        None => (&*text, Some(if text.contains(':') { 128 } else { 32 })),
    };
    let why = match (address.parse::<IpAddr>(), length) {
        (Err(_), _) => "this is no IP address".to_owned(),
        (Ok(_), None) => "the length of a range is a number".to_owned(),
        (Ok(address), Some(length)) => match Cidr::new(address, length) {
            Ok(range) => return Some(range),
            Err(error) => error.to_string(),
        },
    };
    let message = format!("`{}`: {why}", shorten(&text));
    let suggestion = "for example `10.0.0.0/8`, `192.0.2.1` or `2001:db8::/32`";
    reader.report.add(code::INVALID_ADDRESS, node.span, message).suggest(suggestion);
    None
}
