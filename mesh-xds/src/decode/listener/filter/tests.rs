//! What filters mean, what is refused, and that the table says so.

use crate::decode::filter::{config, per_route};
use crate::decode::support::Support;
use crate::decode::support::agreement::check_fields;
use crate::decode::support::filter::ROWS;
use crate::decode::testing::{n, n64, nanos, pct, secs, yes};
use envoy_types::pb::envoy::config::common::mutation_rules::v3 as rules;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::route::v3 as pb_route;
use envoy_types::pb::envoy::extensions::filters::common::fault::v3 as pb_common;
use envoy_types::pb::envoy::extensions::filters::http as pb;
use envoy_types::pb::envoy::r#type::v3 as types;
use mesh_core::model::http_filter::{FaultDuration, FaultPercentage, FaultStatus, MinRtt};
use mesh_core::model::{Fraction, HttpFilterConfig, HttpFilterOverride, RateLimitScope};
use pb::adaptive_concurrency::v3 as adaptive;
use pb::admission_control::v3 as admission;
use pb::body_size_limit::v3 as body_size;
use pb::buffer::v3 as buffer;
use pb::fault::v3 as fault;
use pb::header_mutation::v3 as header_mutation;
use pb::local_ratelimit::v3 as rate;
use prost::{Message, Name};
use std::time::Duration;

/// What a filter says, and what is reported of it: `!` errors, `~` fields without effect.
fn read<M: Message + Name>(message: &M) -> (Option<HttpFilterConfig>, Vec<String>) {
    let decoded = config(&M::type_url(), &message.encode_to_vec()).expect("its type is known");
    let errors = decoded.config.as_ref().err().into_iter().flatten();
    let errors = errors.map(|error| format!("! {error}"));
    let ignored = decoded.ignored.iter().map(|ignored| format!("~ {}", ignored.path));
    let report = errors.chain(ignored).collect();
    (decoded.config.ok(), report)
}

fn read_route<M: Message + Name>(message: &M) -> Result<HttpFilterOverride, String> {
    let decoded = per_route(&M::type_url(), &message.encode_to_vec()).expect("its type is known");
    decoded.config.map_err(|errors| errors[0].to_string())
}

/// A filter with this change is refused, or reported: each line begins so, and has the words.
#[track_caller]
fn check<M: Message + Name>(mut base: M, change: impl FnOnce(&mut M), expected: &[&str]) {
    change(&mut base);
    let (_, report) = read(&base);
    let fits = |found: &String, expected: &&str| {
        let (path, words) = expected.split_once(": ").unwrap_or((expected, ""));
        found.starts_with(path) && found.contains(words)
    };
    let all =
        report.len() == expected.len() && report.iter().zip(expected).all(|(f, e)| fits(f, e));
    assert!(all, "{report:#?} is not {expected:#?}");
}

fn rate_limit() -> rate::LocalRateLimit {
    let interval = secs(1);
    let bucket =
        types::TokenBucket { max_tokens: 5, tokens_per_fill: n(2), fill_interval: interval };
    rate::LocalRateLimit { token_bucket: Some(bucket), ..Default::default() }
}

fn share(percent: u32) -> Option<core::RuntimeFractionalPercent> {
    let value = types::FractionalPercent { numerator: percent, denominator: 0 };
    Some(core::RuntimeFractionalPercent { default_value: Some(value), runtime_key: "".into() })
}

fn option(name: &str) -> core::HeaderValueOption {
    let header = core::HeaderValue { key: name.into(), value: "v".into(), ..Default::default() };
    core::HeaderValueOption { header: Some(header), ..Default::default() }
}

fn controller() -> adaptive::GradientControllerConfig {
    use adaptive::gradient_controller_config as params;
    adaptive::GradientControllerConfig {
        sample_aggregate_percentile: None,
        concurrency_limit_params: Some(params::ConcurrencyLimitCalculationParams {
            concurrency_update_interval: nanos(100_000_000),
            ..Default::default()
        }),
        min_rtt_calc_params: Some(params::MinimumRttCalculationParams {
            interval: secs(30),
            ..Default::default()
        }),
    }
}

