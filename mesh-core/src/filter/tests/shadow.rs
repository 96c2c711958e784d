//! What shadow rules leave behind, and an authorizer that is asked by it: Istio's action CUSTOM.

use super::*;
use crate::filter::ask::{Answer, AskOutcome, CheckAnswer};
use crate::model::http_filter::{AuthzService, ExtAuthz, GrpcService};
use crate::model::metadata::ValueMatcher;
use crate::model::{Cidr, Fraction, MetadataMatcher};
use crate::rbac::RBAC_NAMESPACE;
use std::time::Duration;

/// An RBAC filter that enforces nothing.
fn shadow(name: &str, prefix: &str, policy: &str, path: &str, action: RbacAction) -> HttpFilter {
    let rules = rbac(policy, path).rules.clone();
    let mut rules = rules.map(Arc::unwrap_or_clone).unwrap_or_default();
    rules.action = action;
    let mut filter = RbacFilter::default();
    filter.shadow_rules = Some(Arc::new(rules));
    filter.shadow_rules_stat_prefix = prefix.into();
    HttpFilter::new(name, HttpFilterConfig::Rbac(Arc::new(filter)))
}

fn authz(set: impl FnOnce(&mut ExtAuthz)) -> HttpFilter {
    let service = GrpcService::new("authz", Duration::from_millis(200));
    let mut authz = ExtAuthz::new(AuthzService::Grpc(service));
    set(&mut authz);
    HttpFilter::new("ext_authz", HttpFilterConfig::ExtAuthz(Arc::new(authz)))
}

fn by_policy(invert: bool) -> MetadataMatcher {
    let key = Arc::from("istio_ext_authz_shadow_effective_policy_id");
    let value = StringMatcher::new(StringPattern::Prefix("istio-ext-authz".into()));
    let mut matcher = MetadataMatcher::new(RBAC_NAMESPACE, vec![key], ValueMatcher::Text(value));
    matcher.invert = invert;
    matcher
}

/// Whether somebody is asked about a request, or what becomes of it without, and what is told.
fn pass(filters: &[HttpFilter], path: &str, random: u64) -> String {
    let chain = Chain::compile(filters, None).unwrap();
    let mut way = Way::new(&chain, path, "");
    way.pass = Pass::new(random);
    match way.step(false) {
        Step::Ask(_) => "asked".to_owned(),
        Step::Continue => format!("goes on {:?}", way.told),
        Step::Reply(reply) => {
            format!("{} {} {:?}", reply.status.as_u16(), reply.details, way.told)
        }
        other => format!("{other:?}"),
    }
}

