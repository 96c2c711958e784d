//! What actions and header edits become.

use super::*;
use http::{HeaderName, HeaderValue, StatusCode};
use model::{
    AppendAction, ClusterSpecifier, DirectResponse, HashPolicy, HashSource, HeaderMutation,
    HostRewrite, PathRewrite, Redirect, RegexPattern, RouteAction, RoutingPriority, Split, SplitBy,
    SplitCluster,
};
use std::time::Duration as Time;

fn name(text: &'static str) -> HeaderName {
    HeaderName::from_static(text)
}

fn pattern(text: &str) -> RegexPattern {
    RegexPattern::new(text)
}

#[test]
fn limits() {
    means(
        "Envoy",
        |m| action(m).timeout = millis(2500),
        |r| forward(r).timeout = Time::from_millis(2500),
    );
    means("Envoy: none", |m| action(m).timeout = millis(0), |r| forward(r).timeout = Time::ZERO);
    means(
        "Envoy",
        |m| action(m).idle_timeout = millis(9000),
        |r| forward(r).idle_timeout = Some(Time::from_secs(9)),
    );
    means("Envoy: none", |m| action(m).idle_timeout = millis(0), |_| {});
    means("Envoy", |m| action(m).priority = 1, |r| forward(r).priority = RoutingPriority::High);
    for (stream, header_max) in [(None, None), (Some(0), None), (Some(5), Some(0)), (None, Some(7))]
    {
        let seconds = |value: Option<u64>| value.map(Time::from_secs);
        let wire = |value: Option<i64>| value.and_then(|value| millis(value * 1000));
        means(
            "gRFC A31",
            |m| {
                action(m).max_stream_duration = Some(pb::route_action::MaxStreamDuration {
                    max_stream_duration: wire(stream),
                    grpc_timeout_header_max: wire(header_max),
                    grpc_timeout_header_offset: None,
                })
            },
            |r| {
                let mut limits = model::route::MaxStreamDuration::default();
                limits.max_stream_duration = seconds(stream.map(i64::unsigned_abs));
                limits.grpc_timeout_header_max = seconds(header_max.map(i64::unsigned_abs));
                forward(r).max_stream_duration = Some(limits);
            },
        );
    }
    #[expect(deprecated, reason = "the old name is read")]
    means(
        "Envoy: the old name",
        |m| action(m).max_grpc_timeout = millis(0),
        |r| {
            let mut limits = model::route::MaxStreamDuration::default();
            limits.grpc_timeout_header_max = Some(Time::ZERO);
            forward(r).max_stream_duration = Some(limits);
        },
    );
    means(
        "Envoy",
        |m| action(m).hedge_policy = Some(Default::default()),
        |r| forward(r).hedge_policy = Some(Default::default()),
    );
}

#[test]
fn clusters_and_splits() {
    use pb::route_action::ClusterSpecifier as By;
    use pb::weighted_cluster::RandomValueSpecifier as Draw;
    means(
        "Envoy",
        |m| action(m).cluster_specifier = Some(By::ClusterHeader("X-C".into())),
        |r| {
            forward(r).cluster = ClusterSpecifier::Header(name("x-c"));
        },
    );
    let both = || Split::new(vec![SplitCluster::new("a", 1), SplitCluster::new("b", 3)]);
    means(
        "gRFC A28",
        |m| {
            split(m, 1, 3);
        },
        |r| forward(r).cluster = ClusterSpecifier::Split(both()),
    );
    #[expect(deprecated, reason = "the old field is read")]
    means(
        "gRFC A28: total_weight is the sum",
        |m| split(m, 1, 3).total_weight = number(4),
        |r| {
            forward(r).cluster = ClusterSpecifier::Split(both());
        },
    );
    means(
        "gRFC A28: u32",
        |m| {
            split(m, u32::MAX, 0);
        },
        |r| {
            forward(r).cluster =
                ClusterSpecifier::Split(Split::new(vec![SplitCluster::new("a", u32::MAX)]));
        },
    );
    means(
        "grpc-go: no weight is 0",
        |m| split(m, 1, 3).clusters[0].weight = None,
        |r| {
            forward(r).cluster =
                ClusterSpecifier::Split(Split::new(vec![SplitCluster::new("b", 3)]));
        },
    );
    let draws = [
        (Draw::HeaderName("X-N".into()), SplitBy::HeaderValue(name("x-n"))),
        (Draw::UseHashPolicy(BoolValue { value: false }), SplitBy::Random),
        (Draw::UseHashPolicy(BoolValue { value: true }), SplitBy::Hash(Vec::new())),
    ];
    for (draw, by) in draws {
        means(
            "Envoy",
            |m| split(m, 1, 3).random_value_specifier = Some(draw),
            |r| {
                let mut split = both();
                split.by = by;
                forward(r).cluster = ClusterSpecifier::Split(split);
            },
        );
    }
}

