//! Versions, nonces, ACK and NACK.

use super::script::check;

/// A first stream that asks for the listener `a`.
const LDS: &str = "
    0 watch LDS a -> / connect | 20000 connect_timeout
    0 connected   -> node LDS [a] | 15000 does_not_exist
";
/// The same of the route configurations `a` and `b`.
const RDS: &str = "
    0 watch RDS a -> / connect | 20000 connect_timeout
    0 watch RDS b -> | 20000 connect_timeout
    0 connected   -> node RDS [a b] | 15000 does_not_exist
";
/// The same in delta.
const DELTA: &str = "
    0 watch CDS a -> / connect delta | 20000 connect_timeout
    0 watch CDS b -> | 20000 connect_timeout
    0 connected   -> node CDS +a +b | 15000 does_not_exist
";

#[track_caller]
fn after(given: &str, start: &str, rows: &str) {
    check(given, &format!("{start}{rows}"));
}

#[test]
fn a_good_response_is_acked_with_its_version_and_nonce() {
    after("", LDS, "5 LDS v1 n1 a=1 -> LDS [a] v1 n1 / reachable, changed LDS a #0");
}

#[test]
fn the_node_is_sent_once_for_each_stream() {
    check(
        "",
        "
        0 watch LDS a      -> / connect | 20000 connect_timeout
        0 watch CDS c      -> | 20000 connect_timeout
        0 connected        -> node LDS [a], CDS [c] | 15000 does_not_exist
        5 LDS v1 n1 a=1    -> LDS [a] v1 n1 / reachable, changed LDS a #0 | 15000 does_not_exist
        6 CDS v1 n2 c=1    -> CDS [c] v1 n2 / changed CDS c #0
        5000 closed        -> / connect | 25000 connect_timeout
        5001 connected     -> node LDS [a] v1, CDS [c] v1
        ",
    );
}

#[test]
fn the_version_survives_the_stream_and_the_nonce_does_not() {
    after(
        "",
        LDS,
        "
        5 LDS v1 n1 a=1    -> LDS [a] v1 n1 / reachable, changed LDS a #0
        5000 closed        -> / connect | 25000 connect_timeout
        5001 connected     -> node LDS [a] v1
        5002 LDS v1 n1 a=1 -> LDS [a] v1 n1
        ",
    );
}

#[test]
fn a_nack_has_the_version_before_the_new_nonce_and_every_error() {
    after(
        "",
        LDS,
        "
        5 LDS v1 n1 a=!x -> LDS [a] n1 !\"`a`: x\" / reachable, refused LDS a: x
        6 LDS v2 n2 a=1  -> LDS [a] v2 n2 / changed LDS a #0
        7 LDS v3 n3 a=!y -> LDS [a] v2 n3 !\"`a`: y\" / refused LDS a kept: y
        ",
    );
    after(
        "",
        RDS,
        "5 RDS v1 n1 a=!x b=!y -> RDS [a b] n1 !\"`a`: x; `b`: y\" / reachable, refused RDS a: x, refused RDS b: y",
    );
}

#[test]
fn a_nack_of_the_version_that_is_in_use_is_still_a_nack() {
    after(
        "",
        LDS,
        "
        5 LDS v1 n1 a=1  -> LDS [a] v1 n1 / reachable, changed LDS a #0
        6 LDS v1 n2 a=!x -> LDS [a] v1 n2 !\"`a`: x\" / refused LDS a kept: x
        ",
    );
}

#[test]
fn after_a_reconnect_the_version_is_the_last_that_was_acked() {
    after(
        "",
        RDS,
        "
        5 RDS v1 n1 a=1 b=1  -> RDS [a b] v1 n1 / reachable, changed RDS a #0, changed RDS b #1
        6 RDS v2 n2 a=2 b=!x -> RDS [a b] v1 n2 !\"`b`: x\" / changed RDS a #0, refused RDS b kept: x
        5000 closed          -> / connect | 25000 connect_timeout
        5001 connected       -> node RDS [a b] v1
        ",
    );
}

#[test]
fn the_good_resources_of_a_refused_response_are_used() {
    // gRFC A46.
    after(
        "",
        RDS,
        "5 RDS v1 n1 a=1 b=!x -> RDS [a b] n1 !\"`b`: x\" / reachable, changed RDS a #0, refused RDS b: x",
    );
}

