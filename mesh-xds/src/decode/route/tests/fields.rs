//! The table of fields and the decoder agree.

use super::*;
use crate::decode::support::agreement::{Setter, check_effects, check_fields};
use crate::decode::support::route::ROWS;
use pb::route_action::ClusterSpecifier;

/// What is said of a filter of servers, which have no parts of splits.
fn overrides() -> std::collections::HashMap<String, Any> {
    let fault = packed("envoy.extensions.filters.http.fault.v3.HTTPFault", Vec::new());
    [("fault".to_owned(), fault)].into()
}

fn part(message: &mut pb::RouteConfiguration) -> &mut pb::weighted_cluster::ClusterWeight {
    &mut split(message, 1, 1).clusters[0]
}

#[expect(deprecated, reason = "control planes still send the old fields")]
const CONFIGURATION: &[Setter<pb::RouteConfiguration>] = &[
    ("RouteConfiguration", "vhds", |m| m.vhds = Some(Default::default())),
    ("RouteConfiguration", "internal_only_headers", |m| m.internal_only_headers = vec!["x".into()]),
    ("RouteConfiguration", "most_specific_header_mutations_wins", |m| {
        m.most_specific_header_mutations_wins = true;
        m.request_headers_to_add = vec![add("a", "1")];
        route(m).request_headers_to_add = vec![add("a", "2")];
    }),
    ("RouteConfiguration", "validate_clusters", |m| m.validate_clusters = flag(true)),
    ("RouteConfiguration", "request_mirror_policies", |m| {
        m.request_mirror_policies = vec![Default::default()];
    }),
    ("RouteConfiguration", "ignore_port_in_host_matching", |m| {
        m.ignore_port_in_host_matching = true;
    }),
    ("RouteConfiguration", "vhost_header", |m| m.vhost_header = "x".into()),
    ("RouteConfiguration", "ignore_path_parameters_in_path_matching", |m| {
        m.ignore_path_parameters_in_path_matching = true;
    }),
    ("RouteConfiguration", "route_specifiers", |m| m.route_specifiers = vec![extension("x")]),
    ("VirtualHost", "matcher", |m| host(m).matcher = Some(Default::default())),
    ("VirtualHost", "require_tls", |m| host(m).require_tls = 2),
    ("VirtualHost", "virtual_clusters", |m| host(m).virtual_clusters = vec![Default::default()]),
    ("VirtualHost", "cors", |m| host(m).cors = Some(Default::default())),
    ("VirtualHost", "include_attempt_count_in_response", |m| {
        host(m).include_attempt_count_in_response = true;
    }),
    ("VirtualHost", "retry_policy_typed_config", |m| {
        host(m).retry_policy_typed_config = Some(Any::default());
    }),
    ("VirtualHost", "include_is_timeout_retry_header", |m| {
        host(m).include_is_timeout_retry_header = true;
    }),
    ("VirtualHost", "per_request_buffer_limit_bytes", |m| {
        host(m).per_request_buffer_limit_bytes = number(1);
    }),
    ("VirtualHost", "request_body_buffer_limit", |m| {
        host(m).request_body_buffer_limit = Some(Default::default());
    }),
    ("VirtualHost", "request_mirror_policies", |m| {
        host(m).request_mirror_policies = vec![Default::default()];
    }),
    ("VirtualHost", "route_specifiers", |m| host(m).route_specifiers = vec![extension("x")]),
    ("Route", "filter_action", |m| {
        route(m).action = Some(pb::route::Action::FilterAction(Default::default()));
    }),
    ("Route", "decorator", |m| route(m).decorator = Some(Default::default())),
    ("Route", "tracing", |m| route(m).tracing = Some(Default::default())),
    ("Route", "per_request_buffer_limit_bytes", |m| {
        route(m).per_request_buffer_limit_bytes = number(1);
    }),
    ("Route", "stat_prefix", |m| route(m).stat_prefix = "x".into()),
    ("Route", "request_body_buffer_limit", |m| {
        route(m).request_body_buffer_limit = Some(Default::default());
    }),
    ("Route", "route_specifiers", |m| route(m).route_specifiers = vec![extension("x")]),
    ("RouteMatch", "connect_matcher", |m| {
        path(m, pb::route_match::PathSpecifier::ConnectMatcher(Default::default()));
    }),
    ("RouteMatch", "path_match_policy", |m| {
        path(m, pb::route_match::PathSpecifier::PathMatchPolicy(extension("uri_template")));
    }),
    ("RouteMatch", "cookies", |m| matches(m).cookies = vec![Default::default()]),
    ("RouteMatch", "tls_context", |m| matches(m).tls_context = Some(Default::default())),
    ("RouteMatch", "dynamic_metadata", |m| matches(m).dynamic_metadata = vec![Default::default()]),
    ("RouteMatch", "filter_state", |m| matches(m).filter_state = vec![Default::default()]),
    ("RouteAction", "cluster_specifier_plugin", |m| {
        let extension = Some(extension("p"));
        m.cluster_specifier_plugins =
            vec![pb::ClusterSpecifierPlugin { extension, is_optional: true }];
        action(m).cluster_specifier = Some(ClusterSpecifier::ClusterSpecifierPlugin("p".into()));
    }),
    ("RouteAction", "inline_cluster_specifier_plugin", |m| {
        let plugin = pb::ClusterSpecifierPlugin { extension: None, is_optional: true };
        action(m).cluster_specifier = Some(ClusterSpecifier::InlineClusterSpecifierPlugin(plugin));
    }),
    ("RouteAction", "cluster_not_found_response_code", |m| {
        action(m).cluster_not_found_response_code = 1;
    }),
    ("RouteAction", "metadata_match", |m| action(m).metadata_match = Some(Default::default())),
    ("RouteAction", "path_rewrite_policy", |m| {
        action(m).path_rewrite_policy = Some(extension("uri_template"));
    }),
    ("RouteAction", "append_x_forwarded_host", |m| action(m).append_x_forwarded_host = true),
    ("RouteAction", "flush_timeout", |m| action(m).flush_timeout = millis(1)),
    ("RouteAction", "early_data_policy", |m| action(m).early_data_policy = Some(extension("x"))),
    ("RouteAction", "retry_policy_typed_config", |m| {
        action(m).retry_policy_typed_config = Some(Any::default());
    }),
    ("RouteAction", "request_mirror_policies", |m| {
        action(m).request_mirror_policies = vec![Default::default()];
    }),
    ("RouteAction", "cors", |m| action(m).cors = Some(Default::default())),
    ("RouteAction", "grpc_timeout_offset", |m| action(m).grpc_timeout_offset = millis(1)),
    ("RouteAction", "upgrade_configs", |m| action(m).upgrade_configs = vec![Default::default()]),
    ("RouteAction", "internal_redirect_policy", |m| {
        action(m).internal_redirect_policy = Some(Default::default());
    }),
    ("RouteAction", "internal_redirect_action", |m| action(m).internal_redirect_action = 1),
    ("RouteAction", "max_internal_redirects", |m| action(m).max_internal_redirects = number(1)),
    ("RetryPolicy", "retry_priority", |m| retry(m).retry_priority = Some(Default::default())),
    ("RetryPolicy", "retry_options_predicates", |m| {
        retry(m).retry_options_predicates = vec![extension("x")];
    }),
    ("RetryPolicy", "refresh_cluster_on_retry", |m| retry(m).refresh_cluster_on_retry = true),
    ("WeightedCluster", "total_weight", |m| split(m, 1, 1).total_weight = number(3)),
    ("WeightedCluster", "runtime_key_prefix", |m| {
        split(m, 1, 1).runtime_key_prefix = "x".into();
    }),
    ("WeightedCluster.ClusterWeight", "cluster_header", |m| part(m).cluster_header = "x".into()),
    ("WeightedCluster.ClusterWeight", "metadata_match", |m| {
        part(m).metadata_match = Some(Default::default());
    }),
    ("WeightedCluster.ClusterWeight", "typed_per_filter_config", |m| {
        part(m).typed_per_filter_config = overrides();
    }),
    ("WeightedCluster.ClusterWeight", "host_rewrite_specifier", |m| {
        use pb::weighted_cluster::cluster_weight::HostRewriteSpecifier;
        part(m).host_rewrite_specifier = Some(HostRewriteSpecifier::HostRewriteLiteral("x".into()));
    }),
    ("DirectResponseAction", "body_format", |m| {
        direct(m, 200).body_format = Some(Default::default());
    }),
];

