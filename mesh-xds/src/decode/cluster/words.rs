//! Our own words of clusters: what [`encode`](crate::encode) writes where Envoy has no field.
//!
//! They come after the fields and change what those said; a word that finds nothing to change is
//! reported like one that is not known. Bounds are those of `mesh.yaml` where the model has none.

use super::outlier_words;
use crate::decode::Context;
use crate::decode::address::is_host;
use crate::decode::common::Walk;
use crate::decode::route::hash;
use crate::decode::words::{self, Words};
use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use mesh_core::model::{
    self, ConnectionOptions, Discovery, DnsLookupFamily, DnsOptions, LbAlgorithm, LbPolicy,
    SlowStart,
};
use std::sync::Arc;
use std::time::Duration;

/// As `mesh.yaml` bounds the ratio of a retry budget.
const LARGEST_RATIO: f64 = 1000.0;
/// As the fields bound the aggression of a slow start.
const AGGRESSION: std::ops::RangeInclusive<f64> = 0.001..=1000.0;
/// The shortest window or decay: what is measured over no time is nothing.
const SHORTEST: Duration = Duration::from_nanos(1);

/// Whether a cluster's words say that it is not HTTP.
pub(super) fn is_tcp(message: &Cluster) -> bool {
    words::says(message.metadata.as_ref(), "protocol", "tcp")
}

/// Reads the words of `message` into `model`.
pub(super) fn decode(
    walk: &mut Walk,
    message: &Cluster,
    model: &mut model::Cluster,
    context: &Context,
) {
    words::read(walk, message.metadata.as_ref(), |walk, words| {
        if let Some(protocol) = words.one_of(walk, "protocol", &[("tcp", model::Protocol::Tcp)]) {
            model.protocol = protocol;
        }
        model.proxy_protocol = words.one_of(
            walk,
            "proxy_protocol",
            &[("v1", model::ProxyProtocol::V1), ("v2", model::ProxyProtocol::V2)],
        );
        retries(walk, words, model);
        words.within(walk, "lb", |walk, words| lb(walk, words, &mut model.lb_policy, context));
        let rules = model.outlier_detection.as_mut().zip(message.outlier_detection.as_ref());
        if let Some((rules, message)) = rules {
            words.within(walk, "outlier_detection", |walk, words| {
                outlier_words::decode(walk, words, message, rules);
            });
        }
        words.within(walk, "connection", |walk, words| {
            connection(walk, words, &mut model.connection);
        });
        match &mut model.discovery {
            Discovery::StrictDns(options) => dns(walk, words, options),
            Discovery::LogicalDns(options) => {
                dns(walk, words, options);
                names(walk, words, options);
            }
            _ => {}
        }
    });
}

fn retries(walk: &mut Walk, words: &mut Words<'_>, model: &mut model::Cluster) {
    let budget = &mut model.retry_budget;
    words.within(walk, "retry_budget", |walk, words| {
        set(words.flag(walk, "enabled"), &mut budget.enabled);
        set(words.real(walk, "ratio", 0.0..=LARGEST_RATIO), &mut budget.ratio);
        set(words.number(walk, "min_per_second", 0..=u32::MAX), &mut budget.min_per_second);
        set(words.time(walk, "window", SHORTEST), &mut budget.window);
    });
    let breakers = &mut model.circuit_breakers;
    words.within(walk, "max_retries", |walk, words| {
        let mut limit = |key: &str, limit: &mut Option<u32>| {
            *limit = words.number(walk, key, 0..=u32::MAX).or(*limit);
        };
        limit("default", &mut breakers.default.max_retries);
        limit("high", &mut breakers.high.max_retries);
    });
}

