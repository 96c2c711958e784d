//! Changes, deletions and errors of single resources (gRFC A53, A88).

use super::script::{Sim, check};

/// A first stream on which the clusters `a` and `b` are held.
const CDS: &str = "
    0 watch CDS a       -> / connect | 20000 connect_timeout
    0 watch CDS b       -> | 20000 connect_timeout
    0 connected         -> node CDS [a b] | 15000 does_not_exist
    1 CDS v1 n1 a=1 b=1 -> CDS [a b] v1 n1 / reachable, changed CDS a #0, changed CDS b #1
";
/// The same in delta.
const DELTA: &str = "
    0 watch EDS a       -> / connect delta | 20000 connect_timeout
    0 watch EDS b       -> | 20000 connect_timeout
    0 connected         -> node EDS +a +b | 15000 does_not_exist
    1 EDS - n1 a=1 b=1  -> EDS n1 / reachable, changed EDS a #0, changed EDS b #1
";

#[track_caller]
fn after(given: &str, start: &str, rows: &str) {
    check(given, &format!("{start}{rows}"));
}

// === Changes ===

#[test]
fn equal_content_is_not_told_again() {
    after(
        "",
        CDS,
        "
        2 CDS v2 n2 a=1 b=2 -> CDS [a b] v2 n2 / changed CDS b #1
        3 CDS v3 n3 b=2 a=1 -> CDS [a b] v3 n3
        ",
    );
    after("delta", DELTA, "2 EDS - n2 a=1 b=2 -> EDS n2 / changed EDS b #1");
}

#[test]
fn equal_content_is_told_again_after_an_error() {
    // grpc-go#7692.
    after(
        "",
        CDS,
        "
        2 CDS v2 n2 a=!x b=1 -> CDS [a b] v1 n2 !\"`a`: x\" / refused CDS a kept: x
        3 CDS v3 n3 a=1 b=1  -> CDS [a b] v3 n3 / changed CDS a #0
        4 CDS v4 n4 b=1      -> CDS [a b] v4 n4 / omitted CDS a kept
        5 CDS v5 n5 a=1 b=1  -> CDS [a b] v5 n5 / changed CDS a #0
        6 CDS v5 n6 a=1 b=1  -> CDS [a b] v5 n6
        ",
    );
}

#[test]
fn an_equal_error_is_told_once_and_refused_each_time() {
    after(
        "",
        CDS,
        "
        2 CDS v2 n2 a=!x b=1 -> CDS [a b] v1 n2 !\"`a`: x\" / refused CDS a kept: x
        3 CDS v3 n3 a=!x b=1 -> CDS [a b] v1 n3 !\"`a`: x\"
        4 CDS v4 n4 a=!y b=1 -> CDS [a b] v1 n4 !\"`a`: y\" / refused CDS a kept: y
        ",
    );
}

// === Deletions ===

#[test]
fn what_a_response_of_lds_and_cds_is_without_is_deleted() {
    after(
        "",
        CDS,
        "
        2 CDS v2 n2 b=1 -> CDS [a b] v2 n2 / omitted CDS a kept
        3 CDS v3 n3 b=1 -> CDS [a b] v3 n3
        4 CDS v4 n4     -> CDS [a b] v4 n4 / omitted CDS b kept
        ",
    );
    after(
        "fail",
        CDS,
        "
        2 CDS v2 n2 b=1     -> CDS [a b] v2 n2 / omitted CDS a
        3 CDS v3 n3 b=1     -> CDS [a b] v3 n3
        4 CDS v4 n4 b=1 a=1 -> CDS [a b] v4 n4 / changed CDS a #1
        ",
    );
    for fail in ["", "fail"] {
        let kept = if fail.is_empty() { " kept" } else { "" };
        check(
            fail,
            &format!(
                "
                0 watch LDS a   -> / connect | 20000 connect_timeout
                0 connected     -> node LDS [a] | 15000 does_not_exist
                1 LDS v1 n1 a=1 -> LDS [a] v1 n1 / reachable, changed LDS a #0
                2 LDS v2 n2     -> LDS [a] v2 n2 / omitted LDS a{kept}
                "
            ),
        );
    }
}

#[test]
fn what_never_came_is_not_deleted() {
    check(
        "",
        "
        0 watch CDS a   -> / connect | 20000 connect_timeout
        0 connected     -> node CDS [a] | 15000 does_not_exist
        1 CDS v1 n1     -> CDS [a] v1 n1 / reachable | 15000 does_not_exist
        2 watch CDS b   -> CDS [a b] v1 n1 | 15000 does_not_exist
        3 CDS v2 n2 a=1 -> CDS [a b] v2 n2 / changed CDS a #0 | 15002 does_not_exist
        ",
    );
}

