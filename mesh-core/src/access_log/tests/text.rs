//! What operators give as text.

use super::{World, headers};
use crate::access_log::name::markdown;
use crate::access_log::{DEFAULT_TEXT, Format, Record, Side};
use crate::local_reply::ResponseFlag;
use http::{HeaderValue, StatusCode};
use std::time::Duration;

#[track_caller]
fn check(format: &str, expected: &str) {
    check_of(&World::new(), format, |_| {}, expected);
}

#[track_caller]
fn check_of(world: &World, format: &str, change: impl FnOnce(&mut Record<'_>), expected: &str) {
    let line = world.line(&Format::text(format).unwrap(), change);
    assert_eq!(line.strip_suffix('\n'), Some(expected), "{format}");
}

/// The example of Envoy's documentation ("Default Format String"); its scheme before the endpoint is of an older
/// version.
#[test]
fn envoys_default_format_gives_envoys_line() {
    // Its `x-envoy-original-path` is not asked.
    let world = World::new();
    let expected = concat!(
        r#"[2016-04-15T20:17:00.310Z] "POST /api/v1/locations HTTP/2" 204 - 154 0 226 100 "#,
        r#""10.0.35.28" "nsq2http" "cc21d9b0-cf5c-432b-8c7e-98aeb7988cd2" "locations" "#,
        r#""10.0.2.2:80""#,
    );
    check_of(&world, DEFAULT_TEXT, |_| {}, expected);
    assert_eq!(Format::text(DEFAULT_TEXT).unwrap(), Format::default_text());
}

/// Envoy's TCP proxy writes the same: there is no request, and no status.
#[test]
fn a_connection_of_bytes_has_nothing_that_only_requests_have() {
    let world = World::new();
    let bytes = |record: &mut Record<'_>| {
        (record.is_bytes, record.status, record.response_after) = (true, None, None);
        record.response_headers = None;
        record.flags = &[ResponseFlag::StreamIdleTimeout];
    };
    let format = concat!(
        "%REQ(:METHOD)% %REQ(:PATH)% %REQ(:AUTHORITY)% %REQ(:SCHEME)% %PATH% %PROTOCOL% %RESPONSE_CODE% ",
        "%RESPONSE_FLAGS% %BYTES_RECEIVED% %DURATION% %RESPONSE_DURATION% %UPSTREAM_HOST%"
    );
    check_of(&world, format, bytes, "- - - - - - 0 SI 154 226 - 10.0.2.2:80");
}

/// Istio: `meshConfig.accessLogFormat`, default.
#[test]
fn istios_default_format_is_read() {
    let format = concat!(
        "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" ",
        "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% ",
        "\"%UPSTREAM_TRANSPORT_FAILURE_REASON%\" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% ",
        "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" ",
        "\"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\" %UPSTREAM_CLUSTER% ",
        "%UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% ",
        "%REQUESTED_SERVER_NAME% %ROUTE_NAME%\n"
    );
    let expected = concat!(
        "[2016-04-15T20:17:00.310Z] \"POST /before HTTP/2\" 204 - via_upstream - \"-\" 154 0 226 100 ",
        "\"10.0.35.28\" \"nsq2http\" \"cc21d9b0-cf5c-432b-8c7e-98aeb7988cd2\" \"locations\" ",
        "\"10.0.2.2:80\" reviews-v1 - - 10.0.0.9:4000 - v1"
    );
    let change = |record: &mut Record<'_>| record.details = Some("via_upstream");
    check_of(&World::new(), format, change, expected);
}

