//! Listeners of servers among everything: which are served, by what name, and when.

use super::*;
use crate::XdsListener;
use crate::cascade::tests::servers as by_name;
use mesh_core::model::Address;
use mesh_core::update::SecretAnswer;

/// Runs lines `EVENT; EVENT -> WATCHES | SERVED`, as its namesake; events as well: `server name words` with the words
/// of the tests of the cascade, and `@ADDRESS` for where it listens, and `both` if calls go by it, too; `serve name`,
/// `nameless address`, `unserve name`. Served: the listeners `name=c0:hosts,c1:hosts` or `name!why`, `{secret}` and
/// `{secret!why}`.
#[track_caller]
fn check(script: &str) {
    let mut peer = Peer::new();
    let (mut expected, mut actual) = (Vec::new(), Vec::new());
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (events, output) = line.split_once(" ->").unwrap_or_else(|| panic!("{line}"));
        let watches: Vec<_> =
            events.split(';').flat_map(|event| step(&mut peer, event.trim())).collect();
        peer.publish();
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let found = format!("{} | {}", watches.join(" "), served(&peer));
        actual.push(format!("{} -> {}", words(events), words(&found)));
        expected.push(format!("{} -> {}", words(events), words(output)));
    }
    assert_eq!(actual, expected);
}

fn step(peer: &mut Peer, event: &str) -> Vec<String> {
    let words: Vec<_> = event.split_whitespace().collect();
    match words[0] {
        "serve" => peer.graph.add_server(&words[1].into(), Ok(words[1].into())),
        "nameless" => peer.graph.add_server(&words[1].into(), Err("no template".into())),
        "unserve" => peer.graph.remove_server(&words[1].into()),
        "server" => {
            let name: Arc<str> = words[1].into();
            let hash = xxhash_rust::xxh64::xxh64(event.as_bytes(), 0);
            let received = Received::new("1".into(), hash, bytes::Bytes::new());
            let value = listener(words[1], &words[2..]);
            peer.graph.handle_changed(ResourceType::Listener, &name, value, received);
        }
        _ => peer.step(event),
    }
    let polled = peer.graph.poll_watches(peer.now);
    let added = polled.added.iter().map(|(kind, name)| format!("+{kind} {name}"));
    let removed = polled.removed.iter().map(|(kind, name)| format!("-{kind} {name}"));
    let watches = added.chain(removed).collect();
    for (kind, name) in polled.removed {
        peer.graph.handle_forgotten(kind, &name);
    }
    watches
}

fn listener(name: &str, words: &[&str]) -> Resource {
    let (mut address, mut both, mut rest) = (None, false, Vec::new());
    for word in words {
        match (word.strip_prefix('@'), *word) {
            (Some(found), _) => address = Some(Address::Socket(found.parse().unwrap())),
            (None, "both") => both = true,
            (None, word) => rest.push(word),
        }
    }
    let Resource::Listener(made) = by_name::listener(name, &rest) else { unreachable!() };
    let mut made = XdsListener::clone(&made);
    if let (Some(Ok(server)), Some(address)) = (&mut made.server, address) {
        let server = Arc::make_mut(server);
        Arc::make_mut(&mut server.listener).address = Some(address);
    }
    if both {
        let Resource::Listener(calls) = crate::cascade::tests::listener(name, "inline=a:c") else {
            unreachable!()
        };
        made.http = calls.http.clone();
    }
    Resource::Listener(Arc::new(made))
}

fn served(peer: &Peer) -> String {
    let Some(update) = &peer.applied else { return "…".to_owned() };
    by_name::check_compiles(update);
    let kept = peer.graph.kept_listeners();
    let kept = kept.iter().map(|(name, why)| format!("{name} stays: {why}"));
    let listeners = update.listeners.iter().map(|(name, listener)| {
        let chains = listener.chains().map(|chain| {
            let routes = &chain.http.as_ref().unwrap().route_configuration;
            format!("{}:{}", chain.name, routes.virtual_hosts.len())
        });
        format!("{name}={}", chains.collect::<Vec<_>>().join(","))
    });
    let absent = update.absent_listeners.iter().map(|(name, why)| format!("{name}!{why}"));
    let secrets = update.secrets.iter().map(|(name, answer)| match answer {
        SecretAnswer::Known(_) => format!("{{{name}}}"),
        SecretAnswer::Missing(why) => format!("{{{name}!{why}}}"),
    });
    listeners.chain(absent).chain(secrets).chain(kept).collect::<Vec<_>>().join(" ")
}

#[test]
fn what_is_for_servers_alone_is_served_by_its_name() {
    check(
        "server in rds=r inline; all CDS; all LDS -> +RDS r | …
         RDS r a:x           -> | in=c0:1,c1:0
         RDS r a:x b:x       -> | in=c0:2,c1:0
         LDS web inline=a:c  -> | in=c0:2,c1:0
         server more both inline -> | in=c0:2,c1:0
         server in bad       -> | in=c0:2,c1:0 in stays: listener in: filter_chains: is wrong
         RDS r a:x           -> | in=c0:1,c1:0 in stays: listener in: filter_chains: is wrong
         server in inline    -> -RDS r | in=c0:0
         fail LDS in gone    -> |
         server in bad       -> |",
    );
}

