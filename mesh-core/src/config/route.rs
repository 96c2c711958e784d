//! `routes`: a match, exactly one action, and the options of forwarding.
//!
//! What a route leaves out of the forwarding options comes from `defaults.route`, key by key and never
//! deeper. A retry or hedge policy is looked for in the route, then its virtual host, then `defaults`.

use super::action::{DIRECT_RESPONSE, REDIRECT, REWRITE, Rewrite};
use super::fields::Fields;
use super::hash::HASH;
use super::node::Node;
use super::retry::{HEDGE, RETRY_KIND};
use super::route_match::MATCH;
use super::shape::{Key, Kind, Shape, key, words};
use super::split::{SPLIT, SPLIT_BY};
use super::value::{Value, word};
use super::{code, headers, reader::Reader};
use crate::model::route::MaxStreamDuration;
use crate::model::{
    ClusterSpecifier, ForwardAction, PathMatcher, PathRewrite, Route, RouteAction, RouteMatch,
    RoutingPriority, Split, SplitBy,
};
use std::sync::Arc;
use std::time::Duration;

const ACTIONS: [&str; 5] = ["cluster", "split", "cluster_header", "redirect", "direct_response"];
/// Keys that mean something only where the request goes on to a cluster.
const FORWARD_ONLY: [&str; 10] = [
    "timeout",
    "max_stream_duration",
    "idle_timeout",
    "retry",
    "hedge",
    "hash",
    "priority",
    "transparent_retry",
    "peek_trailers",
    "rewrite",
];

static MAX_STREAM_DURATION: Shape = Shape::new(
    "max_stream_duration",
    &[&[
        key("max_stream_duration", Kind::TIME, "The limit; 0s: none."),
        key(
            "grpc_timeout_header_max",
            Kind::TIME,
            "The longest grpc-timeout that is granted; 0s: the caller's alone.",
        ),
    ]],
);

const STREAM_LIMITS: Kind = Kind::Either(&[Kind::TIME, Kind::Mapping(&MAX_STREAM_DURATION)]);

const PRIORITIES: [(&str, RoutingPriority); 2] =
    [("default", RoutingPriority::Default), ("high", RoutingPriority::High)];
const PEEK_TRAILERS: [(&str, bool); 2] = [("ready", false), ("wait", true)];

pub(super) const FORWARD_KEYS: &[Key] = &[
    key("timeout", Kind::TIME, "Limit of the whole call, retries included; 0s: none. Default 15s."),
    key(
        "max_stream_duration",
        STREAM_LIMITS,
        "Limit of a stream's life; takes the timeout's place for gRPC.",
    ),
    key(
        "idle_timeout",
        Kind::TIME,
        "The longest silence, before the response head and after; 0s: no limit. Default none.",
    ),
    key("retry", RETRY_KIND, "When a failed attempt is tried again, or off. Never merged."),
    key("hedge", Kind::Mapping(&HEDGE), "Whether attempts may overlap."),
    key("hash", HASH, "What the request is hashed by, for ring_hash and maglev."),
    key(
        "priority",
        Kind::Word(&words(&PRIORITIES)),
        "Which circuit breakers count the call. Default default.",
    ),
    key(
        "transparent_retry",
        Kind::Flag,
        "Sends again what a server did not process. Default true.",
    ),
    key(
        "peek_trailers",
        Kind::Word(&words(&PEEK_TRAILERS)),
        "wait: holds a unary gRPC answer back for its trailers, so that their status can be retried. Default ready.",
    ),
];

/// Which clusters take it.
pub(super) const CLUSTER_KEYS: &[Key] = &[
    key("cluster", Kind::Text, "The cluster that takes them."),
    key("split", SPLIT, "Several clusters by weight."),
    key("split_by", SPLIT_BY, "How the draw of a split is made. Default random."),
];

