//! The request that is sent, as often as it is.

use super::Arguments;
use crate::cli::Failure;
use http::header::{HOST, HeaderName, TE};
use http::{HeaderMap, HeaderValue, Method, Request, Version};
use hyper::body::Bytes;
use mesh_core::explain;
use mesh_core::head::is_grpc_content_type;
use mesh_tower::{CallOptions, MeshBody};
use std::fs::File;
use std::io::{self, Read};
use std::time::Duration;

/// The most bytes of a request's body.
const MAX_BODY: u64 = 16 << 20;

/// What is asked.
pub(super) struct Question {
    /// The same, as deciders see it.
    pub(super) asked: explain::Request,
    pub(super) body: Bytes,
    pub(super) timeout: Option<Duration>,
    http2: bool,
}

impl Question {
    pub(super) fn new(arguments: &Arguments) -> Result<Self, Failure> {
        let wrong = |message: String| Failure::new("invalid_url", message);
        let mut asked =
            explain::Request::new(&arguments.url).map_err(|error| wrong(error.to_string()))?;
        let Some(authority) = asked.url().authority() else {
            let message = "the URL names nobody: write `http://NAME/PATH`, or `NAME/PATH`";
            return Err(wrong(message.to_owned()));
        };
        if authority.as_str().contains('@') {
            let message = "a URL holds no user here: give `-H 'authorization: …'` in place of it";
            return Err(wrong(message.to_owned()));
        }
        let body = arguments.data.as_deref().map(body).transpose()?;
        let method = if body.is_some() { Method::POST } else { Method::GET };
        asked.method = arguments.method.clone().unwrap_or(method);
        if asked.method == Method::CONNECT {
            let message = "CONNECT asks for a connection, and not for a response";
            return Err(Failure::new("invalid_method", message));
        }
        asked.headers = headers(&arguments.headers)?;
        Ok(Self {
            asked,
            body: body.unwrap_or_default(),
            timeout: arguments.timeout,
            http2: arguments.http2,
        })
    }

    /// The request, with what a program may say about it.
    pub(super) fn request(&self, mut options: CallOptions) -> Request<MeshBody> {
        let body = match self.body.is_empty() {
            true => MeshBody::empty(),
            false => MeshBody::full(self.body.clone()),
        };
        if let Some(timeout) = self.timeout {
            options = options.timeout(timeout);
        }
        let mut request = Request::new(body);
        *request.method_mut() = self.asked.method.clone();
        *request.uri_mut() = self.asked.url().clone();
        *request.headers_mut() = self.asked.headers.clone();
        if self.http2 {
            *request.version_mut() = Version::HTTP_2;
        }
        request.extensions_mut().insert(options);
        request
    }
}

fn headers(given: &[(HeaderName, HeaderValue)]) -> Result<HeaderMap, Failure> {
    let mut headers: HeaderMap = HeaderMap::new();
    headers.extend(given.iter().cloned());
    if headers.contains_key(HOST) {
        let message = "the host is the URL's: name it there, and leave the header `host` out";
        return Err(Failure::new("invalid_header", message));
    }
    if is_grpc_content_type(&headers) && !headers.contains_key(TE) {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    Ok(headers)
}

/// A text, or what is in a file.
fn body(data: &str) -> Result<Bytes, Failure> {
    let Some(name) = data.strip_prefix('@') else {
        return within(data.len() as u64).map(|()| Bytes::copy_from_slice(data.as_bytes()));
    };
    let bytes = match name {
        "-" => read(io::stdin().lock()),
        name => File::open(name).and_then(read),
    };
    let bytes = bytes.map_err(|error| {
        Failure::new("unreadable_file", format!("can't read the body from `{name}`: {error}"))
    })?;
    within(bytes.len() as u64).map(|()| bytes.into())
}

fn read(from: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(MAX_BODY + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn within(length: u64) -> Result<(), Failure> {
    if length <= MAX_BODY {
        return Ok(());
    }
    let message = format!("the body has more than {MAX_BODY} bytes: send less, or with a program");
    Err(Failure::new("body_too_large", message))
}
