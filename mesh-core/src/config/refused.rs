//! What the router, a balancer or a listener would refuse: the net below all other checks.
//!
//! The reader knows most rules by itself, and reports them where they are broken. But who decides what
//! can run is the code that runs it. So a configuration without errors is compiled once by
//! [`Router::compile`] and [`Balancer::build`], and what they refuse is reported at the closest place.
//! A file that passes here can be applied; only a custom policy that nobody registered is found later.

use super::cluster::ClusterSite;
use super::code::{self, CodeExplanation};
use super::document::Draft;
use super::node::{Content, Node, Span};
use super::outbound::OutboundSite;
use super::reader::Reader;
use super::virtual_host::HostSite;
use crate::inbound::CompiledListener;
use crate::lb::{Balancer, EjectedBits, LbError};
use crate::model::{ClusterLoadAssignment, LbAlgorithm};
use crate::router::{CompileError, CompileErrorKind, CompiledHashPolicy, MatcherError, Router};
use crate::update::ConfigUpdate;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Where a field of the model stands in a route of the file; the longest that fits is taken.
const FIELDS: [(&str, &[&str]); 20] = [
    ("match.path_separated_prefix", &["match", "path_separated_prefix"]),
    ("match.regex", &["match", "regex"]),
    ("match.headers", &["match", "headers"]),
    ("match.query_parameters", &["match", "query"]),
    ("match", &["match"]),
    ("headers.request", &["headers", "request"]),
    ("headers.response", &["headers", "response"]),
    ("split", &["split"]),
    ("hash_policy", &["hash"]),
    ("retry_policy", &["retry"]),
    ("path_rewrite.prefix", &["rewrite", "prefix"]),
    ("path_rewrite.full", &["rewrite", "path"]),
    ("path_rewrite.regex", &["rewrite", "regex"]),
    ("host_rewrite.literal", &["rewrite", "host"]),
    ("host_rewrite.path_regex", &["rewrite", "host_path_regex"]),
    ("redirect.scheme", &["redirect", "scheme"]),
    ("redirect.host", &["redirect", "host"]),
    ("redirect.path.prefix", &["redirect", "prefix"]),
    ("redirect.path.full", &["redirect", "path"]),
    ("redirect.path.regex", &["redirect", "regex"]),
];

/// Reports what can't be compiled.
pub(super) fn check(reader: &mut Reader<'_>, draft: &Draft<'_>, update: &ConfigUpdate) {
    let slots: BTreeMap<Arc<str>, u32> = update.clusters.keys().cloned().zip(0..).collect();
    for error in Router::compile(&update.route_configuration, &slots, None).err().iter().flatten() {
        reader.report.add(code_of(&error.kind), place(draft, error), error.kind.to_string());
    }
    for site in draft.inbound.values() {
        for error in CompiledListener::compile(&site.value, None).err().iter().flatten() {
            reader.report.add(code::INVALID_INBOUND, site.name, error.to_string());
        }
    }
    for site in draft.clusters.values() {
        if let Err(error) = balanced(site) {
            reader.report.add(code::OUT_OF_RANGE, site.key_span("lb"), error.to_string());
        }
        let hash_policy = &site.value.cluster.lb_policy.hash_policy;
        if let Err(error) = CompiledHashPolicy::new(hash_policy) {
            reader.report.add(code::INVALID_REGEX, site.key_span("lb"), error.to_string());
        }
    }
}

/// Builds a cluster's balancing over nobody: what is refused depends on the policy alone.
fn balanced(site: &ClusterSite<'_>) -> Result<(), LbError> {
    let policy = &site.value.cluster.lb_policy;
    if matches!(policy.algorithm, LbAlgorithm::Custom(_)) {
        return Ok(());
    }
    let (nobody, none) = (ClusterLoadAssignment::default(), EjectedBits::default());
    Balancer::build(policy, &nobody, &none, None, None).map(drop)
}

