//! There and back again: filters that ask somebody, and what routes say of them.

use crate::decode::filter::{config, per_route};
use crate::encode::{deterministic, filter_config, filter_override, server_listener};
use http::{HeaderName, HeaderValue, StatusCode};
use mesh_core::model::http_filter::{
    AuthzBody, AuthzService, ClaimToHeader, ExtAuthz, ExtAuthzPerRoute, GrpcService, HttpAuthz,
    HttpUri, JwksSource, JwtAuthn, JwtHeader, JwtProvider, JwtRequirement, JwtRule, RateLimit,
    RateLimitAction, RateLimitPerRoute, RateLimitRule, RemoteJwks,
};
use mesh_core::model::matcher::HeaderMatcherKind;
use mesh_core::model::metadata::ValueMatcher;
use mesh_core::model::{
    AppendAction, FilterChain, Fraction, HeaderMatcher, HeaderMutation, HttpConnectionManager,
    HttpFilter, HttpFilterConfig, HttpFilterOverride, Listener, MetadataMatcher, PathMatcher,
    RouteConfiguration, RouteMatch, StringMatcher, VirtualHost,
};
use proptest::prelude::*;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// A key of RFC 8037.
const KEYS: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"k",
    "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

fn millis() -> impl Strategy<Value = Duration> {
    (1_u64..100_000).prop_map(Duration::from_millis)
}

fn texts() -> impl Strategy<Value = Vec<Arc<str>>> {
    let text = prop_oneof![Just("a"), Just("b c"), Just("long.name")].prop_map(Arc::from);
    proptest::collection::vec(text, 0..3)
}

fn patterns() -> impl Strategy<Value = Vec<StringMatcher>> {
    let pattern = prop_oneof![Just("x-a"), Just("y")].prop_map(StringMatcher::exact);
    proptest::collection::vec(pattern, 0..3)
}

fn edits(replacing: bool) -> impl Strategy<Value = Vec<HeaderMutation>> {
    let action = match replacing {
        true => AppendAction::OverwriteIfExistsOrAdd,
        false => AppendAction::AppendIfExistsOrAdd,
    };
    let value = prop_oneof![Just("v"), Just("100%"), Just("")].prop_map(HeaderValue::from_static);
    let name = HeaderName::from_static("x-b");
    let edit =
        value.prop_map(move |value| HeaderMutation::Append { name: name.clone(), value, action });
    proptest::collection::vec(edit, 0..3)
}

fn grpc() -> impl Strategy<Value = GrpcService> {
    let value = prop_oneof![
        Just(HeaderValue::from_static("50%")),
        Just(HeaderValue::from_bytes(b"\xff").unwrap()),
    ];
    (millis(), any::<bool>(), proptest::option::of(value)).prop_map(|(timeout, named, value)| {
        let mut service = GrpcService::new("asked", timeout);
        service.authority = named.then(|| "authority".into());
        let name = HeaderName::from_static("x-who");
        service.initial_metadata = value.into_iter().map(|value| (name.clone(), value)).collect();
        service
    })
}

fn uri() -> impl Strategy<Value = HttpUri> {
    millis().prop_map(|timeout| HttpUri::new("https://asked/keys", "asked", timeout))
}

fn body() -> impl Strategy<Value = AuthzBody> {
    (1_u32..=4 << 20, any::<[bool; 2]>()).prop_map(|(most, flags)| AuthzBody {
        max_request_bytes: most,
        allow_partial_message: flags[0],
        pack_as_bytes: flags[1],
    })
}

fn authorizer() -> impl Strategy<Value = AuthzService> {
    let lists = (patterns(), patterns(), patterns(), patterns(), patterns());
    let http =
        (uri(), any::<bool>(), edits(true), lists).prop_map(|(uri, prefixed, add, lists)| {
            let mut service = HttpAuthz::new(uri);
            service.path_prefix = if prefixed { "/check" } else { "" }.into();
            service.headers_to_add = add;
            (
                service.allowed_upstream_headers,
                service.allowed_upstream_headers_to_append,
                service.allowed_client_headers,
                service.allowed_client_headers_on_success,
                service.dynamic_metadata_from_headers,
            ) = lists;
            AuthzService::Http(service)
        });
    prop_oneof![grpc().prop_map(AuthzService::Grpc), http]
}

