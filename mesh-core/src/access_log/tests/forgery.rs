//! Whatever a request has, its line is one line, with the fields of the format.

use super::World;
use crate::access_log::{DEFAULT_TEXT, Format, Record};
use http::HeaderValue;
use proptest::prelude::*;

/// Any value that a header may have.
fn header() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        Just(b'"'),
        Just(b' '),
        Just(b'\\'),
        Just(b'\t'),
        0x20..=0x7e_u8,
        0x80..=0xff_u8
    ];
    prop::collection::vec(byte, 0..40)
}

/// What is between spaces that are not in quotation marks.
fn fields(line: &str) -> usize {
    let (mut quoted, mut fields, mut letters) = (false, 1, line.chars());
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => assert!(letters.next().is_some()),
            '"' => quoted = !quoted,
            ' ' if !quoted => fields += 1,
            _ => {}
        }
    }
    assert!(!quoted, "{line}");
    fields
}

fn world(value: &[u8]) -> World {
    let mut world = World::new();
    let header = HeaderValue::from_bytes(value).unwrap();
    for name in ["user-agent", "x-request-id", "x-forwarded-for", "x-envoy-original-path", "x-any"]
    {
        world.request.insert(name, header.clone());
    }
    world.response.insert("x-envoy-upstream-service-time", header);
    world.path = String::from_utf8_lossy(value).into_owned();
    world.authority.clone_from(&world.path);
    world
}

proptest! {
    #[test]
    fn text_has_one_line_and_its_fields(value in header()) {
        let line = world(&value).line(&Format::default_text(), |_| {});
        let plain = World::new().line(&Format::default_text(), |_| {});
        prop_assert_eq!(line.matches('\n').count(), 1);
        prop_assert!(line.ends_with('\n'));
        prop_assert!(line.bytes().all(|byte| byte == b'\n' || (b' '..=b'~').contains(&byte)));
        prop_assert_eq!(fields(&line), fields(&plain), "{}", line);
    }

    #[test]
    fn an_operator_without_quotation_marks_is_one_field(value in header(), length in 1..50_usize) {
        let format = Format::text(&format!("%REQ(X-ANY)% %REQ(X-ANY):{length}% \"%REQ(X-ANY)%\" %REQ(:PATH)%"));
        let line = world(&value).line(&format.unwrap(), |_| {});
        prop_assert_eq!(fields(line.trim_end_matches('\n')), 4, "{}", line);
    }

    #[test]
    fn json_is_read_again_and_tells_the_value(text in "\\PC{0,30}") {
        let value = text.as_bytes();
        prop_assume!(HeaderValue::from_bytes(value).is_ok());
        let template = r#"{"a": "%REQ(X-ANY)%", "b": "<%REQ(X-ANY)%>"}"#;
        let line = world(value).line(&Format::json(template).unwrap(), |_| {});
        let read: serde_json::Value = serde_json::from_str(&line).unwrap();
        prop_assert_eq!(read["a"].as_str().unwrap(), &text);
        prop_assert_eq!(line.matches('\n').count(), 1);
    }

    #[test]
    fn json_always_parses(value in header(), reason in ".{0,20}", length in 1..50_usize) {
        let world = world(&value);
        let any = format!(r#"{{"a": "%REQ(X-ANY):{length}%", "b": ["x%REQ(X-ANY):{length}%"]}}"#);
        for format in [Format::default_json(), Format::json(&any).unwrap()] {
            let line = world.with(
                |_| {},
                |record: &Record<'_>| {
                    let mut record = *record;
                    let text = Some(reason.as_str());
                    (record.reason, record.details) = (text, text);
                    (record.route, record.policy) = (text, text);
                    let mut line = String::new();
                    format.render(&record, &mut line);
                    line
                },
            );
            prop_assert!(serde_json::from_str::<serde_json::Value>(&line).is_ok(), "{}", line);
            prop_assert_eq!(line.matches('\n').count(), 1);
        }
    }

    #[test]
    fn any_text_is_a_format_of_one_line_or_none(text in "[%A-Z_():0-9a-z?\" ]{0,40}") {
        for text in [text.clone(), format!("{DEFAULT_TEXT}{text}"), format!("%REQ(X){text}%")] {
            if let Ok(format) = Format::text(&text) {
                let line = World::new().line(&format, |_| {});
                prop_assert_eq!(line.matches('\n').count(), 1);
            }
        }
    }
}

#[test]
fn a_value_is_bounded() {
    let value = vec![b'\t'; 60_000];
    let line = world(&value).line(&Format::text("%REQ(X-ANY)%").unwrap(), |_| {});
    assert_eq!(line.len(), 4 * super::super::MAX_VALUE_BYTES + 1);
    let line = world(&value).line(&Format::text("%REQ(X-ANY):50000%").unwrap(), |_| {});
    assert_eq!(line.len(), 4 * 50_000 + 1);
}
