//! [`HeaderOperator`]: what a line tells of headers, and what of it is cut or kept back.

use super::record::Record;
use super::value::Value;
use http::{HeaderMap, HeaderName, HeaderValue, header};

/// What stands in the place of a secret.
pub const REDACTED: &str = "[redacted]";

/// Whose headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Request,
    Response,
    Trailer,
}

/// `%REQ(X?Y)%` and its like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HeaderOperator {
    pub(super) part: Part,
    pub(super) first: Field,
    /// Where there is no `first`.
    pub(super) second: Option<Field>,
    /// Whole, whatever it is.
    pub(super) unredacted: bool,
}

/// One header, or what HTTP/2 has for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Method,
    Path,
    Authority,
    Scheme,
    Status,
    Header(HeaderName),
}

impl Field {
    /// `None`: it is no name of a header of this part.
    pub(super) fn parse(part: Part, text: &str) -> Option<Self> {
        if text.starts_with(':') {
            return match (part, text.to_ascii_lowercase().as_str()) {
                (Part::Request, ":method") => Some(Self::Method),
                (Part::Request, ":path") => Some(Self::Path),
                (Part::Request, ":authority") => Some(Self::Authority),
                (Part::Request, ":scheme") => Some(Self::Scheme),
                (Part::Response, ":status") => Some(Self::Status),
                _ => None,
            };
        }
        let name = HeaderName::from_bytes(text.as_bytes()).ok()?;
        // A request has one authority, wherever its version of HTTP has it.
        let is_authority = part == Part::Request && name == header::HOST;
        Some(if is_authority { Self::Authority } else { Self::Header(name) })
    }

    pub(super) const fn header(&self) -> Option<&HeaderName> {
        match self {
            Self::Header(name) => Some(name),
            _ => None,
        }
    }
}

impl HeaderOperator {
    /// What it tells; with `query`, queries too.
    pub(super) fn value<'r>(&self, record: &Record<'r>, query: bool) -> Value<'r> {
        let query = query || self.unredacted;
        let first = self.field(&self.first, record, query);
        match (first, &self.second) {
            (Value::Absent, Some(second)) => self.field(second, record, query),
            (first, _) => first,
        }
    }

    fn field<'r>(&self, field: &Field, record: &Record<'r>, query: bool) -> Value<'r> {
        match field {
            // A connection of bytes is no request.
            Field::Method | Field::Path | Field::Authority | Field::Scheme if record.is_bytes => {
                Value::Absent
            }
            Field::Method => Value::text(record.request.method.as_str()),
            Field::Path => path(record, query),
            Field::Authority => Value::text(record.request.authority),
            Field::Scheme => record.request.scheme.map_or(Value::Absent, Value::text),
            Field::Status => {
                record.status.map_or(Value::Absent, |status| Value::Number(status.as_u16().into()))
            }
            Field::Header(name) => {
                let headers = match self.part {
                    Part::Request => Some(record.request.headers),
                    Part::Response => record.response_headers,
                    Part::Trailer => record.trailers,
                };
                headers.map_or(Value::Absent, |headers| self.header(headers, name, query))
            }
        }
    }

    /// Of several the first, as Envoy.
    fn header<'r>(&self, headers: &'r HeaderMap, name: &HeaderName, query: bool) -> Value<'r> {
        let Some(value) = headers.get(name) else { return Value::Absent };
        if !self.unredacted && is_secret(name, value) {
            return Value::text(REDACTED);
        }
        let bytes = value.as_bytes();
        Value::Bytes(if query || !is_uri(name) { bytes } else { without_query(bytes) })
    }
}

/// The path of the request.
pub(super) fn path<'r>(record: &Record<'r>, query: bool) -> Value<'r> {
    if record.is_bytes {
        return Value::Absent;
    }
    let path = record.request.path_and_query.as_bytes();
    Value::Bytes(if query { path } else { without_query(path) }).unless_empty()
}

/// `x-envoy-original-path`, where there is one.
pub(super) fn original_path<'r>(record: &Record<'r>, query: bool) -> Value<'r> {
    let Some(value) = record.request.headers.get(ORIGINAL_PATH) else { return Value::Absent };
    let path = value.as_bytes();
    Value::Bytes(if query { path } else { without_query(path) })
}

fn is_secret(name: &HeaderName, value: &HeaderValue) -> bool {
    let known =
        [header::AUTHORIZATION, header::COOKIE, header::SET_COOKIE, header::PROXY_AUTHORIZATION];
    value.is_sensitive() || known.contains(name)
}

/// Whether its value is a URI, which may have a query.
fn is_uri(name: &HeaderName) -> bool {
    *name == header::REFERER
        || *name == header::LOCATION
        || *name == header::CONTENT_LOCATION
        || name == ORIGINAL_PATH
}

fn without_query(uri: &[u8]) -> &[u8] {
    let end = crate::scan::find_either(uri, b'?', b'#');
    end.map_or(uri, |end| &uri[..end])
}

/// The path before a rewrite.
pub(super) const ORIGINAL_PATH: &str = "x-envoy-original-path";
