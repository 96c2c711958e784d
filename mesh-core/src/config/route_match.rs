//! `match` of a route: which requests.

use super::fields::Fields;
use super::matcher::{HEADERS, HeaderMatchers, QUERY, QueryMatchers};
use super::node::{Node, Span, shorten};
use super::shape::{Key, Kind, Shape, key};
use super::value::Value;
use super::{code, reader::Reader};
use crate::model::{PathMatcher, RouteMatch};
use http::Method;
use std::sync::Arc;

/// The longest path to match, in bytes: as long as servers take a request line (RFC 9112 §3 asks for
/// 8000).
const LONGEST_PATH: usize = 8192;
pub(super) const PATHS: [&str; 4] = ["prefix", "path", "path_separated_prefix", "regex"];
/// What routes and policies may look at.
pub(super) const CONDITIONS: &[Key] = &[
    key("prefix", Kind::Text, "The start of path and query."),
    key("path", Kind::Text, "The whole path, query apart."),
    key(
        "path_separated_prefix",
        Kind::Text,
        "A prefix that ends at the path's end or before a `/`.",
    ),
    key("regex", Kind::Text, "The whole path, query apart, in RE2 syntax."),
    key(
        "grpc",
        Kind::Either(&[Kind::Flag, Kind::Text]),
        "gRPC requests: true for all, a service, or service/method.",
    ),
    key(
        "case_sensitive",
        Kind::Flag,
        "Whether letters' case counts in the path; never for a regex. Default true.",
    ),
    key("method", Kind::OneOrMany(&Kind::Text), "The methods taken. Default all."),
    key("headers", HEADERS, "Conditions on headers, by name; all must hold."),
];
/// `match` of a route.
pub(super) static MATCH: Shape = Shape::new(
    "match",
    &[
        CONDITIONS,
        &[
            key(
                "query",
                Kind::Named(&Kind::OneOrMany(&Kind::Either(&[Kind::Text, Kind::Mapping(&QUERY)]))),
                "Conditions on query parameters, by name; all must hold.",
            ),
            key(
                "fraction",
                Kind::Share,
                "Only this share of requests, drawn at random, for example 10%.",
            ),
        ],
    ],
);

impl Value for RouteMatch {
    fn read(reader: &mut Reader<'_>, node: &Node, kind: &'static Kind) -> Option<Self> {
        let fields = Fields::open(reader, node, kind)?;
        let mut found = Self::any();
        conditions(reader, &fields, &mut found);
        if let Some(QueryMatchers(query)) = fields.read(reader, "query") {
            found.query_parameters = query;
        }
        fields.set_some(reader, "fraction", &mut found.runtime_fraction);
        Some(found)
    }
}

/// Reads [`CONDITIONS`].
pub(super) fn conditions(reader: &mut Reader<'_>, fields: &Fields<'_>, found: &mut RouteMatch) {
    fields.at_most_one(reader, &PATHS, code::CONFLICTING_KEYS);
    if let Some(path) = path(reader, fields) {
        found.path = path;
    }
    fields.set(reader, "case_sensitive", &mut found.case_sensitive);
    grpc(reader, fields, found);
    let methods: Option<Vec<String>> = fields.read(reader, "method");
    if let (Some(methods), Some((node, _))) = (methods, fields.value("method")) {
        found.methods = methods.iter().filter_map(|text| method(reader, text, node.span)).collect();
    }
    if let Some(HeaderMatchers(headers)) = fields.read(reader, "headers") {
        found.headers = headers;
    }
}

fn path(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<PathMatcher> {
    let prefix = path_text(reader, fields, "prefix").map(PathMatcher::Prefix);
    let path = path_text(reader, fields, "path").map(PathMatcher::Path);
    let separated =
        path_text(reader, fields, "path_separated_prefix").map(PathMatcher::PathSeparatedPrefix);
    let regex = fields.read(reader, "regex").map(PathMatcher::Regex);
    prefix.or(path).or(separated).or(regex)
}

fn path_text(reader: &mut Reader<'_>, fields: &Fields<'_>, name: &str) -> Option<Arc<str>> {
    let text: Arc<str> = fields.read(reader, name)?;
    let span = fields.own(name).map_or_else(|| fields.span(), |entry| entry.value.span);
    let has_query = text.contains(['?', '#']);
    let (why, suggestion) = if text.len() > LONGEST_PATH {
        ("a path to match has at most 8192 bytes", "match a part of it".to_owned())
    } else if !text.starts_with('/') {
        ("a path starts with `/`", format!("write `/{}`", shorten(&text)))
    } else if name == "path" && has_query {
        ("an exact path is compared without the query", "match the query with `query`".to_owned())
    } else if name == "path_separated_prefix" && (has_query || text.ends_with('/')) {
        let trimmed = text.trim_end_matches('/');
        let suggestion = if trimmed.is_empty() { "use `prefix: /`" } else { trimmed };
        ("this prefix holds no `?` or `#` and does not end in `/`", suggestion.to_owned())
    } else {
        return Some(text);
    };
    reader
        .report
        .add(code::INVALID_PATH, span, format!("`{}`: {why}", shorten(&text)))
        .suggest(suggestion);
    Some(text)
}

/// `true`, `shop.Reviews` or `shop.Reviews/List`; the latter two are the path as well.
fn grpc(reader: &mut Reader<'_>, fields: &Fields<'_>, found: &mut RouteMatch) {
    let Some((node, _)) = fields.value("grpc") else { return };
    let Some(scalar) = reader.scalar(node, "`true`, a service, or service/method") else { return };
    if scalar.plain && matches!(&*scalar.text, "true" | "false") {
        found.grpc = &*scalar.text == "true";
        return;
    }
    let text = &*scalar.text;
    let is_name = |part: &str| {
        (1..LONGEST_PATH / 2).contains(&part.len())
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    };
    let path = match text.split_once('/') {
        None if is_name(text) => PathMatcher::Prefix(format!("/{text}/").into()),
        Some((service, method)) if is_name(service) && is_name(method) => {
            PathMatcher::Path(format!("/{text}").into())
        }
        _ => {
            let message = format!("`{}` is no gRPC service or service/method", shorten(text));
            reader
                .report
                .add(code::INVALID_PATH, node.span, message)
                .suggest("for example `shop.Reviews` or `shop.Reviews/List`");
            return;
        }
    };
    for entry in fields.present(&PATHS) {
        let message = format!("`grpc: {text}` is a path already, and `{}` is another", entry.key);
        reader
            .report
            .add(code::CONFLICTING_KEYS, entry.key_span, message)
            .suggest("keep one, or write `grpc: true`");
    }
    found.grpc = true;
    found.path = path;
}

fn method(reader: &mut Reader<'_>, text: &str, span: Span) -> Option<Method> {
    let upper = text.to_ascii_uppercase();
    let method = Method::from_bytes(text.as_bytes()).ok();
    if method.is_some() && upper == text {
        return method;
    }
    let suggestion =
        method.is_some().then(|| format!("methods are case-sensitive: write `{upper}`"));
    let message = format!("`{}` is no HTTP method", shorten(text));
    reader.report.add(code::INVALID_METHOD, span, message).suggest_if(suggestion);
    None
}
