//! What the model can say, written as Envoy's messages, is read as the same.

use super::*;
use http::{HeaderName, HeaderValue, Method, StatusCode};
use matcher::string_matcher::MatchPattern;
use model::matcher::{HeaderMatcherKind, StringPattern};
use model::{
    AppendAction, ClusterSpecifier, DirectResponse, ForwardAction, Fraction, HeaderMatcher,
    HeaderMutation, PathMatcher, PathRewrite, RetryOn, RetryPolicy, RouteAction, RouteMatch, Split,
    SplitCluster, StringMatcher,
};
use pb::header_matcher::HeaderMatchSpecifier as Header;
use pb::route_match::PathSpecifier as Path;
use proptest::prelude::*;

fn pattern() -> impl Strategy<Value = StringPattern> {
    let text = || "[a-z]{1,4}".prop_map(Arc::<str>::from);
    prop_oneof![
        text().prop_map(StringPattern::Exact),
        text().prop_map(StringPattern::Prefix),
        text().prop_map(StringPattern::Suffix),
        text().prop_map(StringPattern::Contains),
        text().prop_map(|text| StringPattern::Regex(model::RegexPattern(text))),
    ]
}

fn header_matcher() -> impl Strategy<Value = HeaderMatcher> {
    let kind = prop_oneof![
        any::<bool>().prop_map(HeaderMatcherKind::Present),
        (-9i64..9, 1i64..9).prop_map(|(start, len)| HeaderMatcherKind::Range(start..start + len)),
        (pattern(), any::<bool>()).prop_map(|(pattern, ignore_case)| {
            let mut string = StringMatcher::new(pattern);
            string.ignore_case = ignore_case && !matches!(string.pattern, StringPattern::Regex(_));
            HeaderMatcherKind::String(string)
        }),
    ];
    ("x-[a-z]{1,3}", kind, any::<[bool; 2]>()).prop_map(|(name, kind, [invert, empty])| {
        let mut matcher = HeaderMatcher::new(HeaderName::try_from(name).unwrap(), kind);
        matcher.invert = invert;
        matcher.treat_missing_as_empty = empty;
        matcher
    })
}

fn route_match() -> impl Strategy<Value = RouteMatch> {
    let text = || "/[a-z]{1,4}".prop_map(Arc::<str>::from);
    let path = prop_oneof![
        text().prop_map(PathMatcher::Prefix),
        text().prop_map(PathMatcher::Path),
        text().prop_map(PathMatcher::PathSeparatedPrefix),
        text().prop_map(|text| PathMatcher::Regex(model::RegexPattern(text))),
    ];
    let methods = prop::sample::subsequence(vec![Method::GET, Method::POST, Method::PUT], 0..=3);
    let headers = prop::collection::vec(header_matcher(), 0..3);
    let fraction = prop::option::of((0u32..=1_000_000).prop_map(Fraction::per_million));
    (path, any::<[bool; 2]>(), methods, headers, fraction).prop_map(
        |(path, [case_sensitive, grpc], methods, headers, runtime_fraction)| {
            let mut found = RouteMatch::new(path);
            found.case_sensitive = case_sensitive;
            found.grpc = grpc;
            found.methods = methods;
            found.headers = headers;
            found.runtime_fraction = runtime_fraction;
            found
        },
    )
}

fn route_action() -> impl Strategy<Value = RouteAction> {
    let one = "[a-z]{1,4}".prop_map(|name| ClusterSpecifier::Cluster(name.into()));
    let part = ("[a-z]{1,4}", 1u32..100).prop_map(|(name, weight)| SplitCluster::new(name, weight));
    let many = prop::collection::vec(part, 1..4)
        .prop_map(|parts| ClusterSpecifier::Split(Split::new(parts)));
    let limits = (0u64..100_000, prop::option::of(1u64..100_000));
    let rewrite = prop::option::of("/[a-z]{0,3}");
    let retry = prop::option::of((prop::sample::select(RetryOn::NAMES), 0u32..=100));
    let forward = (prop_oneof![one, many], limits, rewrite, retry).prop_map(
        |(cluster, (timeout, idle), rewrite, retry)| {
            let mut forward = ForwardAction::new(cluster);
            forward.timeout = std::time::Duration::from_millis(timeout);
            forward.idle_timeout = idle.map(std::time::Duration::from_millis);
            forward.path_rewrite = rewrite.map(|text| PathRewrite::Prefix(text.into()));
            forward.retry_policy = retry.map(|((_, condition), retries)| {
                let mut policy = RetryPolicy::new(condition);
                policy.num_retries = retries;
                policy.previous_hosts = false;
                policy.host_selection_max_attempts = 1;
                Arc::new(policy)
            });
            RouteAction::Forward(forward)
        },
    );
    let direct = (200u16..600, "[a-z]{0,9}").prop_map(|(status, body)| {
        let status = StatusCode::from_u16(status).unwrap();
        RouteAction::DirectResponse(DirectResponse::new(status, body.into()))
    });
    prop_oneof![4 => forward, 1 => direct]
}

fn edits() -> impl Strategy<Value = Vec<HeaderMutation>> {
    let edit = ("x-[a-z]{1,3}", "[a-z%]{1,4}").prop_map(|(name, value)| HeaderMutation::Append {
        name: HeaderName::try_from(name).unwrap(),
        value: HeaderValue::try_from(value).unwrap(),
        action: AppendAction::AppendIfExistsOrAdd,
    });
    prop::collection::vec(edit, 0..3)
}

fn routes() -> impl Strategy<Value = Vec<Route>> {
    let route = (route_match(), route_action(), edits()).prop_map(|(matcher, action, edits)| {
        let mut route = Route::new("named", matcher, action);
        route.headers.request = edits;
        route
    });
    prop::collection::vec(route, 0..6)
}

