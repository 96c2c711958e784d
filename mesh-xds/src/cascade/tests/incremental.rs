//! What changes a little at a time is what would be found by looking at everything.

use super::super::naive::{self, Naive};
use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// An event of the scripts, `forget`, or `publish`.
fn event() -> impl Strategy<Value = String> {
    let of = |names: &'static [&'static str]| prop::sample::select(names);
    let kinds = of(&[
        "LDS a", "LDS b", "LDS a:80", "RDS r", "RDS q", "CDS c", "CDS d", "CDS g", "SDS i", "SDS j",
    ]);
    let endpoints = || of(&["EDS c", "EDS d", "EDS s"]);
    let hosts = of(&["a:c", "a:c,d b:d", "*:g,d", "a:g b:c", "b:c"]);
    prop_oneof![
        2 => of(&["ask a a a:80", "ask b", "ask a:80", "drop a", "drop b", "drop a:80"])
            .prop_map(str::to_owned),
        4 => (of(&["a", "b", "a:80"]), of(&["rds=r", "rds=q", "inline=*:c,d", "inline=a:g", "tcp"]))
            .prop_map(|(name, what)| format!("LDS {name} {what}")),
        2 => (of(&["r", "q"]), hosts).prop_map(|(name, hosts)| format!("RDS {name} {hosts}")),
        4 => (
            of(&["c", "d", "g"]),
            of(&["eds", "eds=s", "static=7", "dns", "of=c,d", "of=d,g"]),
            of(&["", "", "id=i", "id=j", "id=i roots=j"]),
        )
            .prop_map(|(name, what, tls)| format!("CDS {name} {what} {tls}").trim_end().to_owned()),
        3 => (of(&["i", "j"]), of(&["1", "2"]))
            .prop_map(|(name, text)| format!("SDS {name} {text}")),
        6 => (endpoints(), of(&["1", "1 2", "3", ""]))
            .prop_map(|(name, who)| format!("{name} {who}").trim_end().to_owned()),
        2 => (prop_oneof![kinds, endpoints()], of(&["", " gone"]))
            .prop_map(|(what, how)| format!("fail {what}{how}")),
        1 => Just("forget".to_owned()),
        3 => Just("publish".to_owned()),
    ]
}

/// A cascade beside one that looks at everything, and whoever applies what the first says.
struct Pair {
    cascade: Cascade,
    naive: Naive,
    applied: Option<ConfigUpdate>,
    /// What each version was.
    versions: BTreeMap<Arc<str>, ConfigUpdate>,
    unwatched: Vec<Key>,
}

impl Pair {
    fn new() -> Self {
        Self {
            cascade: Cascade::new("test"),
            naive: Naive::default(),
            applied: None,
            versions: BTreeMap::new(),
            unwatched: Vec::new(),
        }
    }

    fn step(&mut self, event: &str) {
        let words: Vec<_> = event.split_whitespace().collect();
        match words[0] {
            "publish" => return self.publish(),
            "forget" => {
                for (kind, name) in std::mem::take(&mut self.unwatched) {
                    self.cascade.handle_forgotten(kind, &name);
                }
            }
            "ask" => {
                let names = words[words.len().min(2)..].iter().map(|name| Arc::from(*name));
                let names: Vec<_> = names.collect();
                let names = if names.is_empty() { vec![words[1].into()] } else { names };
                self.naive.authorities.entry(words[1].into()).or_insert((names, None));
                step(&mut self.cascade, event);
            }
            "drop" => {
                self.naive.authorities.remove(words[1]);
                step(&mut self.cascade, event);
            }
            _ => step(&mut self.cascade, event),
        }
        let watches = self.cascade.poll_watches();
        let store = self.cascade.store();
        assert_eq!(watches, self.naive.poll_watches(store), "watches after {event}");
        self.unwatched.extend(watches.removed);
        let watched = &self.naive.watched;
        self.unwatched.retain(|key| !watched.contains(key));
        let expected = self.naive.configuration(store);
        let mut found = self.cascade.configuration();
        let origin = std::mem::take(&mut found.origin);
        assert_eq!(found, expected, "after {event}");
        for leaf in found.clusters.values().flat_map(naive::leaves) {
            assert!(found.clusters.contains_key(leaf), "{leaf} after {event}");
        }
        let known = self.versions.entry(origin.version).or_insert_with(|| expected.clone());
        assert_eq!(*known, expected, "two configurations with one version");
    }

