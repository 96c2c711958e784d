//! What it costs to find a route, by the size of the table: among 10,000 at most three times of among
//! 10, in instructions.
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a bench is a program that fails loudly and prints"
)]

#[path = "support/mod.rs"]
mod support;
#[path = "support/tables.rs"]
mod tables;

use http::{HeaderMap, Method};
use mesh_core::Timestamp;
use mesh_core::head::RequestHead;
use mesh_core::model::{Domain, LbAlgorithm, PathMatcher, Route, RouteMatch, VirtualHost};
use mesh_core::random::{Random, SplitMix64};
use mesh_core::state::{Mesh, Updater};
use mesh_core::update::ConfigUpdate;
use std::hint::black_box;
use std::process::ExitCode;
use std::sync::Arc;
use support::Case;

/// A kind of table: the name of its small and of its large one.
type Pair = (&'static str, &'static str, fn(u32) -> Table);

const PAIRS: [Pair; 11] = [
    ("exact hosts: 10", "exact hosts: 10,000", |size| hosts(size, exact_host)),
    ("suffix hosts: 10", "suffix hosts: 10,000", |size| hosts(size, suffix_host)),
    ("prefix hosts: 10", "prefix hosts: 10,000", |size| hosts(size, prefix_host)),
    ("mixed hosts: 10", "mixed hosts: 10,000", |size| {
        hosts(size, |at| [exact_host, suffix_host, prefix_host][at as usize % 3](at))
    }),
    ("exact paths: 10", "exact paths: 10,000", |size| {
        routes(size, true, |at, _| PathMatcher::Path(path(at).into()))
    }),
    ("prefix paths: 10", "prefix paths: 10,000", |size| {
        routes(size, true, |at, _| PathMatcher::Prefix(path(at).into()))
    }),
    ("separated paths: 10", "separated paths: 10,000", |size| {
        routes(size, true, |at, _| PathMatcher::PathSeparatedPrefix(path(at).into()))
    }),
    ("ignore-case prefixes: 10", "ignore-case prefixes: 10,000", |size| {
        routes(size, false, |at, _| PathMatcher::Prefix(path(at).into()))
    }),
    ("ignore-case paths: 10", "ignore-case paths: 10,000", |size| {
        routes(size, false, |at, _| PathMatcher::Path(path(at).into()))
    }),
    ("nested prefixes: 10", "nested prefixes: 10,000", |size| {
        routes(size, true, |at, size| PathMatcher::Prefix(nested(at, size).into()))
    }),
    ("mixed paths: 10", "mixed paths: 10,000", |size| {
        routes(size, true, |at, _| match at % 3 {
            0 => PathMatcher::Path(path(at).into()),
            1 => PathMatcher::Prefix(path(at).into()),
            _ => PathMatcher::PathSeparatedPrefix(path(at).into()),
        })
    }),
];

/// A macro, because a case is made by a function pointer that knows its pair.
macro_rules! cases {
    ($($at:literal)*) => {
        [$(
            Case::new(PAIRS[$at].0, 2_000, || (PAIRS[$at].2)(10).look_up()),
            Case::new(PAIRS[$at].1, 2_000, || (PAIRS[$at].2)(10_000).look_up()),
        )*]
    };
}

fn main() -> ExitCode {
    let usual = Case::new("usual: 20 routes, split", 2_000, || {
        let requests = vec![("reviews".to_owned(), "/x".to_owned())];
        Table { update: tables::usual(), requests }.look_up()
    });
    let mut all = vec![usual];
    all.extend(cases![0 1 2 3 4 5 6 7 8 9 10]);
    support::main("route", &all)
}

/// A configuration, and requests that each hit another entry of it.
struct Table {
    update: ConfigUpdate,
    /// Authority and path.
    requests: Vec<(String, String)>,
}

