//! [`ListenerView`]: a port that serves.

use crate::mesh::Mesh;
use crate::net::Net;
use crate::server::ServingMode;
use mesh_core::model::{Address, FilterChain};
use mesh_core::state::Snapshot;
use std::sync::Arc;

/// A listener at one moment.
#[derive(Clone, Debug)]
pub(in crate::admin) struct ListenerView {
    pub(in crate::admin) name: Arc<str>,
    /// Where the configuration has it; `None`: it does not say.
    pub(in crate::admin) address: Option<Address>,
    /// Where servers of this program listen for it.
    pub(in crate::admin) bound: Vec<Address>,
    /// Of the server that is there; `None`: there is none.
    pub(in crate::admin) mode: Option<ServingMode>,
    /// Name and security of each filter chain.
    pub(in crate::admin) chains: Vec<(Arc<str>, &'static str)>,
}

/// All listeners: those of the configuration, and those that servers ask for and it has not.
pub(in crate::admin) fn listeners(mesh: &Mesh, snapshot: &Snapshot<Net>) -> Vec<ListenerView> {
    let mut views: Vec<_> = snapshot
        .listeners()
        .iter()
        .map(|(name, compiled)| {
            let model = compiled.model();
            let chains = model.chains().map(|chain| (Arc::clone(&chain.name), security(chain)));
            ListenerView {
                name: Arc::clone(name),
                address: model.address.clone(),
                bound: Vec::new(),
                mode: None,
                chains: chains.collect(),
            }
        })
        .collect();
    for server in mesh.servers() {
        let place = views.iter().position(|view| view.name == *server.name());
        let place = place.unwrap_or_else(|| {
            let name = Arc::clone(server.name());
            let (bound, chains) = (Vec::new(), Vec::new());
            views.push(ListenerView { name, address: None, bound, mode: None, chains });
            views.len() - 1
        });
        let view = &mut views[place];
        view.bound.extend(server.bound());
        // Of several servers of one listener, one that serves is what is told.
        if view.mode.as_ref().is_none_or(|mode| *mode != ServingMode::Serving) {
            view.mode = Some(server.mode());
        }
    }
    views
}

fn security(chain: &FilterChain) -> &'static str {
    match &chain.tls {
        None => "plaintext",
        Some(tls) if tls.wants_certificate(None) => "mutual_tls",
        Some(_) => "tls",
    }
}
