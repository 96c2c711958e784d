//! The sections of the overview.

use super::cells::{age, connections, is_good, limit, percent, place};
use super::{MAX_CLUSTERS, MAX_ENDPOINTS};
use crate::admin::html::{Cell, Page};
use crate::admin::page::certs::left;
use crate::admin::view::{
    ClusterView, ConfigurationView, EndpointView, IdentityView, ListenerView, OverloadView,
    SplitView,
};
use crate::clock;
use crate::server::ServingMode;
use mesh_core::WallTime;

pub(super) fn state(
    page: &mut Page,
    ready: &Result<(), String>,
    view: &ConfigurationView,
    overload: &[OverloadView],
) {
    page.table(["what", "is"]);
    match ready {
        Ok(()) => page.row([Cell::of("ready"), Cell::judged("yes", true)]),
        Err(why) => page.row([Cell::of("ready"), Cell::judged(&format!("no: {why}"), false)]),
    }
    let since = match (view.applied_at, view.age) {
        (Some(at), Some(since)) => format!("{} ago, at {at}", age(since)),
        _ => "not yet".to_owned(),
    };
    let rows = [
        ("configuration of", &*view.source),
        ("version", &*view.version),
        ("in force", &*since),
        (
            "mode",
            if view.observes { "observe: every call passes by every policy" } else { "enforce" },
        ),
    ];
    for (name, text) in rows {
        page.row([Cell::of(name), Cell::of(text)]);
    }
    page.row([Cell::of("applied so far"), Cell::of(&view.generation.to_string())]);
    for view in overload {
        let refused = if view.refuses { ": work is refused" } else { "" };
        let (name, text) = (view.resource.as_str(), format!("{} % used{refused}", view.used));
        page.row([Cell::of(name), Cell::judged(&text, !view.refuses)]);
    }
    if let Some(why) = &view.refused {
        page.row([Cell::of("a newer one was refused"), Cell::judged(why, false)]);
    }
    if let Some(at) = view.stale_since {
        let text = format!("in part from the copy on disk of {at}");
        page.row([Cell::of("stale"), Cell::judged(&text, false)]);
    }
    page.end_table();
}

/// What is in trouble comes first.
pub(super) fn clusters(page: &mut Page, views: &[ClusterView]) {
    page.heading("Clusters");
    if views.is_empty() {
        return page.paragraph("none");
    }
    let mut sorted: Vec<_> = views.iter().collect();
    sorted.sort_by_key(|view| view.endpoints.iter().flatten().all(is_good));
    for view in sorted.iter().take(MAX_CLUSTERS) {
        cluster(page, view);
    }
    if views.len() > MAX_CLUSTERS {
        page.paragraph(&format!("and {} more: see /clusters", views.len() - MAX_CLUSTERS));
    }
}

fn cluster(page: &mut Page, view: &ClusterView) {
    let mut text = format!(
        "{}: {}, {}, {} attempts in flight",
        view.name(),
        view.discovery(),
        view.algorithm(),
        view.active
    );
    if !view.children().is_empty() {
        text.push_str(&format!(", stands for {}", view.children().join(", ")));
    }
    if !view.panic.is_empty() {
        text.push_str(", in panic: too few are healthy, so all of them take calls");
    }
    page.paragraph(&text);
    if let Some(why) = &view.unresolved {
        page.paragraph(&format!("its names lead nowhere: {why}"));
    }
    match view.endpoints.as_deref() {
        None => page.paragraph("its endpoints are not known yet"),
        Some([]) => {}
        Some(endpoints) => endpoint_table(page, endpoints),
    }
}

fn endpoint_table(page: &mut Page, endpoints: &[EndpointView]) {
    let mut sorted: Vec<_> = endpoints.iter().collect();
    sorted.sort_by_key(|endpoint| is_good(endpoint));
    page.table([
        "endpoint",
        "state",
        "reason",
        "weight",
        "priority",
        "place",
        "in flight",
        "connections",
    ]);
    for endpoint in sorted.iter().take(MAX_ENDPOINTS) {
        endpoint_row(page, endpoint);
    }
    page.end_table();
    if endpoints.len() > MAX_ENDPOINTS {
        page.paragraph(&format!("and {} more: see /clusters", endpoints.len() - MAX_ENDPOINTS));
    }
}

