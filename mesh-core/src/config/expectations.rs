//! Expectations beside a configuration: what becomes of a request, written down and compared.
//!
//! ```yaml
//! config: mesh.yaml                # or a list; relative to this file
//! tests:
//!   - name: testers get v2
//!     request: { url: "http://reviews/v2/1", method: GET, headers: { version: v2 } }
//!     expect: { route: canary, cluster: reviews-v2, path: /1, headers: { x-old: { present: false } } }
//!   - name: the others are split
//!     request: { url: "http://reviews/" }
//!     expect: { cluster: { reviews-v1: 90, reviews-v2: 10 } }
//! ```
//!
//! The file is read by the rules of `mesh.yaml`: places to the byte, unknown keys are errors, variables
//! in scalars, top-level `x-…` keys for anchors. Headers are matched by the grammar of routes. Shares
//! are odds as they are configured, not draws.

use super::diagnostic::Report;
use super::fields::Fields;
use super::matcher::{self, HeaderMatchers, named};
use super::node::{Content, Node, Span};
use super::reader::Reader;
use super::shape::{Kind, Shape, key};
use super::value::{Value, header_name};
use super::{Bounds, Diagnostic, Document, Environment, code, parse};
use crate::explain::{Difference, Expectation, ExpectedCluster, Explained, Request, explain};
use crate::state::{Attach, Snapshot};
use http::Method;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

static REQUEST: Shape = Shape::new(
    "request",
    &[&[
        key("url", Kind::Text, "Absolute, or without scheme, or a path beside a `host` header.")
            .required(),
        key("method", Kind::Text, "Default GET."),
        key("headers", Kind::Named(&Kind::OneOrMany(&Kind::Text)), "The headers, by name."),
        key("peer", Kind::Text, "The IP address of the sender. Default none."),
    ]],
);

const PERCENT: Kind = Kind::Number { least: 0.0, most: 100.0 };
static EXPECT: Shape = Shape::new(
    "expect",
    &[&[
        key("virtual_host", Kind::Text, "The name of the virtual host."),
        key("route", Kind::Text, "The name of the route."),
        key(
            "cluster",
            Kind::Either(&[Kind::Text, Kind::Named(&PERCENT)]),
            "The cluster, or the clusters of a split with their percentages.",
        ),
        key("path", Kind::Text, "Path and query as the endpoint sees them."),
        key("host", Kind::Text, "The authority as the endpoint sees it."),
        key("headers", matcher::HEADERS, "Conditions on headers as the endpoint sees them."),
        key("redirect", Kind::Text, "Where a redirect sends the caller."),
        key(
            "status",
            Kind::Count { least: 100, most: 599 },
            "The status of what is answered here.",
        ),
        key("error", Kind::Text, "The code of the reason for which the request is refused."),
    ]],
);

static TEST: Shape = Shape::new(
    "test",
    &[&[
        key("name", Kind::Text, "What is tested, for whoever reads the result.").required(),
        key("request", Kind::Mapping(&REQUEST), "The request that is asked about.").required(),
        key("expect", Kind::Mapping(&EXPECT), "What is compared; all of it must hold.").required(),
    ]],
);
const TEST_KIND: Kind = Kind::Mapping(&TEST);

static SUITE: Shape = Shape::new(
    "suite",
    &[&[
        key(
            "config",
            Kind::OneOrMany(&Kind::Text),
            "The configuration: a file or directory, or a list, relative to this file.",
        )
        .required(),
        key("tests", Kind::List(&TEST_KIND), "The tests.").required(),
    ]],
)
.with_extensions();
static SUITE_KIND: Kind = Kind::Mapping(&SUITE);

/// Tests of a configuration, read from a document.
#[derive(Clone, Debug)]
pub struct Suite {
    config: Vec<String>,
    tests: Vec<Test>,
}

#[derive(Clone, Debug)]
struct Test {
    name: String,
    request: Request,
    expectation: Expectation,
    /// Where each expectation stands, by [`Difference::what`].
    places: BTreeMap<String, Span>,
    span: Span,
}

