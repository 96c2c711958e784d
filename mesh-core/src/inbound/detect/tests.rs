use super::*;
use crate::model::http_filter::BodySizeLimit;
use crate::model::matcher::{HeaderMatcherKind, StringPattern};
use crate::model::{
    Cidr, HttpFilterOverride, Rbac, RbacAction, RbacHeader, RbacHeaderName, StringMatcher,
    VirtualHost,
};

const BEGINNINGS: [Beginning; 5] =
    [Beginning::Http1, Beginning::Http2, Beginning::Other, Beginning::Silence, Beginning::Nothing];

/// A filter of this name with one policy, `policy`.
fn rules(name: &str, action: RbacAction, policy: Policy) -> HttpFilter {
    let mut rules = Rbac::default();
    (rules.action, rules.policies) = (action, [("policy".into(), policy)].into());
    let filter = RbacFilter { rules: Some(Arc::new(rules)), ..RbacFilter::default() };
    HttpFilter::new(name, HttpFilterConfig::Rbac(Arc::new(filter)))
}

fn policy(what: Permission, who: Principal) -> Policy {
    Policy { permissions: vec![what], principals: vec![who], condition: None }
}

fn block() -> Cidr {
    Cidr::new("10.0.0.0".parse().unwrap(), 8).unwrap()
}

fn path() -> StringMatcher {
    StringMatcher::new(StringPattern::Prefix("/".into()))
}

fn method() -> RbacHeader {
    RbacHeader::new(RbacHeaderName::METHOD, HeaderMatcherKind::Present(true))
}

/// What becomes of each beginning: `http`, `bytes` and by how many filters, or why not.
#[track_caller]
fn check(http: &HttpConnectionManager, expected: [&str; 5]) {
    let detection = Detection::compile(Duration::from_secs(5), http).unwrap();
    let told = BEGINNINGS.map(|beginning| match detection.decide(beginning) {
        Ok(Carries::Requests) => "http".to_owned(),
        Ok(Carries::Bytes(filters)) => format!("bytes {}", filters.len()),
        Err(needs) => needs.to_string(),
    });
    assert_eq!(told.each_ref().map(|told| &**told), expected);
}

#[track_caller]
fn judged(filters: Vec<HttpFilter>) {
    let bytes = format!("bytes {}", filters.len());
    let http = HttpConnectionManager::serving(filters);
    check(&http, ["http", "http", &bytes, &bytes, &bytes]);
}

#[track_caller]
fn refused(http: &HttpConnectionManager, why: &str) {
    check(http, ["http", "http", why, why, "http"]);
}

#[test]
fn what_is_asked_of_connections_is_asked_of_bytes() {
    judged(Vec::new());
    let who = [
        Principal::Any,
        Principal::Authenticated(None),
        Principal::MtlsAuthenticated(None),
        Principal::SourceIp(block()),
        Principal::DirectRemoteIp(block()),
        Principal::RemoteIp(block()),
        Principal::Not(Box::new(Principal::And(vec![Principal::Any]))),
    ];
    for who in who {
        let (deny, allow) =
            (policy(Permission::Any, who.clone()), policy(Permission::DestinationPort(1), who));
        judged(vec![
            rules("deny", RbacAction::Deny, deny),
            rules("allow", RbacAction::Allow, allow),
        ]);
    }
}

