//! `inbound.*.jwt` and `inbound.*.ext_authz`: what they mean, and what is wrong with them.

use super::port::{pass, port, told};
use super::*;
use crate::filter::{QuestionKind, Step};
use crate::inbound::CompiledListener;
use crate::model::HttpFilterConfig;
use crate::model::http_filter::{
    AuthzService, ExtAuthz, GrpcService, HttpAuthz, HttpUri, JwksSource, JwtAuthn, JwtHeader,
    JwtRequirement,
};
use std::time::Duration;

const INBOUND: &str = include_str!("inbound.yaml");

/// The filters of a port, by name.
fn filters(text: &str, port: &str) -> Vec<(String, HttpFilterConfig)> {
    let loaded = read(text);
    let update = loaded.update.unwrap_or_else(|| panic!("{:#?}", loaded.diagnostics));
    let http = update.listeners[port].filter_chains[0].http.clone().unwrap();
    let filters = http.http_filters.iter();
    filters.map(|filter| (filter.name.to_string(), filter.config.clone())).collect()
}

fn jwt(text: &str, port: &str) -> JwtAuthn {
    let found = filters(text, port).into_iter().find_map(|(_, config)| match config {
        HttpFilterConfig::JwtAuthn(jwt) => Some(JwtAuthn::clone(&jwt)),
        _ => None,
    });
    found.unwrap()
}

fn authz(text: &str, port: &str) -> ExtAuthz {
    let found = filters(text, port).into_iter().find_map(|(_, config)| match config {
        HttpFilterConfig::ExtAuthz(authz) => Some(ExtAuthz::clone(&authz)),
        _ => None,
    });
    found.unwrap()
}

#[test]
fn what_is_cheap_is_asked_first_and_who_is_refused_takes_no_token_of_the_rate() {
    let keys = "deny: [{ match: { path: /no } }], allow: [], rate_limit: { requests: 1, per: 1s }, \
                ext_authz: { grpc: one }, jwt: { issuer: i, jwks: keys.json }";
    let text = format!("{}clusters: {{ one: {{ dns: \"a:80\" }} }}\n", port(keys));
    let names: Vec<_> = filters(&text, "web").into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["deny", "allow", "jwt", "ext_authz", "rate_limit"]);
}

#[test]
fn a_token_by_the_keys_of_a_file() {
    let found =
        jwt(&port("allow: [], jwt: { issuer: i, audiences: shop, jwks: keys.json }"), "web");
    let provider = &found.providers["jwt"];
    assert_eq!(provider.jwks, JwksSource::Inline(KEYS.into()));
    assert_eq!(provider.issuer.as_deref(), Some("i"));
    assert_eq!(provider.audiences, [Arc::<str>::from("shop")]);
    assert!(!provider.forward && provider.from_headers.is_empty() && provider.cache_size == 100);
    let rules: Vec<_> = found.rules.iter().map(|rule| rule.requires.clone()).collect();
    assert_eq!(rules, [Some(JwtRequirement::provider("jwt"))]);
    assert!(!found.shadow && !found.bypass_cors_preflight);
}

#[test]
fn a_token_by_the_keys_of_a_url() {
    let found = jwt(INBOUND, "asking");
    let provider = &found.providers["jwt"];
    let JwksSource::Remote(remote) = &provider.jwks else { panic!("{:?}", provider.jwks) };
    let uri = HttpUri::new("https://issuer.example/keys", "issuer", Duration::from_secs(2));
    assert_eq!(remote.http_uri, uri);
    assert!(provider.forward);
    let header = |name: &'static str, prefix: &str| JwtHeader {
        name: http::HeaderName::from_static(name),
        value_prefix: prefix.into(),
    };
    assert_eq!(provider.from_headers, [header("x-token", ""), header("authorization", "Token ")]);
    let free = found.rules.iter().map(|rule| rule.requires.is_none()).collect::<Vec<_>>();
    assert_eq!(free, [true, true, false]);
}

#[test]
fn an_authorizer_over_grpc_or_http() {
    let found = authz(INBOUND, "asking");
    let service = GrpcService::new("authorizer", Duration::from_millis(500));
    assert_eq!(found.service, AuthzService::Grpc(service));
    assert!(found.failure_mode_allow);
    let found = authz(INBOUND, "asking_over_http");
    let uri = HttpUri::new("http://authorizer", "authorizer", Duration::from_millis(200));
    assert_eq!(found.service, AuthzService::Http(HttpAuthz::new(uri)));
    assert!(!found.failure_mode_allow, "closed is the default");
}

