//! `rewrite`, `redirect` and `direct_response`: requests that change, go elsewhere or end here.

use super::fields::Fields;
use super::node::{Node, shorten};
use super::shape::{Kind, Shape, key};
use super::value::Value;
use super::{code, reader::Reader};
use crate::model::{DirectResponse, HostRewrite, PathRewrite, Redirect, RegexPattern};
use bytes::Bytes;
use http::StatusCode;
use http::uri::Authority;
use std::sync::Arc;

/// The largest body of a direct response, in bytes (Envoy: `max_direct_response_body_size_bytes`).
const LARGEST_BODY: usize = 4096;

static SUBSTITUTION: Shape = Shape::new(
    "substitution",
    &[&[
        key("pattern", Kind::Text, "What is replaced, in RE2 syntax.").required(),
        key("substitution", Kind::Text, "What takes its place; `\\1` is the first group.")
            .required(),
    ]],
);
const REGEX: Kind = Kind::Mapping(&SUBSTITUTION);

const PATHS: [&str; 3] = ["prefix", "path", "regex"];
const HOSTS: [&str; 4] = ["host", "host_header", "auto_host", "host_path_regex"];

/// `rewrite` of a forwarding route.
pub(super) static REWRITE: Shape = Shape::new(
    "rewrite",
    &[&[
        key("prefix", Kind::Text, "Takes the place of what the route's prefix matched."),
        key("path", Kind::Text, "Takes the place of the whole path; the query stays."),
        key("regex", REGEX, "Replaces every match in the path."),
        key("host", Kind::Text, "The new authority."),
        key("host_header", Kind::Text, "The request header that holds the new authority."),
        key(
            "auto_host",
            Kind::Flag,
            "The endpoint's hostname is the new authority. Default false.",
        ),
        key("host_path_regex", REGEX, "The path with every match replaced is the new authority."),
    ]],
);

/// `redirect` of a route.
pub(super) static REDIRECT: Shape = Shape::new(
    "redirect",
    &[&[
        key(
            "code",
            Kind::Count { least: 301, most: 308 },
            "301, 302, 303, 307 or 308. Default 301.",
        ),
        key("scheme", Kind::Text, "Replaces the scheme."),
        key("host", Kind::Text, "Replaces the host."),
        key("port", Kind::Count { least: 1, most: 65_535 }, "Replaces the port."),
        key("prefix", Kind::Text, "Takes the place of what the route's prefix matched."),
        key("path", Kind::Text, "Takes the place of the whole path."),
        key("regex", REGEX, "Replaces every match in the path."),
        key("strip_query", Kind::Flag, "Leaves the query out. Default false."),
    ]],
);

/// `direct_response` of a route.
pub(super) static DIRECT_RESPONSE: Shape = Shape::new(
    "direct_response",
    &[&[
        key("status", Kind::Count { least: 200, most: 599 }, "The status.").required(),
        key("body", Kind::Text, "The body, at most 4096 bytes. Default empty."),
    ]],
);

/// Changes of path and authority.
pub(super) struct Rewrite {
    pub(super) path: Option<PathRewrite>,
    pub(super) host: Option<HostRewrite>,
}

struct Substitution(RegexPattern, Arc<str>);

impl Value for Substitution {
    fn read(reader: &mut Reader<'_>, node: &Node, kind: &'static Kind) -> Option<Self> {
        let fields = Fields::open(reader, node, kind)?;
        let pattern = fields.read(reader, "pattern");
        let substitution = fields.read(reader, "substitution");
        Some(Self(pattern?, substitution?))
    }
}

