//! Least request: of a few drawn at random, the one with the fewest attempts in flight.
//!
//! With equal weights this is Envoy's: `choice_count` draws, each may repeat (gRFC A48), the lowest
//! count wins and the first of equals.
//!
//! With unequal weights, candidates are drawn in proportion to weight and the lowest
//! activeᵇ / weight wins, the first of equals. So with nothing in flight the shares are those of the
//! weights, and under load (b = 1) endpoints hold attempts in proportion to their weights. Envoy
//! schedules by weight / (active + 1)ᵇ instead: with b = 1, under load and at equal latency, attempts
//! in flight go by the *square root* of the weight, and each pick changes a heap under a lock.
//!
//! | `active_request_bias` b | unequal weights |
//! |---|---|
//! | 0 | load does not count: random by weight (Envoy: round robin by weight) |
//! | 0 to 1 | that part of the picks looks at load |
//! | 1 | attempts in flight in proportion to weight |
//! | above 1 | load counts for more than weight |
//!
//! As in Envoy, the bias plays no part while weights are equal. Of equal weights that only slow start
//! makes unequal for a while, the lowest active / factor wins, which is the lowest count again once it
//! is over.

use super::candidates::Candidates;
use super::error::{LbError, integer, number};
use super::{Loads, PickContext};
use crate::random::Random;

/// Checked options of least request.
#[derive(Clone, Copy, Debug)]
pub(super) struct LeastRequest {
    choices: u32,
    bias: f64,
}

impl LeastRequest {
    pub(super) fn new(choices: u32, bias: f64) -> Result<Self, LbError> {
        let rule = "must be from 2 to 100";
        integer((2..=100).contains(&choices), "choice_count", u64::from(choices), rule)?;
        let valid = bias >= 0.0 && bias.is_finite();
        number(valid, "active_request_bias", bias, "must be at least 0 and finite")?;
        Ok(Self { choices, bias })
    }

    pub(super) fn pick<R: Random>(
        self,
        candidates: &Candidates<'_>,
        cx: &mut PickContext<'_, R>,
        loads: &impl Loads,
    ) -> usize {
        if !candidates.is_equal() {
            let bias = if candidates.has_equal_weights() { 1.0 } else { self.bias };
            return Self { bias, ..self }.pick_by_weight(candidates, cx, loads);
        }
        let mut best = candidates.sample(cx, loads);
        let mut least = loads.active(candidates.members[best]);
        for _ in 1..self.choices {
            let other = candidates.sample(cx, loads);
            let active = loads.active(candidates.members[other]);
            if active < least {
                (best, least) = (other, active);
            }
        }
        best
    }

    fn pick_by_weight<R: Random>(
        self,
        candidates: &Candidates<'_>,
        cx: &mut PickContext<'_, R>,
        loads: &impl Loads,
    ) -> usize {
        let mut best = candidates.sample(cx, loads);
        if self.bias < 1.0 && cx.random.unit() >= self.bias {
            return best;
        }
        let mut least = self.cost(best, candidates, cx, loads);
        for _ in 1..self.choices {
            let other = candidates.sample(cx, loads);
            let cost = self.cost(other, candidates, cx, loads);
            if cost < least {
                (best, least) = (other, cost);
            }
        }
        best
    }

    /// activeᵇ / weight. Equal ratios are equal as `f64` too: division rounds correctly.
    fn cost<R>(
        self,
        position: usize,
        candidates: &Candidates<'_>,
        cx: &PickContext<'_, R>,
        loads: &impl Loads,
    ) -> f64 {
        let active = f64::from(loads.active(candidates.members[position]));
        let active = if self.bias > 1.0 { active.powf(self.bias) } else { active };
        active / candidates.weight(position, cx, loads)
    }
}
