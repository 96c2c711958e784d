//! There and back again: filters, and what routes say of them.

use crate::decode::filter::{config, per_route};
use crate::encode::{filter_config, filter_override};
use http::{HeaderName, HeaderValue, StatusCode};
use mesh_core::model::http_filter::{
    Fault, FaultAbort, FaultDelay, FaultDenominator, FaultDuration, FaultPercentage, FaultStatus,
    MinRtt,
};
use mesh_core::model::matcher::HeaderMatcherKind;
use mesh_core::model::{
    AdaptiveConcurrency, AdmissionControl, AppendAction, BodySizeLimit, ConcurrencyLimit, Fraction,
    HeaderMatcher, HeaderMutation, HeaderMutationFilter, HttpFilterConfig, HttpFilterOverride,
    LocalRateLimit, RateLimitScope, TokenBucket,
};
use proptest::prelude::*;
use std::sync::Arc;
use std::time::Duration;

fn edit(removals: bool) -> impl Strategy<Value = HeaderMutation> {
    let name = prop_oneof![Just("x-a"), Just("b"), Just("x-long-name")];
    let name = name.prop_map(HeaderName::from_static);
    let value = prop_oneof![Just("v"), Just("100%"), Just("")].prop_map(HeaderValue::from_static);
    let action = prop_oneof![
        Just(AppendAction::AppendIfExistsOrAdd),
        Just(AppendAction::AddIfAbsent),
        Just(AppendAction::OverwriteIfExistsOrAdd),
        Just(AppendAction::OverwriteIfExists),
    ];
    (name, value, action, any::<bool>()).prop_map(move |(name, value, action, remove)| match remove
        && removals
    {
        true => HeaderMutation::Remove(name),
        false => HeaderMutation::Append { name, value, action },
    })
}

fn edits(removals: bool) -> impl Strategy<Value = Vec<HeaderMutation>> {
    proptest::collection::vec(edit(removals), 0..4)
}

fn share() -> impl Strategy<Value = Fraction> {
    (0_u32..=1_000_000).prop_map(Fraction::per_million)
}

fn status() -> impl Strategy<Value = StatusCode> {
    prop_oneof![
        Just(StatusCode::TOO_MANY_REQUESTS),
        Just(StatusCode::SERVICE_UNAVAILABLE),
        Just(StatusCode::BAD_REQUEST),
    ]
}

fn local_rate_limit() -> impl Strategy<Value = HttpFilterConfig> {
    let bucket = (1_u32..1000, 1_u32..1000, 50_u64..100_000);
    let lists = (edits(false), edits(false));
    (bucket, share(), share(), status(), lists, any::<[bool; 4]>()).prop_map(
        |((max, per_fill, millis), enabled, enforced, status, (request, response), flags)| {
            let bucket = TokenBucket::new(max, per_fill, Duration::from_millis(millis));
            let mut limit = LocalRateLimit::new(bucket);
            (limit.filter_enabled, limit.filter_enforced) = (enabled, enforced);
            limit.status = status;
            limit.request_headers_to_add_when_not_enforced = request;
            limit.response_headers_to_add = response;
            limit.scope =
                if flags[0] { RateLimitScope::Connection } else { RateLimitScope::Process };
            limit.rate_limited_as_resource_exhausted = flags[1];
            limit.enable_x_ratelimit_headers = flags[2];
            limit.enable_retry_after_header = flags[3];
            HttpFilterConfig::LocalRateLimit(Arc::new(limit))
        },
    )
}

fn adaptive_concurrency() -> impl Strategy<Value = HttpFilterConfig> {
    let numbers = (1_u32..2000, 1_u32..100, proptest::option::of(1_u32..50), 1_u32..500);
    let percents = (0_u32..=100, 0_u32..=100, 0_u32..=100);
    let times = (1_u64..10_000, 1_u64..100_000);
    (numbers, percents, times, status(), any::<[bool; 2]>()).prop_map(
        |((most, least, lowest, count), (percentile, buffer, jitter), times, status, flags)| {
            let (update, interval) =
                (Duration::from_millis(times.0), Duration::from_millis(times.1));
            let mut limit = AdaptiveConcurrency::new(update, interval);
            limit.enabled = flags[0];
            limit.status = status;
            limit.max_concurrency_limit = most;
            limit.min_concurrency = least;
            limit.min_concurrency_limit = lowest;
            limit.sample_aggregate_percentile = percentile.into();
            limit.buffer = buffer.into();
            limit.min_rtt = match flags[1] {
                true => MinRtt::Fixed(interval),
                false => MinRtt::Sampled { interval, request_count: count, jitter: jitter.into() },
            };
            HttpFilterConfig::AdaptiveConcurrency(Arc::new(limit))
        },
    )
}

