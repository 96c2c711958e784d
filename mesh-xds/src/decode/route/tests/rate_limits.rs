//! `rate_limits` of routes and virtual hosts.

use super::*;
use mesh_core::model::http_filter::{RateLimitAction, RateLimitRule, VhRateLimits};
use pb::rate_limit::action::{ActionSpecifier, GenericKey};

fn rate(actions: Vec<ActionSpecifier>) -> pb::RateLimit {
    let actions = actions.into_iter();
    let action = |action| pb::rate_limit::Action { action_specifier: Some(action) };
    pb::RateLimit { actions: actions.map(action).collect(), ..Default::default() }
}

fn generic(value: &str) -> ActionSpecifier {
    let descriptor_value = value.into();
    ActionSpecifier::GenericKey(GenericKey { descriptor_value, ..Default::default() })
}

fn rule(value: &str) -> RateLimitRule {
    let (descriptor_key, descriptor_value) = ("generic_key".into(), value.into());
    RateLimitRule::new(vec![RateLimitAction::GenericKey { descriptor_key, descriptor_value }])
}

#[test]
fn what_requests_count_as() {
    let mut message = base();
    host(&mut message).rate_limits = vec![rate(vec![generic("host")])];
    let routes = accepted(&read(&message));
    let [found] = &routes.model.virtual_hosts[..] else { panic!("{routes:?}") };
    assert_eq!(found.rate_limits.as_ref().unwrap().rules, [rule("host")]);
    assert_eq!(found.routes[0].rate_limits, None);

    action(&mut message).rate_limits = vec![rate(vec![generic("a")]), rate(vec![generic("b")])];
    #[expect(deprecated, reason = "Envoy still goes by it")]
    let include = &mut action(&mut message).include_vh_rate_limits;
    *include = flag(true);
    let decoded = read(&message);
    assert_eq!(decoded.ignored, []);
    let routes = accepted(&decoded);
    let limits = routes.model.virtual_hosts[0].routes[0].rate_limits.clone().unwrap();
    assert_eq!(limits.rules, [rule("a"), rule("b")]);
    assert_eq!((limits.vh_rate_limits, &limits.unsupported), (Some(VhRateLimits::Include), &None));
}

/// They may be for clients, or for servers that do not limit: who goes by them is refused.
#[test]
fn what_cant_be_evaluated_is_no_error_of_the_routes() {
    let mut message = base();
    let odd = ActionSpecifier::SourceCluster(Default::default());
    action(&mut message).rate_limits =
        vec![rate(vec![generic("a")]), rate(vec![odd]), rate(Vec::new())];
    let routes = accepted(&read(&message));
    let limits = routes.model.virtual_hosts[0].routes[0].rate_limits.clone().unwrap();
    let why = limits.unsupported.as_deref().unwrap();
    assert!(why.starts_with("rate_limits[1].actions[0]: the action is not supported"), "{why}");
    assert!(why.ends_with("rate_limits[2].actions: there is at least one (Envoy: min_items 1)"));
}
