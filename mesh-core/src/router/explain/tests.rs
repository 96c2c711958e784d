use super::*;
use crate::model::matcher::HeaderMatcherKind;
use crate::model::{
    ClusterSpecifier, ForwardAction, Route, RouteConfiguration, RouteMatch, Split, SplitCluster,
    StringMatcher, VirtualHost,
};
use http::{HeaderMap, HeaderValue};
use std::collections::BTreeMap;

fn forward(cluster: ClusterSpecifier) -> RouteAction {
    RouteAction::Forward(ForwardAction::new(cluster))
}

fn one(cluster: &str) -> RouteAction {
    forward(ClusterSpecifier::Cluster(cluster.into()))
}

fn prefix(text: &str) -> RouteMatch {
    RouteMatch::new(PathMatcher::Prefix(text.into()))
}

fn shop() -> Router {
    let mut version = prefix("/reviews");
    let kind = HeaderMatcherKind::String(StringMatcher::exact("v2"));
    version.headers = vec![HeaderMatcher::new(HeaderName::from_static("version"), kind)];
    let mut post = prefix("/reviews/add");
    post.methods = vec![Method::POST, Method::PUT];
    let mut debug = prefix("/reviews");
    debug.query_parameters = vec![QueryParameterMatcher::new("debug", None)];
    let mut canary = prefix("/reviews");
    canary.runtime_fraction = Some(Fraction::percent(25));
    let mut grpc = RouteMatch::new(PathMatcher::Path("/reviews/add".into()));
    grpc.grpc = true;
    let split = Split::new(vec![SplitCluster::new("v1", 90), SplitCluster::new("gone", 10)]);
    let routes = [
        ("version", version, one("v2")),
        ("write", post, one("v1")),
        ("debug", debug, one("v1")),
        ("canary", canary, one("v2")),
        ("grpc", grpc, one("v2")),
        ("main", prefix("/reviews"), forward(ClusterSpecifier::Split(split))),
        ("late", prefix("/reviews"), one("v1")),
        (
            "named",
            prefix("/named"),
            forward(ClusterSpecifier::Header(HeaderName::from_static("to"))),
        ),
    ];
    let domains = ["shop.example", "*.shop.example"].map(|text| Domain::parse(text).unwrap());
    let mut host = VirtualHost::new("shop", domains.into());
    host.routes = routes
        .into_iter()
        .map(|(name, matcher, action)| Arc::new(Route::new(name, matcher, action)))
        .collect();
    let config =
        RouteConfiguration { virtual_hosts: vec![Arc::new(host)], ..RouteConfiguration::default() };
    let slots = BTreeMap::from([(Arc::from("v1"), 0), (Arc::from("v2"), 1)]);
    Router::compile(&Arc::new(config), &slots, None).unwrap()
}

#[track_caller]
fn check(authority: &str, path: &str, headers: &[(&'static str, &'static str)], expected: &[&str]) {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(*name, HeaderValue::from_static(value));
    }
    let head = RequestHead::new(&Method::GET, authority, path, &map);
    let told = shop().explain(&head).to_string();
    assert_eq!(told.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn it_tells_the_way_and_what_was_missed_on_it() {
    check(
        "www.Shop.example:80",
        "/reviews/add?x",
        &[("version", "v1")],
        &[
            "virtual host `shop` by `*.shop.example`: the longest suffix that matches, and no exact \
             domain does",
            "routes[0] `version` passes: header `version` is `v1`, wanted: `v2`",
            "routes[1] `write` passes: the method is GET, wanted: POST or PUT",
            "routes[2] `debug` passes: query parameter `debug` is missing, wanted: present",
            "routes[3] `canary` passes: it takes only 25 % of requests",
            "routes[4] `grpc` passes: the content type is not gRPC's",
            "routes[5] `main` takes it by prefix `/reviews`: cluster `v1` 90 %, cluster `gone` 10 % \
             (not in the configuration)",
        ],
    );
    check(
        "shop.example",
        "/reviews",
        &[("version", "v2")],
        &[
            "virtual host `shop` by `shop.example`: an exact domain",
            "routes[0] `version` takes it by prefix `/reviews`: cluster `v2` 100 %",
        ],
    );
}

#[test]
fn it_tells_what_a_header_names() {
    let way = "virtual host `shop` by `shop.example`: an exact domain";
    for (headers, route) in [
        (&[("to", "v2")][..], "cluster `v2` 100 %"),
        (&[("to", "v9")][..], "cluster `v9` 100 % (not in the configuration)"),
        (&[][..], "header `to`, which names the cluster, is missing"),
    ] {
        let route = format!("routes[7] `named` takes it by prefix `/named`: {route}");
        check("shop.example", "/named", headers, &[way, &route]);
    }
}

#[test]
fn when_nothing_matches_it_names_what_is_similar() {
    check(
        "shop.exmaple",
        "/",
        &[],
        &[
            "no virtual host serves `shop.exmaple`",
            "similar: `shop.example` of virtual host `shop`",
            "similar: `*.shop.example` of virtual host `shop`",
        ],
    );
    check(
        "shop.example",
        "/nmaed",
        &[],
        &[
            "virtual host `shop` by `shop.example`: an exact domain",
            "no route of it matches",
            "similar: routes[7] `named` by prefix `/named`",
        ],
    );
    check("other", "/", &[], &["no virtual host serves `other`"]);
}

#[test]
fn near_misses_are_in_order_and_bounded() {
    let mut host = VirtualHost::new("a", vec![Domain::Any]);
    for at in 0..50 {
        let mut matcher = if at % 2 == 0 { prefix("/") } else { prefix("/a") };
        matcher.methods = vec![Method::POST];
        host.routes.push(Arc::new(Route::new(format!("{at}"), matcher, one("v1"))));
    }
    let config =
        RouteConfiguration { virtual_hosts: vec![Arc::new(host)], ..RouteConfiguration::default() };
    let router = Router::compile(&Arc::new(config), &BTreeMap::new(), None).unwrap();
    let headers = HeaderMap::new();
    let told = router.explain(&RequestHead::new(&Method::GET, "x", "/a", &headers));
    let indexes: Vec<_> = told.near_misses.iter().map(|miss| miss.index).collect();
    assert_eq!(indexes, (0..20).collect::<Vec<_>>());
    assert_eq!(told.near_misses_left_out, 30);
    assert!(told.to_string().contains("and 30 more"));
}

#[test]
fn distance_counts_edits() {
    for (a, b, expected) in [("", "", 0), ("abc", "", 3), ("kitten", "sitting", 3), ("ab", "ba", 2)]
    {
        assert_eq!(distance(a.as_bytes(), b.as_bytes()), expected);
    }
}
