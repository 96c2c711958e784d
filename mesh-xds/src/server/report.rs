//! [`Clients`] for people and for programs: JSON and Prometheus text.
//!
//! Metrics carry no names of clients: their number is bounded by kinds and variants, whoever connects.

use super::clients::{Client, Clients, Progress, Totals};
use crate::ResourceType;
use crate::protocol::Variant;
use serde_json::{Map, Value, json};
use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

type Count = fn(&Totals) -> u64;

impl Clients {
    /// Who is connected, the oldest first, as an array of objects.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let now = SystemTime::now();
        self.connected().iter().map(|client| object(client, now)).collect()
    }

    /// Counts in the Prometheus text format.
    #[must_use]
    pub fn to_prometheus(&self) -> String {
        let (connected, totals) = (self.connected(), self.totals());
        let mut text = String::new();
        family(&mut text, "mesh_ads_clients", "gauge", "Streams of clients that are open.");
        for variant in [Variant::StateOfTheWorld, Variant::Delta] {
            let count = connected.iter().filter(|client| client.variant == variant).count();
            let word = word(variant);
            line(&mut text, "mesh_ads_clients", "variant", word, count);
        }
        let refused = "mesh_ads_refused_streams_total";
        family(&mut text, refused, "counter", "Streams that were refused: there were too many.");
        // Writing to a String does not fail.
        let _infallible = writeln!(text, "{refused} {}", self.refused_streams());
        let refused = "mesh_ads_refused_connections_total";
        family(&mut text, refused, "counter", "Connections that ended before they were secure.");
        let _infallible = writeln!(text, "{refused} {}", self.refused_connections());
        let crowded = "mesh_ads_crowded_out_connections_total";
        family(&mut text, crowded, "counter", "Handshakes that were ended for the next ones.");
        let _infallible = writeln!(text, "{crowded} {}", self.crowded_out_connections());
        let counts: [(&str, &str, Count); 3] = [
            ("mesh_ads_pushes_total", "Responses that were sent.", |totals| totals.pushes),
            ("mesh_ads_acks_total", "Responses that were accepted.", |totals| totals.acks),
            ("mesh_ads_nacks_total", "Responses that were refused.", |totals| totals.nacks),
        ];
        let of = |kind: ResourceType| totals.get(&kind).copied().unwrap_or_default();
        for (name, help, value) in counts {
            family(&mut text, name, "counter", help);
            for kind in ResourceType::ALL {
                line(&mut text, name, "type", &kind.to_string(), value(&of(kind)));
            }
        }
        let name = "mesh_ads_clients_refusing";
        family(&mut text, name, "gauge", "Clients whose last answer was a refusal.");
        for kind in ResourceType::ALL {
            let refuses = |client: &&Client| {
                client.kinds.get(&kind).is_some_and(|progress| progress.nacked.is_some())
            };
            let count = connected.iter().filter(refuses).count();
            line(&mut text, name, "type", &kind.to_string(), count);
        }
        let name = "mesh_ads_ack_lag_seconds";
        family(&mut text, name, "summary", "Time from a response to its acceptance.");
        for kind in ResourceType::ALL {
            let totals = of(kind);
            let kind = kind.to_string();
            line(&mut text, &format!("{name}_sum"), "type", &kind, totals.lag.as_secs_f64());
            line(&mut text, &format!("{name}_count"), "type", &kind, totals.acks);
        }
        text
    }
}

fn family(text: &mut String, name: &str, kind: &str, help: &str) {
    let _infallible = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn line(text: &mut String, name: &str, label: &str, value: &str, number: impl std::fmt::Display) {
    let _infallible = writeln!(text, "{name}{{{label}=\"{value}\"}} {number}");
}

const fn word(variant: Variant) -> &'static str {
    match variant {
        Variant::StateOfTheWorld => "sotw",
        Variant::Delta => "delta",
    }
}

fn object(client: &Client, now: SystemTime) -> Value {
    let kinds: Map<_, _> =
        client.kinds.iter().map(|(kind, progress)| (kind.to_string(), of_kind(progress))).collect();
    // A clock that was set back makes no negative age.
    let since = |from: SystemTime, to: SystemTime| to.duration_since(from).unwrap_or_default();
    json!({
        "id": client.id,
        "node": client.node_id,
        "variant": word(client.variant),
        "peer": client.peer.map(|peer| peer.to_string()),
        "identity": client.identity.as_deref(),
        "since_unix": since(SystemTime::UNIX_EPOCH, client.since).as_secs(),
        "connected_seconds": since(client.since, now).as_secs(),
        "types": kinds,
    })
}

fn of_kind(progress: &Progress) -> Value {
    let nacked = progress.nacked.as_ref();
    json!({
        "sent": progress.sent,
        "acked": progress.acked,
        "nacked": nacked.map(|nack| json!({ "version": nack.version, "why": nack.message })),
        "pushes": progress.totals.pushes,
        "acks": progress.totals.acks,
        "nacks": progress.totals.nacks,
        "unanswered": progress.unanswered(),
        "last_lag_ms": progress.lag.map(|lag: Duration| lag.as_secs_f64() * 1000.0),
    })
}