    fn publish(&mut self) {
        match self.cascade.poll_change() {
            Some(Change::Whole(update)) => self.applied = Some(update),
            Some(Change::Endpoints(update)) => {
                self.applied.as_mut().expect("first a whole one").merge(update);
            }
            None => {}
        }
        assert_eq!(self.applied, Some(self.cascade.configuration()));
        assert_eq!(self.cascade.poll_change(), None, "all was told");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn it_says_what_looking_at_everything_says(events in prop::collection::vec(event(), 1..60)) {
        let mut pair = Pair::new();
        for event in &events {
            pair.step(event);
        }
        pair.publish();
    }
}

/// Scripts that once said something else.
#[test]
fn it_said_something_else_of_these() {
    for script in [
        "ask a a a:80; EDS s 1; CDS c eds=s; SDS i 1; CDS d of=c,d; SDS i 1; LDS a inline=*:c,d; \
         CDS d of=d,g; fail CDS c gone",
        // What is left out comes back, and one that is an aggregate now stands for its own.
        "ask a; ask b; LDS a inline=*:g; CDS g of=c,d; CDS c static=7; CDS d dns; LDS b inline=*:d; \
         CDS g of=c,e; fail CDS c gone; CDS c static=3; CDS c of=d,d; fail CDS d gone; CDS e dns",
    ] {
        let mut pair = Pair::new();
        script.split("; ").for_each(|event| pair.step(event.trim()));
        pair.publish();
    }
}

/// A mesh of 50 clusters, each behind an authority of its own, all told.
fn fifty() -> Cascade {
    let mut cascade = Cascade::new("test");
    for number in 0..50 {
        for event in [
            format!("ask a{number}"),
            format!("LDS a{number} inline=*:c{number}"),
            format!("CDS c{number} eds"),
            format!("EDS c{number} 1 2"),
        ] {
            step(&mut cascade, &event);
            cascade.poll_watches();
        }
    }
    assert!(matches!(cascade.poll_change(), Some(Change::Whole(_))));
    cascade
}

#[test]
fn other_endpoints_are_told_alone() {
    let mut cascade = fifty();
    let before = cascade.configuration();
    for event in ["EDS c7 1 3", "EDS c9 4", "EDS unknown 1"] {
        step(&mut cascade, event);
        assert_eq!(cascade.poll_watches(), Watches::default());
    }
    let Some(Change::Endpoints(update)) = cascade.poll_change() else { panic!("endpoints only") };
    let names: Vec<_> = update.clusters.keys().map(|name| &**name).collect();
    assert_eq!(names, ["c7", "c9"]);
    assert_ne!(update.origin.version, before.origin.version);
    assert_eq!(cascade.poll_change(), None);
    for event in ["EDS c7 1 2", "EDS c9 1 2"] {
        step(&mut cascade, event);
    }
    cascade.poll_watches();
    let Some(Change::Endpoints(update)) = cascade.poll_change() else { panic!("endpoints only") };
    assert_eq!(update.origin, before.origin, "the same content, the same version");
}

#[test]
fn other_endpoints_of_a_child_are_the_childs_alone() {
    let mut cascade = Cascade::new("test");
    for event in ["ask a", "LDS a inline=*:g,c", "CDS g of=c,d", "CDS c eds", "CDS d eds"] {
        step(&mut cascade, event);
        cascade.poll_watches();
    }
    for event in ["EDS c 1", "EDS d 2"] {
        step(&mut cascade, event);
        cascade.poll_watches();
    }
    assert!(matches!(cascade.poll_change(), Some(Change::Whole(_))));
    step(&mut cascade, "EDS d 3");
    assert_eq!(cascade.poll_watches(), Watches::default());
    let Some(Change::Endpoints(update)) = cascade.poll_change() else { panic!("endpoints only") };
    assert_eq!(update.clusters.keys().map(|name| &**name).collect::<Vec<_>>(), ["d"]);
}

#[test]
fn what_did_not_change_stays_the_same_pointer() {
    let mut cascade = fifty();
    let before = cascade.configuration();
    step(&mut cascade, "fail CDS c7 gone");
    cascade.poll_watches();
    let Some(Change::Whole(after)) = cascade.poll_change() else { panic!("more than endpoints") };
    assert!(Arc::ptr_eq(&before.route_configuration, &after.route_configuration));
    step(&mut cascade, "LDS a7 inline=*:c8");
    cascade.poll_watches();
    let Some(Change::Whole(after)) = cascade.poll_change() else { panic!("more than endpoints") };
    let hosts = |update: &ConfigUpdate| update.route_configuration.virtual_hosts.clone();
    let (before, after) = (hosts(&before), hosts(&after));
    let same = before.iter().zip(&after).filter(|(before, after)| Arc::ptr_eq(before, after));
    assert_eq!((before.len(), after.len(), same.count()), (50, 50, 49));
}
