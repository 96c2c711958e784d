//! [`Sampler`]: of which requests spans are made (OpenTelemetry specification, "ParentBased", "TraceIdRatioBased").
//!
//! A trace is of use when it is whole, so who began it decides, and what it decided comes with the request. The share
//! of those that begin here is taken by the trace's id, so that all hops that take the same share take the same traces.

/// Of which requests spans are made: of those that their callers sampled, and of a share of those whose callers have no
/// trace. Default: of none of those.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sampler {
    /// Of 2^56.
    below: u64,
}

const ALL: u64 = 1 << 56;

impl Sampler {
    /// This share of the requests whose callers have no trace, from 0 to 1; a number outside is the nearest of those.
    #[must_use]
    pub fn share(share: f64) -> Self {
        Self { below: (share.clamp(0.0, 1.0) * ALL as f64) as u64 }
    }

    /// Whether only those are sampled that their callers sampled.
    #[must_use]
    pub const fn begins_none(self) -> bool {
        self.below == 0
    }

    /// Whether a request of this trace is sampled; `caller`: what the caller decided, if it has a trace.
    ///
    /// The last seven bytes of the id count: those are random (W3C Trace Context Level 2, "Random Trace ID Flag").
    #[must_use]
    pub const fn samples(self, trace_id: [u8; 16], caller: Option<bool>) -> bool {
        match caller {
            Some(sampled) => sampled,
            None => (u128::from_be_bytes(trace_id) as u64) & (ALL - 1) < self.below,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Random as _, SplitMix64};

    #[test]
    fn the_caller_decides_where_it_has_a_trace() {
        for sampler in [Sampler::default(), Sampler::share(1.0)] {
            for sampled in [true, false] {
                assert_eq!(sampler.samples([0xff; 16], Some(sampled)), sampled, "{sampler:?}");
            }
        }
        assert!(!Sampler::default().samples([0; 16], None));
        assert!(Sampler::share(1.0).samples([0xff; 16], None));
    }

    #[test]
    fn a_share_is_that_share_and_the_same_everywhere() {
        let mut random = SplitMix64::new(7);
        let (tenth, half) = (Sampler::share(0.1), Sampler::share(0.5));
        let mut taken = [0_u32; 2];
        for _ in 0..100_000 {
            let id =
                (u128::from(random.next_u64()) << 64 | u128::from(random.next_u64())).to_be_bytes();
            let both = [tenth, half].map(|sampler| sampler.samples(id, None));
            assert!(!both[0] || both[1], "what the smaller share has, the larger has");
            taken = [taken[0] + u32::from(both[0]), taken[1] + u32::from(both[1])];
        }
        assert!(taken[0].abs_diff(10_000) < 500 && taken[1].abs_diff(50_000) < 1_000, "{taken:?}");
        for none in [-1.0, 0.0, f64::NAN] {
            assert!(Sampler::share(none).begins_none(), "{none}");
        }
    }
}
