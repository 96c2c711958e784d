//! One of several servers: replaced by another, or asked for nothing.

use super::script::check;

/// gRFC A71: what it sent was replaced, so that it must not rely on it. A server whose version is still the
/// same would send nothing.
#[test]
fn a_server_that_was_replaced_sends_everything_again() {
    check(
        "",
        "
        0 watch CDS a      -> / connect | 20000 connect_timeout
        0 connected        -> node CDS [a] | 15000 does_not_exist
        1 CDS v1 n1 a=1    -> CDS [a] v1 n1 / reachable, changed CDS a #0
        1000 closed        -> / connect | 21000 connect_timeout
        1001 failed x      -> / unreachable 1: x | 2001 backoff
        1001 replaced      -> | 2001 backoff
        2001 timer         -> / connect | 22001 connect_timeout
        2002 connected     -> node CDS [a]
        2003 CDS v1 n1 a=1 -> CDS [a] v1 n1 / reachable, changed CDS a #0
        2004 CDS v1 n2 a=1 -> CDS [a] v1 n2
        ",
    );
    check(
        "delta",
        "
        0 watch CDS a         -> / connect delta | 20000 connect_timeout
        0 connected           -> node CDS +a | 15000 does_not_exist
        1 CDS v1 n1 a=1#r1    -> CDS n1 / reachable, changed CDS a #0
        1000 closed           -> / connect delta | 21000 connect_timeout
        1001 failed x         -> / unreachable 1: x | 2001 backoff
        1001 replaced         -> | 2001 backoff
        2001 timer            -> / connect delta | 22001 connect_timeout
        2002 connected        -> node CDS +a {a:}
        2003 CDS v1 n1 a=1#r1 -> CDS n1 / reachable, changed CDS a #0
        ",
    );
}

/// Within a stream a server need not repeat itself.
#[test]
fn an_open_stream_is_left_and_opened_anew() {
    check(
        "",
        "
        0 watch CDS a   -> / connect | 20000 connect_timeout
        5 connected     -> node CDS [a] | 15005 does_not_exist
        9 replaced      -> / close | 1000 stream_interval
        9 closed        -> | 1000 stream_interval
        1000 timer      -> / connect | 21000 connect_timeout
        1001 connected  -> node CDS [a] | 16001 does_not_exist
        ",
    );
}

#[test]
fn a_server_that_is_asked_for_nothing_has_no_stream() {
    check(
        "",
        "
        0 watch CDS a     -> / connect | 20000 connect_timeout
        0 connected       -> node CDS [a] | 15000 does_not_exist
        1 CDS v1 n1 a=1   -> CDS [a] v1 n1 / reachable, changed CDS a #0
        2 idle            ->
        5 ~unwatch CDS a  ->
        5 idle            -> / close, forgotten CDS a
        6 closed          ->
        7 watch CDS a     -> | 1000 stream_interval
        1000 timer        -> / connect | 21000 connect_timeout
        1001 connected    -> node CDS [a] | 16001 does_not_exist
        1002 CDS v1 n1 a=1 -> CDS [a] v1 n1 / reachable, changed CDS a #0
        ",
    );
}

/// Whoever watches again does not hurry a server that is down.
#[test]
fn a_pause_goes_on_while_nothing_is_asked_for() {
    check(
        "",
        "
        0 watch CDS a    -> / connect | 20000 connect_timeout
        0 failed x       -> / unreachable 1: x | 1000 backoff
        10 unwatch CDS a -> | 1000 backoff
        10 idle          ->
        20 watch CDS b   -> | 1000 backoff
        1000 timer       -> / connect | 21000 connect_timeout
        1000 failed x    -> / unreachable 2: x | 2600 backoff
        ",
    );
}
