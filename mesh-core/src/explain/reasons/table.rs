//! The table of reasons: a sentence each for meaning, causes and what to look at.

use super::{CodeKind, Meaning};
use crate::egress::EgressRefusal;
use crate::local_reply::Reason;
use crate::outcome::{
    ConnectFailure, Failure, NoEndpoint, Overflow, Processed, ProtocolFailure, ResetReason,
};
use std::time::Duration;

/// Meaning, causes, what to look at.
pub(super) type Text = [&'static str; 3];

pub(super) const fn meaning(code: &'static str, kind: CodeKind, text: Text) -> Meaning {
    let [meaning, causes, look_at] = text;
    Meaning { code, kind, meaning, causes, look_at }
}

/// Every reason.
pub fn reasons() -> impl Iterator<Item = Meaning> {
    // A category is no constant, so this one is not in the table.
    let dropped = Reason::Attempt(Failure::Dropped { category: "".into() });
    let all = REASONS.iter().cloned().chain([(dropped, DROPPED)]);
    all.map(|(reason, text)| meaning(reason.code(), CodeKind::Reason(reason), text))
}

const DROPPED: Text = [
    "The cluster is overloaded, and this attempt is of the share that is dropped; nothing was sent.",
    "drop_overloads of the cluster's endpoints: a control plane that sheds load, or a file.",
    "The category in the error's text; who sets the share. A dropped call is not retried.",
];

const fn connect(failure: ConnectFailure) -> Reason {
    Reason::Attempt(Failure::Connect(failure))
}

const fn reset(reason: ResetReason) -> Reason {
    Reason::Attempt(Failure::Reset { reason, processed: Processed::Maybe })
}

const fn no_endpoint(total: u32, unresolved: bool) -> Reason {
    Reason::Attempt(Failure::NoEndpoint(NoEndpoint {
        total,
        healthy: 0,
        degraded: 0,
        unhealthy: total,
        draining: 0,
        ejected: 0,
        unresolved,
    }))
}

static REASONS: &[(Reason, Text)] = &[
    (
        Reason::NoVirtualHost,
        [
            "No virtual host serves the authority.",
            "A misspelt name, a port that the domain excludes, a configuration of another mesh.",
            "`domains` of the virtual hosts; `mesh explain --config FILE URL` names the closest. `unknown_hosts: passthrough` lets such calls pass.",
        ],
    ),
    (
        Reason::EgressRefused(EgressRefusal::NotListed),
        [
            "No virtual host serves the host, and `egress.allow` has not got it.",
            "A destination that nobody listed, an address where a name is listed, a name that leads to a private address, a `Host` that is not the authority, a redirect that was followed.",
            "The error's text says which rule; `egress: { learn: FILE }` with `unknown_hosts: log` writes the list that would be needed.",
        ],
    ),
    (
        Reason::NoRoute,
        [
            "No route of the virtual host matches.",
            "A method, header or path that no route wants; no catch-all route at the end.",
            "`mesh explain --config FILE URL`: it says what each route missed.",
        ],
    ),
    (
        Reason::ClusterHeaderMissing,
        [
            "The route takes its cluster from a header that the request lacks.",
            "The caller, or a hop before, did not set it.",
            "The route's `cluster_header`, and who is to set it.",
        ],
    ),
    (
        Reason::UnknownCluster,
        [
            "The cluster that was chosen is not in the configuration.",
            "A header that names another cluster, or a control plane that sent routes without their clusters.",
            "The name in the error; `cluster_header` of the route.",
        ],
    ),
    (
        Reason::NotConfigured,
        [
            "No configuration has come yet.",
            "A call before the first configuration; a source that can't be reached or whose first version was refused.",
            "The log of the source; await `Mesh::ready` before the first call.",
        ],
    ),
    (
        Reason::ShutDown,
        [
            "The mesh is shut down, so it takes no calls.",
            "A call after `Mesh::shutdown`, for example from a task that outlives it.",
            "The order of shutting down: callers first.",
        ],
    ),
    (
        Reason::Timeout,
        [
            "The call's timeout passed, retries included.",
            "A slow endpoint, retries that ate the time up, or a timeout shorter than the work (15s by default).",
            "The attempts in the call's report; the route's timeout.",
        ],
    ),
    (
        Reason::DeadlineExceeded,
        [
            "The deadline that the caller gave passed.",
            "The time left at this hop was shorter than the work.",
            "What the caller sends (`grpc-timeout`, `x-envoy-expected-rq-timeout-ms`), and where the time went before.",
        ],
    ),
    (
        Reason::MaxStreamDuration,
        [
            "The stream lived as long as it may.",
            "A long-lived stream.",
            "The route's max_stream_duration; clients of streams must reconnect.",
        ],
    ),
    (
        Reason::IdleTimeout,
        [
            "Nothing was received for longer than the idle timeout.",
            "An endpoint that hangs within a response, or a stream that is silent by design.",
            "The route's idle_timeout.",
        ],
    ),
    (
        connect(ConnectFailure::Refused),
        [
            "The endpoint's host refused the connection, or the Unix socket is not there.",
            "The process is down or listens elsewhere.",
            "Whether something listens at the address and port.",
        ],
    ),
    (
        connect(ConnectFailure::Unreachable),
        [
            "There is no way to the endpoint's network or host.",
            "A missing route or interface; IPv6 addresses where there is no IPv6.",
            "The routing table of this host, and the address.",
        ],
    ),
    (
        connect(ConnectFailure::Timeout),
        [
            "The connection, TLS included, was not there in time.",
            "A firewall that drops packets, an address that is gone, an overloaded host.",
            "The cluster's connect_timeout; connect with another tool from the same host.",
        ],
    ),
    (
        connect(ConnectFailure::Tls),
        [
            "The TLS handshake failed.",
            "A certificate that is broken or of a kind that is not used in TLS; crypto that failed.",
            "The source of the error; the certificate of the endpoint.",
        ],
    ),
    (
        connect(ConnectFailure::TlsUntrusted),
        [
            "The endpoint's certificate does not lead to a root that we believe.",
            "Another trust domain or authority; roots that were renewed here or there, and not on the other side; an intermediate that the endpoint does not send.",
            "The source of the error, which names the issuer, the roots and their age; the cluster's `tls`: roots.",
        ],
    ),
    (
        connect(ConnectFailure::TlsName),
        [
            "The endpoint proved to be somebody else than the cluster says.",
            "A wrong service account or trust domain in `san`, another service behind the address, a hostname that the certificate does not have.",
            "The source of the error, which names who came and who was expected; the cluster's `tls`: san, sni.",
        ],
    ),
    (
        connect(ConnectFailure::TlsExpired),
        [
            "The endpoint's certificate is over.",
            "Its renewal does not work, or it does not take up what was renewed; a clock that is ahead.",
            "The end of the certificate in the source of the error; the clocks of both hosts.",
        ],
    ),
    (
        connect(ConnectFailure::TlsNotYetValid),
        [
            "The endpoint's certificate has not begun.",
            "A clock that is behind, of this host or of the one that issues certificates.",
            "The beginning of the certificate in the source of the error; the clocks.",
        ],
    ),
    (
        connect(ConnectFailure::TlsRevoked),
        [
            "The endpoint's certificate was revoked.",
            "Its key was lost, and the endpoint still uses it; or an attacker does.",
            "The serial number in the source of the error; who revoked it.",
        ],
    ),
    (
        connect(ConnectFailure::TlsRevocationUnknown),
        [
            "Nothing says whether the endpoint's certificate was revoked, and the cluster's lists must.",
            "`crl` without the list of an issuer in the chain; a list that is over and was not renewed.",
            "The source of the error; the lists in the cluster's `crl`: one of each issuer, and when the next is due.",
        ],
    ),
    (
        connect(ConnectFailure::TlsRefused),
        [
            "The endpoint ended the handshake because of what we showed: no certificate, or one that it does not believe.",
            "A cluster with TLS but without an identity of ours; roots that the endpoint does not have; a certificate of ours that is over for the endpoint's clock; a policy that does not know us.",
            "The source of the error, which names what we showed and the alert; the endpoint's own log.",
        ],
    ),
    (
        connect(ConnectFailure::TlsProtocol),
        [
            "The endpoint does not speak TLS, or no version, cipher or ALPN protocol that we do.",
            "Plaintext at that port; `protocol: http2` to an endpoint that only speaks HTTP/1.1.",
            "The cluster's `tls` and `protocol`; what listens at the port.",
        ],
    ),
    (
        connect(ConnectFailure::IdentityUnavailable),
        [
            "The cluster wants the mesh's own identity, and there is none that is valid; nothing is sent without it.",
            "None was given; its source has not delivered yet, or delivers what can't be used; it is over and was not renewed.",
            "The source of the error; `Mesh::identities`, and the log of target `mesh::identity`.",
        ],
    ),
    (
        connect(ConnectFailure::TlsUnavailable),
        [
            "The cluster wants TLS, and the transport in use can't do it; nothing is sent in the clear.",
            "A transport of your own below the mesh.",
            "The cluster's `tls`; if the transport secures itself, say so when building the layer.",
        ],
    ),
    (
        connect(ConnectFailure::SecretUnavailable),
        [
            "The cluster names a secret that is missing or of the wrong kind; nothing is sent without it.",
            "The control plane does not serve it or it was refused; after a start from a copy, no key came yet.",
            "The source of the error, which names the secret; SDS in the status of the control plane.",
        ],
    ),
    (
        connect(ConnectFailure::Handshake),
        [
            "The peer closed, or spoke another protocol, before the connection could be used.",
            "HTTP/2 to a server that speaks HTTP/1.1 only, or something else at that port.",
            "The cluster's `protocol`.",
        ],
    ),
    (
        connect(ConnectFailure::OwnPort),
        [
            "The endpoint is a port of `outbound` of this very proxy, which would send to itself; it does not connect.",
            "The address of the proxy was written in place of the service's; a name that resolves to this machine.",
            "The cluster's endpoints, and `listen` of the ports of `outbound`.",
        ],
    ),
    (
        connect(ConnectFailure::RuntimeGone),
        [
            "The runtime that connections live on has ended.",
            "The mesh was built on a runtime that stopped before its users, often a test's.",
            "`Builder::runtime`: give it a runtime that outlives the calls.",
        ],
    ),
    (
        connect(ConnectFailure::Other),
        [
            "Connecting failed for another reason of the system.",
            "No free file descriptors or ports, a forbidden address.",
            "The source of the error; the limits of this process.",
        ],
    ),
    (
        reset(ResetReason::RefusedStream),
        [
            "The endpoint refused the stream before it did anything (REFUSED_STREAM).",
            "More streams than the endpoint takes at once, or it is shutting down.",
            "The endpoint's limit of concurrent streams. Such calls are sent again elsewhere while transparent_retry is on.",
        ],
    ),
    (
        reset(ResetReason::GoAway),
        [
            "The endpoint went away (GOAWAY) before it did anything with the stream.",
            "A restart or a limit on connection age.",
            "Such calls are sent again while transparent_retry is on; otherwise nothing is wrong.",
        ],
    ),
    (
        reset(ResetReason::Remote(0)),
        [
            "The endpoint reset the stream.",
            "A limit of its own, a panic in a handler, an answer before the request's end.",
            "The endpoint's log; the code in the error's text.",
        ],
    ),
    (
        reset(ResetReason::ConnectionTermination),
        [
            "The connection ended before the response head.",
            "The endpoint crashed or restarted, or closes idle connections sooner than we do.",
            "The endpoint's log; idle_timeout of the cluster below the endpoint's.",
        ],
    ),
    (
        reset(ResetReason::RequestBody),
        [
            "The caller's request body failed while it was sent.",
            "The stream that the body is made of ended with an error.",
            "The source of the error: it is the body's own.",
        ],
    ),
    (
        reset(ResetReason::Local),
        [
            "The stream was reset on this side.",
            "A drain deadline passed, or the connection was closed for another reason of ours.",
            "What was going on: a shutdown, a removed endpoint.",
        ],
    ),
    (
        Reason::Attempt(Failure::PerTryTimeout),
        [
            "The last attempt took longer than an attempt may.",
            "A slow endpoint; a per_try_timeout shorter than the work.",
            "The route's retry.per_try_timeout beside the endpoint's latency.",
        ],
    ),
    (
        Reason::Attempt(Failure::Overflow(Overflow::Requests)),
        [
            "The circuit breaker's max_requests is reached: too many attempts in flight.",
            "A burst, or endpoints that answer slower than before.",
            "Latency of the cluster first; then circuit_breakers.max_requests (1024 by default).",
        ],
    ),
    (
        Reason::Attempt(Failure::Overflow(Overflow::Pending)),
        [
            "The circuit breaker's max_pending_requests is reached: too many calls wait for a connection.",
            "Connections are slow to come, or too few for HTTP/1.1.",
            "Connect failures; circuit_breakers.max_pending_requests and max_connections.",
        ],
    ),
    (
        Reason::Attempt(Failure::Overflow(Overflow::Connections)),
        [
            "The circuit breaker's max_connections is reached.",
            "HTTP/1.1 needs a connection for each call in flight.",
            "circuit_breakers.max_connections and max_connections_per_endpoint; `protocol: http2` needs few.",
        ],
    ),
    (
        Reason::Attempt(Failure::Overflow(Overflow::Retries)),
        [
            "The circuit breaker's max_retries is reached: too many retries at once.",
            "Much fails at the same time.",
            "Why attempts fail; circuit_breakers.max_retries, which Envoy's files set to 3.",
        ],
    ),
    (
        no_endpoint(0, true),
        [
            "The cluster's name did not resolve, so it has no endpoints.",
            "A misspelt name, a record that does not exist yet, a name server that fails.",
            "The error's source, which says what the name server said; the cluster's `dns` or `logical_dns`.",
        ],
    ),
    (
        no_endpoint(0, false),
        [
            "The cluster has no endpoints.",
            "An empty list, a name that resolves to nothing, a control plane that knows none.",
            "The cluster's `endpoints` or `dns`; the resolver.",
        ],
    ),
    (
        no_endpoint(1, false),
        [
            "The cluster has endpoints, and none may be picked.",
            "All are unhealthy, draining or ejected, and panic is off (panic_threshold 0) or fails.",
            "The counts in the error's text; the events about ejections; panic_threshold and fail_traffic_on_panic.",
        ],
    ),
    (
        Reason::Attempt(Failure::Protocol(ProtocolFailure::ResponseHeadTooLarge)),
        [
            "The response head is larger than the limit, or has more headers; over HTTP/2 it may be malformed instead, which looks the same.",
            "Cookies or headers that grow; 64 KiB and 100 headers are allowed by default. Over HTTP/2 also headers that it forbids, as `connection`, or no `:status`.",
            "The cluster's max_response_head and max_response_headers; what the endpoint answers.",
        ],
    ),
    (
        Reason::Attempt(Failure::Protocol(ProtocolFailure::InvalidResponse)),
        [
            "The response can't be read.",
            "Another protocol at that port, or a bug of the endpoint.",
            "The source of the error; the cluster's `protocol`.",
        ],
    ),
    (
        Reason::Attempt(Failure::Protocol(ProtocolFailure::InvalidRequest)),
        [
            "The request can't be sent as it is.",
            "A URI without authority, or a rewrite or redirect that made one that HTTP has no form for.",
            "The URI; `mesh explain --config FILE URL` shows what rewrites make of it.",
        ],
    ),
    (
        Reason::Attempt(Failure::Protocol(ProtocolFailure::VersionUnsupported)),
        [
            "The endpoint does not speak the protocol that the call needs.",
            "A gRPC call to a cluster with `protocol: http1`, or ALPN that chose HTTP/1.1.",
            "The cluster's `protocol`.",
        ],
    ),
    (
        Reason::Attempt(Failure::Cancelled { elapsed: Duration::ZERO, headers_seen: false }),
        [
            "The caller dropped the call before its response.",
            "A timeout around the call, a select that chose another branch, a client that went away.",
            "The time that the attempt had run. `count_cancelled_after` lets outlier detection see endpoints that hang.",
        ],
    ),
];