const ROUTE_KEYS: &[Key] = &[
    key(
        "name",
        Kind::Text,
        "For logs, metrics and `mesh explain`. Made from the place by default.",
    ),
    key("match", Kind::Mapping(&MATCH), "Which requests. Default all."),
    key("cluster_header", Kind::Text, "The request header that names the cluster."),
    key("redirect", Kind::Mapping(&REDIRECT), "Sends the caller elsewhere."),
    key("direct_response", Kind::Mapping(&DIRECT_RESPONSE), "Answers here."),
    key("rewrite", Kind::Mapping(&REWRITE), "Changes path and authority before sending."),
    key("headers", Kind::Mapping(&headers::HEADERS), "Header edits of this route."),
];

static ROUTE: Shape =
    Shape::new("route", &[ROUTE_KEYS, CLUSTER_KEYS, FORWARD_KEYS]).exactly_one(&ACTIONS);
/// One route.
pub(super) const ROUTE_KIND: Kind = Kind::Mapping(&ROUTE);
/// `defaults.route`.
pub(super) static ROUTE_DEFAULTS: Shape = Shape::new("route_defaults", &[FORWARD_KEYS]);
static ROUTE_DEFAULTS_KIND: Kind = Kind::Mapping(&ROUTE_DEFAULTS);

/// What stands around a route.
pub(super) struct Surroundings<'n> {
    /// Its name when it has none of its own.
    pub(super) place: String,
    /// `defaults.route`.
    pub(super) defaults: Option<&'n Node>,
    pub(super) host_retries: bool,
    pub(super) host_hedges: bool,
}

/// Reads a route; `None` when its action can't be read.
pub(super) fn route<'n>(
    reader: &mut Reader<'_>,
    node: &'n Node,
    around: Surroundings<'n>,
) -> Option<Route> {
    let fields = Fields::open(reader, node, &ROUTE_KIND)?.or(around.defaults);
    let name: Option<Arc<str>> = fields.read(reader, "name");
    let matcher: Option<RouteMatch> = fields.read(reader, "match");
    let matcher = matcher.unwrap_or_else(RouteMatch::any);
    let headers = fields.read(reader, "headers");
    let codes = (code::MISSING_ACTION, code::SEVERAL_ACTIONS);
    let chosen = fields.exactly_one(reader, &ACTIONS, codes).map(|entry| &*entry.key);
    let specifier = specifier(reader, &fields);
    let redirect = fields.read(reader, "redirect").map(RouteAction::Redirect);
    let direct = fields.read(reader, "direct_response").map(RouteAction::DirectResponse);
    let rewrite: Option<Rewrite> = fields.read(reader, "rewrite");
    // Options are read whatever the action, so that their mistakes are shown too.
    let mut forward = ForwardAction::new(
        specifier.clone().unwrap_or_else(|| ClusterSpecifier::Cluster(Arc::from(""))),
    );
    options(reader, &fields, &mut forward);
    if around.host_retries && fields.own("retry").is_none() {
        forward.retry_policy = None;
    }
    if around.host_hedges && fields.own("hedge").is_none() {
        forward.hedge_policy = None;
    }
    if let Some(rewrite) = rewrite {
        check_prefix_rewrite(reader, &fields, &matcher, &rewrite);
        forward.path_rewrite = rewrite.path;
        forward.host_rewrite = rewrite.host;
    }
    match chosen {
        Some("redirect") => fields.misplaced(reader, &FORWARD_ONLY, "on a redirect"),
        Some("direct_response") => fields.misplaced(reader, &FORWARD_ONLY, "on a direct response"),
        _ => {}
    }
    if chosen != Some("split") {
        fields.misplaced(reader, &["split_by"], "without `split`");
    }
    let action = specifier.map(|_| RouteAction::Forward(forward)).or(redirect).or(direct)?;
    let mut route = Route::new(name.unwrap_or_else(|| around.place.into()), matcher, action);
    route.headers = headers.unwrap_or_default();
    Some(route)
}

