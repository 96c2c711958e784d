//! The request of a call, between its attempts.

use super::replay::{Kept, keep};
use crate::MeshBody;
use crate::net::Settings;
use http::{Extensions, HeaderMap, Method, Request, Uri, Version};

/// What the next attempt is made from.
#[derive(Debug, Default)]
pub(super) struct SavedRequest {
    /// The request itself: before the first attempt, and when a transport gave it back unsent.
    whole: Option<Request<MeshBody>>,
    /// What was kept of it when it was sent; in a box, because a future is moved as a whole.
    copy: Option<Box<Copy>>,
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
        Self { whole: Some(request), copy: None }
    }

    /// Whether another attempt can be made.
    pub(super) fn can_resend(&self) -> bool {
        self.whole.is_some() || self.copy.as_ref().is_some_and(|copy| copy.body.can_resend())
    }

    /// Whether the whole request body is known to have been here when it was sent.
    pub(super) fn is_complete(&self) -> bool {
        matches!(self.copy.as_deref(), Some(Copy { body: Kept::Full(_), .. }))
    }

    /// A transport gave the request back: nothing of it was sent.
    pub(super) fn give_back(&mut self, request: Request<MeshBody>) {
        self.whole = Some(request);
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
            let unread = settings.ignores_extensions && parts.version == Version::HTTP_2;
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
