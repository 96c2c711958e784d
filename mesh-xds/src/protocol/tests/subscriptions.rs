//! Watches, and what the server is asked for.

use super::super::*;
use super::script::{Sim, check};

#[test]
fn many_watchers_are_one_subscription() {
    check(
        "",
        "
        0 watch LDS a   -> / connect | 20000 connect_timeout
        0 watch LDS a   -> | 20000 connect_timeout
        1 connected     -> node LDS [a] | 15001 does_not_exist
        2 watch LDS a   -> | 15001 does_not_exist
        3 LDS v1 n1 a=1 -> LDS [a] v1 n1 / reachable, changed LDS a #0
        4 watch LDS a   ->
        5 unwatch LDS a ->
        5 unwatch LDS a ->
        5 unwatch LDS a ->
        6 unwatch LDS a -> LDS [] v1 n1 / forgotten LDS a
        7 unwatch LDS a ->
        ",
    );
}

#[test]
fn what_is_wanted_at_the_start_is_asked_for_at_once() {
    check(
        "",
        "
        0 watch LDS a       -> / connect | 20000 connect_timeout
        1 connected         -> node LDS [a] | 15001 does_not_exist
        2 LDS v1 n1 a=1     -> LDS [a] v1 n1 / reachable, changed LDS a #0
        3 ~watch CDS a      ->
        3 watch CDS b       -> CDS [a b] | 15003 does_not_exist
        4 watch CDS c       -> CDS [a b c] | 15003 does_not_exist
        5 CDS v1 n1 a=1 b=1 -> CDS [a b c] v1 n1 / changed CDS a #0, changed CDS b #1 | 15004 does_not_exist
        ",
    );
}

#[test]
fn names_are_sorted_and_without_duplicates() {
    check(
        "",
        "
        0 watch EDS c -> / connect | 20000 connect_timeout
        0 watch EDS a -> | 20000 connect_timeout
        0 watch EDS b -> | 20000 connect_timeout
        0 watch EDS a -> | 20000 connect_timeout
        1 connected   -> node EDS [a b c] | 15001 does_not_exist
        ",
    );
    check(
        "delta",
        "
        0 watch EDS c -> / connect delta | 20000 connect_timeout
        0 watch EDS a -> | 20000 connect_timeout
        0 watch EDS ! -> | 20000 connect_timeout
        0 watch EDS * -> | 20000 connect_timeout
        1 connected   -> node EDS +! +* +a +c | 15001 does_not_exist
        ",
    );
}

#[test]
fn a_changed_subscription_has_the_last_nonce() {
    check(
        "",
        "
        0 watch RDS a   -> / connect | 20000 connect_timeout
        1 connected     -> node RDS [a] | 15001 does_not_exist
        2 watch RDS b   -> RDS [a b] | 15001 does_not_exist
        3 RDS v1 n1 a=1 -> RDS [a b] v1 n1 / reachable, changed RDS a #0 | 15002 does_not_exist
        4 watch RDS c   -> RDS [a b c] v1 n1 | 15002 does_not_exist
        5 unwatch RDS b -> RDS [a c] v1 n1 | 15004 does_not_exist
        ",
    );
}

#[test]
fn the_last_name_is_taken_back_with_an_empty_request() {
    check(
        "",
        "
        0 watch CDS a   -> / connect | 20000 connect_timeout
        1 connected     -> node CDS [a] | 15001 does_not_exist
        2 CDS v1 n1 a=1 -> CDS [a] v1 n1 / reachable, changed CDS a #0
        3 unwatch CDS a -> CDS [] v1 n1 / forgotten CDS a
        4 CDS v2 n2     -> CDS [] v2 n2
        5 watch CDS b   -> CDS [b] v2 n2 | 15005 does_not_exist
        ",
    );
}

