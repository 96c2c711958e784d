//! A share of requests (Envoy: `type.v3.FractionalPercent`).

/// A share, in parts per million, at most one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fraction(u32);

impl Fraction {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Everything.
    pub const ALL: Self = Self(1_000_000);

    /// `parts` per million; more than a million is everything.
    #[must_use]
    pub const fn per_million(parts: u32) -> Self {
        Self(if parts > 1_000_000 { 1_000_000 } else { parts })
    }

    /// `percent` of a hundred; more than 100 is everything.
    #[must_use]
    pub const fn percent(percent: u32) -> Self {
        Self::per_million(percent.saturating_mul(10_000))
    }

    /// Parts per million.
    #[must_use]
    pub const fn as_per_million(self) -> u32 {
        self.0
    }

    /// Whether a draw uniform over all of `u64` falls into this share.
    #[must_use]
    pub const fn takes(self, draw: u64) -> bool {
        ((draw as u128 * 1_000_000) >> 64) < self.0 as u128
    }
}