/// What came of one test.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TestResult {
    /// Its name.
    pub name: String,
    /// What is not as expected, each with its place. Empty: the test passed.
    pub differences: Vec<Diagnostic>,
    /// What becomes of the request, and why.
    pub explained: Explained,
}

impl Suite {
    /// Reads tests from a document.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn read(
        document: &Document<'_>,
        environment: &dyn Environment,
        bounds: &Bounds,
    ) -> Result<Self, Vec<Diagnostic>> {
        let documents = std::slice::from_ref(document);
        let mut report = Report::new(bounds.diagnostics);
        let root = parse::parse(0, document.text, bounds, &mut report);
        let mut reader = Reader::new(documents, environment, bounds, report);
        let suite = root.and_then(|root| suite(&mut reader, &root));
        match suite {
            Some(suite) if !reader.report.has_errors() => Ok(suite),
            _ => Err(reader.report.finish(documents)),
        }
    }

    /// The files and directories that are tested, relative to the document's directory.
    #[must_use]
    pub fn config(&self) -> &[String] {
        &self.config
    }

    /// Asks `snapshot` about every request, and compares. `document` is the one that was read.
    #[must_use]
    pub fn run<A: Attach>(
        &self,
        document: &Document<'_>,
        snapshot: &Snapshot<A>,
    ) -> Vec<TestResult> {
        self.tests.iter().map(|test| test.run(document, snapshot)).collect()
    }
}

impl Test {
    fn run<A: Attach>(&self, document: &Document<'_>, snapshot: &Snapshot<A>) -> TestResult {
        let explained = explain(snapshot, &self.request);
        let differences = self.expectation.differences(&explained);
        let mut report = Report::new(differences.len());
        for (at, difference) in differences.iter().enumerate() {
            let Difference { what, expected, actual, .. } = difference;
            let span = self.places.get(what).copied().unwrap_or(self.span);
            let message = format!("{what} is {actual}, expected {expected}");
            // The reason once: it is the same for all differences of a request.
            let why = (at == 0).then(|| explained.routing.to_string().trim_end().to_owned());
            report.add(code::UNEXPECTED, span, message).suggest_if(why);
        }
        let differences = report.finish(std::slice::from_ref(document));
        TestResult { name: self.name.clone(), differences, explained }
    }
}

fn suite(reader: &mut Reader<'_>, root: &Node) -> Option<Suite> {
    let fields = Fields::open(reader, root, &SUITE_KIND)?;
    let config: Option<Vec<String>> = fields.read(reader, "config");
    let (node, _) = fields.value("tests")?;
    if !matches!(node.content, Content::Sequence(_)) {
        reader.wrong_type(node, "a list");
        return None;
    }
    let tests = node.one_or_many().into_iter().filter_map(|node| test(reader, node)).collect();
    Some(Suite { config: config?, tests })
}

fn test(reader: &mut Reader<'_>, node: &Node) -> Option<Test> {
    if !reader.admit(node.span) {
        return None;
    }
    let fields = Fields::open(reader, node, &TEST_KIND)?;
    let name = fields.read(reader, "name");
    let request = fields.value("request").and_then(|(node, kind)| request(reader, node, kind));
    let expect = fields.value("expect").and_then(|(node, kind)| expect(reader, node, kind));
    let (expectation, places) = expect?;
    Some(Test { name: name?, request: request?, expectation, places, span: node.span })
}

