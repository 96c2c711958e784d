use super::*;
use crate::model::matcher::HeaderMatcherKind;
use crate::model::route::RouteMatch;
use crate::model::{
    AppendAction, ClusterSpecifier, Domain, ForwardAction, Fraction, HashPolicy, HashSource,
    HeaderMatcher, HeaderMutation, HedgePolicy, PathMatcher, PathRewrite, QueryParameterMatcher,
    Redirect, RegexPattern, RetryOn, RetryPolicy, Route, RouteAction, Split, SplitBy, SplitCluster,
    StringMatcher, VirtualHost,
};
use crate::random::SplitMix64;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use std::collections::BTreeMap;

/// What a small text says: `[METHOD] authority/path [name: value]…`.
struct Call {
    method: Method,
    authority: String,
    path: String,
    headers: HeaderMap,
}

fn call(text: &str) -> Call {
    let mut lines = text.split(" | ");
    let mut words = lines.next().unwrap().split(' ').rev();
    let (authority, path) = words.next().unwrap().split_once('/').unwrap();
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(": ").unwrap();
        let name = HeaderName::try_from(name).unwrap();
        headers.append(name, HeaderValue::from_str(value).unwrap());
    }
    let method = words.next().map_or(Method::GET, |method| method.parse().unwrap());
    Call { method, authority: authority.to_owned(), path: format!("/{path}"), headers }
}

impl Call {
    fn head(&self) -> RequestHead<'_> {
        RequestHead::new(&self.method, &self.authority, &self.path, &self.headers)
    }
}

fn clusters(names: &[&str]) -> BTreeMap<Arc<str>, u32> {
    names.iter().map(|name| Arc::from(*name)).zip(10..).collect()
}

fn forward(cluster: &str) -> RouteAction {
    RouteAction::Forward(ForwardAction::new(ClusterSpecifier::Cluster(cluster.into())))
}

fn split(parts: &[(&str, u32)], by: SplitBy) -> RouteAction {
    let parts = parts.iter().map(|(name, weight)| SplitCluster::new(*name, *weight)).collect();
    let mut split = Split::new(parts);
    split.by = by;
    RouteAction::Forward(ForwardAction::new(ClusterSpecifier::Split(split)))
}

fn by_header(name: &'static str) -> RouteAction {
    let header = ClusterSpecifier::Header(HeaderName::from_static(name));
    RouteAction::Forward(ForwardAction::new(header))
}

fn route(matcher: RouteMatch, action: RouteAction) -> Arc<Route> {
    Arc::new(Route::new("r", matcher, action))
}

fn prefix(text: &str) -> RouteMatch {
    RouteMatch::new(PathMatcher::Prefix(text.into()))
}

fn host(name: &str, domains: &[&str], routes: Vec<Arc<Route>>) -> VirtualHost {
    let domains = domains.iter().map(|text| Domain::parse(text).unwrap()).collect();
    let mut host = VirtualHost::new(name, domains);
    host.routes = routes;
    host
}

fn configuration(hosts: Vec<VirtualHost>) -> Arc<RouteConfiguration> {
    let virtual_hosts = hosts.into_iter().map(Arc::new).collect();
    Arc::new(RouteConfiguration { virtual_hosts, ..RouteConfiguration::default() })
}

/// A router of one virtual host `a`.
fn router(routes: Vec<Arc<Route>>) -> Router {
    let slots = clusters(&["one", "two", "three"]);
    Router::compile(&configuration(vec![host("a", &["a"], routes)]), &slots, None).unwrap()
}

/// The route's index and the cluster's name, or the error.
fn decide(router: &Router, text: &str, random: &mut impl Random) -> Result<String, RouteError> {
    let call = call(text);
    let decision = router.route(&call.head(), random)?;
    let index = decision.route().index();
    Ok(match decision {
        Decision::Forward { target, slot, split, .. } => {
            let named = router.targets().find(|named| named.id == target).unwrap();
            assert_eq!((named.slot, named.split), (Some(slot), split));
            assert!(Arc::ptr_eq(named.route, decision.route()));
            format!("{index} {}", named.cluster.unwrap())
        }
        Decision::Redirect { redirect, target, .. } => {
            let named = router.targets().find(|named| named.id == target).unwrap();
            assert!(named.cluster.is_none() && Arc::ptr_eq(named.route, decision.route()));
            let location = redirect.location(&call.head()).unwrap();
            format!("{index} {} {}", redirect.status().as_u16(), location.to_str().unwrap())
        }
        Decision::DirectResponse { response, .. } => {
            format!("{index} {}", response.status.as_u16())
        }
        Decision::NonForwarding { target, .. } => {
            let named = router.targets().find(|named| named.id == target).unwrap();
            assert!(named.cluster.is_none() && Arc::ptr_eq(named.route, decision.route()));
            format!("{index} here")
        }
    })
}

