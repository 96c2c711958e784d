use crate::filter::ask::{
    Answer, AskDecision, AskFailure, AskFailureKind, CheckAnswer, Limit, LimitAnswer, LimitStatus,
    QuestionKind,
};
use crate::filter::ext_authz::{CompiledExtAuthz, EXT_AUTHZ_NAMESPACE};
use crate::filter::tests::{caller, context};
use crate::filter::{Chain, Overrides, Pass, Step, Told};
use crate::model::http_filter::*;
use crate::model::matcher::{HeaderMatcher, HeaderMatcherKind, RegexPattern, StringPattern};
use crate::model::{
    AppendAction, HeaderMutation, Metadata, MetadataSource, MetadataValue, StringMatcher,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use std::sync::Arc;
use std::time::Duration;

fn service() -> GrpcService {
    GrpcService::new("authz", Duration::from_millis(200))
}

fn authz() -> ExtAuthz {
    ExtAuthz::new(AuthzService::Grpc(service()))
}

fn edit(name: &'static str, value: &'static str, action: AppendAction) -> HeaderMutation {
    let (name, value) = (name.parse().unwrap(), value.parse().unwrap());
    HeaderMutation::Append { name, value, action }
}

fn set(name: &'static str, value: &'static str) -> HeaderMutation {
    edit(name, value, AppendAction::OverwriteIfExistsOrAdd)
}

/// What the filter asks, what it decides by `answer`, and what becomes of the request.
fn pass(
    config: HttpFilterConfig,
    said: Option<HttpFilterOverride>,
    answer: impl FnOnce(&QuestionKind) -> Answer,
) -> String {
    let said: Vec<_> = said.into_iter().collect();
    pass_by("http://reviews/a?x=1&y=2", config, &said, answer)
}

/// The same for any URI, with what each level says, the most specific first.
fn pass_by(
    uri: &str,
    config: HttpFilterConfig,
    said: &[HttpFilterOverride],
    answer: impl FnOnce(&QuestionKind) -> Answer,
) -> String {
    let chain = Chain::compile(&[HttpFilter::new("f", config)], None).unwrap();
    let levels = said.iter().map(|said| [(Arc::from("f"), said.clone())].into());
    let levels: Vec<HttpFilterOverrides> = levels.collect();
    let overrides = chain.overrides(&levels.iter().collect::<Vec<_>>()).unwrap();
    let request = http::Request::get(uri).header("x-user", "u");
    let (mut parts, ()) = request.header("cookie", "secret").body(()).unwrap().into_parts();
    let connection = caller("10.1.2.3:1");
    let mut cx = context(&mut parts, &connection);
    let mut told = String::new();
    let mut observer = |_: &Arc<str>, what: Told<'_>| {
        if let Told::Asked(AskDecision { outcome, shadow, .. }) = what {
            told = format!("{outcome:?}{}", if shadow { " in shadow" } else { "" });
        }
    };
    let mut pass = Pass::new(1);
    let step = match pass.start(&chain, &overrides, &mut cx, &mut observer) {
        Step::Ask(question) => {
            let answer = answer(&question.kind);
            pass.handle_answer(answer, &chain, &overrides, &mut cx, &mut observer)
        }
        other => other,
    };
    let end = end(step, &pass, &parts, &chain, &overrides);
    format!("{told}: {end}")
}

fn end(step: Step, pass: &Pass, parts: &http::request::Parts, _: &Chain, _: &Overrides) -> String {
    let list = |headers: &HeaderMap| {
        let headers = headers.iter().map(|(n, v)| format!(" {n}={}", v.to_str().unwrap()));
        headers.collect::<String>()
    };
    match step {
        Step::Continue => {
            let mut response = HeaderMap::new();
            pass.edit_response(&mut response);
            let known = pass.metadata().and_then(|known| known.0.get(EXT_AUTHZ_NAMESPACE));
            let known = known.map(|known| format!(" {known:?}")).unwrap_or_default();
            format!("{}{} /{}{known}", parts.uri, list(&parts.headers), list(&response))
        }
        Step::Reply(reply) => format!(
            "{} {:?}{} {} {}",
            reply.status.as_u16(),
            reply.grpc_status,
            list(&reply.headers),
            String::from_utf8_lossy(&reply.body),
            reply.details
        ),
        other => format!("{other:?}"),
    }
}

