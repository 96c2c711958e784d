//! Explanations in plain words: short rows, aligned by their labels.

use super::policies::{self, Row};
use super::report::{ChildReport, ClusterReport, EndpointReport};
use super::{Conclusion, Explained, Forward, HeaderChange, Part, Passthrough};
use crate::lb::failover::Capacity;
use crate::model::{HealthStatus, RoutingPriority};
use crate::router::RewrittenHost;
use http::{HeaderValue, Response};
use std::fmt;

/// Where texts start, after their labels.
const COLUMN: usize = 12;

impl fmt::Display for Explained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.request)?;
        write!(f, "{}", self.routing)?;
        writeln!(f)?;
        match &self.conclusion {
            Conclusion::Forward(forward) => forwarded(self, forward, f),
            Conclusion::Reply(reply) => replied(reply, f),
            Conclusion::Passthrough(why) => writeln!(f, "passes      {why}"),
            Conclusion::Refused(reason) => {
                writeln!(f, "refused     {reason}")?;
                let (flag, status) = (reason.flag(), reason.http_status());
                write!(f, "            {}, flag {flag}: ", reason.code())?;
                writeln!(f, "HTTP {status}, gRPC {}", reason.grpc_status())
            }
        }
    }
}

impl fmt::Display for Passthrough {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Observing => f.write_str("unchanged: the mesh only observes (`mode: observe`)"),
            Self::UnknownHost => {
                f.write_str("unchanged: unknown hosts may (`unknown_hosts: passthrough`)")
            }
            Self::Listed(rule) => write!(f, "unchanged: `egress.allow[{rule}]` lets it"),
            Self::Unlisted(why) => {
                write!(f, "unchanged, and told (`unknown_hosts: log`): {why}")
            }
        }
    }
}

impl fmt::Display for HeaderChange {
    /// `+ x-new: 1`, `- x-old`, `~ x-changed: 1`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&*self.before, &*self.after) {
            (_, []) => write!(f, "- {}", self.name),
            ([], after) => write!(f, "+ {}: {}", self.name, joined(after)),
            (_, after) => write!(f, "~ {}: {}", self.name, joined(after)),
        }
    }
}

fn joined(values: &[HeaderValue]) -> String {
    let texts: Vec<_> =
        values.iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
    texts.join(", ")
}

fn row(f: &mut fmt::Formatter<'_>, indent: usize, label: &str, text: &str) -> fmt::Result {
    writeln!(f, "{:indent$}{label:COLUMN$}{text}", "")
}

fn rows(f: &mut fmt::Formatter<'_>, indent: usize, rows: &[Row]) -> fmt::Result {
    rows.iter().try_for_each(|(label, text)| row(f, indent, label, text))
}

fn replied<B>(reply: &Response<B>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    row(f, 0, "answers", &reply.status().to_string())?;
    let headers = reply.headers().iter();
    headers.into_iter().try_for_each(|(name, value)| {
        row(f, 0, "", &format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())))
    })
}

fn forwarded(explained: &Explained, forward: &Forward, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    row(f, 0, "sent as", &format!("{} {}", explained.request.method, forward.path))?;
    let (first, others) = match &*forward.parts {
        [] => return Ok(()),
        [first, others @ ..] => (first, others),
    };
    let alike = others.iter().all(|part| edits(part) == edits(first));
    if alike {
        row(f, 0, "", &host(explained, first))?;
        edited(first, 0, f)?;
    }
    rows(f, 0, &policies::of_route(forward))?;
    for part in &forward.parts {
        writeln!(f)?;
        let host = (!alike).then(|| host(explained, part));
        cluster(part, forward.policies.priority, host, f)?;
    }
    Ok(())
}

fn host(explained: &Explained, part: &Part) -> String {
    match &part.host {
        RewrittenHost::Unchanged => format!("host {}", explained.request.authority()),
        RewrittenHost::To(authority) => format!("host {authority} (rewritten)"),
        RewrittenHost::EndpointHostname => "host the endpoint's hostname".to_owned(),
    }
}

/// What the clusters of a split may differ in.
fn edits(part: &Part) -> (&[HeaderChange], &[HeaderChange], &RewrittenHost) {
    (&part.request_edits, &part.response_edits, &part.host)
}

fn edited(part: &Part, indent: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (label, edits) in [("headers", &part.request_edits), ("response", &part.response_edits)] {
        for (at, edit) in edits.iter().enumerate() {
            row(f, indent, if at == 0 { label } else { "" }, &edit.to_string())?;
        }
    }
    Ok(())
}

