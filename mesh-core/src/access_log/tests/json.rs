//! What templates of JSON give.

use super::World;
use crate::access_log::{Format, Record};
use http::HeaderValue;
use serde_json::{Value, json};

#[track_caller]
fn check(template: &str, expected: &str) {
    check_of(&World::new(), template, |_| {}, expected);
}

#[track_caller]
fn check_of(world: &World, template: &str, change: impl FnOnce(&mut Record<'_>), expected: &str) {
    let line = world.line(&Format::json(template).unwrap(), change);
    assert_eq!(line.strip_suffix('\n'), Some(expected), "{template}");
}

#[test]
fn a_string_of_one_operator_has_its_type() {
    check(r#"{"code": "%RESPONSE_CODE%"}"#, r#"{"code":204}"#);
    check(r#"{"bytes": "%BYTES_RECEIVED%", "ms": "%DURATION%"}"#, r#"{"bytes":154,"ms":226}"#);
    check(r#"{"a": "%REQ(X-NONE)%", "b": "%GRPC_STATUS_NUMBER%"}"#, r#"{"a":null,"b":null}"#);
    check(r#"{"a": "%RESPONSE_CODE% %REQ(X-NONE)%"}"#, r#"{"a":"204 -"}"#);
    check(r#"{"a": "%MESH(duration)%"}"#, r#"{"a":226.500}"#);
    check(r#"{"a": "100%%", "b": ""}"#, r#"{"a":"100%","b":""}"#);
    check(r#"{"a": "%REQ(USER-AGENT):3%"}"#, r#"{"a":"nsq"}"#);
}

#[test]
fn templates_are_of_any_depth_and_their_keys_are_sorted() {
    check(
        r#"{"z": 1.5, "a": {"d": ["%ROUTE_NAME%", true, null, {"x": "%PROTOCOL%"}], "b": "c"}}"#,
        r#"{"a":{"b":"c","d":["v1",true,null,{"x":"HTTP/2"}]},"z":1.5}"#,
    );
    check("{}", "{}");
    check(r#"{"a\n\"b": []}"#, r#"{"a\u000a\"b":[]}"#);
}

#[test]
fn strings_are_escaped() {
    let mut world = World::new();
    let value = "a\"b\\c\té\u{2028}\u{85}".as_bytes();
    world.request.insert("x-any", HeaderValue::from_bytes(value).unwrap());
    let expected = r#"{"a":"a\"b\\c\u0009é\u2028\u0085"}"#;
    check_of(&world, r#"{"a": "%REQ(X-ANY)%"}"#, |_| {}, expected);
    check_of(&world, r#"{"a": "<%REQ(X-ANY):1%>"}"#, |_| {}, r#"{"a":"<a>"}"#);
    world.request.insert("x-any", HeaderValue::from_bytes(b"a\xffb\xc3").unwrap());
    check_of(&world, r#"{"a": "%REQ(X-ANY)%"}"#, |_| {}, "{\"a\":\"a\u{fffd}b\u{fffd}\"}");
    // A letter is not cut.
    world.request.insert("x-any", HeaderValue::from_bytes("aéb".as_bytes()).unwrap());
    check_of(&world, r#"{"a": "%REQ(X-ANY):2%"}"#, |_| {}, r#"{"a":"a"}"#);
}

#[test]
fn attempts_and_phases_are_structures() {
    let line = World::new().line(
        &Format::json(r#"{"a": "%MESH(attempts)%", "p": "%MESH(phases)%"}"#).unwrap(),
        |_| {},
    );
    let expected = json!({
        "a": [
            {
                "attempt": 1, "upstream_cluster": null, "upstream_host": "10.0.2.1:80",
                "response_code": null, "grpc_status": null, "response_flags": "UF",
                "reason": "connect_refused", "started_ms": 0.0, "duration_ms": 0.07,
                "phases_ms": { "connect": 0.07 },
            },
            {
                "attempt": 2, "upstream_cluster": null, "upstream_host": "10.0.2.2:80",
                "response_code": 204, "grpc_status": null, "response_flags": null,
                "reason": null, "started_ms": 1.0, "duration_ms": 4.0, "phases_ms": {},
            },
        ],
        "p": { "connect": 0.07, "body": 6.0 },
    });
    assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), expected);
}

#[test]
fn the_default_has_what_is_known_and_no_secret() {
    let format = Format::default_json();
    assert_ne!(format, Format::default());
    let line = World::new().line(&format, |record| record.policy = Some("allow"));
    let value: Value = serde_json::from_str(&line).unwrap();
    for (key, expected) in [
        ("start_time", json!("2016-04-15T20:17:00.310Z")),
        ("side", json!("client")),
        ("method", json!("POST")),
        ("path", json!("/api/v1/locations")),
        ("protocol", json!("HTTP/2")),
        ("response_code", json!(204)),
        ("attempt", json!(2)),
        ("policy", json!("allow")),
        ("upstream_host", json!("10.0.2.2:80")),
        ("request_id", json!("cc21d9b0-cf5c-432b-8c7e-98aeb7988cd2")),
        ("reason", Value::Null),
    ] {
        assert_eq!(value[key], expected, "{key}");
    }
    assert!(!line.contains("SECRET") && !line.contains("ORIGINAL"), "{line}");
}
