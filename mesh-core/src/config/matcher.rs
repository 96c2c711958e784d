//! Conditions on strings, headers and query parameters: one grammar for routes, retries and, later,
//! authorization.
//!
//! A scalar means exact. A mapping says `exact`, `prefix`, `suffix`, `contains` or `regex`, and for
//! headers also `present` or `range`. `headers` and `query` are mappings of names; a list under a name
//! is several conditions on it.

use super::fields::Fields;
use super::node::{Content, Node};
use super::shape::{Key, Kind, Shape, key};
use super::value::{Value, header_name};
use super::{code, reader::Reader};
use crate::model::matcher::{HeaderMatcherKind, StringPattern};
use crate::model::{HeaderMatcher, QueryParameterMatcher, StringMatcher};
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
/// A condition on a query parameter.
pub(super) static QUERY: Shape = Shape::new(
    "query_matcher",
    &[PATTERN_KEYS, &[key("present", Kind::Flag, "The parameter is there. Only true.")]],
)
.exactly_one(&QUERY_KINDS);

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

/// The conditions of a mapping of query parameters.
pub(super) struct QueryMatchers(pub(super) Vec<QueryParameterMatcher>);

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
