//! Routes that are skipped, and what is passed over: reported, and never wider than meant.

use super::*;
use matcher::string_matcher::MatchPattern;
use pb::header_matcher::HeaderMatchSpecifier as Header;
use pb::route_match::PathSpecifier as Path;

/// The route is skipped: the report says so, and the model does not have it.
#[track_caller]
fn skips(rule: &str, edit: impl FnOnce(&mut pb::RouteConfiguration), expected: &str) {
    let decoded = check(rule, edit, &[expected]);
    let routes = accepted(&decoded);
    assert!(routes.model.virtual_hosts[0].routes.is_empty(), "{rule}: {routes:#?}");
    assert!(routes.clusters[0].is_empty(), "{rule}: {routes:#?}");
    // What it would have kept out, the next route would let in, at a port; but for CONNECT, which no port takes.
    let is_connect = expected.contains("connect_matcher");
    assert_eq!(routes.unguarded.is_none(), is_connect, "{rule}: {routes:#?}");
}

/// Whether a port may go by the routes, with this change to good ones.
#[track_caller]
fn guards(edit: impl FnOnce(&mut pb::RouteConfiguration), expected: Option<&str>) {
    let mut message = base();
    edit(&mut message);
    let routes = accepted(&read(&message));
    let path = routes.unguarded.as_ref().and_then(|why| why.split(": ").next());
    assert_eq!(path, expected, "{routes:#?}");
}

#[test]
fn ports_go_by_no_routes_without_their_policies() {
    const HOST: &str = "virtual_hosts[0]";
    guards(|_| {}, None);
    guards(|m| host(m).include_request_attempt_count = true, None);
    guards(|m| host(m).require_tls = 2, Some(&format!("{HOST}.require_tls")));
    // Who limits by what can't be evaluated is refused; who does not, does not in Envoy either.
    guards(|m| host(m).rate_limits = vec![Default::default()], None);
    guards(|m| action(m).rate_limits = vec![Default::default()], None);
}

fn exact(text: &str) -> Header {
    Header::StringMatch(string(MatchPattern::Exact(text.into())))
}

#[test]
fn a_condition_that_cant_be_evaluated_skips_its_route() {
    const RULE: &str = "gRFC A28: never dropped";
    skips(
        RULE,
        |m| path(m, Path::ConnectMatcher(Default::default())),
        "~ R.match.connect_matcher: CONNECT",
    );
    skips(RULE, |m| matches(m).cookies = vec![Default::default()], "~ R.match.cookies: skipped");
    skips(
        RULE,
        |m| matches(m).tls_context = Some(Default::default()),
        "~ R.match.tls_context: TLS",
    );
    skips(
        RULE,
        |m| matches(m).dynamic_metadata = vec![Default::default()],
        "~ R.match.dynamic_metadata: skipped",
    );
    skips(
        RULE,
        |m| matches(m).filter_state = vec![Default::default()],
        "~ R.match.filter_state: skipped",
    );
    skips(
        RULE,
        |m| {
            header(m, ":path", exact("/"));
        },
        "~ R.match.headers[0].name: pseudo",
    );
    skips(
        RULE,
        |m| {
            header(m, ":scheme", exact("https"));
        },
        "~ R.match.headers[0].name: pseudo",
    );
    skips(
        RULE,
        |m| {
            use pb::query_parameter_matcher::QueryParameterMatchSpecifier::PresentMatch;
            matches(m).query_parameters = vec![pb::QueryParameterMatcher {
                name: "q".into(),
                query_parameter_match_specifier: Some(PresentMatch(false)),
            }];
        },
        "~ R.match.query_parameters[0].present_match: absence",
    );
}

