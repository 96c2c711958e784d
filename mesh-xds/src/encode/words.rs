//! [`Words`]: what the model says and Envoy has no field for.
//!
//! It goes into `metadata.filter_metadata["mesh"]` of the resource, a `google.protobuf.Struct`. Envoy
//! and gRPC keep metadata of names that they do not know and do nothing with it. Times are texts with
//! seconds (`"0.25s"`), as in protobuf's JSON.

use super::wrap::LONGEST;
use envoy_types::pb::envoy::config::core::v3::Metadata;
use envoy_types::pb::google::protobuf::{ListValue, Struct, Value, value::Kind};
use std::collections::HashMap;
use std::time::Duration;

/// The key of our words in `filter_metadata`.
pub const METADATA_KEY: &str = "mesh";

/// Words for one resource; none unless something is set.
#[derive(Debug, Default)]
pub(super) struct Words {
    fields: HashMap<String, Value>,
}

impl Words {
    /// Says `value` under `key`.
    pub(super) fn set(&mut self, key: &str, value: impl Into<Word>) {
        let Word(value) = value.into();
        self.fields.insert(key.to_owned(), value);
    }

    /// Says `value` under `key` when it differs from what is taken when nothing is said.
    pub(super) fn differs<T: PartialEq + Into<Word>>(&mut self, key: &str, value: T, default: &T) {
        if value != *default {
            self.set(key, value);
        }
    }

    /// Says `words` under `key`, if there are any.
    pub(super) fn nest(&mut self, key: &str, words: Self) {
        if !words.fields.is_empty() {
            self.set(key, words);
        }
    }

    /// The metadata that holds them.
    pub(super) fn into_metadata(self) -> Option<Metadata> {
        self.into_metadata_as(METADATA_KEY)
    }

    /// The metadata that holds them under another key.
    pub(super) fn into_metadata_as(self, key: &str) -> Option<Metadata> {
        if self.fields.is_empty() {
            return None;
        }
        let words = Struct { fields: self.fields };
        Some(Metadata {
            filter_metadata: HashMap::from([(key.to_owned(), words)]),
            ..Metadata::default()
        })
    }
}

/// One value.
#[derive(Debug)]
pub(super) struct Word(Value);

impl Word {
    const fn new(kind: Kind) -> Self {
        Self(Value { kind: Some(kind) })
    }

    /// Several values.
    pub(super) fn list(values: impl IntoIterator<Item = impl Into<Self>>) -> Self {
        let values = values.into_iter().map(|value| value.into().0).collect();
        Self::new(Kind::ListValue(ListValue { values }))
    }
}

impl From<&str> for Word {
    fn from(text: &str) -> Self {
        Self::new(Kind::StringValue(text.to_owned()))
    }
}

impl From<bool> for Word {
    fn from(value: bool) -> Self {
        Self::new(Kind::BoolValue(value))
    }
}

impl From<f64> for Word {
    fn from(value: f64) -> Self {
        Self::new(Kind::NumberValue(value))
    }
}

impl From<u32> for Word {
    fn from(value: u32) -> Self {
        f64::from(value).into()
    }
}

impl From<Words> for Word {
    fn from(words: Words) -> Self {
        Self::new(Kind::StructValue(Struct { fields: words.fields }))
    }
}

impl From<Duration> for Word {
    /// Seconds with as many digits as it takes: `10s`, `0.25s`; what is longer than 10,000 years is
    /// 10,000 years, as in the fields.
    fn from(time: Duration) -> Self {
        let time = time.min(Duration::from_secs(LONGEST));
        let text = match time.subsec_nanos() {
            0 => format!("{}s", time.as_secs()),
            nanos => {
                let fraction = format!("{nanos:09}");
                format!("{}.{}s", time.as_secs(), fraction.trim_end_matches('0'))
            }
        };
        text.as_str().into()
    }
}
