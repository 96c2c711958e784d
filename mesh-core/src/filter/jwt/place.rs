//! Where tokens are in a request (Envoy: `from_headers`, `from_params`, `from_cookies`).

use crate::filter::ext_authz::edit_query;
use crate::filter::query;
use crate::model::http_filter::{JwtHeader, JwtProvider};
use http::HeaderName;
use http::header::{AUTHORIZATION, COOKIE};
use http::request::Parts;
use std::borrow::Cow;
use std::sync::Arc;

/// The places of one provider's tokens.
#[derive(Debug)]
pub(super) struct Places {
    headers: Vec<JwtHeader>,
    params: Vec<Arc<str>>,
    cookies: Vec<Arc<str>>,
    /// `authorization: Bearer`, whose scheme has no case (RFC 9110 §11.1), and `access_token`.
    default: bool,
}

/// A token's text, and what goes when it does not go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) text: String,
    pub(super) place: Place,
}

/// Where a token was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Header(HeaderName),
    /// A parameter of the query.
    Param(Arc<str>),
    Cookie,
}

impl Place {
    /// Takes the token off the request. A cookie stays, as with Envoy: others are beside it.
    pub(super) fn clear(&self, request: &mut Parts) {
        match self {
            Self::Header(name) => {
                request.headers.remove(name);
            }
            Self::Param(name) => edit_query(request, &[], std::slice::from_ref(name)),
            Self::Cookie => {}
        }
    }
}

const BEARER: &str = "Bearer ";
const ACCESS_TOKEN: &str = "access_token";

impl Places {
    pub(super) fn new(provider: &JwtProvider) -> Self {
        let default = provider.from_headers.is_empty()
            && provider.from_params.is_empty()
            && provider.from_cookies.is_empty();
        Self {
            headers: provider.from_headers.clone(),
            params: provider.from_params.clone(),
            cookies: provider.from_cookies.clone(),
            default,
        }
    }

    /// All tokens that are there, good or not.
    pub(super) fn find(&self, request: &Parts, found: &mut Vec<Found>) {
        if self.default {
            for value in texts(request, &AUTHORIZATION) {
                let scheme = value.get(..BEARER.len());
                if scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(BEARER)) {
                    // The whole rest: an application might read on where we stop.
                    let text = value[BEARER.len()..].trim_matches(' ').to_owned();
                    found.push(Found { text, place: Place::Header(AUTHORIZATION) });
                }
            }
            parameters(request, ACCESS_TOKEN, found);
        }
        for header in &self.headers {
            for value in texts(request, &header.name) {
                if header.value_prefix.is_empty() {
                    // Envoy: the whole value, for an application might read on where we stop.
                    let text = value.trim_matches(' ').to_owned();
                    found.push(Found { text, place: Place::Header(header.name.clone()) });
                } else if let Some(at) = value.find(&*header.value_prefix) {
                    let text = token_at(&value[at + header.value_prefix.len()..]);
                    found.push(Found { text, place: Place::Header(header.name.clone()) });
                }
            }
        }
        for name in &self.params {
            parameters(request, name, found);
        }
        for name in &self.cookies {
            cookies(request, name, found);
        }
    }
}

/// The first token of a text: behind what can't be in one, up to that (Envoy: `Extractor::extractJWT`).
fn token_at(text: &str) -> String {
    let is_token = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let text = text.trim_start_matches(|c| !is_token(c));
    text[..text.find(|c| !is_token(c)).unwrap_or(text.len())].to_owned()
}

/// The values of a header. What is no text in one is no token either.
fn texts<'r>(request: &'r Parts, name: &'r HeaderName) -> impl Iterator<Item = Cow<'r, str>> {
    let values = request.headers.get_all(name).iter();
    values.map(|value| String::from_utf8_lossy(value.as_bytes()))
}

fn parameters(request: &Parts, name: &str, found: &mut Vec<Found>) {
    for (key, value) in query::parameters(request.uri.query().unwrap_or_default()) {
        if let Some(value) = value.filter(|_| key == name) {
            let place = Place::Param(Arc::from(name));
            found.push(Found { text: query::decoded(value).into_owned(), place });
        }
    }
}

fn cookies(request: &Parts, name: &str, found: &mut Vec<Found>) {
    for value in texts(request, &COOKIE) {
        for pair in value.split(';') {
            if let Some((key, value)) = pair.trim().split_once('=')
                && key == name
            {
                let text = value.trim_matches('"').to_owned();
                found.push(Found { text, place: Place::Cookie });
            }
        }
    }
}
