use super::*;
use crate::model::http_filter::{
    Fault, FaultAbort, FaultDelay, FaultDuration, FaultPercentage, FaultStatus,
};
use crate::model::matcher::{HeaderMatcherKind, StringPattern};
use crate::model::{Fraction, HeaderMatcher, StringMatcher};
use http::{HeaderName, StatusCode};
use std::time::Duration;

fn fault(set: impl FnOnce(&mut Fault)) -> HttpFilterConfig {
    let mut fault = Fault::default();
    set(&mut fault);
    HttpFilterConfig::Fault(Arc::new(fault))
}

fn delay(duration: FaultDuration, percent: u32) -> Option<FaultDelay> {
    Some(FaultDelay { duration, percentage: FaultPercentage::percent(percent) })
}

fn abort(status: FaultStatus, percent: u32) -> Option<FaultAbort> {
    let percentage = FaultPercentage::percent(percent);
    Some(FaultAbort { status, percentage, response_body: "".into() })
}

const SECOND: FaultDuration = FaultDuration::Fixed(Duration::from_secs(1));
const TEAPOT: FaultStatus = FaultStatus::Http(StatusCode::IM_A_TEAPOT);

#[track_caller]
fn check(set: impl FnOnce(&mut Fault), headers: &str, expected: &str) {
    let chain = chain(&[("f", fault(set))]);
    assert_eq!(Way::new(&chain, "/", headers).run(), expected, "{headers}");
}

#[test]
fn a_fault_is_for_some_requests() {
    let teapot = "f:Abort(418, None) -> 418 I'm a teapot by f: fault_filter_abort";
    check(|fault| fault.abort = abort(TEAPOT, 100), "", teapot);
    check(|fault| fault.abort = abort(TEAPOT, 0), "", " -> on");
    let only = |fault: &mut Fault| {
        fault.abort = abort(TEAPOT, 100);
        let name = HeaderName::from_static("x");
        fault.headers = vec![HeaderMatcher::new(name, HeaderMatcherKind::Present(true))];
        fault.downstream_nodes = vec!["n1".into(), "n2".into()];
    };
    check(only, "x: 1\nx-envoy-downstream-service-node: n2", teapot);
    check(only, "x: 1\nx-envoy-downstream-service-node: n3", " -> on");
    check(only, "x: 1", " -> on");
    check(only, "x-envoy-downstream-service-node: n2", " -> on");
    // `host` is the authority, wherever that stands (Envoy).
    let chain = chain(&[(
        "f",
        fault(|fault| {
            fault.abort = abort(TEAPOT, 100);
            let a = StringMatcher::new(StringPattern::Exact("a.example".into()));
            let name = HeaderName::from_static("host");
            fault.headers = vec![HeaderMatcher::new(name, HeaderMatcherKind::String(a))];
        }),
    )]);
    assert_eq!(Way::new(&chain, "http://a.example/", "").run(), teapot);
    assert_eq!(Way::new(&chain, "/", "host: a.example").run(), teapot);
    assert_eq!(Way::new(&chain, "http://b.example/", "").run(), " -> on");
}

#[test]
fn headers_say_what_and_only_make_it_rarer() {
    let by_header = |fault: &mut Fault| fault.abort = abort(FaultStatus::Header, 100);
    check(by_header, "", " -> on");
    let told = |status: u16| {
        let status = StatusCode::from_u16(status).unwrap();
        format!("f:Abort({}, None) -> {status} by f: fault_filter_abort", status.as_u16())
    };
    check(by_header, "x-envoy-fault-abort-request: 503", &told(503));
    for bad in ["199", "600", "x", "-1", "99999999999"] {
        check(by_header, &format!("x-envoy-fault-abort-request: {bad}"), " -> on");
    }
    check(
        by_header,
        "x-envoy-fault-abort-request: 500\nx-envoy-fault-abort-grpc-request: 14",
        "f:Abort(503, Some(14)) -> 503 Service Unavailable by f: fault_filter_abort",
    );
    let rarer = "x-envoy-fault-abort-request: 503\nx-envoy-fault-abort-request-percentage: 0";
    check(by_header, rarer, " -> on");
    let never = |fault: &mut Fault| fault.abort = abort(FaultStatus::Header, 0);
    let more = "x-envoy-fault-abort-request: 503\nx-envoy-fault-abort-request-percentage: 100";
    check(never, more, " -> on");
    let late = |fault: &mut Fault| fault.delay = delay(FaultDuration::Header, 100);
    check(late, "x-envoy-fault-delay-request: 20", "f:Delay(20ms) -> waits until 20 ms");
    check(late, "x-envoy-fault-delay-request: 0", " -> on");
    check(
        late,
        "x-envoy-fault-delay-request: 18446744073709551615",
        "f:Delay(3600s) -> waits until 3600000 ms",
    );
}

#[test]
fn a_delay_comes_before_the_abort_and_the_next_filter() {
    let both = fault(|fault| {
        fault.delay = delay(SECOND, 100);
        fault.abort = abort(FaultStatus::Grpc(8), 100);
    });
    let chain = chain(&[("f", both), ("r", HttpFilterConfig::Rbac(rbac("r", "/")))]);
    let mut way = Way::new(&chain, "/", "");
    assert_eq!(way.run(), "f:Delay(1s) -> waits until 1000 ms");
    assert_eq!(chain.inside(), 1);
    way.now = 1000;
    assert_eq!(
        way.run_after_delay(),
        "f:Abort(429, Some(8)) -> 429 Too Many Requests by f: fault_filter_abort"
    );
    assert_eq!(chain.inside(), 1, "one request, one fault");
    drop(way);
    assert_eq!(chain.inside(), 0);
}

#[test]
fn after_a_delay_the_next_filter_is_asked() {
    let late = fault(|fault| fault.delay = delay(SECOND, 100));
    let chain = chain(&[("f", late), ("r", HttpFilterConfig::Rbac(rbac("r", "/")))]);
    let mut way = Way::new(&chain, "/", "");
    way.run();
    assert_eq!(
        way.run_after_delay(),
        "r -> 403 Forbidden by r: rbac_access_denied_matched_policy[r]"
    );
}

#[test]
fn active_faults_are_bounded_over_routes() {
    let late = |most| {
        fault(move |fault| {
            fault.delay = delay(SECOND, 100);
            fault.max_active_faults = Some(most);
        })
    };
    let chain = chain(&[("f", late(2))]);
    let said = HttpFilterOverrides::from([(Arc::from("f"), HttpFilterOverride::Config(late(2)))]);
    let waits = "f:Delay(1s) -> waits until 1000 ms";
    let mut first = Way::new(&chain, "/", "");
    assert_eq!(first.run(), waits);
    let mut second = Way::new(&chain, "/", "");
    second.overrides = chain.overrides(&[&said]).unwrap();
    assert_eq!(second.run(), waits);
    assert_eq!(Way::new(&chain, "/", "").run(), "f:Overflow -> on");
    drop(first);
    assert_eq!(Way::new(&chain, "/", "").run(), waits);
}

#[test]
fn a_share_is_drawn() {
    let chain = chain(&[("f", fault(|fault| fault.abort = abort(TEAPOT, 25)))]);
    let aborted = (0..4000).filter(|seed| {
        let mut way = Way::new(&chain, "/", "");
        way.pass = Pass::new(*seed);
        way.run() != " -> on"
    });
    let aborted = aborted.count();
    // Five standard deviations.
    assert!(aborted.abs_diff(1000) < 137, "{aborted}");
    assert_eq!(FaultPercentage::percent(25).lowered(Some(5)), Fraction::percent(5));
}
