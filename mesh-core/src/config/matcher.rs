//! `match`: which requests. One grammar for routes, retries and, later, authorization.
//!
//! A scalar means exact. A mapping says `exact`, `prefix`, `suffix`, `contains` or `regex`, and for
//! headers also `present` or `range`. `headers` and `query` are mappings of names; a list under a name
//! is several conditions on it.

use super::fields::Fields;
use super::node::{Content, Node, Span, shorten};
use super::shape::{Key, Kind, Shape, key};
use super::value::{Value, header_name};
use super::{code, reader::Reader};
use crate::model::matcher::{HeaderMatcherKind, StringPattern};
use crate::model::{HeaderMatcher, PathMatcher, QueryParameterMatcher, RouteMatch, StringMatcher};
use http::Method;
use std::sync::Arc;

const PATTERN_KEYS: &[Key] = &[
    key("exact", Kind::Text, "The whole value."),
    key("prefix", Kind::Text, "The start of the value; not empty."),
    key("suffix", Kind::Text, "The end of the value; not empty."),
    key("contains", Kind::Text, "Anywhere in the value; not empty."),
    key("regex", Kind::Text, "The whole value, in RE2 syntax."),
    key("ignore_case", Kind::Flag, "Compares ASCII letters without case. Default false."),
];
const PATTERNS: [&str; 5] = ["exact", "prefix", "suffix", "contains", "regex"];

static STRING: Shape = Shape::new("string_matcher", &[PATTERN_KEYS]).exactly_one(&PATTERNS);

/// A string matcher: a scalar for exact, or a mapping.
pub(super) const STRING_MATCHER: Kind = Kind::Either(&[Kind::Text, Kind::Mapping(&STRING)]);

static RANGE: Shape = Shape::new(
    "range",
    &[&[
        key("start", INTEGER, "The least value.").required(),
        key("end", INTEGER, "The first value that is too large.").required(),
    ]],
);
const INTEGER: Kind = Kind::Count { least: i64::MIN, most: i64::MAX };

const HEADER_KINDS: [&str; 7] =
    ["exact", "prefix", "suffix", "contains", "regex", "present", "range"];
static HEADER: Shape = Shape::new(
    "header_matcher",
    &[
        PATTERN_KEYS,
        &[
            key("present", Kind::Flag, "The header is there (true) or not (false)."),
            key(
                "range",
                Kind::Mapping(&RANGE),
                "A base-10 integer from start up to, not including, end.",
            ),
            key(
                "invert",
                Kind::Flag,
                "Turns the result round. A missing header still never matches. Default false.",
            ),
            key(
                "treat_missing_as_empty",
                Kind::Flag,
                "A missing header counts as an empty one. Default false.",
            ),
        ],
    ],
)
.exactly_one(&HEADER_KINDS);

const HEADER_VALUE: Kind = Kind::Either(&[Kind::Text, Kind::Mapping(&HEADER)]);
/// Conditions on headers, by name.
pub(super) const HEADERS: Kind = Kind::Named(&Kind::OneOrMany(&HEADER_VALUE));

const QUERY_KINDS: [&str; 6] = ["exact", "prefix", "suffix", "contains", "regex", "present"];
static QUERY: Shape = Shape::new(
    "query_matcher",
    &[PATTERN_KEYS, &[key("present", Kind::Flag, "The parameter is there. Only true.")]],
)
.exactly_one(&QUERY_KINDS);

const PATHS: [&str; 4] = ["prefix", "path", "path_separated_prefix", "regex"];
/// `match` of a route.
pub(super) static MATCH: Shape = Shape::new(
    "match",
    &[&[
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
    ]],
);

impl Value for StringMatcher {
    fn read(reader: &mut Reader<'_>, node: &Node, kind: &'static Kind) -> Option<Self> {
        if matches!(node.content, Content::Scalar { .. }) {
            return reader.scalar(node, "text").map(|scalar| Self::exact(scalar.text));
        }
        let fields = Fields::open(reader, node, kind)?;
        let name = chosen(reader, &fields, &PATTERNS);
        let matcher = pattern(reader, &fields);
        name.and(matcher)
    }
}

