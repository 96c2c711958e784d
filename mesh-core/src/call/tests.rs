//! What the machine makes of what happens, as scripts (see [`script`](super::script)).

use super::script::{Sim, check};
use super::*;
use crate::local_reply::ResponseFlag;
use crate::model::route::{ClusterSpecifier, ForwardAction};

// === Deadlines ===

#[test]
fn a_first_answer_is_committed() {
    check("", "0 start -> start 1 | 1000 timeout\n5 #1 200 -> commit 1");
    check("", "0 start -> start 1 | 1000 timeout\n5 #1 503 -> commit 1");
    check("", "0 start -> start 1 | 1000 timeout\n5 #1 lost -> finish reset_connection");
}

#[test]
fn what_fails_at_the_deadline_fails_by_the_deadline() {
    // An endpoint that was told the deadline ends the stream at it.
    check("", "0 start -> start 1 | 1000 timeout\n999 #1 lost -> finish reset_connection");
    check("", "0 start -> start 1 | 1000 timeout\n1000 #1 lost -> finish timeout");
    check(
        "incoming=500",
        "0 start -> start 1 | 500 caller_deadline\n500 #1 lost -> finish deadline_exceeded",
    );
    // A hop between says of it that the endpoint is unavailable; what the endpoint says itself stays.
    for (at, status, action) in [
        (999, 14, "commit 1"),
        (1000, 14, "finish timeout"),
        (1000, 1, "finish timeout"),
        (1000, 13, "finish timeout"),
        (1000, 4, "commit 1"),
        (1000, 5, "commit 1"),
        (1000, 0, "commit 1"),
    ] {
        let start = "0 start -> start 1 | 1000 timeout";
        check("grpc", &format!("{start}\n{at} #1 200 grpc-status={status} -> {action}"));
    }
}

#[test]
fn a_call_that_runs_into_its_timeout_is_not_retried() {
    let given = "on=5xx,gateway-error,reset retries=3";
    check(
        given,
        "0 start -> start 1 | 1000 timeout\n999 timer -> wait | 1000 timeout\n1000 timer -> finish timeout",
    );
    // A response that comes at the last moment is still better than none.
    check(given, "0 start -> start 1 | 1000 timeout\n1000 #1 503 -> commit 1 (retry_deadline)");
}

#[test]
fn zero_is_no_timeout_and_the_callers_deadline_wins_when_earlier() {
    check("timeout=0", "0 start -> start 1\n90000 #1 200 -> commit 1");
    check(
        "incoming=300",
        "0 start -> start 1 | 300 caller_deadline\n300 timer -> finish deadline_exceeded",
    );
    check("incoming=3000", "0 start -> start 1 | 1000 timeout\n1000 timer -> finish timeout");
    check("incoming=5", "5 start -> finish deadline_exceeded");
    check(
        "grpc stream=50",
        "0 start -> start 1 | 50 max_stream_duration\n50 timer -> finish max_stream_duration",
    );
    check("call_timeout=70", "0 start -> start 1 | 70 timeout\n70 timer -> finish timeout");
}

#[test]
fn a_pause_that_would_reach_the_deadline_is_not_begun() {
    let given = "on=5xx base=200 timeout=100";
    // Half of [0, 200) ends exactly at the deadline.
    check(given, "0 start -> start 1 | 100 timeout\n0 #1 503 -> commit 1 (retry_deadline)");
    let given = "on=5xx base=196 timeout=100";
    check(
        given,
        "0 start -> start 1 | 100 timeout\n1 #1 503 -> wait | 99 back_off\n99 timer -> start 2 | 100 timeout\n100 timer -> finish timeout",
    );
}

// === Retries by policy ===

#[test]
fn retries_pause_longer_each_time_and_the_last_answer_is_passed_on() {
    check(
        "on=5xx retries=2",
        "
        0 start       -> start 1 | 1000 timeout
        5 #1 503      -> wait | 10 back_off
        9 timer       -> wait | 10 back_off
        10 timer      -> start 2 | 1000 timeout
        20 #2 500     -> wait | 30 back_off
        30 timer      -> start 3 | 1000 timeout
        40 #3 503     -> commit 3 (retry_limit)
        ",
    );
}