/// What becomes of a request of a friend, `asked` where the authorizer is asked about it.
#[track_caller]
fn check(request: &str, expected: &str) {
    let text = INBOUND.replace("jwks: \"https://issuer.example/keys\"", "jwks: keys.json");
    let text = text.replace("      cluster: issuer\n      timeout: 2s\n", "");
    let update = read(&text).update.unwrap();
    let listener = CompiledListener::compile(&update.listeners["asking"], None).unwrap();
    let found = match pass(&listener, "mtls", "spiffe://a/b", request) {
        Step::Continue => "taken".to_owned(),
        Step::Reply(reply) => format!("{} {}", reply.status.as_u16(), reply.details),
        Step::Ask(question) => match &question.kind {
            QuestionKind::Check(_) => "asked".to_owned(),
            other => format!("{other:?}"),
        },
        other @ Step::Delay(_) => format!("{other:?}"),
    };
    assert!(found.starts_with(expected), "{request}: {found}");
}

#[test]
fn who_has_no_token_is_refused_but_where_none_is_needed() {
    check("GET /", "401 jwt_authn_access_denied");
    check("GET / x-token:garbage", "401 jwt_authn_access_denied");
    check("GET /healthz", "asked");
    check("POST /healthz", "401 ");
    check("GET /healthz/x", "401 ");
    check("GET /public/x", "asked");
}

#[test]
fn each_mistake_has_a_way_out() {
    let one = "clusters: { one: { dns: \"a:80\" } }\n";
    let jwt = |keys: &str, code: &str, part: &str| {
        let text = port(&format!("allow: [], jwt: {{ {keys} }}"));
        told(&format!("{text}{one}"), code, part);
    };
    jwt("jwks: keys.json", "missing_key", "`issuer`");
    jwt("issuer: i", "missing_key", "`jwks`");
    jwt("issuer: \"\", jwks: keys.json", "out_of_range", "an issuer is not empty");
    jwt("issuer: i, jwks: \"\"", "out_of_range", "is not empty");
    jwt("issuer: i, jwks: gone.json", "unreadable_file", "relative to the file");
    jwt("issuer: i, jwks: key.pem", "invalid_jwks", "it is no key set");
    jwt("issuer: i, jwks: none.json", "invalid_jwks", "public keys");
    jwt("issuer: i, jwks: \"http://a/k\"", "missing_key 3:54", "write `cluster: NAME`");
    jwt(
        "issuer: i, jwks: \"ftp://a/k\", cluster: one",
        "invalid_url",
        "https://issuer.example/keys",
    );
    jwt("issuer: i, jwks: keys.json, cluster: c", "misplaced_key", "where `jwks` is a file");
    jwt("issuer: i, jwks: keys.json, timeout: 1s", "misplaced_key", "where `jwks` is a file");
    jwt("issuer: i, jwks: \"https://a/k\", cluster: c", "unknown_cluster", "no cluster `c`");
    jwt("issuer: i, jwks: keys.json, audience: a", "unknown_key", "mean `audiences`?");
    jwt("issuer: i, jwks: keys.json, from_header: \"a b\"", "invalid_header_name", "");
    jwt("issuer: i, jwks: keys.json, from_header: { prefix: a }", "missing_key", "`name`");
    jwt("issuer: i, jwks: keys.json, forward: yes", "wrong_type", "write `true`");
    jwt("issuer: i, jwks: keys.json, except: { path: a }", "invalid_path", "");
    let authz = |keys: &str, code: &str, part: &str| {
        let text = port(&format!("allow: [], ext_authz: {{ {keys} }}"));
        told(&format!("{text}{one}"), code, part);
    };
    authz("timeout: 1s", "missing_key", "one of `grpc` or `http`");
    authz("grpc: one, http: one", "conflicting_keys", "keep one of `grpc` or `http`");
    authz("grpc: onne", "unknown_cluster", "did you mean `one`?");
    authz("grpc: one, timeout: 0s", "out_of_range", "shorter than 1ms");
    authz("grpc: one, on_error: alow", "unknown_word", "did you mean `allow`?");
    authz("grpc: one, failure_mode_allow: true", "unknown_key", "known here: grpc, http");
}

/// A cluster that only a port asks somebody in is used.
#[test]
fn a_cluster_that_a_port_asks_is_used() {
    let unused: Vec<_> = read(INBOUND)
        .diagnostics
        .iter()
        .filter(|d| d.code == "unused_cluster")
        .map(|d| d.line)
        .collect();
    assert_eq!(unused, [8, 10, 11]);
}