#[test]
fn routes_and_endpoints_are_never_deleted_by_omission() {
    for kind in ["RDS", "EDS", "SDS"] {
        check(
            "fail",
            &format!(
                "
                0 watch {kind} a       -> / connect | 20000 connect_timeout
                0 watch {kind} b       -> | 20000 connect_timeout
                0 connected            -> node {kind} [a b] | 15000 does_not_exist
                1 {kind} v1 n1 a=1 b=1 -> {kind} [a b] v1 n1 / reachable, changed {kind} a #0, changed {kind} b #1
                2 {kind} v2 n2 a=1     -> {kind} [a b] v2 n2
                3 {kind} v3 n3         -> {kind} [a b] v3 n3
                "
            ),
        );
    }
}

#[test]
fn what_is_bad_is_there() {
    after("fail", CDS, "2 CDS v2 n2 a=1 b=!x -> CDS [a b] v1 n2 !\"`b`: x\" / refused CDS b: x");
    // What has no name may be the one that is missing.
    after("", CDS, "2 CDS v2 n2 a=1 =!x -> CDS [a b] v1 n2 !\"resource 1 of the response: x\"");
}

#[test]
fn a_refused_resource_that_is_gone_is_absent() {
    check(
        "",
        "
        0 watch CDS a    -> / connect | 20000 connect_timeout
        0 connected      -> node CDS [a] | 15000 does_not_exist
        1 CDS v1 n1 a=!x -> CDS [a] n1 !\"`a`: x\" / reachable, refused CDS a: x
        2 CDS v2 n2      -> CDS [a] v2 n2 / absent CDS a
        3 CDS v3 n3      -> CDS [a] v3 n3
        ",
    );
}

#[test]
fn a_deletion_is_noticed_on_the_next_stream() {
    after(
        "",
        CDS,
        "
        5000 closed       -> / connect | 25000 connect_timeout
        5001 connected    -> node CDS [a b] v1
        5002 CDS v2 n1 b=1 -> CDS [a b] v2 n1 / omitted CDS a kept
        ",
    );
}

#[test]
fn delta_removes_by_name_whatever_the_type() {
    after(
        "delta",
        DELTA,
        "
        2 EDS - n2 -a    -> EDS n2 / removed EDS a kept
        3 EDS - n3 -a -x -> EDS n3
        4 EDS - n4 a=1   -> EDS n4 / changed EDS a #0
        ",
    );
    after("delta fail", DELTA, "2 EDS - n2 -a -> EDS n2 / removed EDS a");
    // What it does not name stays.
    after("delta fail", DELTA, "2 EDS - n2 -> EDS n2");
    check(
        "delta",
        "
        0 watch EDS a   -> / connect delta | 20000 connect_timeout
        0 connected     -> node EDS +a | 15000 does_not_exist
        1 EDS - n1 -a   -> EDS n1 / reachable, absent EDS a
        2 EDS - n2 -a   -> EDS n2
        ",
    );
}

// === Refused updates ===

#[test]
fn a_refused_update_keeps_the_last_good_or_drops_it() {
    after("", CDS, "2 CDS v2 n2 a=!x b=1 -> CDS [a b] v1 n2 !\"`a`: x\" / refused CDS a kept: x");
    after(
        "fail",
        CDS,
        "
        2 CDS v2 n2 a=!x b=1 -> CDS [a b] v1 n2 !\"`a`: x\" / refused CDS a: x
        3 CDS v3 n3 a=1 b=1  -> CDS [a b] v3 n3 / changed CDS a #0
        ",
    );
}

// === Errors of the server ===

#[test]
fn an_error_of_the_server_keeps_what_is_held() {
    after("", CDS, "2 CDS v2 n2 a?5 b=1  -> CDS [a b] v2 n2 / error CDS a 5 kept");
    after("", CDS, "2 CDS v2 n2 a?14 b=1 -> CDS [a b] v2 n2 / error CDS a 14 kept");
    after("", CDS, "2 CDS v2 n2 x?14 a=1 b=1 -> CDS [a b] v2 n2");
}

#[test]
fn data_errors_drop_it_if_so_asked() {
    after("fail", CDS, "2 CDS v2 n2 a?5 b=1  -> CDS [a b] v2 n2 / error CDS a 5");
    after("fail", CDS, "2 CDS v2 n2 a?7 b=1  -> CDS [a b] v2 n2 / error CDS a 7");
    after("fail", CDS, "2 CDS v2 n2 a?14 b=1 -> CDS [a b] v2 n2 / error CDS a 14 kept");
}

#[test]
fn what_had_an_error_is_not_deleted_by_omission() {
    // xDS TP3: the server says it once.
    after(
        "fail",
        CDS,
        "
        2 CDS v2 n2 a?14 b=1 -> CDS [a b] v2 n2 / error CDS a 14 kept
        3 CDS v3 n3 b=1      -> CDS [a b] v3 n3
        4 CDS v4 n4 a=1 b=1  -> CDS [a b] v4 n4 / changed CDS a #0
        ",
    );
}

