//! `RouteAction`: how a request goes to a cluster.

use super::matcher::{escape, substitute};
use super::words::Words;
use super::wrap::{duration, flag, uint32};
use super::{hash, headers, retry};
use envoy_types::pb::envoy::config::core::v3::RoutingPriority as PbPriority;
use envoy_types::pb::envoy::config::route::v3::{
    self as pb,
    route_action::{ClusterSpecifier as PbCluster, HostRewriteSpecifier, MaxStreamDuration},
    weighted_cluster::{ClusterWeight, RandomValueSpecifier},
};
use mesh_core::model::{
    ClusterSpecifier, ForwardAction, HostRewrite, PathMatcher, PathRewrite, RegexPattern,
    RouteMatch, RoutingPriority, Split, SplitBy,
};

/// A `RouteAction`; what it has no field for goes to `words` of the route.
pub(super) fn action(
    model: &ForwardAction,
    matcher: &RouteMatch,
    words: &mut Words,
) -> pb::RouteAction {
    let mut action = pb::RouteAction {
        timeout: duration(model.timeout),
        idle_timeout: model.idle_timeout.and_then(duration),
        max_stream_duration: model.max_stream_duration.map(|limit| MaxStreamDuration {
            max_stream_duration: limit.max_stream_duration.and_then(duration),
            grpc_timeout_header_max: limit.grpc_timeout_header_max.and_then(duration),
            grpc_timeout_header_offset: None,
        }),
        retry_policy: model.retry_policy.as_ref().map(|policy| retry::policy(policy, words)),
        hedge_policy: model.hedge_policy.map(retry::hedge),
        hash_policy: hash::policies(&model.hash_policy),
        host_rewrite_specifier: model.host_rewrite.as_ref().map(host_rewrite),
        priority: match model.priority {
            RoutingPriority::Default => PbPriority::Default,
            RoutingPriority::High => PbPriority::High,
        }
        .into(),
        ..pb::RouteAction::default()
    };
    action.cluster_specifier = Some(match &model.cluster {
        ClusterSpecifier::Split(model_split) => {
            PbCluster::WeightedClusters(split(model_split, model, &mut action, words))
        }
        ClusterSpecifier::Header(name) => PbCluster::ClusterHeader(name.to_string()),
        ClusterSpecifier::Cluster(name) => PbCluster::Cluster(name.to_string()),
        // A kind that this encoder does not know yet: no cluster has an empty name.
        _ => PbCluster::Cluster(String::new()),
    });
    path_rewrite(model.path_rewrite.as_ref(), matcher, &mut action, words);
    words.differs("transparent_retry", model.transparent_retry, &true);
    words.differs("peek_trailers_wait", model.peek_trailers_wait, &false);
    action
}

/// A `WeightedCluster`. Envoy draws by the route's own hash policy or not by a hash at all: inputs of
/// the split take the route's place when it has none, and stay in our words otherwise.
fn split(
    model: &Split,
    forward: &ForwardAction,
    action: &mut pb::RouteAction,
    words: &mut Words,
) -> pb::WeightedCluster {
    let random_value_specifier = match &model.by {
        SplitBy::HeaderValue(name) => Some(RandomValueSpecifier::HeaderName(name.to_string())),
        SplitBy::Hash(inputs) if *inputs == forward.hash_policy => {
            flag(true).map(RandomValueSpecifier::UseHashPolicy)
        }
        SplitBy::Hash(inputs) if forward.hash_policy.is_empty() => {
            action.hash_policy = hash::policies(inputs);
            words.set("hash_policy_of_split_only", true);
            flag(true).map(RandomValueSpecifier::UseHashPolicy)
        }
        SplitBy::Hash(inputs) => {
            words.set("split_by", hash::words(inputs));
            None
        }
        _ => None,
    };
    let clusters = model
        .clusters
        .iter()
        .map(|part| {
            let (request_add, request_remove) = headers::edits(&part.headers.request);
            let (response_add, response_remove) = headers::edits(&part.headers.response);
            ClusterWeight {
                name: part.cluster.to_string(),
                weight: uint32(part.weight),
                request_headers_to_add: request_add,
                request_headers_to_remove: request_remove,
                response_headers_to_add: response_add,
                response_headers_to_remove: response_remove,
                ..ClusterWeight::default()
            }
        })
        .collect();
    pb::WeightedCluster { clusters, random_value_specifier, ..pb::WeightedCluster::default() }
}

fn path_rewrite(
    model: Option<&PathRewrite>,
    matcher: &RouteMatch,
    action: &mut pb::RouteAction,
    words: &mut Words,
) {
    match model {
        None => {}
        // An empty text is "no rewrite" in Envoy: what matched is cut off by a pattern instead.
        Some(PathRewrite::Prefix(text)) if text.is_empty() => {
            words.set("prefix_rewrite", "");
            action.regex_rewrite = matched_text(matcher).map(|pattern| substitute(&pattern, ""));
        }
        // Envoy cuts `/a` off `/a/b` and writes `//b`: the slash between is cut off by a pattern.
        Some(PathRewrite::Prefix(text)) if ends_segment(text) && by_segments(matcher) => {
            words.set("prefix_rewrite", &**text);
            action.regex_rewrite = matched_text(matcher).map(|RegexPattern(pattern)| {
                substitute(&RegexPattern::new(format!("{pattern}/?")), text)
            });
        }
        Some(PathRewrite::Prefix(text)) => action.prefix_rewrite = text.to_string(),
        Some(PathRewrite::Regex { pattern, substitution }) => {
            action.regex_rewrite = Some(substitute(pattern, substitution));
        }
        // Envoy: `path_rewrite` takes command operators; a single `%` would begin one.
        Some(PathRewrite::Full(text)) => action.path_rewrite = text.replace('%', "%%"),
        // A kind that this encoder does not know yet.
        Some(_) => {}
    }
}

/// Whether a text that takes a prefix's place ends in a slash, and means itself in a substitution.
fn ends_segment(text: &str) -> bool {
    text.ends_with('/') && !text.contains(['\\', '?'])
}

const fn by_segments(matcher: &RouteMatch) -> bool {
    matches!(matcher.path, PathMatcher::PathSeparatedPrefix(_))
}

/// A pattern for what the route's prefix or path matches at the beginning of a path.
fn matched_text(matcher: &RouteMatch) -> Option<RegexPattern> {
    let text = match &matcher.path {
        PathMatcher::Prefix(text)
        | PathMatcher::Path(text)
        | PathMatcher::PathSeparatedPrefix(text) => text,
        PathMatcher::Regex(_) => return None,
    };
    let case = if matcher.case_sensitive { "" } else { "(?i)" };
    Some(RegexPattern::new(format!("{case}^{}", escape(text))))
}

fn host_rewrite(model: &HostRewrite) -> HostRewriteSpecifier {
    match model {
        HostRewrite::Literal(text) => HostRewriteSpecifier::HostRewriteLiteral(text.to_string()),
        HostRewrite::Header(name) => HostRewriteSpecifier::HostRewriteHeader(name.to_string()),
        HostRewrite::PathRegex { pattern, substitution } => {
            HostRewriteSpecifier::HostRewritePathRegex(substitute(pattern, substitution))
        }
        // `Auto`.
        _ => HostRewriteSpecifier::AutoHostRewrite(flag(true).unwrap_or_default()),
    }
}