#[test]
fn clusters_are_named_by_virtual_host() {
    use pb::route_action::ClusterSpecifier as By;
    let decoded = check(
        "names for whoever links",
        |m| {
            split(m, 1, 0);
            let mut second = host(m).clone();
            second.name = "second".into();
            second.domains = vec!["other".into()];
            m.virtual_hosts.push(second);
            action(m).cluster_specifier = Some(By::Cluster("c".into()));
        },
        &[],
    );
    let clusters: Vec<Vec<_>> = accepted(&decoded)
        .clusters
        .iter()
        .map(|set| set.iter().map(|c| c.to_string()).collect())
        .collect();
    assert_eq!(clusters, [vec!["c"], vec!["a"]]);
}

#[test]
fn hashes() {
    use pb::route_action::hash_policy::{self as hash, PolicySpecifier as By};
    let cookie =
        hash::Cookie { name: "s".into(), ttl: millis(0), path: "/p".into(), attributes: vec![] };
    let header =
        hash::Header { header_name: "X-U".into(), regex_rewrite: Some(substitution("(a)", r"\1")) };
    let inputs = [
        (
            By::Header(header),
            HashSource::Header { name: name("x-u"), rewrite: Some((pattern("(a)"), r"\1".into())) },
        ),
        (
            By::Header(hash::Header { header_name: "u".into(), regex_rewrite: None }),
            HashSource::Header { name: name("u"), rewrite: None },
        ),
        (
            By::Cookie(cookie),
            HashSource::Cookie { name: "s".into(), ttl: Some(Time::ZERO), path: Some("/p".into()) },
        ),
        (
            By::Cookie(hash::Cookie { name: "s".into(), ..Default::default() }),
            HashSource::Cookie { name: "s".into(), ttl: None, path: None },
        ),
        (
            By::ConnectionProperties(hash::ConnectionProperties { source_ip: true }),
            HashSource::SourceIp,
        ),
        (
            By::QueryParameter(hash::QueryParameter { name: "q".into() }),
            HashSource::QueryParameter("q".into()),
        ),
        (
            By::FilterState(hash::FilterState { key: "io.grpc.channel_id".into() }),
            HashSource::ChannelId,
        ),
    ];
    for (input, source) in inputs {
        for terminal in [false, true] {
            means(
                "gRFC A42, Envoy",
                |m| {
                    action(m).hash_policy = vec![pb::route_action::HashPolicy {
                        terminal,
                        policy_specifier: Some(input.clone()),
                    }]
                },
                |r| {
                    let mut policy = HashPolicy::new(source.clone());
                    policy.terminal = terminal;
                    forward(r).hash_policy = vec![policy];
                },
            );
        }
    }
}

