//! What needs no signature; those are checked where the keys are, in `mesh-tower`.

use super::*;
use crate::filter::tests::{caller, context};
use crate::filter::{Answer, Chain, Overrides, Pass, QuestionKind, Step, Told};
use crate::model::http_filter::{
    ClaimToHeader, JwtAuthn, JwtHeader, JwtProvider, JwtRequirement, JwtRule,
};
use crate::model::matcher::StringPattern;
use crate::model::{
    HttpFilter, HttpFilterConfig, HttpFilterOverride, HttpFilterOverrides, PathMatcher, RouteMatch,
    StringMatcher,
};
use crate::time::WallTime;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use std::time::Duration;

const NOW: u64 = 1_000_000;
/// An Ed25519 key: any point will do where no signature is checked.
const KEYS: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"k",
    "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

fn token(header: &str, claims: &str) -> String {
    format!("{}.{}.{}", BASE64.encode(header), BASE64.encode(claims), BASE64.encode("signed"))
}

/// A token with these claims.
fn claims(claims: &str) -> String {
    token(r#"{"alg":"EdDSA","kid":"k"}"#, claims)
}

fn provider(issuer: &str) -> JwtProvider {
    let mut provider = JwtProvider::new(JwksSource::Inline(KEYS.into()));
    provider.issuer = Some(issuer.into());
    provider
}

/// Two providers; what a path requires is its name.
fn filter() -> JwtAuthn {
    let mut filter = JwtAuthn::default();
    let mut one = provider("one");
    one.audiences = vec!["https://reviews/".into()];
    one.subjects = Some(StringMatcher::new(StringPattern::Prefix("u".into())));
    one.claim_to_headers = vec![
        ClaimToHeader { header_name: "x-sub".parse().unwrap(), claim_name: "sub".into() },
        ClaimToHeader { header_name: "x-group".parse().unwrap(), claim_name: "a.group".into() },
    ];
    one.payload_in_metadata = Some("claims".into());
    one.space_delimited_claims = vec!["scope".into()];
    let mut two = provider("two");
    let places = [("x-two", "t="), ("x-word", "token"), ("x-whole", "")];
    two.from_headers = places
        .map(|(name, prefix)| JwtHeader {
            name: name.parse().unwrap(),
            value_prefix: prefix.into(),
        })
        .into();
    two.from_params = vec!["two".into()];
    two.from_cookies = vec!["two".into()];
    two.require_expiration = true;
    two.max_lifetime = Some(Duration::from_secs(600));
    two.forward_payload_header = Some("x-payload".parse().unwrap());
    filter.providers = [(Arc::from("one"), one), (Arc::from("two"), two)].into();
    let (one, two) = (JwtRequirement::provider("one"), JwtRequirement::provider("two"));
    let other = JwtRequirement::Provider { name: "one".into(), audiences: vec!["other".into()] };
    for (path, requires) in [
        ("/open", None),
        ("/one", Some(one.clone())),
        ("/two", Some(two.clone())),
        ("/other", Some(other)),
        ("/any", Some(JwtRequirement::Any(vec![one.clone(), two.clone()]))),
        ("/all", Some(JwtRequirement::All(vec![one.clone(), two]))),
        ("/missing", Some(JwtRequirement::Any(vec![JwtRequirement::AllowMissing, one]))),
        ("/failed", Some(JwtRequirement::AllowMissingOrFailed)),
        ("/lenient", Some(JwtRequirement::AllowMissing)),
        ("/named", Some(JwtRequirement::Named("named".into()))),
    ] {
        let matcher = RouteMatch::new(PathMatcher::PathSeparatedPrefix(path.into()));
        filter.rules.push(JwtRule { matcher, requires });
    }
    filter.requirements = [(Arc::from("named"), JwtRequirement::provider("two"))].into();
    filter
}

/// What becomes of a request whose signatures are all good, or all bad, and what the service sees.
fn pass(filter: JwtAuthn, said: &HttpFilterOverrides, request: &[&str], good: bool) -> String {
    passed(filter, said, request, good).0
}

/// The same, and the request as it goes on.
fn passed(
    filter: JwtAuthn,
    said: &HttpFilterOverrides,
    request: &[&str],
    good: bool,
) -> (String, http::request::Parts) {
    let verdict = if good { Ok(()) } else { Err(JwtError::Signature) };
    passed_by(filter, said, request, |_| Some(verdict.clone()))
}

/// The same, with what is said of each token whenever it is asked about.
fn passed_by(
    filter: JwtAuthn,
    said: &HttpFilterOverrides,
    request: &[&str],
    mut answer: impl FnMut(&TokenCheck) -> Option<Result<(), JwtError>>,
) -> (String, http::request::Parts) {
    let config = HttpFilterConfig::JwtAuthn(Arc::new(filter));
    let chain = Chain::compile(&[HttpFilter::new("jwt", config)], None).unwrap();
    let overrides = chain.overrides(&[said]).unwrap();
    let mut builder = http::Request::get(request[0]);
    for header in &request[1..] {
        let (name, value) = header.split_once(": ").unwrap();
        builder = builder.header(name, value);
    }
    let (mut parts, ()) = builder.body(()).unwrap().into_parts();
    let connection = caller("10.0.0.1:1");
    let mut cx = context(&mut parts, &connection);
    cx.wall = WallTime::from_unix_seconds(NOW);
    let mut pass = Pass::new(1);
    let mut asked = 0;
    let observer = &mut |_: &Arc<str>, _: Told<'_>| {};
    let mut step = pass.start(&chain, &overrides, &mut cx, observer);
    while let Step::Ask(question) = step {
        let QuestionKind::Tokens(checks) = &question.kind else { panic!("{question:?}") };
        asked += checks.len();
        let answer = Answer::Tokens(checks.iter().map(&mut answer).collect());
        step = pass.handle_answer(answer, &chain, &overrides, &mut cx, observer);
    }
    let end = match step {
        Step::Continue => seen(&pass, &parts, &overrides),
        Step::Reply(reply) => {
            format!("{} {}", reply.status.as_u16(), String::from_utf8_lossy(&reply.body))
        }
        other => format!("{other:?}"),
    };
    (format!("{asked} checked, {end}"), parts)
}

fn seen(pass: &Pass, parts: &http::request::Parts, _: &Overrides) -> String {
    let mut seen = vec!["on".to_owned()];
    for (name, value) in &parts.headers {
        seen.push(format!("{name}={}", value.to_str().unwrap().len()));
    }
    if let Some(claims) =
        pass.metadata().and_then(|known| known.get(JWT_NAMESPACE, &["claims".into()]))
    {
        seen.push(format!("{claims:?}"));
    }
    seen.join(" ")
}

#[track_caller]
fn check(request: &[&str], expected: &str) {
    assert_eq!(pass(filter(), &HttpFilterOverrides::new(), request, true), expected, "{request:?}");
}

fn bearer(claims_: &str) -> String {
    format!("authorization: Bearer {}", claims(claims_))
}

const ONE: &str = r#"{"iss":"one","aud":"reviews","sub":"u1"}"#;

#[test]
fn requirements_say_which_tokens_are_needed() {
    let one = bearer(ONE);
    let two = format!("x-two: a=b t={}, c", claims(r#"{"iss":"two","exp":1000100}"#));
    let stranger = bearer(r#"{"iss":"three","aud":"reviews","sub":"u1"}"#);
    let (one, two, stranger) = (one.as_str(), two.as_str(), stranger.as_str());
    const MISSING: &str = "0 checked, 401 Jwt is missing";
    check(&["/unknown"], "0 checked, on");
    check(&["/open", "x-sub: forged", "x-payload: forged"], "0 checked, on");
    // The same to an application that knows headers as variables; others are nobody's.
    check(&["/open", "x_sub: forged", "x_payload: forged", "x_subs: 1"], "0 checked, on x_subs=1");
    check(&["/one"], MISSING);
    check(&["/one", "authorization: Basic abc"], MISSING);
    check(
        &["/one", one],
        "1 checked, on x-sub=2 Struct({\"aud\": Text(\"reviews\"), \"iss\": Text(\"one\"), \"sub\": Text(\"u1\")})",
    );
    check(&["/one", stranger], "0 checked, 401 Jwt issuer is not configured");
    check(&["/two", one], MISSING);
    check(&["/two", two], "1 checked, on x-payload=36");
    check(&["/any", two], "1 checked, on x-payload=36");
    check(&["/any"], MISSING);
    check(&["/any", stranger], "0 checked, 401 Jwt issuer is not configured");
    check(&["/all", two], "0 checked, 401 Jwt is missing");
    check(&["/missing", "x: y"], "0 checked, on x=1");
    check(&["/missing", stranger], "0 checked, 401 Jwt issuer is not configured");
    check(&["/failed", stranger], &format!("0 checked, on authorization={}", stranger.len() - 15));
    check(&["/named", two], "1 checked, on x-payload=36");
    check(&["/other", one], "0 checked, 403 Audiences in Jwt are not allowed");
}

#[test]
fn claims_are_checked_before_any_signature() {
    for (claims, expected) in [
        (r#"{"iss":"one","aud":["x","http://reviews"],"sub":"u1"}"#, ""),
        (r#"{"iss":"one","aud":"reviews","sub":"v"}"#, "401 Jwt subject is not allowed"),
        (r#"{"iss":"one","aud":"review","sub":"u"}"#, "403 Audiences in Jwt are not allowed"),
        (r#"{"iss":"one","sub":"u"}"#, "403 Audiences in Jwt are not allowed"),
        (r#"{"iss":"one","aud":"reviews","sub":"u","exp":999940}"#, ""),
        (r#"{"iss":"one","aud":"reviews","sub":"u","exp":999939}"#, "401 Jwt is expired"),
        (r#"{"iss":"one","aud":"reviews","sub":"u","nbf":1000060}"#, ""),
        (r#"{"iss":"one","aud":"reviews","sub":"u","nbf":1000061}"#, "401 Jwt not yet valid"),
        (
            r#"{"iss":"one","aud":"reviews","sub":"u","exp":"never"}"#,
            "401 Jwt is not in the form of Header.Payload.Signature: `exp`, `nbf` or `iat` is no time",
        ),
    ] {
        let request = bearer(claims);
        let found = pass(filter(), &HttpFilterOverrides::new(), &["/one", &request], true);
        if expected.is_empty() {
            assert!(found.starts_with("1 checked, on x-sub="), "{claims}: {found}");
        } else {
            assert_eq!(found, format!("0 checked, {expected}"), "{claims}");
        }
    }
    for (claims, expected) in [
        (r#"{"iss":"two"}"#, "0 checked, 401 Jwt has no expiration, and one is required"),
        (r#"{"iss":"two","exp":1000601}"#, "0 checked, 401 Jwt lifetime is longer than is allowed"),
        (r#"{"iss":"two","iat":1000500,"exp":1000601}"#, "1 checked, on x-payload="),
    ] {
        let place = format!("/two?a=b&two={}", self::claims(claims));
        let found = pass(filter(), &HttpFilterOverrides::new(), &[&place], true);
        assert!(found.starts_with(expected), "{claims}: {found}");
    }
}

#[test]
fn a_token_that_is_none_is_refused() {
    let claims = r#"{"iss":"one","aud":"reviews","sub":"u1"}"#;
    let long = "x".repeat(4097);
    let bad_format = "Jwt is not in the form of Header.Payload.Signature: ";
    for (token, expected) in [
        (token(r#"{"alg":"none"}"#, claims), "Jwt header [alg] is not supported".to_owned()),
        (token(r#"{"alg":"HS256"}"#, claims), "Jwt header [alg] is not supported".to_owned()),
        (token(r#"{"alg":"eddsa"}"#, claims), "Jwt header [alg] is not supported".to_owned()),
        (token(r#"{"kid":"k"}"#, claims), format!("{bad_format}its header has no `alg`")),
        (token(r#"{"alg":"EdDSA","kid":1}"#, claims), format!("{bad_format}its `kid` is no text")),
        (
            token(r#"{"alg":"EdDSA","crit":["b64"]}"#, claims),
            format!("{bad_format}its header has `crit`, of which nothing is known here"),
        ),
        (
            token(r#"{"alg":"ES256"}"#, claims),
            format!("{bad_format}its signature has the wrong length"),
        ),
        (
            token(r#"{"alg":"EdDSA"}"#, "[]"),
            format!("{bad_format}its claims are no JSON object in base64url"),
        ),
        ("a.b".to_owned(), format!("{bad_format}it has not three parts")),
        ("a.b.c.d".to_owned(), format!("{bad_format}it has not three parts")),
        (String::new(), format!("{bad_format}it has not three parts")),
        (long, "Jwt is longer than 4096 bytes".to_owned()),
    ] {
        let request = format!("authorization: Bearer {token}");
        check(&["/one", &request], &format!("0 checked, 401 {expected}"));
    }
}

/// Envoy: `isIssuerSpecified`.
#[test]
fn a_place_is_for_the_tokens_of_its_providers() {
    let two = claims(r#"{"iss":"two","exp":1000100}"#);
    let own = format!("x-two: t={two}");
    check(&["/lenient", &own], "1 checked, on x-payload=36");
    let others = format!("authorization: Bearer {two}");
    check(&["/lenient", &others], "0 checked, 401 Jwt issuer is not configured");
    let length = others.len() - 15;
    check(&["/failed", &others], &format!("0 checked, on authorization={length}"));
}

/// Each costs a signature, before anybody is known.
#[test]
fn so_many_tokens_are_looked_at() {
    let of = |many: u64| {
        let token = |at| claims(&format!(r#"{{"iss":"two","exp":1000100,"at":{at}}}"#));
        let tokens = (0..many).map(|at| format!("two={}", token(at)));
        format!("/two?{}", tokens.collect::<Vec<_>>().join("&"))
    };
    let found = pass(filter(), &HttpFilterOverrides::new(), &[&of(8)], true);
    assert!(found.starts_with("8 checked, on x-payload=46"), "{found}");
    let too_many = "0 checked, 401 Jwt is not in the form of Header.Payload.Signature: there are too many tokens beside it";
    check(&[&of(9)], too_many);
    check(&[&of(100)], too_many);
}

#[test]
fn every_token_at_a_place_must_be_good() {
    let (good, bad) = (bearer(ONE), bearer(r#"{"iss":"evil"}"#));
    check(&["/one", &good, &bad], "0 checked, 401 Jwt issuer is not configured");
    let twice = format!("/one?access_token={}&access_token=x.y.z", claims(ONE));
    let found = pass(filter(), &HttpFilterOverrides::new(), &[&twice], true);
    assert!(found.starts_with("0 checked, 401 Jwt is not in the form"), "{found}");
    let appended = format!("{good},evil");
    let found = pass(filter(), &HttpFilterOverrides::new(), &["/one", &appended], true);
    assert!(found.starts_with("0 checked, 401 Jwt is not in the form"), "{found}");
    // Without a prefix the whole value is the token; with one, what can't be in a token is no part of it (Envoy).
    let two = claims(r#"{"iss":"two","exp":1000100}"#);
    for (header, is_good) in [
        (format!("x-whole:  {two} "), true),
        (format!("x-whole: {two},{two}"), false),
        (format!("x-whole: {two} evil"), false),
        (format!("x-two: t={two},x"), true),
        (format!("x-two: t=\"{two}\""), true),
        (format!("x-word: token={two}"), true),
    ] {
        let found = pass(filter(), &HttpFilterOverrides::new(), &["/two", &header], true);
        assert_eq!(found.starts_with("1 checked, on "), is_good, "{header}: {found}");
    }
    let cookie = format!("cookie: a=b; two=\"{}\"", claims(r#"{"iss":"two","exp":1000100}"#));
    let found = pass(filter(), &HttpFilterOverrides::new(), &["/two", &cookie], true);
    assert!(found.starts_with("1 checked, on cookie="), "{found}");
}

#[test]
fn a_token_in_the_query_goes_as_one_in_a_header_does() {
    let query = |forward: bool| {
        let mut filter = filter();
        let mut provider = filter.providers["one"].clone();
        provider.forward = forward;
        provider.from_params = vec!["access_token".into()];
        provider.from_headers.clear();
        filter.providers.insert("one".into(), provider);
        let token = claims(ONE);
        let escaped = token.replace('.', "%2E");
        let path = format!("/one?a=1&access_token={token}&b=%20&%61ccess_token={escaped}");
        let (found, parts) = passed(filter, &HttpFilterOverrides::new(), &[&path], true);
        // The same twice is one.
        assert!(found.starts_with("1 checked, on"), "{found}");
        (parts.uri.to_string(), path)
    };
    // An escape is another spelling of the same name, and hides no token.
    assert_eq!(query(false).0, "/one?a=1&b=%20");
    let (left, path) = query(true);
    assert_eq!(left, path);
}

#[test]
fn a_bad_signature_refuses_but_where_anything_goes() {
    let one = bearer(ONE);
    let said = HttpFilterOverrides::new();
    let refused = "1 checked, 401 Jwt verification fails";
    assert_eq!(pass(filter(), &said, &["/one", &one], false), refused);
    assert_eq!(pass(filter(), &said, &["/missing", &one], false), refused.replacen('1', "2", 1));
    let found = pass(filter(), &said, &["/failed", &one], false);
    assert!(found.starts_with("1 checked, on authorization="), "{found}");
    let shadow = || JwtAuthn { shadow: true, ..filter() };
    let found = pass(shadow(), &said, &["/one", &one], false);
    assert!(found.starts_with("1 checked, on authorization="), "{found}");
    // Nothing of a request is changed, be its token good or not needed; filters know what was said.
    let (found, parts) = passed(shadow(), &said, &["/one", &one, "x-sub: own"], true);
    assert!(found.contains(" x-sub=3 Struct({") && parts.headers.len() == 2, "{found}");
    let found = pass(shadow(), &said, &["/open", "x-sub: own"], true);
    assert_eq!(found, "0 checked, on x-sub=3");
    // One of two is good, and both are wanted: it is nothing.
    let (found, parts) = passed(shadow(), &said, &["/all", &one], true);
    assert!(!found.contains("Struct") && parts.headers.len() == 1, "{found}");
}

/// What is known of a request's tokens is enough, or the rest is asked about again.
#[test]
fn keys_that_are_not_needed_are_not_waited_for() {
    let (one, two) =
        (bearer(ONE), format!("x-two: t={}", claims(r#"{"iss":"two","exp":1000100}"#)));
    // Of these providers the keys come only when they were asked for so often.
    let check_after = |times: u32, path: &str, late: &[&str], good: bool, expected: &str| {
        let mut rounds = std::collections::BTreeMap::new();
        let answer = |check: &TokenCheck| {
            let round = rounds.entry(Arc::clone(&check.provider)).or_insert(0);
            *round += 1;
            let is_late = late.contains(&&*check.provider) && *round <= times;
            (!is_late).then_some(if good { Ok(()) } else { Err(JwtError::Signature) })
        };
        let request = [path, &one, &two];
        let (found, _) = passed_by(filter(), &HttpFilterOverrides::new(), &request, answer);
        assert!(found.starts_with(expected), "{path} {late:?} {good}: {found}");
    };
    let check = |path: &str, late: &[&str], good: bool, expected: &str| {
        check_after(1, path, late, good, expected);
    };
    // One of two is enough, whichever is known, and is the one that is told of.
    check("/any", &["one"], true, "2 checked, on authorization=");
    check("/any", &["two"], true, "2 checked, on x-two=");
    check("/any", &[], true, "2 checked, on x-two=");
    // A bad one is not, and the other is asked about again.
    check("/any", &["one"], false, "3 checked, 401 Jwt verification fails");
    check("/all", &["one"], true, "3 checked, on x-sub=");
    check("/all", &["one"], false, "2 checked, 401 Jwt verification fails");
    // Nobody passes without what he has shown being known.
    check_after(u32::MAX, "/missing", &["one"], true, "2 checked, 401 Jwks remote fetch is failed");
}

#[test]
fn a_route_names_its_requirement() {
    let named = HttpFilterOverride::JwtRequirement("named".into());
    let said = HttpFilterOverrides::from([(Arc::from("jwt"), named)]);
    assert_eq!(pass(filter(), &said, &["/open"], true), "0 checked, 401 Jwt is missing");
}

#[test]
fn what_can_not_be_meant_is_refused() {
    fn wrong(change: impl FnOnce(&mut JwtAuthn)) -> String {
        let mut filter = filter();
        change(&mut filter);
        CompiledJwt::new(&Arc::new(filter)).unwrap_err().to_string()
    }
    let rule = |requires| JwtRule { matcher: RouteMatch::any(), requires: Some(requires) };
    let requires =
        |requires: JwtRequirement| wrong(move |filter| filter.rules.push(rule(requires)));
    assert_eq!(
        requires(JwtRequirement::provider("x")),
        "a requirement names the provider `x`, which is not configured"
    );
    assert_eq!(
        requires(JwtRequirement::Named("x".into())),
        "there is no requirement called `x` in `requirement_map`"
    );
    assert_eq!(
        requires(JwtRequirement::Any(Vec::new())),
        "`requires_any` and `requires_all` need something in them"
    );
    let mut deep = JwtRequirement::provider("one");
    for _ in 0..10 {
        deep = JwtRequirement::All(vec![deep]);
    }
    assert_eq!(
        requires(deep),
        "a requirement has more than 64 parts, or is nested more than 8 deep"
    );
    let keys = |json: &str| {
        let json = json.to_owned();
        wrong(move |filter| {
            filter.providers.get_mut("one").unwrap().jwks = JwksSource::Inline(json.into())
        })
    };
    assert_eq!(
        keys("{}"),
        "provider `one`: it is no key set: a JSON object with a list `keys` is expected (RFC 7517)"
    );
    assert_eq!(
        keys(r#"{"keys":[{"kty":"oct","k":"abc"}]}"#),
        "provider `one`: the key set has no key that can be used: shared secrets (`oct`, HMAC) are not \
         supported: use public keys"
    );
    assert_eq!(
        keys(r#"{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"}]}"#),
        "provider `one`: the key set has no key that can be used: an RSA key has not 2048 to 8192 bits"
    );
}

#[test]
fn keys_are_for_their_own_algorithms_and_ids() {
    let keys = KeySet::parse(
        br#"{"keys":[
        {"kty":"OKP","crv":"Ed25519","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
        {"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
        {"kty":"OKP","crv":"Ed25519","use":"enc","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
        {"kty":"oct","k":"c2VjcmV0"}]}"#,
    )
    .unwrap();
    assert_eq!(keys.len(), 2);
    let fits = |header: &str| {
        let token = Token::parse(&token(header, "{}")).unwrap();
        keys.for_token(&token).count()
    };
    assert_eq!(fits(r#"{"alg":"EdDSA","kid":"a"}"#), 2);
    assert_eq!(fits(r#"{"alg":"EdDSA","kid":"b"}"#), 1);
    assert_eq!(fits(r#"{"alg":"EdDSA"}"#), 2);
    assert_eq!(fits(r#"{"alg":"RS256"}"#), 0);
}
