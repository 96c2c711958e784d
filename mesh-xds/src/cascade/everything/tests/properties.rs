//! What comes a little at a time is, once all of it is answered, what is made of all of it at once.

use super::super::super::whole::whole;
use super::*;
use crate::store::Stored;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// An event of the scripts.
fn event() -> impl Strategy<Value = String> {
    let of = |names: &'static [&'static str]| prop::sample::select(names);
    let wild = of(&["LDS web", "LDS more", "CDS c", "CDS d", "CDS g"]);
    let named = of(&["RDS r", "RDS q", "EDS c", "EDS d", "EDS s"]);
    prop_oneof![
        4 => (of(&["web", "more@81"]), of(&["rds=r", "rds=q", "inline=*:c,d", "inline=a:g", "tcp"]))
            .prop_map(|(name, what)| format!("LDS {name} {what}")),
        3 => (of(&["r", "q"]), of(&["a:c", "a:c,d b:d", "*:g,d", "a:g b:c", "b:c"]))
            .prop_map(|(name, hosts)| format!("RDS {name} {hosts}")),
        4 => (of(&["c", "d", "g"]), of(&["eds", "eds=s", "static=7", "dns", "of=c,d", "of=d,g"]))
            .prop_map(|(name, what)| format!("CDS {name} {what}")),
        6 => (of(&["c", "d", "s"]), of(&["1", "1 2", "3", ""]))
            .prop_map(|(name, who)| format!("EDS {name} {who}").trim_end().to_owned()),
        1 => (wild, of(&["", " gone"])).prop_map(|(what, how)| format!("fail {what}{how}")),
        1 => (named, of(&["", " gone"])).prop_map(|(what, how)| format!("fail {what}{how}")),
        1 => of(&["all LDS", "all CDS", "unsure LDS", "unsure CDS"]).prop_map(str::to_owned),
        3 => Just("publish".to_owned()),
        1 => Just("forget".to_owned()),
        1 => Just("wait".to_owned()),
    ]
}

/// What `whole` makes of the known resources; what is named and not there has no endpoints, because the
/// control plane has said so.
fn expected(store: &Store) -> ConfigUpdate {
    let good = store.iter().filter_map(|Stored { value, .. }| Some(value?.0.clone()));
    let mut resources: Vec<_> = good.collect();
    // Without a listener, `whole` takes the routes that there are.
    let serves = |one: &Resource| matches!(one, Resource::Listener(one) if one.http.is_some());
    if !resources.iter().any(serves) {
        resources.retain(|one| !matches!(one, Resource::RouteConfiguration(_)));
    }
    let mut update = whole(&resources).update;
    for (name, cluster) in &mut update.clusters {
        let Known::Value(Resource::Cluster(known)) = store.look(ResourceType::Cluster, name) else {
            unreachable!()
        };
        if matches!(known.endpoints, crate::EndpointSource::Eds(_)) {
            cluster.endpoints.get_or_insert_default();
        }
    }
    update
}

/// A peer, and what stands for the protocol: what is watched, and what is not any more.
struct Watching {
    peer: Peer,
    watched: BTreeSet<Key>,
    unwatched: BTreeSet<Key>,
    versions: BTreeMap<Arc<str>, ConfigUpdate>,
}

impl Watching {
    fn step(&mut self, event: &str) {
        match event {
            "publish" => self.publish(),
            "wait" => self.peer.now = self.peer.now + Duration::from_secs(2),
            "forget" => {
                for (kind, name) in std::mem::take(&mut self.unwatched) {
                    self.peer.graph.handle_forgotten(kind, &name);
                }
            }
            // The protocol tells only what is watched.
            _ if self.is_of_interest(event) => self.peer.step(event),
            _ => {}
        }
        let now = self.peer.now;
        let watches = self.peer.graph.poll_watches(now);
        assert!(self.peer.graph.poll_timeout().is_none_or(|due| due > now), "due for ever");
        for key in watches.added {
            assert!(self.watched.insert(key.clone()), "{key:?} twice");
            self.unwatched.remove(&key);
        }
        for key in watches.removed {
            assert!(self.watched.remove(&key), "{key:?} was not watched");
            self.unwatched.insert(key);
        }
    }

    fn is_of_interest(&self, event: &str) -> bool {
        let mut words = event.trim_start_matches("fail ").split_whitespace();
        let (of, name) = (words.next().unwrap(), words.next().unwrap());
        !matches!(of, "RDS" | "EDS") || self.watched.contains(&(kind(of), name.into()))
    }