#[test]
fn istio_custom_asks_about_what_the_shadow_rules_match() {
    let chain = |set: fn(&mut ExtAuthz)| {
        let policy = "istio-ext-authz-ns[foo]-policy[ext]-rule[0]";
        let prefix = "istio_ext_authz_";
        let asks = authz(|authz| {
            authz.enabled_metadata = Some(by_policy(false));
            set(authz);
        });
        [shadow("custom", prefix, policy, "/headers", RbacAction::Deny), asks]
    };
    let plain = chain(|_| {});
    assert_eq!(pass(&plain, "/headers", 1), "asked");
    assert_eq!(pass(&plain, "/ip", 1), r#"goes on ["custom", "ext_authz:asked"]"#);
    // Another policy, of another filter, with the same kind of name elsewhere.
    let other = [shadow("dry", "istio_dry_run_deny_", "istio-ext-authz", "/", RbacAction::Deny)];
    let [first, second] = plain;
    let all = [other[0].clone(), first, second];
    assert_eq!(pass(&all, "/ip", 1), r#"goes on ["dry", "custom", "ext_authz:asked"]"#);
    assert_eq!(pass(&all, "/headers", 1), "asked");
    let closed = chain(|authz| authz.deny_at_disable = true);
    assert_eq!(pass(&closed, "/headers", 1), "asked");
    let refused = r#"403 ext_authz_error ["custom", "ext_authz:asked"]"#;
    assert_eq!(pass(&closed, "/ip", 1), refused);
    let tried = chain(|authz| (authz.deny_at_disable, authz.shadow) = (true, true));
    assert_eq!(pass(&tried, "/ip", 1), r#"goes on ["custom", "ext_authz:asked"]"#);
}

#[test]
fn envoy_what_is_missing_matches_only_inverted() {
    let without = [authz(|authz| authz.enabled_metadata = Some(by_policy(false)))];
    assert_eq!(pass(&without, "/", 1), r#"goes on ["ext_authz:asked"]"#);
    let inverted = [authz(|authz| authz.enabled_metadata = Some(by_policy(true)))];
    assert_eq!(pass(&inverted, "/", 1), "asked");
}

#[test]
fn envoy_filter_enabled_is_a_share_and_both_must_hold() {
    let share = |parts| authz(|authz| authz.enabled = Fraction::per_million(parts));
    let asked = |filter: HttpFilter| {
        let filters = [filter];
        (0..2000).filter(|seed| pass(&filters, "/", *seed) == "asked").count()
    };
    assert_eq!(asked(share(0)), 0);
    assert_eq!(asked(share(1_000_000)), 2000);
    let some = asked(share(250_000));
    assert!((400..600).contains(&some), "{some}");
    let neither = authz(|authz| {
        (authz.enabled, authz.enabled_metadata) = (Fraction::NONE, Some(by_policy(true)));
    });
    assert_eq!(asked(neither), 0);
}

#[test]
fn who_is_not_asked_about_is_told_apart() {
    let chain = Chain::compile(&[authz(|authz| authz.enabled = Fraction::NONE)], None).unwrap();
    let mut way = Way::new(&chain, "/", "");
    let mut outcomes = Vec::new();
    let remote = "10.0.0.1:1".parse().unwrap();
    let connection = Connection::new(&way.peer, remote, remote);
    let mut cx = FilterContext {
        request: &mut way.parts,
        connection: &connection,
        narrowed: None,
        remote: None,
        now: Timestamp::ZERO,
        wall: WallTime::from_unix_seconds(0),
    };
    let mut observer = |_: &Arc<str>, what: Told<'_>| {
        if let Told::Asked(decision) = what {
            outcomes.push((decision.outcome, decision.code));
        }
    };
    let step = way.pass.start(&chain, &way.overrides, &mut cx, &mut observer);
    assert!(matches!(step, Step::Continue), "{step:?}");
    assert_eq!(outcomes, [(AskOutcome::NotAsked, "")]);
}

/// What a chain leaves behind in the metadata of RBAC.
fn left(filters: &[HttpFilter], path: &str) -> Vec<String> {
    let chain = Chain::compile(filters, None).unwrap();
    let mut way = Way::new(&chain, path, "");
    drop(way.step(false));
    let own = way.pass.metadata().and_then(|metadata| metadata.0.get(RBAC_NAMESPACE));
    own.into_iter().flatten().map(|(key, value)| format!("{key}={value:?}")).collect()
}

#[test]
fn envoy_shadow_rules_leave_policy_and_result() {
    let deny = shadow("a", "", "no-admin", "/admin", RbacAction::Deny);
    let denied = [
        r#"shadow_effective_policy_id=Text("no-admin")"#,
        r#"shadow_engine_result=Text("denied")"#,
    ];
    assert_eq!(left(std::slice::from_ref(&deny), "/admin"), denied);
    assert_eq!(left(&[deny], "/"), [r#"shadow_engine_result=Text("allowed")"#]);
    let allow = shadow("a", "p_", "readers", "/read", RbacAction::Allow);
    let allowed = [
        r#"p_shadow_effective_policy_id=Text("readers")"#,
        r#"p_shadow_engine_result=Text("allowed")"#,
    ];
    assert_eq!(left(std::slice::from_ref(&allow), "/read"), allowed);
    assert_eq!(left(&[allow], "/"), [r#"p_shadow_engine_result=Text("denied")"#]);
    assert!(left(&[denies("a", "/admin")], "/").is_empty(), "enforced rules leave nothing");
}

#[test]
fn an_answer_is_about_the_request_that_was_asked_about() {
    let chain = Chain::compile(&[authz(|authz| authz.deny_at_disable = true)], None).unwrap();
    let mut way = Way::new(&chain, "/", "");
    assert!(matches!(way.step(false), Step::Ask(_)));
    let remote = "10.0.0.1:1".parse().unwrap();
    let connection = Connection::new(&way.peer, remote, remote);
    let mut cx = FilterContext {
        request: &mut way.parts,
        connection: &connection,
        narrowed: None,
        remote: None,
        now: Timestamp::ZERO,
        wall: WallTime::from_unix_seconds(0),
    };
    let yes = Answer::Check(Ok(CheckAnswer { allowed: true, ..CheckAnswer::default() }));
    let mut nobody = |_: &Arc<str>, _: Told<'_>| {};
    let step = way.pass.handle_answer(yes, &chain, &way.overrides, &mut cx, &mut nobody);
    assert!(matches!(step, Step::Continue), "{step:?}");
}

#[test]
fn envoy_remote_ip_is_the_clients() {
    let mut rules = Rbac::default();
    let policy = Policy {
        permissions: vec![Permission::Any],
        principals: vec![Principal::RemoteIp(Cidr::new("192.0.2.0".parse().unwrap(), 24).unwrap())],
        condition: None,
    };
    rules.policies = [(Arc::from("office"), policy)].into();
    let mut filter = RbacFilter::default();
    filter.rules = Some(Arc::new(rules));
    let filter = HttpFilter::new("rbac", HttpFilterConfig::Rbac(Arc::new(filter)));
    let chain = Chain::compile(&[filter], None).unwrap();
    for (remote, goes_on) in [("192.0.2.7:0", true), ("198.51.100.1:0", false)] {
        let mut way = Way::new(&chain, "/", "");
        let proxy = "10.0.0.1:1".parse().unwrap();
        let connection = Connection::new(&way.peer, proxy, proxy);
        let narrowed = chain.narrow(&connection);
        let mut cx = FilterContext {
            request: &mut way.parts,
            connection: &connection,
            narrowed: Some(&narrowed),
            remote: Some(remote.parse().unwrap()),
            now: Timestamp::ZERO,
            wall: WallTime::from_unix_seconds(0),
        };
        let mut nobody = |_: &Arc<str>, _: Told<'_>| {};
        let step = way.pass.start(&chain, &way.overrides, &mut cx, &mut nobody);
        assert_eq!(matches!(step, Step::Continue), goes_on, "{remote}");
    }
}
