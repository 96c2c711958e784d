//! [`Answer`]: what a page says, before it is an HTTP response.

use crate::body::MeshBody;
use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header};
use serde_json::Value;

const TEXT: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json";

/// A status, a content and what kind of content it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    kind: &'static str,
    /// The methods that the page takes, when it does not take that of the request.
    allow: Option<&'static str>,
    pub(super) content: String,
    /// In its place, where it is no text.
    bytes: Option<Bytes>,
}

impl Answer {
    /// A text.
    pub(super) fn text(content: impl Into<String>) -> Self {
        Self::of(TEXT, content)
    }

    /// A page for a browser.
    pub(super) fn html(content: impl Into<String>) -> Self {
        Self::of(HTML, content)
    }

    /// JSON on many lines, for people read it too.
    pub(super) fn json(content: &Value) -> Self {
        Self::of(JSON, format!("{content:#}\n"))
    }

    /// JSON that is written already.
    pub(super) fn written_json(content: String) -> Self {
        Self::of(JSON, content)
    }

    /// A content of this type.
    pub(super) fn of(kind: &'static str, content: impl Into<String>) -> Self {
        Self { status: StatusCode::OK, kind, allow: None, content: content.into(), bytes: None }
    }

    /// What is for programs.
    #[cfg(all(feature = "profile", unix, not(target_env = "musl")))]
    pub(super) fn bytes(content: Vec<u8>) -> Self {
        Self { bytes: Some(content.into()), ..Self::of("application/octet-stream", "") }
    }

    /// A refusal, in one sentence.
    pub(super) fn refused(status: StatusCode, why: impl AsRef<str>) -> Self {
        Self { status, ..Self::text(format!("{}\n", why.as_ref())) }
    }

    /// The page takes other methods only.
    pub(super) fn only(methods: &'static str) -> Self {
        let why = format!("this page takes {methods} only");
        Self { allow: Some(methods), ..Self::refused(StatusCode::METHOD_NOT_ALLOWED, why) }
    }

    /// With another status.
    pub(super) const fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// As an HTTP response to a request of this method. RFC 9110 9.3.2: that to HEAD has the same head, and no
    /// content.
    pub(super) fn into_response(self, method: &Method) -> Response<MeshBody> {
        let content = self.bytes.unwrap_or_else(|| self.content.into());
        let length = content.len();
        let content = if method == Method::HEAD { Bytes::new() } else { content };
        let mut response = Response::new(MeshBody::full(content));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_LENGTH, length.into());
        let fixed = [
            (header::CONTENT_TYPE, self.kind),
            // What is true now.
            (header::CACHE_CONTROL, "no-store"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            // There is nothing to load or run, and nobody is to show it as their own.
            (header::CONTENT_SECURITY_POLICY, POLICY),
        ];
        for (name, value) in fixed.into_iter().chain(self.allow.map(|allow| (header::ALLOW, allow)))
        {
            headers.insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

/// Only the style that stands in the page itself.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";