// The messages.

fn wire_string(string: &StringMatcher) -> matcher::StringMatcher {
    let pattern = match &string.pattern {
        StringPattern::Exact(text) => MatchPattern::Exact(text.to_string()),
        StringPattern::Prefix(text) => MatchPattern::Prefix(text.to_string()),
        StringPattern::Suffix(text) => MatchPattern::Suffix(text.to_string()),
        StringPattern::Contains(text) => MatchPattern::Contains(text.to_string()),
        StringPattern::Regex(pattern) => MatchPattern::SafeRegex(regex(&pattern.0)),
    };
    matcher::StringMatcher { ignore_case: string.ignore_case, match_pattern: Some(pattern) }
}

fn wire_match(from: &RouteMatch) -> pb::RouteMatch {
    let header = |from: &HeaderMatcher| pb::HeaderMatcher {
        name: from.name.to_string(),
        invert_match: from.invert,
        treat_missing_header_as_empty: from.treat_missing_as_empty,
        header_match_specifier: Some(match &from.kind {
            HeaderMatcherKind::Present(present) => Header::PresentMatch(*present),
            HeaderMatcherKind::Range(range) => {
                Header::RangeMatch(types::Int64Range { start: range.start, end: range.end })
            }
            HeaderMatcherKind::String(string) => Header::StringMatch(wire_string(string)),
        }),
    };
    let mut headers: Vec<_> = from.headers.iter().map(header).collect();
    if !from.methods.is_empty() {
        let names: Vec<_> = from.methods.iter().map(Method::as_str).collect();
        let pattern = MatchPattern::SafeRegex(regex(&names.join("|")));
        headers.insert(
            0,
            pb::HeaderMatcher {
                name: ":method".into(),
                header_match_specifier: Some(Header::StringMatch(string(pattern))),
                ..Default::default()
            },
        );
    }
    pb::RouteMatch {
        path_specifier: Some(match &from.path {
            PathMatcher::Prefix(text) => Path::Prefix(text.to_string()),
            PathMatcher::Path(text) => Path::Path(text.to_string()),
            PathMatcher::PathSeparatedPrefix(text) => Path::PathSeparatedPrefix(text.to_string()),
            PathMatcher::Regex(pattern) => Path::SafeRegex(regex(&pattern.0)),
        }),
        case_sensitive: flag(from.case_sensitive),
        grpc: from.grpc.then(Default::default),
        headers,
        runtime_fraction: from
            .runtime_fraction
            .map(|share| super::share(share.as_per_million(), 2)),
        ..Default::default()
    }
}

fn wire_time(time: std::time::Duration) -> Option<Duration> {
    millis(time.as_millis().try_into().unwrap())
}

fn wire_action(from: &RouteAction) -> pb::route::Action {
    let mut message = base();
    match from {
        RouteAction::Forward(from) => {
            match &from.cluster {
                ClusterSpecifier::Split(parts) => {
                    let part = |part: &SplitCluster| pb::weighted_cluster::ClusterWeight {
                        name: part.cluster.to_string(),
                        weight: number(part.weight),
                        ..Default::default()
                    };
                    split(&mut message, 1, 1).clusters = parts.clusters.iter().map(part).collect();
                }
                ClusterSpecifier::Cluster(name) => {
                    let name = name.to_string();
                    action(&mut message).cluster_specifier =
                        Some(pb::route_action::ClusterSpecifier::Cluster(name));
                }
                other => panic!("{other:?}"),
            }
            action(&mut message).timeout = wire_time(from.timeout);
            action(&mut message).idle_timeout = from.idle_timeout.and_then(wire_time);
            if let Some(PathRewrite::Prefix(text)) = &from.path_rewrite {
                action(&mut message).prefix_rewrite = text.to_string();
            }
            if let Some(policy) = &from.retry_policy {
                let name = RetryOn::NAMES.iter().find(|(_, on)| *on == policy.retry_on).unwrap().0;
                retry(&mut message).retry_on = name.into();
                retry(&mut message).num_retries = number(policy.num_retries);
            }
        }
        RouteAction::DirectResponse(from) => {
            let body = pb_core::data_source::Specifier::InlineBytes(from.body.to_vec());
            direct(&mut message, from.status.as_u16().into()).body =
                Some(pb_core::DataSource { specifier: Some(body), watched_directory: None });
        }
        other => panic!("{other:?}"),
    }
    route(&mut message).action.take().unwrap()
}

fn wire_route(from: &Route) -> pb::Route {
    let edit = |edit: &HeaderMutation| match edit {
        HeaderMutation::Append { name, value, .. } => {
            add(name.as_str(), &value.to_str().unwrap().replace('%', "%%"))
        }
        HeaderMutation::Remove(name) => panic!("{name}"),
    };
    pb::Route {
        name: from.name.to_string(),
        r#match: Some(wire_match(&from.matcher)),
        action: Some(wire_action(&from.action)),
        request_headers_to_add: from.headers.request.iter().map(edit).collect(),
        ..Default::default()
    }
}

proptest! {
    #[test]
    fn a_route_table_is_read_as_it_was_meant(routes in routes()) {
        let mut message = base();
        host(&mut message).routes = routes.iter().map(wire_route).collect();
        let decoded = read(&message);
        prop_assert!(decoded.ignored.is_empty(), "{:?}", decoded.ignored);
        let found = accepted(&decoded).model.virtual_hosts[0].routes.clone();
        prop_assert_eq!(found.iter().map(|route| (**route).clone()).collect::<Vec<_>>(), routes);
    }
}
