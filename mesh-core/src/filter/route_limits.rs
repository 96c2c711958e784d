//! [`RouteLimits`]: what a route and its virtual host have requests count as, for the filters that limit (Envoy:
//! `rate_limits`).
//!
//! - What is said of a filter (`RateLimitPerRoute.rate_limits`) counts before the filter's own rules, and these before
//!   the `rate_limits` of route and virtual host: one of the three, and no sum of them.
//! - Of these the route's count alone, unless it says `include_vh_rate_limits`, or the filter is told otherwise
//!   (`vh_rate_limits`).
//! - What is not sent on (redirects, direct responses) has none of them.
//! - A rule that can't be evaluated here is an error of the filter that would go by it, and of no other.

use super::chain::{CompiledFilter, Filter, FilterError, FilterErrorKind, error};
use crate::model::http_filter::{
    RateLimit, RateLimitPerRoute, RateLimitPolicy, RateLimitRule, VhRateLimits,
};
use crate::model::{HttpFilterConfig, HttpFilterOverride, Route, RouteAction, VirtualHost};
use std::fmt;
use std::sync::Arc;

/// What a route and its virtual host have requests count as.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RouteLimits<'r> {
    route: Option<Said<'r>>,
    host: Option<Said<'r>>,
}

/// What one of them says, and its name.
#[derive(Clone, Copy, Debug)]
struct Said<'r> {
    policy: &'r RateLimitPolicy,
    of: Of<'r>,
}

#[derive(Clone, Copy, Debug)]
enum Of<'r> {
    Route(&'r str),
    Host(&'r str),
}

impl fmt::Display for Of<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Route("") => f.write_str("a route without a name"),
            Self::Route(name) => write!(f, "the route `{name}`"),
            Self::Host(name) => write!(f, "the virtual host `{name}`"),
        }
    }
}

impl<'r> RouteLimits<'r> {
    pub(crate) fn of(route: &'r Route, host: Option<&'r Arc<VirtualHost>>) -> Self {
        match route.action {
            RouteAction::Forward(_) | RouteAction::NonForwarding => Self {
                route: route
                    .rate_limits
                    .as_deref()
                    .map(|policy| Said { policy, of: Of::Route(&route.name) }),
                host: host.and_then(|host| {
                    let policy = host.rate_limits.as_deref()?;
                    Some(Said { policy, of: Of::Host(&host.name) })
                }),
            },
            RouteAction::Redirect(_) | RouteAction::DirectResponse(_) => Self::default(),
        }
    }

    /// Whether nothing is said.
    pub(super) const fn are_none(self) -> bool {
        self.route.is_none() && self.host.is_none()
    }

    /// What a filter does for the route by them; `None`: they are nothing to it. `said`: what the most specific level
    /// says of it.
    ///
    /// # Errors
    /// A rule that it would go by can't be evaluated.
    pub(super) fn config(
        self,
        own: &CompiledFilter,
        said: Option<&HttpFilterOverride>,
    ) -> Result<Option<HttpFilterConfig>, FilterError> {
        let Filter::RateLimit(limit) = &own.filter else { return Ok(None) };
        let said = match said {
            None if own.disabled => return Ok(None),
            None | Some(HttpFilterOverride::Enabled) => None,
            Some(HttpFilterOverride::RateLimit(said)) => Some(&**said),
            // It is off, or another kind, which is told as such.
            Some(
                HttpFilterOverride::Disabled
                | HttpFilterOverride::Config(_)
                | HttpFilterOverride::JwtRequirement(_)
                | HttpFilterOverride::ExtAuthz(_),
            ) => return Ok(None),
        };
        let model = limit.model();
        if !model.rules.is_empty() || said.is_some_and(|said| !said.rules.is_empty()) {
            return Ok(None);
        }
        let rules =
            self.rules(said).map_err(|why| error(&own.name, FilterErrorKind::RateLimits(why)))?;
        if rules.is_empty() {
            return Ok(None);
        }
        let mut counting =
            said.map_or_else(|| RateLimit::clone(model), |said| model.for_route(said));
        counting.rules = rules;
        Ok(Some(HttpFilterConfig::RateLimit(Arc::new(counting))))
    }