fn gone() -> AskFailure {
    AskFailure::new(&Arc::from("authz"), AskFailureKind::Timeout(Duration::from_millis(200)))
}

#[track_caller]
fn check_authz(model: ExtAuthz, answer: Answer, expected: &str) {
    let config = HttpFilterConfig::ExtAuthz(Arc::new(model));
    assert_eq!(pass(config, None, |_| answer), expected);
}

const UNTOUCHED: &str = "http://reviews/a?x=1&y=2 x-user=u cookie=secret /";

#[test]
fn a_yes_edits_the_request_and_the_answer() {
    let mut yes = CheckAnswer { allowed: true, ..CheckAnswer::default() };
    check_authz(authz(), Answer::Check(Ok(yes.clone())), &format!("Allowed: {UNTOUCHED}"));
    yes.headers = vec![
        HeaderMutation::Remove("cookie".parse().unwrap()),
        set("x-user", "alice"),
        edit("x-group", "a", AppendAction::AppendIfExistsOrAdd),
        set("host", "evil"),
        HeaderMutation::Remove("host".parse().unwrap()),
    ];
    yes.response_headers = vec![set("x-seen", "1")];
    yes.query_parameters_to_set = vec![("z".into(), "a b&".into()), ("x".into(), "2".into())];
    yes.query_parameters_to_remove = vec!["y".into()];
    yes.metadata = [(Arc::from("k"), MetadataValue::Bool(true))].into();
    let expected = "Allowed: http://reviews/a?z=a%20b%26&x=2 x-user=alice x-group=a / x-seen=1 {\"k\": Bool(true)}";
    check_authz(authz(), Answer::Check(Ok(yes.clone())), expected);
    let mut strict = authz();
    strict.validate_mutations = true;
    let refused = "FailedClosed: 500 None  ext_authz_invalid";
    check_authz(strict.clone(), Answer::Check(Ok(yes.clone())), refused);
    strict.shadow = true;
    let shadow = format!("FailedClosed in shadow: {UNTOUCHED}");
    check_authz(strict, Answer::Check(Ok(yes.clone())), &shadow);
    let mut shadow = authz();
    shadow.shadow = true;
    check_authz(shadow, Answer::Check(Ok(yes)), &format!("Allowed in shadow: {UNTOUCHED}"));
}

#[test]
fn a_no_is_the_answer_and_nobody_is_a_no() {
    let mut no = CheckAnswer::default();
    check_authz(authz(), Answer::Check(Ok(no.clone())), "Denied: 403 None  ext_authz_denied");
    no.status = Some(StatusCode::FOUND);
    no.headers = vec![set("location", "/login"), set("content-length", "99")];
    no.body = Bytes::from_static(b"log in");
    let expected =
        "Denied: 302 None location=/login content-type=text/plain log in ext_authz_denied";
    check_authz(authz(), Answer::Check(Ok(no.clone())), expected);
    check_authz(authz(), Answer::Check(Err(gone())), "FailedClosed: 403 None  ext_authz_error");
    // An answer to another question is none.
    check_authz(
        authz(),
        Answer::Tokens(vec![Some(Ok(()))]),
        "FailedClosed: 403 None  ext_authz_error",
    );
    check_authz(authz(), Answer::BodyTooLarge, "Denied: 413 None  request_payload_too_large");
    let mut model = authz();
    model.status_on_error = StatusCode::SERVICE_UNAVAILABLE;
    check_authz(model, Answer::Check(Err(gone())), "FailedClosed: 503 None  ext_authz_error");
    let mut model = authz();
    (model.failure_mode_allow, model.failure_mode_allow_header_add) = (true, true);
    let open = "FailedOpen: http://reviews/a?x=1&y=2 x-user=u cookie=secret x-envoy-auth-failure-mode-allowed=true /";
    check_authz(model, Answer::Check(Err(gone())), open);
    let mut model = authz();
    model.shadow = true;
    check_authz(model.clone(), Answer::Check(Ok(no)), &format!("Denied in shadow: {UNTOUCHED}"));
    check_authz(model, Answer::Check(Err(gone())), &format!("FailedClosed in shadow: {UNTOUCHED}"));
}

