//! Retry and hedge policies.

use super::*;
use model::retry_policy::{ResetHeader, ResetHeaderFormat};
use model::{BackOff, RateLimitedBackOff, RetryOn, RetryPolicy};
use pb::retry_policy as pb_retry;
use std::time::Duration as Time;

/// The retry policy of the edited base is that of one retry on 5xx with `expected` done to it.
#[track_caller]
fn retries(
    rule: &str,
    edit: impl FnOnce(&mut pb::RetryPolicy),
    expected: impl FnOnce(&mut RetryPolicy),
) {
    means(
        rule,
        |m| edit(retry(m)),
        |route| {
            let mut policy = RetryPolicy::new(RetryOn::SERVER_ERROR);
            // Envoy: both need settings.
            policy.previous_hosts = false;
            policy.host_selection_max_attempts = 1;
            expected(&mut policy);
            forward(route).retry_policy = Some(Arc::new(policy));
        },
    );
}

fn back_off(base: Option<Duration>, max: Option<Duration>) -> Option<pb_retry::RetryBackOff> {
    Some(pb_retry::RetryBackOff { base_interval: base, max_interval: max })
}

fn predicate(name: &str, config: Option<&str>) -> pb_retry::RetryHostPredicate {
    let typed =
        |message| pb_retry::retry_host_predicate::ConfigType::TypedConfig(packed(message, vec![]));
    pb_retry::RetryHostPredicate { name: name.into(), config_type: config.map(typed) }
}

#[test]
fn every_word_of_retry_on_is_read() {
    for (name, condition) in RetryOn::NAMES {
        retries(
            "Envoy: x-envoy-retry-on, x-envoy-retry-grpc-on",
            |p| p.retry_on = (*name).into(),
            |p| p.retry_on = *condition,
        );
    }
    retries(
        "Envoy: a list",
        |p| p.retry_on = "5xx, reset,,unavailable".into(),
        |p| {
            p.retry_on = RetryOn::SERVER_ERROR | RetryOn::RESET | RetryOn::UNAVAILABLE;
        },
    );
    retries(
        "a policy without conditions still replaces its host's",
        |p| p.retry_on.clear(),
        |p| {
            p.retry_on = RetryOn::NONE;
        },
    );
    check(
        "gRFC A44: others are ignored",
        |m| retry(m).retry_on = "5xx,sometimes".into(),
        &["~ R.route.retry_policy.retry_on: not known"],
    );
}

#[test]
fn numbers_and_limits() {
    retries("Envoy: one", |_| {}, |p| p.num_retries = 1);
    retries(
        "Envoy: none; gRFC A44 would refuse it",
        |p| p.num_retries = number(0),
        |p| p.num_retries = 0,
    );
    retries("Envoy", |p| p.num_retries = number(100), |p| p.num_retries = 100);
    check(
        "bound",
        |m| retry(m).num_retries = number(101),
        &["~ R.route.retry_policy.num_retries: 100"],
    );
    retries(
        "Envoy",
        |p| p.per_try_timeout = millis(250),
        |p| p.per_try_timeout = Some(Time::from_millis(250)),
    );
    retries("Envoy: zero is no limit", |p| p.per_try_timeout = millis(0), |_| {});
    retries(
        "Envoy",
        |p| p.per_try_idle_timeout = millis(1500),
        |p| {
            p.per_try_idle_timeout = Some(Time::from_millis(1500));
        },
    );
    retries("Envoy: zero is no limit", |p| p.per_try_idle_timeout = millis(0), |_| {});
    check(
        "protobuf",
        |m| retry(m).per_try_timeout = millis(-1000),
        &["! R.route.retry_policy.per_try_timeout: no duration"],
    );
    retries(
        "Envoy",
        |p| p.retriable_status_codes = vec![429, 503],
        |p| p.retriable_status_codes = vec![429, 503],
    );
    check(
        "RFC 9110",
        |m| retry(m).retriable_status_codes = vec![503, 99, 600, 70_000],
        &[
            "! R.route.retry_policy.retriable_status_codes[1]: 99",
            "! R.route.retry_policy.retriable_status_codes[2]: 600",
            "! R.route.retry_policy.retriable_status_codes[3]: 70000",
        ],
    );
}

#[test]
fn pauses() {
    let time = Time::from_millis;
    retries(
        "gRFC A44: ten times the base",
        |p| p.retry_back_off = back_off(millis(30), None),
        |p| {
            p.back_off = BackOff::new(time(30), time(300));
        },
    );
    retries(
        "gRFC A44",
        |p| p.retry_back_off = back_off(millis(30), millis(30)),
        |p| {
            p.back_off = BackOff::new(time(30), time(30));
        },
    );
    retries(
        "gRFC A44: at least 1 ms",
        |p| {
            let short = Some(Duration { seconds: 0, nanos: 1 });
            p.retry_back_off = back_off(short, short);
        },
        |p| p.back_off = BackOff::new(time(1), time(1)),
    );
    const BASE: &str = "R.route.retry_policy.retry_back_off.base_interval";
    const MAX: &str = "R.route.retry_policy.retry_back_off.max_interval";
    let fails = |base, max, expected: &[&str]| {
        check("gRFC A44, Envoy", |m| retry(m).retry_back_off = back_off(base, max), expected);
    };
    fails(None, millis(5), &[&format!("! {BASE}: required")]);
    fails(millis(0), None, &[&format!("! {BASE}: more than 0")]);
    fails(millis(5), millis(0), &[&format!("! {MAX}: more than 0")]);
    fails(millis(5), millis(4), &[&format!("! {MAX}: shorter")]);
    fails(millis(-5000), None, &[&format!("! {BASE}: no duration")]);
    fails(
        Some(Duration { seconds: 0, nanos: 1_000_000_000 }),
        None,
        &[&format!("! {BASE}: no duration")],
    );
    fails(
        Some(Duration { seconds: i64::MAX, nanos: 0 }),
        None,
        &[&format!("! {BASE}: no duration")],
    );
    retries(
        "protobuf: the longest",
        |p| {
            p.retry_back_off =
                back_off(Some(Duration { seconds: 315_576_000_000, nanos: 0 }), None);
        },
        |p| {
            let base = Time::from_secs(315_576_000_000);
            p.back_off = BackOff::new(base, base * 10);
        },
    );
}

