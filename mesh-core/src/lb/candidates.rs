//! [`Candidates`]: a part of a pool as an algorithm sees it.
//!
//! Positions `0..len` are the candidates; an algorithm answers with one. Drawing by weight, taking
//! turns and slow start are here, once, for all of them.

use super::pool::Shape;
use super::round_robin::{Sequence, golden};
use super::slow_start::{COUNTED, Curve, DRAWS, MOST_DRAWS};
use super::{Loads, PickContext};
use crate::random::Random;

/// A part as an algorithm sees it: positions `0..len`, of which it chooses one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidates<'a> {
    pub(super) members: &'a [u32],
    pub(super) shape: &'a Shape,
    pub(super) weights: Option<&'a [u32]>,
    pub(super) slow_start: Option<&'a Curve>,
    pub(super) counter: usize,
}

impl Candidates<'_> {
    /// Whether weights make no difference.
    pub(super) const fn is_equal(&self) -> bool {
        matches!(self.shape, Shape::Equal) && self.slow_start.is_none()
    }

    /// Whether weights make no difference once slow start is over.
    pub(super) const fn has_equal_weights(&self) -> bool {
        matches!(self.shape, Shape::Equal)
    }

    /// The weight at a position, as slow start has it; 1 when all are equal.
    pub(super) fn weight<R>(
        &self,
        position: usize,
        cx: &PickContext<'_, R>,
        loads: &impl Loads,
    ) -> f64 {
        let index = self.members[position];
        let weight = self.weights.map_or(1.0, |weights| f64::from(weights[index as usize]));
        self.slow_start.map_or(weight, |curve| weight * curve.factor(index, cx, loads))
    }

    /// The mean of the weights, in the units of [`weight`](Self::weight).
    pub(super) fn mean_weight(&self) -> f64 {
        match (self.shape, self.weights) {
            (Shape::Cumulative(sums), _) => sums.total() as f64 / self.members.len() as f64,
            // All weights of the part are the same, whatever they are elsewhere.
            (_, Some(weights)) => f64::from(weights[self.members[0] as usize]),
            (_, None) => 1.0,
        }
    }

    /// The next position in turn.
    pub(super) fn next<R: Random>(&self, cx: &mut PickContext<'_, R>, loads: &impl Loads) -> usize {
        let (sequence, len): (&Sequence, _) = (cx.sequence, self.members.len() as u64);
        self.admitted(cx, loads, |_| match self.shape {
            Shape::Equal => (sequence.next(self.counter) % len) as usize,
            Shape::Stride(stride) => stride.next(|| sequence.next(self.counter)),
            Shape::Cumulative(sums) => golden(sums, sequence.next(self.counter)),
        })
    }

    /// A position drawn in proportion to weight.
    pub(super) fn sample<R: Random>(
        &self,
        cx: &mut PickContext<'_, R>,
        loads: &impl Loads,
    ) -> usize {
        self.admitted(cx, loads, |random| match self.shape {
            Shape::Cumulative(sums) => sums.sample(random),
            Shape::Equal | Shape::Stride(_) => random.below(self.members.len() as u64) as usize,
        })
    }

    /// What `choose` gives, again until slow start admits it.
    fn admitted<R: Random>(
        &self,
        cx: &mut PickContext<'_, R>,
        loads: &impl Loads,
        mut choose: impl FnMut(&mut R) -> usize,
    ) -> usize {
        let mut position = choose(&mut cx.random);
        let Some(curve) = self.slow_start else { return position };
        let is_counted = self.members.len() <= COUNTED;
        for _ in 1..if is_counted { DRAWS } else { MOST_DRAWS } {
            if curve.admits(self.members[position], cx, loads) {
                return position;
            }
            position = choose(&mut cx.random);
        }
        if is_counted { self.weigh(cx, loads) } else { position }
    }

    /// A position drawn in proportion to its weight as slow start has it, by weighing all.
    #[cold]
    fn weigh<R: Random>(&self, cx: &mut PickContext<'_, R>, loads: &impl Loads) -> usize {
        let weights = |cx: &PickContext<'_, R>| -> f64 {
            (0..self.members.len()).map(|position| self.weight(position, cx, loads)).sum()
        };
        let mut point = weights(cx) * cx.random.unit();
        for position in 0..self.members.len() {
            point -= self.weight(position, cx, loads);
            if point < 0.0 {
                return position;
            }
        }
        self.members.len() - 1
    }
}