#[test]
fn the_last_failure_is_reported_and_not_that_retries_ran_out() {
    check(
        "on=reset retries=1",
        "
        0 start       -> start 1 | 1000 timeout
        0 #1 lost     -> wait | 5 back_off
        5 timer       -> start 2 | 1000 timeout
        6 #2 reset    -> finish reset_remote (retry_limit)
        ",
    );
}

#[test]
fn what_is_not_worth_a_retry_is_the_answer() {
    for outcome in ["200", "404", "503 failure", "503 success", "503 x-envoy-ratelimited=true"] {
        let script = format!("0 start -> start 1 | 1000 timeout\n5 #1 {outcome} -> commit 1");
        check("on=5xx,gateway-error,reset retries=3", &script);
    }
    for (failure, code) in [
        ("overflow", "overflow_requests"),
        ("no-endpoint", "no_endpoints"),
        ("body", "request_body"),
        ("invalid", "invalid_request"),
        ("tls-unavailable", "connect_tls_unavailable"),
    ] {
        let script = format!("0 start -> start 1 | 1000 timeout\n5 #1 {failure} -> finish {code}");
        check("on=5xx,gateway-error,reset,connect-failure retries=3", &script);
    }
}

#[test]
fn the_users_classifier_retries_while_retries_are_left() {
    let script = |last| format!("0 start -> start 1 | 1000 timeout\n0 #1 200 retryable -> {last}");
    check("on=reset retries=0", &script("commit 1 (retry_limit)"));
    check("on=reset retries=1", &script("wait | 5 back_off"));
    check("", &script("commit 1"));
}

#[test]
fn a_grpc_status_is_retried_from_headers_and_from_trailers() {
    for answer in ["200 grpc-status=14", "200 | grpc-status=14", "503"] {
        let script = format!(
            "0 start -> start 1 | 1000 timeout\n0 #1 {answer} -> wait | 5 back_off\n\
             5 timer -> start 2 | 1000 timeout\n9 #2 200 -> commit 2"
        );
        check("grpc on=unavailable", &script);
    }
    check(
        "grpc on=unavailable",
        "0 start -> start 1 | 1000 timeout\n0 #1 200 | grpc-status=13 -> commit 1",
    );
}

#[test]
fn codes_and_headers_of_the_policy_and_of_the_caller_are_united() {
    let given = "on=retriable-status-codes,retriable-headers retries=9 codes=418";
    let retried = "wait | 5 back_off";
    for (answer, action) in [("418", retried), ("425", "commit 1"), ("200 x-again=1", retried)] {
        check(given, &format!("0 start -> start 1 | 1000 timeout\n0 #1 {answer} -> {action}"));
    }
    let asked = "ask:x-envoy-retry-on=retriable-status-codes,retriable-headers \
                 ask:x-envoy-retriable-status-codes=425 ask:x-envoy-retriable-header-names=x-more";
    for (answer, action) in [("425", "wait"), ("418", "commit 1"), ("200 x-more=1", "wait")] {
        let action = if action == "wait" { "wait | 12.5 back_off" } else { action };
        check(asked, &format!("0 start -> start 1 | 1000 timeout\n0 #1 {answer} -> {action}"));
    }
}

#[test]
fn a_trusted_callers_numbers_take_the_place_of_the_routes() {
    let ask = "on=5xx retries=0 ask:x-envoy-max-retries=1 ask:x-envoy-upstream-rq-timeout-ms=400 \
               ask:x-envoy-upstream-rq-per-try-timeout-ms=100";
    check(
        ask,
        "
        0 start       -> start 1 | 100 per_try_timeout
        5 #1 503      -> wait | 10 back_off
        10 timer      -> start 2 | 110 per_try_timeout
        20 #2 503     -> commit 2 (retry_limit)
        ",
    );
}