#[test]
fn pauses_that_the_server_asks_for() {
    let header = |name: &str, format| pb_retry::ResetHeader { name: name.into(), format };
    let asked = |headers, max_interval| {
        Some(pb_retry::RateLimitedRetryBackOff { reset_headers: headers, max_interval })
    };
    retries(
        "Envoy: 300 s",
        |p| {
            p.rate_limited_retry_back_off =
                asked(vec![header("Retry-After", 0), header("x-reset", 1)], None);
        },
        |p| {
            p.rate_limited_back_off = Some(RateLimitedBackOff::new(vec![
                ResetHeader {
                    name: "retry-after".parse().unwrap(),
                    format: ResetHeaderFormat::Seconds,
                },
                ResetHeader {
                    name: "x-reset".parse().unwrap(),
                    format: ResetHeaderFormat::UnixTimestamp,
                },
            ]));
        },
    );
    let fails = |headers, max, expected: &str| {
        let expected =
            expected.replacen(' ', " R.route.retry_policy.rate_limited_retry_back_off.", 1);
        check(
            "Envoy",
            |m| retry(m).rate_limited_retry_back_off = asked(headers, max),
            &[&expected],
        );
    };
    fails(vec![], None, "! reset_headers: at least one");
    fails(vec![header("", 0)], None, "! reset_headers[0].name: no name");
    fails(vec![header("a", 9)], None, "! reset_headers[0].format: 9");
    fails(vec![header("a", 0)], millis(0), "! max_interval: more than 0");
}

#[test]
fn endpoints_that_were_tried() {
    const TYPE: &str = "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate";
    retries(
        "Envoy, Istio",
        |p| {
            p.retry_host_predicate = vec![predicate("any name", Some(TYPE))];
            p.host_selection_retry_max_attempts = 5;
        },
        |p| {
            p.previous_hosts = true;
            p.host_selection_max_attempts = 5;
        },
    );
    retries(
        "Envoy: by name",
        |p| {
            p.retry_host_predicate =
                vec![predicate("envoy.retry_host_predicates.previous_hosts", None)];
        },
        |p| p.previous_hosts = true,
    );
    retries(
        "bound",
        |p| p.host_selection_retry_max_attempts = i64::MAX,
        |p| {
            p.host_selection_max_attempts = u32::MAX;
        },
    );
    check(
        "never silent",
        |m| retry(m).retry_host_predicate = vec![predicate("omit_canary_hosts", None)],
        &["~ R.route.retry_policy.retry_host_predicate[0]: previous_hosts"],
    );
    check(
        "bound",
        |m| retry(m).host_selection_retry_max_attempts = -1,
        &["! R.route.retry_policy.host_selection_retry_max_attempts: -1"],
    );
}

#[test]
fn conditions_on_headers() {
    use pb::header_matcher::HeaderMatchSpecifier::PresentMatch;
    let on = |name: &str| pb::HeaderMatcher {
        name: name.into(),
        header_match_specifier: Some(PresentMatch(true)),
        ..Default::default()
    };
    let found = |name: &str| {
        let kind = model::matcher::HeaderMatcherKind::Present(true);
        vec![model::HeaderMatcher::new(name.parse().unwrap(), kind)]
    };
    retries(
        "Envoy",
        |p| p.retriable_headers = vec![on("X-Retry")],
        |p| p.retriable_headers = found("x-retry"),
    );
    retries(
        "Envoy",
        |p| p.retriable_request_headers = vec![on("x-safe")],
        |p| {
            p.retriable_request_headers = found("x-safe");
        },
    );
    check(
        "a condition is never dropped",
        |m| retry(m).retriable_request_headers = vec![on(":method")],
        &["! R.route.retry_policy.retriable_request_headers[0].name: pseudo"],
    );
    check(
        "a condition is never dropped",
        |m| retry(m).retriable_headers = vec![on(":status")],
        &["! R.route.retry_policy.retriable_headers[0].name: pseudo"],
    );
}

#[test]
fn the_virtual_hosts_policies_are_its_own() {
    let decoded = check(
        "Envoy: never merged",
        |m| {
            host(m).retry_policy =
                Some(pb::RetryPolicy { retry_on: "reset".into(), ..Default::default() });
            host(m).hedge_policy =
                Some(pb::HedgePolicy { hedge_on_per_try_timeout: true, ..Default::default() });
            host(m).include_request_attempt_count = true;
        },
        &[],
    );
    let host = &accepted(&decoded).model.virtual_hosts[0];
    assert_eq!(host.retry_policy.as_ref().map(|policy| policy.retry_on), Some(RetryOn::RESET));
    assert!(host.hedge_policy.unwrap().hedge_on_per_try_timeout);
    assert!(host.include_request_attempt_count);
    check(
        "every level is validated",
        |m| {
            super::host(m).retry_policy = Some(pb::RetryPolicy {
                retry_back_off: back_off(None, None),
                ..Default::default()
            });
        },
        &["! H.retry_policy.retry_back_off.base_interval: required"],
    );
}
