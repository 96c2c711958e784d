//! The schema accepts what the reader accepts, by a validator of the few keywords that it uses.

use super::super::document::DOCUMENT_KIND;
use super::super::node::{Content, Node};
use super::super::shape::{Kind, Shape};
use super::*;
use serde_json::{Map, Value, json};

const EVERYTHING: &str = include_str!("everything.yaml");
const INBOUND: &str = include_str!("inbound.yaml");

/// A document as an editor's YAML plugin sees it.
fn to_json(node: &Node) -> Value {
    match &node.content {
        Content::Null | Content::Unknown => Value::Null,
        Content::Scalar { text, plain: true } => match &**text {
            "true" => json!(true),
            "false" => json!(false),
            text => text
                .parse::<i64>()
                .map(|n| json!(n))
                .or_else(|_| text.parse::<f64>().map(|n| json!(n)))
                .unwrap_or_else(|_| json!(text)),
        },
        Content::Scalar { text, .. } => json!(text),
        Content::Sequence(items) => items.iter().map(|item| to_json(item)).collect(),
        Content::Mapping(entries) => {
            let pairs = entries.iter().map(|e| (e.key.to_string(), to_json(&e.value)));
            Value::Object(pairs.collect::<Map<_, _>>())
        }
    }
}

fn document(text: &str) -> Value {
    let mut report = Report::new(10);
    let root = parse::parse(0, text, &Bounds::default(), &mut report);
    to_json(&root.unwrap())
}

/// Whether `value` is valid; the keywords are those that [`json_schema`] prints.
fn valid(schema: &Value, value: &Value, root: &Value) -> bool {
    let Some(schema) = schema.as_object() else { return false };
    schema.iter().all(|(keyword, rule)| match keyword.as_str() {
        "$ref" => {
            let name = rule.as_str().unwrap().strip_prefix("#/$defs/").unwrap();
            valid(&root["$defs"][name], value, root)
        }
        "type" => match rule {
            Value::Array(types) => types.iter().any(|name| is_type(name, value)),
            name => is_type(name, value),
        },
        "enum" => rule.as_array().unwrap().contains(value),
        "minimum" => value.as_f64().is_none_or(|n| n >= rule.as_f64().unwrap()),
        "maximum" => value.as_f64().is_none_or(|n| n <= rule.as_f64().unwrap()),
        "pattern" => value.as_str().is_none_or(|text| {
            let pattern = regex_automata::meta::Regex::new(rule.as_str().unwrap()).unwrap();
            pattern.is_match(text)
        }),
        "anyOf" => rule.as_array().unwrap().iter().any(|schema| valid(schema, value, root)),
        "oneOf" => rule.as_array().unwrap().iter().filter(|s| valid(s, value, root)).count() == 1,
        "required" => value.as_object().is_none_or(|object| {
            rule.as_array().unwrap().iter().all(|key| object.contains_key(key.as_str().unwrap()))
        }),
        "items" => {
            value.as_array().is_none_or(|items| items.iter().all(|item| valid(rule, item, root)))
        }
        "properties" => value.as_object().is_none_or(|object| {
            object
                .iter()
                .all(|(key, value)| rule.get(key).is_none_or(|rule| valid(rule, value, root)))
        }),
        "additionalProperties" => value.as_object().is_none_or(|object| {
            let known = |key: &str| {
                schema.get("properties").is_some_and(|p| p.get(key).is_some())
                    || (schema.contains_key("patternProperties") && key.starts_with("x-"))
            };
            object.iter().filter(|(key, _)| !known(key)).all(|(_, value)| match rule {
                Value::Bool(allowed) => *allowed,
                rule => valid(rule, value, root),
            })
        }),
        "$schema" | "$defs" | "title" | "description" | "patternProperties" => true,
        other => panic!("the validator does not know `{other}`"),
    })
}

fn is_type(name: &Value, value: &Value) -> bool {
    match name.as_str().unwrap() {
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("{other}"),
    }
}