#[test]
fn some_requests_are_not_retried_whatever_the_policy() {
    let script = "0 start -> start 1 | 1000 timeout\n0 #1 503 -> commit 1";
    check("on=5xx retries=3 no_retry", script);
    check("on=5xx retries=3 not_retriable", script);
    check(
        "on=5xx retries=3 ask:x-envoy-max-retries=0",
        &script.replace("commit 1", "commit 1 (retry_limit)"),
    );
    check("on=5xx retries=3 body_gone", &script.replace("commit 1", "commit 1 (not_replayable)"));
}

#[test]
fn a_cluster_out_of_retries_passes_the_answer_on() {
    let script = |stop| format!("0 start -> start 1 | 1000 timeout\n0 #1 503 -> commit 1 ({stop})");
    check("on=5xx retries=3 slots=0", &script("retry_budget"));
    check("on=5xx retries=3 slots=0 breaker", &script("overflow_retries"));
    assert_eq!(
        RetryStop::Refused(RetryRefused::Budget).flag(),
        Some(ResponseFlag::UpstreamRetryLimitExceeded)
    );
    assert_eq!(RetryStop::Limit.flag(), Some(ResponseFlag::UpstreamRetryLimitExceeded));
    assert_eq!(
        RetryStop::Refused(RetryRefused::MaxRetries).flag(),
        Some(ResponseFlag::UpstreamOverflow)
    );
}

// === What the server says about it ===

#[test]
fn pushback_sets_the_pause_and_starts_the_back_off_over() {
    check(
        "grpc on=unavailable retries=4",
        "
        0 start                                                -> start 1 | 1000 timeout
        0 #1 200 | grpc-status=14                              -> wait | 5 back_off
        5 timer                                                -> start 2 | 1000 timeout
        5 #2 200 | grpc-status=14                              -> wait | 15 back_off
        15 timer                                               -> start 3 | 1000 timeout
        15 #3 200 | grpc-status=14 grpc-retry-pushback-ms=70   -> wait | 85 back_off
        85 timer                                               -> start 4 | 1000 timeout
        85 #4 200 | grpc-status=14                             -> wait | 90 back_off
        90 timer                                               -> start 5 | 1000 timeout
        90 #5 200 grpc-status=14                               -> commit 5 (retry_limit)
        ",
    );
    check(
        "grpc on=unavailable",
        "
        0 start                                              -> start 1 | 1000 timeout
        0 #1 200 | grpc-status=14 grpc-retry-pushback-ms=0   -> start 2 | 1000 timeout
        ",
    );
}

#[test]
fn a_server_that_says_no_is_obeyed() {
    let forbidden = |answer| {
        format!("0 start -> start 1 | 1000 timeout\n0 #1 {answer} -> commit 1 (retry_forbidden)")
    };
    check("on=5xx retries=3", &forbidden("503 x-mesh-retry=no"));
    let pushed_back = "200 | grpc-status=14 grpc-retry-pushback-ms=-1";
    check("grpc on=unavailable retries=3", &forbidden(pushed_back));
    check(
        "grpc on=unavailable retries=3",
        &forbidden("200 grpc-status=14 grpc-retry-pushback-ms=x"),
    );
}

#[test]
fn a_server_that_names_a_time_is_not_asked_before() {
    let given = "on=5xx retries=3 listens timeout=10000";
    check(
        given,
        "
        0 start                                               -> start 1 | 10000 timeout
        0 #1 503 retry-after=2                                -> wait | 2500 back_off
        2500 timer                                            -> start 2 | 10000 timeout
        2500 #2 503                                           -> wait | 2505 back_off
        2505 timer                                            -> start 3 | 10000 timeout
        2505 #3 503 retry-after=Sun,06-Nov-1994-08:49:41-GMT  -> wait | 7505 back_off
        ",
    );
    check(
        given,
        "0 start -> start 1 | 10000 timeout\n0 #1 503 retry-after=8 -> commit 1 (retry_deadline)",
    );
    check(
        given,
        "0 start -> start 1 | 10000 timeout\n0 #1 503 retry-after=301 -> wait | 5 back_off",
    );
    let deaf = "on=5xx";
    check(deaf, "0 start -> start 1 | 1000 timeout\n0 #1 503 retry-after=8 -> wait | 5 back_off");
}

