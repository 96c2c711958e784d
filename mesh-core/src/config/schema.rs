//! The JSON Schema (2020-12) of `mesh.yaml`, printed from the tables that the reader reads by.
//!
//! It knows types, keys, words and bounds, so that editors complete and underline. What needs the whole
//! file (names that must exist, weights that must add up) is left to [`load`](super::load).

use super::document::DOCUMENT_KIND;
use super::duration;
use super::shape::{Key, Kind, Shape};
use crate::Json;
use serde_json::{Map, Value, json};

/// A `${NAME}` anywhere in a text: allowed wherever a scalar is.
const VARIABLE: &str = r"\$\{";

/// The JSON Schema (2020-12) of `mesh.yaml`.
#[must_use]
pub fn json_schema() -> Json {
    let mut definitions = Map::new();
    let root = describe(&DOCUMENT_KIND, &mut definitions);
    let variable = json!({ "type": "string", "pattern": VARIABLE });
    definitions.insert("variable".to_owned(), variable);
    Json(json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "mesh.yaml",
        "description": "Configuration of a service mesh without proxies",
        "$ref": root["$ref"],
        "$defs": definitions,
    }))
}

fn describe(kind: &'static Kind, definitions: &mut Map<String, Value>) -> Value {
    match kind {
        Kind::Text => json!({ "type": ["string", "number", "boolean"] }),
        Kind::Flag => or_variable(&json!({ "type": "boolean" })),
        Kind::Count { least, most } => {
            or_variable(&json!({ "type": "integer", "minimum": least, "maximum": most }))
        }
        Kind::Number { least, most } => {
            or_variable(&json!({ "type": "number", "minimum": least, "maximum": most }))
        }
        Kind::Time { least } => {
            let longest = duration::show(duration::LONGEST);
            let pattern = format!(r"^[0-9]+(\.[0-9]{{1,9}})?(ms|s|m|h)$|{VARIABLE}");
            let description = format!("from {} to {longest}", duration::show(*least));
            json!({ "type": "string", "pattern": pattern, "description": description })
        }
        Kind::Moment => {
            let day = "[0-9]{4}-[0-9]{2}-[0-9]{2}";
            let time = "[0-9]{2}:[0-9]{2}(:[0-9]{2})?([Zz]|[+-][0-9]{2}:[0-9]{2})";
            let pattern = format!("^{day}([Tt ]{time})?$|{VARIABLE}");
            json!({ "type": "string", "pattern": pattern })
        }
        Kind::Share => {
            let pattern = format!(r"^[0-9]+(\.[0-9]{{1,4}})?%$|{VARIABLE}");
            json!({ "type": "string", "pattern": pattern })
        }
        Kind::Word(words) => or_variable(&json!({ "enum": words })),
        Kind::Mapping(shape) => {
            if !definitions.contains_key(shape.title) {
                // First a placeholder, in case a shape should ever hold itself.
                definitions.insert(shape.title.to_owned(), Value::Null);
                let described = describe_shape(shape, definitions);
                definitions.insert(shape.title.to_owned(), described);
            }
            json!({ "$ref": format!("#/$defs/{}", shape.title) })
        }
        Kind::List(item) => json!({ "type": "array", "items": describe(item, definitions) }),
        Kind::OneOrMany(item) => {
            let item = describe(item, definitions);
            json!({ "anyOf": [item, { "type": "array", "items": item }] })
        }
        Kind::Named(value) => {
            json!({ "type": "object", "additionalProperties": describe(value, definitions) })
        }
        Kind::Either(kinds) => {
            let kinds: Vec<_> = kinds.iter().map(|kind| describe(kind, definitions)).collect();
            json!({ "anyOf": kinds })
        }
    }
}

fn describe_shape(shape: &'static Shape, definitions: &mut Map<String, Value>) -> Value {
    let mut properties = Map::new();
    for Key { name, kind, doc, .. } in shape.keys() {
        let value = describe(kind, definitions);
        // Beside a `$ref`, a description is allowed since 2019-09.
        let mut described = value.as_object().cloned().unwrap_or_default();
        described.insert("description".to_owned(), json!(doc));
        properties.insert((*name).to_owned(), Value::Object(described));
    }
    let required: Vec<_> = shape.keys().filter(|key| key.required).map(|key| key.name).collect();
    let mut object = json!({
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
        "required": required,
    });
    if shape.extensions {
        object["patternProperties"] = json!({ "^x-": {} });
    }
    if !shape.exactly_one.is_empty() {
        let one: Vec<_> =
            shape.exactly_one.iter().map(|key| json!({ "required": [key] })).collect();
        object["oneOf"] = json!(one);
    }
    object
}

fn or_variable(value: &Value) -> Value {
    json!({ "anyOf": [value, { "$ref": "#/$defs/variable" }] })
}