#[test]
fn operators_tell_what_a_record_has() {
    check("%%%RESPONSE_CODE%%%", "%204%");
    check("no operator", "no operator");
    check("%START_TIME(%s.%3f)%", "1460751420.310");
    check("%START_TIME(%Y/%m/%dT%H:%M:%S%z (%Z))%", "2016/04/15T20:17:00+0000 (UTC)");
    check(
        "%REQUEST_HEADER(x-none?USER-AGENT)% %REQ(X-NONE)% %REQ(X-NONE?X-NEITHER)%",
        "nsq2http - -",
    );
    check("%REQ(HOST)% %REQ(:SCHEME)%", "locations -");
    check("%RESP(SERVER)% %RESPONSE_HEADER(:STATUS)%", "a 204");
    check("%TRAILER(GRPC-MESSAGE)% %RESPONSE_TRAILER(X-NONE)%", "all%20is%20well -");
    check("%REQ(USER-AGENT):3%", "nsq");
    check("%REQ(USER-AGENT):300%", "nsq2http");
    check("%DURATION% %RESPONSE_DURATION% %RESPONSE_TX_DURATION%", "226 220 6");
    check("%MESH(duration)% %MESH(side)% %MESH(attempt)%", "226.500 client 2");
    check("%UPSTREAM_CLUSTER% %UPSTREAM_CLUSTER_RAW% %ROUTE_NAME%", "reviews-v1 reviews-v1 v1");
    check(
        "%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
        "10.0.0.9:4000 10.0.0.9",
    );
    check("%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_PORT%", "- -");
    check("%DOWNSTREAM_PEER_URI_SAN% %DOWNSTREAM_LOCAL_URI_SAN%", "spiffe://a/b,u:2 -");
    check("%UPSTREAM_REQUEST_ATTEMPT_COUNT% %TRACE_ID% %HOSTNAME%", "2 - -");
    check("%MESH(attempts)%", "10.0.2.1:80=UF/connect_refused/0.070,10.0.2.2:80=204/4.000");
    check("%MESH(phases)%", "connect=0.070,body=6.000");
    check("%VIRTUAL_CLUSTER_NAME% %DOWNSTREAM_TLS_VERSION% %REQUESTED_SERVER_NAME%", "- - -");
}

#[test]
fn what_a_record_lacks_is_a_dash_or_envoys_zero() {
    let change = |record: &mut Record<'_>| {
        (record.status, record.response_after, record.endpoint) = (None, None, None);
        (record.response_headers, record.attempts, record.phases) = (None, &[], &[]);
        (record.route, record.details) = (Some(""), Some(""));
    };
    let format = "%RESPONSE_CODE% %RESPONSE_DURATION% %RESPONSE_TX_DURATION% %UPSTREAM_HOST% %RESP(A)% \
                  %MESH(attempts)% %MESH(phases)% %ROUTE_NAME% %RESPONSE_CODE_DETAILS% %GRPC_STATUS%";
    check_of(&World::new(), format, change, "0 - - - - - - - - -");
}

const FLAGS: &[ResponseFlag] =
    &[ResponseFlag::UpstreamConnectionFailure, ResponseFlag::UpstreamRetryLimitExceeded];

#[test]
fn flags_statuses_and_details_are_written_as_envoy_writes_them() {
    let change = |record: &mut Record<'_>| {
        record.side = Side::Server;
        record.flags = FLAGS;
        (record.grpc_status, record.details) = (Some(7), Some("the policy denied"));
        (record.policy, record.reason) = (Some("deny-all"), Some("rbac_denied"));
        record.trace_id = Some([0xab; 16]);
        record.remote = Some("10.0.0.9:0".parse().unwrap());
        record.response_after = Some(Duration::from_secs(1));
    };
    for (format, expected) in [
        ("%RESPONSE_FLAGS%", "UF,URX"),
        ("%RESPONSE_FLAGS_LONG%", "upstream_connection_failure,upstream_retry_limit_exceeded"),
        ("%GRPC_STATUS% %GRPC_STATUS(SNAKE_STRING)%", "PermissionDenied PERMISSION_DENIED"),
        ("%GRPC_STATUS(NUMBER)% %GRPC_STATUS_NUMBER%", "7 7"),
        ("%RESPONSE_CODE_DETAILS%", "the_policy_denied"),
        ("\"%RESPONSE_CODE_DETAILS(ALLOW_WHITESPACES)%\"", "\"the policy denied\""),
        ("%MESH(policy)% %MESH(reason)%", "deny-all rbac_denied"),
        ("%TRACE_ID%", "abababababababababababababababab"),
        ("%DOWNSTREAM_REMOTE_ADDRESS%", "10.0.0.9"),
        ("%UPSTREAM_REQUEST_ATTEMPT_COUNT% %MESH(attempt)%", "0 2"),
        ("%RESPONSE_TX_DURATION%", "0"),
    ] {
        check_of(&World::new(), format, change, expected);
    }
    let unknown = |record: &mut Record<'_>| record.grpc_status = Some(99);
    check_of(&World::new(), "%GRPC_STATUS% %GRPC_STATUS(SNAKE_STRING)%", unknown, "99 99");
}

