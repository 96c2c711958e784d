//! What is refused in actions and header edits.

use super::refused::refuses;
use super::*;

#[test]
fn clusters_and_splits() {
    use pb::route_action::ClusterSpecifier as By;
    let by =
        |m: &mut pb::RouteConfiguration, specifier| action(m).cluster_specifier = Some(specifier);
    refuses("Envoy: min_len 1", |m| by(m, By::Cluster(String::new())), "R.route.cluster: name");
    refuses(
        "RFC 9110",
        |m| by(m, By::ClusterHeader(String::new())),
        "R.route.cluster_header: no name",
    );
    refuses(
        "ours",
        |m| by(m, By::ClusterHeader(":authority".into())),
        "R.route.cluster_header: pseudo",
    );
    refuses(
        "gRPC RLS: it must be listed",
        |m| by(m, By::ClusterSpecifierPlugin("p".into())),
        "R.route.cluster_specifier_plugin: `p` is not in",
    );
    refuses(
        "gRPC RLS: unknown plugin",
        |m| by(m, By::InlineClusterSpecifierPlugin(Default::default())),
        "R.route.inline_cluster_specifier_plugin: is_optional",
    );
}

#[test]
fn plugins_and_splits() {
    let plugin = |name: &str, is_optional| pb::ClusterSpecifierPlugin {
        extension: Some(extension(name)),
        is_optional,
    };
    refuses(
        "gRPC RLS: unknown plugin",
        |m| m.cluster_specifier_plugins = vec![plugin("p", false)],
        "cluster_specifier_plugins[0].extension: `p`",
    );
    check(
        "gRPC RLS",
        |m| {
            m.cluster_specifier_plugins =
                vec![plugin("p", true), plugin("p", true), plugin("", true)]
        },
        &[
            "! cluster_specifier_plugins[1].extension.name: twice",
            "! cluster_specifier_plugins[2].extension.name: name",
            "~ cluster_specifier_plugins[0].extension: supported",
            "~ cluster_specifier_plugins[1].extension: supported",
            "~ cluster_specifier_plugins[2].extension: supported",
        ],
    );
    refuses(
        "gRFC A28",
        |m| {
            split(m, 0, 0);
        },
        "R.route.weighted_clusters.clusters: 0",
    );
    refuses(
        "gRFC A28: none",
        |m| split(m, 0, 0).clusters.clear(),
        "R.route.weighted_clusters.clusters: 0",
    );
    refuses(
        "gRFC A28: u32",
        |m| {
            split(m, u32::MAX, 1);
        },
        "R.route.weighted_clusters.clusters: 4294967296",
    );
    refuses(
        "Envoy",
        |m| split(m, 1, 1).clusters[1].name.clear(),
        "R.route.weighted_clusters.clusters[1].name: name",
    );
    refuses(
        "RFC 9110",
        |m| {
            let draw = pb::weighted_cluster::RandomValueSpecifier::HeaderName("a b".into());
            split(m, 1, 1).random_value_specifier = Some(draw);
        },
        "R.route.weighted_clusters.header_name: no name",
    );
}

#[test]
fn limits() {
    refuses(
        "protobuf",
        |m| action(m).timeout = Some(Duration { seconds: 1, nanos: -1 }),
        "R.route.timeout: no duration",
    );
    refuses(
        "protobuf",
        |m| action(m).idle_timeout = millis(-1000),
        "R.route.idle_timeout: no duration",
    );
    refuses(
        "gRFC A31",
        |m| {
            let limits = pb::route_action::MaxStreamDuration {
                max_stream_duration: millis(-1000),
                ..Default::default()
            };
            action(m).max_stream_duration = Some(limits);
        },
        "R.route.max_stream_duration.max_stream_duration: no duration",
    );
    refuses("Envoy: defined_only", |m| action(m).priority = 2, "R.route.priority: 2");
}

