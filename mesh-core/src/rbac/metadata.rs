//! Conditions on metadata and on the filter state, compiled.

use crate::model::metadata::{
    FilterState, FilterStateMatcher, FilterStateValue, Metadata, MetadataMatcher, MetadataSource,
    MetadataValue, ValueMatcher,
};
use crate::rbac::ip_set::IpSet;
use crate::router::{CompiledStringMatcher, MatcherError};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

#[derive(Clone, Debug)]
pub(crate) struct CompiledMetadata {
    pub(super) source: MetadataSource,
    filter: Arc<str>,
    path: Box<[Arc<str>]>,
    value: CompiledValue,
    invert: bool,
}

#[derive(Clone, Debug)]
enum CompiledValue {
    Null,
    Range(f64, f64),
    Number(f64),
    Text(CompiledStringMatcher),
    Bool(bool),
    Present(bool),
    OneOf(Box<Self>),
    Or(Box<[Self]>),
}

impl CompiledMetadata {
    pub(crate) fn new(model: &MetadataMatcher) -> Result<Self, MatcherError> {
        Ok(Self {
            source: model.source,
            filter: model.filter.clone(),
            path: model.path.iter().cloned().collect(),
            value: CompiledValue::new(&model.value)?,
            invert: model.invert,
        })
    }

    /// gRFC A41: `metadata` that is missing never matches, so an inverted matcher then always does.
    pub(crate) fn matches(&self, metadata: Option<&Metadata>) -> bool {
        let value = metadata.and_then(|metadata| metadata.get(&self.filter, &self.path));
        value.is_some_and(|value| self.value.matches(value)) != self.invert
    }
}

impl CompiledValue {
    fn new(model: &ValueMatcher) -> Result<Self, MatcherError> {
        Ok(match model {
            ValueMatcher::Null => Self::Null,
            ValueMatcher::Range { start, end } => Self::Range(*start, *end),
            ValueMatcher::Number(number) => Self::Number(*number),
            ValueMatcher::Text(matcher) => Self::Text(CompiledStringMatcher::new(matcher)?),
            ValueMatcher::Bool(flag) => Self::Bool(*flag),
            ValueMatcher::Present(present) => Self::Present(*present),
            ValueMatcher::OneOf(matcher) => Self::OneOf(Box::new(Self::new(matcher)?)),
            ValueMatcher::Or(matchers) => {
                Self::Or(matchers.iter().map(Self::new).collect::<Result<_, _>>()?)
            }
        })
    }

    #[expect(clippy::float_cmp, reason = "Envoy: `DoubleMatcher.exact` is the same number")]
    fn matches(&self, value: &MetadataValue) -> bool {
        match (self, value) {
            (Self::Null, MetadataValue::Null) => true,
            (Self::Range(start, end), MetadataValue::Number(number)) => {
                (*start..*end).contains(number)
            }
            (Self::Number(wanted), MetadataValue::Number(number)) => wanted == number,
            (Self::Text(matcher), MetadataValue::Text(text)) => matcher.matches(text.as_bytes()),
            (Self::Bool(wanted), MetadataValue::Bool(flag)) => wanted == flag,
            (Self::Present(present), _) => *present,
            (Self::OneOf(matcher), MetadataValue::List(values)) => {
                values.iter().any(|value| matcher.matches(value))
            }
            (Self::Or(matchers), value) => matchers.iter().any(|matcher| matcher.matches(value)),
            _ => false,
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct CompiledFilterState {
    key: Arc<str>,
    value: StateValue,
}

#[derive(Clone, Debug)]
enum StateValue {
    Text(CompiledStringMatcher),
    Address(IpSet),
}

impl CompiledFilterState {
    pub(super) fn new(model: &FilterStateMatcher) -> Result<Self, MatcherError> {
        let value = match &model.value {
            FilterStateValue::Text(matcher) => {
                StateValue::Text(CompiledStringMatcher::new(matcher)?)
            }
            FilterStateValue::Address(blocks) => StateValue::Address(IpSet::new(blocks)),
        };
        Ok(Self { key: model.key.clone(), value })
    }

    pub(super) fn matches(&self, state: Option<&FilterState>) -> bool {
        let Some(text) = state.and_then(|state| state.0.get(&self.key)) else { return false };
        match &self.value {
            StateValue::Text(matcher) => matcher.matches(text.as_bytes()),
            StateValue::Address(blocks) => address(text).is_some_and(|ip| blocks.contains(ip)),
        }
    }
}

/// An address, with or without a port.
fn address(text: &str) -> Option<IpAddr> {
    text.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
}
