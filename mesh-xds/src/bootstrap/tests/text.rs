//! The text: JSON, places, bounds.

use super::*;

/// All problems, one a line.
#[track_caller]
fn told(text: &str) -> String {
    let error = Bootstrap::parse(text).unwrap_err();
    error.problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn what_is_no_json() {
    let open = "{\"xds_servers\": ".to_owned() + &"[".repeat(100_000);
    let rows = [
        ("RFC 8259: something", "", "EOF while parsing a value"),
        ("RFC 8259: a value", "xds_servers: []", "expected value"),
        ("RFC 8259: one value", "{} {}", "trailing characters"),
        ("RFC 8259: no comma at the end", r#"{"a": 1,}"#, "key must be a string"),
        ("RFC 8259: no comments", "{} // x", "trailing characters"),
        ("RFC 8259: quotes", "{a: 1}", "key must be a string"),
        ("RFC 8259: closed", "{", "EOF while parsing an object"),
        ("any depth is survived", &open, "EOF while parsing a list"),
        ("RFC 8259: no byte order mark", "\u{feff}{}", "expected value"),
        ("gRFC A27: an object", "[]", "expected an object, found a list"),
        ("gRFC A27: an object", "null", "expected an object, found null"),
        ("gRFC A27: an object", "\"x\"", "expected an object, found the string"),
    ];
    for (rule, text, says) in rows {
        refuses(rule, text, "", says);
    }
}

#[test]
fn unknown_fields_are_ignored_everywhere() {
    let text = r#"{"xds_servers": [{"server_uri": "cp:1", "x": {"deep": [1, {}]},
        "channel_creds": [{"type": "tls", "x": 1, "config": {"x": 1}}]}],
        "node": {"x": 1, "locality": {"x": 1}}, "authorities": {"a": {"x": 1}}, "x": null,
        "certificate_providers": {"p": {"x": 1, "plugin_name": "y"}}, "allowed_grpc_services": {}}"#;
    accepts("gRFC A27", text);
}

#[test]
fn keys_that_are_there_twice_are_refused() {
    let twice = r#", "node": {}, "node": {"id": "x"}"#;
    refuses("C-core", &beside_server(twice), "", "the key `node` is there twice");
    let escaped = r#", "\u006eode": {}, "node": {}"#;
    refuses("spelled in two ways", &beside_server(escaped), "", "the key `node` is there twice");
    let twice = with_server(r#""server_uri": "a", "server_uri": "b""#);
    refuses("C-core", &twice, "xds_servers[0]", "`server_uri` is there twice");
    let twice = beside_server(r#", "authorities": {"a": {}, "a": {}}"#);
    refuses("a name", &twice, "authorities", "the key `a` is there twice");
}

#[test]
fn problems_have_their_places() {
    let text =
        "{\n  \"xds_servers\": [\n    {\"server_uri\": \"ü\", \"channel_creds\": 7}\n  ]\n}\n";
    let expected = "xds_servers[0].server_uri (line 3, column 20): `ü` is no target: a host is a name of \
         letters, digits, `-`, `_` and dots, or an IP address\n\
         xds_servers[0].channel_creds (line 3, column 42): expected a list, found `7`";
    assert_eq!(told(text), expected);
    assert!(
        told("{\n\"a\": tru}").starts_with("(line 2, column 9): not valid JSON: expected ident")
    );
    let text = beside_server(",\n\"node\": {\"metadata\":\n{\"a\": 1e999}}");
    assert!(told(&text).starts_with("node.metadata (line 3, column "), "{}", told(&text));
    let text = beside_server(r#", "authorities": {"a\"\n": 1}"#);
    assert!(told(&text).starts_with(r#"authorities["a\"\n"] (line 1, "#), "{}", told(&text));
}

#[test]
fn every_problem_is_told_up_to_a_bound() {
    let server = r#"{"server_uri": "", "channel_creds": []}"#;
    let text = format!(r#"{{"xds_servers": [{}], "node": 1}}"#, [server; 20].join(","));
    let error = Bootstrap::parse(&text).unwrap_err();
    assert_eq!((error.problems.len(), error.more), (MAX_PROBLEMS, 41 - MAX_PROBLEMS));
    assert!(error.to_string().ends_with("; and 9 more"), "{error}");
}

#[test]
fn the_size_is_bounded() {
    let text = beside_server("");
    let longest = text.clone() + &" ".repeat(MAX_BYTES - text.len());
    accepts("1 MiB", &longest);
    refuses("1 MiB", &(longest + " "), "", "a bootstrap of 1048577 bytes, more than 1048576");
}

#[test]
fn which_variable_counts() {
    let rows = [
        ("gRFC A27: the path", Some("/p"), None, Choice::File("/p")),
        ("gRFC A27: the path comes first", Some("/p"), Some("{}"), Choice::File("/p")),
        ("gRFC A27: the text", None, Some("{}"), Choice::Inline("{}")),
        ("neither", None, None, Choice::Nothing),
        ("grpc-go: empty is not set", Some(""), Some("{}"), Choice::Inline("{}")),
        ("grpc-go: empty is not set", Some(""), Some(""), Choice::Nothing),
    ];
    for (rule, path, inline, expected) in rows {
        assert_eq!(choose(path, inline), expected, "{rule}");
    }
}