#[test]
fn path_rewrites() {
    refuses(
        "Envoy: only one",
        |m| {
            action(m).prefix_rewrite = "/".into();
            action(m).regex_rewrite = Some(substitution("a", "b"));
        },
        "R.route.regex_rewrite: prefix_rewrite",
    );
    refuses(
        "RFC 9110 §7.1",
        |m| action(m).prefix_rewrite = "/a#b".into(),
        "R.route.prefix_rewrite: fragment",
    );
    refuses(
        "RFC 3986",
        |m| action(m).prefix_rewrite = "/a b".into(),
        "R.route.prefix_rewrite: path",
    );
    refuses(
        "commands",
        |m| action(m).path_rewrite = "/%REQ(a)%".into(),
        "R.route.path_rewrite: command",
    );
    refuses(
        "Envoy: required",
        |m| action(m).regex_rewrite = Some(Default::default()),
        "R.route.regex_rewrite.pattern: pattern",
    );
    refuses(
        "RE2",
        |m| action(m).regex_rewrite = Some(substitution("(", "")),
        "R.route.regex_rewrite.pattern.regex: `(`",
    );
    refuses(
        "RE2",
        |m| action(m).regex_rewrite = Some(substitution("a", r"\1")),
        "R.route.regex_rewrite.substitution: group 1",
    );
    refuses(
        "RE2",
        |m| action(m).regex_rewrite = Some(substitution("a", r"\x")),
        "R.route.regex_rewrite.substitution: backslash",
    );
}

#[test]
fn host_rewrites() {
    use pb::route_action::HostRewriteSpecifier as Host;
    let to =
        |m: &mut pb::RouteConfiguration, rewrite| action(m).host_rewrite_specifier = Some(rewrite);
    refuses(
        "RFC 3986",
        |m| to(m, Host::HostRewriteLiteral("a b".into())),
        "R.route.host_rewrite_literal: no host",
    );
    refuses(
        "commands",
        |m| to(m, Host::HostRewrite("%REQ(a)%".into())),
        "R.route.host_rewrite: command",
    );
    refuses(
        "RFC 9110",
        |m| to(m, Host::HostRewriteHeader("a b".into())),
        "R.route.host_rewrite_header: no name",
    );
    refuses(
        "RE2",
        |m| to(m, Host::HostRewritePathRegex(substitution("[", ""))),
        "R.route.host_rewrite_path_regex.pattern.regex: `[`",
    );
}

#[test]
fn hash_inputs() {
    use pb::route_action::hash_policy as hash;
    let hash_by = |m: &mut pb::RouteConfiguration, specifier| {
        action(m).hash_policy = vec![pb::route_action::HashPolicy {
            terminal: false,
            policy_specifier: Some(specifier),
        }];
    };
    refuses(
        "Envoy",
        |m| hash_by(m, hash::PolicySpecifier::Header(Default::default())),
        "R.route.hash_policy[0].header.header_name: no name",
    );
    refuses(
        "RE2",
        |m| {
            hash_by(
                m,
                hash::PolicySpecifier::Header(hash::Header {
                    header_name: "a".into(),
                    regex_rewrite: Some(substitution("(", "")),
                }),
            )
        },
        "R.route.hash_policy[0].header.regex_rewrite.pattern.regex: `(`",
    );
    refuses(
        "Envoy",
        |m| hash_by(m, hash::PolicySpecifier::Cookie(Default::default())),
        "R.route.hash_policy[0].cookie.name: name",
    );
    refuses(
        "protobuf",
        |m| {
            hash_by(
                m,
                hash::PolicySpecifier::Cookie(hash::Cookie {
                    name: "a".into(),
                    ttl: millis(-1000),
                    ..Default::default()
                }),
            )
        },
        "R.route.hash_policy[0].cookie.ttl: no duration",
    );
    refuses(
        "Envoy",
        |m| hash_by(m, hash::PolicySpecifier::QueryParameter(Default::default())),
        "R.route.hash_policy[0].query_parameter.name: name",
    );
    refuses(
        "Envoy",
        |m| hash_by(m, hash::PolicySpecifier::FilterState(Default::default())),
        "R.route.hash_policy[0].filter_state.key: key",
    );
}

#[test]
fn redirects() {
    refuses(
        "Envoy: defined_only",
        |m| redirect(m).response_code = 5,
        "R.redirect.response_code: 5",
    );
    refuses("bound", |m| redirect(m).port_redirect = 65_536, "R.redirect.port_redirect: 65536");
    refuses(
        "RFC 3986",
        |m| redirect(m).host_redirect = "a b".into(),
        "R.redirect.host_redirect: no host",
    );
    refuses(
        "one port",
        |m| {
            let redirect = redirect(m);
            redirect.host_redirect = "a:1".into();
            redirect.port_redirect = 2;
        },
        "R.redirect.port_redirect: port 1",
    );
    use pb::redirect_action::{PathRewriteSpecifier as To, SchemeRewriteSpecifier as Scheme};
    refuses(
        "RFC 3986",
        |m| redirect(m).scheme_rewrite_specifier = Some(Scheme::SchemeRedirect("a b".into())),
        "R.redirect.scheme_redirect: no scheme",
    );
    refuses(
        "RFC 3986",
        |m| redirect(m).path_rewrite_specifier = Some(To::PathRedirect("/a b".into())),
        "R.redirect.path_redirect: path",
    );
    refuses(
        "ours",
        |m| redirect(m).path_rewrite_specifier = Some(To::PrefixRewrite("/a#b".into())),
        "R.redirect.prefix_rewrite: fragment",
    );
    refuses(
        "RE2",
        |m| redirect(m).path_rewrite_specifier = Some(To::RegexRewrite(substitution("(", ""))),
        "R.redirect.regex_rewrite.pattern.regex: `(`",
    );
    refuses(
        "commands",
        |m| redirect(m).path_rewrite_specifier = Some(To::PathRewrite("/%REQ(a)%".into())),
        "R.redirect.path_rewrite: command",
    );
}