fn ext_authz() -> impl Strategy<Value = HttpFilterConfig> {
    let lists = (patterns(), patterns(), texts());
    let rest = (proptest::option::of(body()), lists, any::<[bool; 8]>());
    (authorizer(), rest, 0_u32..=1_000_000).prop_map(|(service, (body, lists, flags), share)| {
        let mut filter = ExtAuthz::new(service);
        filter.enabled = if flags[6] { Fraction::ALL } else { Fraction::per_million(share) };
        filter.deny_at_disable = flags[7];
        filter.enabled_metadata = flags[5].then(|| {
            let value = ValueMatcher::Text(StringMatcher::exact("policy"));
            let path = vec!["a".into(), "b".into()];
            let mut matcher = MetadataMatcher::new("envoy.filters.http.rbac", path, value);
            matcher.invert = flags[4];
            matcher
        });
        filter.with_request_body = body;
        (filter.allowed_headers, filter.disallowed_headers, filter.metadata_context_namespaces) =
            lists;
        filter.failure_mode_allow = flags[0];
        filter.failure_mode_allow_header_add = flags[1];
        filter.include_peer_certificate = flags[2];
        filter.include_tls_session = flags[3];
        filter.validate_mutations = flags[4];
        filter.shadow = flags[5];
        filter.status_on_error =
            if flags[0] { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::FORBIDDEN };
        HttpFilterConfig::ExtAuthz(Arc::new(filter))
    })
}

fn keys() -> impl Strategy<Value = JwksSource> {
    let remote =
        (uri(), millis(), proptest::option::of(millis())).prop_map(|(uri, time, again)| {
            let mut remote = RemoteJwks::new(uri);
            remote.cache_duration = time;
            remote.async_fetch = again.is_some();
            remote.failed_refetch = again.unwrap_or(remote.failed_refetch);
            JwksSource::Remote(remote)
        });
    prop_oneof![
        Just(JwksSource::Inline(KEYS.into())),
        Just(JwksSource::File(Arc::from(Path::new("/run/keys.json")))),
        remote,
    ]
}

fn provider() -> impl Strategy<Value = JwtProvider> {
    let times = (1_u64..1000, proptest::option::of(millis()));
    let lists = (texts(), texts(), texts(), texts());
    let cache = prop_oneof![Just((0_u32, 4096_u32)), (1_u32..500, 1_u32..8192)];
    (keys(), times, lists, cache, any::<[bool; 8]>()).prop_map(
        |(keys, (skew, lifetime), lists, cache, flags)| {
            let mut provider = JwtProvider::new(keys);
            let text = |on: bool, text: &str| on.then(|| Arc::from(text));
            provider.issuer = text(flags[0], "https://issuer");
            provider.payload_in_metadata = text(flags[1], "payload");
            provider.header_in_metadata = text(flags[2], "header");
            provider.failed_status_in_metadata = text(flags[3], "failed");
            provider.subjects = flags[4].then(|| StringMatcher::exact("subject"));
            provider.require_expiration = flags[5];
            provider.forward = flags[6];
            provider.pad_forward_payload_header = flags[7];
            if flags[7] {
                let name = HeaderName::from_static("x-token");
                provider.forward_payload_header = Some(HeaderName::from_static("x-payload"));
                provider.from_headers =
                    vec![JwtHeader { name: name.clone(), value_prefix: "Token ".into() }];
                provider.claim_to_headers =
                    vec![ClaimToHeader { header_name: name, claim_name: "a.b".into() }];
            }
            (
                provider.audiences,
                provider.from_params,
                provider.from_cookies,
                provider.space_delimited_claims,
            ) = lists;
            provider.clock_skew = Duration::from_secs(skew);
            provider.max_lifetime = lifetime;
            (provider.cache_size, provider.max_token_bytes) = cache;
            provider
        },
    )
}

/// Of a provider `p`.
fn requirement() -> impl Strategy<Value = JwtRequirement> {
    let leaf = prop_oneof![
        texts().prop_map(|audiences| JwtRequirement::Provider { name: "p".into(), audiences }),
        Just(JwtRequirement::AllowMissing),
        Just(JwtRequirement::AllowMissingOrFailed),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        let list = proptest::collection::vec(inner, 1..3);
        prop_oneof![list.clone().prop_map(JwtRequirement::Any), list.prop_map(JwtRequirement::All)]
    })
}