fn adaptive_of(controller: adaptive::GradientControllerConfig) -> adaptive::AdaptiveConcurrency {
    use adaptive::adaptive_concurrency::ConcurrencyControllerConfig as Config;
    adaptive::AdaptiveConcurrency {
        concurrency_controller_config: Some(Config::GradientControllerConfig(controller)),
        ..Default::default()
    }
}

fn admission_control() -> admission::AdmissionControl {
    use admission::admission_control::{EvaluationCriteria, SuccessCriteria};
    admission::AdmissionControl {
        evaluation_criteria: Some(EvaluationCriteria::SuccessCriteria(SuccessCriteria::default())),
        ..Default::default()
    }
}

fn http_fault() -> fault::HttpFault {
    let percentage = Some(types::FractionalPercent { numerator: 50, denominator: 0 });
    fault::HttpFault {
        delay: Some(pb_common::FaultDelay {
            percentage,
            fault_delay_secifier: Some(pb_common::fault_delay::FaultDelaySecifier::FixedDelay(
                secs(2).unwrap(),
            )),
        }),
        abort: Some(fault::FaultAbort {
            error_type: Some(fault::fault_abort::ErrorType::GrpcStatus(14)),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn edit(action: rules::header_mutation::Action) -> rules::HeaderMutation {
    rules::HeaderMutation { action: Some(action) }
}

#[test]
fn every_field_is_in_the_table() {
    check_fields(ROWS, "LocalRateLimit", &rate::LocalRateLimit::default(), &[]);
    let kinds: &[(&str, &[&str])] =
        &[("concurrency_controller_config", &["gradient_controller_config"])];
    check_fields(ROWS, "AdaptiveConcurrency", &adaptive::AdaptiveConcurrency::default(), kinds);
    let controller = adaptive::GradientControllerConfig::default();
    check_fields(ROWS, "GradientControllerConfig", &controller, &[]);
    let kinds: &[(&str, &[&str])] = &[("evaluation_criteria", &["success_criteria"])];
    check_fields(ROWS, "AdmissionControl", &admission::AdmissionControl::default(), kinds);
    check_fields(ROWS, "HTTPFault", &fault::HttpFault::default(), &[]);
    check_fields(ROWS, "HeaderMutation", &header_mutation::HeaderMutation::default(), &[]);
    check_fields(ROWS, "Mutations", &header_mutation::Mutations::default(), &[]);
    check_fields(ROWS, "Buffer", &buffer::Buffer::default(), &[]);
    let kinds: &[(&str, &[&str])] = &[("override", &["disabled", "buffer"])];
    check_fields(ROWS, "BufferPerRoute", &buffer::BufferPerRoute::default(), kinds);
    check_fields(ROWS, "BodySizeLimit", &body_size::BodySizeLimit::default(), &[]);
}

/// What the table says of a field, against what a filter that sets it is.
#[track_caller]
fn agrees<M: Message + Name>(message: &str, field: &str, base: M, set: fn(&mut M)) {
    let row = ROWS.iter().find(|row| (row.message, row.field) == (message, field)).unwrap();
    let mut changed = base;
    set(&mut changed);
    let (_, report) = read(&changed);
    let hit = |mark: &str| report.iter().any(|line| line.starts_with(mark) && line.contains(field));
    match row.support {
        Support::Used => panic!("{message}.{field} needs no setter"),
        Support::Ignored => assert!(hit("~") && !hit("!"), "{message}.{field}: {report:?}"),
        Support::Refused => assert!(hit("!"), "{message}.{field}: {report:?}"),
    }
}

/// Sets a field.
type Set<M> = (&'static str, fn(&mut M));

/// Counts what was checked, so that no row is left out.
#[track_caller]
fn all_agree<M: Message + Name + Clone>(message: &str, base: &M, sets: &[Set<M>]) {
    for (field, set) in sets {
        agrees(message, field, base.clone(), *set);
    }
    let rows = ROWS.iter().filter(|row| row.message == message && row.support != Support::Used);
    assert_eq!(rows.count(), sets.len(), "{message}");
}

#[test]
fn effects_are_those_of_the_table() {
    all_agree::<rate::LocalRateLimit>(
        "LocalRateLimit",
        &rate_limit(),
        &[
            ("stat_prefix", |m| m.stat_prefix = "x".into()),
            ("descriptors", |m| m.descriptors = vec![Default::default()]),
            ("stage", |m| m.stage = 1),
            ("local_cluster_rate_limit", |m| m.local_cluster_rate_limit = Some(Default::default())),
            ("vh_rate_limits", |m| m.vh_rate_limits = 1),
            ("always_consume_default_token_bucket", |m| {
                m.always_consume_default_token_bucket = yes();
            }),
            ("rate_limits", |m| m.rate_limits = vec![Default::default()]),
            ("max_dynamic_descriptors", |m| m.max_dynamic_descriptors = n(1)),
        ],
    );
    all_agree::<fault::HttpFault>(
        "HTTPFault",
        &http_fault(),
        &[
            ("upstream_cluster", |m| m.upstream_cluster = "c".into()),
            ("response_rate_limit", |m| m.response_rate_limit = Some(Default::default())),
            ("delay_percent_runtime", |m| m.delay_percent_runtime = "x".into()),
            ("abort_percent_runtime", |m| m.abort_percent_runtime = "x".into()),
            ("delay_duration_runtime", |m| m.delay_duration_runtime = "x".into()),
            ("abort_http_status_runtime", |m| m.abort_http_status_runtime = "x".into()),
            ("max_active_faults_runtime", |m| m.max_active_faults_runtime = "x".into()),
            ("response_rate_limit_percent_runtime", |m| {
                m.response_rate_limit_percent_runtime = "x".into();
            }),
            ("abort_grpc_status_runtime", |m| m.abort_grpc_status_runtime = "x".into()),
            ("disable_downstream_cluster_stats", |m| m.disable_downstream_cluster_stats = true),
            ("filter_metadata", |m| m.filter_metadata = Some(Default::default())),
        ],
    );
    fn within(m: &mut header_mutation::HeaderMutation) -> &mut header_mutation::Mutations {
        m.mutations.get_or_insert_default()
    }
    all_agree::<header_mutation::HeaderMutation>(
        "Mutations",
        &header_mutation::HeaderMutation::default(),
        &[
            ("query_parameter_mutations", |m| {
                within(m).query_parameter_mutations = vec![Default::default()];
            }),
            ("response_trailers_mutations", |m| {
                within(m).response_trailers_mutations = vec![Default::default()];
            }),
            ("request_trailers_mutations", |m| {
                within(m).request_trailers_mutations = vec![Default::default()];
            }),
        ],
    );
}

#[test]
fn a_local_rate_limit() {
    let mut message = rate_limit();
    let HttpFilterConfig::LocalRateLimit(limit) = read(&message).0.unwrap() else { panic!() };
    let bucket = limit.token_bucket.unwrap();
    assert_eq!((bucket.max_tokens, bucket.tokens_per_fill), (5, 2));
    assert_eq!(bucket.fill_interval, Duration::from_secs(1));
    // Envoy's defaults: nothing is looked at.
    assert_eq!((limit.filter_enabled, limit.filter_enforced), (Fraction::NONE, Fraction::NONE));
    assert_eq!((limit.status.as_u16(), limit.scope), (429, RateLimitScope::Process));
    message.filter_enabled = share(100);
    message.filter_enforced = share(25);
    message.status = Some(types::HttpStatus { code: 503 });
    message.local_rate_limit_per_downstream_connection = true;
    message.response_headers_to_add = vec![option("x-a")];
    message.request_headers_to_add_when_not_enforced = vec![option("x-b")];
    message.enable_x_ratelimit_headers = 1;
    let HttpFilterConfig::LocalRateLimit(limit) = read(&message).0.unwrap() else { panic!() };
    assert_eq!(
        (limit.filter_enabled, limit.filter_enforced),
        (Fraction::ALL, Fraction::percent(25))
    );
    assert_eq!((limit.status.as_u16(), limit.scope), (503, RateLimitScope::Connection));
    assert_eq!(limit.response_headers_to_add.len(), 1);
    assert_eq!(limit.request_headers_to_add_when_not_enforced.len(), 1);
    assert!(limit.enable_x_ratelimit_headers);
    // Envoy: what is no error is 429.
    message.status = Some(types::HttpStatus { code: 200 });
    let HttpFilterConfig::LocalRateLimit(limit) = read(&message).0.unwrap() else { panic!() };
    assert_eq!(limit.status.as_u16(), 429);
}

#[test]
fn a_local_rate_limit_is_refused() {
    fn bucket(m: &mut rate::LocalRateLimit) -> &mut types::TokenBucket {
        m.token_bucket.as_mut().unwrap()
    }
    check(rate_limit(), |_| {}, &[]);
    check(rate_limit(), |m| bucket(m).max_tokens = 0, &["! token_bucket.max_tokens: at least 1"]);
    check(rate_limit(), |m| bucket(m).tokens_per_fill = n(0), &["! token_bucket.tokens_per_fill"]);
    check(
        rate_limit(),
        |m| bucket(m).fill_interval = nanos(49_000_000),
        &["! token_bucket.fill_interval: 50 ms"],
    );
    check(
        rate_limit(),
        |m| bucket(m).fill_interval = None,
        &["! token_bucket.fill_interval: required"],
    );
    check(
        rate_limit(),
        |m| m.filter_enabled = Some(Default::default()),
        &["! filter_enabled.default_value"],
    );
    check(rate_limit(), |m| m.status = Some(types::HttpStatus { code: 299 }), &["! status: 299"]);
    check(
        rate_limit(),
        |m| m.response_headers_to_add = vec![option("a b")],
        &["! response_headers_to_add[0].header.key"],
    );
    // A route that says something says a limit; a chain may leave it to routes.
    let none = rate::LocalRateLimit::default();
    assert_eq!(read(&none).1, [""; 0]);
    assert!(read_route(&none).unwrap_err().starts_with("token_bucket: "));
    assert!(matches!(
        read_route(&rate_limit()),
        Ok(HttpFilterOverride::Config(HttpFilterConfig::LocalRateLimit(_)))
    ));
}

#[test]
fn adaptive_concurrency_has_envoys_defaults() {
    let (found, report) = read(&adaptive_of(controller()));
    assert_eq!(report, [""; 0]);
    let HttpFilterConfig::AdaptiveConcurrency(limit) = found.unwrap() else { panic!() };
    let expected = mesh_core::model::AdaptiveConcurrency::new(
        Duration::from_millis(100),
        Duration::from_secs(30),
    );
    assert_eq!(*limit, expected);
    let mut fixed = controller();
    let params = fixed.min_rtt_calc_params.as_mut().unwrap();
    (params.interval, params.fixed_value) = (secs(0), secs(1));
    let HttpFilterConfig::AdaptiveConcurrency(limit) = read(&adaptive_of(fixed)).0.unwrap() else {
        panic!()
    };
    assert_eq!(limit.min_rtt, MinRtt::Fixed(Duration::from_secs(1)));
}

#[test]
fn adaptive_concurrency_is_refused() {
    let check_of = |change: fn(&mut adaptive::GradientControllerConfig), expected: &str| {
        let mut controller = controller();
        change(&mut controller);
        check(adaptive_of(controller), |_| {}, &[expected]);
    };
    const AT: &str = "! gradient_controller_config";
    check(adaptive::AdaptiveConcurrency::default(), |_| {}, &[&format!("{AT}: required")]);
    check_of(|m| m.concurrency_limit_params = None, &format!("{AT}.concurrency_limit_params"));
    check_of(|m| m.min_rtt_calc_params = None, &format!("{AT}.min_rtt_calc_params"));
    check_of(
        |m| m.sample_aggregate_percentile = pct(101.0),
        &format!("{AT}.sample_aggregate_percentile"),
    );
    check_of(
        |m| m.min_rtt_calc_params.as_mut().unwrap().interval = None,
        &format!("{AT}.min_rtt_calc_params.fixed_value"),
    );
    check_of(
        |m| m.min_rtt_calc_params.as_mut().unwrap().jitter = pct(-1.0),
        &format!("{AT}.min_rtt_calc_params.jitter"),
    );
    check_of(
        |m| m.concurrency_limit_params.as_mut().unwrap().max_concurrency_limit = n(0),
        &format!("{AT}.concurrency_limit_params.max_concurrency_limit"),
    );
}

#[test]
fn admission_control_has_envoys_defaults_and_bounds() {
    use admission::admission_control::{EvaluationCriteria, SuccessCriteria, success_criteria};
    let (found, report) = read(&admission_control());
    assert_eq!(report, [""; 0]);
    let HttpFilterConfig::AdmissionControl(control) = found.unwrap() else { panic!() };
    assert_eq!(*control, mesh_core::model::AdmissionControl::default());
    let with = |criteria: SuccessCriteria| {
        let mut message = admission_control();
        message.evaluation_criteria = Some(EvaluationCriteria::SuccessCriteria(criteria));
        message
    };
    let http = |start, end| {
        let range = types::Int32Range { start, end };
        let http = success_criteria::HttpCriteria { http_success_status: vec![range] };
        with(SuccessCriteria { http_criteria: Some(http), ..Default::default() })
    };
    let HttpFilterConfig::AdmissionControl(control) = read(&http(200, 300)).0.unwrap() else {
        panic!()
    };
    assert_eq!(control.http_success_status, vec![200..300]);
    let at = "! success_criteria.http_criteria.http_success_status[0]";
    check(http(99, 300), |_| {}, &[at]);
    check(http(300, 200), |_| {}, &[at]);
    check(http(200, 601), |_| {}, &[at]);
    let grpc = success_criteria::GrpcCriteria { grpc_success_status: vec![0, 17] };
    check(
        with(SuccessCriteria { grpc_criteria: Some(grpc), ..Default::default() }),
        |_| {},
        &["! success_criteria.grpc_criteria.grpc_success_status[1]: 17"],
    );
    let empty = SuccessCriteria {
        http_criteria: Some(success_criteria::HttpCriteria::default()),
        grpc_criteria: Some(success_criteria::GrpcCriteria::default()),
    };
    check(
        with(empty),
        |_| {},
        &[
            "! success_criteria.http_criteria.http_success_status: empty",
            "! success_criteria.grpc_criteria.grpc_success_status: empty",
        ],
    );
    check(admission_control(), |m| m.evaluation_criteria = None, &["! success_criteria"]);
    check(admission_control(), |m| m.sampling_window = secs(0), &["! sampling_window: 1 s"]);
    check(
        admission_control(),
        |m| {
            let value = types::Percent { value: 0.0 };
            let runtime_key = "k".into();
            m.sr_threshold = Some(core::RuntimePercent { default_value: Some(value), runtime_key });
        },
        &["! sr_threshold: more than 0 %", "~ sr_threshold.runtime_key"],
    );
}

#[test]
fn faults() {
    let (found, report) = read(&http_fault());
    assert_eq!(report, [""; 0]);
    let HttpFilterConfig::Fault(found) = found.unwrap() else { panic!() };
    let delay = found.delay.unwrap();
    assert_eq!(delay.duration, FaultDuration::Fixed(Duration::from_secs(2)));
    assert_eq!(delay.percentage, FaultPercentage::percent(50));
    let abort = found.abort.as_ref().unwrap();
    // Envoy: no percentage is none.
    assert_eq!((abort.status, abort.percentage.numerator), (FaultStatus::Grpc(14), 0));
    let status = |status| {
        move |m: &mut fault::HttpFault| {
            m.abort.as_mut().unwrap().error_type =
                Some(fault::fault_abort::ErrorType::HttpStatus(status));
        }
    };
    check(http_fault(), status(503), &[]);
    check(http_fault(), status(199), &["! abort.http_status: 200 to 599"]);
    check(http_fault(), status(600), &["! abort.http_status: 200 to 599"]);
    check(
        http_fault(),
        |m| m.abort.as_mut().unwrap().error_type = None,
        &["! abort.http_status: grpc_status"],
    );
    check(
        http_fault(),
        |m| m.delay.as_mut().unwrap().fault_delay_secifier = None,
        &["! delay.fixed_delay"],
    );
    let matcher = pb_route::HeaderMatcher { name: "a b".into(), ..Default::default() };
    check(
        http_fault(),
        |m| m.headers = vec![matcher],
        &["! headers[0].name", "! headers[0]: match"],
    );
}

#[test]
fn edits_of_headers() {
    use rules::header_mutation::{Action, RemoveOnMatch};
    let mutations = header_mutation::Mutations {
        request_mutations: vec![
            edit(Action::Append(option("x-a"))),
            edit(Action::Remove("b".into())),
        ],
        response_mutations: vec![edit(Action::Remove("c".into()))],
        ..Default::default()
    };
    let base = header_mutation::HeaderMutation {
        mutations: Some(mutations.clone()),
        most_specific_header_mutations_wins: true,
    };
    let HttpFilterConfig::HeaderMutation(found) = read(&base).0.unwrap() else { panic!() };
    assert_eq!((found.mutations.request.len(), found.mutations.response.len()), (2, 1));
    assert!(found.most_specific_header_mutations_wins);
    let route = header_mutation::HeaderMutationPerRoute { mutations: Some(mutations) };
    assert!(matches!(read_route(&route), Ok(HttpFilterOverride::Config(_))));
    let with = |edit| {
        move |m: &mut header_mutation::HeaderMutation| {
            m.mutations.as_mut().unwrap().request_mutations = vec![edit];
        }
    };
    let at = "! mutations.request_mutations[0]";
    check(
        base.clone(),
        with(edit(Action::Remove("host".into()))),
        &[&format!("{at}.remove: host")],
    );
    check(base.clone(), with(edit(Action::Remove(":path".into()))), &[&format!("{at}.remove")]);
    let on_match = edit(Action::RemoveOnMatch(RemoveOnMatch::default()));
    check(base.clone(), with(on_match), &[&format!("{at}.remove_on_match")]);
    check(base, with(rules::HeaderMutation::default()), &[&format!("{at}: append")]);
}

#[test]
fn sizes_of_bodies() {
    let limit = |found: Option<HttpFilterConfig>| match found {
        Some(HttpFilterConfig::BodySizeLimit(limit)) => limit.max_request_bytes,
        other => panic!("{other:?}"),
    };
    assert_eq!(limit(read(&buffer::Buffer { max_request_bytes: n(7) }).0), 7);
    let large = body_size::BodySizeLimit { max_request_bytes: n64(1 << 40) };
    assert_eq!(limit(read(&large).0), 1 << 40);
    check(buffer::Buffer::default(), |_| {}, &["! max_request_bytes"]);
    check(buffer::Buffer { max_request_bytes: n(0) }, |_| {}, &["! max_request_bytes"]);
    use buffer::buffer_per_route::Override;
    let route = |said| read_route(&buffer::BufferPerRoute { r#override: said });
    assert_eq!(route(Some(Override::Disabled(true))), Ok(HttpFilterOverride::Disabled));
    assert!(route(Some(Override::Buffer(buffer::Buffer { max_request_bytes: n(7) }))).is_ok());
    assert!(route(None).unwrap_err().starts_with("disabled: "));
    let nothing = Some(Override::Buffer(buffer::Buffer::default()));
    assert!(route(nothing).unwrap_err().starts_with("buffer.max_request_bytes: "));
}

#[test]
fn what_is_no_filter_of_ours() {
    assert!(config("type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua", &[]).is_none());
    let broken = config(&buffer::Buffer::type_url(), &[0x0a, 0xff]).unwrap();
    assert!(broken.config.unwrap_err()[0].to_string().contains("not a valid"));
}
