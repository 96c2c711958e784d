//! Routes: the model → Envoy's fields.

use super::super::route::route;
use super::{short, words};
use bytes::Bytes;
use envoy_types::pb::envoy::config::route::v3::{self as pb, route::Action};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use mesh_core::model::matcher::HeaderMatcherKind;
use mesh_core::model::retry_policy::{ResetHeader, ResetHeaderFormat};
use mesh_core::model::route::MaxStreamDuration;
use mesh_core::model::{
    AppendAction, BackOff, ClusterSpecifier, DirectResponse, ForwardAction, Fraction, HashPolicy,
    HashSource, HeaderMatcher, HeaderMutation, HedgePolicy, HostRewrite, Metadata, MetadataValue,
    PathMatcher, PathRewrite, QueryParameterMatcher, RateLimitedBackOff, Redirect, RegexPattern,
    RetryOn, RetryPolicy, Route, RouteAction, RouteMatch, RoutingPriority, Split, SplitBy,
    SplitCluster, StringMatcher,
};
use std::sync::Arc;
use std::time::Duration;

const X: HeaderName = HeaderName::from_static("x-user");
const MS: Duration = Duration::from_millis(1);

/// What is looked at, and how it must read.
type Look<M> = fn(&M) -> String;

#[track_caller]
fn check_match(edit: impl FnOnce(&mut RouteMatch), look: Look<pb::RouteMatch>, expected: &str) {
    let mut model = Route::forward(ForwardAction::to("c"));
    edit(&mut model.matcher);
    assert_eq!(look(&route(&model).r#match.expect("a match")), expected);
}

#[track_caller]
fn check_forward(
    edit: impl FnOnce(&mut ForwardAction),
    look: Look<pb::RouteAction>,
    expected: &str,
    expected_words: &str,
) {
    let mut forward = ForwardAction::to("c");
    edit(&mut forward);
    let encoded = route(&Route::forward(forward));
    let Some(Action::Route(action)) = &encoded.action else { panic!("it forwards") };
    assert_eq!(look(action), expected);
    assert_eq!(words(encoded.metadata.as_ref()), expected_words);
}

#[track_caller]
fn check_retry(
    edit: impl FnOnce(&mut RetryPolicy),
    look: Look<pb::RetryPolicy>,
    expected: &str,
    expected_words: &str,
) {
    let mut policy = RetryPolicy::new(RetryOn::SERVER_ERROR);
    edit(&mut policy);
    let mut forward = ForwardAction::to("c");
    forward.retry_policy = Some(Arc::new(policy));
    let encoded = route(&Route::forward(forward));
    let Some(Action::Route(action)) = &encoded.action else { panic!("it forwards") };
    assert_eq!(look(action.retry_policy.as_ref().expect("a policy")), expected);
    assert_eq!(words(encoded.metadata.as_ref()), expected_words);
}

#[track_caller]
fn check_action(action: RouteAction, expected: &str) {
    let model = Route::new("r", RouteMatch::any(), action);
    let text = match route(&model).action {
        Some(Action::Redirect(redirect)) => short(&redirect),
        Some(Action::DirectResponse(response)) => short(&response),
        other => short(&other),
    };
    assert_eq!(text, expected);
}

#[test]
fn paths_and_methods() {
    let path: Look<pb::RouteMatch> = |m| short(&m.path_specifier);
    check_match(|m| m.path = PathMatcher::Prefix("/a".into()), path, "Prefix(\"/a\")");
    check_match(|m| m.path = PathMatcher::Path("/a".into()), path, "Path(\"/a\")");
    let separated = PathMatcher::PathSeparatedPrefix("/a".into());
    check_match(|m| m.path = separated, path, "PathSeparatedPrefix(\"/a\")");
    let regex = PathMatcher::Regex(RegexPattern::new("/a.*"));
    let expected = "SafeRegex(RegexMatcher { regex: \"/a.*\", engine_type: None })";
    check_match(|m| m.path = regex, path, expected);
    check_match(|_| {}, |m| short(&m.case_sensitive), "None");
    check_match(|m| m.case_sensitive = false, |m| short(&m.case_sensitive), "false");
    check_match(|m| m.grpc = true, |m| short(&m.grpc), "GrpcRouteMatchOptions");
    let share = |m: &pb::RouteMatch| {
        short(&m.runtime_fraction.as_ref().and_then(|share| share.default_value))
    };
    let expected = "FractionalPercent { numerator: 5000, denominator: Million }";
    check_match(|m| m.runtime_fraction = Some(Fraction::per_million(5000)), share, expected);
    let methods: Look<pb::RouteMatch> = |m| {
        assert_eq!(m.headers[0].name, ":method");
        short(&m.headers[0].header_match_specifier)
    };
    let expected =
        "StringMatch(StringMatcher { ignore_case: false, match_pattern: Exact(\"GET\") })";
    check_match(|m| m.methods = vec![Method::GET], methods, expected);
    let odd = Method::from_bytes(b"X.Y-Z").expect("a method");
    let expected = "StringMatch(StringMatcher { ignore_case: false, match_pattern: \
                    SafeRegex(RegexMatcher { regex: \"GET|X\\\\.Y-Z\", engine_type: None }) })";
    check_match(|m| m.methods = vec![Method::GET, odd], methods, expected);
}

#[test]
fn headers_and_query_parameters() {
    use mesh_core::model::matcher::StringPattern as Pattern;
    let header: Look<pb::RouteMatch> = |m| short(&m.headers[0].header_match_specifier);
    let check = |kind: HeaderMatcherKind, expected: &str| {
        check_match(|m| m.headers.push(HeaderMatcher::new(X, kind)), header, expected);
    };
    check(HeaderMatcherKind::Present(true), "PresentMatch(true)");
    check(HeaderMatcherKind::Present(false), "PresentMatch(false)");
    check(HeaderMatcherKind::Range(-5..7), "RangeMatch(Int64Range { start: -5, end: 7 })");
    for (pattern, expected) in [
        (Pattern::Exact("a".into()), "Exact(\"a\")"),
        (Pattern::Prefix("a".into()), "Prefix(\"a\")"),
        (Pattern::Suffix("a".into()), "Suffix(\"a\")"),
        (Pattern::Contains("a".into()), "Contains(\"a\")"),
        (
            Pattern::Regex(RegexPattern::new("a+")),
            "SafeRegex(RegexMatcher { regex: \"a+\", engine_type: None })",
        ),
    ] {
        let mut matcher = StringMatcher::new(pattern);
        matcher.ignore_case = true;
        let whole = format!(
            "StringMatch(StringMatcher {{ ignore_case: true, match_pattern: {expected} }})"
        );
        check(HeaderMatcherKind::String(matcher), &whole);
    }
    let mut matcher = HeaderMatcher::new(X, HeaderMatcherKind::Present(true));
    matcher.invert = true;
    matcher.treat_missing_as_empty = true;
    let flags: Look<pb::RouteMatch> =
        |m| short(&(m.headers[0].invert_match, m.headers[0].treat_missing_header_as_empty));
    check_match(|m| m.headers.push(matcher), flags, "(true, true)");
    let query: Look<pb::RouteMatch> =
        |m| short(&m.query_parameters[0].query_parameter_match_specifier);
    let parameter = QueryParameterMatcher::new("q", None);
    check_match(|m| m.query_parameters.push(parameter), query, "PresentMatch(true)");
    let parameter = QueryParameterMatcher::new("q", Some(StringMatcher::exact("1")));
    let expected = "StringMatch(StringMatcher { ignore_case: false, match_pattern: Exact(\"1\") })";
    check_match(|m| m.query_parameters.push(parameter), query, expected);
}

#[test]
fn forwarding() {
    let timeout: Look<pb::RouteAction> = |a| short(&a.timeout);
    check_forward(|_| {}, timeout, "15s", "");
    check_forward(|f| f.timeout = Duration::ZERO, timeout, "0s", "");
    check_forward(|f| f.idle_timeout = Some(5 * MS), |a| short(&a.idle_timeout), "0s5ms", "");
    check_forward(|f| f.priority = RoutingPriority::High, |a| short(&a.priority()), "High", "");
    let mut limit = MaxStreamDuration::default();
    limit.max_stream_duration = Some(Duration::from_secs(9));
    limit.grpc_timeout_header_max = Some(Duration::ZERO);
    check_forward(
        |f| f.max_stream_duration = Some(limit),
        |a| short(&a.max_stream_duration),
        "MaxStreamDuration { max_stream_duration: 9s, grpc_timeout_header_max: 0s, \
         grpc_timeout_header_offset: None }",
        "",
    );
    let mut hedge = HedgePolicy::default();
    hedge.hedge_on_per_try_timeout = true;
    let look: Look<pb::RouteAction> =
        |a| short(&a.hedge_policy.as_ref().map(|hedge| hedge.hedge_on_per_try_timeout));
    check_forward(|f| f.hedge_policy = Some(hedge), look, "true", "");
    let none: Look<pb::RouteAction> = |_| String::new();
    check_forward(|f| f.transparent_retry = false, none, "", "{ transparent_retry: false }");
    check_forward(|f| f.peek_trailers_wait = true, none, "", "{ peek_trailers_wait: true }");
    let cluster: Look<pb::RouteAction> = |a| short(&a.cluster_specifier);
    check_forward(|_| {}, cluster, "Cluster(\"c\")", "");
    check_forward(
        |f| f.cluster = ClusterSpecifier::Header(X),
        cluster,
        "ClusterHeader(\"x-user\")",
        "",
    );
}

#[test]
fn rewrites() {
    let paths: Look<pb::RouteAction> = |a| {
        let regex = a.regex_rewrite.as_ref().map(|one| {
            format!(
                "{} -> {}",
                one.pattern.as_ref().map(|p| &*p.regex).unwrap_or_default(),
                one.substitution
            )
        });
        format!("{} {} {}", a.prefix_rewrite, regex.unwrap_or_default(), a.path_rewrite)
    };
    let check = |rewrite: PathRewrite, expected: &str, words: &str| {
        check_forward(|f| f.path_rewrite = Some(rewrite), paths, expected, words);
    };
    check(PathRewrite::Prefix("/b".into()), "/b  ", "");
    // Envoy: an empty `prefix_rewrite` is none.
    check(PathRewrite::Prefix("".into()), " ^/ ->  ", "{ prefix_rewrite: \"\" }");
    let mut forward = ForwardAction::to("c");
    forward.path_rewrite = Some(PathRewrite::Prefix("/".into()));
    let segments = RouteMatch::new(PathMatcher::PathSeparatedPrefix("/a.b".into()));
    let encoded = route(&Route::new("r", segments, RouteAction::Forward(forward)));
    let Some(Action::Route(action)) = &encoded.action else { panic!("it forwards") };
    assert_eq!(paths(action), " ^/a\\.b/? -> / ", "Envoy would leave two slashes");
    assert_eq!(words(encoded.metadata.as_ref()), "{ prefix_rewrite: \"/\" }");
    let regex =
        PathRewrite::Regex { pattern: RegexPattern::new("a(.)"), substitution: "\\1".into() };
    check(regex, " a(.) -> \\1 ", "");
    // Envoy: `%` begins a command operator.
    check(PathRewrite::Full("/100%".into()), "  /100%%", "");
    let host: Look<pb::RouteAction> = |a| short(&a.host_rewrite_specifier);
    for (rewrite, expected) in [
        (HostRewrite::Literal("h".into()), "HostRewriteLiteral(\"h\")"),
        (HostRewrite::Header(X), "HostRewriteHeader(\"x-user\")"),
        (HostRewrite::Auto, "AutoHostRewrite(true)"),
        (
            HostRewrite::PathRegex { pattern: RegexPattern::new("p"), substitution: "s".into() },
            "HostRewritePathRegex(RegexMatchAndSubstitute { pattern: RegexMatcher { regex: \"p\", \
             engine_type: None }, substitution: \"s\" })",
        ),
    ] {
        check_forward(|f| f.host_rewrite = Some(rewrite), host, expected, "");
    }
}

#[test]
fn hashes_and_splits() {
    let header = || HashPolicy::new(HashSource::Header { name: X, rewrite: None });
    let hash: Look<pb::RouteAction> = |a| short(&a.hash_policy[0].policy_specifier);
    for (source, expected) in [
        (HashSource::SourceIp, "ConnectionProperties(ConnectionProperties { source_ip: true })"),
        (HashSource::QueryParameter("q".into()), "QueryParameter(QueryParameter { name: \"q\" })"),
        (HashSource::ChannelId, "FilterState(FilterState { key: \"io.grpc.channel_id\" })"),
        (HashSource::PeerIdentity, "FilterState(FilterState { key: \"mesh.peer_identity\" })"),
        (
            HashSource::Header { name: X, rewrite: None },
            "Header(Header { header_name: \"x-user\", regex_rewrite: None })",
        ),
        (
            HashSource::Cookie {
                name: "c".into(),
                ttl: Some(Duration::ZERO),
                path: Some("/".into()),
            },
            "Cookie(Cookie { name: \"c\", ttl: 0s, path: \"/\", attributes: [] })",
        ),
    ] {
        check_forward(|f| f.hash_policy.push(HashPolicy::new(source)), hash, expected, "");
    }
    let split = |by: SplitBy| {
        let mut split = Split::new(vec![SplitCluster::new("a", 90), SplitCluster::new("b", 0)]);
        split.by = by;
        ClusterSpecifier::Split(split)
    };
    let drawn: Look<pb::RouteAction> = |a| match &a.cluster_specifier {
        Some(pb::route_action::ClusterSpecifier::WeightedClusters(all)) => {
            let weights: Vec<_> = all
                .clusters
                .iter()
                .map(|one| format!("{} {}", one.name, short(&one.weight)))
                .collect();
            format!("{} {}", weights.join(" "), short(&all.random_value_specifier))
        }
        other => short(other),
    };
    check_forward(|f| f.cluster = split(SplitBy::Random), drawn, "a 90 b 0 None", "");
    let by_header = split(SplitBy::HeaderValue(X));
    check_forward(|f| f.cluster = by_header, drawn, "a 90 b 0 HeaderName(\"x-user\")", "");
    let hash = "a 90 b 0 UseHashPolicy(true)";
    let only = "{ hash_policy_of_split_only: true }";
    check_forward(|f| f.cluster = split(SplitBy::Hash(vec![header()])), drawn, hash, only);
    let same = |f: &mut ForwardAction| {
        f.cluster = split(SplitBy::Hash(vec![header()]));
        f.hash_policy = vec![header()];
    };
    check_forward(same, drawn, hash, "");
    let other = |f: &mut ForwardAction| {
        f.cluster = split(SplitBy::Hash(vec![header()]));
        f.hash_policy = vec![HashPolicy::new(HashSource::SourceIp)];
    };
    check_forward(other, drawn, "a 90 b 0 None", "{ split_by: [{ header: \"x-user\" }] }");
}

#[test]
fn retries() {
    let on: Look<pb::RetryPolicy> = |p| format!("{} {}", p.retry_on, short(&p.num_retries));
    check_retry(|_| {}, on, "5xx 1", "");
    let several = RetryOn::GATEWAY_ERROR | RetryOn::UNAVAILABLE | RetryOn::RESET_BEFORE_REQUEST;
    let expected = "gateway-error,reset-before-request,unavailable 1";
    check_retry(|p| p.retry_on = several, on, expected, "");
    // gRFC A44: `num_retries: 0` is refused.
    let never = "{ retry_policy: { num_retries: 0, retry_on: \"5xx\" } }";
    check_retry(|p| p.num_retries = 0, on, " 1", never);
    let tries: Look<pb::RetryPolicy> =
        |p| format!("{} {}", short(&p.per_try_timeout), short(&p.per_try_idle_timeout));
    let limits = |p: &mut RetryPolicy| {
        p.per_try_timeout = Some(500 * MS);
        p.per_try_idle_timeout = Some(Duration::from_secs(2));
    };
    check_retry(limits, tries, "0s500ms 2s", "");
    let pause: Look<pb::RetryPolicy> = |p| {
        let pause = p.retry_back_off.expect("always said");
        format!("{} {}", short(&pause.base_interval), short(&pause.max_interval))
    };
    check_retry(|_| {}, pause, "0s25ms 0s250ms", "");
    let exact =
        "{ retry_policy: { back_off: { base_interval: \"0s\", max_interval: \"0.0005s\" } } }";
    let short_pause = BackOff::new(Duration::ZERO, Duration::from_micros(500));
    check_retry(|p| p.back_off = short_pause, pause, "0s1ms 0s1ms", exact);
    let reset: Look<pb::RetryPolicy> = |p| short(&p.rate_limited_retry_back_off);
    check_retry(|_| {}, reset, "None", "");
    let header = |format| ResetHeader { name: X, format };
    let both =
        vec![header(ResetHeaderFormat::UnixTimestamp), header(ResetHeaderFormat::RetryAfter)];
    check_retry(
        |p| p.rate_limited_back_off = Some(RateLimitedBackOff::new(both)),
        reset,
        "RateLimitedRetryBackOff { reset_headers: [ResetHeader { name: \"x-user\", format: \
         UnixTimestamp }, ResetHeader { name: \"x-user\", format: Seconds }], max_interval: 300s }",
        "{ retry_policy: { retry_after: [\"x-user\"] } }",
    );
    let hosts: Look<pb::RetryPolicy> = |p| {
        let names: Vec<_> = p.retry_host_predicate.iter().map(|one| one.name.as_str()).collect();
        format!("{} {}", names.join(","), p.host_selection_retry_max_attempts)
    };
    check_retry(|_| {}, hosts, "envoy.retry_host_predicates.previous_hosts 5", "");
    check_retry(|p| p.previous_hosts = false, hosts, " 5", "");
    let zero = "{ retry_policy: { host_selection_max_attempts: 0 } }";
    let edit = |p: &mut RetryPolicy| p.host_selection_max_attempts = 0;
    check_retry(edit, hosts, "envoy.retry_host_predicates.previous_hosts 0", zero);
    let lists: Look<pb::RetryPolicy> = |p| {
        let names =
            |list: &[pb::HeaderMatcher]| list.iter().map(|m| m.name.clone()).collect::<String>();
        let (response, request) =
            (names(&p.retriable_headers), names(&p.retriable_request_headers));
        format!("{:?} {response} {request}", p.retriable_status_codes)
    };
    let edit = |p: &mut RetryPolicy| {
        p.retriable_status_codes = vec![409, 503];
        p.retriable_headers = vec![HeaderMatcher::new(X, HeaderMatcherKind::Present(true))];
        p.retriable_request_headers = p.retriable_headers.clone();
    };
    check_retry(edit, lists, "[409, 503] x-user x-user", "");
}

#[test]
fn redirects_and_direct_responses() {
    let mut redirect = Redirect::default();
    redirect.status = StatusCode::PERMANENT_REDIRECT;
    redirect.scheme = Some("https".into());
    redirect.host = Some("h".into());
    redirect.port = Some(8443);
    redirect.path = Some(PathRewrite::Prefix("".into()));
    redirect.strip_query = true;
    check_action(
        RouteAction::Redirect(redirect),
        "RedirectAction { host_redirect: \"h\", port_redirect: 8443, response_code: PermanentRedirect, \
         strip_query: true, scheme_rewrite_specifier: SchemeRedirect(\"https\"), \
         path_rewrite_specifier: PrefixRewrite(\"\") }",
    );
    let response = |body: &'static [u8]| {
        let response = DirectResponse::new(StatusCode::IM_A_TEAPOT, Bytes::from_static(body));
        RouteAction::DirectResponse(response)
    };
    let whole = |body: &str| {
        format!("DirectResponseAction {{ status: 418, body: {body}, body_format: None }}")
    };
    check_action(response(b""), &whole("None"));
    let text = "DataSource { watched_directory: None, specifier: InlineString(\"hi\") }";
    check_action(response(b"hi"), &whole(text));
    let bytes = "DataSource { watched_directory: None, specifier: InlineBytes([255]) }";
    check_action(response(b"\xff"), &whole(bytes));
}

#[test]
fn header_edits() {
    let mut model = Route::forward(ForwardAction::to("c"));
    let append = |value: &'static [u8], action| HeaderMutation::Append {
        name: X,
        value: HeaderValue::from_bytes(value).expect("a value"),
        action,
    };
    model.headers.request = vec![
        HeaderMutation::Remove(X),
        append(b"50%", AppendAction::AppendIfExistsOrAdd),
        append(b"", AppendAction::AddIfAbsent),
        append(b"\xff", AppendAction::OverwriteIfExistsOrAdd),
    ];
    model.headers.response = vec![append(b"a", AppendAction::OverwriteIfExists)];
    let encoded = route(&model);
    let line = |option: &envoy_types::pb::envoy::config::core::v3::HeaderValueOption| {
        let header = option.header.as_ref().expect("a header");
        format!(
            "{}={:?}{:?} {:?} {}",
            header.key,
            header.value,
            header.raw_value,
            option.append_action(),
            option.keep_empty_value
        )
    };
    let added: Vec<_> = encoded.request_headers_to_add.iter().map(line).collect();
    assert_eq!(
        added,
        [
            "x-user=\"50%%\"[] AppendIfExistsOrAdd false",
            "x-user=\"\"[] AddIfAbsent true",
            "x-user=\"\"[255] OverwriteIfExistsOrAdd false",
        ]
    );
    assert_eq!(encoded.request_headers_to_remove, ["x-user"]);
    let added: Vec<_> = encoded.response_headers_to_add.iter().map(line).collect();
    assert_eq!(added, ["x-user=\"a\"[] OverwriteIfExists false"]);
}

/// What conditions of filters ask stands beside our own words, and nothing of it is taken for one of them.
#[test]
fn metadata_of_a_route_stands_beside_our_words() {
    let mut forward = ForwardAction::to("c");
    forward.transparent_retry = !forward.transparent_retry;
    let mut model = Route::forward(forward);
    let said = |value| [("k".into(), value)].into();
    let all = [
        ("acme".into(), said(MetadataValue::Bool(true))),
        ("mesh".into(), said(MetadataValue::Text("x".into()))),
    ];
    model.metadata = Arc::new(Metadata(all.into()));
    let encoded = route(&model).metadata.expect("metadata");
    let keys = |filter: &str| encoded.filter_metadata[filter].fields.keys().collect::<Vec<_>>();
    assert_eq!(keys("acme"), ["k"]);
    assert_eq!(keys("mesh"), ["transparent_retry"]);
    model.action = RouteAction::NonForwarding;
    assert_eq!(route(&model).metadata.expect("metadata").filter_metadata.len(), 1);
}