#[test]
fn what_is_asked_of_requests_refuses_bytes() {
    let what = [
        Permission::Header(method()),
        Permission::UrlPath(path()),
        Permission::UriTemplate("/a".into()),
        Permission::And(vec![Permission::Any, Permission::UrlPath(path())]),
        Permission::Or(vec![
            Permission::Any,
            Permission::Not(Box::new(Permission::Header(method()))),
        ]),
    ];
    let who = [
        Principal::Header(method()),
        Principal::UrlPath(path()),
        Principal::Or(vec![Principal::Any, Principal::Not(Box::new(Principal::UrlPath(path())))]),
    ];
    let policies = what.into_iter().map(|what| policy(what, Principal::Any));
    let policies = policies.chain(who.into_iter().map(|who| policy(Permission::Any, who)));
    for one in policies {
        // Whatever else lets it in: a list is asked as a whole.
        for action in [RbacAction::Deny, RbacAction::Allow] {
            let any = policy(Permission::Any, Principal::Any);
            let filters =
                vec![rules("all", RbacAction::Allow, any), rules("some", action, one.clone())];
            let http = HttpConnectionManager::serving(filters);
            refused(&http, "the policy `policy` of `some` looks at requests");
        }
    }
}

#[test]
fn whatever_else_is_asked_refuses_bytes() {
    let size = HttpFilterConfig::BodySizeLimit(Arc::new(BodySizeLimit::new(7)));
    let mut http = HttpConnectionManager::serving(vec![HttpFilter::new("size", size)]);
    refused(&http, "`size` is asked about requests");
    http.http_filters[0].disabled = true;
    check(&http, ["http", "http", "bytes 0", "bytes 0", "bytes 0"]);

    let mut http = HttpConnectionManager::serving(Vec::new());
    http.limits.max_headers = 5;
    refused(&http, "there are limits of requests");

    let routes = |edit: &dyn Fn(&mut VirtualHost)| {
        let mut http = HttpConnectionManager::serving(Vec::new());
        let routes = Arc::make_mut(&mut http.route_configuration);
        edit(Arc::make_mut(&mut routes.virtual_hosts[0]));
        refused(&http, "its routes look at requests");
    };
    routes(&|host| host.routes.clear());
    routes(&|host| host.domains = vec![Domain::Exact("a".into())]);
    routes(&|host| drop(host.filters.insert("size".into(), HttpFilterOverride::Enabled)));
    routes(&|host| Arc::make_mut(&mut host.routes[0]).matcher.case_sensitive = false);
    let mut http = HttpConnectionManager::serving(Vec::new());
    Arc::make_mut(&mut http.route_configuration).virtual_hosts.clear();
    refused(&http, "its routes look at requests");
}

#[test]
fn who_made_a_request_may_not_be_who_connects() {
    let from = policy(Permission::Any, Principal::RemoteIp(block()));
    let mut http = HttpConnectionManager::serving(vec![rules("allow", RbacAction::Allow, from)]);
    http.xff_num_trusted_hops = 1;
    refused(&http, "the policy `policy` of `allow` looks at requests");
    http.xff_num_trusted_hops = 0;
    http.client_address = ClientAddress::ForwardedFor;
    refused(&http, "the policy `policy` of `allow` looks at requests");
}

#[test]
fn who_was_asked_is_asked_the_same() {
    let detecting = |filters: Vec<HttpFilter>| {
        let mut chain =
            FilterChain::new("a", Some(Arc::new(HttpConnectionManager::serving(filters))));
        chain.detect = Some(Duration::from_secs(5));
        chain
    };
    let rule = |who| rules("allow", RbacAction::Allow, policy(Permission::Any, who));
    let one = || detecting(vec![rule(Principal::Any)]);
    let mut later = one();
    later.detect = Some(Duration::from_secs(1));
    assert!(asks_the_same(&one(), &one()) && asks_the_same(&one(), &later));
    let mut http = one();
    http.detect = None;
    let looks = detecting(vec![rules(
        "a",
        RbacAction::Allow,
        policy(Permission::UrlPath(path()), Principal::Any),
    )]);
    let bytes = FilterChain::new("a", None);
    for other in [&detecting(vec![rule(Principal::SourceIp(block()))]), &http, &looks, &bytes] {
        assert!(!asks_the_same(&one(), other), "{other:?}");
    }
    assert!(!asks_the_same(&bytes, &one()) && asks_the_same(&bytes, &bytes));
}
