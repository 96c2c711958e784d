//! A client of everything: all listeners and clusters that a control plane has, as Envoy asks for them.
//!
//! Names are asked for by the same rules as ever ([`super::Federation`]); here is what is said of the
//! wildcards: which response is all of it, and what is left of before.

use super::federation::ServerAt;
use super::slot::Slot;
use super::wildcards::{PATIENCE, Settled};
use super::{Client, ClientEvent};
use crate::bootstrap::Bootstrap;
use crate::cascade::Everything;
use crate::cascade::everything::WILD;
use crate::cascade::graph::Graph;
use crate::protocol::{Content, Response, Variant, WILDCARD};
use std::sync::Arc;

impl Client {
    /// A client that asks for all listeners and clusters that the servers of `bootstrap` have for it, as
    /// Envoy does (xDS protocol: the wildcard), and for the routes and endpoints that these name. It speaks
    /// `variant` first and connects at once. The first update comes when all of it has its answer.
    ///
    /// Authorities play no part: [`want`](Self::want) does nothing. Listeners and clusters with names of
    /// `xdstp:` are covered as far as the server sends them, unless their authority has servers of its own;
    /// what is named by such a name is asked for by it (gRFC A47).
    #[must_use]
    pub fn everything(bootstrap: &Bootstrap, variant: Variant) -> Self {
        let graph = |source| Graph::Everything(Box::new(Everything::new(source)));
        let mut client = Self::with(bootstrap, variant, graph);
        client.slots.iter_mut().for_each(Slot::read_all_listeners);
        client
    }

    /// A response came, and the protocol has it: what it says of a wildcard. Before its resources are taken
    /// in: that there is an answer may make the server count.
    pub(super) fn heard_of_all(
        &mut self,
        server: ServerAt,
        response: &Response,
    ) -> Option<Settled> {
        let kind = response.kind;
        if self.cascade.everything().is_none() || !WILD.contains(&kind) {
            return None;
        }
        let slot = &self.slots[server];
        let names = response.resources.iter().filter_map(|received| received.name.as_ref());
        for name in names.chain(response.errors.iter().map(|error| &error.name)) {
            let is_known = slot.protocol.resource(kind, name).is_some();
            if is_known && self.federation.is_wild(kind, name) {
                self.wildcards.handle_taken(server, kind, name);
            }
        }
        // An empty answer is a value of the wildcard.
        self.federation.handle_value(server, kind, &WILDCARD.into());
        self.wildcards.handle_response(server, kind, is_all(response, slot.protocol.variant()))
    }

    /// A server has said all that it has: what is held of others is gone. If it said nothing, what is held
    /// stays.
    pub(super) fn settled(&mut self, Settled { server, kind, silent }: Settled) {
        if self.federation.active(&None) != Some(server) {
            return;
        }
        if silent {
            let slot = &self.slots[server];
            // Else it has nothing new to say.
            if !slot.protocol.is_answered(kind) {
                tracing::warn!(
                    target: "mesh::xds", server = %slot.server.uri(), %kind,
                    "no answer within {PATIENCE:?} to the question for everything: counts as nothing"
                );
            }
            self.federation.handle_failed(server, kind, &WILDCARD.into(), true);
        } else {
            for name in self.wildcards.others(server, kind) {
                self.wildcards.handle_gone(kind, &name);
                if self.federation.is_wild(kind, &name) {
                    let error = Arc::from("the control plane does not have it");
                    self.cascade.handle_failed(kind, &name, error, false);
                }
            }
        }
        self.publish_soon();
    }

    /// Tells the graph what the server that counts has answered; `false`: nothing new.
    pub(super) fn tell_answered(&mut self) -> bool {
        let Some(everything) = self.cascade.everything() else { return false };
        let active = self.federation.active(&None);
        let mut changed = false;
        for kind in WILD {
            let answered = active.is_some_and(|server| self.wildcards.is_answered(server, kind));
            changed |= everything.set_answered(kind, answered);
        }
        if changed {
            self.publish_soon();
        }
        changed
    }

    /// What there is to say of a configuration that was told, as far as it was not said before.
    pub(super) fn note(&mut self) {
        let Some(everything) = self.cascade.everything() else { return };
        let notes = everything.notes();
        let new: Vec<_> = notes.difference(&self.notes).cloned().collect();
        self.notes = notes;
        if !new.is_empty() {
            self.events.push_back(ClientEvent::Noted(new));
        }
    }
}

/// Whether a response holds everything (xDS protocol: "Deleting Resources"): one of the state of the world,
/// unless a resource of it can't be named, or it only keeps others alive.
fn is_all(response: &Response, variant: Variant) -> bool {
    let resources = &response.resources;
    variant == Variant::StateOfTheWorld
        && resources.iter().all(|one| one.name.is_some())
        && (resources.is_empty() || resources.iter().any(|one| one.content != Content::Heartbeat))
}
