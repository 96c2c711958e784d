//! Istio's action CUSTOM as istiod builds it: an RBAC filter of shadow rules, and an `ext_authz` that is asked
//! about what they match.

use super::ask_tests::grpc;
use super::config_of;
use crate::decode::common::Walk;
use envoy_types::pb::envoy::config::rbac::v3 as rbac;
use envoy_types::pb::envoy::extensions::filters::http::{
    ext_authz::v3 as authz, rbac::v3 as http_rbac,
};
use envoy_types::pb::envoy::r#type::matcher::v3 as matcher;
use envoy_types::pb::google::protobuf::Any;
use mesh_core::Timestamp;
use mesh_core::WallTime;
use mesh_core::filter::ask::CheckAnswer;
use mesh_core::filter::{Answer, Chain, FilterContext, Overrides, Pass, Step, Told};
use mesh_core::identity::Peer;
use mesh_core::model::HttpFilter;
use mesh_core::rbac::Connection;
use prost::{Message, Name};
use std::sync::Arc;

const POLICY: &str = "istio-ext-authz-ns[foo]-policy[ext-authz]-rule[0]";

fn read<M: Message + Name>(name: &str, message: &M) -> HttpFilter {
    let mut walk = Walk::default();
    let any = Any { type_url: M::type_url(), value: message.encode_to_vec() };
    let config = config_of(&mut walk, &any).unwrap();
    let (errors, _) = walk.into_parts();
    assert!(errors.is_empty(), "{errors:?}");
    HttpFilter::new(name, config.unwrap())
}

fn text(pattern: matcher::string_matcher::MatchPattern) -> matcher::StringMatcher {
    matcher::StringMatcher { match_pattern: Some(pattern), ..Default::default() }
}

/// `rules: [{ to: [{ operation: { paths: ["/headers"] } }] }]`.
fn shadow_rules() -> http_rbac::Rbac {
    use matcher::string_matcher::MatchPattern;
    use rbac::permission::{Rule, Set as Rules};
    use rbac::principal::{Identifier, Set as Ids};
    let path = matcher::PathMatcher {
        rule: Some(matcher::path_matcher::Rule::Path(text(MatchPattern::Exact("/headers".into())))),
    };
    let rule = |rule| rbac::Permission { rule: Some(rule) };
    let path = rule(Rule::OrRules(Rules { rules: vec![rule(Rule::UrlPath(path))] }));
    let anybody = rbac::Principal { identifier: Some(Identifier::Any(true)) };
    let anybody = Identifier::AndIds(Ids { ids: vec![anybody] });
    let policy = rbac::Policy {
        permissions: vec![rule(Rule::AndRules(Rules { rules: vec![path] }))],
        principals: vec![rbac::Principal { identifier: Some(anybody) }],
        ..Default::default()
    };
    let rules = rbac::Rbac {
        action: rbac::rbac::Action::Deny.into(),
        policies: [(POLICY.to_owned(), policy)].into(),
        ..Default::default()
    };
    http_rbac::Rbac {
        shadow_rules: Some(rules),
        shadow_rules_stat_prefix: "istio_ext_authz_".into(),
        ..Default::default()
    }
}

fn ext_authz() -> authz::ExtAuthz {
    use matcher::metadata_matcher::{PathSegment, path_segment::Segment};
    let key = "istio_ext_authz_shadow_effective_policy_id";
    let prefix = text(matcher::string_matcher::MatchPattern::Prefix("istio-ext-authz".into()));
    let value = matcher::value_matcher::MatchPattern::StringMatch(prefix);
    authz::ExtAuthz {
        services: Some(authz::ext_authz::Services::GrpcService(grpc("outbound|9000||authz.foo"))),
        transport_api_version: 2,
        filter_enabled_metadata: Some(matcher::MetadataMatcher {
            filter: "envoy.filters.http.rbac".into(),
            path: vec![PathSegment { segment: Some(Segment::Key(key.into())) }],
            value: Some(matcher::ValueMatcher { match_pattern: Some(value) }),
            invert: false,
        }),
        ..Default::default()
    }
}

/// What becomes of a request for `path`, of which the authorizer, if asked, says this.
fn pass(chain: &Chain, path: &str, says: bool) -> String {
    let (mut request, ()) = http::Request::get(path).body(()).unwrap().into_parts();
    let remote = "10.0.0.1:1".parse().unwrap();
    let connection = Connection::new(&Peer::Plaintext, remote, remote);
    let mut cx = FilterContext {
        request: &mut request,
        connection: &connection,
        narrowed: None,
        remote: Some(remote),
        now: Timestamp::ZERO,
        wall: WallTime::from_unix_seconds(0),
    };
    let (overrides, mut pass) = (Overrides::default(), Pass::new(1));
    let mut nobody = |_: &Arc<str>, _: Told<'_>| {};
    let (asked, step) = match pass.start(chain, &overrides, &mut cx, &mut nobody) {
        Step::Ask(_) => {
            let mut answer = CheckAnswer::default();
            answer.allowed = says;
            let answer = Answer::Check(Ok(answer));
            ("asked, ", pass.handle_answer(answer, chain, &overrides, &mut cx, &mut nobody))
        }
        step => ("", step),
    };
    match step {
        Step::Continue => format!("{asked}goes on"),
        Step::Reply(reply) => format!("{asked}{}", reply.status.as_u16()),
        other => format!("{other:?}"),
    }
}

#[test]
fn the_authorizer_is_asked_about_what_the_policy_selects() {
    let rbac = read("envoy.filters.http.rbac", &shadow_rules());
    let authz = read("envoy.filters.http.ext_authz", &ext_authz());
    let chain = Chain::compile(&[rbac, authz], None).unwrap();
    assert_eq!(pass(&chain, "/headers", true), "asked, goes on");
    assert_eq!(pass(&chain, "/headers", false), "asked, 403");
    assert_eq!(pass(&chain, "/ip", false), "goes on");
    assert_eq!(pass(&chain, "/headers/x", false), "goes on");
}

#[test]
fn a_condition_that_is_not_understood_is_refused() {
    let mut message = ext_authz();
    message.filter_enabled_metadata.as_mut().unwrap().value = None;
    let any = Any { type_url: authz::ExtAuthz::type_url(), value: message.encode_to_vec() };
    let mut walk = Walk::default();
    assert!(config_of(&mut walk, &any).unwrap().is_none());
    let (errors, _) = walk.into_parts();
    let paths: Vec<_> = errors.iter().map(|error| error.path.clone()).collect();
    assert_eq!(paths, ["filter_enabled_metadata.value"]);
}
