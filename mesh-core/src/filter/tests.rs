use super::*;
use crate::identity::Peer;
use crate::model::matcher::StringPattern;
use crate::model::{
    HttpFilter, HttpFilterConfig, HttpFilterOverride, HttpFilterOverrides, Permission, Policy,
    Principal, Rbac, RbacAction, RbacFilter, StringMatcher,
};
use crate::rbac::Connection;
use crate::time::{Timestamp, WallTime};
use std::sync::Arc;

/// Denies what is asked for under `prefix`.
fn denies(name: &str, prefix: &str) -> HttpFilter {
    HttpFilter::new(name, HttpFilterConfig::Rbac(rbac(name, prefix)))
}

fn rbac(name: &str, prefix: &str) -> Arc<RbacFilter> {
    let policy = Policy {
        permissions: vec![Permission::UrlPath(StringMatcher::new(StringPattern::Prefix(
            prefix.into(),
        )))],
        principals: vec![Principal::Any],
    };
    let mut rules = Rbac::default();
    rules.action = RbacAction::Deny;
    rules.policies = [(Arc::from(name), policy)].into();
    let mut filter = RbacFilter::default();
    filter.rules = Some(Arc::new(rules));
    Arc::new(filter)
}

/// Who answers, and who was asked before.
fn pass(chain: &Chain, overrides: &Overrides, path: &str) -> String {
    let (mut parts, ()) = http::Request::get(path).body(()).unwrap().into_parts();
    let remote = "10.0.0.1:1".parse().unwrap();
    let connection = Connection::new(&Peer::Plaintext, remote, remote);
    let mut cx = FilterContext {
        request: &mut parts,
        connection: &connection,
        now: Timestamp::ZERO,
        wall: WallTime::from_unix_seconds(0),
    };
    let mut asked = Vec::new();
    let step = Pass::new().start(chain, overrides, &mut cx, &mut |name: &Arc<str>, _: Told<'_>| {
        asked.push(name.to_string());
    });
    let end = match step {
        Step::Continue => "on".to_owned(),
        Step::Reply(reply) => format!("{} by {}: {}", reply.status, reply.filter, reply.details),
        other @ (Step::Delay(_) | Step::Ask(_)) => format!("{other:?}"),
    };
    format!("{} -> {end}", asked.join(" "))
}

#[track_caller]
fn check(path: &str, said: &[(&str, HttpFilterOverride)], expected: &str) {
    let mut off = denies("off", "/off");
    off.disabled = true;
    let chain = Chain::compile(&[denies("a", "/a"), denies("b", "/"), off], None).unwrap();
    let said: HttpFilterOverrides =
        said.iter().map(|(name, said)| (Arc::from(*name), said.clone())).collect();
    let overrides = chain.overrides(&[&said]).unwrap();
    assert_eq!(pass(&chain, &overrides, path), expected);
}

#[test]
fn filters_are_asked_in_their_order() {
    use HttpFilterOverride::{Config, Disabled, Enabled};
    let denied =
        |by: &str| format!("403 Forbidden by {by}: rbac_access_denied_matched_policy[{by}]");
    check("/a", &[], &format!("a -> {}", denied("a")));
    check("/x", &[], &format!("a b -> {}", denied("b")));
    check("/a", &[("a", Disabled)], &format!("b -> {}", denied("b")));
    check("/a", &[("a", Disabled), ("b", Disabled)], " -> on");
    check("/off", &[("b", Disabled), ("off", Enabled)], &format!("a off -> {}", denied("off")));
    let other = Config(HttpFilterConfig::Rbac(rbac("other", "/x")));
    check(
        "/x",
        &[("a", other)],
        "a -> 403 Forbidden by a: rbac_access_denied_matched_policy[other]",
    );
}

#[test]
fn what_no_chain_can_do_is_refused() {
    let twice = Chain::compile(&[denies("a", "/"), denies("a", "/")], None).unwrap_err();
    assert_eq!(
        twice.to_string(),
        "filter `a`: another filter of this chain has the same name, and routes could not tell them apart"
    );
    let chain = Chain::compile(&[denies("a", "/")], None).unwrap();
    let said = HttpFilterOverrides::from([(Arc::from("b"), HttpFilterOverride::Disabled)]);
    assert_eq!(
        chain.overrides(&[&said]).unwrap_err().to_string(),
        "filter `b`: the chain has no filter of this name: add it there, or leave it out of the route"
    );
}
