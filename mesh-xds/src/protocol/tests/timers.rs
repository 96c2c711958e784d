//! Absence by silence (gRFC A57, A88), and the time to live.

use super::script::check;

#[test]
fn the_timer_runs_from_when_the_request_is_sent_on_an_open_stream() {
    check(
        "",
        "
        0 watch LDS a     -> / connect | 20000 connect_timeout
        9000 ~connected   ->
        9500 take         -> node LDS [a] | 24500 does_not_exist
        9600 watch RDS b  -> RDS [b] | 24500 does_not_exist
        24500 timer       -> / absent by silence LDS a | 24600 does_not_exist
        24600 timer       -> / absent by silence RDS b | 69500 mute_timeout
        ",
    );
}

#[test]
fn a_timer_does_nothing_before_its_time() {
    check(
        "",
        "
        0 watch LDS a     -> / connect | 20000 connect_timeout
        0 connected       -> node LDS [a] | 15000 does_not_exist
        14999 timer       -> | 15000 does_not_exist
        15000 timer       -> / absent by silence LDS a | 60000 mute_timeout
        15000 timer       -> | 60000 mute_timeout
        ",
    );
}

#[test]
fn whatever_is_heard_of_a_resource_stops_its_timer() {
    for (answer, out) in [
        ("RDS v1 n1 a=1", "RDS [a] v1 n1 / reachable, changed RDS a #0"),
        ("RDS v1 n1 a=!x", "RDS [a] n1 !\"`a`: x\" / reachable, refused RDS a: x"),
        ("RDS v1 n1 a?14", "RDS [a] v1 n1 / reachable, error RDS a 14"),
        ("RDS v1 n1 a?5", "RDS [a] v1 n1 / reachable, error RDS a 5"),
        ("unwatch RDS a", "RDS [] | 60000 mute_timeout"),
    ] {
        check(
            "",
            &format!(
                "
                0 watch RDS a -> / connect | 20000 connect_timeout
                0 connected   -> node RDS [a] | 15000 does_not_exist
                5 {answer}    -> {out}
                "
            )
            .replace("    ->", " ->"),
        );
    }
    check(
        "delta",
        "
        0 watch RDS a    -> / connect delta | 20000 connect_timeout
        0 connected      -> node RDS +a | 15000 does_not_exist
        5 RDS - n1 -a    -> RDS n1 / reachable, absent RDS a
        ",
    );
}

#[test]
fn a_response_without_it_leaves_its_timer() {
    check(
        "",
        "
        0 watch LDS a     -> / connect | 20000 connect_timeout
        0 watch LDS b     -> | 20000 connect_timeout
        0 connected       -> node LDS [a b] | 15000 does_not_exist
        5 LDS v1 n1 a=1   -> LDS [a b] v1 n1 / reachable, changed LDS a #0 | 15000 does_not_exist
        15000 timer       -> / absent by silence LDS b
        ",
    );
}

#[test]
fn absence_is_not_final() {
    check(
        "",
        "
        0 watch RDS a     -> / connect | 20000 connect_timeout
        0 connected       -> node RDS [a] | 15000 does_not_exist
        15000 timer       -> / absent by silence RDS a | 60000 mute_timeout
        16000 RDS v1 n1 a=1 -> RDS [a] v1 n1 / reachable, changed RDS a #0
        ",
    );
}

#[test]
fn a_timer_ends_with_the_stream_and_starts_again_for_what_is_unknown() {
    check(
        "",
        "
        0 watch RDS a     -> / connect | 20000 connect_timeout
        0 watch RDS b     -> | 20000 connect_timeout
        0 connected       -> node RDS [a b] | 15000 does_not_exist
        5 RDS v1 n1 a=1   -> RDS [a b] v1 n1 / reachable, changed RDS a #0 | 15000 does_not_exist
        5000 closed       -> / connect | 25000 connect_timeout
        15000 timer       -> | 25000 connect_timeout
        16000 connected   -> node RDS [a b] v1 | 31000 does_not_exist
        31000 timer       -> / absent by silence RDS b | 76000 mute_timeout
        ",
    );
}

#[test]
fn no_timer_for_what_is_held_or_known_to_be_absent() {
    check(
        "",
        "
        0 watch RDS a     -> / connect | 20000 connect_timeout
        0 watch RDS b     -> | 20000 connect_timeout
        0 connected       -> node RDS [a b] | 15000 does_not_exist
        5 RDS v1 n1 a=1   -> RDS [a b] v1 n1 / reachable, changed RDS a #0 | 15000 does_not_exist
        15000 timer       -> / absent by silence RDS b
        16000 closed      -> / connect | 36000 connect_timeout
        16001 connected   -> node RDS [a b] v1
        ",
    );
}

#[test]
fn the_silence_of_a_server_that_never_spoke_proves_nothing() {
    check(
        "",
        "
        0 watch RDS a     -> / connect | 20000 connect_timeout
        0 connected       -> node RDS [a] | 15000 does_not_exist
        15000 timer       -> / absent by silence RDS a | 60000 mute_timeout
        20000 failed x    -> / unreachable 1: x | 21000 backoff
        21000 timer       -> / connect | 41000 connect_timeout
        21001 connected   -> node RDS [a] | 36001 does_not_exist
        36001 timer       -> / absent by silence RDS a | 81001 mute_timeout
        ",
    );
}

#[test]
fn a_watch_while_disconnected_starts_no_timer() {
    check(
        "",
        "
        0 watch RDS a     -> / connect | 20000 connect_timeout
        0 failed x        -> / unreachable 1: x | 1000 backoff
        10 watch RDS b    -> | 1000 backoff
        1000 timer        -> / connect | 21000 connect_timeout
        ",
    );
}