#[test]
fn types_do_not_touch_each_other() {
    check(
        "",
        "
        0 watch RDS a    -> / connect | 20000 connect_timeout
        0 watch EDS a    -> | 20000 connect_timeout
        1 connected      -> node RDS [a], EDS [a] | 15001 does_not_exist
        2 RDS v1 n1 a=!x -> RDS [a] n1 !\"`a`: x\" / reachable, refused RDS a: x | 15001 does_not_exist
        3 EDS w1 m1 a=1  -> EDS [a] w1 m1 / changed EDS a #0
        4 RDS v2 n2 a=1  -> RDS [a] v2 n2 / changed RDS a #0
        ",
    );
}

#[test]
fn a_watch_that_comes_back_before_the_server_knows_changes_nothing() {
    for given in ["", "delta"] {
        let variant = if given.is_empty() { "" } else { " delta" };
        let (first, ack) = match given {
            "" => ("[a]", "[a] v1 n1"),
            _ => ("+a", "n1"),
        };
        check(
            given,
            &format!(
                "
                0 watch EDS a    -> / connect{variant} | 20000 connect_timeout
                1 connected      -> node EDS {first} | 15001 does_not_exist
                2 EDS v1 n1 a=1  -> EDS {ack} / reachable, changed EDS a #0
                3 ~unwatch EDS a ->
                4 watch EDS a    ->
                "
            ),
        );
    }
}

#[test]
fn what_comes_before_the_server_knows_is_told() {
    check(
        "delta",
        "
        0 watch EDS a       -> / connect delta | 20000 connect_timeout
        1 connected         -> node EDS +a | 15001 does_not_exist
        2 ~unwatch EDS a    -> | 15001 does_not_exist
        3 ~EDS - n1 a=1     -> / reachable, changed EDS a #0
        4 ~watch EDS a      ->
        5 take              -> EDS n1
        ",
    );
}

#[test]
fn what_is_asked_for_anew_must_be_sent_again() {
    check(
        "delta",
        "
        0 watch EDS a      -> / connect delta | 20000 connect_timeout
        1 connected        -> node EDS +a | 15001 does_not_exist
        2 EDS - n1 a=1     -> EDS n1 / reachable, changed EDS a #0
        3 unwatch EDS a    -> EDS -a / forgotten EDS a
        4 watch EDS a      -> EDS +a | 15004 does_not_exist
        5 EDS - n2 a=1     -> EDS n2 / changed EDS a #0
        ",
    );
    // In the state of the world a server may not see it; the timer then decides (grpc-go#8125).
    check(
        "",
        "
        0 watch EDS a      -> / connect | 20000 connect_timeout
        1 connected        -> node EDS [a] | 15001 does_not_exist
        2 EDS v1 n1 a=1    -> EDS [a] v1 n1 / reachable, changed EDS a #0
        3 unwatch EDS a    -> EDS [] v1 n1 / forgotten EDS a
        4 watch EDS a      -> EDS [a] v1 n1 | 15004 does_not_exist
        15004 timer        -> / absent by silence EDS a
        ",
    );
}

#[test]
fn watches_change_while_there_is_no_stream() {
    check(
        "",
        "
        0 watch RDS a    -> / connect | 20000 connect_timeout
        0 watch RDS b    -> | 20000 connect_timeout
        1 connected      -> node RDS [a b] | 15001 does_not_exist
        2 RDS v1 n1 a=1 b=1 -> RDS [a b] v1 n1 / reachable, changed RDS a #0, changed RDS b #1
        900 closed       -> | 1000 stream_interval
        910 unwatch RDS b -> / forgotten RDS b | 1000 stream_interval
        920 watch RDS c  -> | 1000 stream_interval
        930 watch RDS d  -> | 1000 stream_interval
        940 unwatch RDS d -> | 1000 stream_interval
        1000 timer       -> / connect | 21000 connect_timeout
        1001 connected   -> node RDS [a c] v1 | 16001 does_not_exist
        ",
    );
}

#[test]
fn a_name_taken_back_as_the_stream_broke_does_not_come_back() {
    check(
        "",
        "
        0 watch RDS a     -> / connect | 20000 connect_timeout
        0 watch RDS b     -> | 20000 connect_timeout
        1 connected       -> node RDS [a b] | 15001 does_not_exist
        2 RDS v1 n1 a=1 b=1 -> RDS [a b] v1 n1 / reachable, changed RDS a #0, changed RDS b #1
        3 ~unwatch RDS b  ->
        5000 closed       -> / connect, forgotten RDS b | 25000 connect_timeout
        5001 connected    -> node RDS [a] v1
        ",
    );
}

