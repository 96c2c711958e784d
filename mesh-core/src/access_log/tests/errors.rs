//! What is no format, and what is said of it.

use crate::access_log::Format;

#[track_caller]
fn check(format: &str, expected: &str) {
    let error = Format::text(format).unwrap_err();
    assert_eq!(error.to_string(), format!("access log format, {expected}"), "{format}");
}

#[track_caller]
fn check_json(template: &str, expected: &str) {
    let error = Format::json(template).unwrap_err();
    assert_eq!(error.to_string(), format!("access log format, {expected}"), "{template}");
}

#[test]
fn operators_are_known_and_end() {
    const UNCLOSED: &str =
        "`%` begins an operator that does not end with `%`: a percent sign itself is `%%`";
    check("%NOTHING_LIKE_IT%", "byte 0: there is no operator `%NOTHING_LIKE_IT%`");
    for (format, at) in [
        ("100%", 3),
        ("ab % c", 3),
        ("%%%PROTOCOL", 2),
        ("%REQ(A%", 0),
        ("%REQ(A)", 0),
        ("%REQ(A):%", 0),
        ("%REQ(A):x%", 0),
        ("%REQ(A) %", 0),
        ("é %", 3),
    ] {
        check(format, &format!("byte {at}: {UNCLOSED}"));
    }
}

#[cfg(feature = "config")]
#[test]
fn what_might_be_meant_is_said() {
    check(
        "a %RESPONSE_COD%",
        "byte 2: there is no operator `%RESPONSE_COD%`; did you mean `RESPONSE_CODE`?",
    );
    check("%protocol%", "byte 0: there is no operator `%protocol%`; did you mean `PROTOCOL`?");
    check(
        "%MESH(polcy)%",
        "byte 0: `polcy` is no parameter of `%MESH%`, which takes a field of a mesh, as `reason`, `attempts` \
         or `policy`; did you mean `policy`?",
    );
    check(
        "%GRPC_STATUS(SNAKE)%",
        "byte 0: `SNAKE` is no parameter of `%GRPC_STATUS%`, which takes `CAMEL_STRING`, `SNAKE_STRING` or \
         `NUMBER`; did you mean `SNAKE_STRING`?",
    );
}

#[test]
fn parameters_are_what_their_operator_takes() {
    check("%REQ%", "byte 0: `%REQ%` wants a parameter in parentheses: `%REQ(X-REQUEST-ID)%`");
    check("%MESH()%", "byte 0: `%MESH%` wants a parameter in parentheses: `%MESH(reason)%`");
    check("%PROTOCOL(X)%", "byte 0: `%PROTOCOL%` takes no parameter");
    for header in ["A?B?C", "a b", ":STATUS", "?A", "A?"] {
        check(
            &format!("%REQ({header})%"),
            &format!(
                "byte 0: `{header}` is no parameter of `%REQ%`, which takes one or two names of headers, as \
                 `X-A?X-B`"
            ),
        );
    }
    check(
        "%START_TIME(%Q)%",
        "byte 0: `%Q` is no parameter of `%START_TIME%`, which takes specifiers of strftime, as \
         `%Y-%m-%dT%H:%M:%S.%3fZ`",
    );
    check(
        "%PATH(wq)%",
        "byte 0: `wq` is no parameter of `%PATH%`, which takes `NQ` or `WQ`, and `:ORIG`, `:PATH` or \
         `:ORIG_OR_PATH`",
    );
}

#[test]
fn only_texts_have_lengths() {
    check("%DURATION:3%", "byte 0: `%DURATION%` has no length: only texts are cut");
    check("%START_TIME(%s):3%", "byte 0: `%START_TIME%` has no length: only texts are cut");
    check("%MESH(attempts):3%", "byte 0: `%MESH%` has no length: only texts are cut");
    for length in ["0", "65536", "99999999999999999999999"] {
        check(&format!("%REQ(A):{length}%"), "byte 0: a length is 1 to 65535 bytes");
    }
}

#[test]
fn a_format_is_one_line() {
    for (format, at) in [("a\nb", 1), ("a\n\n", 1), ("a\rb\n", 1)] {
        let expected = "a format is one line: only its last character may be a line feed";
        check(format, &format!("byte {at}: {expected}"));
    }
}

#[test]
fn places_in_json_are_fields() {
    check_json(
        r#"{"a": {"b": ["ok", "x %NOTHING_LIKE_IT%"]}}"#,
        "field `a.b[1]`, byte 2: there is no operator `%NOTHING_LIKE_IT%`",
    );
    check_json("[]", "byte 0: the template is no JSON object: it is another value");
    let error = Format::json("{\n  \"a\": x}").unwrap_err();
    assert_eq!(error.at, 9, "{error}");
    assert!(error.to_string().contains("the template is no JSON object: "), "{error}");
}
