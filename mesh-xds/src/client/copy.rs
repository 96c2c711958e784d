//! What is in use, to be kept on disk, and back from there.
//!
//! - Values from a copy are *stale*: they serve until the control plane sends others, or says that there
//!   are none by the rules for what is held (gRFC A88).
//! - The protocol does not know of them. So their names are asked for as if nothing were held: no version
//!   is named, in neither variant. A version from the copy may mean other content by now (a server that
//!   began anew and counts from 1 again), and a server that trusts it would send nothing; to be sent once
//!   what is known already costs less than to be wrong for ever.
//! - A copy with anything stale in it is as old as the stale part.
//! - What is in use is what the mesh works with ([`Client::acknowledged`]), not what came since: what the mesh
//!   refuses must not be what the next process begins with.
//! - What a server serves by although there is a newer listener, or newer routes, by which nobody can serve (gRFC A88), is
//!   in the copy beside those ([`kept`](super::kept)).
//! - Private keys are not in it. A cluster whose identity came by SDS is there, and its calls end with a reason
//!   that names the secret, until the control plane sends that; everything else goes on.

use super::{Client, ClientEvent, Instant};
use crate::cascade::Change;
use crate::decode::{self, Decoded};
use crate::last_good::{KeptListener, LastGood, Origin, RawResource, Root, WriteError};
use crate::store::{Received, Stored};
use crate::{Resource, ResourceType};
use mesh_core::WallTime;
use std::collections::BTreeSet;
use std::sync::Arc;
use xxhash_rust::xxh64::xxh64;

/// What is in use: cheap to take, the bytes are shared.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct InUse {
    /// When the copy was written that some of it still comes from.
    pub stale: Option<WallTime>,
    /// The authorities that are asked for.
    pub roots: Vec<Root>,
    /// The values, as they were received.
    pub resources: Vec<RawResource>,
    /// What servers serve by although a newer value is there, by which they can't.
    pub kept: Vec<KeptListener>,
}

impl InUse {
    /// A copy for `origin`, as of `now`, and what was left out because it does not belong on disk. It
    /// looks at every byte: not for a thread that serves calls.
    #[must_use]
    pub fn into_last_good(self, origin: Origin, now: WallTime) -> (LastGood, Vec<WriteError>) {
        let mut copy = LastGood::new(origin, self.stale.unwrap_or(now)).with_roots(self.roots);
        let pushed = self.resources.into_iter().map(|resource| copy.push(resource));
        let mut left_out: Vec<_> = pushed.filter_map(Result::err).collect();
        let kept = self.kept.into_iter().map(|kept| copy.push_kept(kept));
        left_out.extend(kept.filter_map(Result::err));
        (copy, left_out)
    }
}

impl Client {
    /// Remembers what is in force, for [`in_use`](Self::in_use): before anything is wanted. It costs what
    /// changes, and holds the values that are in force beside newer ones that are not.
    #[must_use]
    pub fn remembering(mut self) -> Self {
        self.cascade.store_mut().remember();
        self
    }

    /// The mesh works with the configuration of this version, which was told before. Whether anything but
    /// endpoints is new in it; `None`: that is known, or the client does not
    /// [remember](Self::remembering) what it told.
    pub fn acknowledged(&mut self, version: &str) -> Option<bool> {
        self.forms.acknowledged(version);
        self.cascade.store_mut().acknowledged(version)
    }

