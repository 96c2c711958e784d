//! What a request is hashed by (Envoy: `RouteAction.HashPolicy`; gRFC A42).
//!
//! Every input is hashed with XXH64, seed 0, and combined in order: the first hash as it is, then
//! `rotl(hash, 1) ^ next`. An input that is missing contributes nothing; without any there is no
//! hash, and the pick is random.

use super::compile::Scope;
use super::matcher::{HeaderView, query_value};
use super::regex::{CompiledSubstitution, RegexError};
use crate::head::RequestHead;
use crate::model::{HashPolicy, HashSource};
use crate::random::Random;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use std::fmt::{self, Write};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use xxhash_rust::xxh64::xxh64;

/// A list of inputs, ready to run.
#[derive(Clone, Debug, Default)]
pub struct CompiledHashPolicy {
    inputs: Box<[Input]>,
}

#[derive(Clone, Debug)]
struct Input {
    source: Source,
    terminal: bool,
}

#[derive(Clone, Debug)]
enum Source {
    Header { name: HeaderName, rewrite: Option<CompiledSubstitution> },
    Cookie { name: Arc<str>, ttl: Option<Duration>, path: Option<Arc<str>> },
    Ip,
    PeerIdentity,
    QueryParameter(Arc<str>),
    ChannelId,
}

/// A request's hash.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RequestHash {
    /// The hash; `None`: no input was there, pick at random.
    pub hash: Option<u64>,
    /// Cookies made for a request that had none: `set-cookie` values for the response.
    pub set_cookies: Vec<HeaderValue>,
}

impl RequestHash {
    /// A hash, and the cookies that were made for it.
    #[must_use]
    pub const fn new(hash: Option<u64>, set_cookies: Vec<HeaderValue>) -> Self {
        Self { hash, set_cookies }
    }
}

impl CompiledHashPolicy {
    /// Compiles a list of inputs that belongs to no route.
    ///
    /// # Errors
    /// [`RegexError`] for the first rewrite that is none.
    pub fn new(policies: &[HashPolicy]) -> Result<Self, RegexError> {
        let inputs = policies.iter().map(Input::compile).collect::<Result<_, _>>()?;
        Ok(Self { inputs })
    }

    pub(super) fn compile(
        policies: &[HashPolicy],
        field: &str,
        scope: &mut Scope<'_>,
    ) -> Option<Self> {
        let inputs = scope.check_all(field, policies, Input::compile)?;
        Some(Self { inputs })
    }

    /// Whether there is nothing to hash by.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.inputs.is_empty()
    }

    /// The hash of a request, from what it carries.
    #[must_use]
    pub fn hash(&self, head: &RequestHead<'_>) -> Option<u64> {
        self.combine(head, |_| None)
    }

    /// The hash of a request; where an input asks for a cookie that the request lacks, one is made of
    /// a random number, counts, and is added to `set_cookies` for the response.
    ///
    /// What is in `set_cookies` already counts as the request's: a split and the cluster behind it may
    /// hash by one cookie, and the caller gets one value for it.
    pub fn hash_or_set_cookie(
        &self,
        head: &RequestHead<'_>,
        set_cookies: &mut Vec<HeaderValue>,
        random: &mut impl Random,
    ) -> Option<u64> {
        self.combine(head, |source| {
            let Source::Cookie { name, ttl, path } = source else { return None };
            if let Some(made) = set_cookies.iter().find_map(|line| value_made(line, name)) {
                return Some(xxh64(made, 0));
            }
            let value = format!("{:016x}", random.next_u64());
            let cookie = set_cookie(name, &value, (*ttl)?, path.as_deref())?;
            set_cookies.push(cookie);
            Some(xxh64(value.as_bytes(), 0))
        })
    }

    fn combine(
        &self,
        head: &RequestHead<'_>,
        mut missing: impl FnMut(&Source) -> Option<u64>,
    ) -> Option<u64> {
        let mut view = HeaderView::new(head);
        let mut hash: Option<u64> = None;
        for input in &self.inputs {
            let next = input.source.hash(head, &mut view).or_else(|| missing(&input.source));
            if let Some(next) = next {
                hash = Some(hash.map_or(next, |hash| hash.rotate_left(1) ^ next));
            }
            if input.terminal && hash.is_some() {
                break;
            }
        }
        hash
    }
}

