//! Scripts: what happens, and what is done for it.
//!
//! Servers: 0, 1, 2 for names of the old style and of authority `y`; 3 and 1 for authority `r`, which
//! falls back on reachability only (gRFC A95); 4 and 1 for authority `x`.
//!
//! Steps: `watch N`, `rewatch N` (its value is held), `unwatch N`, `down S`, `answer S` (any response),
//! `value S N`, `absent S N`, `silent S N` (no answer in time). Done: `+S N` watched at server S, `-S N` no
//! longer, `~S` replaced, `xS` closed, `S>T` switched; `no` where a step does not count, `err` where a watch
//! is refused.

use super::*;
use crate::bootstrap::{Authority as Entry, ChannelCreds, ServerFeature};
use proptest::prelude::*;

const CLUSTER: ResourceType = ResourceType::Cluster;

fn server(number: u16) -> Server {
    Server::new(&format!("127.0.0.1:{}", 1000 + number), ChannelCreds::Insecure).unwrap()
}

fn bootstrap() -> Bootstrap {
    let only = Entry::new("r").with_servers([server(3), server(1)]);
    Bootstrap::new(server(0))
        .with_fallback(server(1))
        .with_fallback(server(2))
        .with_authority(only.with_fallback_on_reachability_only(true))
        .with_authority(Entry::new("x").with_servers([server(4), server(1)]))
        .with_authority(Entry::new("y"))
}

/// `x/a` is a name of authority `x`, `a` one of the old style.
fn name(short: &str) -> Arc<str> {
    match short.split_once('/') {
        Some((authority, id)) => {
            format!("xdstp://{authority}/envoy.config.cluster.v3.Cluster/{id}").into()
        }
        None => short.into(),
    }
}

fn short((_, name): &Key) -> String {
    let Some(rest) = name.strip_prefix("xdstp://") else { return name.to_string() };
    let (authority, rest) = rest.split_once('/').unwrap();
    format!("{authority}/{}", rest.rsplit_once('/').unwrap().1)
}

fn done(federation: &mut Federation) -> String {
    let text = |op| match op {
        Op::Watch { server, key } => format!("+{server} {}", short(&key)),
        Op::Unwatch { server, key } => format!("-{server} {}", short(&key)),
        Op::Replaced { server } => format!("~{server}"),
        Op::Close { server } => format!("x{server}"),
        Op::Switched { from, to, .. } => format!("{from}>{to}"),
    };
    let ops: Vec<_> = std::iter::from_fn(|| federation.poll_op()).map(text).collect();
    ops.join(", ")
}