    /// What is in use: in a client that [remembers](Self::remembering), all that the configuration was made
    /// of which was [acknowledged](Self::acknowledged) last; else what is held now.
    #[must_use]
    pub fn in_use(&self) -> InUse {
        let store = self.cascade.store();
        // What is watched now is what is used, unless something else is in force. What is not used does not
        // hurt: it is not met by any walk, and left out when it is read.
        let all = !(store.is_in_force() && self.publish_at.is_none());
        let mut is_stale = false;
        let mut resources = Vec::new();
        for Stored { kind, name, value, stale, .. } in store.in_force() {
            let Some((_, Received { version, body, .. })) = value else { continue };
            if all || self.federation.is_watched(kind, name) {
                is_stale |= stale;
                let (name, version) = (Arc::clone(name), Arc::clone(version));
                resources.push(RawResource::new(kind, name, version, body.clone()));
            }
        }
        resources
            .sort_unstable_by(|one, other| (one.kind, &one.name).cmp(&(other.kind, &other.name)));
        let kept = match store.is_remembering() {
            true => self.forms.in_force().clone(),
            false => self.cascade.kept_forms(),
        };
        let roots = self.wanted.iter();
        InUse {
            kept: kept.into_values().collect(),
            stale: self.restored.filter(|_| is_stale),
            roots: roots.map(|(authority, port)| Root::new(Arc::clone(authority), *port)).collect(),
            resources,
        }
    }

    /// Puts back what was in use in another process, and asks for its authorities. It is told with the
    /// next [`next`](Self::next), before anything is heard from a control plane.
    ///
    /// A resource that can't be read any more (the bootstrap lacks a certificate provider by now) is left
    /// out, with a line of the log; what needs it waits for the control plane.
    ///
    /// A copy of what was asked for by name is none for a client of everything: it lacks the rest.
    pub fn restore(&mut self, copy: &LastGood) {
        let is_everything = self.cascade.everything().is_some();
        if is_everything && !copy.roots().is_empty() {
            tracing::warn!(target: "mesh::xds", "the copy is of a client that asked by name: not used");
            return;
        }
        let mut secrets = BTreeSet::new();
        for resource in copy.resources() {
            let RawResource { kind, name, version, body } = resource;
            let server = self.federation.server_of(*kind, name).unwrap_or_default();
            let Some(slot) = self.slots.get(server) else { continue };
            let Decoded { resource: decoded, .. } = decode::decode(*kind, body, slot.context());
            match decoded {
                Ok(value) => {
                    self.status.copied(resource, copy.written());
                    if let Resource::Cluster(cluster) = &value {
                        secrets.extend(cluster.model.secrets().cloned());
                    }
                    let hash = xxh64(body, 0);
                    let received = Received::new(Arc::clone(version), hash, body.clone());
                    self.cascade.handle_restored(*kind, name, value, received);
                    self.wildcards.handle_restored(*kind, name);
                    self.leaving.insert((*kind, Arc::clone(name)));
                }
                Err(errors) => {
                    let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
                    let error = errors.join("; ");
                    tracing::warn!(target: "mesh::xds", %kind, %name, "left out of the copy: {error}");
                }
            }
        }
        copy.kept().iter().for_each(|kept| self.restore_kept(kept));
        for name in secrets {
            let why = "the copy on disk holds no private keys; the control plane has to send it";
            self.cascade.handle_withheld(ResourceType::Secret, &name, why.into());
            self.leaving.insert((ResourceType::Secret, name));
        }
        for Root { authority, default_port } in copy.roots() {
            self.want(authority, *default_port);
        }
        if let Some(everything) = self.cascade.everything() {
            everything.handle_copy();
        }
        (self.stale, self.restored) = (Some(copy.written()), Some(copy.written()));
        self.publish_at = Some(Instant::now());
    }

    /// When the copy was written that something in use still comes from; `None`: nothing does.
    #[must_use]
    pub const fn stale(&self) -> Option<WallTime> {
        self.stale
    }

    /// What became of the configuration, and who says so.
    pub(super) fn poll_change(&mut self) -> Option<ClientEvent> {
        let event = self.poll_told()?;
        let (version, is_whole) = match &event {
            ClientEvent::Update(update) => (&update.origin.version, true),
            ClientEvent::Endpoints(update) => (&update.origin.version, false),
            _ => return Some(event),
        };
        let store = self.cascade.store_mut();
        store.told(version, is_whole);
        if store.is_remembering() {
            self.forms.told(version, is_whole.then(|| self.cascade.kept_forms()));
        }
        Some(event)
    }

