//! The table of calls, in Markdown.

use crate::Http;
use crate::calls::ROWS;
use crate::quantity::Quantity;
use std::fmt::Write as _;

/// What one turn measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// CPU time of the client for each call, in microseconds.
    pub(crate) client: f64,
    /// The same of the server.
    pub(crate) server: f64,
    /// Calls a second.
    pub(crate) rate: f64,
}

impl Sample {
    fn both(&self) -> f64 {
        self.client + self.server
    }
}

/// All turns of a table, by rows.
#[derive(Debug)]
pub(crate) struct Samples {
    pub(crate) mutual: Vec<Vec<Sample>>,
    pub(crate) plaintext: Vec<Vec<Sample>>,
}

/// Of each round: what both sides needed by `of`, as a ratio to `to`.
fn ratios(of: &[Sample], to: &[Sample]) -> Quantity {
    Quantity::of(of.iter().zip(to).map(|(of, to)| of.both() / to.both()))
}

/// The same as a difference.
fn differences(of: &[Sample], to: &[Sample]) -> Quantity {
    Quantity::of(of.iter().zip(to).map(|(of, to)| of.both() - to.both()))
}

/// Whether the base and its double agree, over TLS and in plaintext.
pub(crate) fn held(samples: &Samples) -> bool {
    let [mutual, plaintext] =
        [&samples.mutual, &samples.plaintext].map(|rows| ratios(&rows[1], &rows[0]));
    mutual.is_one() && plaintext.is_one()
}

/// Renders one table.
pub(crate) fn render(http: Http, in_flight: usize, samples: &Samples, attempt: usize) -> String {
    let version = match http {
        Http::One => "HTTP/1.1",
        Http::Two => "HTTP/2",
    };
    let mut text = format!(
        "## Calls over {version}, {in_flight} in flight\n\n\
         CPU µs a call; × and its quartiles: both sides, of `bare`, within rounds.\n\n\
         | row | client | server | × `bare` | quartiles | over `bare` | × its own plaintext | TLS adds | calls/s |\n\
         |---|--:|--:|--:|--:|--:|--:|--:|--:|\n"
    );
    for (label, rows) in [("mTLS", &samples.mutual), ("plaintext", &samples.plaintext)] {
        for (index, row) in rows.iter().enumerate() {
            let is_secured = label == "mTLS";
            let plain = is_secured.then(|| samples.plaintext[index].as_slice());
            line(&mut text, &format!("{label}, {}", ROWS[index].0), row, &rows[0], plain);
        }
    }
    let verdict = if held(samples) { "held" } else { "DID NOT HOLD" };
    // Writing to a string can't fail.
    let _infallible = write!(
        text,
        "\nControl (`bare-again` within 2 % of `bare`, over TLS and in plaintext): {verdict}, attempt {attempt}\n"
    );
    text
}

fn line(text: &mut String, label: &str, row: &[Sample], base: &[Sample], plain: Option<&[Sample]>) {
    let median = |of: fn(&Sample) -> f64| Quantity::of(row.iter().map(of)).median;
    let Quantity { median: ratio, quartiles: [low, high] } = ratios(row, base);
    let over = differences(row, base).median;
    let of_plain = plain.map_or_else(
        || "| |".to_owned(),
        |plain| {
            let (times, adds) = (ratios(row, plain).median, differences(row, plain).median);
            format!("| {times:.3} | {adds:+.2}")
        },
    );
    let _infallible = writeln!(
        text,
        "| {label} | {:.2} | {:.2} | {ratio:.3} | {low:.3}–{high:.3} | {over:+.2} {of_plain} | {:.0} |",
        median(|sample| sample.client),
        median(|sample| sample.server),
        median(|sample| sample.rate),
    );
}
