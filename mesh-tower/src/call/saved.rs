//! The request of a call, between its attempts.

use super::replay::{Kept, keep};
use crate::MeshBody;
use crate::net::Settings;
use http::header::HOST;
use http::{Extensions, HeaderMap, HeaderValue, Method, Request, Uri, Version};

/// What the next attempt is made from.
#[derive(Debug, Default)]
pub(super) struct SavedRequest {
    /// The request itself: before the first attempt, and when a transport gave it back unsent.
    whole: Option<Request<MeshBody>>,
    /// What was kept of it when it was sent; in a box, because a future is moved as a whole.
    copy: Option<Box<Copy>>,
    /// The authority as the call has it, where attempts are given that of their endpoint.
    authority: Option<Box<(Uri, Option<HeaderValue>)>>,
}

#[derive(Debug)]
struct Copy {
    method: Method,
    uri: Uri,
    version: Version,
    headers: HeaderMap,
    extensions: Extensions,
    body: Kept,
}

impl SavedRequest {
    pub(super) const fn new(request: Request<MeshBody>) -> Self {
        Self { whole: Some(request), copy: None, authority: None }
    }

    /// Whether another attempt can be made.
    pub(super) fn can_resend(&self) -> bool {
        self.whole.is_some() || self.copy.as_ref().is_some_and(|copy| copy.body.can_resend())
    }

    /// Whether the whole request body is known to have been here when it was sent.
    pub(super) fn is_complete(&self) -> bool {
        self.copy.as_ref().is_some_and(|copy| copy.body.is_complete())
    }

    /// A transport gave the request back: nothing of it was sent. A copy is as good, and cleaner: what
    /// was given back has the headers of its attempt.
    pub(super) fn give_back(&mut self, request: Request<MeshBody>) {
        if !self.copy.as_ref().is_some_and(|copy| copy.body.can_resend()) {
            self.whole = Some(request);
        }
    }

    /// Gives the next attempt the call's own authority, before it may get its endpoint's.
    pub(super) fn keep_authority(&mut self, request: &mut Request<MeshBody>) {
        let Some(authority) = &self.authority else {
            let host = request.headers().get(HOST).cloned();
            self.authority = Some(Box::new((request.uri().clone(), host)));
            return;
        };
        let (uri, host) = &**authority;
        request.uri_mut().clone_from(uri);
        match host {
            Some(host) => request.headers_mut().insert(HOST, host.clone()),
            None => request.headers_mut().remove(HOST),
        };
    }

    /// The request for the next attempt; with `save`, a copy stays, of a bounded body.
    pub(super) fn take(&mut self, save: bool, settings: &Settings) -> Option<Request<MeshBody>> {
        let Some(request) = self.whole.take() else {
            return self.copy.as_deref().and_then(Copy::request);
        };
        if !save || self.copy.is_some() {
            return Some(request);
        }
        let (mut parts, body) = request.into_parts();
        let (body, kept) = keep(body, settings.replay_limit);
        if !matches!(kept, Kept::Nothing) {
            // RFC 8441: the protocol of an extended CONNECT is one that is read.
            let extended = parts.extensions.get::<h2::ext::Protocol>().is_some();
            let unread =
                settings.ignores_extensions && parts.version == Version::HTTP_2 && !extended;
            let extensions = if unread {
                std::mem::take(&mut parts.extensions)
            } else {
                parts.extensions.clone()
            };
            self.copy = Some(Box::new(Copy {
                method: parts.method.clone(),
                uri: parts.uri.clone(),
                version: parts.version,
                headers: parts.headers.clone(),
                extensions,
                body: kept,
            }));
        }
        Some(Request::from_parts(parts, body))
    }

    /// Lets go of the copy: no attempt will be made from it.
    pub(super) fn clear(&mut self) {
        (self.whole, self.copy) = (None, None);
    }
}

impl Copy {
    fn request(&self) -> Option<Request<MeshBody>> {
        let mut request = Request::new(self.body.body()?);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.version_mut() = self.version;
        *request.headers_mut() = self.headers.clone();
        *request.extensions_mut() = self.extensions.clone();
        Some(request)
    }
}