#[test]
fn a_name_that_comes_twice_is_refused_and_the_first_counts() {
    after(
        "",
        RDS,
        "5 RDS v1 n1 a=1 a=2 b=1 -> RDS [a b] n1 !\"`a`: it is in this response more than once\" / reachable, changed RDS a #0, changed RDS b #2",
    );
    // The same name, written in another way.
    check(
        "",
        "
        0 watch RDS xdstp://x/t/a?k=1&j=2 -> / connect | 20000 connect_timeout
        0 connected -> node RDS [xdstp://x/t/a?j=2&k=1] | 15000 does_not_exist
        5 RDS v1 n1 xdstp://x/t/a?k=1&j=2=1 xdstp://x/t/a?j=2&k=1=1 -> RDS [xdstp://x/t/a?j=2&k=1] n1 !\"`xdstp://x/t/a?j=2&k=1`: it is in this response more than once\" / reachable, changed RDS xdstp://x/t/a?j=2&k=1 #0
        ",
    );
}

#[test]
fn a_resource_without_a_name_is_refused() {
    after(
        "",
        LDS,
        "
        5 LDS v1 n1 =!x a=1 -> LDS [a] n1 !\"resource 0 of the response: x\" / reachable, changed LDS a #1
        6 LDS v2 n2 =1 a=1  -> LDS [a] n2 !\"resource 0 of the response: it has no name\"
        7 LDS v3 n3 =~ a=1  -> LDS [a] n3 !\"resource 0 of the response: it has no name\"
        ",
    );
}

#[test]
fn what_nobody_asked_for_is_not_told_but_refused_if_bad() {
    after(
        "",
        RDS,
        "
        5 RDS v1 n1 x=1 a=1  -> RDS [a b] v1 n1 / reachable, changed RDS a #1 | 15000 does_not_exist
        6 RDS v2 n2 x=!y a=2 -> RDS [a b] v1 n2 !\"`x`: y\" / changed RDS a #1 | 15000 does_not_exist
        7 RDS v3 n3 x=~      -> RDS [a b] v3 n3 | 15000 does_not_exist
        ",
    );
}

#[test]
fn an_answer_is_given_without_a_subscription_too() {
    after(
        "",
        RDS,
        "
        5 RDS v1 n1 a=1 b=1 -> RDS [a b] v1 n1 / reachable, changed RDS a #0, changed RDS b #1
        6 unwatch RDS a     -> RDS [b] v1 n1 / forgotten RDS a
        7 unwatch RDS b     -> RDS [] v1 n1 / forgotten RDS b
        8 RDS v2 n2 a=2     -> RDS [] v2 n2
        9 RDS v3 n3 a=!x    -> RDS [] v2 n3 !\"`a`: x\"
        9 EDS v1 n4         -> EDS [] v1 n4
        ",
    );
    after(
        "delta",
        DELTA,
        "
        5 CDS - n1 a=1 b=1 -> CDS n1 / reachable, changed CDS a #0, changed CDS b #1
        6 unwatch CDS a    -> CDS -a / forgotten CDS a
        7 unwatch CDS b    -> CDS -b / forgotten CDS b
        8 CDS - n2 a=2     -> CDS n2
        9 EDS - n3         -> EDS n3
        ",
    );
}

#[test]
fn an_answer_that_would_ask_for_everything_is_not_given() {
    // Without names, the first request of LDS and CDS asks for all.
    after("", RDS, "5 LDS v1 n1 x=1 -> / reachable | 15000 does_not_exist");
    after("delta", DELTA, "5 LDS - n1 x=1 -> / reachable | 15000 does_not_exist");
}

#[test]
fn a_response_of_another_type_is_not_answered_but_heard() {
    after(
        "",
        LDS,
        "
        5 unknown      -> / reachable | 15000 does_not_exist
        5000 closed    -> / connect | 25000 connect_timeout
        ",
    );
}

#[test]
fn a_request_is_made_when_it_is_taken() {
    after(
        "",
        LDS,
        "
        5 ~LDS v1 n1 a=1 -> / reachable, changed LDS a #0
        6 ~watch LDS b   ->
        7 ~LDS v2 n2 a=2 -> / changed LDS a #0
        8 take           -> LDS [a b] v2 n2 | 15008 does_not_exist
        9 take           -> | 15008 does_not_exist
        ",
    );
    after(
        "delta",
        DELTA,
        "
        5 ~CDS - n1 a=1  -> / reachable, changed CDS a #0 | 15000 does_not_exist
        6 ~watch CDS c   -> | 15000 does_not_exist
        7 ~unwatch CDS b -> | 15000 does_not_exist
        8 ~CDS - n2 a=2  -> / changed CDS a #0 | 15000 does_not_exist
        9 take           -> CDS +c -b n2 | 15009 does_not_exist
        ",
    );
}

#[test]
fn what_was_wrong_stays_wrong_until_it_is_repeated() {
    let first = "5 ~RDS v1 n1 a=!x -> / reachable, refused RDS a: x | 15000 does_not_exist\n";
    let other = "6 ~RDS v2 n2 b=1 -> / changed RDS b #0\n7 take -> RDS [a b] n2 !\"`a`: x\"\n";
    let again =
        "6 ~RDS v2 n2 a=1 b=1 -> / changed RDS a #0, changed RDS b #1\n7 take -> RDS [a b] v2 n2";
    after("", RDS, &format!("{first}{other}8 RDS v3 n3 a=1 -> RDS [a b] v3 n3 / changed RDS a #0"));
    after("", RDS, &format!("{first}{again}"));
    // A whole response repeats everything.
    after(
        "",
        LDS,
        "
        5 ~LDS v1 n1 a=1 x=!y -> / reachable, changed LDS a #0
        6 ~LDS v2 n2 a=1      ->
        7 take                -> LDS [a] v2 n2
        ",
    );
}

#[test]
fn delta_has_a_nonce_only_in_answers() {
    after(
        "delta",
        DELTA,
        "
        5 CDS - n1 a=1#r1 -> CDS n1 / reachable, changed CDS a #0 | 15000 does_not_exist
        6 watch CDS c     -> CDS +c | 15000 does_not_exist
        7 CDS - n2 b=!x   -> CDS n2 !\"`b`: x\" / refused CDS b: x | 15006 does_not_exist
        8 unwatch CDS c   -> CDS -c
        ",
    );
}

#[test]
fn delta_refuses_what_is_sent_and_removed_at_once() {
    after(
        "delta",
        DELTA,
        "5 CDS - n1 a=1 -a -> CDS n1 !\"`a`: it is both sent and removed in this response\" / reachable, changed CDS a #0 | 15000 does_not_exist",
    );
}

#[test]
fn removals_are_of_delta_only() {
    after(
        "",
        RDS,
        "5 RDS v1 n1 a=1 -b -> RDS [a b] v1 n1 / reachable, changed RDS a #0 | 15000 does_not_exist",
    );
}

#[test]
fn delta_names_what_it_holds_on_the_next_stream() {
    after(
        "delta",
        DELTA,
        "
        5 CDS - n1 a=1#r1 b=1#r2 -> CDS n1 / reachable, changed CDS a #0, changed CDS b #1
        6 watch CDS c            -> CDS +c | 15006 does_not_exist
        5000 closed              -> / connect delta | 25000 connect_timeout
        5001 connected           -> node CDS +a +b +c {a:r1 b:r2} | 20001 does_not_exist
        5002 CDS - n1 a=2#r3     -> CDS n1 / changed CDS a #0 | 20001 does_not_exist
        6000 watch CDS d         -> CDS +d | 20001 does_not_exist
        ",
    );
}

#[test]
fn delta_withholds_the_versions_of_what_is_not_good() {
    after(
        "delta",
        DELTA,
        "
        5 CDS - n1 a=1#r1 b=1#r2 -> CDS n1 / reachable, changed CDS a #0, changed CDS b #1
        6 CDS - n2 a=!x#r3 -b    -> CDS n2 !\"`a`: x\" / refused CDS a kept: x, removed CDS b kept
        5000 closed              -> / connect delta | 25000 connect_timeout
        5001 connected           -> node CDS +a +b {a: b:}
        5002 CDS - n1 a=1#r1 b=1#r2 -> CDS n1 / changed CDS a #0, changed CDS b #1
        ",
    );
}

#[test]
fn an_empty_nonce_is_answered_too() {
    after("", LDS, "5 LDS v1 '' a=1 -> LDS [a] v1 / reachable, changed LDS a #0");
}

#[test]
fn what_comes_without_a_stream_is_ignored() {
    check(
        "",
        "
        0 LDS v1 n1 a=1  ->
        0 connected      ->
        0 closed         ->
        0 timer          ->
        0 unwatch LDS a  ->
        0 watch LDS a    -> / connect | 20000 connect_timeout
        0 LDS v1 n1 a=1  -> | 20000 connect_timeout
        1 connected      -> node LDS [a] | 15001 does_not_exist
        1 connected      -> | 15001 does_not_exist
        ",
    );
}
