//! What became of a call, in plain words: short rows, aligned by their labels.

use super::exchange::{Came, Failed, Received};
use http::HeaderMap;
use mesh_core::WallTime;
use mesh_tower::Error;
use mesh_tower::observe::{AttemptReport, CallReport, ConnectionReport, Phase, Phases, TlsReport};
use std::error::Error as _;
use std::fmt::Write;
use std::time::Duration;

/// Where texts start, after their labels.
const COLUMN: usize = 12;

/// All that is known of it; with `include`, headers and trailers too.
pub(super) fn human(came: &Came, include: bool, now: WallTime) -> String {
    let mut explained = came.explained.clone();
    explained.redact_credentials();
    let mut text = explained.to_string();
    text.push('\n');
    if let Some(report) = came.report() {
        for (attempt, number) in report.attempts.iter().zip(1_u32..) {
            told(&mut text, attempt, number, now);
        }
        times(&mut text, report);
    }
    if let Some(received) = &came.received {
        response(&mut text, came, received, include);
    }
    match &came.failed {
        Some(Failed::Mesh(error)) => failed(&mut text, error),
        Some(Failed::Late(limit)) => {
            row(&mut text, "failed", &format!("no end of it within {}", time(*limit)));
        }
        None => {}
    }
    text
}

fn row(text: &mut String, label: &str, value: &str) {
    // Writing to memory does not fail.
    let _written = writeln!(text, "{label:COLUMN$}{value}");
}

fn told(text: &mut String, attempt: &AttemptReport, number: u32, now: WallTime) {
    let endpoint = match &attempt.endpoint {
        Some(endpoint) => endpoint.to_string(),
        None => "no endpoint".to_owned(),
    };
    let cluster = attempt.cluster.as_ref().map(|of| format!(" of `{of}`")).unwrap_or_default();
    let begun = match attempt.started.is_zero() {
        true => String::new(),
        false => format!(", begun after {}", time(attempt.started)),
    };
    let value =
        format!("{endpoint}{cluster}: {} in {}{begun}", attempt.outcome, time(attempt.duration));
    row(text, &format!("attempt {number}"), &value);
    if let Some(connection) = &attempt.connection {
        connected(text, connection, now);
    }
    let phases = list(&attempt.phases);
    if !phases.is_empty() {
        row(text, "  phases", &phases);
    }
}

fn connected(text: &mut String, connection: &ConnectionReport, now: WallTime) {
    let age = if connection.reused { "used before" } else { "new" };
    let security = match &connection.tls {
        Some(tls) => {
            let mutual = if tls.mutual { "mutual " } else { "" };
            format!("{mutual}{} with {}", tls.version, tls.cipher)
        }
        None => "plaintext".to_owned(),
    };
    row(text, "  over", &format!("{:?}, {age}, {security}", connection.version));
    if let Some(tls) = &connection.tls {
        row(text, "  peer", &peer(tls, now));
    }
}

fn peer(tls: &TlsReport, now: WallTime) -> String {
    let name = match &*tls.peer {
        "" => "a certificate without a name".to_owned(),
        name => name.escape_debug().to_string(),
    };
    format!(
        "{name}; its certificate ends in {}",
        left(tls.peer_until.saturating_duration_since(now))
    )
}

/// A length of time in its largest unit of which there are two.
fn left(duration: Duration) -> String {
    let units = [(86_400, "days"), (3_600, "hours"), (60, "minutes")];
    let seconds = duration.as_secs();
    let fitting = units.into_iter().find(|(unit, _)| seconds / unit >= 2);
    let (unit, name) = fitting.unwrap_or((1, "seconds"));
    format!("{} {name}", seconds / unit)
}

fn times(text: &mut String, report: &CallReport) {
    if !report.attempts.is_empty() {
        let body = report.body_duration().map(|body| format!(", {} for the body", time(body)));
        let head = format!("{} to the head{}", time(report.duration), body.unwrap_or_default());
        let own = list(&report.phases);
        let separator = if own.is_empty() { "" } else { "; " };
        row(text, "time", &format!("{head}{separator}{own}"));
    }
    if let Some(stop) = report.retry_stop {
        row(text, "no retry", &format!("{0} (`mesh explain {0}`)", stop.code()));
    }
}

/// Phases with their times; the body's is told elsewhere, and what took none is not worth a word.
fn list(phases: &Phases) -> String {
    let told = phases.iter().filter(|(phase, of)| *phase != Phase::Body && !of.is_zero());
    let told: Vec<_> =
        told.map(|(phase, duration)| format!("{} {}", phase.as_str(), time(duration))).collect();
    told.join(", ")
}

fn response(text: &mut String, came: &Came, received: &Received, include: bool) {
    row(text, "status", &received.head.status.to_string());
    if let Some(status) = came.grpc_status() {
        let message = came.grpc_message().map(|message| format!(": {message}"));
        row(text, "grpc-status", &format!("{status}{}", message.unwrap_or_default()));
    }
    let bytes = format!("{} sent, {} received", came.sent, received.bytes);
    row(text, "bytes", &bytes);
    if include {
        listed(text, "headers", &received.head.headers);
        if let Some(trailers) = &received.trailers {
            listed(text, "trailers", trailers);
        }
    }
}

fn listed(text: &mut String, label: &str, headers: &HeaderMap) {
    for (at, (name, value)) in headers.iter().enumerate() {
        let value = format!("{name}: {}", value.as_bytes().escape_ascii());
        row(text, if at == 0 { label } else { "" }, &value);
    }
}

fn failed(text: &mut String, error: &Error) {
    let extra = error.extra_flag().map(|flag| format!(",{flag}")).unwrap_or_default();
    row(text, "failed", &format!("{}{extra}: {error}", error.response_flag()));
    for cause in causes(error) {
        row(text, "", &format!("because {cause}"));
    }
    row(text, "", &format!("what to do about it: `mesh explain {}`", error.code()));
}

/// What caused an error, as far as it is known and said.
pub(super) fn causes(error: &Error) -> Vec<String> {
    let mut texts: Vec<String> = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next.filter(|_| texts.len() < MAX_CAUSES) {
        texts.push(cause.to_string());
        next = cause.source();
    }
    texts
}

const MAX_CAUSES: usize = 8;

/// A duration as it is read: three digits or more, in the unit that fits.
pub(super) fn time(duration: Duration) -> String {
    let micros = duration.as_micros();
    match micros {
        0..1_000 => format!("{micros} µs"),
        1_000..1_000_000 => format!("{}.{:02} ms", micros / 1_000, micros % 1_000 / 10),
        _ => format!("{}.{:03} s", micros / 1_000_000, micros % 1_000_000 / 1_000),
    }
}
