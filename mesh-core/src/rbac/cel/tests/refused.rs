//! What no condition may be, with the name of what is wrong and the way out.

use super::*;
use crate::model::{CelConstant, CelExpr};

#[track_caller]
fn check_error(text: &str, expected: &str) {
    let error = check_condition(&condition(text), true).unwrap_err().to_string();
    assert!(error.contains(expected), "{text}: `{error}` does not say `{expected}`");
}

#[test]
fn names_and_attributes() {
    for (text, expected) in [
        ("user == 'a'", "`user` is no name that is known here: there are `request`, `source`"),
        ("request == 1", "`request` is no value by itself: ask for one of path, url_path"),
        ("request.body == ''", "there is no attribute `request.body`: there are path, url_path"),
        ("has(request.body)", "there is no attribute `request.body`"),
        ("request[request.method] == ''", "`request` is no value by itself"),
        ("request.total_size > 1", "`request.total_size` can't be asked for: it counts what Envoy"),
        ("request.headers_bytes > 1", "`request.headers_bytes` can't be asked for"),
        ("request.duration > duration('1s')", "nothing is known of it when a request is decided"),
        ("request.headers == {}", "ask for one header, `request.headers['x']`"),
        ("size(request.headers) > 1", "`'x' in request.headers`"),
        ("request.headers.all(h, h != 'x')", "`request.headers` is no value by itself"),
        ("request.headers['a b'] == ''", "`a b` is no name of a header"),
        ("request.headers[':protocol'] == ''", "`:protocol` is no name of a header"),
        ("source.name == ''", "there is no attribute `source.name`: there are address and port"),
        ("destination.labels == ''", "there is no attribute `destination.labels`"),
        ("connection.id == 1u", "`connection.id` can't be asked for: of a connection and of"),
        ("connection.tls_version == 'TLSv1.3'", "`connection.tls_version` can't be asked for"),
        ("connection.subject_local_certificate == ''", "not our own"),
        ("connection.foo == ''", "there are mtls, requested_server_name"),
        ("metadata.typed_filter_metadata.x == 1", "there are filter_metadata"),
        ("metadata['f'] == 1", "there is no attribute `metadata.f`"),
        ("filter_state[request.method] == b''", "ask for one of a key that is a literal"),
        ("xds.cluster_name == 'c'", "there is no attribute `xds.cluster_name`"),
        ("xds.route_metadata.x == 1", "there is no attribute `xds.route_metadata.x`"),
        ("response.code == 200", "`response.code` can't be asked for: nothing is known of it"),
        ("upstream.port == 1", "`upstream.port` can't be asked for"),
        // A variable is seen in its loop alone.
        ("[1].all(x, x > 0) && x == 1", "`x` is no name that is known here"),
        ("[x].all(x, x > 0)", "`x` is no name that is known here"),
        ("int == type(1)", "`int` is no name that is known here"),
    ] {
        check_error(text, expected);
    }
}

#[test]
fn functions() {
    for (text, expected) in [
        ("type(1) == 1", "there is no function `type` here"),
        ("request.path.reverse() == ''", "there is no function `reverse`"),
        ("size(1, 2) == 1", "`size` does not take 2 arguments"),
        ("'a'.size(1) == 1", "`size` does not take 1 arguments as a method"),
        ("contains('a', 'b')", "`contains` does not take 2 arguments"),
        ("'a'.int() == 1", "`int` does not take 0 arguments as a method"),
        ("'a'.matches()", "`matches` does not take 0 arguments as a method"),
        ("'a'.matches(request.path)", "must be a literal text"),
        ("request.time.getHours('Europe/Berlin') < 8", "no zone of time `Europe/Berlin` here"),
        ("request.time.getMinutes('+25:00:00') < 8", "no zone of time `+25:00:00` here"),
        ("'a'.matches(1)", "must be a literal text"),
        ("'a'.matches('(')", "the pattern of `matches`: "),
        ("'a'.matches('(?=a)')", "the pattern of `matches`: "),
    ] {
        check_error(text, expected);
    }
}

#[test]
fn what_is_off_by_default() {
    for (text, expected) in [
        (
            "string(1) == '1'",
            "`string` is off by default: set `cel_config.enable_string_conversion`",
        ),
        ("'a'.lowerAscii() == 'a'", "set `cel_config.enable_string_functions`"),
        ("'a'.upperAscii() == 'a'", "enable_string_functions"),
        ("'a'.replace('a', 'b') == 'a'", "enable_string_functions"),
        ("'a'.split('b') == ['a']", "enable_string_functions"),
    ] {
        let plain = Condition::new(parse(text));
        let error = check_condition(&plain, true).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
        assert_eq!(check_condition(&condition(text), true), Ok(()), "{text}");
    }
    // What `+` joins is only known when it runs.
    let plain = Condition::new(parse("'a' + 'b' == 'ab'"));
    assert_eq!(outcome(&plain, "plain", "GET h /").0, "!NoOverload");
    let lists = Condition::new(parse("[1] + [2] == [1, 2]"));
    assert_eq!(outcome(&lists, "plain", "GET h /").0, "true");
}

#[test]
fn a_connection_has_no_request() {
    for (text, name) in [
        ("request.path == '/'", "request.path"),
        ("request.headers['x'] == '/'", "request.headers.x"),
        ("'x' in request.headers", "request.headers"),
        ("request.headers['x' + request.url_path] == ''", "request.headers"),
        ("has(request.headers.x)", "request.headers.x"),
        ("request.protocol == 'HTTP/2'", "request.protocol"),
        ("request.size > 1", "request.size"),
    ] {
        let error = check_condition(&condition(text), false).unwrap_err();
        assert_eq!(error, ConditionError::NoHttp { name: name.into() }, "{text}");
        assert_eq!(check_condition(&condition(text), true), Ok(()), "{text}");
    }
    for text in ["source.port > 1024", "connection.mtls", "request.time > timestamp(0)"] {
        assert_eq!(check_condition(&condition(text), false), Ok(()), "{text}");
    }
}

#[test]
fn size_and_depth_have_an_end() {
    let flag = || CelExpr::Const(CelConstant::Bool(true));
    let nested = |depth| (1..depth).fold(flag(), |inner, _| CelExpr::call("!_", vec![inner]));
    assert_eq!(check_condition(&Condition::new(nested(MAX_DEPTH)), true), Ok(()));
    let deeper = check_condition(&Condition::new(nested(MAX_DEPTH + 1)), true);
    assert_eq!(deeper, Err(ConditionError::TooDeep));
    let path = (0..MAX_DEPTH).fold(CelExpr::ident("request"), |inner, _| inner.select("x"));
    assert!(check_condition(&Condition::new(path), true).is_err());
    let wide = |nodes| Condition::new(CelExpr::List(vec![flag(); nodes - 1]));
    assert_eq!(check_condition(&wide(MAX_NODES), true), Ok(()));
    assert_eq!(check_condition(&wide(MAX_NODES + 1), true), Err(ConditionError::TooLarge));
}