fn code_of(kind: &CompileErrorKind) -> &'static CodeExplanation {
    match kind {
        CompileErrorKind::Domain(_) => code::INVALID_DOMAIN,
        CompileErrorKind::DuplicateDomain { .. } => code::DUPLICATE_DOMAIN,
        CompileErrorKind::Regex(_) | CompileErrorKind::Matcher(MatcherError::Regex(_)) => {
            code::INVALID_REGEX
        }
        CompileErrorKind::Matcher(MatcherError::EmptyRange(_)) => code::INCONSISTENT_VALUES,
        CompileErrorKind::Matcher(MatcherError::Empty)
        | CompileErrorKind::RedirectStatus(_)
        | CompileErrorKind::DirectResponseStatus(_)
        | CompileErrorKind::DirectResponseBody { .. } => code::OUT_OF_RANGE,
        CompileErrorKind::PathSeparatedPrefix | CompileErrorKind::InvalidPath(_) => {
            code::INVALID_PATH
        }
        CompileErrorKind::SplitWithoutWeight | CompileErrorKind::SplitTooHeavy { .. } => {
            code::INVALID_WEIGHTS
        }
        CompileErrorKind::InvalidAuthority(_) => code::INVALID_AUTHORITY,
        CompileErrorKind::InvalidScheme(_) => code::INVALID_SCHEME,
        CompileErrorKind::SecondPort { .. } => code::CONFLICTING_KEYS,
        CompileErrorKind::HostHeader | CompileErrorKind::FramingHeader(_) => {
            code::INVALID_HEADER_NAME
        }
        CompileErrorKind::TooManyTargets => code::TOO_MANY_RESOURCES,
    }
}

fn place(draft: &Draft<'_>, error: &CompileError) -> Span {
    let Some(name) = &error.virtual_host else {
        return draft.setting(&error.field).unwrap_or(Span::start_of(0));
    };
    let Some(host) = draft.hosts.iter().find(|host| host.value.name == *name) else {
        let of_port = |site: &&OutboundSite<'_>| site.value.name == *name;
        let port = draft.outbound.values().find(of_port);
        return port.map_or(Span::start_of(0), |port| place_of_field(port.node, error));
    };
    let site = error.route.and_then(|route| host.routes.get(route));
    site.map_or_else(|| place_of_host(host, &error.field), |site| place_of_field(site.node, error))
}

fn place_of_host(host: &HostSite<'_>, field: &str) -> Span {
    let index = field.strip_prefix("domains[").and_then(|rest| rest.strip_suffix(']'));
    let domain = index.and_then(|index| host.domains.get(index.parse::<usize>().ok()?));
    domain.map_or(host.name, |(_, span)| *span)
}

fn place_of_field(route: &Node, error: &CompileError) -> Span {
    let known = FIELDS.iter().find(|(field, _)| error.field.starts_with(field));
    let mut at = route;
    for key in known.map_or(&[][..], |(_, path)| *path) {
        match at.get(key) {
            Some(entry) => at = &entry.value,
            None => break,
        }
    }
    match &error.kind {
        CompileErrorKind::HostHeader => edit_of(at, "host").unwrap_or(at.span),
        CompileErrorKind::FramingHeader(name) => edit_of(at, name.as_str()).unwrap_or(at.span),
        _ => at.span,
    }
}

/// Where the edits of a level name `header`.
fn edit_of(edits: &Node, header: &str) -> Option<Span> {
    let is_it = |text: &str| text.eq_ignore_ascii_case(header);
    edits.entries().iter().find_map(|edit| {
        let key = edit.value.entries().iter().find(|entry| is_it(&entry.key));
        let items = edit.value.one_or_many();
        let item = items
            .into_iter()
            .find(|item| matches!(&item.content, Content::Scalar { text, .. } if is_it(text)));
        key.map(|entry| entry.key_span).or_else(|| item.map(|item| item.span))
    })
}
