//! Lints: what is allowed, but can hardly be meant. Warnings; they never refuse a configuration.
//!
//! They run only over documents without errors, so that one mistake does not echo as three warnings.

mod cluster;
mod domain;
mod hash;
mod inbound;
mod matcher;
mod route;
mod unreachable;

use super::code;
use super::document::Draft;
use super::reader::Reader;

/// Comparisons made for all virtual hosts together, so that a hostile file costs little.
const STEPS: usize = 5_000_000;

/// Reports everything that is suspicious.
pub(super) fn check(reader: &mut Reader<'_>, draft: &Draft<'_>) {
    let mut steps = STEPS;
    let domains = draft.hosts.iter().map(|host| host.domains.len()).sum::<usize>();
    for host in &draft.hosts {
        domain::check_routes(reader, host);
        // Pairs of domains; hostile files only use the steps up, and are not linted further.
        let pairs = domains.saturating_mul(host.domains.len().saturating_sub(1));
        if let Some(left) = steps.checked_sub(pairs) {
            steps = left;
            domain::check(reader, host, &draft.hosts);
        }
        unreachable::check(reader, host, &mut steps);
        for site in &host.routes {
            matcher::check(reader, site);
            hash::check_route(reader, site);
            route::check(reader, host, site, draft);
        }
    }
    for site in draft.clusters.values() {
        cluster::check(reader, site);
        hash::check_cluster(reader, site);
    }
    cluster::check_unused(reader, draft);
    for site in draft.inbound.values() {
        inbound::check(reader, site);
    }
    if let Some(span) = draft.learns_nothing() {
        let message = "nothing is learnt under `mode: observe`: every call passes unasked";
        let finding = reader.report.add(code::LEARNS_NOTHING, span, message);
        finding.suggest("`mode: enforce` with `unknown_hosts: log` lets them pass, and tells them");
    }
}