#[test]
fn rewrites() {
    use pb::route_action::HostRewriteSpecifier as Host;
    means(
        "Envoy",
        |m| action(m).prefix_rewrite = "/b/".into(),
        |r| forward(r).path_rewrite = Some(PathRewrite::Prefix("/b/".into())),
    );
    means(
        "Envoy",
        |m| action(m).path_rewrite = "/100%%".into(),
        |r| forward(r).path_rewrite = Some(PathRewrite::Full("/100%".into())),
    );
    means(
        "Envoy",
        |m| action(m).regex_rewrite = Some(substitution("^/(a)", r"/\1\\")),
        |r| {
            forward(r).path_rewrite = Some(PathRewrite::Regex {
                pattern: pattern("^/(a)"),
                substitution: r"/\1\\".into(),
            });
        },
    );
    let hosts = [
        (Host::HostRewriteLiteral("b:80".into()), Some(HostRewrite::Literal("b:80".into()))),
        (Host::HostRewriteLiteral(String::new()), None),
        (Host::HostRewrite("b".into()), Some(HostRewrite::Literal("b".into()))),
        (Host::HostRewriteHeader("X-H".into()), Some(HostRewrite::Header(name("x-h")))),
        (Host::AutoHostRewrite(BoolValue { value: false }), None),
        (
            Host::HostRewritePathRegex(substitution("/(.*)", r"\1")),
            Some(HostRewrite::PathRegex { pattern: pattern("/(.*)"), substitution: r"\1".into() }),
        ),
    ];
    for (host, expected) in hosts {
        means(
            "Envoy",
            |m| action(m).host_rewrite_specifier = Some(host),
            |r| forward(r).host_rewrite = expected,
        );
    }
    // gRFC A81.
    let mut message = base();
    action(&mut message).host_rewrite_specifier =
        Some(Host::AutoHostRewrite(BoolValue { value: true }));
    let trusted = Context { trusted_server: true, ..Default::default() };
    let decoded = decode(ResourceType::RouteConfiguration, &message.encode_to_vec(), &trusted);
    assert!(decoded.ignored.is_empty(), "{decoded:?}");
    let mut found = (*accepted(&decoded).model.virtual_hosts[0].routes[0]).clone();
    assert_eq!(forward(&mut found).host_rewrite, Some(HostRewrite::Auto));
}

#[test]
fn redirects() {
    use pb::redirect_action::{PathRewriteSpecifier as To, SchemeRewriteSpecifier as Scheme};
    let is = |edit: &dyn Fn(&mut pb::RedirectAction), expected: &dyn Fn(&mut Redirect)| {
        means(
            "Envoy",
            |m| edit(redirect(m)),
            |r| {
                let mut redirect = Redirect::default();
                expected(&mut redirect);
                r.action = RouteAction::Redirect(redirect);
            },
        );
    };
    for (number, status) in (0..).zip([301, 302, 303, 307, 308]) {
        is(&|p| p.response_code = number, &|r| r.status = StatusCode::from_u16(status).unwrap());
    }
    is(&|p| p.scheme_rewrite_specifier = Some(Scheme::HttpsRedirect(true)), &|r| {
        r.scheme = Some("https".into())
    });
    is(&|p| p.scheme_rewrite_specifier = Some(Scheme::HttpsRedirect(false)), &|_| {});
    is(&|p| p.scheme_rewrite_specifier = Some(Scheme::SchemeRedirect("http".into())), &|r| {
        r.scheme = Some("http".into())
    });
    is(&|p| p.host_redirect = "b".into(), &|r| r.host = Some("b".into()));
    is(&|p| p.host_redirect = "[::1]".into(), &|r| r.host = Some("[::1]".into()));
    is(&|p| p.port_redirect = 65_535, &|r| r.port = Some(65_535));
    is(&|p| p.strip_query = true, &|r| r.strip_query = true);
    is(&|p| p.path_rewrite_specifier = Some(To::PathRedirect("/b?c#d".into())), &|r| {
        r.path = Some(PathRewrite::Full("/b?c#d".into()))
    });
    is(&|p| p.path_rewrite_specifier = Some(To::PathRewrite("/b".into())), &|r| {
        r.path = Some(PathRewrite::Full("/b".into()))
    });
    is(&|p| p.path_rewrite_specifier = Some(To::PrefixRewrite("/b".into())), &|r| {
        r.path = Some(PathRewrite::Prefix("/b".into()))
    });
    is(&|p| p.path_rewrite_specifier = Some(To::RegexRewrite(substitution("a", "b"))), &|r| {
        r.path = Some(PathRewrite::Regex { pattern: pattern("a"), substitution: "b".into() });
    });
}