#[test]
fn without_a_watch_there_is_no_next_stream() {
    check(
        "",
        "
        0 watch RDS a      -> / connect | 20000 connect_timeout
        1 failed x         -> / unreachable 1: x | 1001 backoff
        2 unwatch RDS a    -> | 1001 backoff
        1001 timer         ->
        9000 watch RDS a   -> / connect | 29000 connect_timeout
        ",
    );
    // What is not watched is not asked for, of no type.
    check(
        "",
        "
        0 watch RDS a      -> / connect | 20000 connect_timeout
        0 watch LDS a      -> | 20000 connect_timeout
        0 unwatch LDS a    -> | 20000 connect_timeout
        1 connected        -> node RDS [a] | 15001 does_not_exist
        ",
    );
}

#[test]
fn names_without_a_meaning_are_refused() {
    check(
        "",
        "0 watch EDS -> / refused: EDS: an empty name can't be asked for: name a resource, or `*` for all",
    );
}

#[test]
fn one_name_is_one_name_however_its_parameters_are_ordered() {
    check(
        "",
        "
        0 watch EDS xdstp://x/t/a?k=1&j=2   -> / connect | 20000 connect_timeout
        1 connected -> node EDS [xdstp://x/t/a?j=2&k=1] | 15001 does_not_exist
        2 watch EDS xdstp://x/t/a?j=2&k=1   -> | 15001 does_not_exist
        3 unwatch EDS xdstp://x/t/a?k=1&j=2 -> | 15001 does_not_exist
        4 unwatch EDS xdstp://x/t/a?k=1&j=2 -> EDS [] | 60001 mute_timeout
        ",
    );
}

#[test]
fn names_are_bounded() {
    let mut sim = Sim::given("");
    for number in 0..MAX_NAMES {
        let name = Name::Of(number.to_string().into());
        sim.protocol.handle_watch(ResourceType::Endpoints, &name, Timestamp::ZERO).unwrap();
    }
    let _: String = sim.event(0, "~take");
    let refused = sim.event(0, "watch EDS x");
    assert_eq!(
        refused,
        "/ refused: EDS: `x` is one more than the 100000 names that one stream asks for: unwatch \
         others first | 20000 connect_timeout"
    );
    // One that is watched already is no name more, and each type has its own.
    assert_eq!(sim.event(0, "watch EDS 7"), "| 20000 connect_timeout");
    assert_eq!(sim.event(0, "watch CDS x"), "| 20000 connect_timeout");
    sim.event(0, "unwatch EDS 9");
    assert_eq!(sim.event(0, "watch EDS x"), "| 20000 connect_timeout");
}

#[test]
fn what_is_learned_by_wildcard_is_bounded() {
    let mut sim = Sim::given("");
    sim.event(0, "watch CDS *");
    sim.event(0, "connected");
    let mut all: String = (0..=MAX_NAMES).map(|number| format!(" {number}=1")).collect();
    all.insert_str(0, "CDS v1 n1");
    let out = sim.event(0, &all);
    assert!(
        out.starts_with(
            "CDS [] n1 !\"`100000`: not taken in: there are 100000 of this type already, which is the \
             most that one stream learns\""
        ),
        "{}",
        &out[..200]
    );
    assert_eq!(sim.protocol.resources().count(), MAX_NAMES);
}

#[test]
fn a_nack_is_bounded() {
    let mut sim = Sim::given("");
    sim.event(0, "watch CDS a");
    sim.event(0, "connected");
    let long = "€".repeat(1_000);
    let bad: String = (0..50).map(|number| format!(" {number}=!{long}")).collect();
    sim.event(0, &format!("~CDS v1 n1{bad}"));
    let error = sim.protocol.poll_request(Timestamp::ZERO).unwrap().error.unwrap();
    assert!(error.len() <= MAX_NACK_TEXT && error.ends_with("€ … and 45 more"), "{}", error.len());
}
