//! The request of a call, between its attempts.

use super::replay::{Kept, keep};
use super::saved_headers::SavedHeaders;
use crate::MeshBody;
use crate::net::Settings;
use http::header::HOST;
use http::{Extensions, HeaderValue, Method, Request, Uri, Version};

/// What the next attempt is made from.
#[derive(Debug)]
pub(super) struct SavedRequest {
    state: State,
    /// A copy was made once. It is not made again of what was given back: its body is that of the copy.
    copied: bool,
    /// The authority as the call has it, where attempts are given that of their endpoint.
    authority: Option<Box<(Uri, Option<HeaderValue>)>>,
}

#[derive(Debug)]
enum State {
    /// The request itself: before the first attempt, and when a transport gave it back unsent.
    Whole(Request<MeshBody>),
    /// What was kept of it when it was sent: in its place, which is there and was just looked at.
    Copy(Copy),
    /// Nothing.
    Gone,
}

#[derive(Debug)]
struct Copy {
    method: Method,
    uri: Uri,
    version: Version,
    headers: SavedHeaders,
    extensions: Extensions,
    body: Kept,
}

impl SavedRequest {
    pub(super) const fn new(request: Request<MeshBody>) -> Self {
        Self { state: State::Whole(request), copied: false, authority: None }
    }

    /// Whether another attempt can be made.
    pub(super) fn can_resend(&self) -> bool {
        match &self.state {
            State::Whole(_) => true,
            State::Copy(copy) => copy.body.can_resend(),
            State::Gone => false,
        }
    }

    /// Whether the whole request body is known to have been here when it was sent.
    pub(super) fn is_complete(&self) -> bool {
        matches!(&self.state, State::Copy(copy) if copy.body.is_complete())
    }

    /// A transport gave the request back: nothing of it was sent. A copy is as good, and cleaner: what
    /// was given back has the headers of its attempt.
    pub(super) fn give_back(&mut self, request: Request<MeshBody>) {
        if !matches!(&self.state, State::Copy(copy) if copy.body.can_resend()) {
            self.state = State::Whole(request);
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
        if let State::Copy(copy) = &self.state {
            return copy.request();
        }
        let State::Whole(mut request) = std::mem::replace(&mut self.state, State::Gone) else {
            return None;
        };
        if !save || self.copied {
            return Some(request);
        }
        let (body, kept) = keep(std::mem::take(request.body_mut()), settings.replay_limit);
        *request.body_mut() = body;
        if !matches!(kept, Kept::Nothing) {
            self.state = State::Copy(Copy::of(&mut request, kept, settings));
            self.copied = true;
        }
        Some(request)
    }

    /// Lets go of the copy: no attempt will be made from it.
    pub(super) fn clear(&mut self) {
        self.state = State::Gone;
    }
}

impl Copy {
    fn of(request: &mut Request<MeshBody>, body: Kept, settings: &Settings) -> Self {
        // RFC 8441: the protocol of an extended CONNECT is one that is read.
        let extended = request.extensions().get::<h2::ext::Protocol>().is_some();
        let unread =
            settings.ignores_extensions && request.version() == Version::HTTP_2 && !extended;
        let extensions = if unread {
            std::mem::take(request.extensions_mut())
        } else {
            request.extensions().clone()
        };
        Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            version: request.version(),
            headers: SavedHeaders::of(request.headers()),
            extensions,
            body,
        }
    }

    fn request(&self) -> Option<Request<MeshBody>> {
        let mut request = Request::new(self.body.body()?);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.version_mut() = self.version;
        *request.headers_mut() = self.headers.map()?;
        *request.extensions_mut() = self.extensions.clone();
        Some(request)
    }
}
