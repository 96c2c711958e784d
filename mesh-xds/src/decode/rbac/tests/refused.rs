//! What makes a filter be refused, with its place and its rule.

use super::*;
use crate::decode::testing::{any, n};
use envoy_types::pb::envoy::config::core::v3::{CidrRange, TypedExtensionConfig};
use envoy_types::pb::envoy::config::route::v3::{
    HeaderMatcher, header_matcher::HeaderMatchSpecifier,
};
use envoy_types::pb::envoy::extensions::path::r#match::uri_template::v3::UriTemplateMatchConfig;
use envoy_types::pb::envoy::extensions::rbac::principals::mtls_authenticated::v3::Config as Mtls;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::SubjectAltNameMatcher;
use envoy_types::pb::envoy::r#type::matcher::v3 as pb_matcher;
use envoy_types::pb::envoy::r#type::v3::Int32Range;
use envoy_types::pb::google::protobuf::Any;

const PERMISSION: &str = "rules.policies[p].permissions[0]";
const PRINCIPAL: &str = "rules.policies[p].principals[0]";

#[track_caller]
fn check(rule: Rule, identifier: Identifier, expected: &[&str]) {
    let message = pb_http::Rbac { rules: Some(of(rule, identifier)), ..Default::default() };
    let expected: Vec<_> = expected
        .iter()
        .map(|line| {
            line.replace("! W", &format!("! {PERMISSION}"))
                .replace("! I", &format!("! {PRINCIPAL}"))
        })
        .map(|line| line.replace("~ W", &format!("~ {PERMISSION}")))
        .collect();
    let expected: Vec<_> = expected.iter().map(String::as_str).collect();
    check_report(&report(&http(&message.encode_to_vec())), &expected);
}

fn header(name: &str) -> Rule {
    let specifier = Some(HeaderMatchSpecifier::PresentMatch(true));
    Rule::Header(HeaderMatcher {
        name: name.into(),
        header_match_specifier: specifier,
        ..Default::default()
    })
}

fn block(address: &str, prefix: u32) -> CidrRange {
    CidrRange { address_prefix: address.into(), prefix_len: n(prefix) }
}

fn text(pattern: Option<pb_matcher::string_matcher::MatchPattern>) -> pb_matcher::StringMatcher {
    pb_matcher::StringMatcher { match_pattern: pattern, ignore_case: false }
}

fn extension(any: Option<Any>) -> TypedExtensionConfig {
    TypedExtensionConfig { name: "x".into(), typed_config: any }
}

#[test]
fn headers_by_a41() {
    check(header("grpc-timeout"), any_id(), &["! W.header.name: grpc-"]);
    check(header(":scheme"), any_id(), &["! W.header.name: pseudo"]);
    check(header("a b"), any_id(), &["! W.header.name: no name"]);
    check(header("te"), any_id(), &["~ W.header.name"]);
    for name in [":method", ":path", ":authority", "host", "Content-Type", "x-bin"] {
        check(header(name), any_id(), &[]);
    }
    check(
        Rule::Header(HeaderMatcher { name: "x".into(), ..Default::default() }),
        any_id(),
        &["! W.header: kind"],
    );
}

#[test]
#[expect(deprecated, reason = "control planes still send the old kinds")]
fn permissions() {
    check(Rule::Any(false), any_id(), &["! W.any: true"]);
    check(Rule::AndRules(Default::default()), any_id(), &["! W.and_rules.rules: empty"]);
    check(Rule::OrRules(Default::default()), any_id(), &["! W.or_rules.rules: empty"]);
    check(Rule::NotRule(Default::default()), any_id(), &["! W.not_rule: kind"]);
    check(Rule::UrlPath(Default::default()), any_id(), &["! W.url_path: path"]);
    check(
        Rule::DestinationIp(block("x", 8)),
        any_id(),
        &["! W.destination_ip.address_prefix: no IP"],
    );
    check(
        Rule::DestinationIp(block("10.0.0.0", 33)),
        any_id(),
        &["! W.destination_ip.prefix_len: 33 bits"],
    );
    check(Rule::DestinationPort(65_536), any_id(), &["! W.destination_port: 65535"]);
    for (start, end) in [(-1, 5), (5, 5), (6, 5), (0, 65_537)] {
        let range = Rule::DestinationPortRange(Int32Range { start, end });
        check(range, any_id(), &["! W.destination_port_range: no port"]);
    }
    check(Rule::RequestedServerName(text(None)), any_id(), &["! W.requested_server_name: pattern"]);
    check(Rule::Matcher(extension(None)), any_id(), &["! W.matcher: `x` is not supported"]);
    check(Rule::UriTemplate(extension(None)), any_id(), &["! W.uri_template: not supported"]);
    let template = UriTemplateMatchConfig { path_template: "/**/*".into() };
    check(
        Rule::UriTemplate(extension(Some(any(&template)))),
        any_id(),
        &["! W.uri_template.typed_config.path_template: `**`"],
    );
    check(Rule::Metadata(Default::default()), any_id(), &["! W.metadata.filter: not empty"]);
    check(
        Rule::SourcedMetadata(Default::default()),
        any_id(),
        &["! W.sourced_metadata.metadata_matcher: missing"],
    );
}