fn step(federation: &mut Federation, step: &str) -> String {
    let words: Vec<&str> = step.split(' ').collect();
    let at = |word: usize| words[word].parse().unwrap();
    let mark = |counts: bool| if counts { "" } else { "no" };
    let mark = match words[0] {
        "watch" | "rewatch" => {
            let watched = federation.handle_watch(CLUSTER, &name(words[1]), words[0] == "rewatch");
            watched.map_or("err", |()| "")
        }
        "unwatch" => {
            federation.handle_unwatch(CLUSTER, &name(words[1]));
            ""
        }
        "down" => {
            federation.handle_unreachable(at(1));
            ""
        }
        "answer" => {
            federation.handle_response(at(1));
            ""
        }
        "value" => {
            federation.handle_response(at(1));
            mark(federation.handle_value(at(1), CLUSTER, &name(words[2])))
        }
        "absent" | "silent" => {
            let silent = words[0] == "silent";
            mark(federation.handle_failed(at(1), CLUSTER, &name(words[2]), silent))
        }
        other => panic!("no such step: {other}"),
    };
    let ops = done(federation);
    [mark, &*ops].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

/// `steps`: separated by `;`, each with ` = ` and what is done for it, if anything.
#[track_caller]
fn check(rule: &str, steps: &str) {
    let (mut federation, _) = Federation::new(&bootstrap());
    for text in steps.split(';').map(str::trim) {
        let (what, expected) = text.split_once(" = ").unwrap_or((text, ""));
        assert_eq!(step(&mut federation, what), expected, "{rule}: {what}");
    }
}

#[test]
fn names_go_to_the_servers_of_their_authority() {
    for (rule, steps) in [
        ("A47: old names, top-level servers", "watch a = +0 a"),
        ("A47: an authority's own servers", "watch x/a = +4 x/a"),
        ("A47: an authority without servers has the top-level ones", "watch y/a = +0 y/a"),
        ("A47: an unknown authority is an error at once", "watch z/a = err"),
        ("A47: and the others go on", "watch z/a = err; watch a = +0 a"),
        ("A47: a name that is none is an error", "watch x/ = err"),
        ("7.2.16: one subscription for many watchers", "watch a = +0 a; watch a; watch a"),
        (
            "7.2.16: the last watcher removes it",
            "watch a = +0 a; watch a; unwatch a; unwatch a = -0 a, x0",
        ),
        ("unwatching what never was", "unwatch a; watch a = +0 a; unwatch b"),
        ("unwatching too often", "watch a = +0 a; unwatch a = -0 a, x0; unwatch a"),
        ("an unknown authority is not unwatched", "watch z/a = err; unwatch z/a"),
        ("a server without names has no stream", "watch a = +0 a; unwatch a = -0 a, x0"),
        (
            "with one name left it has one",
            "watch a = +0 a; watch b = +0 b; unwatch a = -0 a; unwatch b = -0 b, x0",
        ),
        (
            "A47: authorities share a server",
            "watch a = +0 a; watch y/a = +0 y/a; unwatch a = -0 a; unwatch y/a = -0 y/a, x0",
        ),
    ] {
        check(rule, steps);
    }
}

#[test]
fn the_next_server_is_asked_when_something_is_missing() {
    for (rule, steps) in [
        ("A71: unreachable and missing", "watch a = +0 a; down 0 = ~0, 0>1, +1 a"),
        ("A71: unreachable and nothing missing", "watch a = +0 a; value 0 a; down 0"),
        ("A71: something missing and reachable", "watch a = +0 a; answer 0; watch b = +0 b"),
        ("A71: absent is an answer", "watch a = +0 a; answer 0; absent 0 a; down 0"),
        (
            "A71: everything watched is asked for",
            "watch a = +0 a; value 0 a; watch b = +0 b; down 0 = ~0, 0>1, +1 a, +1 b",
        ),
        (
            "A71: a watch that comes after the failure",
            "watch a = +0 a; value 0 a; down 0; watch b = +0 b, ~0, 0>1, +1 a, +1 b",
        ),
        (
            "a value that is held from before is no reason",
            "watch a = +0 a; value 0 a; down 0; rewatch b = +0 b",
        ),
        (
            "A71: new names go to all up to the active one",
            "watch a = +0 a; down 0 = ~0, 0>1, +1 a; watch b = +0 b, +1 b",
        ),
        (
            "A71: and leave all of them",
            "watch a = +0 a; watch b = +0 b; down 0 = ~0, 0>1, +1 a, +1 b; unwatch a = -0 a, -1 a",
        ),
        (
            "A71: one after the other",
            "watch a = +0 a; down 0 = ~0, 0>1, +1 a; down 1 = ~1, 1>2, +2 a; down 2",
        ),
        (
            "the second fails with all there",
            "watch a = +0 a; down 0 = ~0, 0>1, +1 a; value 1 a; down 1",
        ),
        (
            "a failure of one that does not count",
            "watch a = +0 a; down 0 = ~0, 0>1, +1 a; down 0; down 2",
        ),
        (
            "A71: state is for one authority",
            "watch a = +0 a; watch x/a = +4 x/a; down 0 = ~0, 0>1, +1 a; down 4 = ~4, 4>1, +1 x/a",
        ),
        (
            "a shared server that is down is passed over",
            "watch a = +0 a; down 0 = ~0, 0>1, +1 a; down 1 = ~1, 1>2, +2 a; \
             watch y/b = +0 y/b, ~0, 0>1, +1 y/b, ~1, 1>2, +2 y/b",
        ),
        (
            "A57: silence of a server that never spoke is no answer",
            "watch a = +0 a; silent 0 a; down 0 = ~0, 0>1, +1 a",
        ),
        ("A57: silence of one that spoke is", "watch a = +0 a; answer 0; silent 0 a; down 0"),
        (
            "A57: silence before the first word is, once it came",
            "watch a = +0 a; silent 0 a; answer 0; down 0",
        ),
        (
            "the end of a list",
            "watch x/a = +4 x/a; down 4 = ~4, 4>1, +1 x/a; down 1; watch x/b = +4 x/b, +1 x/b",
        ),
        (
            "what is gone is not missing",
            "watch a = +0 a; value 0 a; watch b = +0 b; unwatch b = -0 b; down 0",
        ),
    ] {
        check(rule, steps);
    }
}

#[test]
fn a_server_out_of_reach_is_enough_if_the_bootstrap_says_so() {
    for (rule, steps) in [
        ("A95: unreachable is enough", "watch r/a = +3 r/a; value 3 r/a; down 3 = ~3, 3>1, +1 r/a"),
        ("A95: but only for what is watched", "down 3; watch r/a = +3 r/a"),
        (
            "A95: of that authority only",
            "watch r/a = +3 r/a; watch x/a = +4 x/a; value 4 x/a; down 4; down 3 = ~3, 3>1, +1 r/a",
        ),
    ] {
        check(rule, steps);
    }
}

#[test]
fn the_better_server_counts_again_with_its_first_value() {
    const FALLEN: &str = "watch a = +0 a; down 0 = ~0, 0>1, +1 a; ";
    for (rule, steps) in [
        ("A71: a value of a better one", "value 0 a = -1 a, x1, 1>0"),
        ("A71: a bare connection changes nothing", "answer 0"),
        ("A71: that it has none changes nothing", "value 1 a; absent 0 a = no"),
        ("A71: nor that it is silent", "silent 0 a = no"),
        ("A71: what the left one says is ignored", "value 0 a = -1 a, x1, 1>0; value 1 a = no"),
        ("A71: whatever it says", "value 0 a = -1 a, x1, 1>0; absent 1 a = no; silent 1 a = no"),
        ("what nobody watches is no reason", "value 0 b = no"),
        ("a value of the active one", "value 1 a"),
        (
            "A71: from the third to the first",
            "down 1 = ~1, 1>2, +2 a; value 0 a = -1 a, x1, -2 a, x2, 2>0",
        ),
        (
            "A71: from the third to the second",
            "down 1 = ~1, 1>2, +2 a; value 1 a = -2 a, x2, 2>1; value 0 a = -1 a, x1, 1>0",
        ),
        ("all that is watched leaves", "watch b = +0 b, +1 b; value 0 b = -1 a, -1 b, x1, 1>0"),
        (
            "and comes again with the next failure",
            "value 0 a = -1 a, x1, 1>0; watch b = +0 b; down 0 = ~0, 0>1, +1 a, +1 b",
        ),
        (
            "a shared one keeps its stream",
            "watch x/a = +4 x/a; down 4 = ~4, 4>1, +1 x/a; value 0 a = -1 a, 1>0; \
             unwatch x/a = -4 x/a, x4, -1 x/a, x1",
        ),
        ("an authority that begins anew", "unwatch a = -0 a, x0, -1 a, x1; watch a = +0 a"),
    ] {
        check(rule, &format!("{FALLEN}{steps}"));
    }
}

#[test]
fn whether_it_can_be_reached() {
    for (steps, expected) in [
        ("", None),
        ("watch a", None),
        ("watch a;answer 0", Some(true)),
        ("watch a;value 0 a;down 0", Some(false)),
        ("watch a;down 0", None),
        ("watch a;down 0;answer 1", Some(true)),
        ("watch a;down 0;down 1;down 2", Some(false)),
        ("watch a;answer 0;watch x/a", None),
        ("watch a;answer 0;watch x/a;value 4 x/a;down 4", Some(false)),
        ("watch a;value 0 a;down 0;unwatch a", None),
    ] {
        let (mut federation, _) = Federation::new(&bootstrap());
        for text in steps.split(';').filter(|text| !text.is_empty()) {
            step(&mut federation, text);
        }
        assert_eq!(federation.is_reachable(), expected, "{steps}");
    }
}

/// gRFC A47: by address, credentials and the features that are known.
#[test]
fn equal_servers_are_one() {
    let (_, servers) = Federation::new(&bootstrap());
    let uris: Vec<_> = servers.iter().map(|server| server.uri().to_string()).collect();
    assert_eq!(uris, [0, 1, 2, 3, 4].map(|number| format!("127.0.0.1:{}", 1000 + number)));
    let trusted = server(0).with_feature(ServerFeature::TrustedXdsServer);
    let twice = Bootstrap::new(server(0)).with_fallback(server(0)).with_fallback(trusted);
    assert_eq!(Federation::new(&twice).1.len(), 2);
}

/// gRFC A47: two spellings of one name are one.
#[test]
fn the_order_of_parameters_does_not_count() {
    let (mut federation, _) = Federation::new(&bootstrap());
    let (one, other) = (name("x/a?b=1&a=2"), name("x/a?a=2&b=1"));
    federation.handle_watch(CLUSTER, &one, false).unwrap();
    federation.handle_watch(CLUSTER, &other, false).unwrap();
    assert_eq!(done(&mut federation), "+4 x/a?a=2&b=1");
    federation.handle_unwatch(CLUSTER, &one);
    assert!(federation.is_watched(CLUSTER, &other));
}

proptest! {
    /// Whatever happens, a name is asked of every server up to the active one, and of no other; and a
    /// server is closed when, and only when, its last name is gone.
    #[test]
    fn names_are_where_they_belong(
        steps in proptest::collection::vec((0_usize..8, 0_usize..5, 0_usize..6), 0..80),
    ) {
        const NAMES: [&str; 6] = ["a", "b", "r/a", "x/a", "x/b", "y/a"];
        let (mut federation, servers) = Federation::new(&bootstrap());
        let mut asked: BTreeSet<(ServerAt, Key)> = BTreeSet::new();
        let mut watched: BTreeMap<Key, u32> = BTreeMap::new();
        for (what, server, at) in steps {
            let key = (CLUSTER, name(NAMES[at]));
            match what {
                0 | 1 => {
                    federation.handle_watch(CLUSTER, &key.1, what == 1).unwrap();
                    *watched.entry(key).or_default() += 1;
                }
                2 => {
                    federation.handle_unwatch(CLUSTER, &key.1);
                    if let Some(count) = watched.get_mut(&key) {
                        *count -= 1;
                    }
                    watched.retain(|_, count| *count > 0);
                }
                3 => federation.handle_unreachable(server),
                4 => federation.handle_response(server),
                5 => {
                    federation.handle_value(server, CLUSTER, &key.1);
                }
                _ => {
                    federation.handle_failed(server, CLUSTER, &key.1, what == 6);
                }
            }
            while let Some(op) = federation.poll_op() {
                match op {
                    Op::Watch { server, key } => prop_assert!(asked.insert((server, key)), "twice"),
                    Op::Unwatch { server, key } => prop_assert!(asked.remove(&(server, key)), "never"),
                    Op::Close { server } => {
                        prop_assert!(asked.iter().all(|(of, _)| *of != server), "still asked");
                    }
                    Op::Replaced { .. } | Op::Switched { .. } => {}
                }
            }
            let mut expected = BTreeSet::new();
            for (kind, name) in watched.keys() {
                let scope = &federation.scopes[&authority_of(*kind, name).unwrap()];
                let upto = &scope.servers[..=scope.active];
                expected.extend(upto.iter().map(|server| (*server, (*kind, Arc::clone(name)))));
            }
            prop_assert_eq!(&asked, &expected);
            for server in 0..servers.len() {
                let names = asked.iter().filter(|(of, _)| *of == server).count();
                prop_assert_eq!(federation.servers[server].names, names);
            }
            for scope in federation.scopes.values() {
                let of = |key: &&Key| watched.contains_key(*key);
                prop_assert!(scope.names().all(|key| of(&key)));
            }
        }
    }
}