/// Which kind of comparison a matcher makes.
fn chosen(
    reader: &mut Reader<'_>,
    fields: &Fields<'_>,
    kinds: &[&'static str],
) -> Option<Box<str>> {
    fields
        .exactly_one(reader, kinds, (code::MISSING_KEY, code::CONFLICTING_KEYS))
        .map(|entry| entry.key.clone())
}

/// The string comparison of a matcher that has one.
fn pattern(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<StringMatcher> {
    let exact = fields.read(reader, "exact").map(StringPattern::Exact);
    let prefix = part(reader, fields, "prefix").map(StringPattern::Prefix);
    let suffix = part(reader, fields, "suffix").map(StringPattern::Suffix);
    let contains = part(reader, fields, "contains").map(StringPattern::Contains);
    let regex = fields.read(reader, "regex").map(StringPattern::Regex);
    let ignore_case = fields.read(reader, "ignore_case");
    if regex.is_some() {
        fields.misplaced(reader, &["ignore_case"], "on a regex: write `(?i)` in the pattern");
    }
    let pattern = exact.or(prefix).or(suffix).or(contains).or(regex)?;
    let mut matcher = StringMatcher::new(pattern);
    matcher.ignore_case = ignore_case.unwrap_or_default();
    Some(matcher)
}

/// A text that is not empty.
fn part(reader: &mut Reader<'_>, fields: &Fields<'_>, name: &str) -> Option<Arc<str>> {
    let text: Arc<str> = fields.read(reader, name)?;
    if text.is_empty() {
        let span = fields.own(name).map_or_else(|| fields.span(), |entry| entry.value.span);
        reader
            .report
            .add(code::OUT_OF_RANGE, span, format!("an empty `{name}` matches everything"))
            .suggest("use `present: true`");
    }
    Some(text)
}

/// The conditions of a mapping of header names; see [`HEADERS`].
pub(super) struct HeaderMatchers(pub(super) Vec<HeaderMatcher>);

impl Value for HeaderMatchers {
    fn read(reader: &mut Reader<'_>, node: &Node, kind: &'static Kind) -> Option<Self> {
        let inner = kind.named()?.item()?;
        let mut matchers = Vec::new();
        for entry in named(reader, node)? {
            let name = header_name(reader, &entry.key, entry.key_span);
            for value in entry.value.one_or_many() {
                let matcher = header_condition(reader, value, inner);
                if let (Some(name), Some((kind, invert, empty))) = (name.clone(), matcher) {
                    let mut matcher = HeaderMatcher::new(name, kind);
                    matcher.invert = invert;
                    matcher.treat_missing_as_empty = empty;
                    matchers.push(matcher);
                }
            }
        }
        Some(Self(matchers))
    }
}

/// The entries of a mapping of free names.
pub(super) fn named<'n>(
    reader: &mut Reader<'_>,
    node: &'n Node,
) -> Option<&'n [super::node::Entry]> {
    if !matches!(node.content, Content::Mapping(_)) {
        reader.wrong_type(node, "a mapping");
        return None;
    }
    Some(node.entries())
}

fn header_condition(
    reader: &mut Reader<'_>,
    node: &Node,
    kind: &'static Kind,
) -> Option<(HeaderMatcherKind, bool, bool)> {
    if matches!(node.content, Content::Scalar { .. }) {
        let text = reader.scalar(node, "text")?.text;
        return Some((HeaderMatcherKind::String(StringMatcher::exact(text)), false, false));
    }
    let fields = Fields::open(reader, node, kind)?;
    let chosen = chosen(reader, &fields, &HEADER_KINDS);
    let string = pattern(reader, &fields).map(HeaderMatcherKind::String);
    let present = fields.read(reader, "present").map(HeaderMatcherKind::Present);
    let range = fields.value("range").and_then(|(node, kind)| range(reader, node, kind));
    let invert = fields.read(reader, "invert").unwrap_or_default();
    let empty = fields.read(reader, "treat_missing_as_empty").unwrap_or_default();
    if matches!(chosen.as_deref(), Some("present" | "range")) {
        fields.misplaced(reader, &["ignore_case"], "without a text to compare");
    }
    Some((string.or(present).or(range)?, invert, empty))
}

