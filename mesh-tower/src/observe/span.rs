//! [`ThinSpan`]: a span as calls carry it.

use std::sync::Arc;
use tracing::span::Entered;
use tracing::{Span, Value};

/// A span of one pointer's size, without an allocation while no subscriber wants it: a call is moved as
/// a whole, and a [`Span`] is 40 bytes that nobody looks at.
#[derive(Clone, Debug, Default)]
pub(crate) struct ThinSpan(Option<Arc<Span>>);

impl ThinSpan {
    /// No span.
    pub(crate) const NONE: Self = Self(None);

    pub(crate) fn new(span: Span) -> Self {
        Self((!span.is_disabled()).then(|| Arc::new(span)))
    }

    /// Whether somebody wants it.
    pub(crate) const fn is_wanted(&self) -> bool {
        self.0.is_some()
    }

    /// Runs `inside` in the span.
    pub(crate) fn in_scope<T>(&self, inside: impl FnOnce() -> T) -> T {
        match &self.0 {
            Some(span) => span.in_scope(inside),
            None => inside(),
        }
    }

    /// What is done until the guard is dropped is done in the span.
    pub(crate) fn enter(&self) -> Option<Entered<'_>> {
        self.0.as_ref().map(|span| span.enter())
    }

    /// Records a field.
    pub(crate) fn record(&self, field: &str, value: impl Value) {
        if let Some(span) = &self.0 {
            span.record(field, value);
        }
    }
}
