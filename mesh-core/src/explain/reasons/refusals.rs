//! The table of what servers refuse requests for: a sentence each for meaning, causes and what to look at.

use super::table::{Text, meaning};
use super::{CodeKind, Meaning};

/// Every reason for which a server refuses a request: before its filters ([`Refusal::code`](crate::inbound::Refusal::code)),
/// and by them (Envoy: response code details).
pub fn refusals() -> impl Iterator<Item = Meaning> {
    REFUSALS.iter().map(|(code, text)| meaning(code, CodeKind::Refusal, *text))
}

const REFUSALS: &[(&str, Text)] = &[
    (
        "no_connection",
        [
            "Nobody knows which connection the request came on, so nobody knows who asks.",
            "A service with the server's layer is called without the mesh's acceptor.",
            "Serve it with Mesh::server, or put a Connection into the request's extensions.",
        ],
    ),
    (
        "other_listener",
        [
            "The connection was accepted by another listener than the one whose rules are asked.",
            "One service with two layers, or a layer made for another name.",
            "The names that Mesh::server and ServerLayer were given.",
        ],
    ),
    (
        "no_listener",
        [
            "The configuration has no listener of this name.",
            "A name that was misspelt, or a control plane that has not answered, or has removed it.",
            "`inbound` of the file; /listeners and /config_dump of the admin.",
        ],
    ),
    (
        "chain_gone",
        [
            "What the connection was accepted for is not served any more; the caller connects anew.",
            "The listener was changed: mtls, its rules of connections, or the name of the chain.",
            "When the configuration changed; callers that connect again are served.",
        ],
    ),
    (
        "connection_over",
        [
            "The connection was told to end, because its client's certificate is over or not trusted any more.",
            "A client that goes on after GOAWAY, or that does not renew its certificate.",
            "The client's certificate (`mesh certs show`) and its renewal.",
        ],
    ),
    (
        "not_http",
        [
            "The listener passes bytes on and reads no requests.",
            "A layer for requests was put on a port of `protocol: tcp`.",
            "The port's protocol.",
        ],
    ),
    (
        "host",
        [
            "The request names no host, several, or one that is none.",
            "A client that writes heads by hand; an attempt to be routed as one host and served as another.",
            "Its Host and :authority: one, with an optional port (RFC 9110 section 7.2).",
        ],
    ),
    (
        "path",
        [
            "The path has no one reading: an escape that is none, a zero byte, `..;`, or an escaped slash that is refused.",
            "A client that does not escape `%`; an attempt to pass by a rule about a path.",
            "The path in the access log; `mesh explain --inbound PORT PATH`.",
        ],
    ),
    (
        "head_too_large",
        [
            "The request's head is larger than max_header_bytes.",
            "Large cookies or tokens; an attack.",
            "limits.max_header_bytes of the port (60 KiB).",
        ],
    ),
    (
        "too_many_headers",
        [
            "The request has more headers than max_headers.",
            "Proxies that each add some; an attack.",
            "limits.max_headers of the port (100).",
        ],
    ),
    (
        "body_too_large",
        [
            "The request's body is larger than the limit of its port or route.",
            "An upload to a port that is not for it.",
            "limits.max_body_bytes; `with_request_body` of an authorizer.",
        ],
    ),
    (
        "body_broken",
        [
            "The request's body broke off while a filter had to know of it.",
            "The client went, or its connection broke.",
            "The client's log.",
        ],
    ),
    (
        "grpc_timeout",
        [
            "The request's grpc-timeout can't be read.",
            "A client that writes it by hand.",
            "At most 8 digits and one unit of H, M, S, m, u or n.",
        ],
    ),
    (
        "content_type",
        [
            "The request has several content-type headers, and which one counts each reader says for himself.",
            "A proxy that adds one; an attempt to pass by a rule about gRPC.",
            "The request's headers: one content-type.",
        ],
    ),
    (
        "forwarding_route",
        [
            "The route that fits forwards, and a server has nobody to forward to (gRFC A36).",
            "A route table of a client given to a server.",
            "non_forwarding_action of the listener's routes.",
        ],
    ),
    (
        "overloaded",
        [
            "The process is near its memory limit and takes no requests until it is not.",
            "More work than it has memory for; a limit that is too low.",
            "The memory of the process, the limit of its control group, `--memory-limit`.",
        ],
    ),
    (
        "request_rate_limited",
        [
            "The global rate limit says that there were too many (429; gRPC: UNAVAILABLE).",
            "More requests than its descriptors allow.",
            "The rules of the rate limit service, and the descriptors of the route.",
        ],
    ),
    (
        "rate_limiter_error",
        [
            "The rate limit service could not be asked, and the filter refuses then.",
            "It is gone, slow, or answers what can't be read.",
            "The service's cluster, `timeout`, `failure_mode_deny`.",
        ],
    ),
    (
        "ext_authz_denied",
        [
            "The authorizer said no.",
            "What it was asked about is not allowed.",
            "The authorizer's log; its answer may say why.",
        ],
    ),
    (
        "ext_authz_error",
        [
            "The authorizer could not be asked, or failed, and the filter refuses then.",
            "It is gone, slow, or answers what can't be read.",
            "The authorizer's cluster, `timeout`, `failure_mode_allow`.",
        ],
    ),
    (
        "ext_authz_invalid",
        [
            "The authorizer's answer can't be used, and such answers are refused.",
            "It writes a header that is none, or one that no authorizer may write (`host`, `content-length`).",
            "The authorizer's log, `validate_mutations`.",
        ],
    ),
    (
        "fault_filter_abort",
        [
            "A fault was injected on purpose.",
            "A fault filter, or its headers where they are allowed.",
            "The fault filter of the port and of its routes.",
        ],
    ),
];
