//! What happened, in plain words or as one line of JSON.

use super::Edits;
use super::events::Counters;
use super::mtls::Secured;
use super::tally::{Achieved, Counts, Protocol};
use super::view::millis;
use serde_json::{Value, json};
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

/// The result of a run.
#[derive(Debug)]
pub(crate) struct Summary {
    pub(crate) requests: u32,
    /// What the mesh learnt from: `file` or `xds`.
    pub(crate) source: &'static str,
    pub(crate) counts: Counts,
    pub(crate) counters: Counters,
    pub(crate) edits: Edits,
    /// Configurations that were put into force after the first.
    pub(crate) reloads: u64,
    /// With mutual TLS.
    pub(crate) secured: Option<Secured>,
    pub(crate) sick: SocketAddr,
    pub(crate) elapsed: Duration,
}

/// What chance alone does to a split, in standard deviations: less than once in 15,000 runs.
const CHANCE: f64 = 4.0;
/// From so many calls on a split can be judged by that, and the sick endpoint gets ejected.
const ENOUGH: u32 = 500;

impl Summary {
    /// Why this run is not what the example promises, if it is not.
    pub(crate) fn complaint(&self) -> Option<String> {
        let mut complaints: Vec<_> =
            [self.lost(), self.not_edited()].into_iter().flatten().collect();
        if self.requests >= ENOUGH {
            complaints.extend(self.off_the_split());
            if self.counters.ejections == 0 {
                complaints.push("the sick endpoint was never ejected".to_owned());
            }
        }
        complaints.extend(self.secured.as_ref().and_then(|it| it.complaint(self.elapsed)));
        (!complaints.is_empty()).then(|| complaints.join("; "))
    }

    fn lost(&self) -> Option<String> {
        let Counts { succeeded, failed, first_failure, .. } = &self.counts;
        let first = first_failure.as_deref().unwrap_or("no failure was seen");
        let lost = *succeeded != u64::from(self.requests);
        lost.then(|| format!("{failed} of {} calls failed, the first: {first}", self.requests))
    }

    fn not_edited(&self) -> Option<String> {
        if self.edits.refusal.is_none() {
            return Some("the edit with a mistake was not refused".to_owned());
        }
        let splits: Vec<_> = self.counts.splits.iter().map(|(split, _)| split.as_str()).collect();
        // A file changes as a whole; resources come from a control plane one by one.
        let reloaded = if self.source == "file" { self.reloads == 1 } else { self.reloads > 0 };
        let as_told = reloaded && splits == ["90/10", "50/50"];
        (!as_told).then(|| format!("{} reloads, and calls by the splits {splits:?}", self.reloads))
    }

    fn off_the_split(&self) -> impl Iterator<Item = String> {
        self.counts.splits.iter().filter_map(|(split, clusters)| {
            let sigmas = Achieved::of(split, clusters).map_or(f64::INFINITY, |a| a.sigmas());
            let off = sigmas.is_nan() || sigmas > CHANCE;
            off.then(|| format!("split {split} is {sigmas:.1} standard deviations off"))
        })
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
            "source": self.source,
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
            "mtls": self.secured.as_ref().map(Secured::json),
            "elapsed_ms": u64::try_from(self.elapsed.as_millis()).unwrap_or(u64::MAX),
        })
    }

    fn splitting(&self, out: &mut impl fmt::Write) -> fmt::Result {
        for (split, clusters) in &self.counts.splits {
            let Some(achieved) = Achieved::of(split, clusters) else { continue };
            let (share, sigmas) = (achieved.share() * 100.0, achieved.sigmas());
            write!(out, "  split {split}    {share:.1} % of {} calls went to ", achieved.calls)?;
            writeln!(out, "reviews-v1: {sigmas:.1} standard deviations off")?;
        }
        Ok(())
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { requests, source, counts, counters, edits, sick, elapsed, .. } = self;
        let Counters { retries, ejections, .. } = counters;
        let seconds = elapsed.as_secs_f64();
        writeln!(f, "\n{requests} calls to http://reviews in {seconds:.1} s, in turn over")?;
        let Counts { succeeded, failed, .. } = counts;
        writeln!(f, "HTTP/1.1, HTTP/2 and gRPC: {succeeded} succeeded, {failed} failed.\n")?;
        if !counts.by_protocol.contains_key(&Protocol::Http1) {
            writeln!(f, "  HTTP/1.1       over HTTP/2, as TLS agreed on (ALPN)")?;
        }
        self.splitting(f)?;
        let (p50, p99) = (millis(counts.percentile(50)), millis(counts.percentile(99)));
        writeln!(
            f,
            "  latency        p50 {p50} ms, p99 {p99} ms; an attempt has 250 ms, a call 5 s"
        )?;
        write!(f, "  sick endpoint  {sick}, ejected {ejections} times; ")?;
        writeln!(f, "{retries} attempts made again at others")?;
        match &edits.refusal {
            Some(refusal) => writeln!(f, "  bad edit       refused: {refusal}")?,
            None => writeln!(f, "  bad edit       not refused")?,
        }
        let took = edits.took.as_millis();
        let through = if *source == "xds" { ", through mesh ads" } else { "" };
        writeln!(
            f,
            "  good edit      in force after {took} ms, while calls were running{through}"
        )?;
        self.secured.as_ref().map_or(Ok(()), |secured| secured.fmt(f))
    }
}