    fn publish(&mut self) {
        self.peer.publish();
        let Some(applied) = &self.peer.applied else { return };
        assert_eq!(*applied, self.peer.graph.configuration(), "all was told");
        assert_eq!(self.peer.graph.poll_change(), None, "once");
        let mut content = applied.clone();
        let version = std::mem::take(&mut content.origin).version;
        let known = self.versions.entry(version).or_insert_with(|| content.clone());
        assert_eq!(*known, content, "two configurations with one version");
    }

    /// The control plane has answered everything that is asked of it.
    fn answer_all(&mut self) {
        self.step("all LDS");
        self.step("all CDS");
        loop {
            let store = self.peer.graph.store();
            let open = |key: &&Key| *key.1 != *"*" && store.look(key.0, &key.1) == Known::Pending;
            let Some((kind, name)) = self.watched.iter().find(open).cloned() else { break };
            self.step(&format!("fail {kind} {name}"));
        }
        self.peer.now = self.peer.now + APART;
        self.step("forget");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn it_comes_to_what_all_of_it_is(events in prop::collection::vec(event(), 1..60)) {
        let peer = Peer::new();
        let roots = WILD.into_iter().map(root).collect();
        let (unwatched, versions) = (BTreeSet::new(), BTreeMap::new());
        let mut watching = Watching { peer, watched: roots, unwatched, versions };
        for event in &events {
            watching.step(event);
        }
        watching.answer_all();
        watching.publish();
        let mut applied = watching.peer.applied.clone().unwrap();
        applied.origin = Origin::default();
        prop_assert_eq!(&applied, &expected(watching.peer.graph.store()));
        // What is watched is what is named.
        let store = watching.peer.graph.store();
        let mut named: BTreeSet<Key> = WILD.into_iter().map(root).collect();
        for Stored { value, .. } in store.iter() {
            match value {
                Some((Resource::Listener(listener), _)) => {
                    if let Some(crate::RouteSource::Rds(name)) = listener.http.as_ref().map(|http| &http.routes) {
                        named.insert((ResourceType::RouteConfiguration, Arc::clone(name)));
                    }
                }
                Some((Resource::Cluster(cluster), _)) => {
                    if let crate::EndpointSource::Eds(name) = &cluster.endpoints {
                        named.insert((ResourceType::Endpoints, Arc::clone(name)));
                    }
                }
                _ => {}
            }
        }
        prop_assert_eq!(&watching.watched, &named);
    }
}

/// 10,000 clusters, each with endpoints, and one host for each.
fn large() -> Peer {
    let mut peer = Peer::new();
    for number in 0..10_000 {
        peer.step(&format!("CDS c{number} eds"));
        peer.step(&format!("EDS c{number} 1 2"));
    }
    let hosts: Vec<_> = (0..10_000).map(|number| format!("h{number}:c{number}")).collect();
    peer.step("LDS web rds=r");
    peer.step(&format!("RDS r {}", hosts.join(" ")));
    peer.step("all LDS");
    peer.step("all CDS");
    peer.graph.poll_watches(peer.now);
    peer.publish();
    assert_eq!(peer.applied.as_ref().unwrap().clusters.len(), 10_000);
    peer
}

#[test]
fn other_endpoints_among_10_000_clusters_are_told_alone() {
    let mut peer = large();
    peer.step("EDS c7 1 3");
    assert_eq!(peer.graph.poll_watches(peer.now), Watches::default());
    let Some(Change::Endpoints(update)) = peer.graph.poll_change() else {
        panic!("endpoints only")
    };
    assert_eq!(update.clusters.keys().map(|name| &**name).collect::<Vec<_>>(), ["c7"]);
    assert_eq!(peer.graph.poll_change(), None);
    // A cluster that changes leaves the routes as they are.
    let before = peer.graph.configuration();
    peer.step("fail CDS c7 gone");
    peer.graph.poll_watches(peer.now);
    assert_eq!(peer.graph.poll_change(), None, "its routes name it");
    peer.now = peer.now + APART;
    peer.graph.poll_watches(peer.now);
    let Some(Change::Whole(after)) = peer.graph.poll_change() else {
        panic!("more than endpoints")
    };
    assert!(Arc::ptr_eq(&before.route_configuration, &after.route_configuration));
    // Other routes leave the clusters as they are.
    peer.step("RDS r a:c1");
    peer.graph.poll_watches(peer.now);
    let Some(Change::Whole(routed)) = peer.graph.poll_change() else {
        panic!("more than endpoints")
    };
    assert!(
        after
            .clusters
            .iter()
            .all(|(name, before)| { Arc::ptr_eq(&before.cluster, &routed.clusters[name].cluster) })
    );
}
