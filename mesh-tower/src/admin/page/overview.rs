//! `/`: an overview that a person can read, or a program.
//!
//! As HTML it shows at most [`MAX_CLUSTERS`] clusters and [`MAX_ENDPOINTS`] endpoints of each, what is in trouble
//! first: a page of 100,000 rows is nothing to read. `/clusters` has all of them.

mod cells;
mod sections;

use super::{clusters, listeners, ready};
use crate::admin::answer::Answer;
use crate::admin::asked::{Asked, Format};
use crate::admin::html::Page;
use crate::admin::pages::{self, Answered};
use crate::admin::service::Admin;
use crate::admin::view::{
    self, ClusterView, ConfigurationView, IdentityView, ListenerView, OverloadView, SplitView,
};
use serde_json::{Value, json};

/// The most clusters of the page.
const MAX_CLUSTERS: usize = 100;
/// The most endpoints of one of them.
const MAX_ENDPOINTS: usize = 50;

/// All that the overview shows.
struct Overview {
    ready: Result<(), String>,
    configuration: ConfigurationView,
    overload: Vec<OverloadView>,
    clusters: Vec<ClusterView>,
    splits: Vec<SplitView>,
    identities: Vec<IdentityView>,
    listeners: Vec<ListenerView>,
}

pub(in crate::admin) fn answer(admin: &Admin, asked: &Asked) -> Answered {
    let format = asked.format(Format::Html, &[Format::Html, Format::Json])?;
    let snapshot = admin.mesh.snapshot();
    let overview = Overview {
        ready: ready::state(admin),
        configuration: ConfigurationView::of(&admin.mesh, &snapshot),
        overload: view::overload(&admin.mesh),
        clusters: view::clusters(&snapshot),
        splits: view::splits(&snapshot),
        identities: view::identities(&admin.mesh),
        listeners: view::listeners(&admin.mesh, &snapshot),
    };
    Ok(match format {
        Format::Json => Answer::json(&overview.described()),
        _ => Answer::html(overview.page()),
    })
}

impl Overview {
    fn page(&self) -> String {
        let mut page = Page::new("mesh");
        sections::state(&mut page, &self.ready, &self.configuration, &self.overload);
        sections::clusters(&mut page, &self.clusters);
        sections::splits(&mut page, &self.splits);
        sections::limits(&mut page, &self.clusters);
        sections::certificates(&mut page, &self.identities);
        sections::listeners(&mut page, &self.listeners);
        page.heading("Pages");
        page.links(pages::readable());
        page.finish()
    }

    fn described(&self) -> Value {
        json!({
            "ready": self.ready.is_ok(),
            "why": self.ready.as_ref().err(),
            "configuration": configuration(&self.configuration),
            "overload": self.overload.iter().map(overload).collect::<Value>(),
            "clusters": self.clusters.iter().map(clusters::detailed).collect::<Value>(),
            "splits": self.splits.iter().map(split).collect::<Value>(),
            "identities": self.identities.iter().map(identity).collect::<Value>(),
            "listeners": self.listeners.iter().map(listeners::detailed).collect::<Value>(),
        })
    }
}

/// How much of a limit is used.
fn overload(view: &OverloadView) -> Value {
    json!({
        "resource": view.resource.as_str(),
        "used_percent": view.used,
        "refuses": view.refuses,
    })
}

/// Which configuration is in force.
pub(super) fn configuration(view: &ConfigurationView) -> Value {
    json!({
        "generation": view.generation,
        "source": &*view.source,
        "version": &*view.version,
        "applied_at": view.applied_at.map(|at| at.to_string()),
        "age_seconds": view.age.map(|age| age.as_secs()),
        "refused": view.refused.as_deref(),
        "stale_since": view.stale_since.map(|at| at.to_string()),
        "mode": if view.observes { "observe" } else { "enforce" },
    })
}

fn split(view: &SplitView) -> Value {
    let parts = view.parts.iter().map(|part| {
        json!({
            "cluster": &*part.cluster,
            "known": part.known,
            "configured": part.configured,
            "achieved": part.achieved,
            "calls": part.calls,
        })
    });
    let (host, route) = (&*view.virtual_host, &*view.route);
    json!({ "virtual_host": host, "route": route, "parts": parts.collect::<Value>() })
}

fn identity(view: &IdentityView) -> Value {
    let certificate = view.certificate.as_ref().map(|certificate| {
        json!({
            "subject": &*certificate.subject,
            "serial": &*certificate.serial,
            "uris": certificate.uris.iter().map(|name| &**name).collect::<Value>(),
            "not_after": certificate.not_after.to_string(),
        })
    });
    json!({
        "name": &*view.name,
        "certificate": certificate,
        "last_good": view.last_good.map(|at| at.to_string()),
        "failures": view.failures,
        "error": view.error.as_deref(),
    })
}