fn jwt_authn() -> impl Strategy<Value = HttpFilterConfig> {
    let requires = proptest::option::of(prop_oneof![
        requirement(),
        Just(JwtRequirement::Named("named".into())),
    ]);
    (provider(), requirement(), requires, any::<[bool; 2]>()).prop_map(
        |(provider, named, requires, flags)| {
            let mut filter = JwtAuthn::default();
            filter.providers.insert("p".into(), provider);
            filter.requirements.insert("named".into(), named);
            let mut matcher = RouteMatch::any();
            matcher.path = PathMatcher::Prefix("/api".into());
            let name = HeaderName::from_static("x-user");
            matcher.headers = vec![HeaderMatcher::new(name, HeaderMatcherKind::Present(true))];
            filter.rules = vec![JwtRule { matcher, requires }];
            filter.bypass_cors_preflight = flags[0];
            filter.strip_failure_response = flags[1];
            HttpFilterConfig::JwtAuthn(Arc::new(filter))
        },
    )
}

fn action() -> impl Strategy<Value = RateLimitAction> {
    let name = HeaderName::from_static("x-user");
    let headers = vec![HeaderMatcher::new(name.clone(), HeaderMatcherKind::Present(true))];
    prop_oneof![
        any::<bool>().prop_map(move |skip_if_absent| RateLimitAction::RequestHeaders {
            name: name.clone(),
            descriptor_key: "k".into(),
            skip_if_absent,
        }),
        any::<bool>().prop_map(|skip_if_absent| RateLimitAction::QueryParameters {
            name: "q".into(),
            descriptor_key: "k".into(),
            skip_if_absent,
        }),
        Just(RateLimitAction::RemoteAddress),
        (0_u8..=32, 0_u8..=128).prop_map(|(v4_prefix_mask_len, v6_prefix_mask_len)| {
            RateLimitAction::MaskedRemoteAddress { v4_prefix_mask_len, v6_prefix_mask_len }
        }),
        Just(RateLimitAction::GenericKey {
            descriptor_key: "generic_key".into(),
            descriptor_value: "v".into(),
        }),
        any::<bool>().prop_map(move |expect_match| RateLimitAction::HeaderValueMatch {
            descriptor_key: "header_match".into(),
            descriptor_value: "v".into(),
            expect_match,
            headers: headers.clone(),
        }),
    ]
}

fn rules() -> impl Strategy<Value = Vec<RateLimitRule>> {
    let actions = proptest::collection::vec(action(), 1..4);
    let rule = (actions, 0_u32..=10, proptest::option::of(any::<u64>()));
    let rule = rule.prop_map(|(actions, stage, hits)| {
        let mut rule = RateLimitRule::new(actions);
        (rule.stage, rule.hits_addend) = (stage, hits);
        rule
    });
    proptest::collection::vec(rule, 0..3)
}

fn rate_limit() -> impl Strategy<Value = HttpFilterConfig> {
    (grpc(), 0_u32..=10, edits(false), rules(), any::<[bool; 5]>()).prop_map(
        |(service, stage, added, rules, flags)| {
            let mut limit = RateLimit::new("shop", service);
            limit.stage = stage;
            limit.response_headers_to_add = added;
            limit.rules = rules;
            limit.failure_mode_deny = flags[0];
            limit.rate_limited_as_resource_exhausted = flags[1];
            limit.x_ratelimit_headers = flags[2];
            limit.disable_x_envoy_ratelimited_header = flags[3];
            if flags[4] {
                limit.rate_limited_status = StatusCode::SERVICE_UNAVAILABLE;
                limit.status_on_error = StatusCode::FORBIDDEN;
            }
            HttpFilterConfig::RateLimit(Arc::new(limit))
        },
    )
}

fn said() -> impl Strategy<Value = HttpFilterOverride> {
    let authz =
        (proptest::option::of(authorizer()), proptest::option::of(body()), texts(), any::<bool>())
            .prop_map(|(service, body, keys, unbuffered)| {
                let mut said = ExtAuthzPerRoute::default();
                said.context_extensions =
                    keys.into_iter().map(|key| (Arc::clone(&key), key)).collect();
                said.disable_request_body_buffering = unbuffered;
                (said.service, said.with_request_body) = (service, body);
                HttpFilterOverride::ExtAuthz(Arc::new(said))
            });
    let limit = (rules(), any::<bool>()).prop_map(|(rules, named)| {
        let mut said = RateLimitPerRoute::default();
        (said.rules, said.domain) = (rules, named.then(|| "other".into()));
        HttpFilterOverride::RateLimit(Arc::new(said))
    });
    prop_oneof![Just(HttpFilterOverride::JwtRequirement("named".into())), authz, limit]
}