// === Transparent retries ===

#[test]
fn what_no_server_processed_goes_elsewhere_without_policy_budget_or_pause() {
    check(
        "slots=0",
        "
        0 start       -> start 1 | 1000 timeout
        1 #1 connect  -> start 2 | 1000 timeout
        2 #2 closed   -> start 3 | 1000 timeout
        3 #3 connect  -> start 4 | 1000 timeout
        4 #4 connect  -> finish connect_refused
        ",
    );
    check(
        "slots=0",
        "
        0 start       -> start 1 | 1000 timeout
        1 #1 refused  -> start 2 | 1000 timeout
        2 #2 refused  -> finish reset_refused_stream
        ",
    );
    check(
        "slots=0",
        "
        0 start       -> start 1 | 1000 timeout
        1 #1 goaway   -> start 2 | 1000 timeout
        2 #2 refused  -> start 3 | 1000 timeout
        3 #3 goaway   -> start 4 | 1000 timeout
        4 #4 goaway   -> start 5 | 1000 timeout
        5 #5 goaway   -> start 6 | 1000 timeout
        6 #6 goaway   -> start 7 | 1000 timeout
        7 #7 goaway   -> start 8 | 1000 timeout
        8 #8 goaway   -> start 9 | 1000 timeout
        9 #9 goaway   -> start 10 | 1000 timeout
        9 #10 goaway  -> finish reset_goaway
        ",
    );
}

#[test]
fn a_call_that_waits_for_ready_tries_connections_until_the_deadline() {
    check(
        "slots=0 wait_for_ready",
        "
        0 start       -> start 1 | 1000 timeout
        0 #1 connect  -> start 2 | 1000 timeout
        0 #2 connect  -> start 3 | 1000 timeout
        0 #3 connect  -> start 4 | 1000 timeout
        0 #4 connect  -> wait | 50 back_off
        50 timer      -> start 5 | 1000 timeout
        50 #5 connect -> start 6 | 1000 timeout
        50 #6 connect -> start 7 | 1000 timeout
        50 #7 connect -> start 8 | 1000 timeout
        50 #8 connect -> wait | 150 back_off
        150 timer     -> start 9 | 1000 timeout
        950 #9 200    -> commit 9
        ",
    );
    check(
        "timeout=20 wait_for_ready",
        "
        0 start       -> start 1 | 20 timeout
        0 #1 connect  -> start 2 | 20 timeout
        0 #2 connect  -> start 3 | 20 timeout
        0 #3 connect  -> start 4 | 20 timeout
        0 #4 connect  -> wait | 20 timeout
        20 timer      -> finish timeout
        ",
    );
    let body_gone = "0 start -> start 1 | 1000 timeout\n1 #1 connect -> finish connect_refused";
    check("wait_for_ready body_gone", body_gone);
    let for_good =
        "0 start -> start 1 | 1000 timeout\n1 #1 tls-unavailable -> finish connect_tls_unavailable";
    check("wait_for_ready", for_good);
}

#[test]
fn after_the_transparent_retries_the_policy_decides() {
    check(
        "on=refused-stream no_transparent",
        "
        0 start       -> start 1 | 1000 timeout
        1 #1 connect  -> start 2 | 1000 timeout
        2 #2 refused  -> wait | 7 back_off
        7 timer       -> start 3 | 1000 timeout
        8 #3 refused  -> finish reset_refused_stream (retry_limit)
        ",
    );
}

