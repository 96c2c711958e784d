use super::*;
use std::net::SocketAddr;

#[track_caller]
fn check(event: &Event, code: &str, enforced: bool, text: &str) {
    assert_eq!(event.to_string(), text);
    assert_eq!(event.code(), code);
    assert_eq!(event.is_enforced(), enforced);
}

fn address() -> Address {
    SocketAddr::from(([10, 0, 0, 1], 80)).into()
}

fn outlier(kind: OutlierKind, evidence: Evidence, verdict: Verdict) -> Event {
    Event::Outlier { address: address(), kind, evidence, verdict }
}

const FIVE: Evidence = Evidence::Consecutive { failures: 5, threshold: 5 };

#[test]
fn an_ejection_says_why_and_what_is_left() {
    let ejected = |left| Verdict::Ejected { duration: Duration::from_secs(30), left };
    check(
        &outlier(OutlierKind::Consecutive5xx, FIVE, ejected(9)),
        "outlier_ejected",
        true,
        "10.0.0.1:80 ejected for 30s: 5 server errors (5xx) in a row, threshold 5; \
         9 endpoints left",
    );
    check(
        &outlier(OutlierKind::ConsecutiveLocalOriginFailure, FIVE, ejected(0)),
        "outlier_ejected_none_left",
        true,
        "10.0.0.1:80 ejected for 30s: 5 local failures (connect, reset, timeout) in a row, \
         threshold 5; NO ENDPOINT IS LEFT, panic decides what calls do now",
    );
}

#[test]
fn what_was_not_done_says_which_field_forbade_it() {
    check(
        &outlier(
            OutlierKind::SuccessRate,
            Evidence::SuccessRate { rate: 50.0, average: 90.0, threshold: 52.0, volume: 120 },
            Verdict::NotEnforced { enforcing: 0 },
        ),
        "outlier_not_enforced",
        false,
        "10.0.0.1:80 is an outlier, not ejected (enforcing 0%): success rate 50.0% of 120 calls, \
         threshold 52.0%, average 90.0%",
    );
    check(
        &outlier(
            OutlierKind::LocalOriginFailurePercentage,
            Evidence::FailurePercentage { percentage: 87.5, threshold: 85, volume: 64 },
            Verdict::RefusedByCap { ejected: 0, total: 8, max_percent: 10, rule: CapRule::Envoy },
        ),
        "outlier_refused_by_cap",
        false,
        "10.0.0.1:80 is an outlier, ejection refused: 87.5% of 64 calls (local failures only) \
         failed, threshold 85%; 0 of 8 are out and max_ejection_percent is 10 (after the ejection)",
    );
    check(
        &outlier(OutlierKind::ConsecutiveGatewayFailure, FIVE, Verdict::RefusedAsLast { total: 3 }),
        "outlier_refused_as_last",
        false,
        "10.0.0.1:80 is an outlier, ejection refused: 5 gateway failures (502, 503, 504) in a row, \
         threshold 5; no other of 3 takes calls, and max_ejection_percent is below 100",
    );
}

#[test]
fn the_rest_is_said_in_one_line() {
    let panic = Panic { priority: 0, healthy: 4, total: 10, threshold: 50, fails: false };
    let out = Duration::from_millis(30_250);
    check(
        &Event::Unejected { address: address(), cause: Unejection::Served, out },
        "outlier_unejected",
        true,
        "10.0.0.1:80 takes calls again after 30.250s",
    );
    check(
        &Event::Unejected { address: address(), cause: Unejection::Disabled, out },
        "outlier_unejected",
        true,
        "10.0.0.1:80 takes calls again after 30.250s: outlier detection was switched off",
    );
    check(
        &Event::Unejected { address: address(), cause: Unejection::LastEndpoint, out },
        "outlier_unejected",
        true,
        "10.0.0.1:80 takes calls again after 30.250s: no other endpoint does any more",
    );
    check(
        &Event::PanicEntered(panic),
        "panic_entered",
        true,
        "panic: 4 of 10 endpoints of priority 0 are healthy, threshold 50%, so calls go to all \
         endpoints, whatever their health",
    );
    check(
        &Event::PanicEntered(Panic { fails: true, ..panic }),
        "panic_entered",
        true,
        "panic: 4 of 10 endpoints of priority 0 are healthy, threshold 50%, so calls fail \
         (fail_traffic_on_panic)",
    );
    check(
        &Event::PanicLeft(Panic { healthy: 5, ..panic }),
        "panic_left",
        true,
        "panic is over: 5 of 10 endpoints of priority 0 are healthy, threshold 50%",
    );
    check(
        &Event::Overflow {
            limit: Overflow::Requests,
            priority: RoutingPriority::High,
            value: 1024,
            threshold: 1024,
        },
        "breaker_overflow",
        true,
        "circuit breaker is full: max_requests of high priority is 1024, in use 1024",
    );
}