/// Framing is about one's own message: another's would be cut, or be two.
#[test]
fn framing_is_nobodys_to_write() {
    let framing = || {
        let names = ["content-length", "transfer-encoding", "connection", "upgrade"];
        let mut edits: Vec<_> = names.map(|name| set(name, "2")).into();
        edits.push(HeaderMutation::Remove("content-length".parse().unwrap()));
        edits.push(set("x-user", "alice"));
        edits
    };
    let mut yes = CheckAnswer { allowed: true, ..CheckAnswer::default() };
    (yes.headers, yes.response_headers) = (framing(), framing());
    let edited = "http://reviews/a?x=1&y=2 x-user=alice cookie=secret / x-user=alice";
    check_authz(authz(), Answer::Check(Ok(yes.clone())), &format!("Allowed: {edited}"));
    let mut no = CheckAnswer { headers: framing(), ..CheckAnswer::default() };
    let denied = "Denied: 403 None x-user=alice  ext_authz_denied";
    check_authz(authz(), Answer::Check(Ok(no.clone())), denied);
    let mut strict = authz();
    (strict.validate_mutations, strict.failure_mode_allow) = (true, true);
    let invalid = "FailedClosed: 500 None  ext_authz_invalid";
    check_authz(strict.clone(), Answer::Check(Ok(yes)), invalid);
    check_authz(strict, Answer::Check(Ok(no.clone())), denied);
    no.failed = true;
    let failed = "FailedClosed: 403 None x-user=alice  ext_authz_error";
    check_authz(authz(), Answer::Check(Ok(no)), failed);
    let (key, value) = (Arc::from("generic_key"), Arc::from("v"));
    let generic = RateLimitAction::GenericKey { descriptor_key: key, descriptor_value: value };
    let model = limit(vec![generic]);
    let mut counted = LimitAnswer::default();
    (counted.request_headers, counted.response_headers) = (framing(), framing());
    check_limit(model.clone(), Ok(counted.clone()), &format!("Allowed: {edited}"));
    counted.over_limit = true;
    let over = "Denied: 429 Some(14) x-envoy-ratelimited=true x-user=alice  request_rate_limited";
    check_limit(model, Ok(counted), over);
}

/// The authorizer was there, so nothing is let through for want of an answer (Envoy: `ext_authz_invalid`).
#[test]
fn a_no_that_cannot_be_written_is_none_that_lets_through() {
    let mut strict = authz();
    (strict.validate_mutations, strict.failure_mode_allow) = (true, true);
    let invalid = "FailedClosed: 500 None  ext_authz_invalid";
    let mut no = CheckAnswer { invalid_mutation: true, ..CheckAnswer::default() };
    check_authz(strict.clone(), Answer::Check(Ok(no.clone())), invalid);
    check_authz(authz(), Answer::Check(Ok(no.clone())), "Denied: 403 None  ext_authz_denied");
    // A host is no business of an answer's: left out, and a no still.
    (no.invalid_mutation, no.headers) = (false, vec![set("host", "evil"), set("x-why", "1")]);
    let denied = "Denied: 403 None x-why=1  ext_authz_denied";
    check_authz(strict.clone(), Answer::Check(Ok(no.clone())), denied);
    // It said no, but that it could not say.
    (no.invalid_mutation, no.failed) = (true, true);
    check_authz(strict, Answer::Check(Ok(no)), &format!("FailedOpen: {UNTOUCHED}"));
}