#[track_caller]
fn check(router: &Router, cases: &[(&str, Result<&str, RouteError>)]) {
    for (text, expected) in cases {
        let actual = decide(router, text, &mut SplitMix64::new(1));
        assert_eq!(actual.as_deref().map_err(|error| *error), *expected, "{text}");
    }
}

#[test]
fn every_condition_must_hold_and_the_first_match_wins() {
    let header = |name, value: &str| {
        let kind = HeaderMatcherKind::String(StringMatcher::exact(value));
        HeaderMatcher::new(HeaderName::from_static(name), kind)
    };
    let mut version = prefix("/v2");
    version.headers = vec![header("version", "v2"), header("x-user", "qa")];
    let mut post = prefix("/v2");
    post.methods = vec![Method::POST, Method::PUT];
    let mut query = RouteMatch::new(PathMatcher::Path("/v2".into()));
    query.query_parameters =
        vec![QueryParameterMatcher::new("debug", Some(StringMatcher::exact("1")))];
    let mut grpc = RouteMatch::any();
    grpc.grpc = true;
    let regex = RouteMatch::new(PathMatcher::Regex(RegexPattern::new("/v[0-9]+/.*")));
    let mut folded = RouteMatch::new(PathMatcher::PathSeparatedPrefix("/Shop".into()));
    folded.case_sensitive = false;
    let matchers = [version, post, query, grpc, regex, folded, RouteMatch::any()];
    let router = router(matchers.map(|matcher| route(matcher, forward("one"))).into());
    check(
        &router,
        &[
            ("a/v2/x | version: v2 | x-user: qa", Ok("0 one")),
            ("a/v2/x | version: v2", Ok("4 one")),
            ("POST a/v2/x", Ok("1 one")),
            ("POST a/v2/x | version: v2 | x-user: qa", Ok("0 one")),
            ("a/v2?debug=1", Ok("2 one")),
            ("a/v2?debug=2", Ok("6 one")),
            ("POST a/s/m | content-type: application/grpc+proto", Ok("3 one")),
            ("a/v3/x?y", Ok("4 one")),
            ("a/vx/x", Ok("6 one")),
            ("a/SHOP/x", Ok("5 one")),
            ("a/shopping", Ok("6 one")),
            ("b/", Err(RouteError::NoVirtualHost)),
        ],
    );
}