#[test]
fn a_transparent_retry_needs_the_request_and_time() {
    check("body_gone", "0 start -> start 1 | 1000 timeout\n1 #1 connect -> finish connect_refused");
    check("", "0 start -> start 1 | 1000 timeout\n1000 #1 connect -> finish connect_refused");
    let kept = "0 start -> start 1 | 1000 timeout\n1 #1 connect -> start 2 | 1000 timeout";
    check("no_retry on=5xx", kept);
    let by_configuration =
        "0 start -> start 1 | 1000 timeout\n1 #1 tls-unavailable -> finish connect_tls_unavailable";
    check("on=connect-failure", by_configuration);
}

// === Limits of one attempt ===

#[test]
fn an_endpoint_that_says_that_the_per_try_timeout_is_over() {
    let given = "grpc on=5xx per_try=100";
    let start = "0 start -> start 1 | 100 per_try_timeout";
    // It was told the limit, and says it before the timer is seen; or it means something else.
    check(given, &format!("{start}\n100 #1 200 grpc-status=4 -> wait | 105 back_off"));
    check(given, &format!("{start}\n99 #1 200 grpc-status=4 -> wait | 104 back_off"));
    check(given, &format!("{start}\n98 #1 200 grpc-status=4 -> commit 1"));
    check(given, &format!("{start}\n100 #1 200 grpc-status=5 -> commit 1"));
}

#[test]
fn an_attempt_that_takes_too_long_is_cancelled_and_counts_as_failed() {
    check(
        "on=5xx per_try=100",
        "
        0 start         -> start 1 | 100 per_try_timeout
        100 timer       -> cancel 1 | 1000 timeout
        100 #1 per-try  -> wait | 105 back_off
        105 timer       -> start 2 | 205 per_try_timeout
        205 timer       -> cancel 2 | 1000 timeout
        205 #2 per-try  -> finish per_try_timeout (retry_limit)
        ",
    );
    // Without a policy that retries it, the per-try timeout still ends the call.
    let script = "0 start -> start 1 | 100 per_try_timeout\n100 timer -> cancel 1 | 1000 timeout\n\
                  100 #1 per-try -> finish per_try_timeout";
    check("on=retriable-4xx per_try=100", script);
}

#[test]
fn a_per_try_timeout_not_below_the_timeout_is_ignored() {
    for per_try in [1000, 1001] {
        let given = format!("on=5xx per_try={per_try}");
        check(&given, "0 start -> start 1 | 1000 timeout\n1000 timer -> finish timeout");
    }
}

#[test]
fn the_per_try_timeout_runs_from_the_connection() {
    check(
        "on=5xx per_try=100",
        "
        0 start         -> start 1 | 100 per_try_timeout
        60 #1 connected -> | 160 per_try_timeout
        100 timer       -> wait | 160 per_try_timeout
        150 #1 200      -> commit 1
        ",
    );
    check(
        "on=5xx per_try=100 idle=30",
        "
        0 start          -> start 1 | 30 per_try_idle_timeout
        0 #1 waiting     -> | 1000 timeout
        200 timer        -> wait | 1000 timeout
        300 #1 connected -> | 330 per_try_idle_timeout
        320 #1 active    -> | 350 per_try_idle_timeout
        350 timer        -> cancel 1 | 1000 timeout
        350 #1 per-try   -> wait | 355 back_off
        ",
    );
}

#[test]
fn silence_has_a_limit_of_its_own() {
    check(
        "on=5xx per_try=100 idle=30",
        "
        0 start         -> start 1 | 30 per_try_idle_timeout
        20 #1 active    -> | 50 per_try_idle_timeout
        90 #1 active    -> | 100 per_try_timeout
        ",
    );
    check(
        "on=5xx idle=30",
        "
        0 start         -> start 1 | 30 per_try_idle_timeout
        30 timer        -> cancel 1 | 1000 timeout
        30 #1 per-try   -> wait | 35 back_off
        ",
    );
}