    fn poll_told(&mut self) -> Option<ClientEvent> {
        let change = self.cascade.poll_change();
        if !self.cascade.has_begun() {
            return None;
        }
        let told = (self.source(), !self.cascade.is_complete());
        let is_same = self.told.replace(told.clone()).as_ref() == Some(&told);
        let (source, is_partial) = told;
        let mut update = match change {
            Some(Change::Endpoints(mut update)) if is_same => {
                update.origin.source = source;
                return Some(ClientEvent::Endpoints(update));
            }
            Some(Change::Whole(update)) => update,
            Some(Change::Endpoints(_)) => self.cascade.configuration(),
            // The content is the same, and what is said of it is not.
            None if !is_same => self.cascade.configuration(),
            None => return None,
        };
        update.is_partial = is_partial;
        update.origin.source = source;
        Some(ClientEvent::Update(update))
    }

    /// Who says so: the server that counts for names of the old style, or a copy of what it said.
    fn source(&mut self) -> Arc<str> {
        let is_used = |held: &Stored<'_>| self.federation.is_watched(held.kind, held.name);
        let is_stale = || self.cascade.store().iter().any(|held| held.stale && is_used(&held));
        if self.stale.is_some() && !is_stale() {
            self.stale = None;
        }
        let server = self.federation.active(&None).unwrap_or_default();
        let uri = self.slots.get(server).map(|slot| Arc::clone(slot.server.uri()));
        let uri = uri.unwrap_or_default();
        match self.stale {
            Some(_) => format!("a copy of {uri}").into(),
            None => uri,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bootstrap::{Bootstrap, ChannelCreds, Server};
    use crate::encode;
    use crate::protocol::Variant;
    use mesh_core::ConfigUpdate;
    use mesh_core::model::{Cluster, ForwardAction, Route, VirtualHost};
    use mesh_core::update::Answer;
    use std::net::SocketAddr;

    fn bootstrap() -> Bootstrap {
        // Nobody listens there.
        Bootstrap::new(Server::new("127.0.0.1:9", ChannelCreds::Insecure).unwrap())
    }

    /// Everything of one authority, and what nothing leads to.
    fn copy() -> LastGood {
        let host = VirtualHost::of("shop").unwrap().route(Route::forward(ForwardAction::to("a")));
        let update = ConfigUpdate::in_code()
            .virtual_host(host)
            .cluster(Cluster::new("a"), [SocketAddr::from(([10, 0, 0, 1], 80))])
            .cluster(Cluster::new("unused"), [SocketAddr::from(([10, 0, 0, 2], 80))]);
        let written = WallTime::from_unix_seconds(1_795_000_000);
        let mut copy = LastGood::new(Origin::of(&bootstrap()), written)
            .with_roots(vec![Root::new("shop", 80)]);
        for resource in encode::resources(&update) {
            let encode::Encoded { kind, name, body, .. } = resource;
            copy.push(RawResource::new(kind, name, "7", body)).unwrap();
        }
        copy.push(RawResource::new(ResourceType::Cluster, "broken", "7", vec![255].into()))
            .unwrap();
        copy
    }

    async fn update(client: &mut Client) -> ConfigUpdate {
        loop {
            if let ClientEvent::Update(update) = client.next().await {
                return update;
            }
        }
    }

    #[tokio::test]
    async fn what_was_in_use_is_in_use_again_before_anything_is_heard() {
        for variant in [Variant::StateOfTheWorld, Variant::Delta] {
            let mut client = Client::new(&bootstrap(), variant);
            client.restore(&copy());
            let update = update(&mut client).await;
            assert_eq!(update.on_demand.as_ref().unwrap()["shop"], Answer::Served);
            assert!(!update.is_partial && client.is_complete());
            assert_eq!(update.clusters["a"].endpoints.as_ref().unwrap().len(), 1);
            assert_eq!(&*update.origin.source, "a copy of 127.0.0.1:9");
            assert_eq!(client.stale(), Some(copy().written()));
            let shown = client.status.resources();
            assert!(shown.iter().any(|dump| dump.stale == client.stale()), "{shown:?}");
            assert!(shown.iter().all(|dump| dump.stale.is_some() == dump.version.is_some()));
            // It is asked for as if nothing were held: no version of the copy is named.
            let mut asked = client.slots[0].protocol.resources();
            assert!(asked.all(|resource| resource.version.is_none()));
            assert!(client.slots[0].protocol.resources().count() >= 4);
        }
    }

    #[tokio::test]
    async fn only_what_is_in_use_is_kept_and_as_it_was_received() {
        let mut client = Client::new(&bootstrap(), Variant::StateOfTheWorld);
        client.restore(&copy());
        update(&mut client).await;
        let in_use = client.in_use();
        assert_eq!(in_use.roots, copy().roots());
        let names: Vec<_> =
            in_use.resources.iter().map(|held| format!("{} {}", held.kind, held.name)).collect();
        assert_eq!(names, ["LDS shop", "LDS shop:80", "RDS mesh/shop", "CDS a", "EDS a"]);
        for resource in &in_use.resources {
            assert!(copy().resources().contains(resource), "{resource:?}");
        }
        // As old as the copy that it comes from.
        let now = WallTime::from_unix_seconds(1_800_000_000);
        let (again, left_out) = in_use.into_last_good(Origin::of(&bootstrap()), now);
        assert_eq!((again.written(), left_out.len()), (copy().written(), 0));
    }

    #[test]
    fn private_keys_are_left_out() {
        let resource = |name: &str, body: &'static str| {
            RawResource::new(ResourceType::Cluster, name, "1", body.as_bytes().into())
        };
        let in_use = InUse {
            resources: vec![
                resource("a", "…"),
                resource("b", "-----BEGIN EC PRIVATE KEY-----"),
                RawResource::new(ResourceType::Secret, "c", "1", "…".as_bytes().into()),
            ],
            ..InUse::default()
        };
        let now = WallTime::from_unix_seconds(1);
        let (copy, left_out) = in_use.into_last_good(Origin::of(&bootstrap()), now);
        assert_eq!((copy.resources().len(), copy.written(), left_out.len()), (1, now, 2));
    }

    #[tokio::test]
    async fn only_what_is_acknowledged_is_in_use() {
        let mut client = Client::new(&bootstrap(), Variant::StateOfTheWorld).remembering();
        client.restore(&copy());
        let first = update(&mut client).await;
        assert_eq!(client.in_use().resources, [], "told, and perhaps refused");
        assert_eq!(client.acknowledged(&first.origin.version), Some(true));
        let in_use = client.in_use();
        assert_eq!((in_use.resources.len(), in_use.stale), (5, Some(copy().written())));
        // A deletion that the mesh does not take over, and what follows from it.
        for kind in [ResourceType::Listener, ResourceType::Endpoints] {
            let name = if kind == ResourceType::Listener { "shop" } else { "a" };
            client.cascade.handle_failed(kind, &name.into(), "gone".into(), false);
        }
        client.publish_soon();
        assert_eq!(client.in_use().resources, in_use.resources, "not told yet");
        let second = update(&mut client).await;
        assert_eq!(client.in_use().resources, in_use.resources, "not in force");
        assert_eq!(client.acknowledged(&first.origin.version), None);
        assert_eq!(client.in_use().resources, in_use.resources, "the one before still is");
        assert_eq!(client.acknowledged(&second.origin.version), Some(true));
        assert!(client.in_use().resources.len() < in_use.resources.len());
    }

    #[tokio::test]
    async fn what_is_not_wanted_any_more_is_forgotten() {
        let mut client = Client::new(&bootstrap(), Variant::StateOfTheWorld);
        client.restore(&copy());
        update(&mut client).await;
        client.unwant(&"shop".into());
        let update = update(&mut client).await;
        assert_eq!(update.on_demand.as_deref(), Some(&std::collections::BTreeMap::new()));
        assert_eq!(
            (client.in_use().resources.len(), client.cascade.store().iter().count()),
            (0, 0)
        );
        assert_eq!(client.stale(), None);
        assert_eq!(client.slots[0].protocol.resources().count(), 0);
    }
}
