//! [`Json`]: what programs read (feature `config`).

use std::fmt;

/// A JSON value. [`Display`](fmt::Display) prints it on one line, and with `{:#}` on many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Json(pub(crate) serde_json::Value);

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
