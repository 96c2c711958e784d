//! Models by chance: everything that the model can say, from one number.

mod cluster;
mod listener;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode};
use mesh_core::ConfigUpdate;
use mesh_core::model::http_filter::{
    RateLimitAction, RateLimitPolicy, RateLimitRule, VhRateLimits,
};
use mesh_core::model::matcher::{HeaderMatcherKind, StringPattern};
use mesh_core::model::retry_policy::{ResetHeader, ResetHeaderFormat};
use mesh_core::model::route::MaxStreamDuration;
use mesh_core::model::{
    AppendAction, BackOff, ClusterSpecifier, DirectResponse, Domain, ForwardAction, Fraction,
    HashPolicy, HashSource, HeaderMatcher, HeaderMutation, HeaderMutations, HedgePolicy,
    HostRewrite, PathMatcher, PathRewrite, QueryParameterMatcher, RateLimitedBackOff, Redirect,
    RegexPattern, RetryOn, RetryPolicy, Route, RouteAction, RouteMatch, RoutingPriority, Split,
    SplitBy, SplitCluster, StringMatcher, VirtualHost,
};
use mesh_core::update::{Mode, SecretAnswer, UnknownHosts};
use std::sync::Arc;
use std::time::Duration;

/// What is drawn from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Range {
    /// Everything.
    All,
    /// What Envoy has fields for: nothing that goes into our words.
    EnvoyOnly,
}

/// Draws.
struct Draw {
    state: u64,
    range: Range,
}

/// A configuration that is valid: what it names exists.
pub(super) fn update(seed: u64, range: Range) -> ConfigUpdate {
    let mut draw = Draw { state: seed, range };
    let mut update = ConfigUpdate::in_code();
    if draw.ours() {
        (update.mode, update.unknown_hosts) = (Mode::Observe, UnknownHosts::Passthrough);
    }
    for number in 0..draw.below(3) {
        let host = draw.virtual_host(number);
        update = update.virtual_host(host);
    }
    for name in ["c0", "c1", "c2"] {
        let cluster = draw.cluster(name);
        let endpoints = draw.assignment();
        update = update.assigned(cluster, Some(endpoints));
    }
    let secrets = ["identity", "roots"].map(|name| {
        let secret = Arc::new(draw.secret(name));
        (Arc::from(name), SecretAnswer::Known(secret))
    });
    update.secrets = Arc::new(secrets.into());
    update.listeners.insert("in".into(), Arc::new(draw.listener("in")));
    update
}

