//! `virtual_hosts`: authorities and their routes.

use super::fields::Fields;
use super::node::{Content, Entry, Node, Span, shorten};
use super::retry::{HEDGE, RETRY_KIND};
use super::route::{ROUTE_KIND, Surroundings, route};
use super::shape::{Kind, Shape, key};
use super::{code, headers, reader::Reader};
use crate::model::{Domain, Route, VirtualHost};
use std::collections::BTreeMap;
use std::sync::Arc;

static VIRTUAL_HOST: Shape = Shape::new(
    "virtual_host",
    &[&[
        key(
            "domains",
            Kind::OneOrMany(&Kind::Text),
            "The authorities: exact, `*.suffix`, `prefix.*` or `*`; without a port, any port. Default the virtual host's name.",
        ),
        key("routes", Kind::List(&ROUTE_KIND), "The rules; the first that matches decides.")
            .required(),
        key("headers", Kind::Mapping(&headers::HEADERS), "Header edits for all routes."),
        key("retry", RETRY_KIND, "For routes without a retry policy of their own."),
        key("hedge", Kind::Mapping(&HEDGE), "For routes without a hedge policy of their own."),
        key(
            "include_request_attempt_count",
            Kind::Flag,
            "Adds x-envoy-attempt-count to requests. Default false.",
        ),
    ]],
);
/// One virtual host.
pub(super) const VIRTUAL_HOST_KIND: Kind = Kind::Mapping(&VIRTUAL_HOST);

/// A virtual host with the places that lints point at.
pub(super) struct HostSite<'n> {
    pub(super) name: Span,
    pub(super) value: Arc<VirtualHost>,
    pub(super) domains: Vec<(Domain, Span)>,
    pub(super) routes: Vec<RouteSite<'n>>,
}

/// A route with its place.
pub(super) struct RouteSite<'n> {
    pub(super) route: Arc<Route>,
    pub(super) node: &'n Node,
}

impl RouteSite<'_> {
    /// The value of a key of the route, or the route when it has no such key.
    pub(super) fn span(&self, key: &str) -> Span {
        self.node.get(key).map_or(self.node.span, |entry| entry.value.span)
    }
}

/// Reads one virtual host.
pub(super) fn virtual_host<'n>(
    reader: &mut Reader<'_>,
    entry: &'n Entry,
    defaults: Option<&'n Node>,
) -> Option<HostSite<'n>> {
    reader.check_name(&entry.key, entry.key_span);
    let fields = Fields::open(reader, &entry.value, &VIRTUAL_HOST_KIND)?;
    let domains = domains(reader, &fields, entry);
    let patterns = domains.iter().map(|(domain, _)| domain.clone()).collect();
    let mut host = VirtualHost::new(&*entry.key, patterns);
    fields.set(reader, "headers", &mut host.headers);
    host.retry_policy = fields.read(reader, "retry").map(Arc::new);
    fields.set_some(reader, "hedge", &mut host.hedge_policy);
    fields.set(reader, "include_request_attempt_count", &mut host.include_request_attempt_count);
    let mut routes = Vec::new();
    for (index, node) in items(reader, &fields).into_iter().enumerate() {
        if !reader.admit(node.span) {
            break;
        }
        let around = Surroundings {
            place: format!("{}.routes[{index}]", entry.key),
            defaults,
            host_retries: host.retry_policy.is_some(),
            host_hedges: host.hedge_policy.is_some(),
        };
        if let Some(route) = route(reader, node, around) {
            routes.push(RouteSite { route: Arc::new(route), node });
        }
    }
    host.routes = routes.iter().map(|site| Arc::clone(&site.route)).collect();
    Some(HostSite { name: entry.key_span, value: Arc::new(host), domains, routes })
}

fn items<'n>(reader: &mut Reader<'_>, fields: &Fields<'n>) -> Vec<&'n Node> {
    let Some((node, _)) = fields.value("routes") else { return Vec::new() };
    if !matches!(node.content, Content::Sequence(_)) {
        reader.wrong_type(node, "a list");
        return Vec::new();
    }
    node.one_or_many()
}

fn domains(reader: &mut Reader<'_>, fields: &Fields<'_>, entry: &Entry) -> Vec<(Domain, Span)> {
    let Some((node, _)) = fields.value("domains") else {
        return domain(reader, &entry.key, entry.key_span).into_iter().collect();
    };
    let mut domains = Vec::new();
    for item in node.one_or_many() {
        if let Some(scalar) = reader.scalar(item, "a domain") {
            domains.extend(domain(reader, &scalar.text, item.span));
        }
    }
    if node.one_or_many().is_empty() {
        reader
            .report
            .add(code::OUT_OF_RANGE, node.span, "a virtual host without domains is never chosen")
            .suggest("leave `domains` out: the name is the domain then");
    }
    domains
}

fn domain(reader: &mut Reader<'_>, text: &str, span: Span) -> Option<(Domain, Span)> {
    match Domain::parse(text) {
        Ok(domain) => Some((domain, span)),
        Err(error) => {
            let message = format!("`{}`: {error}", shorten(text));
            reader
                .report
                .add(code::INVALID_DOMAIN, span, message)
                .suggest("for example `shop`, `shop:80`, `*.shop`, `shop.*`, `*`");
            None
        }
    }
}

/// Reports domains that two virtual hosts claim, or one twice.
pub(super) fn check_domains(reader: &mut Reader<'_>, hosts: &[HostSite<'_>]) {
    let mut claimed: BTreeMap<&Domain, Span> = BTreeMap::new();
    for (domain, span) in hosts.iter().flat_map(|host| &host.domains) {
        match claimed.get(domain) {
            None => {
                claimed.insert(domain, *span);
            }
            Some(first) => {
                reader
                    .report
                    .add(code::DUPLICATE_DOMAIN, *span, format!("the domain `{domain}` is taken"))
                    .label(*first, "by this one");
            }
        }
    }
}