fn lb(walk: &mut Walk, words: &mut Words<'_>, policy: &mut LbPolicy, context: &Context) {
    set(words.flag(walk, "fail_traffic_on_panic"), &mut policy.fail_traffic_on_panic);
    let factor = words.number(walk, "overprovisioning_factor", 0..=u32::MAX);
    set(factor, &mut policy.overprovisioning_factor);
    if let Some(inputs) = hash::from_words(walk, words, "hash_policy") {
        // The field that says it too, in the next best way, puts it first.
        (policy.hash_policy, policy.hash_policy_first) = (inputs, false);
    }
    set(words.flag(walk, "hash_policy_first"), &mut policy.hash_policy_first);
    words.within(walk, "slow_start", |walk, words| {
        let window = words.time(walk, "window", SHORTEST);
        let mut slow = SlowStart::new(window.unwrap_or_default());
        set(words.real(walk, "aggression", AGGRESSION), &mut slow.aggression);
        set(words.number(walk, "min_weight_percent", 0..=100), &mut slow.min_weight_percent);
        policy.slow_start = window.map(|_| slow);
    });
    words.within(walk, "peak_ewma", |walk, words| {
        policy.algorithm = peak_ewma(walk, words);
    });
    if let Some(name) = words.text(walk, "custom") {
        match context.lb_policies.get(name) {
            Some(name) => policy.algorithm = LbAlgorithm::Custom(Arc::clone(name)),
            // gRFC A52: what is not known stands back for what is.
            None => walk.ignored(
                true,
                "custom",
                "no policy of this name is registered in code; what the fields say is taken",
            ),
        }
    }
}

fn peak_ewma(walk: &mut Walk, words: &mut Words<'_>) -> LbAlgorithm {
    let mut found = LbAlgorithm::peak_ewma();
    if let LbAlgorithm::PeakEwma { decay, default_rtt, failure_penalty } = &mut found {
        set(words.time(walk, "decay", SHORTEST), decay);
        set(words.time(walk, "default_rtt", Duration::ZERO), default_rtt);
        set(words.time(walk, "failure_penalty", Duration::ZERO), failure_penalty);
    }
    found
}

fn connection(walk: &mut Walk, words: &mut Words<'_>, options: &mut ConnectionOptions) {
    let mut time =
        |key: &str, time: &mut Duration| set(words.time(walk, key, Duration::ZERO), time);
    time("connect_timeout", &mut options.connect_timeout);
    time("happy_eyeballs_delay", &mut options.happy_eyeballs_delay);
    time("keepalive_interval", &mut options.keepalive_interval);
    time("keepalive_timeout", &mut options.keepalive_timeout);
    time("max_connection_age", &mut options.max_connection_age);
    set(words.flag(walk, "keepalive_while_idle"), &mut options.keepalive_while_idle);
    let jitter = words.number(walk, "max_connection_age_jitter", 0..=100);
    set(jitter, &mut options.max_connection_age_jitter);
    let most = words.number(walk, "max_requests_per_connection", 0..=u32::MAX);
    set(most, &mut options.max_requests_per_connection);
    let streams = words.number(walk, "max_concurrent_streams", 0..=u32::MAX);
    set(streams, &mut options.max_concurrent_streams);
    let head = words.number(walk, "max_response_head", 0..=u32::MAX);
    set(head, &mut options.max_response_head);
    let headers = words.number(walk, "max_response_headers", 0..=u32::MAX);
    set(headers, &mut options.max_response_headers);
}

fn dns(walk: &mut Walk, words: &mut Words<'_>, options: &mut DnsOptions) {
    let families = [("default", None), ("auto", Some(DnsLookupFamily::Auto))];
    set(words.one_of(walk, "dns_lookup_family", &families), &mut options.lookup_family);
    set(words.time(walk, "dns_min_refresh_rate", SHORTEST), &mut options.min_refresh_rate);
}

/// All names of a logical cluster, of which Envoy and gRPC take one.
fn names(walk: &mut Walk, words: &mut Words<'_>, options: &mut DnsOptions) {
    let Some(texts) = words.texts(walk, "dns_names") else { return };
    let mut names = Vec::with_capacity(texts.len());
    for (at, text) in texts.into_iter().enumerate() {
        let parts = text.rsplit_once(':').filter(|(name, _)| is_host(name));
        let port = |port: &str| port.parse::<u16>().ok().filter(|port| *port > 0);
        match parts.and_then(|(name, text)| Some((name, port(text)?))) {
            Some((name, port)) => names.push((Arc::from(name), port)),
            None => walk.error_at(
                format_args!("dns_names[{at}]"),
                format_args!(
                    "`{}` is no name with a port: write `host:443`",
                    crate::decode::address::shorten(text)
                ),
            ),
        }
    }
    if names.is_empty() {
        walk.error_at("dns_names", "there is no name: write one, or leave the word out");
    }
    options.names = names;
}

/// What was said takes the place of what is there.
fn set<T>(said: Option<T>, target: &mut T) {
    if let Some(said) = said {
        *target = said;
    }
}
