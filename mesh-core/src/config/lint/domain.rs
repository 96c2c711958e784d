//! Virtual hosts that get nothing, and domains that decide nothing.

use crate::config::node::Span;
use crate::config::virtual_host::HostSite;
use crate::config::{code, reader::Reader};
use crate::model::Domain;

pub(super) fn check_routes(reader: &mut Reader<'_>, host: &HostSite<'_>) {
    if host.routes.is_empty() {
        let message = format!("`{}` has no routes", host.value.name);
        reader
            .report
            .add(code::NO_ROUTES, host.name, message)
            .suggest("every request to it is refused: add a route, or remove it");
    }
}

pub(super) fn check(reader: &mut Reader<'_>, host: &HostSite<'_>, hosts: &[HostSite<'_>]) {
    // A virtual host of one domain, which is the rule, shadows nothing.
    if host.domains.len() < 2 {
        return;
    }
    let others: Vec<&Domain> = hosts
        .iter()
        .filter(|other| other.name != host.name)
        .flat_map(|other| other.domains.iter().map(|(domain, _)| domain))
        .collect();
    for (domain, span) in &host.domains {
        if let Some((cover, at)) = shadow(domain, host, &others) {
            let message = format!("`{domain}` decides nothing beside `{cover}`");
            reader
                .report
                .add(code::SHADOWED_DOMAIN, *span, message)
                .suggest("leave one of them out")
                .label(at, "covers it");
        }
    }
}

/// The domain of the same virtual host that `domain` would fall to, when no other virtual host is in
/// between.
fn shadow<'h>(
    domain: &Domain,
    host: &'h HostSite<'_>,
    others: &[&Domain],
) -> Option<(&'h Domain, Span)> {
    let text = domain.to_string();
    let (cover, span) = host
        .domains
        .iter()
        .filter(|(cover, _)| cover != domain && covers(cover, &text))
        .max_by_key(|(cover, _)| rank(cover))?;
    let between = others
        .iter()
        .any(|other| (covers(other, &text) && rank(other) > rank(cover)) || inside(other, domain));
    (!between).then_some((cover, *span))
}

/// Whether everything that the pattern `text` accepts is accepted by `cover`.
fn covers(cover: &Domain, text: &str) -> bool {
    let without_port = match text.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => text,
    };
    [text, without_port].iter().any(|text| match cover {
        Domain::Any => true,
        Domain::Exact(exact) => **exact == **text,
        Domain::Suffix(suffix) => text.len() > suffix.len() && text.ends_with(&**suffix),
        Domain::Prefix(prefix) => text.len() > prefix.len() && text.starts_with(&**prefix),
    })
}

/// Whether a pattern of another virtual host takes some of what a wildcard accepts.
fn inside(other: &Domain, domain: &Domain) -> bool {
    !matches!(domain, Domain::Exact(_)) && covers(domain, &other.to_string())
}

/// Exact before suffix before prefix before any; within a kind the longest.
fn rank(domain: &Domain) -> (u8, usize) {
    match domain {
        Domain::Exact(text) => (3, text.len()),
        Domain::Suffix(text) => (2, text.len()),
        Domain::Prefix(text) => (1, text.len()),
        Domain::Any => (0, 0),
    }
}
