//! Conditions on metadata and on the filter state, and blocks of addresses.

use super::Walk;
use crate::decode::common;
use crate::decode::route::matcher::string;
use envoy_types::pb::envoy::config::rbac::v3::{MetadataSource as PbSource, SourcedMetadata};
use envoy_types::pb::envoy::r#type::matcher::v3 as pb;
use envoy_types::pb::google::protobuf::UInt32Value;
use mesh_core::model::Cidr;
use mesh_core::model::metadata::{
    FilterStateMatcher, FilterStateValue, MetadataMatcher, MetadataSource, ValueMatcher,
};
use pb::double_matcher::MatchPattern as Double;
use pb::filter_state_matcher::Matcher as State;
use pb::list_matcher::MatchPattern as List;
use pb::metadata_matcher::path_segment::Segment;
use pb::value_matcher::MatchPattern as Value;
use std::net::IpAddr;
use std::sync::Arc;

const NO_KIND: &str = "there is no kind of match that is known here";

/// A block of addresses. A prefix that is left out is 0 (Envoy), which is every address of the family.
pub(in crate::decode) fn cidr(
    walk: &mut Walk,
    field: &str,
    address: &str,
    prefix: Option<&UInt32Value>,
) -> Option<Cidr> {
    walk.at(field, |walk| {
        let Ok(ip) = address.parse::<IpAddr>() else {
            walk.error_at(
                "address_prefix",
                format_args!("`{}` is no IP address", address.escape_debug()),
            );
            return None;
        };
        match Cidr::new(ip, prefix.map_or(0, |prefix| prefix.value)) {
            Ok(block) => Some(block),
            Err(error) => {
                walk.error_at("prefix_len", error);
                None
            }
        }
    })
}

pub(super) fn sourced(walk: &mut Walk, message: &SourcedMetadata) -> Option<MetadataMatcher> {
    let source = common::enumeration::<PbSource>(walk, "metadata_source", message.metadata_source);
    let Some(inner) = &message.metadata_matcher else {
        walk.error_at("metadata_matcher", "it is missing (Envoy: required)");
        return None;
    };
    let mut found = walk.at("metadata_matcher", |walk| matcher(walk, inner))?;
    found.source = match source? {
        PbSource::Dynamic => MetadataSource::Dynamic,
        PbSource::Route => MetadataSource::Route,
    };
    Some(found)
}

pub(in crate::decode) fn matcher(
    walk: &mut Walk,
    message: &pb::MetadataMatcher,
) -> Option<MetadataMatcher> {
    if message.filter.is_empty() {
        walk.error_at("filter", "it is not empty (Envoy: min_len 1)");
        return None;
    }
    let keys = message.path.iter().map(|segment| match &segment.segment {
        Some(Segment::Key(key)) if !key.is_empty() => Some(Arc::from(&**key)),
        _ => None,
    });
    let path: Option<Vec<Arc<str>>> = keys.collect();
    let Some(path) = path.filter(|path| !path.is_empty()) else {
        walk.error_at("path", "it has one key or more, and none is empty (Envoy: min_items 1)");
        return None;
    };
    let Some(inner) = &message.value else {
        walk.error_at("value", "it is missing (Envoy: required)");
        return None;
    };
    let value = walk.at("value", |walk| value(walk, inner))?;
    let mut found = MetadataMatcher::new(&*message.filter, path, value);
    found.invert = message.invert;
    Some(found)
}

/// As deep as messages may be nested: protobuf bounds it.
fn value(walk: &mut Walk, message: &pb::ValueMatcher) -> Option<ValueMatcher> {
    let Some(pattern) = &message.match_pattern else {
        walk.error(NO_KIND);
        return None;
    };
    Some(match pattern {
        Value::NullMatch(_) => ValueMatcher::Null,
        Value::BoolMatch(flag) => ValueMatcher::Bool(*flag),
        Value::PresentMatch(present) => ValueMatcher::Present(*present),
        Value::StringMatch(text) => {
            ValueMatcher::Text(walk.at("string_match", |walk| string(walk, text))?)
        }
        Value::DoubleMatch(number) => match &number.match_pattern {
            Some(Double::Exact(number)) => ValueMatcher::Number(*number),
            Some(Double::Range(range)) => {
                ValueMatcher::Range { start: range.start, end: range.end }
            }
            None => {
                walk.error_at("double_match", NO_KIND);
                return None;
            }
        },
        Value::ListMatch(list) => match &list.match_pattern {
            Some(List::OneOf(one)) => ValueMatcher::OneOf(Box::new(
                walk.at("list_match.one_of", |walk| value(walk, one))?,
            )),
            None => {
                walk.error_at("list_match", NO_KIND);
                return None;
            }
        },
        Value::OrMatch(or) => {
            // Envoy: min_items 2.
            if or.value_matchers.len() < 2 {
                walk.error_at(
                    "or_match.value_matchers",
                    "there are two or more (Envoy: min_items 2)",
                );
                return None;
            }
            let inner = or.value_matchers.iter().enumerate().map(|(at, inner)| {
                let field = format!("or_match.value_matchers[{at}]");
                walk.at(field, |walk| value(walk, inner))
            });
            ValueMatcher::Or(inner.collect::<Option<_>>()?)
        }
    })
}

pub(super) fn filter_state(
    walk: &mut Walk,
    message: &pb::FilterStateMatcher,
) -> Option<FilterStateMatcher> {
    if message.key.is_empty() {
        walk.error_at("key", "it is not empty (Envoy: min_len 1)");
        return None;
    }
    let value = match &message.matcher {
        Some(State::StringMatch(text)) => {
            FilterStateValue::Text(walk.at("string_match", |walk| string(walk, text))?)
        }
        Some(State::AddressMatch(blocks)) => walk.at("address_match", |walk| {
            if blocks.invert_match {
                walk.error_at("invert_match", "it is not supported: put `not_id` around it");
                return None;
            }
            let found = blocks.ranges.iter().enumerate().map(|(at, block)| {
                let field = format!("ranges[{at}]");
                cidr(walk, &field, &block.address_prefix, block.prefix_len.as_ref())
            });
            Some(FilterStateValue::Address(found.collect::<Option<_>>()?))
        })?,
        None => {
            walk.error(NO_KIND);
            return None;
        }
    };
    walk.ignored(true, "key", "no filter here writes filter state: it is never there");
    Some(FilterStateMatcher { key: Arc::from(&*message.key), value })
}