impl Value for Rewrite {
    fn read(reader: &mut Reader<'_>, node: &Node, kind: &'static Kind) -> Option<Self> {
        let fields = Fields::open(reader, node, kind)?;
        let path = path(reader, &fields);
        let text = match &path {
            Some(PathRewrite::Prefix(text)) => Some(("prefix", text)),
            Some(PathRewrite::Full(text)) => Some(("path", text)),
            Some(PathRewrite::Regex { .. }) | None => None,
        };
        if let Some((key, text)) = text
            && text.contains('#')
        {
            let span = fields.own(key).map_or(node.span, |entry| entry.value.span);
            let message = format!("`{}`: a fragment is never sent", shorten(text));
            reader
                .report
                .add(code::INVALID_PATH, span, message)
                .suggest("leave out `#` and the rest");
        }
        fields.at_most_one(reader, &HOSTS, code::CONFLICTING_KEYS);
        let literal = fields.read(reader, "host").map(HostRewrite::Literal);
        let header = fields.read(reader, "host_header").map(HostRewrite::Header);
        let auto: Option<bool> = fields.read(reader, "auto_host");
        let regex = fields.read(reader, "host_path_regex");
        let regex = regex.map(|Substitution(pattern, substitution)| HostRewrite::PathRegex {
            pattern,
            substitution,
        });
        let auto = (auto == Some(true)).then_some(HostRewrite::Auto);
        Some(Self { path, host: literal.or(header).or(auto).or(regex) })
    }
}

fn path(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<PathRewrite> {
    fields.at_most_one(reader, &PATHS, code::CONFLICTING_KEYS);
    let prefix = fields.read(reader, "prefix").map(PathRewrite::Prefix);
    let full: Option<Arc<str>> = fields.read(reader, "path");
    let regex = fields
        .read(reader, "regex")
        .map(|Substitution(pattern, substitution)| PathRewrite::Regex { pattern, substitution });
    if let (Some(path), Some(entry)) = (&full, fields.own("path"))
        && !path.starts_with('/')
    {
        let message = "a path starts with `/`";
        reader.report.add(code::INVALID_PATH, entry.value.span, message);
    }
    prefix.or_else(|| full.map(PathRewrite::Full)).or(regex)
}

impl Value for Redirect {
    fn read(reader: &mut Reader<'_>, node: &Node, kind: &'static Kind) -> Option<Self> {
        let fields = Fields::open(reader, node, kind)?;
        let mut redirect = Self::default();
        let status: Option<StatusCode> = fields.read(reader, "code");
        if let (Some(status), Some(entry)) = (status, fields.own("code")) {
            if matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
                redirect.status = status;
            } else {
                let message = format!("`{}` is no redirect", status.as_u16());
                reader
                    .report
                    .add(code::OUT_OF_RANGE, entry.value.span, message)
                    .suggest("301, 302, 303, 307 or 308");
            }
        }
        fields.set_some(reader, "scheme", &mut redirect.scheme);
        fields.set_some(reader, "host", &mut redirect.host);
        fields.set_some(reader, "port", &mut redirect.port);
        second_port(reader, &fields, &redirect);
        redirect.path = path(reader, &fields);
        fields.set(reader, "strip_query", &mut redirect.strip_query);
        if redirect == (Self { status: redirect.status, ..Self::default() }) {
            let message = "this redirect sends back to where the request came from";
            reader
                .report
                .add(code::MISSING_KEY, node.span, message)
                .suggest("set scheme, host, port, prefix, path or regex");
        }
        Some(redirect)
    }
}

/// `host` may have a port, but not beside `port`.
fn second_port(reader: &mut Reader<'_>, fields: &Fields<'_>, redirect: &Redirect) {
    let (Some(host), Some(port)) = (&redirect.host, fields.own("port")) else { return };
    let parsed = host.parse::<Authority>().ok();
    if let Some(first) = parsed.as_ref().and_then(Authority::port_u16) {
        let message = format!("`host` has the port {first} already");
        let finding = reader.report.add(code::CONFLICTING_KEYS, port.key_span, message);
        finding.suggest("keep one of them");
        if let Some(host) = fields.own("host") {
            finding.label(host.value.span, "the first one");
        }
    }
}

impl Value for DirectResponse {
    fn read(reader: &mut Reader<'_>, node: &Node, kind: &'static Kind) -> Option<Self> {
        let fields = Fields::open(reader, node, kind)?;
        let status = fields.read(reader, "status");
        let body: Option<String> = fields.read(reader, "body");
        let body = body.unwrap_or_default();
        if body.len() > LARGEST_BODY {
            let span = fields.own("body").map_or(node.span, |entry| entry.value.span);
            let message = format!("the body has {} bytes, more than {LARGEST_BODY}", body.len());
            reader.report.add(code::OUT_OF_RANGE, span, message);
        }
        Some(Self::new(status?, Bytes::from(body)))
    }
}