#[test]
fn every_field_is_in_the_table() {
    let check = |message, default: &dyn std::fmt::Debug, kinds: &[(&str, &[&str])]| {
        check_fields(ROWS, message, &default, kinds);
    };
    check("RouteConfiguration", &pb::RouteConfiguration::default(), &[]);
    check("VirtualHost", &pb::VirtualHost::default(), &[]);
    let actions =
        ["route", "redirect", "direct_response", "filter_action", "non_forwarding_action"];
    check("Route", &pb::Route::default(), &[("action", &actions)]);
    let paths = [
        "prefix",
        "path",
        "safe_regex",
        "connect_matcher",
        "path_separated_prefix",
        "path_match_policy",
    ];
    check("RouteMatch", &pb::RouteMatch::default(), &[("path_specifier", &paths)]);
    let clusters = [
        "cluster",
        "cluster_header",
        "weighted_clusters",
        "cluster_specifier_plugin",
        "inline_cluster_specifier_plugin",
    ];
    let hosts = [
        "host_rewrite_literal",
        "auto_host_rewrite",
        "host_rewrite_header",
        "host_rewrite_path_regex",
        "host_rewrite",
    ];
    let kinds: [(&str, &[&str]); 2] =
        [("cluster_specifier", &clusters), ("host_rewrite_specifier", &hosts)];
    check("RouteAction", &pb::RouteAction::default(), &kinds);
    check("RetryPolicy", &pb::RetryPolicy::default(), &[]);
    let headers = [
        "exact_match",
        "safe_regex_match",
        "range_match",
        "present_match",
        "prefix_match",
        "suffix_match",
        "contains_match",
        "string_match",
    ];
    let header = pb::HeaderMatcher::default();
    check("HeaderMatcher", &header, &[("header_match_specifier", &headers)]);
    let draws: [(&str, &[&str]); 1] =
        [("random_value_specifier", &["header_name", "use_hash_policy"])];
    check("WeightedCluster", &pb::WeightedCluster::default(), &draws);
    let part = pb::weighted_cluster::ClusterWeight::default();
    check("WeightedCluster.ClusterWeight", &part, &[]);
    let schemes: &[&str] = &["https_redirect", "scheme_redirect"];
    let paths: &[&str] = &["path_redirect", "prefix_rewrite", "regex_rewrite", "path_rewrite"];
    let kinds = [("scheme_rewrite_specifier", schemes), ("path_rewrite_specifier", paths)];
    check("RedirectAction", &pb::RedirectAction::default(), &kinds);
    check("DirectResponseAction", &pb::DirectResponseAction::default(), &[]);
}

#[test]
fn what_the_table_says_is_what_the_decoder_does() {
    check_effects(ROWS, CONFIGURATION, base, read);
}