#[test]
fn what_a_request_lacks_is_an_error_and_a_reason() {
    let dangling = route(prefix("/dangling"), forward("none"));
    let half = route(prefix("/half"), split(&[("one", 0), ("none", 1)], SplitBy::Random));
    let named = route(prefix("/named"), by_header("x-cluster"));
    let router = router(vec![dangling, half, named]);
    check(
        &router,
        &[
            ("b/", Err(RouteError::NoVirtualHost)),
            ("a/", Err(RouteError::NoRoute)),
            ("a/dangling", Err(RouteError::UnknownCluster)),
            ("a/half", Err(RouteError::UnknownCluster)),
            ("a/named", Err(RouteError::ClusterHeaderMissing)),
            ("a/named | x-cluster: none", Err(RouteError::UnknownCluster)),
            ("a/named | x-cluster: two", Ok("2 two")),
            ("a/named | x-cluster: three", Ok("2 three")),
        ],
    );
    for (error, reason) in [
        (RouteError::NoVirtualHost, Reason::NoVirtualHost),
        (RouteError::NoRoute, Reason::NoRoute),
        (RouteError::ClusterHeaderMissing, Reason::ClusterHeaderMissing),
        (RouteError::UnknownCluster, Reason::UnknownCluster),
    ] {
        assert_eq!(error.to_string(), reason.to_string());
        assert_eq!(Reason::from(error), reason);
    }
    // Envoy: a cluster that is not found, `cluster_not_found_response_code`.
    assert_eq!(Reason::ClusterHeaderMissing.http_status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[test]
fn redirects_and_direct_responses_are_decided_here() {
    let mut moved = Redirect::default();
    moved.path = Some(PathRewrite::Prefix("/new".into()));
    let answer = DirectResponse::new(StatusCode::FORBIDDEN, bytes::Bytes::from_static(b"no"));
    let router = router(vec![
        route(prefix("/old"), RouteAction::Redirect(moved)),
        route(prefix("/"), RouteAction::DirectResponse(answer)),
    ]);
    check(&router, &[("a:80/old/x", Ok("0 301 http://a:80/new/x")), ("a/x", Ok("1 403"))]);
    assert_eq!(router.target_count(), 2);
}

/// How many of 10,000 calls each answer got.
fn tally(router: &Router, text: impl Fn(u64) -> String) -> BTreeMap<String, u32> {
    let mut random = SplitMix64::new(3);
    let mut counts = BTreeMap::new();
    for number in 0..10_000 {
        let answer = decide(router, &text(number), &mut random).unwrap();
        *counts.entry(answer).or_default() += 1;
    }
    counts
}

#[test]
fn a_split_follows_its_weights_and_never_chooses_zero() {
    let parts = [("one", 0), ("two", 90), ("three", 10), ("one", 0)];
    let user = || vec![HashPolicy::new(HashSource::QueryParameter("user".into()))];
    for (by, what) in [(SplitBy::Random, "random"), (SplitBy::Hash(user()), "hash")] {
        let router = router(vec![route(RouteMatch::any(), split(&parts, by))]);
        let counts = tally(&router, |number| format!("a/?user={number}"));
        assert_eq!(counts.len(), 2, "{what}: {counts:?}");
        // 10,000 draws of 0.9: four standard deviations are 120.
        assert!(counts["0 two"].abs_diff(9000) < 120, "{what}: {counts:?}");
    }
}

#[test]
fn a_split_by_hash_keeps_a_user_on_one_side() {
    let user = HashPolicy::new(HashSource::Header {
        name: HeaderName::from_static("x-user"),
        rewrite: None,
    });
    let action = split(&[("one", 50), ("two", 50)], SplitBy::Hash(vec![user]));
    let router = router(vec![route(RouteMatch::any(), action)]);
    assert_eq!(tally(&router, |_| "a/ | x-user: alice".to_owned()).len(), 1);
    assert_eq!(tally(&router, |_| "a/".to_owned()).len(), 2, "without the header: random");
}

#[test]
fn a_split_by_a_cookie_that_is_missing_makes_one_that_leads_to_the_same_side() {
    let ttl = Some(std::time::Duration::from_secs(60));
    let cookie = HashSource::Cookie { name: "side".into(), ttl, path: None };
    let by = SplitBy::Hash(vec![HashPolicy::new(cookie)]);
    let router = router(vec![route(RouteMatch::any(), split(&[("one", 50), ("two", 50)], by))]);
    let mut random = SplitMix64::new(3);
    let mut sides = std::collections::BTreeSet::new();
    for _ in 0..20 {
        let new = call("a/");
        let Ok(Decision::Forward { target, set_cookies, .. }) =
            router.route(&new.head(), &mut random)
        else {
            panic!("it is forwarded")
        };
        let line = set_cookies[0].to_str().unwrap();
        let pair = line.split_once(';').unwrap().0;
        let again = call(&format!("a/ | cookie: {pair}"));
        for _ in 0..3 {
            match router.route(&again.head(), &mut random) {
                Ok(Decision::Forward { target: same, set_cookies, .. }) => {
                    assert_eq!((same, set_cookies.len()), (target, 0));
                }
                other => panic!("{other:?}"),
            }
        }
        sides.insert(target);
    }
    assert_eq!(sides.len(), 2, "new users are on both sides");
}

#[test]
fn host_as_a_header_is_the_authority() {
    let mut inside = RouteMatch::any();
    let is_a = HeaderMatcherKind::String(StringMatcher::exact("a"));
    inside.headers = vec![HeaderMatcher::new(HeaderName::from_static("host"), is_a)];
    let router =
        router(vec![route(inside, forward("one")), route(RouteMatch::any(), forward("two"))]);
    check(&router, &[("a/", Ok("0 one")), ("a/ | host: other", Ok("0 one"))]);
}

#[test]
fn a_split_by_header_value_takes_the_number_modulo_the_weights() {
    // Envoy: `WeightedCluster.header_name`.
    let by = SplitBy::HeaderValue(HeaderName::from_static("x-draw"));
    let action = split(&[("one", 20), ("two", 0), ("three", 80)], by);
    let router = router(vec![route(RouteMatch::any(), action)]);
    check(
        &router,
        &[
            ("a/ | x-draw: 0", Ok("0 one")),
            ("a/ | x-draw: 19", Ok("0 one")),
            ("a/ | x-draw: 20", Ok("0 three")),
            ("a/ | x-draw: 99", Ok("0 three")),
            ("a/ | x-draw: 100", Ok("0 one")),
            ("a/ | x-draw: 18446744073709551615", Ok("0 one")),
        ],
    );
    for bad in ["", " | x-draw: -1", " | x-draw: x", " | x-draw: 1 | x-draw: 1"] {
        assert_eq!(tally(&router, |_| format!("a/{bad}")).len(), 2, "{bad}: drawn at random");
    }
}

#[test]
fn fractions_share_one_draw_and_the_split_takes_another() {
    let share = |percent| {
        let mut matcher = RouteMatch::any();
        matcher.runtime_fraction = Some(Fraction::percent(percent));
        matcher
    };
    // With a draw each, a quarter of the calls would pass both routes of 50 %.
    let router = router(vec![
        route(share(50), split(&[("one", 50), ("two", 50)], SplitBy::Random)),
        route(share(50), forward("three")),
        route(RouteMatch::any(), forward("one")),
    ]);
    let counts = tally(&router, |_| "a/".to_owned());
    assert_eq!(counts.keys().collect::<Vec<_>>(), ["0 one", "0 two", "2 one"]);
    assert!(counts["2 one"].abs_diff(5000) < 200, "{counts:?}");
    assert!(counts["0 one"].abs_diff(2500) < 200, "{counts:?}");
}

#[test]
fn targets_are_dense_and_follow_reused_virtual_hosts() {
    let slots = clusters(&["one", "two", "three"]);
    let a = Arc::new(host(
        "a",
        &["a"],
        vec![
            route(prefix("/x"), split(&[("one", 1), ("two", 0), ("none", 1)], SplitBy::Random)),
            route(RouteMatch::any(), forward("three")),
            route(RouteMatch::any(), RouteAction::Redirect(Redirect::default())),
        ],
    ));
    let b = Arc::new(host("b", &["b"], vec![route(RouteMatch::any(), by_header("x"))]));
    let compile = |hosts: &[&Arc<VirtualHost>], slots: &BTreeMap<_, _>, reuse: Option<&Router>| {
        let virtual_hosts = hosts.iter().map(|host| (*host).clone()).collect();
        let config = RouteConfiguration { virtual_hosts, ..RouteConfiguration::default() };
        Router::compile(&Arc::new(config), slots, reuse).unwrap()
    };
    let first = compile(&[&a, &b], &slots, None);
    let targets: Vec<_> = first
        .targets()
        .map(|t| (t.id, t.cluster.map_or("-", |name| &**name), t.slot, t.split))
        .collect();
    assert_eq!(
        targets,
        [
            (0, "one", Some(10), Some(0)),
            (1, "two", Some(11), Some(1)),
            (2, "none", None, Some(2)),
            (3, "three", Some(12), None),
            (4, "-", None, None),
            (5, "one", Some(10), None),
            (6, "three", Some(12), None),
            (7, "two", Some(11), None),
        ]
    );
    assert_eq!(first.target_count(), 8);

    let reused = |old: &Router, new: &Router, old_at: usize, new_at: usize| {
        Arc::ptr_eq(&old.hosts[old_at].compiled, &new.hosts[new_at].compiled)
    };
    let second = compile(&[&b, &a], &slots, Some(&first));
    assert!(reused(&first, &second, 0, 1) && reused(&first, &second, 1, 0));
    check(&second, &[("b/ | x: two", Ok("0 two")), ("a/", Ok("1 three"))]);

    // A new cluster: only the host that takes any cluster is compiled again.
    let more = clusters(&["one", "two", "three", "four"]);
    let third = compile(&[&a, &b], &more, Some(&first));
    assert!(reused(&first, &third, 0, 0) && !reused(&first, &third, 1, 1));
    // A cluster appears that was missing, or moves: its host is compiled again.
    let mut moved = slots;
    moved.insert("none".into(), 99);
    assert!(!reused(&first, &compile(&[&a], &moved, Some(&first)), 0, 0));
    moved.insert("three".into(), 5);
    assert!(!reused(&first, &compile(&[&a, &b], &moved, Some(&first)), 1, 1));
}

#[test]
fn edits_of_the_route_configuration_prevent_reuse_when_they_change() {
    let a = Arc::new(host("a", &["a"], vec![route(RouteMatch::any(), forward("one"))]));
    let compile = |value: &'static str, reuse: Option<&Router>| {
        let mut config =
            RouteConfiguration { virtual_hosts: vec![a.clone()], ..RouteConfiguration::default() };
        config.headers.request.push(HeaderMutation::Append {
            name: HeaderName::from_static("x-mesh"),
            value: HeaderValue::from_static(value),
            action: AppendAction::OverwriteIfExistsOrAdd,
        });
        Router::compile(&Arc::new(config), &clusters(&["one"]), reuse).unwrap()
    };
    let edited = |router: &Router| {
        let call = call("a/");
        let decision = router.route(&call.head(), &mut SplitMix64::new(0)).unwrap();
        assert!(decision.route().edits_request(None) && !decision.route().edits_response(None));
        let mut headers = HeaderMap::new();
        decision.route().edit_request(None, &mut headers);
        headers["x-mesh"].to_str().unwrap().to_owned()
    };
    let first = compile("1", None);
    assert_eq!(edited(&first), "1");
    assert_eq!(edited(&compile("2", Some(&first))), "2");
    let same = compile("1", Some(&first));
    assert!(Arc::ptr_eq(&first.hosts[0].compiled, &same.hosts[0].compiled));
}

#[test]
fn a_route_has_its_own_policies_or_its_virtual_hosts() {
    let policy = |name: &'static str| {
        let mut policy = RetryPolicy::new(RetryOn::RETRIABLE_HEADERS);
        let matcher = |name| {
            HeaderMatcher::new(HeaderName::from_static(name), HeaderMatcherKind::Present(true))
        };
        policy.retriable_headers = vec![matcher(name)];
        policy.retriable_request_headers = vec![matcher("x-again")];
        Some(Arc::new(policy))
    };
    let mut own = ForwardAction::new(ClusterSpecifier::Cluster("one".into()));
    own.retry_policy = policy("x-own");
    own.hedge_policy = Some(HedgePolicy::default());
    own.path_rewrite = Some(PathRewrite::Prefix("/new".into()));
    let own = route(prefix("/own"), RouteAction::Forward(own));
    let mut a = host("a", &["a"], vec![own, route(RouteMatch::any(), forward("one"))]);
    a.retry_policy = policy("x-host");
    let mut hedge = HedgePolicy::default();
    hedge.hedge_on_per_try_timeout = true;
    a.hedge_policy = Some(hedge);
    a.include_request_attempt_count = true;
    let router = Router::compile(&configuration(vec![a]), &clusters(&["one"]), None).unwrap();

    for (text, header, hedged, path) in
        [("a/own?q", "x-own", false, Some("/new?q")), ("a/", "x-host", true, None)]
    {
        let call = call(text);
        let decision = router.route(&call.head(), &mut SplitMix64::new(0)).unwrap();
        let route = decision.route();
        assert_eq!((&**route.virtual_host(), route.include_request_attempt_count()), ("a", true));
        let forward = route.forward().unwrap();
        assert_eq!(forward.hedge_policy.unwrap().hedge_on_per_try_timeout, hedged);
        let rewritten = forward.path(&call.head()).unwrap();
        assert_eq!(rewritten.as_ref().map(|path| path.as_str()), path);
        let retry = forward.retry_policy.as_ref().unwrap();
        let mut headers = HeaderMap::new();
        assert!(!retry.response_headers_match(&headers) && !retry.request_headers_match(&headers));
        headers.insert(header, HeaderValue::from_static("1"));
        headers.insert("x-again", HeaderValue::from_static("1"));
        assert!(retry.response_headers_match(&headers) && retry.request_headers_match(&headers));
    }
}