#[test]
#[expect(deprecated, reason = "the old kinds are read")]
fn a_method_is_a_list_or_skips_its_route() {
    const RULE: &str = "Envoy: `:method` is a header";
    let name = "~ R.match.headers[0].name: GET|POST";
    for kind in [
        Header::PrefixMatch("G".into()),
        Header::SuffixMatch("T".into()),
        Header::ContainsMatch("E".into()),
        Header::SafeRegexMatch(regex("G.*")),
        Header::SafeRegexMatch(regex("(GET)|(POST)")),
        Header::SafeRegexMatch(regex("GET|")),
        Header::ExactMatch("GET|POST".into()),
        Header::ExactMatch(String::new()),
        Header::StringMatch(string(MatchPattern::Prefix("G".into()))),
        Header::StringMatch(matcher::StringMatcher {
            ignore_case: true,
            match_pattern: Some(MatchPattern::Exact("get".into())),
        }),
    ] {
        skips(
            RULE,
            |m| {
                header(m, ":method", kind.clone());
            },
            name,
        );
    }
    skips(
        RULE,
        |m| {
            header(m, ":method", None);
        },
        name,
    );
    skips(RULE, |m| header(m, ":method", exact("GET")).invert_match = true, name);
    let none = "~ R.match.headers: no method";
    skips(
        RULE,
        |m| {
            header(m, ":method", exact("GET"));
            header(m, ":method", exact("PUT"));
        },
        none,
    );
    skips(
        RULE,
        |m| {
            header(m, ":method", Header::PresentMatch(false));
        },
        none,
    );
    skips(RULE, |m| header(m, ":method", Header::PresentMatch(true)).invert_match = true, none);
}

#[test]
fn an_unknown_way_to_name_a_cluster_skips_its_route() {
    const RULE: &str = "gRFC A28, RLS: an unknown specifier, or an optional plugin";
    skips(RULE, |m| action(m).cluster_specifier = None, "~ R.route.cluster_specifier: skipped");
    skips(
        RULE,
        |m| {
            use pb::route_action::ClusterSpecifier::InlineClusterSpecifierPlugin;
            let plugin = pb::ClusterSpecifierPlugin { extension: None, is_optional: true };
            action(m).cluster_specifier = Some(InlineClusterSpecifierPlugin(plugin));
        },
        "~ R.route.inline_cluster_specifier_plugin: skipped",
    );
}

#[test]
fn a_skipped_route_hides_its_own_mistakes_and_no_others() {
    let decoded = check(
        "gRFC A28",
        |m| {
            let mut second = route(m).clone();
            second.name = "second".into();
            host(m).routes.push(second);
            matches(m).cookies = vec![Default::default()];
            action(m).timeout = millis(-1);
        },
        &["~ R.match.cookies: skipped"],
    );
    let routes = accepted(&decoded);
    let names: Vec<_> = routes.model.virtual_hosts[0].routes.iter().map(|r| &*r.name).collect();
    assert_eq!(names, ["second"]);
}

#[test]
fn settings_without_effect_are_reported() {
    check(
        "gRFC A28: the key is ignored",
        |m| {
            let mut fraction = share(1, 0);
            fraction.runtime_key = "k".into();
            matches(m).runtime_fraction = Some(fraction);
        },
        &["~ R.match.runtime_fraction.runtime_key: run-time"],
    );
    check(
        "gRFC A63",
        |m| {
            header(
                m,
                "a",
                Header::StringMatch(matcher::StringMatcher {
                    ignore_case: true,
                    match_pattern: Some(MatchPattern::SafeRegex(regex("a"))),
                }),
            );
        },
        &["~ R.match.headers[0].string_match.ignore_case: (?i)"],
    );
    check(
        "gRFC A28: max_program_size is ignored",
        |m| {
            #[expect(deprecated, reason = "control planes still send it")]
            let re2 = matcher::regex_matcher::GoogleRe2 { max_program_size: number(9) };
            #[expect(deprecated, reason = "control planes still send it")]
            let engine_type = Some(matcher::regex_matcher::EngineType::GoogleRe2(re2));
            path(m, Path::SafeRegex(matcher::RegexMatcher { regex: "/a".into(), engine_type }));
        },
        &["~ R.match.safe_regex.google_re2.max_program_size: bounded"],
    );
    check(
        "gRFC A81",
        |m| {
            let auto =
                pb::route_action::HostRewriteSpecifier::AutoHostRewrite(BoolValue { value: true });
            action(m).host_rewrite_specifier = Some(auto);
        },
        &["~ R.route.auto_host_rewrite: trusted_xds_server"],
    );
}