#[test]
fn a_silent_call_ends_before_its_head_too() {
    check(
        "call_idle=50",
        "
        0 start         -> start 1 | 50 idle_timeout
        0 #1 waiting    -> | 50 idle_timeout
        20 #1 connected -> | 70 idle_timeout
        40 #1 active    -> | 90 idle_timeout
        60 #1 connect   -> start 2 | 110 idle_timeout
        110 timer       -> finish idle_timeout
        ",
    );
}

#[test]
fn the_server_is_told_the_earlier_limit() {
    let deadline = |given: &str| {
        let mut sim = Sim::given(given);
        let _: String = sim.event(10, "start");
        sim.call.attempt_deadline(AttemptId(1)).map(|at| at.as_nanos() / 1_000_000)
    };
    assert_eq!(deadline(""), Some(1000));
    assert_eq!(deadline("on=5xx per_try=100"), Some(110));
    assert_eq!(deadline("on=5xx per_try=100 hedge"), Some(1000));
    assert_eq!(deadline("timeout=0"), None);
    assert_eq!(deadline("timeout=0 on=5xx per_try=7"), Some(17));
}

// === Hedging ===

#[test]
fn a_hedge_starts_beside_the_slow_attempt_and_the_first_good_answer_wins() {
    let start = "
        0 start         -> start 1 | 100 hedge
        100 timer       -> start 2 | 200 hedge
        ";
    let given = "on=5xx hedge per_try=100 retries=2";
    check(given, &format!("{start}\n150 #1 200 -> commit 1"));
    check(given, &format!("{start}\n150 #2 404 -> commit 2"));
    check(
        given,
        &format!(
            "{start}
            150 #1 503      -> wait | 200 hedge
            200 timer       -> start 3 | 300 hedge
            210 #3 503      -> wait | 1000 timeout (retry_limit)
            220 #2 200      -> commit 2"
        ),
    );
}

#[test]
fn hedges_end_with_the_retries_and_the_deadline() {
    check(
        "on=5xx hedge per_try=100 retries=1",
        "
        0 start         -> start 1 | 100 hedge
        100 timer       -> start 2 | 200 hedge
        200 timer       -> wait | 1000 timeout (retry_limit)
        1000 timer      -> finish timeout (retry_limit)
        ",
    );
    check(
        "on=5xx hedge per_try=100 retries=9 slots=1",
        "
        0 start         -> start 1 | 100 hedge
        100 timer       -> start 2 | 200 hedge
        200 timer       -> wait | 1000 timeout (retry_budget)
        250 #1 lost     -> wait | 1000 timeout (retry_budget)
        260 #2 503      -> wait | 265 back_off (retry_budget)
        265 timer       -> start 3 | 365 hedge (retry_budget)
        270 #3 200      -> commit 3
        ",
    );
}

#[test]
fn at_most_four_attempts_are_out() {
    check(
        "on=5xx hedge per_try=100 retries=9",
        "
        0 start         -> start 1 | 100 hedge
        100 timer       -> start 2 | 200 hedge
        200 timer       -> start 3 | 300 hedge
        300 timer       -> start 4 | 400 hedge
        400 timer       -> wait | 1000 timeout
        410 #2 404      -> commit 2
        ",
    );
}

#[test]
fn a_bad_answer_is_passed_on_only_when_nothing_better_can_come() {
    check(
        "on=5xx hedge per_try=100 retries=1",
        "
        0 start         -> start 1 | 100 hedge
        100 timer       -> start 2 | 200 hedge
        110 #2 503      -> wait | 1000 timeout (retry_limit)
        120 #1 503      -> commit 1 (retry_limit)
        ",
    );
    check(
        "on=5xx hedge per_try=100 retries=2",
        "
        0 start         -> start 1 | 100 hedge
        100 timer       -> start 2 | 200 hedge
        110 #2 503      -> wait | 115 back_off
        112 #1 200      -> commit 1
        ",
    );
}

// === What is told and saved ===

