//! Where a redirect sends the caller (Envoy: `RedirectAction`).

use super::compile::{CompileErrorKind, Scope};
use super::rewrite::{CompiledPathRewrite, InvalidRewrite, RewritePlace};
use crate::head::{RequestHead, port_start};
use crate::model::{DirectResponse, PathMatcher, Redirect};
use http::uri::{Authority, Scheme};
use http::{HeaderValue, StatusCode};
use std::borrow::Cow;
use std::sync::Arc;

/// The longest body of a direct response, in bytes (Envoy: `max_direct_response_body_size_bytes`).
const MAX_BODY: usize = 4096;

/// A redirect, ready to run.
#[derive(Clone, Debug)]
pub struct CompiledRedirect {
    status: StatusCode,
    scheme: Option<Arc<str>>,
    host: Option<Arc<str>>,
    port: Option<u16>,
    path: Option<CompiledPathRewrite>,
    strip_query: bool,
}

impl CompiledRedirect {
    pub(super) fn compile(
        redirect: &Redirect,
        path: &PathMatcher,
        scope: &mut Scope<'_>,
    ) -> Option<Self> {
        let status = redirect.status;
        if !matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
            scope.report(
                format_args!("redirect.status"),
                CompileErrorKind::RedirectStatus(status.as_u16()),
            );
        }
        let bad_scheme =
            redirect.scheme.as_ref().filter(|text| Scheme::try_from(&***text).is_err());
        if let Some(text) = bad_scheme {
            let kind = CompileErrorKind::InvalidScheme(text.clone());
            scope.report(format_args!("redirect.scheme"), kind);
        }
        let bad_host = redirect.host.as_ref().filter(|text| Authority::try_from(&***text).is_err());
        if let Some(text) = bad_host {
            let kind = CompileErrorKind::InvalidAuthority(text.clone());
            scope.report(format_args!("redirect.host"), kind);
        }
        let with_port = redirect.host.as_ref().filter(|host| port_start(host.as_bytes()).is_some());
        if let (Some(text), Some(port)) = (with_port, redirect.port) {
            let kind = CompileErrorKind::SecondPort { host: text.clone(), port };
            scope.report(format_args!("redirect.host"), kind);
        }
        let path = match &redirect.path {
            None => None,
            Some(rewrite) => {
                Some(CompiledPathRewrite::compile(rewrite, path, RewritePlace::Redirect, scope)?)
            }
        };
        Some(Self {
            status,
            scheme: redirect.scheme.clone(),
            host: redirect.host.clone(),
            port: redirect.port,
            path,
            strip_query: redirect.strip_query,
        })
    }

    /// The status: 301, 302, 303, 307 or 308.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        self.status
    }

    /// The value of `location` for a request: always absolute. Without a scheme of its own or of the
    /// request, `http`.
    ///
    /// # Errors
    /// [`InvalidRewrite`] when the request's authority or path can't stand in a header.
    pub fn location(&self, head: &RequestHead<'_>) -> Result<HeaderValue, InvalidRewrite> {
        let asked = head.scheme.unwrap_or("http");
        let scheme = self.scheme.as_deref().unwrap_or(asked);
        let host = match &self.host {
            Some(host) => &**host,
            None => self.host_of(head.authority, asked, scheme),
        };
        let port = self.port.map(|port| format!(":{port}")).unwrap_or_default();
        let path = match &self.path {
            Some(rewrite) => rewrite.rewritten(head),
            None => Cow::Borrowed(head.path_and_query),
        };
        // A query that the redirect itself brings is not stripped (Envoy: `path_redirect`).
        let keep_query =
            !self.strip_query || self.path.as_ref().is_some_and(CompiledPathRewrite::has_query);
        let end = if keep_query { None } else { path.find('?') };
        let (path, rest) = path.split_at(end.unwrap_or(path.len()));
        let fragment = rest.find('#').map_or("", |at| &rest[at..]);
        let location = format!("{scheme}://{host}{port}{path}{fragment}");
        HeaderValue::try_from(location).or(Err(InvalidRewrite))
    }

    /// The request's authority; without its port when another is given, or when it is the default
    /// one of a scheme that changes.
    fn host_of<'h>(&self, authority: &'h str, asked: &str, scheme: &str) -> &'h str {
        let Some(at) = port_start(authority.as_bytes()) else { return authority };
        let default = match asked {
            "https" => ":443",
            _ => ":80",
        };
        let stale = asked != scheme && &authority[at..] == default;
        if self.port.is_some() || stale { &authority[..at] } else { authority }
    }
}

/// Reports what is wrong with a direct response.
pub(super) fn check_direct_response(response: &DirectResponse, scope: &mut Scope<'_>) {
    let status = response.status.as_u16();
    if !(200..600).contains(&status) {
        let kind = CompileErrorKind::DirectResponseStatus(status);
        scope.report(format_args!("direct_response.status"), kind);
    }
    let len = response.body.len();
    if len > MAX_BODY {
        let kind = CompileErrorKind::DirectResponseBody { len };
        scope.report(format_args!("direct_response.body"), kind);
    }
}