fn endpoint_row(page: &mut Page, view: &EndpointView) {
    let address = view.address.to_string();
    let mut reason = view.reason().unwrap_or_default().to_owned();
    if view.ejections > 0 {
        reason.push_str(&format!(" (ejections so far: {})", view.ejections));
    }
    page.row([
        Cell::of(&address),
        Cell::judged(view.state.as_str(), is_good(view)),
        Cell::of(reason.trim_start()),
        Cell::of(&view.weight.to_string()),
        Cell::of(&view.priority.to_string()),
        Cell::of(&place(view)),
        Cell::of(&view.active.to_string()),
        Cell::of(&connections(view)),
    ]);
}

pub(super) fn splits(page: &mut Page, views: &[SplitView]) {
    if views.is_empty() {
        return;
    }
    page.heading("Splits");
    page.table(["virtual host", "route", "cluster", "configured", "achieved", "calls"]);
    for view in views.iter().take(MAX_CLUSTERS) {
        for part in &view.parts {
            let achieved = part.achieved.map_or_else(|| "no calls".to_owned(), percent);
            page.row([
                Cell::of(&view.virtual_host),
                Cell::of(&view.route),
                match part.known {
                    true => Cell::of(&part.cluster),
                    false => Cell::judged(&part.cluster, false),
                },
                Cell::of(&percent(part.configured)),
                Cell::of(&achieved),
                Cell::of(&part.calls.to_string()),
            ]);
        }
    }
    page.end_table();
}

/// Of every limit that is in use or has refused.
pub(super) fn limits(page: &mut Page, views: &[ClusterView]) {
    page.heading("Circuit breakers");
    let limits = views.iter().flat_map(|view| {
        let breakers = view.breakers.iter();
        breakers
            .flat_map(move |breaker| breaker.limits.iter().map(move |limit| (view, breaker, limit)))
    });
    let used: Vec<_> = limits
        .filter(|(.., limit)| limit.in_use > 0 || limit.refused > 0)
        .take(MAX_CLUSTERS)
        .collect();
    if used.is_empty() {
        return page.paragraph("nothing is in use, and none has refused");
    }
    page.table(["cluster", "priority", "limit", "in use", "of", "refused"]);
    for (view, breaker, of) in used {
        page.row([
            Cell::of(view.name()),
            Cell::of(breaker.name),
            Cell::of(of.name),
            Cell::of(&of.in_use.to_string()),
            Cell::of(&limit(of.limit)),
            Cell::judged(&of.refused.to_string(), of.refused == 0),
        ]);
    }
    page.end_table();
}

pub(super) fn certificates(page: &mut Page, views: &[IdentityView]) {
    page.heading("Certificates");
    if views.is_empty() {
        return page.paragraph("this mesh has no identity");
    }
    let now = clock::wall();
    page.table(["identity", "what", "of", "until", "left"]);
    let mut row = |identity: &str, what: &str, of: &str, end: WallTime| {
        page.row([
            Cell::of(identity),
            Cell::of(what),
            Cell::of(of),
            Cell::of(&end.to_string()),
            Cell::judged(&left(end, now), end > now),
        ]);
    };
    for view in views {
        if let Some(certificate) = &view.certificate {
            let of = certificate.uris.first().unwrap_or(&certificate.subject);
            row(&view.name, "certificate", of, certificate.not_after);
        }
        for root in view.roots.iter().take(MAX_ENDPOINTS) {
            row(&view.name, "root", &root.subject, root.not_after);
        }
    }
    page.end_table();
    for view in views {
        if let Some(error) = &view.error {
            page.paragraph(&format!("{}: the last renewal failed: {error}", view.name));
        }
    }
}

pub(super) fn listeners(page: &mut Page, views: &[ListenerView]) {
    if views.is_empty() {
        return;
    }
    page.heading("Listeners");
    page.table(["listener", "configured at", "listens at", "serves"]);
    for view in views.iter().take(MAX_CLUSTERS) {
        let configured = view.address.as_ref().map(ToString::to_string).unwrap_or_default();
        let bound: Vec<_> = view.bound.iter().map(ToString::to_string).collect();
        let serves = match &view.mode {
            None => Cell::of("no server of this program"),
            Some(ServingMode::Serving) => Cell::judged("yes", true),
            Some(ServingMode::NotServing(why)) => Cell::judged(why, false),
        };
        page.row([
            Cell::of(&view.name),
            Cell::of(&configured),
            Cell::of(&bound.join(", ")),
            serves,
        ]);
    }
    page.end_table();
}
