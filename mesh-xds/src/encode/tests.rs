//! What the model becomes, by rows of text; the same bytes for the same content; there and back again.

mod asking;
mod cluster;
mod endpoints;
mod filter;
mod generated;
mod resources;
mod round_trip;
mod route;
mod security;

use envoy_types::pb::envoy::config::core::v3::Metadata;
use envoy_types::pb::google::protobuf::{Struct, Value, value::Kind};
use std::fmt::Debug;

/// A field as short text: wrapper messages are their values, durations are seconds.
fn short(field: &impl Debug) -> String {
    let mut text = format!("{field:?}");
    for name in ["UInt32Value", "UInt64Value", "BoolValue", "Percent"] {
        text = unwrapped(&text, &format!("{name} {{ value: "), " }", |inner| inner.to_owned());
    }
    text = unwrapped(&text, "(Duration { ", " }", |inner| {
        let number = |key: &str| {
            let from = inner.split(key).nth(1).unwrap_or_default();
            from.split(',').next().and_then(|n| n.parse::<i64>().ok()).unwrap_or_default()
        };
        match number("nanos: ") {
            0 => format!("({}s", number("seconds: ")),
            nanos => format!("({}s{}ms", number("seconds: "), nanos / 1_000_000),
        }
    });
    while text.contains("Some(") {
        text = unwrapped_once(&text);
    }
    text
}

/// Every `open … close` of `text` as what `show` makes of the inside.
fn unwrapped(text: &str, open: &str, close: &str, show: impl Fn(&str) -> String) -> String {
    let mut parts = text.split(open);
    let mut made = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (inner, rest) = part.split_once(close).unwrap_or((part, ""));
        made.push_str(&show(inner));
        made.push_str(rest);
    }
    made
}

/// The first `Some(x)` as `x`.
fn unwrapped_once(text: &str) -> String {
    let (before, rest) = text.split_once("Some(").unwrap_or((text, ""));
    let mut depth = 1;
    let end = rest.char_indices().find(|(_, letter)| {
        depth += match letter {
            '(' => 1,
            ')' => -1,
            _ => 0,
        };
        depth == 0
    });
    let end = end.map_or(rest.len(), |(end, _)| end);
    format!("{before}{}{}", &rest[..end], rest.get(end + 1..).unwrap_or_default())
}

/// Our words in a resource's metadata: `{ a: 1, b: { c: "10s" } }`; empty: none.
fn words(metadata: Option<&Metadata>) -> String {
    let Some(metadata) = metadata else { return String::new() };
    assert_eq!(metadata.filter_metadata.len(), 1);
    metadata.filter_metadata.get("mesh").map(shown).unwrap_or_default()
}

fn shown(words: &Struct) -> String {
    let mut fields: Vec<_> =
        words.fields.iter().map(|(key, value)| format!("{key}: {}", shown_value(value))).collect();
    fields.sort();
    format!("{{ {} }}", fields.join(", "))
}

fn shown_value(value: &Value) -> String {
    match &value.kind {
        Some(Kind::NumberValue(number)) => number.to_string(),
        Some(Kind::StringValue(text)) => format!("{text:?}"),
        Some(Kind::BoolValue(flag)) => flag.to_string(),
        Some(Kind::StructValue(inner)) => shown(inner),
        Some(Kind::ListValue(list)) => {
            let values: Vec<_> = list.values.iter().map(shown_value).collect();
            format!("[{}]", values.join(", "))
        }
        Some(Kind::NullValue(_)) | None => "null".to_owned(),
    }
}
