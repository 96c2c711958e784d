//! What several targets need.

#![forbid(unsafe_code)]

/// `mesh_tower::observe::TraceContext`, by its file: all of mesh-tower and what it stands on would be built
/// for a module that needs none of it.
#[path = "../mesh-tower/src/observe/trace_context/mod.rs"]
pub mod trace_context;

use http::{HeaderMap, HeaderName, HeaderValue};

/// The lines `name: value` as headers; lines that can't be one are left out, as are those after 64.
#[must_use]
pub fn headers(lines: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines.split(|byte| *byte == b'\n').take(64) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let name = HeaderName::from_bytes(line[..colon].trim_ascii());
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    headers
}

/// What is before and after the first `separator`; nothing is after it when it is missing.
#[must_use]
pub fn split<'a>(bytes: &'a [u8], separator: &[u8]) -> (&'a [u8], &'a [u8]) {
    let found = bytes.windows(separator.len()).position(|window| window == separator);
    found.map_or((bytes, &[]), |at| (&bytes[..at], &bytes[at + separator.len()..]))
}
