//! Each test is a list of steps: what a control plane says, what is watched after it, and what is served.

mod properties;
mod servers;

use super::*;
use crate::XdsEndpoints;
use crate::cascade::tests::{assignment, cluster, kind, listener, routes, told_cluster};
use std::sync::Arc;

/// Runs lines `EVENT; EVENT -> WATCHES | SERVED`; what comes in one line is told at once.
///
/// Events: `LDS name[@port] …`, `RDS`, `CDS` and `EDS` as in the tests of the cascade; `all LDS`, `all CDS`: the
/// control plane has answered; `unsure KIND`: a new stream begins; `fail KIND name [gone]`; `copy`: what was
/// said before was a copy; `at SECONDS`. Watches: `+KIND name`, `-KIND name`. Served, as whoever applies it has it:
/// `domain=c1[1 2],c2[?]`, with `-` behind a cluster that is not there; `…`: nothing was told yet.
#[track_caller]
fn check(script: &str) {
    let mut peer = Peer::new();
    let lines = script.lines().map(str::trim).filter(|line| !line.is_empty());
    let (mut expected, mut actual) = (Vec::new(), Vec::new());
    for line in lines {
        let (events, output) = line.split_once(" ->").unwrap_or_else(|| panic!("{line}"));
        let watches = peer.line(events);
        actual.push(format!("{} -> {watches} | {}", events.trim(), peer.served()));
        let (watches, served) = output.split_once('|').unwrap_or_else(|| panic!("{line}"));
        expected.push(format!("{} -> {} | {}", events.trim(), watches.trim(), served.trim()));
    }
    assert_eq!(actual, expected);
}

/// A graph, and whoever applies what it says.
pub(super) struct Peer {
    pub(super) graph: Everything,
    pub(super) now: Timestamp,
    pub(super) applied: Option<ConfigUpdate>,
}

impl Peer {
    pub(super) fn new() -> Self {
        let mut graph = Everything::new("test");
        let now = Timestamp::ZERO;
        let roots = graph.poll_watches(now);
        assert_eq!(roots.added.iter().map(|key| &*key.1).collect::<Vec<_>>(), ["*", "*"]);
        Self { graph, now, applied: None }
    }

    fn line(&mut self, events: &str) -> String {
        let mut watches = Vec::new();
        for event in events.split(';') {
            self.step(event.trim());
            let polled = self.graph.poll_watches(self.now);
            let signed =
                |sign: &'static str| move |(kind, name): &Key| format!("{sign}{kind} {name}");
            watches.extend(polled.added.iter().map(signed("+")));
            watches.extend(polled.removed.iter().map(signed("-")));
            for (kind, name) in polled.removed {
                self.graph.handle_forgotten(kind, &name);
            }
        }
        self.publish();
        watches.join(" ")
    }

    pub(super) fn step(&mut self, event: &str) {
        let words: Vec<_> = event.split_whitespace().collect();
        let hash = xxhash_rust::xxh64::xxh64(event.as_bytes(), 0);
        let received = Received::new("1".into(), hash, bytes::Bytes::new());
        let value = match words[0] {
            "all" | "unsure" => {
                self.graph.set_answered(kind(words[1]), words[0] == "all");
                return;
            }
            "at" => {
                self.now = Timestamp::from_millis(words[1].parse::<u64>().unwrap() * 1000);
                return;
            }
            "copy" => return self.graph.handle_copy(),
            "fail" => {
                let kept = words.get(3) != Some(&"gone");
                let (kind, name) = (kind(words[1]), words[2].into());
                return self.graph.handle_failed(kind, &name, "no such".into(), kept);
            }
            other => resource(other.trim_start_matches('~'), &words),
        };
        let name = Arc::clone(value.name());
        match words[0].strip_prefix('~') {
            Some(of) => self.graph.handle_restored(kind(of), &name, value, received),
            None => self.graph.handle_changed(kind(words[0]), &name, value, received),
        }
    }

    pub(super) fn publish(&mut self) {
        match self.graph.poll_change() {
            Some(Change::Whole(update)) => self.applied = Some(update),
            Some(Change::Endpoints(update)) => self.applied.as_mut().unwrap().merge(update),
            None => {}
        }
    }