#[test]
fn every_mistake_is_reported_with_its_place() {
    let mut bad = RouteMatch::new(PathMatcher::Regex(RegexPattern::new("(")));
    let (high, low) = (2, 1);
    let range = HeaderMatcherKind::Range(high..low);
    bad.headers = vec![HeaderMatcher::new(HeaderName::from_static("x"), range)];
    let mut a = host(
        "a",
        &["a"],
        vec![
            route(bad, split(&[("one", 0)], SplitBy::Random)),
            route(
                RouteMatch::new(PathMatcher::PathSeparatedPrefix("/x/".into())),
                split(&[("one", u32::MAX), ("two", 1)], SplitBy::Random),
            ),
            route(
                RouteMatch::any(),
                RouteAction::DirectResponse(DirectResponse::new(
                    StatusCode::SWITCHING_PROTOCOLS,
                    vec![0; 4097].into(),
                )),
            ),
        ],
    );
    let mut policy = RetryPolicy::new(RetryOn::NONE);
    let regex =
        StringMatcher::new(crate::model::matcher::StringPattern::Regex(RegexPattern::new("a++")));
    let name = HeaderName::from_static("x");
    policy.retriable_headers = vec![HeaderMatcher::new(name, HeaderMatcherKind::String(regex))];
    a.retry_policy = Some(Arc::new(policy));
    let hosts = vec![a, host("b", &["a"], vec![])];
    let errors = Router::compile(&configuration(hosts), &clusters(&[]), None).unwrap_err();
    let texts: Vec<_> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        [
            "virtual host `b`, domains[0]: the domain `a` is taken by virtual host `a`",
            "virtual host `a`, retry_policy.retriable_headers[0]: at byte 3 of the pattern: a \
             repetition operator follows another",
            "virtual host `a`, routes[0].match.regex: the pattern is not well formed: unclosed group",
            "virtual host `a`, routes[0].match.headers[0]: the range 2..1 holds no number",
            "virtual host `a`, routes[0].split.clusters: the weights of a split sum to zero",
            "virtual host `a`, routes[1].match.path_separated_prefix: a path-separated prefix is not \
             empty, holds no `?` or `#`, and does not end in `/`",
            "virtual host `a`, routes[1].split.clusters: the weights of a split sum to 4294967296, at \
             most 4294967295 is allowed",
            "virtual host `a`, routes[2].direct_response.status: a direct response answers with 200 \
             to 599, not with 101",
            "virtual host `a`, routes[2].direct_response.body: a direct response has 4097 bytes, 4096 \
             are allowed",
        ]
    );
}

#[test]
fn routes_times_clusters_are_bounded() {
    let slots: BTreeMap<Arc<str>, u32> =
        (0..3000).map(|at| (Arc::from(format!("cluster-{at}")), at)).collect();
    let routes = |count| (0..count).map(|_| route(prefix("/"), by_header("x"))).collect();
    let compile = |count| {
        let hosts = vec![host("a", &["a"], routes(count))];
        Router::compile(&configuration(hosts), &slots, None)
    };
    assert_eq!(compile(1398).unwrap().target_count(), 1398 * 3000);
    let error = compile(1399).unwrap_err().remove(0);
    assert_eq!(error.kind, CompileErrorKind::TooManyTargets);
}

#[test]
fn a_router_is_shared_between_threads() {
    fn shared<T: Send + Sync + std::fmt::Debug>() {}
    shared::<Router>();
    shared::<Arc<CompiledRoute>>();
}

#[test]
fn a36_a_route_for_the_server_itself() {
    let route = route(RouteMatch::any(), RouteAction::NonForwarding);
    check(&router(vec![route]), &[("a/x", Ok("0 here"))]);
}