#[test]
fn direct_responses() {
    for status in [0, 199, 600, 65_736] {
        refuses(
            "Envoy: 200 to 599",
            |m| {
                direct(m, status);
            },
            &format!("R.direct_response.status: {status}"),
        );
    }
    use pb_core::data_source::Specifier as Source;
    let body =
        |specifier| Some(pb_core::DataSource { specifier: Some(specifier), ..Default::default() });
    refuses(
        "bound",
        |m| direct(m, 200).body = body(Source::InlineBytes(vec![0; 4097])),
        "R.direct_response.body: 4097",
    );
    refuses(
        "Envoy: max_direct_response_body_size_bytes",
        |m| {
            m.max_direct_response_body_size_bytes = number(2);
            direct(m, 200).body = body(Source::InlineString("abc".into()));
        },
        "R.direct_response.body: at most 2",
    );
    refuses(
        "no files",
        |m| direct(m, 200).body = body(Source::Filename("/etc/passwd".into())),
        "R.direct_response.body: inline",
    );
    refuses(
        "no variables",
        |m| direct(m, 200).body = body(Source::EnvironmentVariable("HOME".into())),
        "R.direct_response.body: inline",
    );
}

#[test]
#[expect(deprecated, reason = "`append` is read")]
fn header_edits() {
    let edit =
        |m: &mut pb::RouteConfiguration, option| route(m).request_headers_to_add = vec![option];
    const AT: &str = "R.request_headers_to_add[0]";
    refuses("Envoy: required", |m| edit(m, Default::default()), &format!("{AT}.header: header"));
    refuses(
        "Envoy: pseudo headers",
        |m| edit(m, add(":path", "/")),
        &format!("{AT}.header.key: pseudo"),
    );
    refuses(
        "Envoy: host",
        |m| edit(m, add("Host", "a")),
        &format!("{AT}.header.key: host rewrite"),
    );
    refuses("RFC 9110", |m| edit(m, add("a b", "c")), &format!("{AT}.header.key: no name"));
    refuses("RFC 9110", |m| edit(m, add("a", "b\r\nc: d")), &format!("{AT}.header.value: control"));
    refuses(
        "bound",
        |m| edit(m, add("a", &"b".repeat(16_385))),
        &format!("{AT}.header.value: 16385"),
    );
    refuses(
        "Envoy: one of both",
        |m| {
            let mut option = add("a", "b");
            option.header.as_mut().unwrap().raw_value = vec![1];
            edit(m, option);
        },
        &format!("{AT}.header.raw_value: value"),
    );
    refuses(
        "Envoy: one of both",
        |m| {
            edit(
                m,
                pb_core::HeaderValueOption {
                    append: flag(true),
                    append_action: 1,
                    ..add("a", "b")
                },
            )
        },
        &format!("{AT}.append: append_action"),
    );
    refuses(
        "Envoy: defined_only",
        |m| edit(m, pb_core::HeaderValueOption { append_action: 4, ..add("a", "b") }),
        &format!("{AT}.append_action: 4"),
    );
    refuses(
        "Envoy: host",
        |m| route(m).request_headers_to_remove = vec!["host".into()],
        "R.request_headers_to_remove[0]: host rewrite",
    );
    refuses(
        "Envoy",
        |m| host(m).response_headers_to_remove = vec!["a".into(), ":status".into()],
        "H.response_headers_to_remove[1]: pseudo",
    );
    refuses(
        "Envoy",
        |m| m.response_headers_to_remove = vec![String::new()],
        "response_headers_to_remove[0]: no name",
    );
    refuses(
        "Envoy",
        |m| split(m, 1, 1).clusters[0].request_headers_to_remove = vec![String::new()],
        "R.route.weighted_clusters.clusters[0].request_headers_to_remove[0]: no name",
    );
}