impl Table {
    /// Looks up one request after the other, in an order that no predictor knows.
    fn look_up(self) -> Box<dyn FnMut()> {
        let (mut updater, mesh): (Updater<()>, Mesh<()>) = Updater::new(());
        updater.apply(self.update, Timestamp::ZERO).expect("a good configuration");
        let mut order = SplitMix64::new(1);
        let any = |_| self.requests[order.below(self.requests.len() as u64) as usize].clone();
        let requests: Vec<(String, String)> = (0..256).map(any).collect();
        let (headers, mut random) = (HeaderMap::new(), SplitMix64::new(2));
        let mut next = (0..requests.len()).cycle();
        Box::new(move || {
            let _kept = &updater;
            let (authority, path) = &requests[next.next().unwrap_or_default()];
            let head = RequestHead::new(&Method::GET, authority, path, &headers);
            black_box(mesh.snapshot().route(black_box(&head), &mut random).expect("a route"));
        })
    }
}

/// A virtual host for each domain, and the authority that asks for it.
fn hosts(size: u32, domain: impl Fn(u32) -> (Domain, String)) -> Table {
    let (mut hosts, mut requests) = (Vec::new(), Vec::new());
    for at in 0..size {
        let (domain, authority) = domain(at);
        let mut host = VirtualHost::new(format!("h{at}"), vec![domain]);
        host.routes.push(tables::forward("all", PathMatcher::any(), "a"));
        hosts.push(host);
        requests.push((authority, "/reviews/7?full=1".to_owned()));
    }
    Table { update: tables::update(hosts, [cluster()], 1), requests }
}

fn exact_host(at: u32) -> (Domain, String) {
    let text = format!("{}.shop", name(at));
    (Domain::Exact(text.as_str().into()), text)
}

fn suffix_host(at: u32) -> (Domain, String) {
    let text = format!(".{}.shop", name(at));
    (Domain::Suffix(text.as_str().into()), format!("www{text}"))
}

fn prefix_host(at: u32) -> (Domain, String) {
    let text = format!("{}.", name(at));
    (Domain::Prefix(text.as_str().into()), format!("{text}shop"))
}

/// One virtual host with a route for each path, and a request for each.
fn routes(size: u32, case_sensitive: bool, path: impl Fn(u32, u32) -> PathMatcher) -> Table {
    let mut host = VirtualHost::new("h", vec![Domain::Any]);
    let mut requests = Vec::new();
    for at in 0..size {
        let path = path(at, size);
        let request = match &path {
            PathMatcher::Path(text) => format!("{text}?full=1"),
            PathMatcher::Prefix(text) | PathMatcher::PathSeparatedPrefix(text) => {
                format!("{text}/7?full=1")
            }
            PathMatcher::Regex(_) => continue,
        };
        let route = tables::forward(&format!("r{at}"), path.clone(), "a");
        let mut matcher = RouteMatch::new(path);
        matcher.case_sensitive = case_sensitive;
        host.routes.push(Arc::new(Route::new(format!("r{at}"), matcher, route.action.clone())));
        requests.push(("reviews".to_owned(), request));
    }
    Table { update: tables::update(vec![host], [cluster()], 1), requests }
}

fn cluster() -> mesh_core::update::ClusterUpdate {
    tables::cluster("a", LbAlgorithm::RoundRobin, 1)
}

/// A distinct word of 5 to 40 letters and digits.
fn name(at: u32) -> String {
    let mut letters = SplitMix64::new(u64::from(at));
    let len = 4 + letters.below(32);
    let word: String = (0..len).map(|_| (b'a' + letters.below(26) as u8) as char).collect();
    format!("{word}{at}")
}

fn path(at: u32) -> String {
    format!("/{}/{}", name(at), name(at / 7))
}

/// Chains of ten (in a small table) or a hundred (in a large one) prefixes, longest first.
fn nested(at: u32, size: u32) -> String {
    let depth = size.min(100);
    let (chain, level) = (at / depth, depth - at % depth);
    let levels: String = (1..level).map(|level| format!("/{level}")).collect();
    format!("/{chain}{levels}")
}
