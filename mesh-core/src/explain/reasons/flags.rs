//! The table of response flags: a sentence each for meaning, causes and what to look at.

use super::table::{Text, meaning};
use super::{CodeKind, Meaning};
use crate::local_reply::ResponseFlag as Flag;

/// Every response flag.
pub fn flags() -> impl Iterator<Item = Meaning> {
    FLAGS.iter().map(|(flag, text)| meaning(flag.as_str(), CodeKind::Flag(*flag), *text))
}

const FLAGS: [(Flag, Text); Flag::ALL.len()] = [
    (
        Flag::NoHealthyUpstream,
        [
            "No endpoint of the cluster could be picked.",
            "The cluster is empty, or all endpoints are unhealthy, draining or ejected and panic is off or fails.",
            "The counts in the error's text; ejections in the events; `mesh explain --config FILE URL` for the configuration.",
        ],
    ),
    (
        Flag::UpstreamConnectionFailure,
        [
            "No connection to the endpoint could be made; it saw nothing of the request.",
            "Nobody listens at the address, a firewall, TLS that does not fit, an overloaded host.",
            "The reason's code, which tells these apart; connect with another tool from the same host.",
        ],
    ),
    (
        Flag::UpstreamConnectionTermination,
        [
            "The connection ended before the response came.",
            "The endpoint was restarted or crashed, or closes idle connections sooner than we do.",
            "The endpoint's log at that time; the cluster's idle_timeout below the endpoint's.",
        ],
    ),
    (
        Flag::UpstreamRemoteReset,
        [
            "The endpoint reset the stream.",
            "The endpoint refused or gave up the request: a limit of its own, a panic in a handler, an early answer.",
            "The endpoint's log; the reset's code in the error's text.",
        ],
    ),
    (
        Flag::LocalReset,
        [
            "The stream was reset on this side.",
            "The request's body failed while it was sent.",
            "The source of the error: it is the body's own.",
        ],
    ),
    (
        Flag::UpstreamRequestTimeout,
        [
            "The call's timeout, or an attempt's, passed.",
            "A slow or hung endpoint, or a timeout shorter than the work.",
            "The attempts in the call's report; the route's timeout and per_try_timeout.",
        ],
    ),
    (
        Flag::UpstreamOverflow,
        [
            "A circuit breaker of the cluster was full, so nothing was sent.",
            "More calls at once than the limit: a burst, or endpoints that answer slower than before.",
            "The limit that the reason names; latency of the cluster. Raising the limit moves the queue to the endpoint.",
        ],
    ),
    (
        Flag::UpstreamRetryLimitExceeded,
        [
            "An attempt failed and was not tried again: retries or their budget were used up.",
            "Failures that are more than a passing one; the budget keeps retries from making it worse.",
            "Why the attempts failed: the call's report lists them.",
        ],
    ),
    (
        Flag::NoRouteFound,
        [
            "No virtual host serves the authority, or none of its routes matches.",
            "A misspelt name, a port that the domain excludes, a missing catch-all route.",
            "`mesh explain --config FILE URL`: it names the closest domain or route.",
        ],
    ),
    (
        Flag::NoClusterFound,
        [
            "The route names a cluster that the configuration does not have, or no cluster at all.",
            "The cluster was removed, or comes by a request header with another name.",
            "The route, and the header that it takes the cluster from.",
        ],
    ),
    (
        Flag::DownstreamConnectionTermination,
        [
            "The caller went away before the response.",
            "The caller's own timeout, a dropped future, a closed browser.",
            "How long the attempt had run, and the caller's timeout.",
        ],
    ),
    (
        Flag::StreamIdleTimeout,
        [
            "Nothing was received for longer than the idle timeout.",
            "An endpoint that hangs within a response, or a stream that is silent by design.",
            "The route's idle_timeout; keep-alive messages for streams that may be silent.",
        ],
    ),
    (
        Flag::UpstreamMaxStreamDurationReached,
        [
            "The stream lived as long as it may.",
            "A long-lived stream; the limit makes streams move to new endpoints.",
            "The route's max_stream_duration; clients of streams must reconnect.",
        ],
    ),
    (
        Flag::UpstreamProtocolError,
        [
            "The endpoint's response broke the protocol, or a limit of it.",
            "Another protocol at that port, a response head that is too large, a bug.",
            "The cluster's `protocol`, max_response_head and max_response_headers; the reason's code.",
        ],
    ),
    (
        Flag::DownstreamProtocolError,
        [
            "The request can't be sent as it is.",
            "A URI that HTTP has no form for, or a rewrite that made one.",
            "The URI, and the route's rewrites: `mesh explain --config FILE URL` shows what they make.",
        ],
    ),
    (
        Flag::DurationTimeout,
        [
            "The caller's own deadline passed.",
            "The time left at this hop was shorter than the work.",
            "The deadline that the caller sends, and where the time went before.",
        ],
    ),
    (
        Flag::NoFilterConfigFound,
        [
            "There is no configuration: none has come yet, or the mesh is shut down.",
            "A call before the first configuration, a source that can't be reached, a call after shutdown.",
            "The log of the configuration source; `Mesh::ready` before the first call.",
        ],
    ),
    (
        Flag::DropOverload,
        [
            "The cluster is overloaded, and this call is of the share that is dropped instead of sent.",
            "The control plane, or the file, says drop_overloads for the cluster's endpoints.",
            "The category in the error's text; `mesh_drops_total`; who sets the share, and the load of the endpoints.",
        ],
    ),
    (
        Flag::OverloadManager,
        [
            "The server's process is near its memory limit, and refuses requests before it is ended for it.",
            "More work than memory, a limit of the control group that is too low, clients that hold much and read nothing.",
            "`mesh_overload_used_percent` and `mesh_overload_refusing` of the server; the limit of its control group.",
        ],
    ),
];