#[test]
fn limits_without_effect_are_reported() {
    check(
        "gRFC A31",
        |m| {
            action(m).max_stream_duration = Some(pb::route_action::MaxStreamDuration {
                grpc_timeout_header_offset: millis(1),
                ..Default::default()
            });
        },
        &["~ R.route.max_stream_duration.grpc_timeout_header_offset: A31"],
    );
    check(
        "Envoy: not implemented there either",
        |m| {
            action(m).hedge_policy = Some(pb::HedgePolicy {
                initial_requests: number(2),
                additional_request_chance: Some(Default::default()),
                hedge_on_per_try_timeout: true,
            });
        },
        &[
            "~ R.route.hedge_policy.initial_requests: one",
            "~ R.route.hedge_policy.additional_request_chance: per-try",
        ],
    );
    check(
        "bound",
        |m| m.max_direct_response_body_size_bytes = number(9999),
        &["~ max_direct_response_body_size_bytes: 4096"],
    );
}

#[test]
fn an_edit_that_cant_be_made_is_left_out_and_reported() {
    for text in ["%REQ(x)%", "a%", "50% off"] {
        let decoded = check(
            "Envoy: commands",
            |m| route(m).request_headers_to_add = vec![add("a", text)],
            &["~ R.request_headers_to_add[0].header.value: command"],
        );
        assert!(accepted(&decoded).model.virtual_hosts[0].routes[0].headers.is_empty());
    }
    for name in ["Content-Length", "transfer-encoding", "connection", "upgrade", "te"] {
        let decoded = check(
            "RFC 9112 section 6, RFC 9110 section 7.6.1; Envoy takes it",
            |m| route(m).response_headers_to_add = vec![add(name, "1")],
            &["~ R.response_headers_to_add[0].header.key: left out"],
        );
        assert!(accepted(&decoded).model.virtual_hosts[0].routes[0].headers.is_empty());
    }
    let decoded = check(
        "RFC 9112 section 6; what is of the connection may be taken off",
        |m| {
            route(m).request_headers_to_remove = vec!["content-length".into(), "upgrade".into()];
        },
        &["~ R.request_headers_to_remove[0]: left out"],
    );
    assert_eq!(accepted(&decoded).model.virtual_hosts[0].routes[0].headers.request.len(), 1);
    check(
        "Envoy: keep_empty_value",
        |m| host(m).response_headers_to_add = vec![add("a", "")],
        &["~ H.response_headers_to_add[0].header.value: keep_empty_value"],
    );
}

#[test]
fn hash_inputs_that_are_not_known_are_passed_over() {
    use hash::PolicySpecifier as By;
    use pb::route_action::hash_policy as hash;
    let by = |m: &mut pb::RouteConfiguration, specifier| {
        let policy = pb::route_action::HashPolicy { terminal: true, policy_specifier: specifier };
        action(m).hash_policy = vec![policy];
    };
    const RULE: &str = "gRFC A42: other kinds yield nothing";
    let decoded = check(
        RULE,
        |m| by(m, Some(By::FilterState(hash::FilterState { key: "x".into() }))),
        &["~ R.route.hash_policy[0].filter_state.key: io.grpc.channel_id"],
    );
    let model::RouteAction::Forward(forward) =
        &accepted(&decoded).model.virtual_hosts[0].routes[0].action
    else {
        panic!("{decoded:#?}")
    };
    assert!(forward.hash_policy.is_empty());
    check(RULE, |m| by(m, None), &["~ R.route.hash_policy[0].policy_specifier: nothing"]);
    check(
        RULE,
        |m| by(m, Some(By::ConnectionProperties(Default::default()))),
        &["~ R.route.hash_policy[0].connection_properties: source_ip"],
    );
    check(
        RULE,
        |m| {
            by(
                m,
                Some(By::Cookie(hash::Cookie {
                    name: "s".into(),
                    attributes: vec![Default::default()],
                    ..Default::default()
                })),
            )
        },
        &["~ R.route.hash_policy[0].cookie.attributes: Path"],
    );
}