impl Input {
    fn compile(policy: &HashPolicy) -> Result<Self, RegexError> {
        let source = match &policy.source {
            HashSource::Header { name, rewrite } => {
                let rewrite = rewrite.as_ref();
                let compiled =
                    rewrite.map(|(pattern, text)| CompiledSubstitution::new(pattern, text));
                Source::Header { name: name.clone(), rewrite: compiled.transpose()? }
            }
            HashSource::Cookie { name, ttl, path } => {
                Source::Cookie { name: name.clone(), ttl: *ttl, path: path.clone() }
            }
            HashSource::SourceIp => Source::Ip,
            HashSource::PeerIdentity => Source::PeerIdentity,
            HashSource::QueryParameter(name) => Source::QueryParameter(name.clone()),
            HashSource::ChannelId => Source::ChannelId,
        };
        Ok(Self { source, terminal: policy.terminal })
    }
}

impl Source {
    fn hash(&self, head: &RequestHead<'_>, view: &mut HeaderView<'_>) -> Option<u64> {
        match self {
            Self::Header { name, rewrite: None } => Some(xxh64(&view.values(name)?, 0)),
            Self::Header { name, rewrite: Some(rewrite) } => {
                Some(xxh64(&rewrite.replace_all(&view.values(name)?), 0))
            }
            Self::Cookie { name, .. } => {
                cookie(head.headers, name).map(|value| xxh64(value.as_bytes(), 0))
            }
            Self::Ip => head.peer.address.map(|address| hash_ip(address.ip())),
            Self::PeerIdentity => head.peer.identity.map(|identity| xxh64(identity.as_bytes(), 0)),
            Self::QueryParameter(name) => {
                query_value(head.query(), name).map(|value| xxh64(value.as_bytes(), 0))
            }
            // gRFC A42: the channel's number is random already and is taken as it is.
            Self::ChannelId => head.channel_id,
        }
    }
}

/// The value of a cookie (RFC 6265 §5.4); of several with one name, the first.
fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(';')).find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        (key.trim() == name).then(|| value.trim().trim_matches('"'))
    })
}

/// The value of the cookie `name`, when `line` is the one that [`set_cookie`] made for it.
fn value_made<'l>(line: &'l HeaderValue, name: &str) -> Option<&'l [u8]> {
    let value = line.as_bytes().strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
    value.split(|byte| *byte == b';').next()
}

/// `None` when name or path can't stand in a header.
fn set_cookie(name: &str, value: &str, ttl: Duration, path: Option<&str>) -> Option<HeaderValue> {
    let mut text = format!("{name}={value}");
    if !ttl.is_zero() {
        // Whole seconds (RFC 6265 §5.2.2), and 0 would delete it: rounded up.
        let seconds = ttl.as_secs().saturating_add(u64::from(ttl.subsec_nanos() > 0));
        text += &format!("; Max-Age={seconds}");
    }
    if let Some(path) = path {
        text += &format!("; Path={path}");
    }
    text += "; HttpOnly";
    HeaderValue::try_from(text).ok()
}

/// The hash of an address's text, without its port (Envoy: `addressAsString`).
fn hash_ip(ip: IpAddr) -> u64 {
    let mut text = IpText { bytes: [0; 46], len: 0 };
    match write!(text, "{ip}") {
        Ok(()) => xxh64(&text.bytes[..text.len], 0),
        Err(fmt::Error) => xxh64(ip.to_string().as_bytes(), 0),
    }
}

/// Room for the longest text of an IP address (RFC 4291: 45 bytes with an embedded IPv4).
struct IpText {
    bytes: [u8; 46],
    len: usize,
}

impl Write for IpText {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.bytes.get_mut(self.len..self.len + text.len()).ok_or(fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.len += text.len();
        Ok(())
    }
}

#[cfg(test)]
mod tests;

/// The hash of one key, as every input is hashed: XXH64, seed 0.
#[must_use]
pub fn hash_key(key: &[u8]) -> u64 {
    xxh64(key, 0)
}
