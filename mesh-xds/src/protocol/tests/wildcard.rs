//! All that the server has.

use super::script::check;

#[test]
fn no_names_ask_for_everything_of_lds_and_cds() {
    check(
        "",
        "
        0 watch LDS *       -> / connect | 20000 connect_timeout
        1 connected         -> node LDS [] | 60001 mute_timeout
        2 LDS v1 n1 a=1 b=1 -> LDS [] v1 n1 / reachable, changed LDS a #0, changed LDS b #1
        ",
    );
    check(
        "delta",
        "
        0 watch LDS *       -> / connect delta | 20000 connect_timeout
        1 connected         -> node LDS | 60001 mute_timeout
        2 LDS - n1 a=1 b=1  -> LDS n1 / reachable, changed LDS a #0, changed LDS b #1
        ",
    );
}

#[test]
fn other_types_need_the_star() {
    check(
        "",
        "
        0 watch RDS *       -> / connect | 20000 connect_timeout
        1 connected         -> node RDS [*] | 60001 mute_timeout
        2 RDS v1 n1 a=1     -> RDS [*] v1 n1 / reachable, changed RDS a #0
        3 unwatch RDS *     -> RDS [] v1 n1 / forgotten RDS a
        ",
    );
    check(
        "delta",
        "
        0 watch RDS *       -> / connect delta | 20000 connect_timeout
        1 connected         -> node RDS +* | 60001 mute_timeout
        2 RDS - n1 a=1      -> RDS n1 / reachable, changed RDS a #0
        3 unwatch RDS *     -> RDS -* / forgotten RDS a
        ",
    );
}

#[test]
fn after_a_name_everything_needs_the_star() {
    check(
        "",
        "
        0 watch CDS a       -> / connect | 20000 connect_timeout
        1 connected         -> node CDS [a] | 15001 does_not_exist
        2 watch CDS *       -> CDS [* a] | 15001 does_not_exist
        3 unwatch CDS a     -> CDS [*] | 60001 mute_timeout
        4 CDS v1 n1 a=1     -> CDS [*] v1 n1 / reachable, changed CDS a #0
        5 unwatch CDS *     -> CDS [] v1 n1 / forgotten CDS a
        ",
    );
}

#[test]
fn a_name_beside_everything_is_named() {
    check(
        "",
        "
        0 watch CDS *       -> / connect | 20000 connect_timeout
        1 connected         -> node CDS [] | 60001 mute_timeout
        2 watch CDS a       -> CDS [* a] | 15002 does_not_exist
        3 CDS v1 n1 a=1 b=1 -> CDS [* a] v1 n1 / reachable, changed CDS a #0, changed CDS b #1
        4 unwatch CDS *     -> CDS [a] v1 n1 / forgotten CDS b
        ",
    );
    check(
        "delta",
        "
        0 watch CDS *       -> / connect delta | 20000 connect_timeout
        1 connected         -> node CDS | 60001 mute_timeout
        2 watch CDS a       -> CDS +a | 15002 does_not_exist
        3 CDS - n1 a=1 b=1  -> CDS n1 / reachable, changed CDS a #0, changed CDS b #1
        4 unwatch CDS *     -> CDS -* / forgotten CDS b
        ",
    );
}

#[test]
fn from_no_names_the_way_to_nothing_is_by_the_star() {
    check(
        "",
        "
        0 watch CDS *       -> / connect | 20000 connect_timeout
        1 connected         -> node CDS [] | 60001 mute_timeout
        2 CDS v1 n1 a=1     -> CDS [] v1 n1 / reachable, changed CDS a #0
        3 unwatch CDS *     -> CDS [*] v1 n1, CDS [] v1 n1 / forgotten CDS a
        4 watch CDS *       -> CDS [*] v1 n1
        ",
    );
    check(
        "delta",
        "
        0 watch CDS *       -> / connect delta | 20000 connect_timeout
        1 connected         -> node CDS | 60001 mute_timeout
        2 CDS - n1 a=1      -> CDS n1 / reachable, changed CDS a #0
        3 unwatch CDS *     -> CDS -* / forgotten CDS a
        4 watch CDS *       -> CDS +*
        ",
    );
}