fn admission_control() -> impl Strategy<Value = HttpFilterConfig> {
    let ranges = proptest::collection::vec((100_u16..=600, 100_u16..=600), 1..3);
    let statuses = proptest::collection::vec(0_u32..=16, 1..5);
    (ranges, statuses, 1_u64..=3600, 1_u32..=100, 0_u32..1000, any::<bool>()).prop_map(
        |(ranges, statuses, window, percent, rate, enabled)| {
            let mut control = AdmissionControl::default();
            control.enabled = enabled;
            let ranges = ranges.into_iter().map(|(a, b)| a.min(b)..a.max(b));
            control.http_success_status = ranges.collect();
            control.grpc_success_status = statuses;
            control.sampling_window = Duration::from_secs(window);
            control.sr_threshold = percent.into();
            control.max_rejection_probability = f64::from(percent) / 2.0;
            control.aggression = f64::from(percent) / 10.0;
            control.rps_threshold = rate;
            HttpFilterConfig::AdmissionControl(Arc::new(control))
        },
    )
}

fn percentage() -> impl Strategy<Value = FaultPercentage> {
    let denominator = prop_oneof![
        Just(FaultDenominator::Hundred),
        Just(FaultDenominator::TenThousand),
        Just(FaultDenominator::Million),
    ];
    (any::<u32>(), denominator)
        .prop_map(|(numerator, denominator)| FaultPercentage { numerator, denominator })
}

fn fault() -> impl Strategy<Value = HttpFilterConfig> {
    let duration = prop_oneof![
        (1_u64..100_000).prop_map(|millis| FaultDuration::Fixed(Duration::from_millis(millis))),
        Just(FaultDuration::Header),
    ];
    let delay = (duration, percentage())
        .prop_map(|(duration, percentage)| FaultDelay { duration, percentage });
    let status = prop_oneof![
        (200_u16..600).prop_map(|code| FaultStatus::Http(StatusCode::from_u16(code).unwrap())),
        any::<u32>().prop_map(FaultStatus::Grpc),
        Just(FaultStatus::Header),
    ];
    let body = prop_oneof![Just(""), Just("broken")];
    let abort = (status, percentage(), body).prop_map(|(status, percentage, body)| FaultAbort {
        status,
        percentage,
        response_body: body.into(),
    });
    use proptest::option::of as option;
    (option(delay), option(abort), option(any::<u32>()), any::<[bool; 2]>()).prop_map(
        |(delay, abort, most, flags)| {
            let mut fault = Fault::default();
            (fault.delay, fault.abort, fault.max_active_faults) = (delay, abort, most);
            if flags[0] {
                let name = HeaderName::from_static("x-user");
                fault.headers = vec![HeaderMatcher::new(name, HeaderMatcherKind::Present(true))];
            }
            if flags[1] {
                fault.downstream_nodes = vec!["n1".into(), "n2".into()];
            }
            HttpFilterConfig::Fault(Arc::new(fault))
        },
    )
}

fn header_mutation() -> impl Strategy<Value = HttpFilterConfig> {
    (edits(true), edits(true), any::<bool>()).prop_map(|(request, response, wins)| {
        let mut filter = HeaderMutationFilter::default();
        (filter.mutations.request, filter.mutations.response) = (request, response);
        filter.most_specific_header_mutations_wins = wins;
        HttpFilterConfig::HeaderMutation(Arc::new(filter))
    })
}

fn filter() -> impl Strategy<Value = HttpFilterConfig> {
    let size = (1_u64..)
        .prop_map(|most| HttpFilterConfig::BodySizeLimit(Arc::new(BodySizeLimit::new(most))));
    prop_oneof![
        local_rate_limit(),
        adaptive_concurrency(),
        admission_control(),
        fault(),
        header_mutation(),
        size,
    ]
}

proptest! {
    #[test]
    fn a_filter_is_the_same_there_and_back(filter in filter()) {
        let any = filter_config(&filter).expect("Envoy has it");
        let decoded = config(&any.type_url, &any.value).expect("its type is known");
        prop_assert_eq!(decoded.config, Ok(filter.clone()));

        // What Envoy has nothing for in routes is not read there.
        let said = HttpFilterOverride::Config(filter);
        let any = filter_override(&said).expect("Envoy has it");
        if let Some(decoded) = per_route(&any.type_url, &any.value) {
            let mut expected = said;
            if let HttpFilterOverride::Config(HttpFilterConfig::HeaderMutation(edits)) = &mut expected {
                Arc::make_mut(edits).most_specific_header_mutations_wins = false;
            }
            prop_assert_eq!(decoded.config, Ok(expected));
        }
    }
}

#[test]
fn what_envoy_lacks_is_left_out() {
    let none = |config: HttpFilterConfig| assert_eq!(filter_config(&config), None, "{config:?}");
    none(HttpFilterConfig::ConcurrencyLimit(Arc::new(ConcurrencyLimit::default())));
    let mut limit = LocalRateLimit::new(TokenBucket::new(1, 1, Duration::from_secs(1)));
    limit.scope = RateLimitScope::Peer;
    none(HttpFilterConfig::LocalRateLimit(Arc::new(limit)));
    let mut control = AdmissionControl::default();
    control.enforced = Fraction::NONE;
    none(HttpFilterConfig::AdmissionControl(Arc::new(control)));
    let mut size = BodySizeLimit::new(1);
    size.enforced = Fraction::NONE;
    none(HttpFilterConfig::BodySizeLimit(Arc::new(size)));
}