#[test]
fn not_found_is_a_removal_in_delta() {
    after("delta", DELTA, "2 EDS - n2 a?5  -> EDS n2 / removed EDS a kept");
    after("delta fail", DELTA, "2 EDS - n2 a?5  -> EDS n2 / removed EDS a");
    after("delta fail", DELTA, "2 EDS - n2 a?7  -> EDS n2 / error EDS a 7");
}

#[test]
fn an_error_stands_until_a_value_or_ok() {
    after(
        "",
        CDS,
        "
        2 CDS v2 n2 a?14 b=1 -> CDS [a b] v2 n2 / error CDS a 14 kept
        3 CDS v3 n3 a=1 b=1  -> CDS [a b] v3 n3 / changed CDS a #0
        4 CDS v4 n4 a?14 b=1 -> CDS [a b] v4 n4 / error CDS a 14 kept
        5 CDS v5 n5 a?0 b=1  -> CDS [a b] v5 n5 / restored CDS a
        6 CDS v6 n6 a?0 b=1  -> CDS [a b] v6 n6
        ",
    );
    check(
        "",
        "
        0 watch EDS a     -> / connect | 20000 connect_timeout
        0 connected       -> node EDS [a] | 15000 does_not_exist
        1 EDS v1 n1 a?14  -> EDS [a] v1 n1 / reachable, error EDS a 14
        2 EDS v2 n2 a?0   -> EDS [a] v2 n2 | 15002 does_not_exist
        3 EDS v3 n3 a=1   -> EDS [a] v3 n3 / changed EDS a #0
        ",
    );
}

#[test]
fn an_error_is_remembered_beyond_the_stream() {
    check(
        "",
        "
        0 watch EDS a     -> / connect | 20000 connect_timeout
        0 connected       -> node EDS [a] | 15000 does_not_exist
        1 EDS v1 n1 a?14  -> EDS [a] v1 n1 / reachable, error EDS a 14
        5000 closed       -> / connect | 25000 connect_timeout
        5001 connected    -> node EDS [a] v1
        ",
    );
}

// === Status ===

/// What is known after `events`, each at its number in seconds.
#[track_caller]
fn check_status(given: &str, events: &[&str], expected: &str) {
    let mut sim = Sim::given(given);
    for (at, event) in events.iter().enumerate() {
        let _: String = sim.event(at as u64 * 1_000, event);
    }
    assert_eq!(sim.resources(), expected, "{events:?}");
}

#[test]
fn the_status_tells_what_watchers_hold() {
    let watch = ["watch CDS a", "connected"];
    let check = |given, more: &[&str], expected| {
        check_status(given, &[&watch[..], more].concat(), expected);
    };
    check("", &[], "CDS a Requested - 0");
    check("", &["CDS v1 n1 a=1"], "CDS a Acked v1 2");
    check("", &["CDS v1 n1 a=1", "CDS v2 n2 a=1"], "CDS a Acked v2 2");
    check("", &["CDS v1 n1 a=1", "CDS v2 n2 a=2"], "CDS a Acked v2 3");
    check("", &["CDS v1 n1 a=1#r1"], "CDS a Acked r1 2");
    check("", &["CDS v1 n1 a=!x"], "CDS a Nacked - 2 v1: x");
    check("", &["CDS v1 n1 a=1", "CDS v2 n2 a=!x"], "CDS a Nacked v1 3 v2: x");
    check("", &["CDS v1 n1 a=1", "CDS v2 n2 a=!x", "CDS v3 n3 a=!x"], "CDS a Nacked v1 3 v3: x");
    check("fail", &["CDS v1 n1 a=1", "CDS v2 n2 a=!x"], "CDS a Nacked - 3 v2: x");
    check("", &["CDS v1 n1 a=1", "CDS v2 n2"], "CDS a DoesNotExist v1 3");
    check("fail", &["CDS v1 n1 a=1", "CDS v2 n2"], "CDS a DoesNotExist - 3");
    check("", &["CDS v1 n1 a?14"], "CDS a ReceivedError - 2 -: code 14");
    check("", &["CDS v1 n1 a=1", "CDS v2 n2 a?14"], "CDS a ReceivedError v1 3 -: code 14");
    check("absent=500", &["timer"], "CDS a DoesNotExist - 2");
    check("absent=500 transient", &["timer"], "CDS a Timeout - 2");
    check("", &["CDS v1 n1 a=!x", "CDS v2 n2 a?14"], "CDS a ReceivedError - 3 -: code 14");
    check("", &["CDS v1 n1 a=1", "closed"], "CDS a Acked v1 2");
    check("", &["CDS v1 n1 a=1", "unwatch CDS a"], "");
}