    fn served(&self) -> String {
        let Some(update) = &self.applied else { return "…".to_owned() };
        let hosts = update.route_configuration.virtual_hosts.iter().map(|host| {
            let domains: Vec<_> = host.domains.iter().map(ToString::to_string).collect();
            let clusters: Vec<_> =
                host.routes.iter().map(|route| told_cluster(update, route)).collect();
            format!("{}={}", domains.join("+"), clusters.join(","))
        });
        hosts.collect::<Vec<_>>().join(" ")
    }
}

/// `LDS name@port what`, and the rest as the tests of the cascade have it.
pub(super) fn resource(of: &str, words: &[&str]) -> Resource {
    let rest = &words[2..];
    match of {
        "LDS" => {
            let (name, port) = words[1].split_once('@').unwrap_or((words[1], "80"));
            let Resource::Listener(made) = listener(name, rest[0]) else { unreachable!() };
            let mut made = crate::XdsListener::clone(&made);
            made.is_api = false;
            made.port = Some(port.parse().unwrap());
            Resource::Listener(Arc::new(made))
        }
        "RDS" => Resource::RouteConfiguration(Arc::new(routes(words[1], rest))),
        "CDS" => cluster(words[1], rest[0], &rest[1..]),
        "EDS" => {
            let endpoints = XdsEndpoints::new(words[1], Arc::new(assignment(rest)));
            Resource::Endpoints(Arc::new(endpoints))
        }
        "SDS" => super::super::tests::secrets::secret(words[1], rest[0]),
        other => panic!("{other}"),
    }
}

// === The first configuration ===

#[test]
fn the_first_waits_for_everything_that_is_named() {
    check(
        "LDS web rds=r -> +RDS r | …
         all LDS -> | …
         CDS c eds=s -> +EDS s | …
         all CDS -> | …
         RDS r a:c -> | …
         EDS s 1 2 -> | a=c[1 2]",
    );
}

#[test]
fn the_order_of_arrival_does_not_count() {
    for first in [
        "CDS c eds; all CDS; EDS c 1; LDS web rds=r; all LDS; RDS r a:c",
        "LDS web rds=r; all LDS; RDS r a:c; CDS c eds; all CDS; EDS c 1",
        "CDS c eds; LDS web rds=r; EDS c 1; RDS r a:c; all LDS; all CDS",
        "LDS web inline=a:c; CDS c eds; EDS c 1; all CDS; all LDS",
    ] {
        let mut peer = Peer::new();
        let events: Vec<_> = first.split("; ").collect();
        for event in &events[..events.len() - 1] {
            peer.line(event);
            assert_eq!(peer.served(), "…", "{first}: {event}");
        }
        peer.line(events[events.len() - 1]);
        assert_eq!(peer.served(), "a=c[1]", "{first}");
    }
}

#[test]
fn a_control_plane_that_has_nothing_is_a_configuration() {
    check(
        "all LDS -> | …
         all CDS -> |
         LDS web inline=a:c -> | a=c-",
    );
}

#[test]
fn routes_that_do_not_exist_are_an_answer() {
    check(
        "LDS web rds=r; LDS more@81 inline=b:c; CDS c static=7; all LDS; all CDS -> +RDS r | …
         fail RDS r -> | b=c[7]
         RDS r a:c -> | b:81+b=c[7] a:80+a=c[7]",
    );
}

#[test]
fn endpoints_that_do_not_exist_are_none() {
    check(
        "LDS web inline=a:c; CDS c eds; all LDS; all CDS -> +EDS c | …
         fail EDS c -> | a=c[]
         EDS c 3 -> | a=c[3]",
    );
}

#[test]
fn a_cluster_that_is_not_among_all_is_not_there() {
    check(
        "LDS web inline=a:c,d; CDS c static=1; all LDS -> | …
         all CDS -> | a=c[1],d-
         CDS d static=2 -> | a=c[1],d[2]",
    );
}

