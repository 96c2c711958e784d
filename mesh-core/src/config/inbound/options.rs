//! What a request may be like, and what is done with it before anything looks at it.

use super::super::fields::Fields;
use super::super::reader::Reader;
use super::super::shape::{Kind, Shape, key, words};
use super::super::value::word;
use crate::head::MOST_HEADERS;
use crate::model::HttpConnectionManager;
use crate::model::filter_chain::{EscapedSlashes, ForwardClientCert};
use std::time::Duration;

/// The largest head that can be allowed: that of Envoy (`max_request_headers_kb` up to 8192).
const LARGEST_HEAD: i64 = 8192 * 1024;

pub(in crate::config) static LIMITS: Shape = Shape::new(
    "limits",
    &[&[
        key(
            "max_header_bytes",
            Kind::Count { least: 1024, most: LARGEST_HEAD },
            "The most bytes of a head; beyond it 431. Default 61440.",
        ),
        key(
            "max_headers",
            Kind::Count { least: 1, most: MOST_HEADERS as i64 },
            "The most headers; beyond it 431. Default 100.",
        ),
        key(
            "max_body_bytes",
            Kind::Count { least: 0, most: i64::MAX },
            "The most bytes of a body, counted as it comes; beyond it 413. Default no limit.",
        ),
        key(
            "idle_timeout",
            Kind::TIME,
            "A connection without requests for this long is closed; 0s: never. Default 1h.",
        ),
        key(
            "stream_flush_timeout",
            Kind::TIME,
            "HTTP/2: an answer of which its client takes nothing for this long, by opening no window for it, is reset; 0s: never. Default 5m.",
        ),
    ]],
);

const ESCAPED_SLASHES: [(&str, EscapedSlashes); 4] = [
    ("keep", EscapedSlashes::Keep),
    ("reject", EscapedSlashes::Reject),
    ("unescape_and_redirect", EscapedSlashes::UnescapeAndRedirect),
    ("unescape_and_forward", EscapedSlashes::UnescapeAndForward),
];
pub(super) static PATH: Shape = Shape::new(
    "path_normalization",
    &[&[
        key(
            "normalize",
            Kind::Flag,
            "Removes `.` and `..`, decodes what need not be encoded. Default true.",
        ),
        key("merge_slashes", Kind::Flag, "Several slashes become one. Default true."),
        key(
            "escaped_slashes",
            Kind::Word(&words(&ESCAPED_SLASHES)),
            "What becomes of `%2f` and `%5c`. Default reject.",
        ),
    ]],
);

pub(super) const FORWARD_CLIENT_CERT: [(&str, ForwardClientCert); 5] = [
    ("sanitize", ForwardClientCert::Sanitize),
    ("forward_only", ForwardClientCert::ForwardOnly),
    ("append_forward", ForwardClientCert::AppendForward),
    ("sanitize_set", ForwardClientCert::SanitizeSet),
    ("always_forward_only", ForwardClientCert::AlwaysForwardOnly),
];

/// Reads them.
pub(super) fn read(reader: &mut Reader<'_>, fields: &Fields<'_>, http: &mut HttpConnectionManager) {
    limits(reader, fields, http);
    path(reader, fields, http);
    if let Some((node, kind)) = fields.value("forward_client_cert") {
        http.forward_client_cert =
            word(reader, node, kind, &FORWARD_CLIENT_CERT).unwrap_or_default();
    }
    fields.set(reader, "xff_num_trusted_hops", &mut http.xff_num_trusted_hops);
}

/// Reads `limits`.
pub(in crate::config) fn limits(
    reader: &mut Reader<'_>,
    fields: &Fields<'_>,
    http: &mut HttpConnectionManager,
) {
    let Some((node, kind)) = fields.value("limits") else { return };
    let Some(fields) = Fields::open(reader, node, kind) else { return };
    fields.set(reader, "max_header_bytes", &mut http.limits.max_header_bytes);
    fields.set(reader, "max_headers", &mut http.limits.max_headers);
    let body: Option<i64> = fields.read(reader, "max_body_bytes");
    http.limits.max_body_bytes = body.and_then(|bytes| u64::try_from(bytes).ok());
    let mut time = |name: &str, to: &mut Option<Duration>| {
        if let Some(time) = fields.read::<Duration>(reader, name) {
            *to = Some(time).filter(|time| !time.is_zero());
        }
    };
    time("idle_timeout", &mut http.timeouts.idle);
    time("stream_flush_timeout", &mut http.timeouts.stream_flush);
}

fn path(reader: &mut Reader<'_>, fields: &Fields<'_>, http: &mut HttpConnectionManager) {
    let Some((node, kind)) = fields.value("path") else { return };
    let Some(fields) = Fields::open(reader, node, kind) else { return };
    fields.set(reader, "normalize", &mut http.path.normalize);
    fields.set(reader, "merge_slashes", &mut http.path.merge_slashes);
    if let Some((node, kind)) = fields.value("escaped_slashes") {
        http.path.escaped_slashes = word(reader, node, kind, &ESCAPED_SLASHES).unwrap_or_default();
    }
}