#[track_caller]
fn check(text: &str, accepted: bool) {
    let schema = json_schema().0;
    assert_eq!(valid(&schema, &document(text), &schema), accepted, "{text}");
}

#[test]
fn it_accepts_every_key() {
    check(EVERYTHING, true);
    check(INBOUND, true);
    check(proxy::FILE, true);
    check("version: 1\nidentity: { spire: \"unix:///a\" }\n", true);
    check("version: 1\nx-anything: [1, { a: b }]\n", true);
    check(
        &with_cluster("dns: \"a:80\", connect_timeout: \"${T}\", max_concurrent_streams: \"${N}\""),
        true,
    );
}

#[test]
fn every_key_that_it_knows_is_in_the_example() {
    // The reader asserts, in debug builds, that it reads each key of each mapping that it opens. So
    // with every shape opened by the example, schema and reader know the same keys.
    let schema = json_schema().0;
    let mut seen = BTreeSet::new();
    keys(&document(EVERYTHING), &mut seen);
    keys(&document(INBOUND), &mut seen);
    keys(&document(proxy::FILE), &mut seen);
    seen.insert("spire".to_owned());
    for (title, shape) in schema["$defs"].as_object().unwrap() {
        for key in shape["properties"].as_object().into_iter().flatten().map(|(key, _)| key) {
            assert!(seen.contains(key), "`{key}` of {title} is in no example");
        }
    }
}

fn keys(value: &Value, seen: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                seen.insert(key.clone());
                keys(value, seen);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| keys(item, seen)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn it_rejects_what_the_reader_rejects() {
    check("mode: enforce\n", false);
    check("version: 1\nidentity: { cert: a, spire: b }\n", false);
    check("version: 1\ninbound: { a: { mtls: { mode: off, until: tomorrow } } }\n", false);
    check("version: 1\ninbound: { a: { allow: [{ form: anyone }] } }\n", false);
    check("version: 2\n", false);
    check("version: 1\nunknown: 1\n", false);
    check(&with_cluster("dns: \"a:80\", lb: fastest"), false);
    check(&with_cluster("dns: \"a:80\", connect_timeout: 5"), false);
    check(&with_cluster("dns: \"a:80\", max_connection_age_jitter: 101"), false);
    check(&with_cluster("dns: \"a:80\", endpoints: []"), false);
    check(&with_cluster("protocol: http2"), false);
    check(&with_routes("{ cluster: one, timeot: 2s }"), false);
    check(&with_routes("{ match: { prefix: / } }"), false);
    check(
        &with_routes("{ cluster: one, match: { headers: { a: { exact: b, prefix: c } } } }"),
        false,
    );
    check(&with_routes("{ cluster: one, match: { fraction: 0.5 } }"), false);
}

#[test]
fn each_title_names_one_shape() {
    fn walk(kind: &'static Kind, seen: &mut BTreeMap<&'static str, *const Shape>) {
        match kind {
            Kind::Mapping(shape) => {
                let shape: &'static Shape = shape;
                let first = *seen.entry(shape.title).or_insert(shape);
                assert!(std::ptr::eq(first, shape), "two shapes are called {}", shape.title);
                shape.keys().for_each(|key| walk(&key.kind, seen));
            }
            Kind::List(inner) | Kind::OneOrMany(inner) | Kind::Named(inner) => walk(inner, seen),
            Kind::Either(kinds) => kinds.iter().for_each(|kind| walk(kind, seen)),
            Kind::Text
            | Kind::Flag
            | Kind::Count { .. }
            | Kind::Number { .. }
            | Kind::Time { .. }
            | Kind::Moment
            | Kind::Share
            | Kind::Word(_) => {}
        }
    }
    walk(&DOCUMENT_KIND, &mut BTreeMap::new());
}

#[test]
fn each_key_is_described() {
    let schema = json_schema().0;
    for (title, shape) in schema["$defs"].as_object().unwrap() {
        for (key, value) in shape["properties"].as_object().into_iter().flatten() {
            let text = value["description"].as_str().unwrap_or_default();
            assert!(text.ends_with('.'), "{title}.{key}: {text}");
        }
    }
}
