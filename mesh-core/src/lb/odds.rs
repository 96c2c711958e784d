//! What share of the traffic each endpoint should get, to explain a policy to whoever asks.

use super::failover::Arithmetic;
use super::pool::{Need, Part, Pool, Shape};
use super::{Algorithm, Balancer};

impl Balancer {
    /// The expected share of the picks, by endpoint index; the shares add up to 1, or to less when a
    /// priority in panic fails its part.
    ///
    /// With nothing in flight, equal latencies, nobody suspect and slow start over. `None`: a custom
    /// policy, of which nothing is known. Costs O(n), and O(size) of a ring or table.
    #[must_use]
    pub fn odds(&self) -> Option<Vec<f64>> {
        self.odds_as_child(&[(Arithmetic::Own, 100.0)])
    }

    /// The same for a child of an aggregate that chooses in these ways for these percents of the
    /// aggregate's calls; the shares add up to that.
    pub(crate) fn odds_as_child(&self, parts: &[(Arithmetic, f64)]) -> Option<Vec<f64>> {
        if let Algorithm::Custom(_) = &self.plan.algorithm {
            return None;
        }
        let mut odds = vec![0.0; self.plan.columns.len() as usize];
        for (arithmetic, percent) in parts {
            let part = percent / 100.0;
            match arithmetic {
                Arithmetic::Own => {
                    for (percent, pool) in self.eligibility.percents() {
                        self.add_pool_odds(pool, &mut odds, part * f64::from(percent) / 100.0);
                    }
                }
                Arithmetic::Calm(calm) => {
                    for pool in self.eligibility.calm_percents(*calm) {
                        self.add_pool_odds(pool, &mut odds, part / f64::from(calm.load));
                    }
                }
            }
        }
        Some(odds)
    }

    fn add_pool_odds(&self, pool: &Pool, odds: &mut [f64], scale: f64) {
        match &self.plan.algorithm {
            Algorithm::Consistent(tables, _) => {
                tables.add_odds((pool, &self.eligibility), odds, scale);
            }
            _ => self.add_odds(pool, odds, scale),
        }
    }

    fn add_odds(&self, pool: &Pool, odds: &mut [f64], scale: f64) {
        let total = pool.parts.last().map_or(1, |part| part.upto) as f64;
        let mut before = 0;
        for part in &pool.parts {
            let share = scale * (part.upto - before) as f64 / total;
            before = part.upto;
            self.add_part_odds(pool, part, odds, share);
        }
    }

    fn add_part_odds(&self, pool: &Pool, part: &Part, odds: &mut [f64], scale: f64) {
        let members = pool.members_of(part);
        let is_weighed =
            self.plan.rules.need != Need::Nothing && !matches!(part.shape, Shape::Equal);
        let weight =
            |index: u32| if is_weighed { f64::from(self.plan.columns.weight(index)) } else { 1.0 };
        let sum: f64 = members.iter().map(|&index| weight(index)).sum();
        for &index in members {
            odds[index as usize] += scale * weight(index) / sum;
        }
    }
}
