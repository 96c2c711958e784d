//! Lints of one cluster: endpoints, tables, ejection; and clusters that nobody uses.

use crate::config::cluster::ClusterSite;
use crate::config::document::Draft;
use crate::config::node::Span;
use crate::config::{code, reader::Reader};
use crate::model::outlier_detection::CapRule;
use crate::model::{ClusterSpecifier, LbAlgorithm, OutlierDetection, RouteAction};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub(super) fn check(reader: &mut Reader<'_>, site: &ClusterSite<'_>) {
    duplicates(reader, site);
    if let Some(count) = site.endpoints() {
        if count == 0 {
            reader
                .report
                .add(code::NO_ENDPOINTS, site.name, format!("`{}` has no endpoint", name(site)))
                .suggest("every call to it fails: add one, or use `dns`");
        }
        table(reader, site, count);
        if let Some(rules) = &site.value.cluster.outlier_detection {
            ejection(reader, site, rules, count);
        }
    }
    if let Some(rules) = &site.value.cluster.outlier_detection {
        ineffective(reader, site, rules);
    }
}

fn name<'s>(site: &'s ClusterSite<'_>) -> &'s Arc<str> {
    &site.value.cluster.name
}

fn duplicates(reader: &mut Reader<'_>, site: &ClusterSite<'_>) {
    let mut seen = BTreeMap::new();
    for (address, span) in &site.addresses {
        let Some(first) = seen.insert(address, *span) else { continue };
        reader
            .report
            .add(code::DUPLICATE_ENDPOINT, *span, format!("`{address}` is in this cluster already"))
            .suggest("give it a `weight` for a larger share")
            .label(first, "the first one");
    }
}

fn table(reader: &mut Reader<'_>, site: &ClusterSite<'_>, count: usize) {
    let (entries, what, option) = match site.value.cluster.lb_policy.algorithm {
        LbAlgorithm::RingHash { maximum_ring_size, .. } => {
            (maximum_ring_size, "ring has at most", "maximum_ring_size")
        }
        LbAlgorithm::Maglev { table_size, .. } => (table_size, "table has", "table_size"),
        LbAlgorithm::RoundRobin
        | LbAlgorithm::Random
        | LbAlgorithm::LeastRequest { .. }
        | LbAlgorithm::PeakEwma { .. }
        | LbAlgorithm::Custom(_) => return,
    };
    if (entries as usize) < count {
        let message = format!("the {what} {entries} entries for {count} endpoints");
        reader
            .report
            .add(code::TABLE_TOO_SMALL, site.key_span("lb"), message)
            .suggest(format!("raise {option} to a hundred entries per endpoint"));
    }
}

fn ejection(
    reader: &mut Reader<'_>,
    site: &ClusterSite<'_>,
    rules: &OutlierDetection,
    count: usize,
) {
    let percent = rules.max_ejection_percent as usize;
    // Envoy counts the endpoint about to go (`ejectHost`); gRFC A50 does not.
    let one_may_go = match rules.cap_rule {
        CapRule::Envoy => count * percent >= 100,
        CapRule::Grpc => percent > 0,
    };
    let span = site.key_span("outlier_detection");
    if count > 0 && !one_may_go && !rules.always_eject_one_endpoint {
        let message = format!(
            "no endpoint is ever ejected: one of {count} is more than max_ejection_percent {percent}"
        );
        reader.report.add(code::EJECTION_CANNOT_FIRE, span, message).suggest(format!(
            "raise max_ejection_percent to {} or set always_eject_one_endpoint",
            100_usize.div_ceil(count)
        ));
    }
    let needed = [
        ("success_rate", rules.success_rate.map(|rule| rule.minimum_hosts)),
        ("failure_percentage", rules.failure_percentage.map(|rule| rule.minimum_hosts)),
        (
            "local_origin_success_rate",
            rules.local_origin_success_rate.map(|rule| rule.minimum_hosts),
        ),
        (
            "local_origin_failure_percentage",
            rules.local_origin_failure_percentage.map(|rule| rule.minimum_hosts),
        ),
    ];
    for (rule, minimum) in needed {
        // What is on by default and can't work in a small cluster is nobody's mistake.
        let (Some(span), Some(minimum)) = (written(site, rule), minimum) else { continue };
        if minimum as usize > count {
            let message = format!("`{rule}` needs {minimum} endpoints, and there are {count}");
            reader
                .report
                .add(code::EJECTION_CANNOT_FIRE, span, message)
                .suggest("lower minimum_hosts");
        }
    }
}

/// Where a rule of outlier detection is written in the cluster itself.
fn written(site: &ClusterSite<'_>, rule: &str) -> Option<Span> {
    Some(site.node.get("outlier_detection")?.value.get(rule)?.key_span)
}

fn ineffective(reader: &mut Reader<'_>, site: &ClusterSite<'_>, rules: &OutlierDetection) {
    if rules.split_external_local_origin_errors {
        return;
    }
    for rule in [
        "consecutive_local_origin_failure",
        "enforcing_consecutive_local_origin_failure",
        "local_origin_success_rate",
        "local_origin_failure_percentage",
    ] {
        if let Some(span) = written(site, rule) {
            let message = format!("`{rule}` has no effect: local failures are not counted apart");
            reader
                .report
                .add(code::INEFFECTIVE_KEY, span, message)
                .suggest("set `split_external_local_origin_errors: true`");
        }
    }
}

/// Reports clusters that no route sends to and no port asks, unless a header may name any.
pub(super) fn check_unused(reader: &mut Reader<'_>, draft: &Draft<'_>) {
    let mut used = BTreeSet::new();
    let routes = draft.hosts.iter().flat_map(|host| &host.routes).map(|site| &site.route);
    for route in routes.chain(draft.routes_of_ports()) {
        let RouteAction::Forward(forward) = &route.action else { continue };
        match &forward.cluster {
            ClusterSpecifier::Cluster(name) => {
                used.insert(name);
            }
            ClusterSpecifier::Split(split) => {
                used.extend(split.clusters.iter().map(|part| &part.cluster));
            }
            ClusterSpecifier::Header(_) => return,
        }
    }
    used.extend(draft.inbound.values().flat_map(|site| site.value.clusters()));
    // Without virtual hosts this is a part, to be loaded beside others.
    if draft.hosts.is_empty() {
        return;
    }
    for (name, site) in &draft.clusters {
        if !used.contains(name) {
            reader
                .report
                .add(code::UNUSED_CLUSTER, site.name, format!("no route sends to `{name}`"))
                .suggest("remove it, or send something to it");
        }
    }
}