/// Envoy: `error_response` counts as an error, with what it says where requests are refused for one.
#[test]
fn an_authorizer_that_says_that_it_failed_denies_nothing() {
    let mut failed = CheckAnswer { failed: true, ..CheckAnswer::default() };
    let closed = "FailedClosed: 403 None  ext_authz_error";
    check_authz(authz(), Answer::Check(Ok(failed.clone())), closed);
    failed.status = Some(StatusCode::SERVICE_UNAVAILABLE);
    failed.headers = vec![set("retry-after", "9")];
    failed.body = Bytes::from_static(b"later");
    let said = "FailedClosed: 503 None retry-after=9 content-type=text/plain later ext_authz_error";
    check_authz(authz(), Answer::Check(Ok(failed.clone())), said);
    let mut model = authz();
    (model.failure_mode_allow, model.failure_mode_allow_header_add) = (true, true);
    let open = "FailedOpen: http://reviews/a?x=1&y=2 x-user=u cookie=secret x-envoy-auth-failure-mode-allowed=true /";
    check_authz(model, Answer::Check(Ok(failed.clone())), open);
    let mut model = authz();
    model.shadow = true;
    let shadow = format!("FailedClosed in shadow: {UNTOUCHED}");
    check_authz(model, Answer::Check(Ok(failed)), &shadow);
}

/// What is of the caller's connection is not of the one that a question goes on, where it names what is taken off.
#[test]
fn authorizers_over_http_see_nothing_of_the_callers_connection() {
    let names = "connection te upgrade keep-alive content-length x-tenant";
    let mut headers = HeaderMap::new();
    for name in names.split(' ') {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static("x-tenant"));
    }
    let mut model = authz();
    let server = HttpUri::new("http://a", "authz", Duration::ZERO);
    for (service, expected) in
        [(model.service.clone(), names), (AuthzService::Http(HttpAuthz::new(server)), "x-tenant")]
    {
        model.service = service;
        model.allowed_headers = vec![StringMatcher::new(StringPattern::Contains("e".into()))];
        let compiled = CompiledExtAuthz::new(&Arc::new(model.clone())).unwrap();
        let seen = compiled.visible(&headers);
        let seen: Vec<_> = seen.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(seen.join(" "), expected);
    }
}

#[test]
fn authorizers_see_what_they_may() {
    #[track_caller]
    fn check(change: impl FnOnce(&mut ExtAuthz), said: Option<ExtAuthzPerRoute>, expected: &str) {
        let mut model = authz();
        change(&mut model);
        let mut seen = String::new();
        let said = said.map(|said| HttpFilterOverride::ExtAuthz(Arc::new(said)));
        pass(HttpFilterConfig::ExtAuthz(Arc::new(model)), said, |asked| {
            let QuestionKind::Check(asked) = asked else { panic!("{asked:?}") };
            let names = asked.headers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>();
            seen = format!(
                "{} {}{} {:?} {:?}",
                names.join(","),
                asked.authority,
                asked.path,
                asked.filter.context_extensions,
                asked.filter.with_request_body.map(|body| body.max_request_bytes)
            );
            Answer::BodyTooLarge
        });
        assert_eq!(seen, expected);
    }
    let exact = |name: &str| StringMatcher::new(StringPattern::Exact(name.into()));
    let body =
        AuthzBody { max_request_bytes: 9, allow_partial_message: false, pack_as_bytes: false };
    check(|_| {}, None, "x-user,cookie reviews/a?x=1&y=2 {} None");
    check(
        |model| model.allowed_headers = vec![exact("x-user")],
        None,
        "x-user reviews/a?x=1&y=2 {} None",
    );
    check(
        |model| model.disallowed_headers = vec![exact("cookie")],
        None,
        "x-user reviews/a?x=1&y=2 {} None",
    );
    check(
        |model| model.with_request_body = Some(body),
        None,
        "x-user,cookie reviews/a?x=1&y=2 {} Some(9)",
    );
    let server = HttpUri::new("http://a", "authz", Duration::ZERO);
    check(
        |model| model.service = AuthzService::Http(HttpAuthz::new(server)),
        None,
        " reviews/a?x=1&y=2 {} None",
    );
    let mut said = ExtAuthzPerRoute::default();
    said.context_extensions = [(Arc::from("a"), Arc::from("b"))].into();
    said.disable_request_body_buffering = true;
    check(
        |model| model.with_request_body = Some(body),
        Some(said),
        "x-user,cookie reviews/a?x=1&y=2 {\"a\": \"b\"} None",
    );
}