#[test]
fn a_second_watcher_starts_no_second_timer() {
    check(
        "",
        "
        0 watch RDS a     -> / connect | 20000 connect_timeout
        0 connected       -> node RDS [a] | 15000 does_not_exist
        9000 watch RDS a  -> | 15000 does_not_exist
        15000 timer       -> / absent by silence RDS a | 60000 mute_timeout
        ",
    );
}

#[test]
fn the_timer_can_be_a_transient_error_or_off() {
    check(
        "transient",
        "
        0 watch RDS a     -> / connect | 20000 connect_timeout
        0 connected       -> node RDS [a] | 30000 does_not_exist
        30000 timer       -> / timed out RDS a | 60000 mute_timeout
        31000 RDS v1 n1 a=1 -> RDS [a] v1 n1 / reachable, changed RDS a #0
        ",
    );
    check(
        "absent=0",
        "
        0 watch RDS a     -> / connect | 20000 connect_timeout
        0 connected       -> node RDS [a] | 60000 mute_timeout
        ",
    );
    check(
        "transient absent=100",
        "
        0 watch RDS a     -> / connect | 20000 connect_timeout
        0 connected       -> node RDS [a] | 100 does_not_exist
        ",
    );
}

// === Time to live ===

/// A first stream with `a`, which holds for 100 ms from 5 on.
const TTL: &str = "
    0 watch RDS a       -> / connect | 20000 connect_timeout
    0 connected         -> node RDS [a] | 15000 does_not_exist
    5 RDS v1 n1 a=1@100 -> RDS [a] v1 n1 / reachable, changed RDS a #0 | 105 ttl
";

#[track_caller]
fn after_ttl(rows: &str) {
    check("", &format!("{TTL}{rows}"));
}

#[test]
fn what_expires_is_removed() {
    after_ttl(
        "
        104 timer         -> | 105 ttl
        105 timer         -> / expired RDS a
        110 RDS v2 n2 a=1 -> RDS [a] v2 n2 / changed RDS a #0
        ",
    );
}

#[test]
fn a_heartbeat_makes_it_hold_longer() {
    after_ttl(
        "
        90 RDS v1 n2 a=~@100  -> RDS [a] v1 n2 | 190 ttl
        105 timer             -> | 190 ttl
        180 RDS v1 n3 a=~@50  -> RDS [a] v1 n3 | 230 ttl
        230 timer             -> / expired RDS a
        ",
    );
    // Without a time to live it holds for ever.
    after_ttl("90 RDS v1 n2 a=~ -> RDS [a] v1 n2");
}

#[test]
fn the_whole_resource_makes_it_hold_longer_too() {
    after_ttl("90 RDS v2 n2 a=1@100 -> RDS [a] v2 n2 | 190 ttl");
    after_ttl("90 RDS v2 n2 a=2@200 -> RDS [a] v2 n2 / changed RDS a #0 | 290 ttl");
    after_ttl("90 RDS v2 n2 a=1     -> RDS [a] v2 n2".replace("     ->", " ->").as_str());
}

#[test]
fn a_refused_update_leaves_the_time_to_live() {
    after_ttl(
        "
        90 RDS v2 n2 a=!x@900 -> RDS [a] v1 n2 !\"`a`: x\" / refused RDS a kept: x | 105 ttl
        105 timer             -> / expired RDS a
        ",
    );
}

#[test]
fn it_expires_without_the_server() {
    after_ttl(
        "
        50 closed  -> | 105 ttl
        105 timer  -> / expired RDS a | 1000 stream_interval
        1000 timer -> / connect | 21000 connect_timeout
        ",
    );
}

#[test]
fn a_heartbeat_of_what_is_not_held_is_refused() {
    after_ttl(
        "
        105 timer            -> / expired RDS a
        106 RDS v1 n2 a=~@10 -> RDS [a] v1 n2 !\"`a`: it came without a body, but nothing is held of it: send the body\" / refused RDS a: it came without a body, but nothing is held of it: send the body
        ",
    );
    check(
        "delta",
        "
        0 watch RDS a        -> / connect delta | 20000 connect_timeout
        0 connected          -> node RDS +a | 15000 does_not_exist
        5 RDS - n1 a=1@100#r1 -> RDS n1 / reachable, changed RDS a #0 | 105 ttl
        6 RDS - n2 a=~@100#r1 -> RDS n2 | 106 ttl
        7 RDS - n3 a=~@100#r2 -> RDS n3 !\"`a`: it came without a body in version `r2`, but version `r1` is held: send the body\" / refused RDS a kept: it came without a body in version `r2`, but version `r1` is held: send the body | 106 ttl
        ",
    );
}

#[test]
fn a_response_of_heartbeats_alone_omits_nothing() {
    check(
        "",
        "
        0 watch LDS a            -> / connect | 20000 connect_timeout
        0 watch LDS b            -> | 20000 connect_timeout
        0 connected              -> node LDS [a b] | 15000 does_not_exist
        5 LDS v1 n1 a=1@100 b=1  -> LDS [a b] v1 n1 / reachable, changed LDS a #0, changed LDS b #1 | 105 ttl
        6 LDS v1 n2 a=~@100      -> LDS [a b] v1 n2 | 106 ttl
        7 LDS v2 n3 a=~@100 b=2  -> LDS [a b] v2 n3 / changed LDS b #1 | 107 ttl
        8 LDS v3 n4 b=2          -> LDS [a b] v3 n4 / omitted LDS a kept | 107 ttl
        107 timer                -> / expired LDS a
        ",
    );
}

#[test]
fn a_time_to_live_ends_with_its_watch() {
    after_ttl("6 unwatch RDS a -> RDS [] v1 n1 / forgotten RDS a");
}
