//! Global rate limits: what a request counts as, and what the answer does (Envoy: `ratelimit`).
//!
//! - A request that counts as nothing is not asked about.
//! - What is not answered goes on, unless the filter says otherwise ([`RateLimit::failure_mode_deny`]): a
//!   limit guards capacity, not secrets.

use super::ask::{LimitAnswer, LimitDescriptor, LimitQuestion, LimitStatus};
use super::pass::FilterContext;
use super::query;
use super::reply::FilterReply;
use crate::head::{RequestHead, decimal};
use crate::model::http_filter::{RateLimit, RateLimitAction, RateLimitRule};
use crate::model::{Metadata, MetadataSource, MetadataValue};
use crate::outcome::grpc;
use crate::router::{CompiledHeaderMatcher, MatcherError, apply_edit};
use http::header::HOST;
use http::{HeaderMap, HeaderName, HeaderValue};
use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

/// The filter, ready to ask.
#[derive(Debug)]
pub struct CompiledRateLimit {
    pub(super) model: Arc<RateLimit>,
    rules: Box<[CompiledRule]>,
}

#[derive(Debug)]
struct CompiledRule {
    actions: Box<[CompiledAction]>,
    hits_addend: Option<u64>,
}

#[derive(Debug)]
struct CompiledAction {
    model: RateLimitAction,
    /// Of [`RateLimitAction::HeaderValueMatch`].
    headers: Box<[CompiledHeaderMatcher]>,
}

/// What an action says about a request.
enum Entry {
    Is(Arc<str>, Arc<str>),
    Skipped,
    /// The request does not count as this descriptor.
    Missing,
}

impl CompiledRateLimit {
    /// Compiles the filter; rules of other stages are left out.
    ///
    /// # Errors
    /// [`MatcherError`]: a condition on headers.
    pub fn new(model: &Arc<RateLimit>) -> Result<Self, MatcherError> {
        let rules = model.rules.iter().filter(|rule| rule.stage == model.stage);
        let rules = rules.map(compiled).collect::<Result<_, _>>()?;
        Ok(Self { model: Arc::clone(model), rules })
    }

    /// As it was configured.
    #[must_use]
    pub const fn model(&self) -> &Arc<RateLimit> {
        &self.model
    }

    /// What is asked about a request; `None`: nothing.
    pub(super) fn question(
        &self,
        head: &RequestHead<'_>,
        cx: &FilterContext<'_>,
        metadata: KnownMetadata<'_>,
    ) -> Option<LimitQuestion> {
        let descriptors = self.rules.iter().filter_map(|rule| rule.descriptor(head, cx, metadata));
        let descriptors: Vec<_> = descriptors.collect();
        (!descriptors.is_empty()).then(|| LimitQuestion {
            service: self.model.service.clone(),
            domain: Arc::clone(&self.model.domain),
            descriptors,
        })
    }

    /// A limit is passed: what the caller gets.
    pub(super) fn over(&self, filter: &Arc<str>, answer: LimitAnswer) -> FilterReply {
        let status = self.model.rate_limited_status;
        let mut reply = FilterReply::new(filter, status, "request_rate_limited");
        reply.grpc_status = Some(match self.model.rate_limited_as_resource_exhausted {
            true => grpc::RESOURCE_EXHAUSTED,
            false => grpc::UNAVAILABLE,
        });
        if !self.model.disable_x_envoy_ratelimited_header {
            let name = HeaderName::from_static("x-envoy-ratelimited");
            reply.headers.insert(name, HeaderValue::from_static("true"));
        }
        for edit in self.model.response_headers_to_add.iter().chain(&answer.response_headers) {
            apply_edit(edit, &mut reply.headers);
        }
        self.limit_headers(&answer.statuses, &mut reply.headers);
        reply.body = answer.body;
        reply
    }

    /// Nobody answered, and the request is refused.
    pub(super) fn fail_closed(&self, filter: &Arc<str>) -> FilterReply {
        FilterReply::new(filter, self.model.status_on_error, "rate_limiter_error")
    }

    /// Headers that say what is left (draft-ietf-httpapi-ratelimit-headers-03): of the limit of which
    /// the least is left, and the names of all.
    pub(super) fn limit_headers(&self, statuses: &[LimitStatus], headers: &mut HeaderMap) {
        if !self.model.x_ratelimit_headers {
            return;
        }
        let limits = || statuses.iter().filter_map(|status| Some((status, status.limit.as_ref()?)));
        let Some((least, limit)) = limits().min_by_key(|(status, _)| status.remaining) else {
            return;
        };
        let mut policy = limit.requests.to_string();
        for (_, limit) in limits().filter(|(_, limit)| !limit.unit.is_zero()) {
            policy.push_str(&format!(", {};w={}", limit.requests, limit.unit.as_secs()));
            if !limit.name.is_empty()
                && limit.name.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\')
            {
                policy.push_str(&format!(";name=\"{}\"", limit.name));
            }
        }
        if let Ok(policy) = HeaderValue::try_from(policy) {
            headers.append(HeaderName::from_static("x-ratelimit-limit"), policy);
        }
        let remaining = decimal(least.remaining);
        headers.append(HeaderName::from_static("x-ratelimit-remaining"), remaining);
        let reset = decimal(least.reset.as_secs());
        headers.append(HeaderName::from_static("x-ratelimit-reset"), reset);
    }
}

fn compiled(rule: &RateLimitRule) -> Result<CompiledRule, MatcherError> {
    let actions = rule.actions.iter().map(|model| {
        let headers = match model {
            RateLimitAction::HeaderValueMatch { headers, .. } => headers.as_slice(),
            _ => &[],
        };
        let headers = headers.iter().map(CompiledHeaderMatcher::new).collect::<Result<_, _>>()?;
        Ok::<_, MatcherError>(CompiledAction { model: model.clone(), headers })
    });
    Ok(CompiledRule { actions: actions.collect::<Result<_, _>>()?, hits_addend: rule.hits_addend })
}

