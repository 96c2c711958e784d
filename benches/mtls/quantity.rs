//! What many rounds say together.

/// The median and the quartiles of one quantity.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quantity {
    pub(crate) median: f64,
    pub(crate) quartiles: [f64; 2],
}

impl Quantity {
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_unstable_by(f64::total_cmp);
        let at = |share: f64| quantile(&values, share);
        Self { median: at(0.5), quartiles: [at(0.25), at(0.75)] }
    }

    /// Whether it is what a base measured against itself has to be.
    pub(crate) fn is_one(self) -> bool {
        (self.median - 1.0).abs() <= TOLERANCE
    }
}

/// The quantile of sorted `values`, interpolated between neighbours.
fn quantile(values: &[f64], share: f64) -> f64 {
    let Some(last) = values.len().checked_sub(1) else { return f64::NAN };
    let place = share * last as f64;
    let (low, high) = (values[place.floor() as usize], values[place.ceil() as usize]);
    low + (high - low) * place.fract()
}

/// Who is when: rotated by one each round, backwards in odd rounds.
pub(crate) fn order(round: usize, count: usize) -> Vec<usize> {
    let mut order: Vec<_> = (0..count).map(|place| (place + round) % count).collect();
    if round % 2 == 1 {
        order.reverse();
    }
    order
}

/// How far the control may be from 1.
const TOLERANCE: f64 = 0.02;
