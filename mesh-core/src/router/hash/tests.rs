use super::*;
use crate::head::Peer;
use crate::model::RegexPattern;
use crate::random::SplitMix64;
use http::Method;

fn compile(sources: &[(HashSource, bool)]) -> CompiledHashPolicy {
    let policy = |(source, terminal): &(HashSource, bool)| {
        let mut policy = HashPolicy::new(source.clone());
        policy.terminal = *terminal;
        policy
    };
    let policies: Vec<_> = sources.iter().map(policy).collect();
    let mut errors = Vec::new();
    let mut scope = Scope { errors: &mut errors, virtual_host: None, route: None };
    CompiledHashPolicy::compile(&policies, "hash_policy", &mut scope).unwrap()
}

fn header(name: &'static str) -> HashSource {
    HashSource::Header { name: HeaderName::from_static(name), rewrite: None }
}

fn cookie(name: &str, ttl: Option<u64>) -> HashSource {
    let path = Some("/shop".into());
    HashSource::Cookie { name: name.into(), ttl: ttl.map(Duration::from_secs), path }
}

fn request_headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("x-user", "alice"),
        ("x-many", "a"),
        ("x-many", "b"),
        ("cookie", "theme=dark; session=\"s1\""),
        ("cookie", "session=s2; late=1"),
    ] {
        headers.append(name, HeaderValue::from_static(value));
    }
    headers
}

#[track_caller]
fn check(sources: &[(HashSource, bool)], expected: Option<u64>) {
    let headers = request_headers();
    let mut head = RequestHead::new(&Method::GET, "a", "/p?q=7&q=8", &headers);
    head.peer =
        Peer { address: Some("[2001:db8::1]:99".parse().unwrap()), identity: Some("spiffe://a/b") };
    head.channel_id = Some(42);
    assert_eq!(compile(sources).hash(&head), expected, "{sources:?}");
}

fn xx(text: &str) -> u64 {
    xxh64(text.as_bytes(), 0)
}

#[test]
fn every_source() {
    assert_eq!(xx(""), 0xef46_db37_51d8_e999, "the published value of XXH64 with seed 0");
    check(&[(header("x-user"), false)], Some(xx("alice")));
    check(&[(header("x-many"), false)], Some(xx("a,b")));
    check(&[(header("x-none"), false)], None);
    check(&[(cookie("session", None), false)], Some(xx("s1")));
    check(&[(cookie("late", None), false)], Some(xx("1")));
    check(&[(cookie("none", Some(1)), false)], None);
    check(&[(HashSource::SourceIp, false)], Some(xx("2001:db8::1")));
    check(&[(HashSource::PeerIdentity, false)], Some(xx("spiffe://a/b")));
    check(&[(HashSource::QueryParameter("q".into()), false)], Some(xx("7")));
    check(&[(HashSource::ChannelId, false)], Some(42));
    let rewrite = Some((RegexPattern::new("l(.)"), r"\1L".into()));
    let name = HeaderName::from_static("x-user");
    check(&[(HashSource::Header { name, rewrite }, false)], Some(xx("aiLce")));
    check(&[], None);
}

#[test]
fn hashes_are_combined_in_order_until_a_terminal_one() {
    // gRFC A42: the first as it is, then rotl(hash, 1) ^ next.
    let (user, channel) = (header("x-user"), HashSource::ChannelId);
    let both = xx("alice").rotate_left(1) ^ 42;
    check(&[(user.clone(), false), (channel.clone(), false)], Some(both));
    check(&[(channel.clone(), false), (user.clone(), false)], Some(84 ^ xx("alice")));
    check(&[(user.clone(), true), (channel.clone(), false)], Some(xx("alice")));
    // Terminal, but without a hash yet: goes on.
    check(&[(header("x-none"), true), (channel.clone(), false)], Some(42));
    // Terminal and missing itself, with a hash from before: stops.
    check(&[(channel, false), (header("x-none"), true), (user, false)], Some(42));
}

#[test]
fn a_missing_cookie_with_a_lifetime_is_made() {
    let headers = HeaderMap::new();
    let head = RequestHead::new(&Method::GET, "a", "/", &headers);
    let mut random = SplitMix64::new(0);
    let policy = compile(&[(cookie("session", Some(60)), true), (header("x"), false)]);
    let mut cookies = Vec::new();
    let made = policy.hash_or_set_cookie(&head, &mut cookies, &mut random);
    let line = cookies[0].to_str().unwrap();
    assert_eq!(line, "session=e220a8397b1dcdaf; Max-Age=60; Path=/shop; HttpOnly");
    assert_eq!(made, Some(xx("e220a8397b1dcdaf")));
    // Whoever hashes by it next for the same request gets the same, and makes no other.
    assert_eq!(policy.hash_or_set_cookie(&head, &mut cookies, &mut random), made);
    let other = compile(&[(cookie("sess", Some(60)), true)]);
    assert_ne!(other.hash_or_set_cookie(&head, &mut cookies, &mut random), made);
    assert_eq!(cookies.len(), 2);

    // The cookie comes back: the same hash, and no new one.
    let mut headers = HeaderMap::new();
    headers.insert("cookie", HeaderValue::from_static("session=e220a8397b1dcdaf"));
    let head = RequestHead::new(&Method::GET, "a", "/", &headers);
    let mut cookies = Vec::new();
    assert_eq!(policy.hash_or_set_cookie(&head, &mut cookies, &mut random), made);
    assert!(cookies.is_empty());

    let session = compile(&[(cookie("session", Some(0)), false)]);
    let head = RequestHead { headers: &HeaderMap::new(), ..head };
    assert!(session.hash_or_set_cookie(&head, &mut cookies, &mut random).is_some());
    assert!(!cookies[0].to_str().unwrap().contains("Max-Age"), "{cookies:?}");
    let none = compile(&[(cookie("other", None), false)]);
    assert_eq!(none.hash_or_set_cookie(&head, &mut cookies, &mut random), None);
    assert_eq!(cookies.len(), 1);
}

#[test]
fn a_cookie_of_less_than_a_second_lives_for_one() {
    for (millis, seconds) in [(1, 1), (999, 1), (1_000, 1), (1_001, 2)] {
        let line = set_cookie("c", "v", Duration::from_millis(millis), None).unwrap();
        assert_eq!(line, format!("c=v; Max-Age={seconds}; HttpOnly"), "{millis} ms");
    }
}

#[test]
fn grpc_hashes_no_binary_header() {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static("application/grpc"));
    headers.insert("x-bin", HeaderValue::from_static("v"));
    let head = RequestHead::new(&Method::POST, "a", "/", &headers);
    assert_eq!(compile(&[(header("x-bin"), false)]).hash(&head), None);
}