/// gRFC A36, and warming: what serves stays until its successor is complete.
#[test]
fn make_before_break() {
    check(
        "all CDS; all LDS; server in rds=r -> +RDS r | …
         RDS r a:x               -> | in=c0:1
         server in rds=s rds=r   -> +RDS s | in=c0:1
         RDS s a:x               -> | in=c0:1,c1:1
         server in inline,id=i   -> +SDS i -RDS r -RDS s | in=c0:1,c1:1
         SDS i one               -> | in=c0:0 {i}
         SDS i two               -> | in=c0:0 {i}
         server in inline,id=j   -> +SDS j | in=c0:0 {i}
         fail SDS j gone         -> -SDS i | in=c0:0 {j!no such}
         fail LDS in gone        -> -SDS j |",
    );
}

/// Whoever a filter asks has its endpoints when the listener is in force.
#[test]
fn a_listener_waits_for_whom_its_filters_ask() {
    check(
        "all CDS; all LDS; CDS a eds -> +EDS a |
         server in inline,ask=a -> |
         EDS a 1                -> | in=c0:0
         server in inline,ask=b -> | in=c0:0
         CDS b eds              -> +EDS b | in=c0:0
         server new inline,ask=b -> | in=c0:0
         EDS b 1                -> | in=c0:0 new=c0:0",
    );
}

#[test]
fn a_server_asks_by_name() {
    check(
        "serve in; CDS c static=7; all CDS; all LDS -> | in!listener in: the control plane does not have it
         server in inline   -> | in=c0:0
         fail LDS in        -> | in=c0:0
         fail LDS in gone   -> | in!listener in: the control plane does not have it
         server in bad      -> | in!listener in: filter_chains: is wrong
         server in inline   -> | in=c0:0
         server in bad      -> | in=c0:0 in stays: listener in: filter_chains: is wrong
         LDS in inline=a:c  -> | in!listener in is for clients: a server's is a socket listener, inbound
         server in both inline -> | in=c0:0
         unserve in         -> |",
    );
    check(
        "serve xdstp://x/in; all CDS; all LDS -> +LDS xdstp://x/in |
           server xdstp://x/in inline -> | xdstp://x/in=c0:0
           unserve xdstp://x/in -> -LDS xdstp://x/in | xdstp://x/in=c0:0",
    );
}

#[test]
fn a_server_is_told_by_where_it_listens() {
    let none = "no listener of the control plane that is for servers has the address";
    let absent = format!("10.0.0.1:80!{none} 10.0.0.1:80, and no template");
    check(&format!(
        "nameless 10.0.0.1:80; all CDS; all LDS -> | {absent}
         server in @10.0.0.1:81 inline     -> | in=c0:0 {absent}
         server in @0.0.0.0:80 inline      -> | in=c0:0 {absent}
         server in @[::ffff:10.0.0.1]:80 inline -> | 10.0.0.1:80=c0:0 in=c0:0
         server first @10.0.0.1:80 inline inline -> | 10.0.0.1:80=c0:0,c1:0 first=c0:0,c1:0 in=c0:0
         server all both @10.0.0.1:80 inline -> | 10.0.0.1:80=c0:0,c1:0 first=c0:0,c1:0 in=c0:0
         fail LDS first gone               -> | 10.0.0.1:80=c0:0 in=c0:0
         fail LDS in gone                  -> | 10.0.0.1:80=c0:0
         server bad bad                    -> | 10.0.0.1:80=c0:0
         server all bad                    -> | 10.0.0.1:80=c0:0 all=c0:0 all stays: listener all: filter_chains: is wrong
         fail LDS all gone                 -> | {absent}
         unserve 10.0.0.1:80               -> |",
    ));
}

#[test]
fn a_server_that_asks_late_is_told() {
    check(
        "server in rds=r; all CDS; all LDS -> +RDS r | …
         serve in -> | …
         RDS r a:x -> | in=c0:1
         unsure LDS; serve more -> | in=c0:1
         all LDS -> | in=c0:1 more!listener more: the control plane does not have it",
    );
}

/// Other routes of one chain leave the others as they are, by pointer: their connections stay.
#[test]
fn what_did_not_change_is_the_same_pointer() {
    let mut peer = Peer::new();
    let mut seen = Vec::new();
    for event in
        ["server in rds=r rds=s", "all CDS", "all LDS", "RDS r a:x", "RDS s a:x", "RDS s a:x b:x"]
    {
        step(&mut peer, event);
        peer.publish();
        seen.extend(peer.applied.iter().filter_map(|update| update.listeners.get("in").cloned()));
    }
    let [before, after] = &seen[..] else { panic!("{seen:#?}") };
    assert!(Arc::ptr_eq(&before.filter_chains[0], &after.filter_chains[0]));
    assert!(!Arc::ptr_eq(&before.filter_chains[1], &after.filter_chains[1]));
}

/// What routes say of a filter of another kind is the trouble of that listener, and of nothing else.
#[test]
fn a_listener_that_can_not_be_with_its_routes_holds_up_nothing() {
    let why = "filter chain `c0`: filter `authz`: in its chain it is another kind of filter: say of it what that kind \
               may be told, or leave it out";
    check(&format!(
        "all CDS; all LDS; CDS a static=1; server in rds=r,ask=a,id=i -> +RDS r +SDS i | …
         RDS r off=x edits=authz a:x; SDS i one -> |
         serve in -> | in!listener in: {why}
         RDS r off=x a:x -> | in=c0:1 {{i}}
         RDS r edits=authz a:x b:x -> | in=c0:1 {{i}} in stays: listener in: {why}
         SDS i two -> | in=c0:1 {{i}} in stays: listener in: {why}
         server in rds=s -> +RDS s -RDS r | in=c0:1 {{i}} in stays: listener in: {why}
         RDS s a:x b:x -> -SDS i | in=c0:2",
    ));
}
