//! What holds for any input.

use super::*;
use pb::header_matcher::HeaderMatchSpecifier as Header;
use pb::route_match::PathSpecifier as Path;
use proptest::prelude::*;

/// Any text that may mean something somewhere.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        Just("/a".to_owned()),
        Just("*".to_owned()),
        Just(":authority".to_owned()),
        Just("%REQ(a)%".to_owned()),
        "[a-zA-Z0-9/:?#%*.()|\\\\ -]{0,12}",
        ".{0,6}",
    ]
}

fn duration() -> impl Strategy<Value = Option<Duration>> {
    let far = (any::<i64>(), any::<i32>());
    let near = (-2i64..100, -2i32..1_000_000_000);
    let duration = prop_oneof![far, near].prop_map(|(seconds, nanos)| Duration { seconds, nanos });
    proptest::option::of(duration)
}

#[expect(deprecated, reason = "the old kinds are read")]
fn header_kind() -> impl Strategy<Value = Option<Header>> {
    proptest::option::of(prop_oneof![
        text().prop_map(Header::ExactMatch),
        text().prop_map(Header::PrefixMatch),
        text().prop_map(|text| Header::SafeRegexMatch(regex(&text))),
        any::<bool>().prop_map(Header::PresentMatch),
        (any::<i64>(), any::<i64>())
            .prop_map(|(start, end)| Header::RangeMatch(types::Int64Range { start, end })),
        (any::<bool>(), text()).prop_map(|(ignore_case, text)| {
            let match_pattern = Some(matcher::string_matcher::MatchPattern::Contains(text));
            Header::StringMatch(matcher::StringMatcher { ignore_case, match_pattern })
        }),
    ])
}

fn path_kind() -> impl Strategy<Value = Option<Path>> {
    proptest::option::of(prop_oneof![
        text().prop_map(Path::Prefix),
        text().prop_map(Path::Path),
        text().prop_map(Path::PathSeparatedPrefix),
        text().prop_map(|text| Path::SafeRegex(regex(&text))),
        Just(Path::ConnectMatcher(Default::default())),
    ])
}

/// Many fields at once, with values that are right, wrong and at the edge.
fn configuration() -> impl Strategy<Value = pb::RouteConfiguration> {
    let texts = proptest::collection::vec(text(), 12);
    let durations = proptest::collection::vec(duration(), 6);
    let conditions = proptest::collection::vec((text(), header_kind(), any::<bool>()), 0..4);
    let numbers = proptest::collection::vec(any::<u32>(), 6);
    (texts, durations, conditions, path_kind(), numbers, any::<[bool; 8]>()).prop_map(
        |(texts, durations, conditions, path_kind, numbers, flags)| {
            let mut message = base();
            host(&mut message).domains = vec![texts[0].clone(), texts[1].clone()];
            matches(&mut message).path_specifier = path_kind;
            for (name, kind, invert) in conditions {
                header(&mut message, &name, kind).invert_match = invert;
            }
            if flags[0] {
                matches(&mut message).runtime_fraction = Some(share(numbers[0], 1));
            }
            let option = add(&texts[2], &texts[3]);
            host(&mut message).request_headers_to_add = vec![option];
            host(&mut message).response_headers_to_remove = vec![texts[4].clone()];
            if flags[1] {
                let redirect = redirect(&mut message);
                redirect.host_redirect = texts[5].clone();
                redirect.port_redirect = numbers[1];
                let to = pb::redirect_action::PathRewriteSpecifier::PathRedirect(texts[6].clone());
                redirect.path_rewrite_specifier = Some(to);
                return message;
            }
            if flags[2] {
                split(&mut message, numbers[2], numbers[3]);
            }
            let action = action(&mut message);
            action.timeout = durations[0];
            action.idle_timeout = durations[1];
            action.prefix_rewrite = texts[7].clone();
            if flags[3] {
                action.regex_rewrite = Some(substitution(&texts[8], &texts[9]));
            }
            let literal = pb::route_action::HostRewriteSpecifier::HostRewriteLiteral;
            action.host_rewrite_specifier = Some(literal(texts[10].clone()));
            let retry = retry(&mut message);
            retry.retry_on = texts[11].clone();
            retry.num_retries = number(numbers[4]);
            retry.per_try_timeout = durations[2];
            if flags[4] {
                retry.retry_back_off = Some(pb::retry_policy::RetryBackOff {
                    base_interval: durations[3],
                    max_interval: durations[4],
                });
            }
            message
        },
    )
}

/// Shrinks the mistakes: each text that would be refused anywhere is replaced by one that is not.
fn domains_apart(message: &mut pb::RouteConfiguration) {
    host(message).domains = vec!["*".into()];
    host(message).request_headers_to_add.clear();
    host(message).response_headers_to_remove.clear();
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        for kind in [ResourceType::RouteConfiguration, ResourceType::Listener] {
            drop(decode(kind, &bytes, &Context::default()));
        }
    }

    #[test]
    fn no_damage_panics(message in configuration(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = message.encode_to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        drop(decode(ResourceType::RouteConfiguration, &bytes, &Context::default()));
    }

    /// What is accepted compiles; what is refused says where.
    #[test]
    fn what_is_accepted_the_router_takes(mut message in configuration(), plain in any::<bool>()) {
        if plain {
            domains_apart(&mut message);
        }
        let decoded = read(&message);
        match &decoded.resource {
            Ok(_) => drop(accepted(&decoded)),
            Err(errors) => prop_assert!(errors.iter().all(|error| !error.path.is_empty())),
        }
    }

    /// The same bytes give the same answer.
    #[test]
    fn decoding_is_a_function(message in configuration()) {
        let (first, second) = (read(&message), read(&message));
        prop_assert_eq!(first.resource, second.resource);
        prop_assert_eq!(first.ignored, second.ignored);
    }
}
