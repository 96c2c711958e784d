//! When there is a stream, and how long until the next.

use super::script::{Sim, check};

#[test]
fn a_first_watch_opens_the_stream() {
    check(
        "",
        "
        7 timer        ->
        7 watch LDS a  -> / connect | 20007 connect_timeout
        7 watch LDS b  -> | 20007 connect_timeout
        ",
    );
}

#[test]
fn streams_without_a_response_are_further_and_further_apart() {
    check(
        "",
        "
        0 watch LDS a     -> / connect | 20000 connect_timeout
        0 failed x        -> / unreachable 1: x | 1000 backoff
        999 timer         -> | 1000 backoff
        1000 timer        -> / connect | 21000 connect_timeout
        1000 failed x     -> / unreachable 2: x | 2600 backoff
        2600 timer        -> / connect | 22600 connect_timeout
        2600 connected    -> node LDS [a] | 17600 does_not_exist
        2600 closed       -> / unreachable 3: the server ended the stream without a response | 5160 backoff
        5160 timer        -> / connect | 25160 connect_timeout
        5160 failed x     -> / unreachable 4: x | 9256 backoff
        ",
    );
}

#[test]
fn the_pause_has_a_cap() {
    let mut sim = Sim::given("");
    sim.event(0, "watch LDS a");
    let mut now = 0;
    for _ in 0..40 {
        sim.event(now, "failed x");
        now += 200_000;
        sim.event(now, "timer");
    }
    let last = sim.event(now, "failed x");
    assert_eq!(last, format!("/ unreachable 41: x | {} backoff", now + 120_000));
}

#[test]
fn a_response_resets_the_pause() {
    check(
        "",
        "
        0 watch LDS a     -> / connect | 20000 connect_timeout
        0 failed x        -> / unreachable 1: x | 1000 backoff
        1000 timer        -> / connect | 21000 connect_timeout
        1000 failed x     -> / unreachable 2: x | 2600 backoff
        2600 timer        -> / connect | 22600 connect_timeout
        2600 connected    -> node LDS [a] | 17600 does_not_exist
        2601 LDS v1 n1 a=1 -> LDS [a] v1 n1 / reachable, changed LDS a #0
        9000 failed y     -> / connect | 29000 connect_timeout
        9000 failed z     -> / unreachable 1: z | 10000 backoff
        ",
    );
}

#[test]
fn a_stream_that_ends_after_a_response_is_no_error_but_not_a_hot_loop() {
    check(
        "",
        "
        0 watch LDS a     -> / connect | 20000 connect_timeout
        0 connected       -> node LDS [a] | 15000 does_not_exist
        1 LDS v1 n1 a=1   -> LDS [a] v1 n1 / reachable, changed LDS a #0
        2 failed x        -> | 1000 stream_interval
        1000 timer        -> / connect | 21000 connect_timeout
        1001 connected    -> node LDS [a] v1
        1002 LDS v1 n1 a=1 -> LDS [a] v1 n1
        1003 closed       -> | 2000 stream_interval
        2000 timer        -> / connect | 22000 connect_timeout
        ",
    );
}

#[test]
fn a_short_pause_makes_no_hot_loop_either() {
    check(
        "backoff=10",
        "
        0 watch LDS a     -> / connect | 20000 connect_timeout
        5 failed x        -> / unreachable 1: x | 1000 backoff
        1000 timer        -> / connect | 21000 connect_timeout
        5000 failed x     -> / unreachable 2: x | 5016 backoff
        ",
    );
}

#[test]
fn a_mute_server_is_given_up() {
    check(
        "mute=500",
        "
        0 watch LDS a     -> / connect | 20000 connect_timeout
        0 connected       -> node LDS [a] | 500 mute_timeout
        499 timer         -> | 500 mute_timeout
        500 timer         -> / close, unreachable 1: the server said nothing within 500ms of a request | 1500 backoff
        500 LDS v1 n1 a=1 -> | 1500 backoff
        500 closed        -> | 1500 backoff
        1500 timer        -> / connect | 21500 connect_timeout
        ",
    );
    // After it took time for that resource to be absent, too.
    check(
        "",
        "
        0 watch LDS a     -> / connect | 20000 connect_timeout
        0 connected       -> node LDS [a] | 15000 does_not_exist
        15000 timer       -> / absent by silence LDS a | 60000 mute_timeout
        60000 timer       -> / close, unreachable 1: the server said nothing within 60s of a request | 61000 backoff
        ",
    );
    check(
        "mute=500",
        "
        0 watch LDS *     -> / connect | 20000 connect_timeout
        0 connected       -> node LDS [] | 500 mute_timeout
        500 timer         -> / close, unreachable 1: the server said nothing within 500ms of a request | 1500 backoff
        ",
    );
}