fn cluster(
    part: &Part,
    priority: RoutingPriority,
    host: Option<String>,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    writeln!(f, "{}", part.share)?;
    let Some(report) = &part.cluster else {
        return row(f, 2, "refused", "unknown_cluster, flag NC");
    };
    if let Some(host) = host {
        row(f, 2, "sees", &host)?;
        edited(part, 2, f)?;
    }
    if report.children.is_empty() {
        endpoints(report, 2, f)?;
        return rows(f, 2, &policies::of_cluster(&report.cluster, priority));
    }
    row(f, 2, "children", &policies::discovery(&report.cluster))?;
    for child in &report.children {
        let share = format!("{:.1} % ({})", child.share * 100.0, carries(child));
        row(f, 2, "child", &format!("{}  {share}", child.cluster.cluster.name))?;
        endpoints(&child.cluster, 4, f)?;
        rows(f, 4, &policies::of_cluster(&child.cluster.cluster, priority))?;
    }
    rows(f, 2, &policies::of_aggregate(&report.cluster, priority))
}

/// Why a child gets what it gets.
fn carries(child: &ChildReport) -> String {
    let Capacity { healthy, degraded, .. } = child.capacity;
    match (&child.cluster.endpoints, healthy, degraded) {
        (None, ..) => "its endpoints are not known yet".to_owned(),
        (_, 0, 0) => "nobody in it is healthy".to_owned(),
        (_, healthy, 0) => format!("healthy endpoints for {} %", healthy.min(100)),
        (_, healthy, degraded) => {
            let (healthy, degraded) = (healthy.min(100), degraded.min(100));
            format!("healthy endpoints for {healthy} %, degraded ones for {degraded} %")
        }
    }
}

fn endpoints(report: &ClusterReport, indent: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let Some(known) = &report.endpoints else {
        return row(f, indent, "endpoints", &policies::discovery(&report.cluster));
    };
    if known.is_empty() {
        row(f, indent, "endpoints", "none: every call fails with no_endpoints, flag UH")?;
    }
    let widest = known.iter().map(|endpoint| endpoint.address.to_string().len()).max();
    let widest = widest.unwrap_or_default();
    for (at, endpoint) in known.iter().enumerate() {
        let share =
            endpoint.odds.map_or_else(|| "?".to_owned(), |odds| format!("{:.1}", odds * 100.0));
        let address = endpoint.address.to_string();
        let text = format!("{address:widest$}  {share:>5} %{}", told(endpoint));
        row(f, indent, if at == 0 { "endpoints" } else { "" }, &text)?;
    }
    for priority in &report.panic {
        let text = format!("too few of priority {priority} are healthy: all of them take calls");
        row(f, indent, "panic", &text)?;
    }
    for drop in &report.drop_overloads {
        let percent = f64::from(drop.share.as_per_million()) / 10_000.0;
        row(f, indent, "drops", &format!("{percent} % for `{}`, flag DO", drop.category))?;
    }
    match &report.hash {
        None => Ok(()),
        Some(pick) => match (&pick.hash, &pick.endpoint) {
            (None, _) => row(f, indent, "hash", "nothing to hash by: picked at random"),
            (Some(_), Some(address)) => {
                row(f, indent, "hash", &format!("this request goes to {address}"))
            }
            (Some(_), None) => row(f, indent, "hash", "of no endpoint"),
        },
    }
}

/// What is worth saying of an endpoint.
fn told(endpoint: &EndpointReport) -> String {
    let mut texts = Vec::new();
    if endpoint.weight != 1 {
        texts.push(format!("weight {}", endpoint.weight));
    }
    if endpoint.priority != 0 {
        texts.push(format!("priority {}", endpoint.priority));
    }
    let place = &endpoint.locality;
    for (what, name) in
        [("region", &place.region), ("zone", &place.zone), ("sub-zone", &place.sub_zone)]
    {
        if !name.is_empty() {
            texts.push(format!("{what} {name}"));
        }
    }
    texts.extend(health(endpoint.health).map(str::to_owned));
    if endpoint.ejected {
        texts.push("ejected".to_owned());
    }
    texts.extend(endpoint.hostname.as_ref().map(|name| format!("hostname {name}")));
    texts.extend(endpoint.tls_match.as_ref().map(|name| {
        let security = policies::security(&endpoint.tls);
        format!("{security} by the match `{name}`")
    }));
    if texts.is_empty() { String::new() } else { format!("  {}", texts.join(", ")) }
}

const fn health(health: HealthStatus) -> Option<&'static str> {
    match health {
        HealthStatus::Unknown | HealthStatus::Healthy => None,
        HealthStatus::Unhealthy => Some("unhealthy"),
        HealthStatus::Draining => Some("draining"),
        HealthStatus::Timeout => Some("timed out"),
        HealthStatus::Degraded => Some("degraded"),
    }
}