/// Which cluster, when the route forwards.
fn specifier(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<ClusterSpecifier> {
    let named = clusters(reader, fields);
    let header = fields.read(reader, "cluster_header").map(ClusterSpecifier::Header);
    named.or(header)
}

/// Which cluster, or which of several.
pub(super) fn clusters(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<ClusterSpecifier> {
    let cluster: Option<Arc<str>> = fields.read(reader, "cluster");
    if let (Some(name), Some(entry)) = (&cluster, fields.own("cluster")) {
        reader.refer(name, entry.value.span);
    }
    let split: Option<Split> = fields.read(reader, "split");
    let by: Option<SplitBy> = fields.read(reader, "split_by");
    let split = split.map(|mut split| {
        split.by = by.unwrap_or_default();
        ClusterSpecifier::Split(split)
    });
    cluster.map(ClusterSpecifier::Cluster).or(split)
}

/// Reads the options of forwarding.
pub(super) fn options(reader: &mut Reader<'_>, fields: &Fields<'_>, forward: &mut ForwardAction) {
    fields.set(reader, "timeout", &mut forward.timeout);
    if let Some((node, kind)) = fields.value("max_stream_duration") {
        forward.max_stream_duration = max_stream_duration(reader, node, kind);
    }
    let idle: Option<Duration> = fields.read(reader, "idle_timeout");
    forward.idle_timeout = idle.filter(|idle| !idle.is_zero());
    forward.retry_policy = fields.read(reader, "retry").map(Arc::new);
    fields.set_some(reader, "hedge", &mut forward.hedge_policy);
    fields.set(reader, "hash", &mut forward.hash_policy);
    if let Some((node, kind)) = fields.value("priority") {
        forward.priority = word(reader, node, kind, &PRIORITIES).unwrap_or_default();
    }
    fields.set(reader, "transparent_retry", &mut forward.transparent_retry);
    if let Some((node, kind)) = fields.value("peek_trailers") {
        forward.peek_trailers_wait = word(reader, node, kind, &PEEK_TRAILERS).unwrap_or_default();
    }
}

/// Checks `defaults.route`, whether or not a route takes something from it.
pub(super) fn check_defaults(reader: &mut Reader<'_>, node: &Node) {
    if let Some(fields) = Fields::open(reader, node, &ROUTE_DEFAULTS_KIND) {
        let nowhere = ClusterSpecifier::Cluster(Arc::from(""));
        options(reader, &fields, &mut ForwardAction::new(nowhere));
    }
}

fn max_stream_duration(
    reader: &mut Reader<'_>,
    node: &Node,
    kind: &'static Kind,
) -> Option<MaxStreamDuration> {
    let mut limits = MaxStreamDuration::default();
    if node.entries().is_empty() {
        limits.max_stream_duration = Some(Value::read(reader, node, kind)?);
        return Some(limits);
    }
    let fields = Fields::open(reader, node, kind)?;
    fields.set_some(reader, "max_stream_duration", &mut limits.max_stream_duration);
    fields.set_some(reader, "grpc_timeout_header_max", &mut limits.grpc_timeout_header_max);
    Some(limits)
}

/// A prefix can be rewritten only where one was matched.
fn check_prefix_rewrite(
    reader: &mut Reader<'_>,
    fields: &Fields<'_>,
    matcher: &RouteMatch,
    rewrite: &Rewrite,
) {
    let entry = fields.own("rewrite").and_then(|entry| entry.value.get("prefix"));
    if let (Some(PathRewrite::Prefix(_)), PathMatcher::Regex(_), Some(entry)) =
        (&rewrite.path, &matcher.path, entry)
    {
        reader
            .report
            .add(
                code::MISPLACED_KEY,
                entry.key_span,
                "`prefix` has no effect on a route that matches by regex",
            )
            .suggest("use `regex: { pattern, substitution }`");
    }
}