fn request(reader: &mut Reader<'_>, node: &Node, kind: &'static Kind) -> Option<Request> {
    let fields = Fields::open(reader, node, kind)?;
    let url: Option<String> = fields.read(reader, "url");
    let method: Option<String> = fields.read(reader, "method");
    let peer: Option<String> = fields.read(reader, "peer");
    let headers = fields.value("headers");
    let span_of = |key| fields.own(key).map_or(node.span, |entry| entry.value.span);
    let mut request = match Request::new(&url?) {
        Ok(request) => request,
        Err(invalid) => {
            reader.report.add(code::INVALID_URL, span_of("url"), invalid.to_string());
            return None;
        }
    };
    if let Some(method) = method {
        match Method::from_bytes(method.as_bytes()) {
            Ok(method) => request.method = method,
            Err(_) => {
                let message = format!("`{method}` is no method");
                reader.report.add(code::INVALID_METHOD, span_of("method"), message);
            }
        }
    }
    if let Some(peer) = peer {
        match peer.parse::<IpAddr>() {
            Ok(address) => request.peer = Some(SocketAddr::new(address, 0)),
            Err(_) => {
                let message = format!("`{peer}` is no IP address");
                reader.report.add(code::INVALID_ADDRESS, span_of("peer"), message);
            }
        }
    }
    if let Some((node, kind)) = headers {
        let inner = kind.named()?;
        for entry in named(reader, node)? {
            let name = header_name(reader, &entry.key, entry.key_span);
            let values: Option<Vec<http::HeaderValue>> = Value::read(reader, &entry.value, inner);
            let (Some(name), Some(values)) = (name, values) else { continue };
            for value in values {
                request.headers.append(name.clone(), value);
            }
        }
    }
    Some(request)
}

fn expect(
    reader: &mut Reader<'_>,
    node: &Node,
    kind: &'static Kind,
) -> Option<(Expectation, BTreeMap<String, Span>)> {
    let fields = Fields::open(reader, node, kind)?;
    let mut expected = Expectation {
        virtual_host: fields.read(reader, "virtual_host"),
        route: fields.read(reader, "route"),
        path: fields.read(reader, "path"),
        host: fields.read(reader, "host"),
        redirect: fields.read(reader, "redirect"),
        status: fields.read(reader, "status"),
        error: fields.read(reader, "error"),
        ..Expectation::default()
    };
    if let Some((node, kind)) = fields.value("cluster") {
        expected.cluster = cluster(reader, node, kind);
    }
    if let Some(HeaderMatchers(headers)) = fields.read(reader, "headers") {
        expected.headers = headers;
    }
    check_error(reader, &fields, expected.error.as_deref());
    if node.entries().is_empty() {
        reader
            .report
            .add(code::MISSING_KEY, node.span, "nothing is expected")
            .suggest("for example `route`, `cluster`, or `error: no_route`");
    }
    let mut places: BTreeMap<String, Span> = BTreeMap::new();
    for entry in node.entries() {
        places.insert(entry.key.to_string(), entry.value.span);
        if &*entry.key == "headers" {
            let headers = entry.value.entries().iter();
            places.extend(headers.map(|header| {
                (format!("headers.{}", header.key.to_ascii_lowercase()), header.value.span)
            }));
        }
    }
    Some((expected, places))
}

/// A reason that does not exist is a mistake of the test, not a difference.
fn check_error(reader: &mut Reader<'_>, fields: &Fields<'_>, error: Option<&str>) {
    let (Some(error), Some(entry)) = (error, fields.own("error")) else { return };
    let known: Vec<_> = crate::explain::reasons::reasons().map(|known| known.code).collect();
    if !known.contains(&error) {
        let suggestion = reader.did_you_mean(error, known.iter().copied());
        let message = format!("`{error}` is the code of no reason");
        reader.report.add(code::UNKNOWN_WORD, entry.value.span, message).suggest_if(suggestion);
    }
}

fn cluster(reader: &mut Reader<'_>, node: &Node, kind: &'static Kind) -> Option<ExpectedCluster> {
    if matches!(node.content, Content::Scalar { .. }) {
        return String::read(reader, node, kind).map(ExpectedCluster::One);
    }
    let inner = kind.named()?;
    let mut parts = Vec::new();
    for entry in named(reader, node)? {
        parts.push((entry.key.to_string(), f64::read(reader, &entry.value, inner)?));
    }
    let sum: f64 = parts.iter().map(|(_, percent)| percent).sum();
    if (sum - 100.0).abs() > 0.5 {
        let message = format!("the percentages add up to {sum}, not to 100");
        reader.report.add(code::INVALID_WEIGHTS, node.span, message);
    }
    Some(ExpectedCluster::Split(parts))
}