#[test]
fn the_request_is_saved_only_while_it_can_be_of_use() {
    let saved = |given: &str, events: &[&str]| {
        let mut sim = Sim::given(given);
        let _: String = sim.event(0, "start");
        for event in events {
            let _: String = sim.event(1, event);
        }
        sim.call.wants_saved_request()
    };
    assert!(saved("", &[]));
    assert!(!saved("no_transparent", &[]));
    assert!(saved("no_transparent on=5xx", &[]));
    assert!(!saved("no_transparent on=5xx no_retry", &[]));
    assert!(!saved("no_transparent on=5xx", &["#1 503"]), "the last attempt");
    assert!(!saved("on=5xx", &["#1 200"]), "decided");
}

#[test]
fn attempts_and_retries_are_counted_apart() {
    let mut sim = Sim::given("on=5xx per_try=100 retries=2");
    for (at, event, expected) in [
        (0, "start", (1, 0, false)),
        (1, "#1 connect", (2, 0, false)),
        (101, "timer", (2, 0, false)),
        (101, "#2 per-try", (2, 0, false)),
        (106, "timer", (3, 1, true)),
        (107, "#3 503", (3, 1, true)),
        (117, "timer", (4, 2, false)),
    ] {
        let _: String = sim.event(at, event);
        let (attempt, retries, after_timeout) = expected;
        assert_eq!(sim.call.counts(), AttemptCounts { attempt, retries, after_timeout }, "{event}");
    }
    assert_eq!(sim.call.attempts(), 4);
}

#[test]
fn reports_of_attempts_that_are_not_out_are_ignored() {
    check(
        "on=5xx",
        "
        0 #1 200      -> wait
        0 start       -> start 1 | 1000 timeout
        0 start       -> wait | 1000 timeout
        1 #2 200      -> wait | 1000 timeout
        2 #1 200      -> commit 1
        3 #1 503      -> wait
        4 timer       -> wait
        ",
    );
}

#[test]
fn a_route_is_read_whole() {
    let mut route = ForwardAction::new(ClusterSpecifier::Cluster("reviews".into()));
    route.retry_policy = Some(Arc::new(RetryPolicy::new(RetryOn::SERVER_ERROR)));
    route.transparent_retry = false;
    let policy = CallPolicy::of_route(&route);
    let mut call = Call::new(&policy, RequestFacts::default(), Timestamp::ZERO);
    assert_eq!(call.start(Timestamp::ZERO), Action::Start(AttemptId(1)));
    let timeout = Timestamp::from_millis(15_000);
    assert_eq!(call.deadline(), Some(Deadline { at: timeout, limit: Limit::Timeout }));
    assert!(call.wants_saved_request());
}

#[test]
fn a_call_is_small() {
    assert!(size_of::<Call>() <= 256, "{} bytes", size_of::<Call>());
}

// === Trailers ===

#[test]
fn trailers_are_wanted_only_while_their_status_may_ask_for_a_retry() {
    let wants = |given: &str, events: &[(u64, &str)]| {
        let mut sim = Sim::given(given);
        for (at, event) in events {
            sim.event(*at, event);
        }
        sim.call.wants_trailers()
    };
    let first: &[(u64, &str)] = &[(0, "start")];
    assert!(wants("grpc on=unavailable", first));
    assert!(!wants("on=unavailable", first), "no gRPC call");
    assert!(!wants("grpc on=5xx,reset", first), "no status of gRPC is retried");
    assert!(!wants("grpc", first), "no policy");
    assert!(!wants("grpc on=unavailable no_retry", first));
    assert!(!wants("grpc on=unavailable not_retriable", first));
    assert!(wants("grpc on=5xx ask:x-envoy-retry-grpc-on=internal", first), "the caller's own");
    assert!(wants("grpc ask:x-envoy-retry-grpc-on=internal", first), "the caller's alone");
    let second: &[(u64, &str)] = &[(0, "start"), (1, "#1 503"), (6, "timer")];
    assert!(!wants("grpc on=5xx,unavailable retries=1", second), "the last attempt");
    assert!(wants("grpc on=5xx,unavailable retries=2", second));
}