#[test]
fn clusters_that_no_route_names_hold_up_nothing() {
    check(
        "LDS web inline=a:c; CDS c static=1; CDS d eds; all LDS; all CDS -> +EDS d | a=c[1]
         EDS d 5 -> | a=c[1]",
    );
    // Routes may name them by a header.
    let mut peer = Peer::new();
    peer.line("CDS d eds; all LDS; all CDS");
    assert!(peer.applied.as_ref().unwrap().clusters.is_empty());
    peer.line("EDS d 5");
    assert_eq!(
        peer.applied.unwrap().clusters.keys().map(|name| &**name).collect::<Vec<_>>(),
        ["d"]
    );
}

#[test]
fn listeners_without_http_serve_nothing() {
    check("LDS web tcp; all LDS; all CDS -> |");
}

// === Make before break ===

const BEGUN: &str = "LDS web rds=r; RDS r a:c; CDS c eds; EDS c 1; all LDS; all CDS";

/// After [`BEGUN`].
#[track_caller]
fn check_after(script: &str) {
    check(&format!("{BEGUN} -> +RDS r +EDS c | a=c[1]\n{script}"));
}

#[test]
fn new_routes_wait_for_the_endpoints_of_their_clusters() {
    check_after(
        "CDS d eds -> +EDS d | a=c[1]
         RDS r a:d -> | a=c[1]
         EDS d 2 -> | a=d[2]",
    );
}

#[test]
fn a_listener_waits_for_its_new_routes() {
    check_after(
        "LDS web rds=q -> +RDS q -RDS r | a=c[1]
         EDS c 2 -> | a=c[2]
         RDS q b:c -> | b=c[2]",
    );
    check_after("LDS web rds=q -> +RDS q -RDS r | a=c[1]\nfail RDS q -> |");
}

#[test]
fn a_cluster_waits_for_its_new_endpoints() {
    check_after(
        "CDS c eds=s -> +EDS s -EDS c | a=c[1]
         EDS s 9 -> | a=c[9]",
    );
    check_after("CDS c eds=s -> +EDS s -EDS c | a=c[1]\nfail EDS s -> | a=c[]");
    check_after("CDS c static=4 -> -EDS c | a=c[4]");
}

#[test]
fn the_newest_of_several_that_wait_is_taken() {
    check_after(
        "CDS d eds; CDS e static=5; RDS r a:d -> +EDS d | a=c[1]
         RDS r a:e -> | a=e[5]
         EDS d 2 -> | a=e[5]",
    );
    check_after(
        "CDS d eds; RDS r a:d; RDS r a:c -> +EDS d | a=c[1]
         fail CDS d gone -> -EDS d | a=c[1]",
    );
}

#[test]
fn listeners_change_over_one_by_one() {
    // `more` comes before `web`.
    check_after(
        "LDS more@81 rds=q -> +RDS q | a=c[1]
         RDS q b:d -> | b:81+b=d- a:80+a=c[1]
         CDS d eds; RDS q x:d -> +EDS d | b:81+b=d- a:80+a=c[1]
         RDS r y:c -> | b:81+b=d- y:80+y=c[1]
         EDS d 2 -> | x:81+x=d[2] y:80+y=c[1]",
    );
}

#[test]
fn a_wait_ends_when_what_is_waited_for_is_gone() {
    check_after(
        "CDS d eds; RDS r a:d,c -> +EDS d | a=c[1]
         fail CDS d gone -> -EDS d | a=c[1]
         at 5 -> | a=d-,c[1]",
    );
    check_after(
        "CDS d eds; RDS r a:d -> +EDS d | a=c[1]
         CDS d static=6 -> -EDS d | a=d[6]",
    );
}

