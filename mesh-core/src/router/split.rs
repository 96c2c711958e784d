//! The draw among the clusters of a split (Envoy: `WeightedCluster`; gRFC A28).
//!
//! Drawn once per call, before any attempt, without regard to health (gRFC A31). A number below the
//! sum of weights chooses; where it comes from is the split's [`SplitBy`]. Hashes and header values
//! are taken modulo the sum (as Envoy does): the high bits, which consistent hashing inside the
//! chosen cluster uses, stay evenly spread.

use super::compile::{CompileErrorKind, Scope};
use super::hash::CompiledHashPolicy;
use crate::head::RequestHead;
use crate::model::{Split, SplitBy};
use crate::random::Random;
use http::{HeaderMap, HeaderName, HeaderValue};

/// A split, ready to draw from.
#[derive(Clone, Debug)]
pub(super) struct CompiledSplit {
    parts: Box<[Part]>,
    /// The sum of weights.
    total: u64,
    by: By,
}

/// A part that has a weight.
#[derive(Clone, Copy, Debug)]
struct Part {
    /// The sum of weights up to and with this part.
    end: u64,
    /// The part's place in the configuration.
    index: u32,
}

#[derive(Clone, Debug)]
enum By {
    Random,
    Hash(CompiledHashPolicy),
    HeaderValue(HeaderName),
}

impl CompiledSplit {
    pub(super) fn compile(split: &Split, scope: &mut Scope<'_>) -> Option<Self> {
        let mut total = 0;
        let mut parts = Vec::with_capacity(split.clusters.len());
        for (index, cluster) in (0u32..).zip(&split.clusters) {
            if cluster.weight > 0 {
                total += u64::from(cluster.weight);
                parts.push(Part { end: total, index });
            }
        }
        let kind = match total {
            0 => Some(CompileErrorKind::SplitWithoutWeight),
            1..=0xffff_ffff => None,
            sum => Some(CompileErrorKind::SplitTooHeavy { sum }),
        };
        let bad_sum = kind.is_some();
        if let Some(kind) = kind {
            scope.report(format_args!("split.clusters"), kind);
        }
        let by = match &split.by {
            SplitBy::Random => By::Random,
            SplitBy::HeaderValue(name) => By::HeaderValue(name.clone()),
            SplitBy::Hash(policies) => {
                By::Hash(CompiledHashPolicy::compile(policies, "split.by.hash", scope)?)
            }
        };
        (!bad_sum).then(|| Self { parts: parts.into(), total, by })
    }

    /// The place in the configuration of the part that takes this request. A cookie that is made so
    /// that the next request goes there too is added to `set_cookies`.
    pub(super) fn draw(
        &self,
        head: &RequestHead<'_>,
        set_cookies: &mut Vec<HeaderValue>,
        random: &mut impl Random,
    ) -> usize {
        let given = match &self.by {
            By::Random => None,
            By::Hash(policy) => policy.hash_or_set_cookie(head, set_cookies, random),
            By::HeaderValue(name) => header_number(head.headers, name),
        };
        self.part(given.map_or_else(|| random.below(self.total), |number| number % self.total))
    }

    /// The part that takes this request for certain: what the request carries decides. `None`: chance
    /// does.
    pub(super) fn certain(&self, head: &RequestHead<'_>) -> Option<usize> {
        let given = match &self.by {
            By::Random => None,
            By::Hash(policy) => policy.hash(head),
            By::HeaderValue(name) => header_number(head.headers, name),
        };
        given.map(|number| self.part(number % self.total))
    }

    /// The place of the part that a number below the sum of weights falls to.
    fn part(&self, draw: u64) -> usize {
        let part = self.parts.partition_point(|part| part.end <= draw);
        self.parts.get(part).map_or(0, |part| part.index as usize)
    }

    /// The sum of weights.
    pub(super) const fn total(&self) -> u64 {
        self.total
    }
}

/// A decimal number from a header that is there once (Envoy: `header_name`; more values would give
/// different draws in one mesh).
fn header_number(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    match values.next() {
        None => value.to_str().ok()?.trim().parse().ok(),
        Some(_) => None,
    }
}
