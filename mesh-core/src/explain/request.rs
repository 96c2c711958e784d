//! [`Request`]: the request that is asked about.

use crate::head::{Peer, RequestHead, without_userinfo};
use http::{HeaderMap, Method, Uri, header};
use std::fmt;
use std::net::SocketAddr;

/// A request to ask about: what a decider may see of it, owned.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Request {
    /// The method. Default GET.
    pub method: Method,
    /// The headers. Where the URL names no authority, `host` does.
    pub headers: HeaderMap,
    /// Who sent it, where it came over the network.
    pub peer: Option<SocketAddr>,
    url: Uri,
}

/// A text that is no URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{url}` is no URL: {reason}")]
pub struct InvalidUrl {
    url: String,
    reason: String,
}

impl Request {
    /// A GET of `url`: absolute (`http://reviews/1`), without a scheme (`reviews:9080/1`, then it is
    /// `http`), or a path alone (`/1`, then the header `host` says whose).
    ///
    /// # Errors
    /// [`InvalidUrl`] says what is wrong with the text.
    pub fn new(url: &str) -> Result<Self, InvalidUrl> {
        let invalid = |reason: String| InvalidUrl { url: url.to_owned(), reason };
        let absolute = match url {
            "" => return Err(invalid("it is empty".to_owned())),
            _ if url.starts_with('/') || url.contains("://") => url.parse::<Uri>(),
            _ => format!("http://{url}").parse(),
        };
        let url = absolute.map_err(|error| invalid(error.to_string()))?;
        Ok(Self { method: Method::GET, headers: HeaderMap::new(), peer: None, url })
    }

    /// The URL, as it was given or with the scheme that it is taken to have.
    #[must_use]
    pub const fn url(&self) -> &Uri {
        &self.url
    }

    /// The authority: the URL's without userinfo, else the header `host`.
    #[must_use]
    pub fn authority(&self) -> &str {
        match self.url.authority() {
            Some(authority) => without_userinfo(authority.as_str()),
            None => {
                let host = self.headers.get(header::HOST);
                host.and_then(|host| host.to_str().ok()).unwrap_or_default()
            }
        }
    }

    /// Path and query.
    #[must_use]
    pub fn path_and_query(&self) -> &str {
        self.url.path_and_query().map_or("", |path| path.as_str())
    }

    /// What deciders see.
    #[must_use]
    pub fn head(&self) -> RequestHead<'_> {
        let (authority, path) = (self.authority(), self.path_and_query());
        let mut head = RequestHead::new(&self.method, authority, path, &self.headers);
        head.scheme = self.url.scheme_str();
        head.peer = Peer { address: self.peer, identity: None };
        head
    }
}

impl fmt::Display for Request {
    /// `GET http://reviews/1`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.url)
    }
}