#[test]
fn new_routes_wait_a_moment_for_clusters_that_come_after_them() {
    check_after(
        "RDS r a:d -> | a=c[1]
         at 3; CDS d eds -> +EDS d | a=c[1]
         at 13; EDS d 2 -> | a=d[2]",
    );
    check_after(
        "RDS r a:d -> | a=c[1]\nat 4 -> | a=c[1]\nat 5 -> | a=d-\nCDS d static=2 -> | a=d[2]",
    );
    // Newer ones do not begin anew.
    check_after("RDS r a:d -> | a=c[1]\nat 3; RDS r b:d -> | a=c[1]\nat 5 -> | b=d-");
    // What was not there before holds up nothing, nor what was refused.
    check_after("RDS r a:d,c; at 5 -> | a=d-,c[1]\nRDS r b:d,c -> | b=d-,c[1]");
    check_after("fail CDS d -> | a=c[1]\nRDS r a:d -> | a=d-");
}

// === Removal ===

#[test]
fn a_listener_that_is_gone_serves_nothing() {
    check_after("fail LDS web gone -> -RDS r |\nLDS web rds=r -> +RDS r |\nRDS r a:c -> | a=c[1]");
    check_after("LDS web rds=q; fail LDS web gone -> +RDS q -RDS r -RDS q |");
}

#[test]
fn a_cluster_that_is_gone_is_not_there() {
    // Of what was named while it was there the calls go on for a moment.
    check_after(
        "fail CDS c gone -> -EDS c | a=c[1]
         at 4 -> | a=c[1]
         at 5 -> | a=c-
         CDS c static=3 -> | a=c[3]",
    );
    // What no route names is gone at once; and what is back was never gone.
    check_after(
        "RDS r b:d; CDS d static=2 -> | b=d[2]
         fail CDS c gone -> -EDS c | b=d[2]
         RDS r b:c; at 5 -> | b=c-",
    );
    check_after(
        "fail CDS c gone -> -EDS c | a=c[1]\nat 3; CDS c static=2 -> | a=c[2]\nat 9 -> | a=c[2]",
    );
}

#[test]
fn routes_that_are_about_to_be_replaced_keep_their_clusters() {
    // All in one response, as some servers have it: the new cluster comes as the old one goes.
    check_after(
        "fail CDS c gone; CDS d eds; RDS r a:d -> -EDS c +EDS d | a=c[1]
         EDS d 2 -> | a=d[2]",
    );
    // It is back before they are.
    check_after(
        "fail CDS c gone; CDS d eds; RDS r a:d -> -EDS c +EDS d | a=c[1]
         CDS c static=8 -> | a=c[8]
         EDS d 2 -> | a=d[2]",
    );
    // However long that takes.
    check_after(
        "fail CDS c gone; CDS d eds; RDS r a:d -> -EDS c +EDS d | a=c[1]
         at 14 -> | a=c[1]
         fail EDS d -> | a=d[]",
    );
    // They may come a little later, as well.
    check_after(
        "fail CDS c gone; CDS d eds -> -EDS c +EDS d | a=c[1]
         at 3; RDS r a:d -> | a=c[1]
         at 8; EDS d 2 -> | a=d[2]",
    );
    // The successor ends: what is gone is gone.
    check_after(
        "fail CDS c gone; CDS d eds; RDS r a:d -> -EDS c +EDS d | a=c[1]
         fail LDS web gone -> -RDS r |",
    );
}

#[test]
fn nothing_is_left_of_what_is_gone() {
    let mut peer = Peer::new();
    peer.line(BEGUN);
    peer.line("fail CDS c gone; fail LDS web gone");
    assert_eq!(peer.graph.poll_timeout(), None);
    let held: Vec<_> = peer.graph.store().iter().map(|held| Arc::clone(held.name)).collect();
    assert!(held.is_empty(), "{held:?}");
    let applied = peer.applied.unwrap();
    assert!(applied.clusters.is_empty() && applied.route_configuration.virtual_hosts.is_empty());
    // And its version is that of nothing.
    let mut nothing = Peer::new();
    nothing.line("all LDS; all CDS");
    assert_eq!(applied.origin, nothing.applied.unwrap().origin);
}

// === Errors ===

#[test]
fn a_bad_resource_keeps_the_last_good_one() {
    for what in ["LDS web", "RDS r", "CDS c", "EDS c"] {
        check_after(&format!("fail {what} -> | a=c[1]\nEDS c 2 -> | a=c[2]"));
    }
}