/// What rules by metadata look at.
#[derive(Clone, Copy, Debug)]
pub(super) struct KnownMetadata<'a> {
    /// What filters wrote.
    pub(super) dynamic: Option<&'a Metadata>,
    /// What the route has.
    pub(super) route: Option<&'a Metadata>,
}

impl CompiledRule {
    /// What a request counts as; `None`: it does not.
    fn descriptor(
        &self,
        head: &RequestHead<'_>,
        cx: &FilterContext<'_>,
        metadata: KnownMetadata<'_>,
    ) -> Option<LimitDescriptor> {
        let mut entries = Vec::with_capacity(self.actions.len());
        for action in &self.actions {
            match action.entry(head, cx, metadata) {
                Entry::Is(key, value) => entries.push((key, value)),
                Entry::Skipped => {}
                Entry::Missing => return None,
            }
        }
        let hits_addend = self.hits_addend;
        (!entries.is_empty()).then_some(LimitDescriptor { entries, hits_addend })
    }
}

impl CompiledAction {
    fn entry(
        &self,
        head: &RequestHead<'_>,
        cx: &FilterContext<'_>,
        metadata: KnownMetadata<'_>,
    ) -> Entry {
        let found = |key: &Arc<str>, value: Option<Arc<str>>, skip: bool| match value {
            Some(value) => Entry::Is(Arc::clone(key), value),
            None if skip => Entry::Skipped,
            None => Entry::Missing,
        };
        let address = || cx.remote.map(|remote| remote.ip());
        match &self.model {
            RateLimitAction::DestinationCluster(name) => {
                Entry::Is(Arc::from("destination_cluster"), Arc::clone(name))
            }
            RateLimitAction::RequestHeaders { name, descriptor_key, skip_if_absent } => {
                found(descriptor_key, first_value(head, name).map(Arc::from), *skip_if_absent)
            }
            RateLimitAction::QueryParameters { name, descriptor_key, skip_if_absent } => {
                let value = query::parameters(head.query()).find(|(key, _)| *key == **name);
                let value = value.map(|(_, value)| query::decoded(value.unwrap_or_default()));
                found(descriptor_key, value.map(Arc::from), *skip_if_absent)
            }
            RateLimitAction::RemoteAddress => {
                let value = address().map(|address| address.to_string().into());
                found(&Arc::from("remote_address"), value, false)
            }
            RateLimitAction::MaskedRemoteAddress { v4_prefix_mask_len, v6_prefix_mask_len } => {
                let value =
                    address().map(|ip| masked(ip, *v4_prefix_mask_len, *v6_prefix_mask_len));
                found(&Arc::from("masked_remote_address"), value, false)
            }
            RateLimitAction::GenericKey { descriptor_key, descriptor_value } => {
                Entry::Is(Arc::clone(descriptor_key), Arc::clone(descriptor_value))
            }
            RateLimitAction::HeaderValueMatch {
                descriptor_key,
                descriptor_value,
                expect_match,
                ..
            } => {
                let matches = self.headers.iter().all(|header| header.matches_sent(head));
                let value = (matches == *expect_match).then(|| Arc::clone(descriptor_value));
                found(descriptor_key, value, false)
            }
            RateLimitAction::Metadata {
                descriptor_key,
                source,
                filter,
                path,
                default_value,
                skip_if_absent,
            } => {
                let metadata = match source {
                    MetadataSource::Dynamic => metadata.dynamic,
                    MetadataSource::Route => metadata.route,
                };
                let value = match metadata.and_then(|metadata| metadata.get(filter, path)) {
                    Some(MetadataValue::Text(text)) if !text.is_empty() => Some(Arc::clone(text)),
                    _ => (!default_value.is_empty()).then(|| Arc::clone(default_value)),
                };
                found(descriptor_key, value, *skip_if_absent)
            }
            RateLimitAction::PeerIdentity { descriptor_key } => {
                let name = cx.connection.peer.principals().next().unwrap_or_default();
                found(descriptor_key, (!name.is_empty()).then(|| name.into()), false)
            }
        }
    }
}

/// The first value of a header (Envoy: `RequestHeadersAction`), of which `host` is another name of `:authority`. One
/// that is no text is one still: nobody gets out of a limit by a byte.
fn first_value<'a>(head: &RequestHead<'a>, name: &HeaderName) -> Option<Cow<'a, str>> {
    if *name == HOST && !head.authority.is_empty() {
        return Some(head.authority.into());
    }
    head.headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()))
}

/// An address's network, as Envoy writes it: `10.1.0.0/16`.
fn masked(address: IpAddr, v4: u8, v6: u8) -> Arc<str> {
    match address {
        IpAddr::V4(ip) => {
            let bits = v4.min(32);
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or_default();
            format!("{}/{bits}", std::net::Ipv4Addr::from(u32::from(ip) & mask)).into()
        }
        IpAddr::V6(ip) => {
            let bits = v6.min(128);
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or_default();
            format!("{}/{bits}", std::net::Ipv6Addr::from(u128::from(ip) & mask)).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Method;

    #[test]
    fn a_header_that_is_no_text_is_there_all_the_same() {
        let mut headers = HeaderMap::new();
        headers.insert("x-odd", HeaderValue::from_bytes(b"\xffa").unwrap());
        let head = RequestHead::new(&Method::GET, "a", "/", &headers);
        let value = |name: &str| first_value(&head, &name.parse().unwrap());
        assert_eq!(value("x-odd").as_deref(), Some("\u{fffd}a"));
        assert_eq!(value("x-none"), None);
    }
}