#[test]
fn secrets_are_told_to_who_asks_for_them_by_name_and_no_other() {
    check(
        "%REQ(AUTHORIZATION)% %REQ(COOKIE)% %RESP(SET-COOKIE)%",
        "[redacted] [redacted] [redacted]",
    );
    check("%REQ(X-NONE?AUTHORIZATION)%", "[redacted]");
    check("%REQ(PROXY-AUTHORIZATION)%", "-");
    check("\"%MESH_UNREDACTED_REQ(AUTHORIZATION)%\"", "\"Bearer SECRET\"");
    check("%MESH_UNREDACTED_RESP(SET-COOKIE)%", "session=SECRET");
    check("%MESH_UNREDACTED_TRAILER(GRPC-MESSAGE)%", "all%20is%20well");
    let mut world = World::new();
    world.request = headers("x-key: SECRET");
    check_of(&world, "%REQ(X-KEY)%", |_| {}, "SECRET");
    let mut sensitive = HeaderValue::from_static("SECRET");
    sensitive.set_sensitive(true);
    world.request.insert("x-key", sensitive);
    check_of(&world, "%REQ(X-KEY)% %MESH_UNREDACTED_REQ(X-KEY)%", |_| {}, "[redacted] SECRET");
}

#[test]
fn queries_are_told_to_who_asks_for_them() {
    check("%REQ(:PATH)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%", "/api/v1/locations /before");
    check("%REQ(REFERER)% %RESP(LOCATION)%", "https://a/b /next");
    check("%PATH% %PATH(NQ)% %PATH(NQ:PATH)%", "/before /before /api/v1/locations");
    check("%PATH(WQ)% %PATH(WQ:PATH)%", "/before?key=ORIGINAL /api/v1/locations?q=QUERY");
    check("%PATH(:ORIG)% %PATH(WQ:ORIG_OR_PATH)%", "/before /before?key=ORIGINAL");
    check("%MESH_UNREDACTED_REQ(REFERER)%", "https://a/b?token=REFERER#part");
    let keeps = Format::text("%REQ(:PATH)% %PATH% %RESP(LOCATION)%").unwrap().keep_query();
    let line = World::new().line(&keeps, |_| {});
    assert_eq!(line, "/api/v1/locations?q=QUERY /before?key=ORIGINAL /next?code=LOCATION\n");
    let mut world = World::new();
    world.request.remove("x-envoy-original-path");
    check_of(&world, "%PATH(:ORIG)% %PATH%", |_| {}, "- /api/v1/locations");
}

#[test]
fn values_end_where_the_format_says() {
    let mut world = World::new();
    let value = b"a b\"c\\d\te \xc3\xa9\xff\x7f";
    // A header may have all of that but 0x7f.
    let value = HeaderValue::from_bytes(&value[..value.len() - 1]).unwrap();
    world.request.insert("x-any", value);
    check_of(&world, "%REQ(X-ANY)%", |_| {}, r#"a\x20b\"c\\d\x09e\x20\xc3\xa9\xff"#);
    check_of(&world, "\"%REQ(X-ANY)%\"", |_| {}, r#""a b\"c\\d\x09e \xc3\xa9\xff""#);
    check_of(&world, "\"x\" %REQ(X-ANY):3% \"y\"", |_| {}, r#""x" a\x20b "y""#);
    world.request.insert("x-any", HeaderValue::from_static(""));
    check_of(&world, "<%REQ(X-ANY)%>", |_| {}, "<->");
    let change = |record: &mut Record<'_>| record.status = StatusCode::from_u16(999).ok();
    check_of(&world, "%RESPONSE_CODE%", change, "999");
}

#[test]
fn a_format_says_which_headers_it_wants() {
    let format = Format::text("%REQ(A?B)% %RESP(C)% %TRAILER(D)% %PATH% %REQ(A)% %REQ(:PATH)%");
    let format = format.unwrap();
    assert_eq!(format.request_headers(), ["x-request-id", "a", "b", "x-envoy-original-path"]);
    assert_eq!(
        (format.response_headers(), format.trailers()),
        (&["c".parse().unwrap()][..], &["d".parse().unwrap()][..])
    );
}

/// The file is part of the module documentation; on a difference, put the printed table there.
#[test]
fn the_documented_operators_are_these() {
    let table = markdown();
    let documented = include_str!("../operators.md");
    assert!(documented == table, "operators.md should be:\n{table}");
}