#[test]
fn a_bad_resource_that_was_never_good_is_not_there() {
    check(
        "LDS web inline=a:c; fail CDS c; all LDS; all CDS -> | a=c-
         CDS c static=1 -> | a=c[1]",
    );
    check("fail LDS web; all LDS; all CDS -> |\nLDS web inline=a:c -> | a=c-");
}

// === Other ways to be a cluster ===

#[test]
fn aggregates_wait_for_their_children() {
    check(
        "LDS web inline=a:g; CDS g of=c,d; CDS c static=1; all LDS -> | …
         CDS d eds -> +EDS d | …
         all CDS -> | …
         EDS d 2 -> | a=g(c[1] d[2])
         fail CDS c gone -> | a=g(d[2])
         CDS c eds -> +EDS c | a=g(d[2])
         EDS c 3 -> | a=g(c[3] d[2])",
    );
    check("LDS web inline=a:g; CDS g of=c,d; CDS c static=1; all LDS; all CDS -> | a=g(c[1])");
}

#[test]
fn clusters_of_xdstp_names_are_asked_for_by_name() {
    let name: Arc<str> = "xdstp://x/envoy.config.cluster.v3.Cluster/c".into();
    let key = (ResourceType::Cluster, Arc::clone(&name));
    let mut peer = Peer::new();
    peer.line("CDS c static=1; all LDS; all CDS");
    let mut named = routes("r", &["a:c"]);
    named.clusters[0].insert(Arc::clone(&name));
    peer.step("LDS web rds=r");
    let value = Resource::RouteConfiguration(Arc::new(named));
    peer.graph.handle_changed(
        ResourceType::RouteConfiguration,
        &"r".into(),
        value,
        ("1".into(), 1),
    );
    assert!(peer.graph.poll_watches(peer.now).added.contains(&key));
    assert!(peer.served().is_empty(), "it has no answer yet");
    // What is asked for by name is answered by name: that it is not there is kept.
    peer.graph.handle_failed(key.0, &name, "no such".into(), false);
    peer.line("EDS unknown 1");
    assert_eq!(peer.served(), "a=c[1]");
    peer.step("RDS r a:c");
    assert_eq!(peer.graph.poll_watches(peer.now).removed, [key]);
}

// === Other servers, other streams, copies ===

#[test]
fn a_server_that_begins_anew_with_other_versions_is_taken_as_it_is() {
    check_after(
        "unsure LDS; unsure CDS -> | a=c[1]
         LDS web rds=r; all LDS; RDS r a:d -> | a=c[1]
         CDS c eds; CDS d eds; all CDS -> +EDS d | a=c[1]
         EDS d 2; fail CDS c gone -> -EDS c | a=d[2]
         at 100 -> | a=d[2]",
    );
}

#[test]
fn a_copy_serves_before_anything_is_heard() {
    check(
        "~LDS web rds=r; ~RDS r a:c; ~CDS c eds; ~EDS c 1; copy -> +RDS r +EDS c | a=c[1]
         LDS web rds=r; all LDS; RDS r a:d -> | a=c[1]
         CDS d static=2; all CDS -> | a=d[2]",
    );
    // What was under way when it was written does not hold it up.
    check(
        "~LDS web rds=r; ~LDS more@81 inline=b:d; ~CDS d eds; copy -> +RDS r +EDS d | b=d[?]
         all LDS; all CDS; EDS d 1 -> | b=d[1]
         RDS r a:d -> | b:81+b=d[1] a:80+a=d[1]",
    );
}

// === Secrets ===

#[test]
fn a_cluster_waits_for_its_secrets_and_stays_as_it_was_meanwhile() {
    check(
        "LDS web inline=a:c; CDS c static=1 id=i; all LDS -> +SDS i | …
         all CDS -> | …
         SDS i one -> | a=c[1]{i=one}
         SDS i two -> | a=c[1]{i=two}
         CDS c static=1 id=j -> +SDS j -SDS i | a=c[1]{i=two}
         SDS j one -> | a=c[1]{j=one}
         fail SDS j gone -> | a=c[1]{j!no such}",
    );
}
