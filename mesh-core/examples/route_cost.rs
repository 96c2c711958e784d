//! What one routing decision costs: builds a table and looks things up in it.
//!
//! ```text
//! cargo build --release -p mesh-core --example route_cost
//! valgrind --tool=callgrind --callgrind-out-file=/dev/null --toggle-collect='*look_up*' \
//!     target/release/examples/route_cost routes-nested 10000 1000
//! ```
//! and divide the instructions by the number of look-ups. Without valgrind it prints nanoseconds per
//! look-up. Tables: see [`TABLES`].
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a program that measures time; only the crate has no clock"
)]

use http::{HeaderMap, Method};
use mesh_core::RequestHead;
use mesh_core::model::{
    ClusterSpecifier, Domain, ForwardAction, PathMatcher, Route, RouteAction, RouteConfiguration,
    RouteMatch, VirtualHost,
};
use mesh_core::random::{Random, SplitMix64};
use mesh_core::router::{Decision, Router};
use std::collections::BTreeMap;
use std::hint::black_box;
use std::process::ExitCode;
use std::sync::Arc;

/// Name, and what makes a table of a size: the configuration, and requests as (authority, path).
type Table = (&'static str, fn(usize) -> (RouteConfiguration, Vec<(String, String)>));

const TABLES: &[Table] = &[
    ("hosts-exact", |size| hosts(size, |at| format!("{}.shop", name(at)), |d| d.to_owned())),
    ("hosts-suffix", |size| {
        hosts(size, |at| format!("*.{}.shop", name(at)), |d| d.replace('*', "www"))
    }),
    ("hosts-prefix", |size| {
        hosts(size, |at| format!("{}.*", name(at)), |d| d.replace('*', "shop"))
    }),
    ("hosts-mixed", |size| {
        let pattern = |at: usize| match at % 3 {
            0 => format!("{}.shop:9080", name(at)),
            1 => format!("*.{}.shop", name(at)),
            _ => format!("{}.*", name(at)),
        };
        hosts(size, pattern, |d| d.replace('*', "www"))
    }),
    ("routes-exact", |size| routes(size, true, |at| PathMatcher::Path(path(at).into()))),
    ("routes-prefix", |size| routes(size, true, |at| PathMatcher::Prefix(path(at).into()))),
    ("routes-separated", |size| {
        routes(size, true, |at| PathMatcher::PathSeparatedPrefix(path(at).into()))
    }),
    ("routes-ignore-case", |size| routes(size, false, |at| PathMatcher::Prefix(path(at).into()))),
    ("routes-nested", |size| routes(size, true, |at| PathMatcher::Prefix(nested(at, size).into()))),
    ("routes-mixed", |size| {
        routes(size, true, |at| match at % 3 {
            0 => PathMatcher::Path(path(at).into()),
            1 => PathMatcher::Prefix(path(at).into()),
            _ => PathMatcher::PathSeparatedPrefix(path(at).into()),
        })
    }),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [table, size, count] = &*arguments else { return usage() };
    let Some((_, make)) = TABLES.iter().find(|(name, _)| name == table) else { return usage() };
    let (Ok(size), Ok(count)) = (size.parse(), count.parse()) else { return usage() };

    let (configuration, requests) = make(size);
    let clusters = BTreeMap::from([(Arc::from("reviews"), 0)]);
    let router = match Router::compile(&Arc::new(configuration), &clusters, None) {
        Ok(router) => router,
        Err(errors) => {
            eprintln!("{}", errors[0]);
            return ExitCode::FAILURE;
        }
    };
    let mut order = SplitMix64::new(1);
    let picked: Vec<&(String, String)> =
        (0..count).map(|_| &requests[order.below(requests.len() as u64) as usize]).collect();
    let start = std::time::Instant::now();
    let found = look_up(&router, &picked);
    let elapsed = start.elapsed();
    assert_eq!(found, count, "every request has a route");
    eprintln!("{table} {size}: {} ns per look-up", elapsed.as_nanos() / (count.max(1) as u128));
    ExitCode::SUCCESS
}

fn usage() -> ExitCode {
    let names: Vec<&str> = TABLES.iter().map(|(name, _)| *name).collect();
    eprintln!("usage: route_cost <{}> <size> <look-ups>", names.join("|"));
    ExitCode::FAILURE
}

/// How many of the requests found a route.
#[inline(never)]
fn look_up(router: &Router, requests: &[&(String, String)]) -> usize {
    let headers = HeaderMap::new();
    let mut random = SplitMix64::new(2);
    let mut found = 0;
    for (authority, path) in requests {
        let head = RequestHead::new(&Method::GET, authority, path, &headers);
        let decision = black_box(router).route(black_box(&head), &mut random);
        found += usize::from(matches!(decision, Ok(Decision::Forward { .. })));
    }
    found
}

fn hosts(
    size: usize,
    pattern: impl Fn(usize) -> String,
    request: impl Fn(&str) -> String,
) -> (RouteConfiguration, Vec<(String, String)>) {
    let mut configuration = RouteConfiguration::default();
    let mut requests = Vec::new();
    for at in 0..size {
        let text = pattern(at);
        let Ok(domain) = Domain::parse(&text) else { continue };
        let mut host = VirtualHost::new(format!("host-{at}"), vec![domain]);
        host.routes.push(route(RouteMatch::any()));
        configuration.virtual_hosts.push(Arc::new(host));
        requests.push((request(&text), "/reviews/7?full=1".to_owned()));
    }
    (configuration, requests)
}

fn routes(
    size: usize,
    case_sensitive: bool,
    path: impl Fn(usize) -> PathMatcher,
) -> (RouteConfiguration, Vec<(String, String)>) {
    let mut host = VirtualHost::new("host", vec![Domain::Exact("reviews.shop".into())]);
    let mut requests = Vec::new();
    for at in 0..size {
        let path = path(at);
        let request = match &path {
            PathMatcher::Path(text) => format!("{text}?full=1"),
            PathMatcher::Prefix(text) | PathMatcher::PathSeparatedPrefix(text) => {
                format!("{text}/7?full=1")
            }
            PathMatcher::Regex(_) => continue,
        };
        let mut matcher = RouteMatch::new(path);
        matcher.case_sensitive = case_sensitive;
        host.routes.push(route(matcher));
        requests.push(("reviews.shop".to_owned(), request));
    }
    let mut configuration = RouteConfiguration::default();
    configuration.virtual_hosts.push(Arc::new(host));
    (configuration, requests)
}

fn route(matcher: RouteMatch) -> Arc<Route> {
    let action = ForwardAction::new(ClusterSpecifier::Cluster("reviews".into()));
    Arc::new(Route::new("route", matcher, RouteAction::Forward(action)))
}

/// A distinct word of 4 to 40 letters.
fn name(at: usize) -> String {
    let mut letters = SplitMix64::new(at as u64);
    let len = 4 + letters.below(32);
    let word: String = (0..len).map(|_| (b'a' + letters.below(26) as u8) as char).collect();
    format!("{word}{at}")
}

fn path(at: usize) -> String {
    format!("/{}/{}", name(at), name(at / 7))
}

/// Chains of ten (in a small table) or a hundred (in a large one) prefixes, longest first.
fn nested(at: usize, size: usize) -> String {
    let depth = size.min(100);
    let (chain, level) = (at / depth, depth - at % depth);
    let mut path = format!("/{chain}");
    for level in 1..level {
        path += &format!("/{level}");
    }
    path
}
