//! Our own words of route configurations, virtual hosts and routes: what [`encode`](crate::encode)
//! writes where Envoy has no field.
//!
//! They come after the fields and change what those said. A word that finds nothing to change (a
//! `retry_policy` where there is none) is reported like one that is not known.

use super::header::header_name;
use super::{hash, retry, rewrite};
use crate::decode::common::Walk;
use crate::decode::words::{self, Words};
use crate::encode::METADATA_KEY;
use crate::{XdsRouteConfiguration, ask};
use envoy_types::pb::envoy::config::core::v3::Metadata;
use http::StatusCode;
use mesh_core::call::MAX_RETRIES;
use mesh_core::model::retry_policy::ResetHeaderFormat;
use mesh_core::model::{
    BackOff, ClusterSpecifier, ForwardAction, Metadata as RouteMetadata, PathRewrite, RetryPolicy,
    Route, RouteAction, SplitBy, VirtualHost,
};
use mesh_core::update::{Mode, UnknownHosts};
use std::sync::Arc;
use std::time::Duration;

/// `mode` and `unknown_hosts`.
pub(super) fn configuration(
    walk: &mut Walk,
    metadata: Option<&Metadata>,
    found: &mut XdsRouteConfiguration,
) {
    words::read(walk, metadata, |walk, words| {
        let modes = [("enforce", Mode::Enforce), ("observe", Mode::Observe)];
        found.mode = words.one_of(walk, "mode", &modes);
        let unknown = [
            ("refuse", UnknownHosts::Refuse),
            ("log", UnknownHosts::Log),
            ("passthrough", UnknownHosts::Passthrough),
        ];
        found.unknown_hosts = words.one_of(walk, "unknown_hosts", &unknown);
    });
}

/// The retry policy's, and how many of the domains are the model's.
pub(super) fn virtual_host(walk: &mut Walk, metadata: Option<&Metadata>, host: &mut VirtualHost) {
    words::read(walk, metadata, |walk, words| {
        // The others stand there for Envoy, which compares ports.
        if let Some(own) = words.number(walk, "own_domains", 1..=u32::MAX) {
            host.domains.truncate(usize::try_from(own).unwrap_or(usize::MAX));
        }
        retry_policy(walk, words, host.retry_policy.as_mut());
    });
}

/// Those of the action, whatever it is; what else is there is for conditions of filters.
pub(super) fn route(walk: &mut Walk, metadata: Option<&Metadata>, route: &mut Route) {
    let others = metadata.into_iter().flat_map(|metadata| &metadata.filter_metadata);
    let others = others.filter(|(filter, _)| *filter != METADATA_KEY);
    let others = others.map(|(filter, said)| (filter.as_str().into(), ask::metadata(said.clone())));
    route.metadata = Arc::new(RouteMetadata(others.collect()));
    words::read_beside(walk, metadata, |walk, words| match &mut route.action {
        RouteAction::Forward(forward) => self::forward(walk, words, forward),
        RouteAction::Redirect(redirect) => {
            let status = redirect_status(walk, words);
            redirect.status = status.unwrap_or(redirect.status);
        }
        _ => {}
    });
}

/// The router takes no others, and Envoy has a field for these: the word is there for an encoder that was
/// given more, and is refused here, not in the router, which would refuse the whole configuration.
fn redirect_status(walk: &mut Walk, words: &mut Words<'_>) -> Option<StatusCode> {
    let status = words.number(walk, "redirect_status", 100..=999)?;
    if !matches!(status, 301 | 302 | 303 | 307 | 308) {
        walk.error_at(
            "redirect_status",
            format_args!("a redirect answers with 301, 302, 303, 307 or 308, not with {status}"),
        );
    }
    u16::try_from(status).ok().and_then(|status| StatusCode::from_u16(status).ok())
}

fn forward(walk: &mut Walk, words: &mut Words<'_>, forward: &mut ForwardAction) {
    retry_policy(walk, words, forward.retry_policy.as_mut());
    if let Some(retries) = words.flag(walk, "transparent_retry") {
        forward.transparent_retry = retries;
    }
    if let Some(waits) = words.flag(walk, "peek_trailers_wait") {
        forward.peek_trailers_wait = waits;
    }
    if let Some(text) = words.text(walk, "prefix_rewrite") {
        let text = rewrite::path_text(walk, "prefix_rewrite", text, false);
        forward.path_rewrite = text.map(PathRewrite::Prefix);
    }
    let ClusterSpecifier::Split(split) = &mut forward.cluster else { return };
    if let Some(inputs) = hash::from_words(walk, words, "split_by") {
        split.by = SplitBy::Hash(inputs);
    }
    if words.flag(walk, "hash_policy_of_split_only") == Some(true) {
        forward.hash_policy.clear();
    }
}

fn retry_policy(walk: &mut Walk, words: &mut Words<'_>, policy: Option<&mut Arc<RetryPolicy>>) {
    let Some(policy) = policy else { return };
    let policy = Arc::make_mut(policy);
    words.within(walk, "retry_policy", |walk, words| {
        if let Some(retries) = words.number(walk, "num_retries", 0..=MAX_RETRIES) {
            policy.num_retries = retries;
        }
        if let Some(names) = words.text(walk, "retry_on") {
            policy.retry_on = retry::retry_on(walk, names);
        }
        if let Some(attempts) = words.number(walk, "host_selection_max_attempts", 0..=u32::MAX) {
            policy.host_selection_max_attempts = attempts;
        }
        words.within(walk, "back_off", |walk, words| {
            let BackOff { base_interval, max_interval, .. } = policy.back_off;
            let base = words.time(walk, "base_interval", Duration::ZERO);
            let max = words.time(walk, "max_interval", Duration::ZERO);
            policy.back_off =
                BackOff::new(base.unwrap_or(base_interval), max.unwrap_or(max_interval));
        });
        dates(walk, words, policy);
    });
}

/// The headers that may hold a date (RFC 9110 §10.2.3), of those that hold seconds.
fn dates(walk: &mut Walk, words: &mut Words<'_>, policy: &mut RetryPolicy) {
    let Some(back_off) = &mut policy.rate_limited_back_off else { return };
    let Some(names) = words.texts(walk, "retry_after") else { return };
    for name in names {
        let Some(name) = header_name(walk, "retry_after", name) else { continue };
        for header in back_off.reset_headers.iter_mut().filter(|header| header.name == name) {
            if header.format == ResetHeaderFormat::Seconds {
                header.format = ResetHeaderFormat::RetryAfter;
            }
        }
    }
}