fn range(reader: &mut Reader<'_>, node: &Node, kind: &'static Kind) -> Option<HeaderMatcherKind> {
    let fields = Fields::open(reader, node, kind)?;
    let start: Option<i64> = fields.read(reader, "start");
    let end: Option<i64> = fields.read(reader, "end");
    let (start, end) = (start?, end?);
    if start >= end {
        let message = format!("the range from {start} to {end} is empty: its end does not count");
        reader.report.add(code::INCONSISTENT_VALUES, node.span, message);
    }
    Some(HeaderMatcherKind::Range(start..end))
}

struct QueryMatchers(Vec<QueryParameterMatcher>);

impl Value for QueryMatchers {
    fn read(reader: &mut Reader<'_>, node: &Node, kind: &'static Kind) -> Option<Self> {
        let inner = kind.named()?.item()?;
        let mut matchers = Vec::new();
        for entry in named(reader, node)? {
            for value in entry.value.one_or_many() {
                if let Some(value) = query_condition(reader, value, inner) {
                    matchers.push(QueryParameterMatcher::new(&*entry.key, value));
                }
            }
        }
        Some(Self(matchers))
    }
}

/// The comparison of a query parameter; `Some(None)`: it only has to be there.
#[expect(
    clippy::option_option,
    reason = "outer: could be read; inner: whether there is a comparison"
)]
fn query_condition(
    reader: &mut Reader<'_>,
    node: &Node,
    kind: &'static Kind,
) -> Option<Option<StringMatcher>> {
    if matches!(node.content, Content::Scalar { .. }) {
        return reader.scalar(node, "text").map(|scalar| Some(StringMatcher::exact(scalar.text)));
    }
    let fields = Fields::open(reader, node, kind)?;
    let chosen = chosen(reader, &fields, &QUERY_KINDS);
    let string = pattern(reader, &fields);
    let present: Option<bool> = fields.read(reader, "present");
    if present == Some(false) {
        reader
            .report
            .add(code::OUT_OF_RANGE, node.span, "a query parameter's absence can't be matched")
            .suggest("put the route that wants it there first");
    }
    if chosen.as_deref() == Some("present") {
        fields.misplaced(reader, &["ignore_case"], "without a text to compare");
    }
    chosen.map(|_| string)
}

impl Value for RouteMatch {
    fn read(reader: &mut Reader<'_>, node: &Node, kind: &'static Kind) -> Option<Self> {
        let fields = Fields::open(reader, node, kind)?;
        let mut found = Self::any();
        fields.at_most_one(reader, &PATHS, code::CONFLICTING_KEYS);
        if let Some(path) = path(reader, &fields) {
            found.path = path;
        }
        fields.set(reader, "case_sensitive", &mut found.case_sensitive);
        grpc(reader, &fields, &mut found);
        let methods: Option<Vec<String>> = fields.read(reader, "method");
        if let (Some(methods), Some((node, _))) = (methods, fields.value("method")) {
            found.methods =
                methods.iter().filter_map(|text| method(reader, text, node.span)).collect();
        }
        if let Some(HeaderMatchers(headers)) = fields.read(reader, "headers") {
            found.headers = headers;
        }
        if let Some(QueryMatchers(query)) = fields.read(reader, "query") {
            found.query_parameters = query;
        }
        fields.set_some(reader, "fraction", &mut found.runtime_fraction);
        Some(found)
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
    let (why, suggestion) = if !text.starts_with('/') {
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
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
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
