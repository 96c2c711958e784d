//! `inbound.*.rate_limit`: what it means, what is wrong with it, and who is counted with whom.

use super::port::{pass, port, told};
use super::*;
use crate::filter::Step;
use crate::inbound::CompiledListener;
use crate::model::{HttpFilterConfig, LocalRateLimit, RateLimitScope, TokenBucket};
use crate::outcome::grpc;
use std::time::Duration;

fn limit(keys: &str) -> LocalRateLimit {
    let update = read(&port(&format!("allow: [], rate_limit: {{ {keys} }}"))).update.unwrap();
    let http = update.listeners["web"].filter_chains[0].http.clone().unwrap();
    let last = http.http_filters.last().unwrap();
    assert_eq!(&*last.name, "rate_limit");
    match &last.config {
        HttpFilterConfig::LocalRateLimit(limit) => LocalRateLimit::clone(limit),
        other => panic!("{other:?}"),
    }
}

#[test]
fn keys_and_defaults() {
    let short = limit("requests: 100, per: 1s");
    let second = Duration::from_secs(1);
    let mut expected = LocalRateLimit::new(TokenBucket::new(100, 100, second));
    expected.rate_limited_as_resource_exhausted = true;
    expected.enable_retry_after_header = true;
    assert_eq!(short, expected);
    let all = limit("requests: 5, per: 50ms, burst: 20, by: peer");
    assert_eq!(all.token_bucket, Some(TokenBucket::new(20, 5, Duration::from_millis(50))));
    assert_eq!(all.scope, RateLimitScope::Peer);
    assert_eq!(limit("requests: 1, per: 1m, by: connection").scope, RateLimitScope::Connection);
    assert_eq!(limit("requests: 1, per: 1m, by: port").scope, RateLimitScope::Process);
}

#[test]
fn each_mistake_has_a_way_out() {
    let told_of = |keys: &str, code: &str, part: &str| told(&port(keys), code, part);
    told_of("rate_limit: { per: 1s }", "missing_key", "`requests`");
    told_of("rate_limit: { requests: 1 }", "missing_key", "`per`");
    told_of("rate_limit: { requests: 0, per: 1s }", "out_of_range", "between 1 and");
    told_of("rate_limit: { requests: 1, per: 1s, burst: 0 }", "out_of_range", "between 1 and");
    told_of("rate_limit: { requests: 1, per: 49ms }", "out_of_range", "shorter than 50ms");
    told_of("rate_limit: { requests: 1, per: 1 }", "invalid_duration", "`1s`");
    told_of("rate_limit: { requests: 1, per: 1s, by: peers }", "unknown_word", "mean `peer`?");
    told_of("rate_limit: { request: 1, per: 1s }", "unknown_key", "mean `requests`?");
    let years = "rate_limit: { requests: 1, per: 8760h, burst: 101 }";
    told_of(years, "invalid_inbound", "more than 100 years");
    let peer = "mtls: off, rate_limit: { requests: 1, per: 1s, by: peer }";
    told_of(peer, "ineffective_key", "`by: connection`");
    let unix = "listen: \"unix:/run/a.sock\", rate_limit: { requests: 1, per: 1s, by: connection }";
    told_of(unix, "ineffective_key", "`by: peer`");
}

/// Requests in order, `chain peer path`, all at once, and what becomes of each.
#[track_caller]
fn check(limit: &str, requests: &[(&str, &str)]) {
    let keys = "mtls: permissive, deny: [{ match: { path: /denied } }], \
                allow: [{ from: [\"spiffe://a/1\", \"spiffe://a/2\"] }, { from: anyone, match: { path: /open } }]";
    let update = read(&port(&format!("{keys}, rate_limit: {{ {limit} }}"))).update.unwrap();
    let listener = CompiledListener::compile(&update.listeners["web"], None).unwrap();
    for (at, (request, expected)) in requests.iter().enumerate() {
        let words: Vec<_> = request.split(' ').collect();
        let peer = match words[1] {
            "-" => "plaintext".to_owned(),
            id => format!("spiffe://a/{id}"),
        };
        let found = match pass(&listener, words[0], &peer, &format!("GET {}", words[2])) {
            Step::Continue => "taken".to_owned(),
            Step::Reply(reply) if reply.status == http::StatusCode::TOO_MANY_REQUESTS => {
                assert_eq!(reply.grpc_status, Some(grpc::RESOURCE_EXHAUSTED));
                format!("429, again after {} s", reply.headers["retry-after"].to_str().unwrap())
            }
            Step::Reply(reply) => reply.status.as_u16().to_string(),
            other @ (Step::Delay(_) | Step::Ask(_)) => panic!("{other:?}"),
        };
        assert_eq!(found, *expected, "{at}: {request}");
    }
}

#[test]
fn each_peer_has_its_own_and_who_is_refused_takes_nothing() {
    check(
        "requests: 2, per: 1s, by: peer",
        &[
            ("mtls 1 /", "taken"),
            ("mtls 3 /", "403"),
            ("mtls 3 /", "403"),
            ("mtls 1 /denied", "403"),
            ("mtls 1 /", "taken"),
            ("mtls 1 /", "429, again after 1 s"),
            ("mtls 2 /", "taken"),
            ("mtls 1 /denied", "403"),
        ],
    );
}

#[test]
fn a_port_has_one_rate_by_whichever_way_requests_come() {
    check(
        "requests: 3, per: 1s",
        &[
            ("mtls 1 /", "taken"),
            ("plaintext - /", "403"),
            ("plaintext - /open", "taken"),
            ("mtls 2 /", "taken"),
            ("plaintext - /open", "429, again after 1 s"),
            ("mtls 1 /", "429, again after 1 s"),
        ],
    );
}