#[test]
fn what_levels_tell_an_authorizer_is_told_together() {
    let told = |pairs: &[(&str, &str)]| {
        let pairs = pairs.iter().map(|(name, value)| (Arc::from(*name), Arc::from(*value)));
        let mut said = ExtAuthzPerRoute::default();
        said.context_extensions = pairs.collect();
        said
    };
    let body =
        AuthzBody { max_request_bytes: 9, allow_partial_message: false, pack_as_bytes: false };
    let mut route = told(&[("a", "route"), ("c", "route")]);
    let mut host = told(&[("a", "host"), ("b", "host")]);
    route.disable_request_body_buffering = true;
    host.with_request_body = Some(body);
    let said = [route, told(&[]), host].map(|said| HttpFilterOverride::ExtAuthz(Arc::new(said)));
    let mut seen = String::new();
    let config = HttpFilterConfig::ExtAuthz(Arc::new(authz()));
    pass_by("http://reviews/", config, &said, |asked| {
        let QuestionKind::Check(asked) = asked else { panic!("{asked:?}") };
        let ExtAuthz { context_extensions, with_request_body, .. } = &*asked.filter;
        seen = format!("{context_extensions:?} {with_request_body:?}");
        Answer::BodyTooLarge
    });
    assert_eq!(seen, r#"{"a": "route", "b": "host", "c": "route"} None"#);
}

#[test]
fn answers_over_http_are_read_by_their_lists() {
    #[track_caller]
    fn check(status: u16, change: impl FnOnce(&mut HttpAuthz), expected: &str) {
        let mut service = HttpAuthz::new(HttpUri::new("http://a", "authz", Duration::ZERO));
        change(&mut service);
        let config =
            HttpFilterConfig::ExtAuthz(Arc::new(ExtAuthz::new(AuthzService::Http(service))));
        let found = pass(config, None, |asked| {
            let QuestionKind::Check(asked) = asked else { panic!("{asked:?}") };
            let mut headers = HeaderMap::new();
            for (name, value) in [
                ("x-user", "alice"),
                ("x-group", "a"),
                ("connection", "close"),
                ("content-length", "3"),
            ] {
                headers.append(name, value.parse().unwrap());
            }
            let status = StatusCode::from_u16(status).unwrap();
            let body = Bytes::from_static(b"why");
            Answer::Check(asked.http.as_ref().unwrap().read(status, &headers, body))
        });
        assert_eq!(found, expected);
    }
    let prefix = || vec![StringMatcher::new(StringPattern::Prefix("x-u".into()))];
    check(200, |_| {}, &format!("Allowed: {UNTOUCHED}"));
    check(
        200,
        |model| model.allowed_upstream_headers = prefix(),
        "Allowed: http://reviews/a?x=1&y=2 x-user=alice cookie=secret /",
    );
    check(
        200,
        |model| model.allowed_upstream_headers_to_append = prefix(),
        "Allowed: http://reviews/a?x=1&y=2 x-user=u x-user=alice cookie=secret /",
    );
    let all = || vec![StringMatcher::new(StringPattern::Regex(RegexPattern(".*".into())))];
    check(
        200,
        |model| {
            model.allowed_upstream_headers = all();
            model.allowed_client_headers_on_success = all();
        },
        "Allowed: http://reviews/a?x=1&y=2 x-user=alice cookie=secret x-group=a / x-user=alice x-group=a",
    );
    check(
        200,
        |model| model.allowed_upstream_headers_to_append = all(),
        "Allowed: http://reviews/a?x=1&y=2 x-user=u x-user=alice cookie=secret x-group=a /",
    );
    check(
        200,
        |model| {
            model.allowed_client_headers_on_success = prefix();
            model.dynamic_metadata_from_headers = prefix();
        },
        &format!("Allowed: {UNTOUCHED} x-user=alice {{\"x-user\": Text(\"alice\")}}"),
    );
    let denied = "x-user=alice x-group=a content-type=text/plain why ext_authz_denied";
    check(401, |_| {}, &format!("Denied: 401 None {denied}"));
    check(201, |_| {}, &format!("Denied: 201 None {denied}"));
    check(
        403,
        |model| model.allowed_client_headers = prefix(),
        "Denied: 403 None x-user=alice content-type=text/plain why ext_authz_denied",
    );
    for no_answer in [100, 101, 503, 600, 999] {
        check(no_answer, |_| {}, "FailedClosed: 403 None  ext_authz_error");
    }
}

/// Envoy: `x-envoy-auth-headers-to-remove`, whatever answers may write.
#[test]
fn a_yes_over_http_takes_headers_off() {
    let service = HttpAuthz::new(HttpUri::new("http://a", "authz", Duration::ZERO));
    let config = HttpFilterConfig::ExtAuthz(Arc::new(ExtAuthz::new(AuthzService::Http(service))));
    let found = pass(config, None, |asked| {
        let QuestionKind::Check(asked) = asked else { panic!("{asked:?}") };
        let mut headers = HeaderMap::new();
        for names in ["Cookie , host,content-length,no name", "x-other,x-user"] {
            headers.append("x-envoy-auth-headers-to-remove", names.parse().unwrap());
        }
        Answer::Check(asked.http.as_ref().unwrap().read(StatusCode::OK, &headers, Bytes::new()))
    });
    assert_eq!(found, "Allowed: http://reviews/a?x=1&y=2 /");
}

fn limit(actions: Vec<RateLimitAction>) -> RateLimit {
    let mut model = RateLimit::new("shop", service());
    model.rules = vec![RateLimitRule::new(actions)];
    model
}

#[track_caller]
fn check_limit(model: RateLimit, answer: Result<LimitAnswer, AskFailure>, expected: &str) {
    let config = HttpFilterConfig::RateLimit(Arc::new(model));
    assert_eq!(pass(config, None, |_| Answer::Limit(answer)), expected);
}

#[test]
fn limits_refuse_what_is_over_them() {
    let generic = || {
        let (key, value) = (Arc::from("generic_key"), Arc::from("v"));
        vec![RateLimitAction::GenericKey { descriptor_key: key, descriptor_value: value }]
    };
    let minute = Limit { name: "n".into(), requests: 10, unit: Duration::from_secs(60) };
    let status = |remaining| LimitStatus {
        limit: Some(minute.clone()),
        remaining,
        reset: Duration::from_secs(7),
    };
    let mut under = LimitAnswer { statuses: vec![status(5), status(3)], ..LimitAnswer::default() };
    under.request_headers = vec![set("x-user", "v"), set("host", "evil")];
    let mut model = limit(generic());
    check_limit(
        model.clone(),
        Ok(under.clone()),
        "Allowed: http://reviews/a?x=1&y=2 x-user=v cookie=secret /",
    );
    model.x_ratelimit_headers = true;
    let left = "x-ratelimit-limit=10, 10;w=60;name=\"n\", 10;w=60;name=\"n\" x-ratelimit-remaining=3 x-ratelimit-reset=7";
    check_limit(
        model.clone(),
        Ok(under),
        &format!("Allowed: http://reviews/a?x=1&y=2 x-user=v cookie=secret / {left}"),
    );
    let mut over = LimitAnswer { over_limit: true, ..LimitAnswer::default() };
    over.body = Bytes::from_static(b"slow down");
    let refused = "x-envoy-ratelimited=true slow down request_rate_limited";
    check_limit(model.clone(), Ok(over.clone()), &format!("Denied: 429 Some(14) {refused}"));
    model.rate_limited_as_resource_exhausted = true;
    model.disable_x_envoy_ratelimited_header = true;
    check_limit(
        model.clone(),
        Ok(over.clone()),
        "Denied: 429 Some(8) slow down request_rate_limited",
    );
    check_limit(model.clone(), Err(gone()), &format!("FailedOpen: {UNTOUCHED}"));
    model.failure_mode_deny = true;
    check_limit(model.clone(), Err(gone()), "FailedClosed: 500 None  rate_limiter_error");
    model.shadow = true;
    check_limit(model, Ok(over), &format!("Denied in shadow: {UNTOUCHED}"));
}

#[test]
fn requests_count_as_what_their_actions_say() {
    #[track_caller]
    fn check(actions: Vec<RateLimitAction>, expected: &str) {
        let mut seen = "not asked".to_owned();
        pass(HttpFilterConfig::RateLimit(Arc::new(limit(actions))), None, |asked| {
            let QuestionKind::Limit(asked) = asked else { panic!("{asked:?}") };
            let entries = asked.descriptors[0].entries.iter().map(|(k, v)| format!("{k}={v}"));
            seen = entries.collect::<Vec<_>>().join(" ");
            Answer::Limit(Ok(LimitAnswer::default()))
        });
        assert_eq!(seen, expected);
    }
    let header = |name: &'static str, skip_if_absent| RateLimitAction::RequestHeaders {
        name: name.parse().unwrap(),
        descriptor_key: "h".into(),
        skip_if_absent,
    };
    let query = |name: &str| RateLimitAction::QueryParameters {
        name: name.into(),
        descriptor_key: "q".into(),
        skip_if_absent: false,
    };
    let masked = |v4| RateLimitAction::MaskedRemoteAddress {
        v4_prefix_mask_len: v4,
        v6_prefix_mask_len: 128,
    };
    check(vec![header("x-user", false), query("y")], "h=u q=2");
    // Over HTTP/2 there is no header of that name, but an authority.
    check(vec![header("host", false)], "h=reviews");
    let host = |text: &str| RateLimitAction::HeaderValueMatch {
        descriptor_key: "m".into(),
        descriptor_value: "v".into(),
        expect_match: true,
        headers: vec![HeaderMatcher::new(
            "host".parse().unwrap(),
            HeaderMatcherKind::String(StringMatcher::new(StringPattern::Exact(text.into()))),
        )],
    };
    check(vec![host("reviews")], "m=v");
    check(vec![host("other")], "not asked");
    check(vec![header("x-none", false), query("y")], "not asked");
    check(vec![header("x-none", true), query("y")], "q=2");
    check(vec![query("z")], "not asked");
    check(vec![header("x-none", true)], "not asked");
    check(vec![RateLimitAction::RemoteAddress], "remote_address=10.1.2.3");
    check(vec![masked(16)], "masked_remote_address=10.1.0.0/16");
    check(vec![masked(0)], "masked_remote_address=0.0.0.0/0");
    check(vec![masked(32)], "masked_remote_address=10.1.2.3/32");
    // A peer that proved nothing has no name.
    check(vec![RateLimitAction::PeerIdentity { descriptor_key: "peer".into() }], "not asked");
    check(vec![], "not asked");
}