#[test]
fn direct_responses() {
    use pb_core::data_source::Specifier as Source;
    for (source, body) in [
        (Some(Source::InlineString("no".into())), "no"),
        (Some(Source::InlineBytes(b"b".to_vec())), "b"),
    ] {
        means(
            "Envoy",
            |m| {
                direct(m, 403).body =
                    Some(pb_core::DataSource { specifier: source, watched_directory: None })
            },
            |r| {
                r.action = RouteAction::DirectResponse(DirectResponse::new(
                    StatusCode::FORBIDDEN,
                    body.into(),
                ));
            },
        );
    }
    means(
        "Envoy",
        |m| {
            direct(m, 204);
        },
        |r| {
            r.action =
                RouteAction::DirectResponse(DirectResponse::new(StatusCode::NO_CONTENT, "".into()));
        },
    );
}

#[test]
fn header_edits() {
    let append = |value: &'static str, action| HeaderMutation::Append {
        name: name("x-a"),
        value: HeaderValue::from_static(value),
        action,
    };
    let actions = [
        AppendAction::AppendIfExistsOrAdd,
        AppendAction::AddIfAbsent,
        AppendAction::OverwriteIfExistsOrAdd,
        AppendAction::OverwriteIfExists,
    ];
    for (number, action) in (0..).zip(actions) {
        means(
            "Envoy",
            |m| {
                let option =
                    pb_core::HeaderValueOption { append_action: number, ..add("X-A", "v") };
                route(m).response_headers_to_add = vec![option];
            },
            |r| r.headers.response = vec![append("v", action)],
        );
    }
    #[expect(deprecated, reason = "`append` is read")]
    for (old, action) in
        [(true, AppendAction::AppendIfExistsOrAdd), (false, AppendAction::OverwriteIfExistsOrAdd)]
    {
        means(
            "Envoy: the old field",
            |m| {
                route(m).request_headers_to_add =
                    vec![pb_core::HeaderValueOption { append: flag(old), ..add("x-a", "v") }];
            },
            |r| r.headers.request = vec![append("v", action)],
        );
    }
    means(
        "Envoy: `%%`, keep_empty_value, raw_value; removals first",
        |m| {
            let mut raw = add("x-a", "");
            raw.header.as_mut().unwrap().raw_value = b"raw".to_vec();
            let empty = pb_core::HeaderValueOption { keep_empty_value: true, ..add("x-a", "") };
            route(m).request_headers_to_add = vec![add("x-a", "50%%"), empty, raw];
            route(m).request_headers_to_remove = vec!["X-B".into()];
        },
        |r| {
            let all = AppendAction::AppendIfExistsOrAdd;
            let remove = HeaderMutation::Remove(name("x-b"));
            r.headers.request =
                vec![remove, append("50%", all), append("", all), append("raw", all)];
        },
    );
}

#[test]
fn header_edits_of_every_level() {
    let decoded = check(
        "Envoy: every level has its own",
        |m| {
            m.request_headers_to_remove = vec!["a".into()];
            host(m).request_headers_to_remove = vec!["b".into()];
            split(m, 1, 1).clusters[0].response_headers_to_remove = vec!["c".into()];
        },
        &[],
    );
    let routes = accepted(&decoded);
    assert_eq!(routes.model.headers.request, [HeaderMutation::Remove(name("a"))]);
    assert_eq!(routes.model.virtual_hosts[0].headers.request, [HeaderMutation::Remove(name("b"))]);
    let mut found = (*routes.model.virtual_hosts[0].routes[0]).clone();
    let ClusterSpecifier::Split(split) = &forward(&mut found).cluster else { panic!("{found:?}") };
    assert_eq!(split.clusters[0].headers.response, [HeaderMutation::Remove(name("c"))]);
    means(
        "one level only: nothing to decide",
        |m| {
            m.most_specific_header_mutations_wins = true;
            route(m).request_headers_to_remove = vec!["x-b".into()];
        },
        |r| r.headers.request = vec![HeaderMutation::Remove(name("x-b"))],
    );
}