    /// The rules that count; or whose can't be evaluated, and why.
    fn rules(self, said: Option<&RateLimitPerRoute>) -> Result<Vec<RateLimitRule>, Arc<str>> {
        let of_host = self.route.and_then(|route| route.policy.vh_rate_limits);
        let of_host = of_host.or_else(|| Some(said?.vh_rate_limits)).unwrap_or_default();
        let route = self.route.filter(|route| !route.policy.is_empty());
        let host = self.host.filter(|_| match of_host {
            VhRateLimits::Override => route.is_none(),
            VhRateLimits::Include => true,
            VhRateLimits::Ignore => false,
        });
        let mut rules = Vec::new();
        for Said { policy, of } in route.into_iter().chain(host) {
            if let Some(why) = &policy.unsupported {
                return Err(format!("{of}: {why}").into());
            }
            rules.extend_from_slice(&policy.rules);
        }
        Ok(rules)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::ask::QuestionKind;
    use crate::filter::tests::{caller, context};
    use crate::filter::{Pass, Step, Told};
    use crate::head::RequestHead;
    use crate::inbound::CompiledListener;
    use crate::model::http_filter::{GrpcService, RateLimitAction};
    use crate::model::{
        DirectResponse, FilterChain, ForwardAction, HttpConnectionManager, HttpFilter, Listener,
        RouteConfiguration,
    };
    use crate::random::SplitMix64;
    use std::time::Duration;

    fn rule(name: &str) -> RateLimitRule {
        let (descriptor_key, descriptor_value) = ("k".into(), name.into());
        RateLimitRule::new(vec![RateLimitAction::GenericKey { descriptor_key, descriptor_value }])
    }

    fn policy(names: &[&str]) -> RateLimitPolicy {
        let rules = names.iter().map(|name| rule(name)).collect();
        RateLimitPolicy { rules, ..RateLimitPolicy::default() }
    }

    /// A filter without rules, a route, and its host of one.
    struct World {
        filter: RateLimit,
        is_disabled: bool,
        route: Route,
        host: VirtualHost,
    }

    impl World {
        fn new(change: impl FnOnce(&mut Self)) -> Self {
            let service = GrpcService::new("limits", Duration::from_millis(20));
            let mut world = Self {
                filter: RateLimit::new("d", service),
                is_disabled: false,
                route: Route::forward(ForwardAction::to("c")),
                host: VirtualHost::of("*").unwrap(),
            };
            world.host.rate_limits = Some(Arc::new(policy(&["host"])));
            change(&mut world);
            world
        }

        fn says(&mut self, said: HttpFilterOverride) {
            self.route.filters.insert("f".into(), said);
        }

        fn is(&mut self, policy: RateLimitPolicy) {
            self.route.rate_limits = Some(Arc::new(policy));
        }

        /// What a request counts as before the routes of a proxy, and of a server, which sends nothing on.
        fn asked(mut self) -> Result<String, String> {
            let config = HttpFilterConfig::RateLimit(Arc::new(self.filter));
            let mut filter = HttpFilter::new("f", config);
            filter.disabled = self.is_disabled;
            let routes = routes(&self.host, &self.route);
            let proxy = HttpConnectionManager::new(Arc::default(), vec![filter.clone()]);
            let by_proxy = asked(proxy.before(&routes));
            if let RouteAction::Forward(_) = self.route.action {
                self.route.action = RouteAction::NonForwarding;
            }
            let routes = Arc::new(self::routes(&self.host, &self.route));
            assert_eq!(by_proxy, asked(HttpConnectionManager::new(routes, vec![filter])));
            by_proxy
        }
    }

    fn routes(host: &VirtualHost, route: &Route) -> RouteConfiguration {
        let mut routes = RouteConfiguration::default();
        routes.virtual_hosts = vec![Arc::new(host.clone().route(route.clone()))];
        routes
    }

    fn asked(http: HttpConnectionManager) -> Result<String, String> {
        let mut listener = Listener::new("l");
        listener.filter_chains = vec![Arc::new(FilterChain::new("c", Some(Arc::new(http))))];
        let compiled = CompiledListener::compile(&Arc::new(listener), None);
        let listener = compiled.map_err(|errors| errors[0].to_string())?;
        let http = listener.chain("c").unwrap().http().unwrap();
        let (mut parts, ()) = http::Request::get("http://shop/").body(()).unwrap().into_parts();
        let head = RequestHead::new(&parts.method, "shop", "/", &parts.headers);
        let (_, overrides) = http.route(&head, &mut SplitMix64::new(1)).unwrap();
        let connection = caller("10.0.0.1:1");
        let mut cx = context(&mut parts, &connection);
        let mut observer = |_: &Arc<str>, _: Told<'_>| ();
        match Pass::new(1).start(http.chain(), overrides, &mut cx, &mut observer) {
            Step::Continue => Ok("nothing".to_owned()),
            Step::Ask(question) => {
                let QuestionKind::Limit(asked) = question.kind else { panic!("{question:?}") };
                let values = asked.descriptors.iter().map(|found| &*found.entries[0].1);
                Ok(format!("{}: {}", asked.domain, values.collect::<Vec<_>>().join(" ")))
            }
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn check(expected: &str, change: impl FnOnce(&mut World)) {
        assert_eq!(World::new(change).asked().as_deref(), Ok(expected));
    }

    fn told(vh_rate_limits: VhRateLimits, names: &[&str]) -> HttpFilterOverride {
        let rules = names.iter().map(|name| rule(name)).collect();
        let domain = Some("theirs".into());
        HttpFilterOverride::RateLimit(Arc::new(RateLimitPerRoute { domain, rules, vh_rate_limits }))
    }

    /// Envoy: `populateRateLimitDescriptors`.
    #[test]
    fn which_rules_count() {
        use VhRateLimits::{Ignore, Include, Override};
        check("d: host", |_| {});
        check("nothing", |w| w.host.rate_limits = None);
        check("d: route", |w| w.is(policy(&["route"])));
        check("d: route", |w| {
            w.host.rate_limits = None;
            w.is(policy(&["route"]));
        });
        // `include_vh_rate_limits` before what the filter is told.
        let both = RateLimitPolicy { vh_rate_limits: Some(Include), ..policy(&["route"]) };
        check("d: route host", |w| w.is(both.clone()));
        check("theirs: route host", |w| {
            w.is(both.clone());
            w.says(told(Ignore, &[]));
        });
        for (vh, expected) in [
            (Override, "theirs: route"),
            (Include, "theirs: route host"),
            (Ignore, "theirs: route"),
        ] {
            check(expected, |w| {
                w.is(policy(&["route"]));
                w.says(told(vh, &[]));
            });
        }
        check("theirs: host", |w| w.says(told(Override, &[])));
        check("nothing", |w| w.says(told(Ignore, &[])));
        // The filter has rules of its own, or is told some.
        check("d: own", |w| w.filter.rules = vec![rule("own")]);
        check("theirs: said", |w| {
            w.is(both.clone());
            w.says(told(Include, &["said"]));
        });
        // Those of other stages are not its.
        check("nothing", |w| w.filter.stage = 1);
    }

    #[test]
    fn who_is_off_does_not_limit() {
        check("nothing", |w| w.says(HttpFilterOverride::Disabled));
        check("nothing", |w| w.is_disabled = true);
        check("d: host", |w| {
            w.is_disabled = true;
            w.says(HttpFilterOverride::Enabled);
        });
    }

    /// Envoy: only what is sent on has a route entry.
    #[test]
    fn what_is_answered_by_a_route_is_not_limited() {
        check("nothing", |w| {
            let answer = DirectResponse::new(http::StatusCode::OK, bytes::Bytes::new());
            w.route.action = RouteAction::DirectResponse(answer);
        });
        check("d: host", |w| w.route.action = RouteAction::NonForwarding);
    }

    #[test]
    fn what_cant_be_evaluated_is_an_error_of_who_goes_by_it() {
        let odd = || RateLimitPolicy { unsupported: Some("what is odd".into()), ..policy(&["a"]) };
        let error = World::new(|w| w.is(odd())).asked().unwrap_err();
        assert!(
            error.contains(
                "`f`: it would limit by what can't be evaluated: the route `all`: what is odd;"
            ),
            "{error}"
        );
        check("d: own", |w| {
            w.is(odd());
            w.filter.rules = vec![rule("own")];
        });
        check("nothing", |w| {
            w.is(odd());
            w.says(HttpFilterOverride::Disabled);
        });
    }
}