#[test]
fn a_quiet_server_is_not_mute() {
    // After any response.
    check(
        "mute=500",
        "
        0 watch LDS a     -> / connect | 20000 connect_timeout
        0 connected       -> node LDS [a] | 500 mute_timeout
        1 CDS v1 n1       -> / reachable | 15000 does_not_exist
        ",
    );
    // If all is known: it need not send again the version that the client named.
    check(
        "mute=500",
        "
        0 watch LDS a     -> / connect | 20000 connect_timeout
        0 connected       -> node LDS [a] | 500 mute_timeout
        1 LDS v1 n1 a=1   -> LDS [a] v1 n1 / reachable, changed LDS a #0
        5000 closed       -> / connect | 25000 connect_timeout
        5000 connected    -> node LDS [a] v1
        6000 watch RDS b  -> RDS [b] | 6500 mute_timeout
        ",
    );
    // If nothing is wanted of it any more.
    check(
        "mute=500",
        "
        0 watch LDS a     -> / connect | 20000 connect_timeout
        0 connected       -> node LDS [a] | 500 mute_timeout
        1 unwatch LDS a   -> LDS [] | 500 mute_timeout
        500 timer         ->
        ",
    );
}

#[test]
fn a_stream_must_open_in_time() {
    check(
        "",
        "
        0 watch LDS a     -> / connect | 20000 connect_timeout
        20000 timer       -> / close, unreachable 1: no stream could be opened within 20s | 21000 backoff
        20001 connected   -> | 21000 backoff
        21000 timer       -> / connect | 41000 connect_timeout
        ",
    );
}

#[test]
fn what_the_server_does_not_speak_is_not_spoken() {
    check(
        "delta",
        "
        0 watch LDS a     -> / connect delta | 20000 connect_timeout
        0 connected       -> node LDS +a | 15000 does_not_exist
        1 unimplemented x -> / connect, StateOfTheWorld: x | 20001 connect_timeout
        1 connected       -> node LDS [a] | 15001 does_not_exist
        2 LDS v1 n1 a=1   -> LDS [a] v1 n1 / reachable, changed LDS a #0
        5000 closed       -> / connect | 25000 connect_timeout
        ",
    );
    check(
        "",
        "
        0 watch LDS a     -> / connect | 20000 connect_timeout
        1 unimplemented x -> / connect delta, Delta: x | 20001 connect_timeout
        ",
    );
}

#[test]
fn if_it_speaks_neither_the_other_one_stays() {
    check(
        "delta",
        "
        0 watch LDS a     -> / connect delta | 20000 connect_timeout
        1 unimplemented x -> / connect, StateOfTheWorld: x | 20001 connect_timeout
        2 unimplemented y -> / unreachable 1: y | 1002 backoff
        1002 timer        -> / connect | 21002 connect_timeout
        ",
    );
}

#[test]
fn a_stream_with_responses_was_implemented() {
    check(
        "delta",
        "
        0 watch LDS a     -> / connect delta | 20000 connect_timeout
        0 connected       -> node LDS +a | 15000 does_not_exist
        1 LDS - n1 a=1    -> LDS n1 / reachable, changed LDS a #0
        5000 unimplemented x -> / connect delta | 25000 connect_timeout
        ",
    );
}

#[test]
fn the_versions_of_one_variant_mean_nothing_in_the_other() {
    check(
        "",
        "
        0 watch LDS a     -> / connect | 20000 connect_timeout
        0 connected       -> node LDS [a] | 15000 does_not_exist
        1 LDS v1 n1 a=1   -> LDS [a] v1 n1 / reachable, changed LDS a #0
        5000 closed       -> / connect | 25000 connect_timeout
        5001 unimplemented x -> / connect delta, Delta: x | 25001 connect_timeout
        5002 connected    -> node LDS +a {a:}
        5003 LDS - n1 a=1#r1 -> LDS n1
        ",
    );
    check(
        "delta",
        "
        0 watch LDS a     -> / connect delta | 20000 connect_timeout
        0 connected       -> node LDS +a | 15000 does_not_exist
        1 LDS v1 n1 a=1#r1 -> LDS n1 / reachable, changed LDS a #0
        5000 closed       -> / connect delta | 25000 connect_timeout
        5001 unimplemented x -> / connect, StateOfTheWorld: x | 25001 connect_timeout
        5002 connected    -> node LDS [a]
        ",
    );
}

#[test]
fn a_server_of_the_other_variant_has_not_answered_yet() {
    check(
        "",
        "
        0 watch LDS *     -> / connect | 20000 connect_timeout
        0 connected       -> node LDS [] | 60000 mute_timeout
        1 LDS v1 n1 a=1   -> LDS [] v1 n1 / reachable, changed LDS a #0
        5000 closed       -> / connect | 25000 connect_timeout
        5001 unimplemented x -> / connect delta, Delta: x | 25001 connect_timeout
        5002 connected    -> node LDS {a:} | 65002 mute_timeout
        5003 LDS - n1 -a  -> LDS n1 / removed LDS a, forgotten LDS a
        ",
    );
}

#[test]
fn what_was_learned_stays_while_the_server_is_away() {
    check(
        "",
        "
        0 watch LDS a     -> / connect | 20000 connect_timeout
        0 connected       -> node LDS [a] | 15000 does_not_exist
        1 LDS v1 n1 a=1   -> LDS [a] v1 n1 / reachable, changed LDS a #0
        5000 failed x     -> / connect | 25000 connect_timeout
        5000 failed x     -> / unreachable 1: x | 6000 backoff
        6000 timer        -> / connect | 26000 connect_timeout
        6000 connected    -> node LDS [a] v1
        6001 LDS v1 n1 a=1 -> LDS [a] v1 n1 / reachable
        ",
    );
}
