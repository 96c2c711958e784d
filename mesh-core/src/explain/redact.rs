//! What is taken out of an explanation that is shown to others than those who wrote the configuration.
//!
//! A route may add a token to requests, or compare one. Whoever asks where a request goes need not know it; what they
//! have said themselves comes back as it is.

use super::{Conclusion, Explained, Forward};
use crate::head::carries_credentials;
use crate::model::matcher::{HeaderMatcherKind, StringPattern};
use crate::model::{HeaderMatcher, StringMatcher};
use crate::router::Mismatch;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use std::sync::Arc;

/// What stands in the place of a value.
const REDACTED: &str = "[redacted]";

impl Explained {
    /// Takes out the values that the configuration gives to headers, and those that it compares credentials with. A
    /// redirect's location stays, for it is the answer; so do values that the request has.
    pub fn redact(&mut self) {
        for miss in &mut self.routing.near_misses {
            if let Mismatch::Header { wanted, .. } = &mut miss.mismatch {
                matcher(wanted);
            }
        }
        let known = &self.request.headers;
        match &mut self.conclusion {
            Conclusion::Forward(forward) => forwarded(forward, known),
            Conclusion::Reply(reply) => headers(reply.headers_mut(), known),
            Conclusion::Passthrough(_) | Conclusion::Refused(_) => {}
        }
    }

    /// The same, and takes out what the request itself has in headers that commonly prove who sends it: for an
    /// explanation that others than the asker may read.
    pub fn redact_credentials(&mut self) {
        for miss in &mut self.routing.near_misses {
            if let Mismatch::Header { actual: Some(actual), wanted } = &mut miss.mismatch
                && carries_credentials(wanted.name.as_str())
            {
                REDACTED.clone_into(actual);
            }
        }
        for (name, value) in &mut self.request.headers {
            if carries_credentials(name.as_str()) {
                *value = HeaderValue::from_static(REDACTED);
            }
        }
        if let Conclusion::Forward(forward) = &mut self.conclusion {
            let edits = forward.parts.iter_mut().flat_map(|part| &mut part.request_edits);
            for edit in edits.filter(|edit| carries_credentials(edit.name.as_str())) {
                edit.before.fill(HeaderValue::from_static(REDACTED));
            }
        }
        self.redact();
    }
}

fn forwarded(forward: &mut Forward, known: &HeaderMap) {
    for part in &mut forward.parts {
        headers(&mut part.headers, known);
        for edit in part.request_edits.iter_mut().chain(&mut part.response_edits) {
            edit.after.iter_mut().for_each(|after| value(&edit.name, after, known));
        }
    }
    if let Some(retry) = &mut Arc::make_mut(&mut forward.policies).retry_policy {
        let policy = Arc::make_mut(&mut Arc::make_mut(retry).policy);
        let conditions =
            policy.retriable_headers.iter_mut().chain(&mut policy.retriable_request_headers);
        conditions.for_each(matcher);
    }
}

fn headers(headers: &mut HeaderMap, known: &HeaderMap) {
    headers.iter_mut().for_each(|(name, shown)| value(name, shown, known));
}

fn value(name: &HeaderName, value: &mut HeaderValue, known: &HeaderMap) {
    let is_known = known.get_all(name).iter().any(|known| known == *value);
    if !is_known && name != header::LOCATION {
        *value = HeaderValue::from_static(REDACTED);
    }
}

/// A condition that asks whether a header is there has no value.
fn matcher(matcher: &mut HeaderMatcher) {
    if carries_credentials(matcher.name.as_str())
        && !matches!(matcher.kind, HeaderMatcherKind::Present(_))
    {
        let word = StringPattern::Exact(REDACTED.into());
        matcher.kind = HeaderMatcherKind::String(StringMatcher::new(word));
    }
}
