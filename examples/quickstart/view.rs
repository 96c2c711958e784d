//! The live view: a few lines that are drawn over themselves, or plain ones where there is no screen.

use super::backends::Turn;
use super::events::{Counters, Events};
use super::tally::{Achieved, Counts, Tally};
use mesh_tower::Mesh;
use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{oneshot, watch};

const WIDTH: usize = 40;

/// What is shown.
pub(crate) struct View {
    pub(crate) mesh: Mesh,
    pub(crate) tally: Arc<Tally>,
    pub(crate) turn: watch::Receiver<Turn>,
    pub(crate) events: Events,
    pub(crate) requests: u32,
}

impl View {
    /// Draws until the sender of `ended` is dropped, and then once more.
    pub(crate) async fn run(self, mut ended: oneshot::Receiver<()>) {
        let is_screen = std::io::stdout().is_terminal();
        let pause = Duration::from_millis(if is_screen { 100 } else { 1_000 });
        let (mut drawn, mut is_over) = (0, false);
        loop {
            let counts = self.tally.counts();
            let text = if is_screen { self.frame(&counts) } else { self.line(&counts) };
            if is_screen {
                // Up over what was drawn before; lines are cut, not wrapped, while they are written.
                show(&format!("{}\x1b[?7l{text}\x1b[?7h", up_over(drawn)));
            } else {
                show(&text);
            }
            drawn = text.lines().count();
            if is_over {
                return;
            }
            is_over = tokio::time::timeout(pause, &mut ended).await.is_ok();
        }
    }

    fn frame(&self, counts: &Counts) -> String {
        let mut out = String::new();
        // Writing to a string can't fail.
        self.write_frame(counts, &mut out).unwrap_or_default();
        out
    }

    fn write_frame(&self, counts: &Counts, out: &mut String) -> std::fmt::Result {
        let (ended, requests) = (counts.ended(), self.requests);
        let done = ended as f64 / f64::from(requests.max(1));
        writeln!(
            out,
            "\n\x1b[1mmesh quickstart\x1b[0m  {}  {ended} of {requests} calls",
            bar(done)
        )?;
        for (split, clusters) in &counts.splits {
            let Some(achieved) = Achieved::of(split, clusters) else { continue };
            writeln!(out, "\nsplit {split} over {} calls", achieved.calls)?;
            let share = achieved.share();
            let rows = [
                ("reviews-v1", share, achieved.wanted),
                ("reviews-v2", 1.0 - share, 1.0 - achieved.wanted),
            ];
            for (name, share, wanted) in rows {
                let (bar, share, wanted) = (bar(share), share * 100.0, wanted * 100.0);
                writeln!(out, "  {name}  {bar}  {share:5.1} %  (wanted {wanted:.0} %)")?;
            }
        }
        let Counters { retries, ejections, ejected } = Counters::of(&self.mesh);
        let (p50, p99) = (millis(counts.percentile(50)), millis(counts.percentile(99)));
        let (turn, failed) = (*self.turn.borrow(), counts.failed);
        let place = if ejected > 0 { "ejected: no call goes to it" } else { "it gets its calls" };
        let file = self.configuration(counts);
        writeln!(out, "\ncalls          {failed} failed, p50 {p50} ms, p99 {p99} ms")?;
        writeln!(out, "sick endpoint  {turn}; {place}")?;
        writeln!(
            out,
            "               {retries} attempts made again at others, {ejections} ejections"
        )?;
        writeln!(out, "configuration  {file}\n")?;
        for line in self.events.newest(4) {
            writeln!(out, "\x1b[2m{line}\x1b[0m")?;
        }
        Ok(())
    }

    /// What is in force, and what is to come.
    fn configuration(&self, counts: &Counts) -> &'static str {
        let configuration = self.mesh.configuration();
        match (configuration.refused, counts.splits.len()) {
            (Some(_), _) => "edited with a mistake: refused, what was in force stays",
            (None, 0 | 1) => "90/10; the file is edited when half of the calls are made",
            (None, _) => "edited again: 50/50 is in force",
        }
    }

    fn line(&self, counts: &Counts) -> String {
        let Counters { retries, ejections, .. } = Counters::of(&self.mesh);
        let split = counts.splits.last().and_then(|(split, clusters)| {
            let share = Achieved::of(split, clusters)?.share() * 100.0;
            Some(format!("split {split}: {share:.1} % to reviews-v1, "))
        });
        format!(
            "{} of {} calls, {}p50 {} ms, p99 {} ms, {retries} retries, {ejections} ejections, {} failed\n",
            counts.ended(),
            self.requests,
            split.unwrap_or_default(),
            millis(counts.percentile(50)),
            millis(counts.percentile(99)),
            counts.failed,
        )
    }
}

/// Goes back to the first of `lines` lines, and clears them.
fn up_over(lines: usize) -> String {
    if lines == 0 { String::new() } else { format!("\x1b[{lines}A\x1b[J") }
}

fn show(text: &str) {
    let mut out = std::io::stdout().lock();
    // A screen that is gone is no reason to stop.
    let _gone = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// A bar that is full at 1.
fn bar(share: f64) -> String {
    let full = (0..WIDTH).filter(|at| (*at as f64) < share * WIDTH as f64).count();
    format!("{}{}", "█".repeat(full), "░".repeat(WIDTH - full))
}

/// Microseconds as milliseconds.
pub(crate) fn millis(micros: u64) -> String {
    format!("{:.1}", micros as f64 / 1_000.0)
}
