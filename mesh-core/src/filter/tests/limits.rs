use super::edits::edits;
use super::*;
use crate::identity::PeerCertificate;
use crate::model::{
    AdmissionControl, BodySizeLimit, ConcurrencyLimit, Fraction, LocalRateLimit, RateLimitScope,
    TokenBucket,
};
use http::StatusCode;
use std::time::Duration;

fn rate(max: u32, set: impl FnOnce(&mut LocalRateLimit)) -> HttpFilterConfig {
    let mut limit = LocalRateLimit::new(TokenBucket::new(max, 1, Duration::from_secs(1)));
    set(&mut limit);
    HttpFilterConfig::LocalRateLimit(Arc::new(limit))
}

const ALLOWED: &str = "l:Allowed -> on";
const REFUSED: &str = "l:Limited -> 429 Too Many Requests by l: local_rate_limited";

fn ask(chain: &Chain, now: u64, set: impl FnOnce(&mut Way<'_>)) -> String {
    let mut way = Way::new(chain, "/", "");
    way.now = now;
    set(&mut way);
    way.run()
}

#[test]
fn a_rate_refuses_what_is_beyond_it() {
    let chain = chain(&[("l", rate(2, |_| {}))]);
    for (now, expected) in
        [(0, ALLOWED), (0, ALLOWED), (0, REFUSED), (999, REFUSED), (1000, ALLOWED), (1000, REFUSED)]
    {
        assert_eq!(ask(&chain, now, |_| {}), expected, "at {now} ms");
    }
}

#[test]
fn shadow_mode_lets_it_pass_and_says_so() {
    let shadow = rate(1, |limit| {
        limit.filter_enforced = Fraction::NONE;
        limit.request_headers_to_add_when_not_enforced = edits("+x-limited=yes");
    });
    let chain = chain(&[("l", shadow)]);
    assert_eq!(ask(&chain, 0, |_| {}), ALLOWED);
    let mut way = Way::new(&chain, "/", "");
    assert_eq!(way.run(), "l:WouldBeLimited -> on");
    assert_eq!(way.parts.headers["x-limited"], "yes");
    // Envoy's defaults do nothing.
    let off = rate(1, |limit| limit.filter_enabled = Fraction::NONE);
    let chain = super::chain(&[("l", off)]);
    assert_eq!(ask(&chain, 0, |_| {}), " -> on");
}

#[test]
fn a_refusal_says_when_to_come_again() {
    let limit = rate(1, |limit| {
        limit.enable_retry_after_header = true;
        limit.enable_x_ratelimit_headers = true;
        limit.rate_limited_as_resource_exhausted = true;
        limit.response_headers_to_add = edits("+x-why=rate");
    });
    let chain = chain(&[("l", limit)]);
    ask(&chain, 0, |_| {});
    let mut way = Way::new(&chain, "/", "");
    way.now = 100;
    let Step::Reply(reply) = way.step(false) else { panic!("it is beyond the rate") };
    assert_eq!(reply.grpc_status, Some(8));
    assert_eq!(
        (&reply.headers["retry-after"], &reply.headers["x-why"]),
        (&"1".parse().unwrap(), &"rate".parse().unwrap())
    );
    let answer = way.answer(429, "").headers;
    let rest = ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"];
    assert_eq!(rest.map(|name| answer[name].to_str().unwrap()), ["1", "0", "1"]);
}

#[test]
fn each_peer_and_each_connection_has_its_own() {
    let named = |name: &str| {
        let mut certificate = PeerCertificate::new("");
        certificate.uris = vec![Arc::from(name)];
        Peer::Certified(Arc::new(certificate))
    };
    let chain = chain(&[("l", rate(1, |limit| limit.scope = RateLimitScope::Peer))]);
    let by_peer = |peer: Peer| ask(&chain, 0, |way| way.peer = peer);
    assert_eq!(by_peer(named("spiffe://a/1")), ALLOWED);
    assert_eq!(by_peer(named("spiffe://a/2")), ALLOWED);
    assert_eq!(by_peer(named("spiffe://a/1")), REFUSED);
    assert_eq!(by_peer(Peer::Plaintext), ALLOWED);
    assert_eq!(by_peer(Peer::Tls), REFUSED, "all without a name share one");
    let chain = super::chain(&[("l", rate(1, |limit| limit.scope = RateLimitScope::Connection))]);
    let from = |remote| ask(&chain, 0, |way| way.remote = remote);
    assert_eq!(from("10.0.0.1:1"), ALLOWED);
    assert_eq!(from("10.0.0.1:2"), ALLOWED);
    assert_eq!(from("10.0.0.1:1"), REFUSED);
    assert_eq!(from("[::1]:1"), ALLOWED);
}

/// Of nine in a table for eight the first has lost its bucket: what its answer says takes no other's.
#[test]
fn an_answer_takes_nobodys_bucket() {
    let limit = rate(1, |limit| {
        (limit.scope, limit.max_buckets) = (RateLimitScope::Connection, 8);
        limit.enable_x_ratelimit_headers = true;
    });
    let chain = chain(&[("l", limit)]);
    let remotes: [&str; 9] = std::array::from_fn(|at| &*format!("10.0.0.1:{}", at + 1).leak());
    let mut ways = remotes.map(|remote| {
        let mut way = Way::new(&chain, "/", "");
        (way.remote, way.now) = (remote, remote.rsplit(':').next().unwrap().parse().unwrap());
        assert_eq!(way.run(), ALLOWED, "{remote}");
        way
    });
    ways[0].now = 10;
    assert_eq!(ways[0].answer(200, "").headers["x-ratelimit-remaining"], "1", "a new one is full");
    for remote in &remotes[1..] {
        assert_eq!(ask(&chain, 10, |way| way.remote = remote), REFUSED, "{remote}");
    }
}

#[test]
fn counts_go_on_in_the_next_configuration() {
    let first = chain(&[("l", rate(2, |_| {}))]);
    ask(&first, 0, |_| {});
    ask(&first, 0, |_| {});
    let same = chain_after(&[("l", rate(2, |_| {}))], Some(&first));
    assert_eq!(ask(&same, 0, |_| {}), REFUSED);
    let more = chain_after(&[("l", rate(3, |_| {}))], Some(&first));
    assert_eq!([ask(&more, 0, |_| {}), ask(&more, 0, |_| {})], [ALLOWED, REFUSED]);
    let renamed = chain_after(&[("m", rate(2, |_| {}))], Some(&first));
    assert_eq!(ask(&renamed, 0, |_| {}), "m:Allowed -> on");
}

#[test]
fn a_level_has_one_limit_for_its_routes_and_keeps_it() {
    let chain = chain(&[("l", rate(100, |_| {}))]);
    let said = |max| {
        let said = HttpFilterOverride::Config(rate(max, |_| {}));
        HttpFilterOverrides::from([(Arc::from("l"), said)])
    };
    let (host, route, empty) = (said(1), said(1), HttpFilterOverrides::new());
    let compile = |before: &[Overrides]| -> Vec<Overrides> {
        let mut compiler = OverrideCompiler::new(&chain, before);
        let routes = [[&empty, &host], [&empty, &host], [&route, &host]];
        routes.iter().map(|levels| compiler.compile(levels).unwrap()).collect()
    };
    let ask = |overrides: Overrides| ask(&chain, 0, |way| way.overrides = overrides);
    let first = compile(&[]);
    let next = compile(&first);
    let [a, b, c] = <[Overrides; 3]>::try_from(first).unwrap();
    assert_eq!([ask(a), ask(b), ask(c)], [ALLOWED, REFUSED, ALLOWED]);
    let [a, b, c] = <[Overrides; 3]>::try_from(next).unwrap();
    assert_eq!([ask(a), ask(b), ask(c)], [REFUSED, REFUSED, REFUSED]);
}

#[test]
fn concurrency_is_that_of_requests_in_service() {
    let limit = |max, enforced| {
        let mut limit = ConcurrencyLimit::default();
        limit.max_concurrent_requests = max;
        limit.enforced = enforced;
        HttpFilterConfig::ConcurrencyLimit(Arc::new(limit))
    };
    let one = chain(&[("l", limit(1, Fraction::ALL))]);
    let mut first = Way::new(&one, "/", "");
    assert_eq!(first.run(), ALLOWED);
    let refused = "l:Limited -> 503 Service Unavailable by l: concurrency_limited";
    assert_eq!(Way::new(&one, "/", "").run(), refused);
    // Whoever is inside is inside in the next configuration, too.
    let next = chain_after(&[("l", limit(1, Fraction::ALL))], Some(&one));
    assert_eq!(Way::new(&next, "/", "").run(), refused);
    first.end(End::default());
    assert_eq!(Way::new(&next, "/", "").run(), ALLOWED);
    let shadow = chain(&[("l", limit(0, Fraction::NONE))]);
    let mut way = Way::new(&shadow, "/", "");
    assert_eq!(way.run(), "l:WouldBeLimited -> on");
    assert_eq!(shadow.inside(), 1);
    drop(way);
    assert_eq!(shadow.inside(), 0);
}

#[track_caller]
fn check_admission(status: u16, headers: &str, end: End, success: bool) {
    let mut model = AdmissionControl::default();
    model.max_rejection_probability = 100.0;
    let chain = chain(&[("l", HttpFilterConfig::AdmissionControl(Arc::new(model)))]);
    for _ in 0..2000 {
        let mut way = Way::new(&chain, "/", "");
        // What is refused is not counted, so this goes on until it is as good as always.
        if way.run() == ALLOWED {
            way.answer(status, headers);
            way.end(end);
        }
    }
    let refused = (0..100).filter(|seed| {
        let mut way = Way::new(&chain, "/", "");
        way.pass = Pass::new(*seed);
        let refused = way.run() != ALLOWED;
        way.answer(200, "");
        refused
    });
    assert_eq!(refused.count() == 0, success, "{status} {headers} {end:?}");
}

#[test]
fn success_is_what_envoy_calls_so() {
    let end = |grpc_status| End { status: None, grpc_status, cancelled: false };
    check_admission(200, "", end(None), true);
    check_admission(499, "", end(None), true);
    check_admission(500, "", end(None), false);
    let grpc = "content-type: application/grpc+proto";
    check_admission(200, grpc, end(Some(0)), true);
    check_admission(200, grpc, end(Some(5)), true);
    check_admission(200, grpc, end(Some(14)), false);
    check_admission(200, grpc, end(None), false);
    check_admission(200, &format!("{grpc}\ngrpc-status: 13"), end(Some(0)), false);
    check_admission(200, &format!("{grpc}\ngrpc-status: 7"), end(None), false);
    // Its status is in its body.
    check_admission(200, "content-type: application/grpc-web+proto", end(None), true);
}

#[test]
fn a_body_is_bounded_by_its_length_or_as_it_comes() {
    let limit = |max, enforced| {
        let mut limit = BodySizeLimit::new(max);
        limit.enforced = enforced;
        HttpFilterConfig::BodySizeLimit(Arc::new(limit))
    };
    let chain = chain(&[("l", limit(100, Fraction::ALL)), ("k", limit(50, Fraction::ALL))]);
    let mut way = Way::new(&chain, "/", "content-length: 101");
    let Step::Reply(reply) = way.step(false) else { panic!("it is too large") };
    assert_eq!((reply.status, reply.grpc_status), (StatusCode::PAYLOAD_TOO_LARGE, Some(8)));
    assert_eq!(
        reply.body,
        "the body of the request has 101 bytes, more than the limit of 100 (max_request_bytes)"
    );
    let mut way = Way::new(&chain, "/", "");
    assert_eq!(way.run(), " -> on", "nobody knows yet");
    let limit_of_body = way.pass.body_limit().unwrap();
    assert_eq!((&*limit_of_body.filter, limit_of_body.max_request_bytes), ("k", 50));
    assert_eq!(
        limit_of_body.reply().body,
        "the body of the request is larger than the limit of 50 (max_request_bytes)"
    );
    assert_eq!(way.pass.counts_body(), Some(50));
    let shadow = super::chain(&[("l", limit(100, Fraction::NONE))]);
    let mut way = Way::new(&shadow, "/", "content-length: 101");
    assert_eq!(way.run(), "l:WouldBeLimited -> on");
    assert!(way.pass.body_limit().is_none());
    assert_eq!(way.body(101), "", "it was told of");
}

#[test]
fn each_bound_on_a_body_tells_once_what_came() {
    let limit = |max, enforced| {
        let mut limit = BodySizeLimit::new(max);
        limit.enforced = enforced;
        HttpFilterConfig::BodySizeLimit(Arc::new(limit))
    };
    let filters = [
        ("a", limit(100, Fraction::ALL)),
        ("s", limit(30, Fraction::NONE)),
        ("b", limit(50, Fraction::ALL)),
    ];
    let chain = chain(&filters);
    for (read, expected) in [
        (0, "a:Allowed s:Allowed b:Allowed"),
        (30, "a:Allowed s:Allowed b:Allowed"),
        (31, "a:Allowed s:WouldBeLimited b:Allowed"),
        (51, "a:Allowed s:WouldBeLimited b:Limited by b"),
        (101, "a:Limited s:WouldBeLimited b:Limited by b"),
    ] {
        for length in ["", "content-length: 30"] {
            let mut way = Way::new(&chain, "/", length);
            assert_eq!(way.run(), " -> on");
            assert_eq!(way.pass.counts_body(), Some(30));
            assert_eq!(way.pass.body_limit().map(|limit| limit.max_request_bytes), Some(50));
            assert_eq!(way.body(read), expected);
            assert_eq!(way.body(read), "", "a second time");
            assert_eq!((way.pass.counts_body(), way.pass.body_limit().is_none()), (None, true));
        }
    }
}
