//! Conditions and what they come to. The sections are CEL's language definition; of attributes Envoy's.

use super::*;

const PEER: &str = "uri:spiffe://m/a uri:spiffe://m/b dns:a.m subject:CN=a";
const REQUEST: &str = "GET shop.example:8080 /cart/7?q=1&r=2#f x-a:one x-a:two x-n:17 \
    referer:http://a/ user-agent:curl/8 x-request-id:id-1 content-length:12 te:trailers \
    grpc-timeout:1S sni=shop.m meta.jwt.sub=ann meta.jwt.groups=[dev,ops] meta.jwt.level=3 \
    meta.jwt.deep.k=v meta.jwt.none=null route.r.k=true state.s=text at=1790000000 http=2";

#[track_caller]
fn check_rows(peer: &str, request: &str, rows: &[(&str, &str)]) {
    for (text, expected) in rows {
        let (found, _) = outcome(&condition(text), peer, request);
        assert_eq!(found, *expected, "{text}");
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn attributes_of_the_request() {
    check_rows(
        PEER,
        REQUEST,
        &[
            ("request.path", "'/cart/7?q=1&r=2#f'"),
            ("request['path']", "'/cart/7?q=1&r=2#f'"),
            ("request.url_path", "'/cart/7'"),
            ("request.query", "'q=1&r=2'"),
            ("request.host", "'shop.example:8080'"),
            ("request.scheme", "'https'"),
            ("request.method", "'GET'"),
            ("request.referer", "'http://a/'"),
            ("request.useragent", "'curl/8'"),
            ("request.id", "'id-1'"),
            ("request.protocol", "'HTTP/2'"),
            ("request.size", "12"),
            ("request.time", "2026-09-21T14:13:20Z"),
            ("request.headers['x-n']", "'17'"),
            ("request.headers['X-N']", "'17'"),
            ("request.headers.referer", "'http://a/'"),
            ("request.headers['x-a']", "'one,two'"),
            ("request.headers['x-' + 'a']", "'one,two'"),
            ("request.headers['x-' + request.method]", "!Missing"),
            ("request.headers['not a name' + request.method]", "!Missing"),
            ("request.headers[':path']", "'/cart/7?q=1&r=2#f'"),
            ("request.headers[':method']", "'GET'"),
            ("request.headers[':scheme']", "'https'"),
            ("request.headers['host']", "'shop.example:8080'"),
            ("request.headers['grpc-timeout']", "'1S'"),
            ("request.headers['te']", "!Missing"),
            ("request.headers['x-b']", "!Missing"),
            ("request.headers['x-a'].size()", "7"),
            ("request.headers['x-a'].deep", "!NoOverload"),
            ("'x-a' in request.headers", "true"),
            ("'x-b' in request.headers", "false"),
            ("'X-' + request.query in request.headers", "false"),
            ("7 in request.headers", "!NoOverload"),
            ("has(request.headers.referer)", "true"),
            ("has(request.headers.origin)", "false"),
            ("has(request.headers)", "true"),
            ("has(request.referer)", "true"),
        ],
    );
    check_rows(
        "plain",
        "CONNECT h -",
        &[
            ("request.scheme", "'http'"),
            ("request.path", "!Missing"),
            ("request.url_path", "''"),
            ("request.query", "''"),
            ("request.size", "0"),
            ("request.referer", "!Missing"),
            ("has(request.referer)", "false"),
            ("has(request.time)", "false"),
            ("request.time", "!Missing"),
            ("request.protocol", "!Missing"),
            ("request.useragent == '' || true", "true"),
        ],
    );
    check_rows("plain", "GET h / content-length:x", &[("request.size", "!Missing")]);
    check_rows(
        "plain",
        "- at=5",
        &[
            ("request.path", "!Missing"),
            ("request.scheme", "!Missing"),
            ("request.query", "!Missing"),
            ("has(request.headers)", "false"),
            ("'x' in request.headers", "false"),
            ("request.time == timestamp(5)", "true"),
        ],
    );
}

#[test]
fn attributes_of_the_connection_and_what_filters_know() {
    check_rows(
        PEER,
        REQUEST,
        &[
            ("source.address", "'10.1.0.9:4444'"),
            ("source.port", "4444"),
            ("destination.address", "'10.2.0.1:8080'"),
            ("destination.port", "8080"),
            ("connection.mtls", "true"),
            ("connection.requested_server_name", "'shop.m'"),
            ("connection.subject_peer_certificate", "'CN=a'"),
            ("connection.uri_san_peer_certificate", "'spiffe://m/a'"),
            ("connection.dns_san_peer_certificate", "'a.m'"),
            ("metadata.filter_metadata.jwt.sub", "'ann'"),
            ("metadata.filter_metadata['jwt']['sub']", "'ann'"),
            ("metadata.filter_metadata['j' + 'wt'].sub", "'ann'"),
            ("metadata.filter_metadata.jwt.level", "3.0"),
            ("metadata.filter_metadata.jwt.level == 3", "true"),
            ("metadata.filter_metadata.jwt.level >= 2u", "true"),
            ("metadata.filter_metadata.jwt.groups", "['dev', 'ops']"),
            ("metadata.filter_metadata.jwt.groups[1]", "'ops'"),
            ("'ops' in metadata.filter_metadata.jwt.groups", "true"),
            ("metadata.filter_metadata.jwt.groups == ['dev', 'ops']", "true"),
            ("metadata.filter_metadata.jwt.groups.exists(g, g.startsWith('o'))", "true"),
            ("metadata.filter_metadata.jwt.none == null", "true"),
            ("metadata.filter_metadata.jwt.deep == {'k': 'v'}", "true"),
            ("has(metadata.filter_metadata.jwt)", "true"),
            ("has(metadata.filter_metadata.jwt.sub)", "true"),
            ("has(metadata.filter_metadata.jwt.aud)", "false"),
            ("has(metadata.filter_metadata.other.aud)", "!Missing"),
            ("'jwt' in metadata.filter_metadata", "true"),
            ("metadata.filter_metadata.map(f, f)", "['jwt']"),
            ("metadata.filter_metadata.jwt.sub.deeper", "!NoOverload"),
            ("xds.route_metadata.filter_metadata.r.k", "true"),
            ("filter_state['s']", "b'text'"),
            ("filter_state.s == b'text'", "true"),
            ("filter_state['t']", "!Missing"),
            ("has(filter_state.t)", "false"),
        ],
    );
    check_rows(
        "tls",
        "GET h / from=[2001:db8::1]:1 to=none",
        &[
            ("source.address", "'[2001:db8::1]:1'"),
            ("destination.port", "!Missing"),
            ("connection.mtls", "false"),
            ("connection.subject_peer_certificate", "''"),
            ("connection.uri_san_peer_certificate", "!Missing"),
            ("has(connection.uri_san_peer_certificate)", "false"),
        ],
    );
    check_rows(
        "plain",
        "GET h / from=none",
        &[
            ("source.address", "!Missing"),
            ("connection.subject_peer_certificate", "!Missing"),
            ("connection.mtls", "false"),
        ],
    );
}

#[test]
fn logical_operators() {
    check_rows(
        "plain",
        "GET h /",
        &[
            ("true && true", "true"),
            ("true && request.method == 'PUT'", "false"),
            ("request.method == 'GET' && request.url_path == '/'", "true"),
            // An error counts only if no side decides.
            ("request.referer == 'x' && false", "false"),
            ("false && request.referer == 'x'", "false"),
            ("request.referer == 'x' && request.method == 'PUT'", "false"),
            ("request.referer == 'x' && request.method == 'GET'", "!Missing"),
            ("request.referer == 'x' || request.method == 'GET'", "true"),
            ("request.method == 'GET' || request.referer == 'x'", "true"),
            ("request.method == 'PUT' || request.referer == 'x'", "!Missing"),
            ("1 / 0 == 1 || true", "true"),
            ("1 / 0 == 1 || false", "!DivisionByZero"),
            ("'a' && false", "false"),
            ("request.method && request.method == 'GET'", "!NoOverload"),
            ("!(request.method == 'PUT')", "true"),
            ("!request.method", "!NoOverload"),
            ("!!connection.mtls", "false"),
            ("request.method == 'GET' ? 'a' : request.referer", "'a'"),
            ("request.method == 'PUT' ? request.referer : 'b'", "'b'"),
            ("true ? 1 : 2", "1"),
            ("request.referer == 'x' ? 1 : 2", "!Missing"),
            ("request.method ? 1 : 2", "!NoOverload"),
        ],
    );
}

#[test]
fn equality_and_order() {
    check_rows(
        "plain",
        "GET h /",
        &[
            ("1 == 1u && 1u == 1.0 && 1 == 1.0", "true"),
            ("-1 == 18446744073709551615u", "false"),
            ("9007199254740993 == 9007199254740992.0", "false"),
            ("9223372036854775807 < 9223372036854775808.0", "true"),
            ("-9223372036854775808 > -1e300", "true"),
            ("18446744073709551615u < 1e300", "true"),
            ("-1 < 0u", "true"),
            ("2 > 1.5 && 1.5 > 1", "true"),
            ("-2 < -1.5 && -1.5 < -1", "true"),
            ("0.0 / 0.0 == 0.0 / 0.0", "false"),
            ("0.0 / 0.0 != 1", "true"),
            ("0.0 / 0.0 < 1", "false"),
            ("1 == '1'", "false"),
            ("'a' != 1", "true"),
            ("null == null", "true"),
            ("null == false", "false"),
            ("'a' < 'b' && 'B' < 'a'", "true"),
            ("b'a' < b'ab'", "true"),
            ("false < true", "true"),
            ("1 < 'a'", "!NoOverload"),
            ("[1] < [2]", "!NoOverload"),
            ("[1, 'a'] == [1.0, 'a']", "true"),
            ("[1, 2] == [2, 1]", "false"),
            ("[1] == [1, 2]", "false"),
            ("{'a': 1, 'b': [2]} == {'b': [2u], 'a': 1.0}", "true"),
            ("{'a': 1} == {'a': 2}", "false"),
            ("{'a': 1} == {'b': 1}", "false"),
            ("b'a' == 'a'", "false"),
        ],
    );
}

#[test]
fn arithmetic() {
    check_rows(
        "plain",
        "GET h /",
        &[
            ("1 + 2 * 3 - 4", "3"),
            ("7 / 2", "3"),
            ("-7 / 2", "-3"),
            ("-7 % 3", "-1"),
            ("7u % 4u", "3u"),
            ("7.0 / 2.0", "3.5"),
            ("1.0 / 0.0", "inf"),
            ("7.0 % 2.0", "!NoOverload"),
            ("1 / 0", "!DivisionByZero"),
            ("1u % 0u", "!DivisionByZero"),
            ("1 % 0u", "!NoOverload"),
            ("1 + 1u", "!NoOverload"),
            ("1 + 1.0", "!NoOverload"),
            ("9223372036854775807 + 1", "!Overflow"),
            ("-9223372036854775808 - 1", "!Overflow"),
            ("9223372036854775807 * 2", "!Overflow"),
            ("-9223372036854775808 / -1", "!Overflow"),
            ("-9223372036854775808 % -1", "!Overflow"),
            ("-(-9223372036854775808)", "!Overflow"),
            ("1u - 2u", "!Overflow"),
            ("18446744073709551615u + 1u", "!Overflow"),
            ("-(2.5)", "-2.5"),
            ("-(2u)", "!NoOverload"),
            ("'a' + 'b'", "'ab'"),
            ("b'a' + b'b'", "b'ab'"),
            ("[1] + ['a']", "[1, 'a']"),
            ("'a' + 1", "!NoOverload"),
        ],
    );
}

#[test]
fn lists_and_maps() {
    check_rows(
        "plain",
        "GET h / x-a:b",
        &[
            ("[1, 2, 3][1]", "2"),
            ("[1, 2, 3][1u]", "2"),
            ("[1, 2, 3][1.0]", "2"),
            ("[1, 2, 3][3]", "!Missing"),
            ("[1, 2, 3][-1]", "!Missing"),
            ("[1, 2, 3]['a']", "!NoOverload"),
            ("[1, 2, 3][1.5]", "!Missing"),
            ("{'a': 1}['a']", "1"),
            ("{'a': 1}.a", "1"),
            ("{'a': 1}.b", "!Missing"),
            ("{1: 'x'}[1u]", "'x'"),
            ("{true: 'x'}[true]", "'x'"),
            ("{'a': 1, 'a': 2}", "!DuplicateKey"),
            ("{1: 1, 1u: 2}", "!DuplicateKey"),
            ("{1.5: 1}", "!NoOverload"),
            ("has({'a': 1}.a)", "true"),
            ("has({'a': 1}.b)", "false"),
            ("has([1].a)", "!NoOverload"),
            ("2 in [1, 2.0]", "true"),
            ("'a' in []", "false"),
            ("'a' in {'a': 1}", "true"),
            ("1 in {'a': 1}", "false"),
            ("1 in 1", "!NoOverload"),
            ("request.method in ['GET', 'HEAD']", "true"),
            ("[request.method, request.headers['x-a']] == ['GET', 'b']", "true"),
            ("{'m': request.method}.m", "'GET'"),
            ("size([1, 2]) + [1].size() + size({'a': 1})", "4"),
        ],
    );
}

#[test]
fn macros() {
    check_rows(
        "plain",
        "GET h / x-a:b",
        &[
            ("[1, 2].all(x, x > 0)", "true"),
            ("[1, 2].all(x, x > 1)", "false"),
            ("[].all(x, x > 1)", "true"),
            ("[].exists(x, true)", "false"),
            ("['GET', 'PUT'].exists(m, m == request.method)", "true"),
            ("['POST', 'PUT'].exists(m, m == request.method)", "false"),
            // An error counts only if no element decides.
            ("[0, 1].exists(x, 1 / x == 1)", "true"),
            ("[0, 2].exists(x, 1 / x == 1)", "!DivisionByZero"),
            ("[0, 2].all(x, 1 / x == 1)", "false"),
            ("['a', 1].all(x, x == 1 || x.size() == 1)", "true"),
            ("[1, 2, 1].exists_one(x, x == 2)", "true"),
            ("[1, 2, 1].exists_one(x, x == 1)", "false"),
            ("[1, 2, 3].map(x, x * 2)", "[2, 4, 6]"),
            ("[1, 2, 3].filter(x, x % 2 == 1)", "[1, 3]"),
            ("{'a': 1, 'b': 2}.filter(k, k == 'b')", "['b']"),
            ("[[1], [2, 3]].map(x, x.map(y, y + size(x)))", "[[2], [4, 5]]"),
            ("[1].map(request, request + 1)", "[2]"),
            ("request.headers['x-a'].all(x, true)", "!NoOverload"),
            ("request.headers['x-a'].split('').all(x, x == 'b')", "true"),
        ],
    );
}

#[test]
fn texts() {
    check_rows(
        "plain",
        "GET h /adm%C3%AFn/x x-a:b",
        &[
            ("request.path.startsWith('/adm')", "true"),
            ("request.path.endsWith('/x')", "true"),
            ("request.path.contains('%C3')", "true"),
            ("request.path.contains('')", "true"),
            ("request.path.contains(1)", "!NoOverload"),
            ("request.path.matches('^/adm')", "true"),
            ("request.path.matches('adm')", "true"),
            ("request.path.matches('^adm')", "false"),
            ("matches(request.method, '^(GET|HEAD)$')", "true"),
            ("request.size.matches('1')", "!NoOverload"),
            ("'é'.size()", "1"),
            ("size(b'ab')", "2"),
            ("size('') == 0", "true"),
            ("size(1)", "!NoOverload"),
            ("'AbC'.lowerAscii() + 'AbÉ'.upperAscii()", "'abcABÉ'"),
            ("'a,b,,c'.split(',')", "['a', 'b', '', 'c']"),
            ("'aé'.split('')", "['a', 'é']"),
            ("'banana'.replace('an', 'x')", "'bxxa'"),
            ("dyn(request.method) == 'GET'", "true"),
        ],
    );
}

#[test]
fn conversions() {
    check_rows(
        "plain",
        "GET h /",
        &[
            ("int('12') + int(3u) + int(1.9) + int(-1.9)", "15"),
            ("int('x')", "!Conversion"),
            ("int(18446744073709551615u)", "!Overflow"),
            ("int(1e19)", "!Overflow"),
            ("int(0.0 / 0.0)", "!Overflow"),
            ("uint(-1)", "!Overflow"),
            ("uint('7')", "7u"),
            ("uint(3.7)", "3u"),
            ("double('1.5') + double(1)", "2.5"),
            ("double('a')", "!Conversion"),
            ("string(1) + string(2u) + string(true) + string(1.5)", "'12true1.5'"),
            ("string(b'ab')", "'ab'"),
            ("string(null)", "!NoOverload"),
            ("bytes('ab')", "b'ab'"),
            ("bool('true') && !bool('0')", "true"),
            ("bool('yes')", "!Conversion"),
            ("int(timestamp('1970-01-01T00:01:00Z'))", "60"),
            ("string(timestamp(60))", "'1970-01-01T00:01:00Z'"),
            ("string(duration('-1.5s'))", "'-1.5s'"),
            ("int([1])", "!NoOverload"),
        ],
    );
}

#[test]
fn times() {
    check_rows(
        "plain",
        "GET h / at=1790000000",
        &[
            ("timestamp('2026-09-21T14:13:20.25Z')", "2026-09-21T14:13:20.25Z"),
            ("timestamp('2026-09-21T16:13:20+02:00') == request.time", "true"),
            ("request.time < timestamp('2027-01-01T00:00:00Z')", "true"),
            ("request.time - timestamp('2026-09-21T14:00:00Z') < duration('14m')", "true"),
            ("request.time - duration('24h')", "2026-09-20T14:13:20Z"),
            ("duration('1h') + request.time", "2026-09-21T15:13:20Z"),
            ("duration('1h30m') - duration('90m') == duration('0')", "true"),
            ("duration('1.5h2ms3us4ns')", "5400.002003004s"),
            ("duration('5')", "!Conversion"),
            ("duration('')", "!Conversion"),
            ("duration('1x')", "!Conversion"),
            ("duration('99999999999h')", "!Overflow"),
            ("timestamp('2026-13-01T00:00:00Z')", "!Conversion"),
            ("timestamp('2026-01-01')", "!Conversion"),
            ("timestamp(253402300799) + duration('1s')", "!Overflow"),
            ("request.time.getFullYear()", "2026"),
            ("request.time.getMonth()", "8"),
            ("request.time.getDate()", "21"),
            ("request.time.getDayOfMonth()", "20"),
            ("request.time.getDayOfWeek()", "1"),
            ("request.time.getDayOfYear()", "263"),
            ("timestamp('2024-12-31T00:00:00Z').getDayOfYear()", "365"),
            ("timestamp('2024-03-01T00:00:00Z').getDayOfYear()", "60"),
            ("timestamp(-1).getFullYear()", "1969"),
            ("timestamp(-62135596800)", "0001-01-01T00:00:00Z"),
            ("request.time.getHours()", "14"),
            ("request.time.getHours('+10:00')", "0"),
            ("request.time.getDate('+10:00')", "22"),
            ("request.time.getHours('-05:30')", "8"),
            ("request.time.getHours(request.method)", "!Conversion"),
            ("request.time.getMinutes() * 100 + request.time.getSeconds()", "1320"),
            ("timestamp('2026-09-21T14:13:20.25Z').getMilliseconds()", "250"),
            ("duration('90m').getHours() + duration('90m').getMinutes()", "91"),
            ("duration('1.25s').getMilliseconds()", "250"),
            ("duration('1s').getFullYear()", "!NoOverload"),
            ("timestamp(1) + timestamp(1)", "!NoOverload"),
        ],
    );
}