#[test]
#[expect(deprecated, reason = "control planes still send the old kinds")]
fn principals() {
    let custom = |config: &Mtls| Identifier::Custom(extension(Some(any(config))));
    check(any_rule(), Identifier::Any(false), &["! I.any: true"]);
    check(any_rule(), Identifier::AndIds(Default::default()), &["! I.and_ids.ids: empty"]);
    check(any_rule(), Identifier::NotId(Default::default()), &["! I.not_id: kind"]);
    check(any_rule(), Identifier::SourceIp(block("", 0)), &["! I.source_ip.address_prefix: no IP"]);
    check(
        any_rule(),
        Identifier::FilterState(Default::default()),
        &["! I.filter_state.key: empty"],
    );
    check(any_rule(), Identifier::Custom(extension(None)), &["! I.custom: not supported"]);
    check(any_rule(), custom(&Mtls::default()), &["! I.custom.typed_config: san_matcher"]);
    let san = |san_type| Mtls {
        san_matcher: Some(SubjectAltNameMatcher { san_type, ..Default::default() }),
        ..Default::default()
    };
    for (san_type, expected) in [
        (0, "! I.custom.typed_config.san_matcher.san_type: missing"),
        (3, "! I.custom.typed_config.san_matcher.matcher: missing"),
        (5, "! I.custom.typed_config.san_matcher.oid: type"),
        (9, "! I.custom.typed_config.san_matcher.san_type: 9"),
    ] {
        check(any_rule(), custom(&san(san_type)), &[expected]);
    }
    let name = text(Some(pb_matcher::string_matcher::MatchPattern::Prefix(String::new())));
    let authenticated = pb::principal::Authenticated { principal_name: Some(name) };
    check(
        any_rule(),
        Identifier::Authenticated(authenticated),
        &["! I.authenticated.principal_name.prefix: empty"],
    );
}

#[test]
fn policies_are_whole() {
    let mut message = base();
    let rules = message.rules.as_mut().unwrap();
    rules.policies.insert("q".into(), pb::Policy::default());
    rules.action = 7;
    check_report(
        &report(&http(&message.encode_to_vec())),
        &[
            "! rules.action: 7",
            "! rules.policies[q].permissions: min_items",
            "! rules.policies[q].principals: min_items",
        ],
    );
    check_report(&report(&http(&[0x0a, 0xff])), &["! not a valid message"]);
}

#[test]
fn a_connection_has_no_headers() {
    for (rule, identifier, place) in [
        (header("x"), any_id(), "permissions[0].header"),
        (Rule::UrlPath(Default::default()), any_id(), "permissions[0].url_path"),
        (any_rule(), Identifier::Header(Default::default()), "principals[0].header"),
        (any_rule(), Identifier::UrlPath(Default::default()), "principals[0].url_path"),
    ] {
        let rules = Some(of(rule, identifier));
        let message = pb_network::Rbac { rules, stat_prefix: "x".into(), ..Default::default() };
        let expected = format!("! rules.policies[p].{place}: a connection has no headers");
        check_report(&report(&network(&message.encode_to_vec())), &[&expected]);
    }
    check_report(&report(&network(&[])), &["! stat_prefix: empty"]);
}

#[test]
fn nesting_has_an_end() {
    let nested = |depth| {
        (0..depth).fold(any_rule(), |inner, _| {
            Rule::NotRule(Box::new(PbPermission { rule: Some(inner) }))
        })
    };
    let decoded = |depth| {
        let message =
            pb_http::Rbac { rules: Some(of(nested(depth), any_id())), ..Default::default() };
        http(&message.encode_to_vec()).config
    };
    let fits = decoded(mesh_core::rbac::MAX_DEPTH - 1).unwrap();
    assert!(mesh_core::rbac::CompiledRbacFilter::new(&fits).is_ok());
    let errors = decoded(mesh_core::rbac::MAX_DEPTH).unwrap_err();
    assert!(errors[0].message.contains("deeper"), "{errors:?}");
}
