//! Hash policies that have nothing to hash by unless the program sees to it.

use crate::config::cluster::ClusterSite;
use crate::config::node::Span;
use crate::config::virtual_host::RouteSite;
use crate::config::{code, reader::Reader};
use crate::model::{ClusterSpecifier, HashPolicy, HashSource, RouteAction, SplitBy};

pub(super) fn check_route(reader: &mut Reader<'_>, site: &RouteSite<'_>) {
    let RouteAction::Forward(forward) = &site.route.action else { return };
    // Only the route's own: a default is for those who can use it.
    if site.node.get("hash").is_some() {
        check(reader, &forward.hash_policy, site.span("hash"));
    }
    if let ClusterSpecifier::Split(split) = &forward.cluster
        && let SplitBy::Hash(inputs) = &split.by
    {
        check(reader, inputs, site.span("split_by"));
    }
}

pub(super) fn check_cluster(reader: &mut Reader<'_>, site: &ClusterSite<'_>) {
    check(reader, &site.value.cluster.lb_policy.hash_policy, site.key_span("lb"));
}

fn check(reader: &mut Reader<'_>, inputs: &[HashPolicy], span: Span) {
    let missing = |input: &HashPolicy| match input.source {
        HashSource::SourceIp => Some("source_ip"),
        HashSource::PeerIdentity => Some("peer_identity"),
        HashSource::Header { .. }
        | HashSource::Cookie { .. }
        | HashSource::QueryParameter(_)
        | HashSource::ChannelId => None,
    };
    let Some(names) = inputs.iter().map(missing).collect::<Option<Vec<_>>>() else { return };
    if let Some(name) = names.first() {
        let message = format!("a call has a `{name}` only where its extensions hold a `Peer`");
        reader.report.add(code::HASH_INPUT_MISSING, span, message).suggest(
            "put `mesh_tower::Peer` there, or hash by a header, a cookie or a query parameter",
        );
    }
}