impl Draw {
    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u32) -> u32 {
        u32::try_from(self.next() % u64::from(end)).unwrap_or_default()
    }

    fn coin(&mut self) -> bool {
        self.below(2) == 0
    }

    fn ours(&mut self) -> bool {
        self.range == Range::All && self.coin()
    }

    fn some<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        if self.coin() { Some(make(self)) } else { None }
    }

    fn list<T>(&mut self, most: u32, mut make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.below(most + 1)).map(|_| make(self)).collect()
    }

    fn time(&mut self) -> Duration {
        Duration::from_millis(u64::from(1 + self.below(100_000)))
    }

    fn text(&mut self) -> Arc<str> {
        ["a", "b-c", "d/e", "100"][self.below(4) as usize].into()
    }

    fn name(&mut self) -> HeaderName {
        HeaderName::from_static(["x-a", "x-b", "user-agent"][self.below(3) as usize])
    }

    fn regex(&mut self) -> RegexPattern {
        RegexPattern::new(["a+", "/v[0-9]/.*", "(x|y)"][self.below(3) as usize])
    }

    fn virtual_host(&mut self, number: u32) -> VirtualHost {
        let domain = |text: String| Domain::parse(&text).expect("a domain");
        let mut domains = vec![domain(format!("host{number}"))];
        domains.extend(self.some(|_| domain(format!("*.host{number}"))));
        domains.extend(self.some(|_| domain(format!("host{number}.*"))));
        if self.ours() {
            domains.push(domain(format!("host{number}:8080")));
        }
        let mut host = VirtualHost::new(format!("h{number}"), domains);
        host.routes = self.list(3, |draw| Arc::new(draw.route()));
        host.headers = self.headers();
        host.retry_policy = self.some(|draw| Arc::new(draw.retry()));
        host.hedge_policy = self.some(Self::hedge);
        host.include_request_attempt_count = self.coin();
        host.rate_limits = self.some(|draw| Arc::new(draw.rate_limits()));
        host
    }

    fn route(&mut self) -> Route {
        let mut matcher = RouteMatch::new(match self.below(4) {
            0 => PathMatcher::Prefix("/p/".into()),
            1 => PathMatcher::Path("/p".into()),
            2 => PathMatcher::PathSeparatedPrefix("/p/q".into()),
            _ => PathMatcher::Regex(self.regex()),
        });
        matcher.case_sensitive = self.coin();
        matcher.headers = self.list(2, Self::header_matcher);
        matcher.query_parameters = self.list(2, |draw| {
            let value = draw.some(Self::string);
            QueryParameterMatcher::new("q", value)
        });
        let methods = [Method::GET, Method::POST, Method::DELETE];
        matcher.methods = methods.into_iter().filter(|_| self.below(4) == 0).collect();
        matcher.grpc = self.coin();
        matcher.runtime_fraction = self.some(|draw| Fraction::per_million(draw.below(1_000_001)));
        let action = match self.below(6) {
            0 => RouteAction::Redirect(self.redirect()),
            1 => {
                let status =
                    StatusCode::from_u16(200 + u16::try_from(self.below(400)).unwrap_or(0));
                let body = Bytes::copy_from_slice(self.text().as_bytes());
                RouteAction::DirectResponse(DirectResponse::new(status.expect("a status"), body))
            }
            _ => RouteAction::Forward(self.forward(&matcher)),
        };
        let mut route = Route::new(self.text(), matcher, action);
        route.headers = self.headers();
        if matches!(route.action, RouteAction::Forward(_)) {
            route.rate_limits = self.some(|draw| {
                let mut limits = draw.rate_limits();
                limits.vh_rate_limits = draw.some(|_| VhRateLimits::Include);
                Arc::new(limits)
            });
        }
        route
    }

    /// One rule at least: what says nothing is not there.
    fn rate_limits(&mut self) -> RateLimitPolicy {
        let action = RateLimitAction::GenericKey {
            descriptor_key: self.text(),
            descriptor_value: self.text(),
        };
        let mut limits = RateLimitPolicy::default();
        limits.rules = vec![RateLimitRule::new(vec![action])];
        limits
    }

    fn string(&mut self) -> StringMatcher {
        let text = self.text();
        let mut matcher = StringMatcher::new(match self.below(5) {
            0 => StringPattern::Exact(text),
            1 => StringPattern::Prefix(text),
            2 => StringPattern::Suffix(text),
            3 => StringPattern::Contains(text),
            _ => return StringMatcher::new(StringPattern::Regex(self.regex())),
        });
        matcher.ignore_case = self.coin();
        matcher
    }

    fn header_matcher(&mut self) -> HeaderMatcher {
        let kind = match self.below(3) {
            0 => HeaderMatcherKind::Present(self.coin()),
            1 => HeaderMatcherKind::Range(-3..i64::from(self.below(100))),
            _ => HeaderMatcherKind::String(self.string()),
        };
        let mut matcher = HeaderMatcher::new(self.name(), kind);
        matcher.invert = self.coin();
        matcher.treat_missing_as_empty = self.coin();
        matcher
    }

    /// Removals first, which is how they are applied and encoded.
    fn headers(&mut self) -> HeaderMutations {
        let mut headers = HeaderMutations::default();
        for list in [&mut headers.request, &mut headers.response] {
            list.extend(self.some(|draw| HeaderMutation::Remove(draw.name())));
            list.extend(self.some(|draw| HeaderMutation::Append {
                name: draw.name(),
                value: HeaderValue::from_static(["", "v", "10%"][draw.below(3) as usize]),
                action: match draw.below(4) {
                    0 => AppendAction::AppendIfExistsOrAdd,
                    1 => AppendAction::AddIfAbsent,
                    2 => AppendAction::OverwriteIfExistsOrAdd,
                    _ => AppendAction::OverwriteIfExists,
                },
            }));
        }
        headers
    }

    fn rewrite(&mut self) -> PathRewrite {
        match self.below(3) {
            0 => PathRewrite::Prefix("/r".into()),
            1 => PathRewrite::Full("/full".into()),
            _ => PathRewrite::Regex { pattern: self.regex(), substitution: "\\0".into() },
        }
    }

    fn redirect(&mut self) -> Redirect {
        let mut redirect = Redirect::default();
        let statuses = [301, 302, 303, 307, 308];
        let status = StatusCode::from_u16(statuses[self.below(5) as usize]);
        redirect.status = status.expect("a status");
        redirect.scheme = self.some(|_| "https".into());
        redirect.host = self.some(|_| "h".into());
        redirect.port = self.some(|_| 8443);
        redirect.path = self.some(Self::rewrite);
        redirect.strip_query = self.coin();
        redirect
    }

    fn forward(&mut self, matcher: &RouteMatch) -> ForwardAction {
        let mut forward = ForwardAction::to("c0");
        forward.hash_policy = self.list(3, Self::hash);
        match self.below(3) {
            0 => forward.cluster = ClusterSpecifier::Header(self.name()),
            1 => forward.cluster = ClusterSpecifier::Split(self.split(&forward.hash_policy)),
            _ => {}
        }
        forward.timeout = self.time();
        forward.idle_timeout = self.some(Self::time);
        forward.max_stream_duration = self.some(|draw| {
            let mut limit = MaxStreamDuration::default();
            limit.max_stream_duration = draw.some(Self::time);
            limit.grpc_timeout_header_max = draw.some(Self::time);
            limit
        });
        forward.retry_policy = self.some(|draw| Arc::new(draw.retry()));
        forward.hedge_policy = self.some(Self::hedge);
        forward.path_rewrite = self.some(Self::rewrite);
        if self.ours() && !matches!(matcher.path, PathMatcher::Regex(_)) {
            forward.path_rewrite = Some(PathRewrite::Prefix("".into()));
        }
        forward.host_rewrite = self.some(|draw| match draw.below(4) {
            0 => HostRewrite::Literal("h".into()),
            1 => HostRewrite::Header(draw.name()),
            2 => HostRewrite::Auto,
            _ => HostRewrite::PathRegex { pattern: draw.regex(), substitution: "s".into() },
        });
        if self.coin() {
            forward.priority = RoutingPriority::High;
        }
        forward.transparent_retry = !self.ours();
        forward.peek_trailers_wait = self.ours();
        forward
    }

    fn split(&mut self, hash_policy: &[HashPolicy]) -> Split {
        let mut split = Split::new(vec![SplitCluster::new("c1", 1 + self.below(99))]);
        split.clusters.extend(self.list(2, |draw| {
            let mut part = SplitCluster::new("c2", 1 + draw.below(99));
            part.headers = draw.headers();
            part
        }));
        split.by = match self.below(4) {
            0 => SplitBy::HeaderValue(self.name()),
            1 if !hash_policy.is_empty() => SplitBy::Hash(hash_policy.to_vec()),
            2 if self.ours() => SplitBy::Hash(vec![self.hash()]),
            _ => SplitBy::Random,
        };
        split
    }

    fn hash(&mut self) -> HashPolicy {
        let mut policy = HashPolicy::new(match self.below(6) {
            0 => HashSource::SourceIp,
            5 => HashSource::PeerIdentity,
            1 => HashSource::QueryParameter(self.text()),
            2 => HashSource::ChannelId,
            3 => HashSource::Cookie {
                name: "c".into(),
                ttl: self.some(Self::time),
                path: self.some(|_| "/".into()),
            },
            _ => HashSource::Header {
                name: self.name(),
                rewrite: self.some(|draw| (draw.regex(), draw.text())),
            },
        });
        policy.terminal = self.coin();
        policy
    }

    fn hedge(&mut self) -> HedgePolicy {
        let mut hedge = HedgePolicy::default();
        hedge.hedge_on_per_try_timeout = self.coin();
        hedge
    }

    fn retry(&mut self) -> RetryPolicy {
        let mut on = RetryOn::SERVER_ERROR;
        for (_, condition) in RetryOn::NAMES {
            if self.below(4) == 0 {
                on |= *condition;
            }
        }
        let mut policy = RetryPolicy::new(on);
        policy.num_retries = if self.ours() { 0 } else { 1 + self.below(5) };
        policy.per_try_timeout = self.some(Self::time);
        policy.per_try_idle_timeout = self.some(Self::time);
        policy.retriable_status_codes = self.list(2, |draw| if draw.coin() { 409 } else { 503 });
        policy.retriable_headers = self.list(2, Self::header_matcher);
        policy.retriable_request_headers = self.list(2, Self::header_matcher);
        let base = self.time();
        policy.back_off = BackOff::new(base, base + self.time());
        if self.ours() {
            policy.back_off = BackOff::new(Duration::from_micros(self.below(2).into()), base);
        }
        policy.rate_limited_back_off = self.some(|draw| {
            let format = match draw.below(2) {
                0 => ResetHeaderFormat::Seconds,
                _ => ResetHeaderFormat::UnixTimestamp,
            };
            let format = if draw.ours() { ResetHeaderFormat::RetryAfter } else { format };
            let mut back_off =
                RateLimitedBackOff::new(vec![ResetHeader { name: draw.name(), format }]);
            back_off.max_interval = draw.time();
            back_off
        });
        policy.previous_hosts = self.coin();
        policy.host_selection_max_attempts = if self.ours() { 0 } else { 1 + self.below(9) };
        policy
    }
}