#[test]
fn escapes_in_a_query_are_another_spelling_of_the_same() {
    #[track_caller]
    fn check(query: &str, expected: &str) {
        let action = RateLimitAction::QueryParameters {
            name: "q".into(),
            descriptor_key: "k".into(),
            skip_if_absent: false,
        };
        let config = HttpFilterConfig::RateLimit(Arc::new(limit(vec![action])));
        let mut seen = String::new();
        pass_by(&format!("http://reviews/a?{query}"), config, &[], |asked| {
            let QuestionKind::Limit(asked) = asked else { panic!("{asked:?}") };
            seen = asked.descriptors[0].entries[0].1.to_string();
            Answer::Limit(Ok(LimitAnswer::default()))
        });
        assert_eq!(seen, expected);
    }
    for query in ["q=over", "q=%6fver", "%71=over", "a=b&q=over&q=under"] {
        check(query, "over");
    }
    check("q=a+b%", "a+b%");
    check("q", "");

    let mut yes = CheckAnswer { allowed: true, ..CheckAnswer::default() };
    yes.query_parameters_to_set = vec![("user".into(), "a".into())];
    yes.query_parameters_to_remove = vec!["debug".into()];
    let config = HttpFilterConfig::ExtAuthz(Arc::new(authz()));
    let found =
        pass_by("http://reviews/a?%75ser=b&x=1&d%65bug=1", config, &[], |_| Answer::Check(Ok(yes)));
    assert_eq!(found, "Allowed: http://reviews/a?x=1&user=a x-user=u cookie=secret /");
}

