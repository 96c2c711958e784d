//! What happened, in plain words or as one line of JSON.

use super::Edits;
use super::events::Counters;
use super::tally::{Achieved, Counts};
use super::view::millis;
use serde_json::{Value, json};
use std::fmt::{self, Write as _};
use std::net::SocketAddr;
use std::time::Duration;

/// The result of a run.
#[derive(Debug)]
pub(crate) struct Summary {
    pub(crate) requests: u32,
    pub(crate) counts: Counts,
    pub(crate) counters: Counters,
    pub(crate) edits: Edits,
    /// Configurations that were put into force after the first.
    pub(crate) reloads: u64,
    pub(crate) sick: SocketAddr,
    pub(crate) elapsed: Duration,
}

impl Summary {
    /// Why this run is not what the example promises, if it is not.
    pub(crate) fn complaint(&self) -> Option<String> {
        let Counts { succeeded, failed, first_failure, .. } = &self.counts;
        if *succeeded == u64::from(self.requests) {
            return None;
        }
        let first = first_failure.as_deref().unwrap_or("no failure was seen");
        Some(format!("{failed} of {} calls failed, the first: {first}", self.requests))
    }

    /// One line of JSON.
    pub(crate) fn json(&self) -> Value {
        let splits = self.counts.splits.iter().filter_map(|(split, clusters)| {
            let sigmas = Achieved::of(split, clusters)?.sigmas();
            Some(json!({ "weights": split, "by_cluster": clusters, "sigmas": sigmas }))
        });
        let protocols = self.counts.by_protocol.iter();
        let protocols = protocols.map(|(protocol, count)| (protocol.as_str().to_owned(), *count));
        json!({
            "requests": self.requests,
            "succeeded": self.counts.succeeded,
            "failed": self.counts.failed,
            "by_cluster": self.counts.by_cluster(),
            "by_protocol": protocols.collect::<std::collections::BTreeMap<_, _>>(),
            "splits": splits.collect::<Vec<_>>(),
            "retries": self.counters.retries,
            "ejections": self.counters.ejections,
            "reloads": self.reloads,
            "edits_refused": u32::from(self.edits.refusal.is_some()),
            "p50_us": self.counts.percentile(50),
            "p99_us": self.counts.percentile(99),
            "elapsed_ms": u64::try_from(self.elapsed.as_millis()).unwrap_or(u64::MAX),
        })
    }

    fn splitting(&self, out: &mut impl fmt::Write) -> fmt::Result {
        for (split, clusters) in &self.counts.splits {
            let Some(achieved) = Achieved::of(split, clusters) else { continue };
            let Achieved { calls, first, wanted } = achieved;
            let (share, sigmas) = (achieved.share() * 100.0, achieved.sigmas());
            write!(
                out,
                "\nSplit {split}: {first} of {calls} calls went to reviews-v1, {share:.1} %. "
            )?;
            write!(out, "Wanted were {:.0} %; chance alone moves the share ", wanted * 100.0)?;
            let one = achieved.deviation() * 100.0;
            write!(
                out,
                "by {one:.1} points (one standard deviation), and this is {sigmas:.1} of them."
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { requests, counts, counters, edits, reloads, sick, elapsed } = self;
        let Counters { retries, ejections, .. } = counters;
        let mut text = String::new();
        write!(
            text,
            "\n{requests} calls went to http://reviews in {:.1} s, ",
            elapsed.as_secs_f64()
        )?;
        write!(text, "by turns over HTTP/1.1, HTTP/2 and gRPC. ")?;
        match self.complaint() {
            None => write!(text, "Every one of them succeeded.")?,
            Some(complaint) => write!(text, "{complaint}.")?,
        }
        let (p50, p99) = (millis(counts.percentile(50)), millis(counts.percentile(99)));
        writeln!(text, " Half took less than {p50} ms, 99 % less than {p99} ms.")?;
        self.splitting(&mut text)?;
        write!(text, "\n\nThe endpoint {sick} of reviews-v1 was sick all the time: it answered ")?;
        write!(
            text,
            "errors, was slow, or refused connections. {retries} attempts were made again "
        )?;
        write!(
            text,
            "at other endpoints, so callers saw nothing of it. After three failures in a "
        )?;
        writeln!(
            text,
            "row it was ejected, {ejections} times: each time it came back still sick."
        )?;
        if let Some(refusal) = &edits.refusal {
            write!(
                text,
                "\nThe configuration was edited while calls were running. The first edit had "
            )?;
            writeln!(text, "a mistake; it was refused and changed nothing:\n  {refusal}")?;
        }
        write!(text, "\nThe good edit was in force after {} ms ", edits.took.as_millis())?;
        writeln!(text, "({reloads} reload); no call was lost on the way.")?;
        f.write_str(&text)
    }
}