#[test]
fn each_stream_begins_without_names() {
    check(
        "",
        "
        0 watch CDS a       -> / connect | 20000 connect_timeout
        1 connected         -> node CDS [a] | 15001 does_not_exist
        2 CDS v1 n1 a=1     -> CDS [a] v1 n1 / reachable, changed CDS a #0
        3 watch CDS *       -> CDS [* a] v1 n1
        4 unwatch CDS a     -> CDS [*] v1 n1
        5000 closed         -> / connect | 25000 connect_timeout
        5001 connected      -> node CDS [] v1
        ",
    );
    check(
        "delta",
        "
        0 watch CDS *       -> / connect delta | 20000 connect_timeout
        1 connected         -> node CDS | 60001 mute_timeout
        2 CDS - n1 a=1#r1   -> CDS n1 / reachable, changed CDS a #0
        5000 closed         -> / connect delta | 25000 connect_timeout
        5001 connected      -> node CDS {a:r1}
        ",
    );
}

#[test]
fn everything_and_a_name_taken_back_leaves_everything() {
    // Delta: the server must send the resource, or its removal.
    check(
        "delta",
        "
        0 watch CDS *       -> / connect delta | 20000 connect_timeout
        0 watch CDS a       -> | 20000 connect_timeout
        1 connected         -> node CDS +* +a | 15001 does_not_exist
        2 CDS - n1 a=1      -> CDS n1 / reachable, changed CDS a #0
        3 unwatch CDS a     -> CDS -a
        4 CDS - n2 a=1      -> CDS n2
        5 CDS - n3 -a       -> CDS n3 / removed CDS a, forgotten CDS a
        6 CDS - n4 a=1      -> CDS n4 / changed CDS a #0
        ",
    );
    check(
        "",
        "
        0 watch CDS *       -> / connect | 20000 connect_timeout
        0 watch CDS a       -> | 20000 connect_timeout
        1 connected         -> node CDS [* a] | 15001 does_not_exist
        2 unwatch CDS a     -> CDS [*] | 60001 mute_timeout
        3 CDS v1 n1 a=1     -> CDS [*] v1 n1 / reachable, changed CDS a #0
        ",
    );
}

#[test]
fn what_only_the_wildcard_covers_goes_when_it_is_deleted() {
    check(
        "",
        "
        0 watch CDS *       -> / connect | 20000 connect_timeout
        1 connected         -> node CDS [] | 60001 mute_timeout
        2 CDS v1 n1 a=1 b=1 -> CDS [] v1 n1 / reachable, changed CDS a #0, changed CDS b #1
        3 CDS v2 n2 a=1     -> CDS [] v2 n2 / omitted CDS b, forgotten CDS b
        4 CDS v3 n3         -> CDS [] v3 n3 / omitted CDS a, forgotten CDS a
        5 CDS v4 n4 a=1     -> CDS [] v4 n4 / changed CDS a #0
        ",
    );
}

#[test]
fn a_wildcard_is_counted_too() {
    check(
        "",
        "
        0 watch CDS *       -> / connect | 20000 connect_timeout
        0 watch CDS *       -> | 20000 connect_timeout
        1 connected         -> node CDS [] | 60001 mute_timeout
        2 unwatch CDS *     -> | 60001 mute_timeout
        3 ~unwatch CDS *    -> | 60001 mute_timeout
        4 ~CDS v1 n1 a=1    -> / reachable, changed CDS a #0
        5 watch CDS *       -> CDS [] v1 n1
        ",
    );
}

#[test]
fn a_bad_resource_of_the_wildcard_is_told_by_its_name() {
    check(
        "",
        "
        0 watch CDS *       -> / connect | 20000 connect_timeout
        1 connected         -> node CDS [] | 60001 mute_timeout
        2 CDS v1 n1 a=!x    -> CDS [] n1 !\"`a`: x\" / reachable, refused CDS a: x
        3 CDS v2 n2         -> CDS [] v2 n2 / absent CDS a, forgotten CDS a
        ",
    );
}