/// What all of these filters ask, and what the metadata is in the end.
fn pass_all(
    configs: Vec<HttpFilterConfig>,
    route: Metadata,
    mut answer: impl FnMut(&QuestionKind) -> Answer,
) -> Metadata {
    let filters = configs.into_iter().enumerate();
    let filters: Vec<_> = filters.map(|(at, c)| HttpFilter::new(format!("f{at}"), c)).collect();
    let chain = Chain::compile(&filters, None).unwrap();
    let overrides = chain.overrides(&[]).unwrap().with_metadata(&Arc::new(route));
    let request = http::Request::get("http://reviews/").body(()).unwrap();
    let (mut parts, ()) = request.into_parts();
    let connection = caller("10.1.2.3:1");
    let mut cx = context(&mut parts, &connection);
    let mut observer = |_: &Arc<str>, _: Told<'_>| {};
    let mut pass = Pass::new(1);
    let mut step = pass.start(&chain, &overrides, &mut cx, &mut observer);
    while let Step::Ask(question) = step {
        let answer = answer(&question.kind);
        step = pass.handle_answer(answer, &chain, &overrides, &mut cx, &mut observer);
    }
    pass.metadata().cloned().unwrap_or_default()
}

/// Envoy: `MergeFrom`; what one says of the same name counts before what was said of it.
#[test]
fn what_authorizers_say_stands_beside_what_others_said() {
    let filters = || (0..2).map(|_| HttpFilterConfig::ExtAuthz(Arc::new(authz()))).collect();
    let mut says = [vec![("risk", true), ("both", true)], vec![("team", true), ("both", false)]]
        .into_iter()
        .map(|said| {
            let mut yes = CheckAnswer { allowed: true, ..CheckAnswer::default() };
            let said = said.into_iter();
            yes.metadata = said.map(|(k, v)| (Arc::from(k), MetadataValue::Bool(v))).collect();
            yes
        });
    let known =
        pass_all(filters(), Metadata::default(), |_| Answer::Check(Ok(says.next().unwrap())));
    let said = format!("{:?}", known.0[EXT_AUTHZ_NAMESPACE]);
    assert_eq!(said, r#"{"both": Bool(false), "risk": Bool(true), "team": Bool(true)}"#);
}

#[test]
fn limits_look_at_the_metadata_of_the_route_where_they_say_so() {
    let text = |text: &str| MetadataValue::Text(text.into());
    let route = || Metadata([(Arc::from("ns"), [(Arc::from("plan"), text("gold"))].into())].into());
    for (source, route, expected) in [
        (MetadataSource::Route, route(), "plan=gold"),
        (MetadataSource::Route, Metadata::default(), "not asked"),
        (MetadataSource::Dynamic, route(), "not asked"),
    ] {
        let mut limit = RateLimit::new("d", service());
        limit.rules = vec![RateLimitRule::new(vec![RateLimitAction::Metadata {
            descriptor_key: "plan".into(),
            source,
            filter: "ns".into(),
            path: vec!["plan".into()],
            default_value: Arc::default(),
            skip_if_absent: false,
        }])];
        let mut found = "not asked".to_owned();
        pass_all(vec![HttpFilterConfig::RateLimit(Arc::new(limit))], route, |asked| {
            let QuestionKind::Limit(asked) = asked else { panic!("{asked:?}") };
            let [(key, value)] = &*asked.descriptors[0].entries else { panic!("{asked:?}") };
            found = format!("{key}={value}");
            Answer::Limit(Err(gone()))
        });
        assert_eq!(found, expected, "{source:?}");
    }
}