proptest! {
    #[test]
    fn who_asks_is_the_same_there_and_back(
        filter in prop_oneof![ext_authz(), jwt_authn(), rate_limit()],
    ) {
        let any = filter_config(&filter).expect("Envoy has it");
        let decoded = config(&any.type_url, &any.value).expect("its type is known");
        prop_assert_eq!(decoded.config, Ok(filter));
        prop_assert!(decoded.ignored.is_empty(), "{:?}", decoded.ignored);
    }

    #[test]
    fn what_routes_say_is_the_same_there_and_back(said in said()) {
        let any = filter_override(&said).expect("Envoy has it");
        let decoded = per_route(&any.type_url, &any.value).expect("its type is known");
        prop_assert_eq!(decoded.config, Ok(said));
        prop_assert!(decoded.ignored.is_empty(), "{:?}", decoded.ignored);
    }
}

/// What would be read as something else is not sent.
#[test]
fn what_envoy_can_not_say_is_not_said() {
    #[track_caller]
    fn jwt(change: impl FnOnce(&mut JwtAuthn)) {
        let mut filter = JwtAuthn::default();
        let inline = JwksSource::Inline(KEYS.into());
        filter.providers.insert("p".into(), JwtProvider::new(inline));
        assert!(filter_config(&HttpFilterConfig::JwtAuthn(Arc::new(filter.clone()))).is_some());
        change(&mut filter);
        assert_eq!(filter_config(&HttpFilterConfig::JwtAuthn(Arc::new(filter))), None);
    }
    fn provider(filter: &mut JwtAuthn) -> &mut JwtProvider {
        filter.providers.get_mut("p").unwrap()
    }
    jwt(|filter| filter.shadow = true);
    jwt(|filter| provider(filter).clock_skew = Duration::ZERO);
    jwt(|filter| provider(filter).clock_skew = Duration::from_millis(1500));
    jwt(|filter| provider(filter).max_token_bytes = 100);
    jwt(|filter| {
        let named = JwtRequirement::Named("other".into());
        filter.requirements.insert("one".into(), named);
    });
    jwt(|filter| {
        let uri = HttpUri::new("https://asked/keys", "asked", Duration::from_secs(1));
        let mut remote = RemoteJwks::new(uri);
        remote.failed_refetch = Duration::from_secs(9);
        provider(filter).jwks = JwksSource::Remote(remote);
    });
    let grpc = GrpcService::new("asked", Duration::from_secs(1));
    let mut authz = ExtAuthz::new(AuthzService::Grpc(grpc.clone()));
    authz.context_extensions.insert("a".into(), "b".into());
    assert_eq!(filter_config(&HttpFilterConfig::ExtAuthz(Arc::new(authz))), None);
    let mut limit = RateLimit::new("shop", grpc);
    let peer = RateLimitAction::PeerIdentity { descriptor_key: "peer".into() };
    limit.rules = vec![RateLimitRule::new(vec![peer])];
    assert_eq!(filter_config(&HttpFilterConfig::RateLimit(Arc::new(limit))), None);
}

/// Replicas agree on versions, which are hashes of bytes.
#[test]
fn the_same_content_is_the_same_bytes() {
    let names: Vec<Arc<str>> = (0..16).map(|n| Arc::from(format!("n{n}"))).collect();
    let inline = JwksSource::Inline(KEYS.into());
    let mut tokens = JwtAuthn::default();
    let mut said = ExtAuthzPerRoute::default();
    for name in &names {
        tokens.providers.insert(Arc::clone(name), JwtProvider::new(inline.clone()));
        tokens.requirements.insert(Arc::clone(name), JwtRequirement::AllowMissing);
        said.context_extensions.insert(Arc::clone(name), "x".into());
    }
    let tokens = HttpFilter::new("jwt", HttpFilterConfig::JwtAuthn(Arc::new(tokens)));
    let mut host = VirtualHost::of("*").unwrap();
    host.filters.insert("authz".into(), HttpFilterOverride::ExtAuthz(Arc::new(said)));
    let mut routes = RouteConfiguration::default();
    routes.virtual_hosts = vec![Arc::new(host)];
    let manager = HttpConnectionManager::new(Arc::new(routes), vec![tokens]);
    let mut listener = Listener::new("in");
    let chain = FilterChain::new("c", Some(Arc::new(manager)));
    listener.default_filter_chain = Some(Arc::new(chain));
    let bytes = || deterministic::listener(&server_listener(&listener));
    let first = bytes();
    assert!((0..10).all(|_| bytes() == first));
}
