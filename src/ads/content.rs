//! What the files are to clients: the model, encoded, or Envoy's resources as they are written.

use super::tls::Allowed;
use crate::cli::Failure;
use crate::diagnostics::Source;
use crate::files::{self, Followed, Surroundings};
use mesh_core::ConfigUpdate;
use mesh_core::config::{Bounds, Diagnostic, Document, Severity};
use mesh_tower::source::{Beside, Rejected};
use mesh_xds::ResourceType;
use mesh_xds::encode::{ALL_ROUTES, Encoded, socket_listener};
use mesh_xds::files::Files;
use mesh_xds::server::Snapshot;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::watch;

/// What the files are to clients.
#[derive(Clone, Debug)]
pub(super) struct Content {
    /// The resources of Envoy's files; `None`: they are `mesh.yaml`.
    resources: Option<Arc<[Encoded]>>,
}

impl Content {
    /// What files without mistakes are.
    pub(super) fn of(sources: &[Source]) -> Result<Self, Failure> {
        let documents: Vec<_> = sources.iter().map(files::document).collect();
        let read = mesh_xds::files::read(&documents, &Surroundings, &Bounds::default());
        match opaque(&read) {
            None => Ok(Self::new(read)),
            Some(message) => Err(Failure::new("unchecked_content", message)),
        }
    }

    fn new(read: Files) -> Self {
        Self { resources: read.resources.map(Arc::from) }
    }

    /// Whether the files are Envoy's.
    pub(super) const fn is_envoys(&self) -> bool {
        self.resources.is_some()
    }

    /// What is served, after what was served before. Names that lead nowhere are told and served.
    pub(super) fn snapshot(
        &self,
        before: &Snapshot,
        update: &ConfigUpdate,
        listeners: &[(String, SocketAddr)],
    ) -> Snapshot {
        let snapshot = match &self.resources {
            Some(resources) => Snapshot::new(resources.iter().cloned()),
            None => of_model(before, update, listeners),
        };
        if !snapshot.leads_as(before) {
            for dangling in snapshot.check().err().unwrap_or_default() {
                tracing::warn!("{dangling}");
            }
        }
        snapshot
    }
}

/// What whom a rule is for may read of it.
pub(super) fn view(
    content: &Content,
    before: &Snapshot,
    (update, listeners): (&ConfigUpdate, &[(String, SocketAddr)]),
    allowed: &Allowed,
) -> Snapshot {
    match &content.resources {
        Some(resources) => {
            let all = Snapshot::new(resources.iter().cloned());
            let narrowed = all.narrowed(|name| allowed.may_read(name));
            if !narrowed.leads_as(before) {
                warn_of_headers(&narrowed, allowed);
            }
            narrowed
        }
        None => {
            let listeners = listeners.iter().filter(|(name, _)| allowed.may_read(name));
            let listeners = listeners.map(|(name, address)| {
                Encoded::listener(&socket_listener(name, *address, ALL_ROUTES))
            });
            before.next(&update.restricted(|name| allowed.may_read(name)), listeners)
        }
    }
}

/// Whom a rule lets read a route by a header, it lets read more than it says.
fn warn_of_headers(narrowed: &Snapshot, allowed: &Allowed) {
    for (kind, name) in narrowed.by_header() {
        let id = allowed.id();
        tracing::warn!(
            %id, %kind, %name,
            "a route takes its cluster from a header, so whoever `--allow` lets read it reads every cluster and every \
             secret that one of those names, private keys among them: name the clusters in the route, or serve the \
             others by another `mesh ads`"
        );
    }
}

/// What is in them could not be sent on.
fn opaque(read: &Files) -> Option<String> {
    let first = read.opaque.first()?;
    Some(format!(
        "{first} holds a configuration of a type that is not known here, which can't be served; \
         `mesh check` shows its place"
    ))
}

fn of_model(
    before: &Snapshot,
    update: &ConfigUpdate,
    listeners: &[(String, SocketAddr)],
) -> Snapshot {
    if !listeners.is_empty() {
        warn_of_names(update, listeners);
    }
    let listeners = listeners
        .iter()
        .map(|(name, address)| Encoded::listener(&socket_listener(name, *address, ALL_ROUTES)));
    before.next(update, listeners)
}

fn warn_of_names(update: &ConfigUpdate, listeners: &[(String, SocketAddr)]) {
    // Of the routes alone: clusters make no listeners, and may be many.
    let mut routes = ConfigUpdate::in_code();
    routes.route_configuration = Arc::clone(&update.route_configuration);
    let own = Snapshot::of(&routes, []);
    for (name, _) in listeners {
        if own.resources(ResourceType::Listener).any(|served| *served.name == **name) {
            tracing::warn!(
                name,
                "a listener for Envoy has the name of a domain: who asks for the domain by name gets it; \
                 choose another name"
            );
        }
    }
}

/// The parser of the files that are followed. What they are goes to `latest`; warnings are logged.
pub(super) fn parse(
    files: &[(PathBuf, String)],
    beside: &Beside,
    latest: &watch::Sender<Content>,
) -> Result<ConfigUpdate, Rejected> {
    let names: Vec<_> = files.iter().map(|(path, _)| path.display().to_string()).collect();
    let documents = names.iter().zip(files).map(|(name, (_, text))| Document { name, text });
    let documents: Vec<_> = documents.collect();
    let read = mesh_xds::files::read(&documents, &Followed(beside), &Bounds::default());
    let line = |found: &Diagnostic| {
        let name = names.get(found.document).map_or("", String::as_str);
        let help = found.suggestion.as_ref().map(|text| format!(" ({text})")).unwrap_or_default();
        let Diagnostic { line, column, message, code, .. } = found;
        format!("{name}:{line}:{column}: {message}{help} [{code}]")
    };
    let Some(update) = read.loaded.update.clone() else {
        let found = read.loaded.diagnostics.iter();
        let errors = found.filter(|found| found.severity == Severity::Error);
        return Err(Rejected::invalid(errors.map(line)));
    };
    if let Some(message) = opaque(&read) {
        return Err(Rejected::invalid([message]));
    }
    for warning in &read.loaded.diagnostics {
        tracing::warn!("{}", line(warning));
    }
    latest.send_replace(Content::new(read));
    Ok(update)
}
