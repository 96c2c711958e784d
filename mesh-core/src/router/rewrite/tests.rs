use super::*;
use crate::model::{Redirect, RegexPattern};
use crate::router::redirect::CompiledRedirect;
use http::{HeaderMap, HeaderValue, Method, StatusCode};

fn scoped<T>(compile: impl FnOnce(&mut Scope<'_>) -> Option<T>) -> Result<T, String> {
    let mut errors = Vec::new();
    let mut scope = Scope { errors: &mut errors, virtual_host: None, route: None };
    let compiled = compile(&mut scope);
    match (compiled, errors.first()) {
        (Some(compiled), None) => Ok(compiled),
        (_, error) => Err(error.unwrap().to_string()),
    }
}

fn prefix(text: &str) -> PathMatcher {
    PathMatcher::Prefix(text.into())
}

fn separated(text: &str) -> PathMatcher {
    PathMatcher::PathSeparatedPrefix(text.into())
}

fn exact(text: &str) -> PathMatcher {
    PathMatcher::Path(text.into())
}

fn to_prefix(text: &str) -> PathRewrite {
    PathRewrite::Prefix(text.into())
}

fn regex(pattern: &str, substitution: &str) -> PathRewrite {
    PathRewrite::Regex { pattern: RegexPattern::new(pattern), substitution: substitution.into() }
}

#[test]
fn paths_are_rewritten() {
    for (matcher, rewrite, path, expected) in [
        (prefix("/old"), to_prefix("/new"), "/old/a?b=/old", "/new/a?b=/old"),
        (prefix("/old"), to_prefix("/new"), "/older", "/newer"),
        (prefix("/"), to_prefix("/api"), "/x", "/apix"),
        (prefix("/"), to_prefix("/api"), "*", "*"),
        (prefix("/"), to_prefix("/api"), "", ""),
        (prefix("/a/"), to_prefix(""), "/a/b?c", "/b?c"),
        (prefix("/a"), to_prefix(""), "/a", "/"),
        (prefix("/a"), to_prefix(""), "/a?b", "/?b"),
        (prefix("/a?x"), to_prefix("/b?y"), "/a?x=1", "/b?y=1"),
        (separated("/v2"), to_prefix("/"), "/v2/foo", "/foo"),
        (separated("/v2"), to_prefix("/"), "/v2", "/"),
        (separated("/v2"), to_prefix("/v3"), "/v2?q", "/v3?q"),
        (separated("/v2"), to_prefix("/v3/"), "/v2/foo", "/v3/foo"),
        (exact("/a"), to_prefix("/b"), "/a?q=1", "/b?q=1"),
        (PathMatcher::Regex(RegexPattern::new("/.*")), to_prefix("/b"), "/a/c?q", "/b?q"),
        (prefix("/"), PathRewrite::Full("/b".into()), "/a/c?q=1", "/b?q=1"),
        (prefix("/"), PathRewrite::Full("/b?own".into()), "/a?q=1", "/b?own"),
        (prefix("/"), regex("^/a/(.*)$", r"/\1/a"), "/a/b?/a/c", "/b/a?/a/c"),
        (prefix("/"), regex("^/.*$", ""), "/a?q", "/?q"),
        (prefix("/"), regex("z", "y"), "/a?z", "/a?z"),
        (prefix("/"), PathRewrite::Full("/ok".into()), "/ok", "/ok"),
    ] {
        let compiled = scoped(|scope| {
            CompiledPathRewrite::compile(&rewrite, &matcher, RewritePlace::Request, scope)
        })
        .unwrap();
        let headers = HeaderMap::new();
        let head = RequestHead::new(&Method::GET, "a", path, &headers);
        assert_eq!(compiled.rewritten(&head), expected, "{matcher:?} {rewrite:?} {path}");
    }
}

#[test]
fn rewrites_that_can_not_be_sent_are_refused() {
    let compile = |rewrite: PathRewrite| {
        let path = prefix("/");
        let place = RewritePlace::Request;
        scoped(|scope| CompiledPathRewrite::compile(&rewrite, &path, place, scope)).map(|_| ())
    };
    assert_eq!(
        compile(to_prefix("/a b")).unwrap_err(),
        "path_rewrite.prefix: `/a b` can't stand in a path"
    );
    assert!(compile(PathRewrite::Full("\n".into())).is_err());
    assert_eq!(
        compile(PathRewrite::Full("/x#y".into())).unwrap_err(),
        "path_rewrite.full: `/x#y` can't stand in a path"
    );
    assert!(compile(to_prefix("/x#y")).is_err());
    assert!(compile(regex("(", "")).is_err());
    let host = HostRewrite::Literal("a b".into());
    assert_eq!(
        scoped(|scope| CompiledHostRewrite::compile(&host, scope)).map(|_| ()).unwrap_err(),
        "host_rewrite.literal: `a b` is no host, with or without a port"
    );
}

#[test]
fn hosts_are_rewritten() {
    let to = |text: &'static str| RewrittenHost::To(Authority::from_static(text));
    let x_host = || HostRewrite::Header(HeaderName::from_static("x-host"));
    let path_regex = |pattern: &str| HostRewrite::PathRegex {
        pattern: RegexPattern::new(pattern),
        substitution: r"\1.shop".into(),
    };
    for (rewrite, header, expected) in [
        (HostRewrite::Literal("b:80".into()), None, to("b:80")),
        (x_host(), Some("c:1"), to("c:1")),
        (x_host(), None, RewrittenHost::Unchanged),
        (x_host(), Some("no host"), RewrittenHost::Unchanged),
        (HostRewrite::Auto, None, RewrittenHost::EndpointHostname),
        (path_regex("^/([a-z]+)/.*$"), None, to("tenant.shop")),
        (path_regex("^/(no)$"), None, RewrittenHost::Unchanged),
    ] {
        let compiled = scoped(|scope| CompiledHostRewrite::compile(&rewrite, scope)).unwrap();
        let mut headers = HeaderMap::new();
        if let Some(value) = header {
            headers.insert("x-host", HeaderValue::from_static(value));
        }
        let head = RequestHead::new(&Method::GET, "a", "/tenant/x?y", &headers);
        assert_eq!(compiled.rewritten(&head), expected, "{rewrite:?}");
    }
}

fn redirect(edit: impl FnOnce(&mut Redirect)) -> Redirect {
    let mut redirect = Redirect::default();
    edit(&mut redirect);
    redirect
}

#[test]
fn redirects_point_where_envoy_points() {
    let https = || redirect(|r| r.scheme = Some("https".into()));
    let host = || redirect(|r| r.host = Some("b".into()));
    let port = || redirect(|r| r.port = Some(8443));
    let path = |path| redirect(|r| r.path = Some(path));
    let stripped = |mut r: Redirect| {
        r.strip_query = true;
        r
    };
    for (redirect, scheme, authority, expected) in [
        (https(), Some("http"), "a", "https://a/p/q?x=1"),
        (https(), Some("http"), "a:80", "https://a/p/q?x=1"),
        (https(), Some("http"), "a:8080", "https://a:8080/p/q?x=1"),
        (https(), Some("https"), "a:443", "https://a:443/p/q?x=1"),
        (https(), None, "[::1]:80", "https://[::1]/p/q?x=1"),
        (redirect(|r| r.scheme = Some("http".into())), Some("https"), "a:443", "http://a/p/q?x=1"),
        (host(), Some("https"), "a:443", "https://b/p/q?x=1"),
        (port(), None, "a:80", "http://a:8443/p/q?x=1"),
        (port(), None, "a", "http://a:8443/p/q?x=1"),
        (path(PathRewrite::Full("/n".into())), None, "a", "http://a/n?x=1"),
        (path(to_prefix("/n")), None, "a", "http://a/n/q?x=1"),
        (path(regex("/p/(.)", r"/\1/p")), None, "a", "http://a/q/p?x=1"),
        (stripped(Redirect::default()), None, "a", "http://a/p/q"),
        (stripped(path(PathRewrite::Full("/n".into()))), None, "a", "http://a/n"),
        (stripped(path(PathRewrite::Full("/n?own".into()))), None, "a", "http://a/n?own"),
        (path(PathRewrite::Full("/n?own".into())), None, "a", "http://a/n?own"),
        (path(PathRewrite::Full("/n#part".into())), None, "a", "http://a/n?x=1#part"),
        (stripped(path(PathRewrite::Full("/n#part".into()))), None, "a", "http://a/n#part"),
        (stripped(path(PathRewrite::Full("/n?own#part".into()))), None, "a", "http://a/n?own#part"),
    ] {
        let compiled =
            scoped(|scope| CompiledRedirect::compile(&redirect, &prefix("/p"), scope)).unwrap();
        let headers = HeaderMap::new();
        let mut head = RequestHead::new(&Method::GET, authority, "/p/q?x=1", &headers);
        head.scheme = scheme;
        assert_eq!(compiled.location(&head).unwrap(), expected, "{redirect:?}");
        assert_eq!(compiled.status(), StatusCode::MOVED_PERMANENTLY);
    }
}

#[test]
fn redirects_are_checked() {
    for (redirect, expected) in [
        (
            redirect(|r| r.status = StatusCode::OK),
            "redirect.status: a redirect answers with 301, 302, 303, 307 or 308, not with 200",
        ),
        (redirect(|r| r.scheme = Some("1:".into())), "redirect.scheme: `1:` is no scheme"),
        (
            redirect(|r| r.host = Some("a/b".into())),
            "redirect.host: `a/b` is no host, with or without a port",
        ),
        (
            redirect(|r| (r.host, r.port) = (Some("a:80".into()), Some(90))),
            "redirect.host: `a:80` has a port, and 90 is another",
        ),
    ] {
        let path = prefix("/");
        let compiled = scoped(|scope| CompiledRedirect::compile(&redirect, &path, scope));
        assert_eq!(compiled.map(|_| ()).unwrap_err(), expected);
    }
}
