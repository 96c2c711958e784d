//! The table is complete: no flag, reason or event is without an entry.

use super::*;
use crate::call::RetryRefused;
use crate::egress::EgressRefusal;
use crate::event::{Event, Evidence, OutlierKind, Panic, Unejection, Verdict};
use crate::inbound::path::PathRefused;
use crate::inbound::{HostRefused, Refusal};
use crate::model::outlier_detection::CapRule;
use crate::model::{Address, RoutingPriority};
use crate::outcome::{
    ConnectFailure, Failure, NoEndpoint, Overflow, Processed, ProtocolFailure, ResetReason,
};
use crate::router::RouteError;
use std::time::Duration;

const CONNECT: [ConnectFailure; 19] = [
    ConnectFailure::Refused,
    ConnectFailure::Unreachable,
    ConnectFailure::Timeout,
    ConnectFailure::Tls,
    ConnectFailure::TlsUntrusted,
    ConnectFailure::TlsName,
    ConnectFailure::TlsExpired,
    ConnectFailure::TlsNotYetValid,
    ConnectFailure::TlsRevoked,
    ConnectFailure::TlsRevocationUnknown,
    ConnectFailure::TlsRefused,
    ConnectFailure::TlsProtocol,
    ConnectFailure::IdentityUnavailable,
    ConnectFailure::TlsUnavailable,
    ConnectFailure::SecretUnavailable,
    ConnectFailure::Handshake,
    ConnectFailure::OwnPort,
    ConnectFailure::RuntimeGone,
    ConnectFailure::Other,
];
const RESET: [ResetReason; 6] = [
    ResetReason::RefusedStream,
    ResetReason::GoAway,
    ResetReason::Remote(8),
    ResetReason::ConnectionTermination,
    ResetReason::RequestBody,
    ResetReason::Local,
];
const OVERFLOW: [Overflow; 4] =
    [Overflow::Requests, Overflow::Pending, Overflow::Connections, Overflow::Retries];
const PROTOCOL: [ProtocolFailure; 4] = [
    ProtocolFailure::ResponseHeadTooLarge,
    ProtocolFailure::InvalidResponse,
    ProtocolFailure::InvalidRequest,
    ProtocolFailure::VersionUnsupported,
];

/// Every reason. The matches below have no wildcard: a new variant does not compile without a look
/// at these lists.
fn every_reason() -> Vec<Reason> {
    let mut all = vec![
        Reason::NoVirtualHost,
        Reason::NoRoute,
        Reason::ClusterHeaderMissing,
        Reason::UnknownCluster,
        Reason::NotConfigured,
        Reason::ShutDown,
        Reason::Timeout,
        Reason::DeadlineExceeded,
        Reason::MaxStreamDuration,
        Reason::IdleTimeout,
    ];
    all.extend(EgressRefusal::ALL.map(Reason::EgressRefused));
    let counted = NoEndpoint { total: 3, ..NoEndpoint::default() };
    let mut failures = vec![
        Failure::PerTryTimeout,
        Failure::Dropped { category: "c".into() },
        Failure::NoEndpoint(NoEndpoint::default()),
        Failure::NoEndpoint(counted),
        Failure::NoEndpoint(NoEndpoint { unresolved: true, ..NoEndpoint::default() }),
        Failure::Cancelled { elapsed: Duration::ZERO, headers_seen: true },
    ];
    failures.extend(CONNECT.map(Failure::Connect));
    failures.extend(RESET.map(|reason| Failure::Reset { reason, processed: Processed::No }));
    failures.extend(OVERFLOW.map(Failure::Overflow));
    failures.extend(PROTOCOL.map(Failure::Protocol));
    all.extend(failures.into_iter().map(Reason::Attempt));
    for reason in &all {
        is_listed(reason);
    }
    all
}

fn is_listed(reason: &Reason) {
    match reason {
        Reason::NoVirtualHost
        | Reason::NoRoute
        | Reason::ClusterHeaderMissing
        | Reason::UnknownCluster
        | Reason::NotConfigured
        | Reason::ShutDown
        | Reason::Timeout
        | Reason::DeadlineExceeded
        | Reason::MaxStreamDuration
        | Reason::IdleTimeout
        | Reason::EgressRefused(
            EgressRefusal::NotListed
            | EgressRefusal::AddressNotListed
            | EgressRefusal::PrivateAddress
            | EgressRefusal::AuthorityMismatch,
        ) => {}
        Reason::Attempt(failure) => match failure {
            Failure::PerTryTimeout
            | Failure::Dropped { .. }
            | Failure::NoEndpoint(_)
            | Failure::Cancelled { .. } => {}
            Failure::Connect(
                ConnectFailure::Refused
                | ConnectFailure::Unreachable
                | ConnectFailure::Timeout
                | ConnectFailure::Tls
                | ConnectFailure::TlsUntrusted
                | ConnectFailure::TlsName
                | ConnectFailure::TlsExpired
                | ConnectFailure::TlsNotYetValid
                | ConnectFailure::TlsRevoked
                | ConnectFailure::TlsRevocationUnknown
                | ConnectFailure::TlsRefused
                | ConnectFailure::TlsProtocol
                | ConnectFailure::IdentityUnavailable
                | ConnectFailure::TlsUnavailable
                | ConnectFailure::SecretUnavailable
                | ConnectFailure::Handshake
                | ConnectFailure::OwnPort
                | ConnectFailure::RuntimeGone
                | ConnectFailure::Other,
            ) => {}
            Failure::Reset { reason, .. } => match reason {
                ResetReason::RefusedStream
                | ResetReason::GoAway
                | ResetReason::Remote(_)
                | ResetReason::ConnectionTermination
                | ResetReason::RequestBody
                | ResetReason::Local => {}
            },
            Failure::Overflow(
                Overflow::Requests | Overflow::Pending | Overflow::Connections | Overflow::Retries,
            ) => {}
            Failure::Protocol(
                ProtocolFailure::ResponseHeadTooLarge
                | ProtocolFailure::InvalidResponse
                | ProtocolFailure::InvalidRequest
                | ProtocolFailure::VersionUnsupported,
            ) => {}
        },
    }
}

fn every_event() -> Vec<Event> {
    let address = Address::from(std::net::SocketAddr::from(([10, 0, 0, 1], 80)));
    let verdicts = [
        Verdict::Ejected { duration: Duration::ZERO, left: 0 },
        Verdict::Ejected { duration: Duration::ZERO, left: 1 },
        Verdict::NotEnforced { enforcing: 0 },
        Verdict::RefusedByCap { ejected: 1, total: 2, max_percent: 10, rule: CapRule::Envoy },
        Verdict::RefusedAsLast { total: 2 },
    ];
    for verdict in verdicts {
        match verdict {
            Verdict::Ejected { .. }
            | Verdict::NotEnforced { .. }
            | Verdict::RefusedByCap { .. }
            | Verdict::RefusedAsLast { .. } => {}
        }
    }
    let mut all: Vec<_> = verdicts
        .into_iter()
        .map(|verdict| Event::Outlier {
            address: address.clone(),
            kind: OutlierKind::Consecutive5xx,
            evidence: Evidence::Consecutive { failures: 5, threshold: 5 },
            verdict,
        })
        .collect();
    let panic = Panic { priority: 0, healthy: 1, total: 3, threshold: 50, fails: false };
    all.extend([
        Event::Unejected { address, cause: Unejection::Served, out: Duration::ZERO },
        Event::PanicEntered(panic),
        Event::PanicLeft(panic),
        Event::Overflow {
            limit: Overflow::Requests,
            priority: RoutingPriority::Default,
            value: 1,
            threshold: 1,
        },
    ]);
    for event in &all {
        match event {
            Event::Outlier { .. }
            | Event::Unejected { .. }
            | Event::PanicEntered(_)
            | Event::PanicLeft(_)
            | Event::Overflow { .. } => {}
        }
    }
    all
}

#[test]
fn every_reason_has_one_entry() {
    // Refusals of egress have one code: which rule it was is told by their texts.
    let another = |reason: &Reason| matches!(reason, Reason::EgressRefused(refusal) if *refusal != EgressRefusal::NotListed);
    let all = every_reason().into_iter().filter(|reason| !another(reason));
    let codes: Vec<_> = all.map(|reason| reason.code()).collect();
    for code in &codes {
        assert_eq!(reasons().filter(|meaning| meaning.code == *code).count(), 1, "{code}");
    }
    assert_eq!(reasons().count(), codes.len(), "an entry that is no reason");
}

/// The match has no wildcard: a new variant does not compile without a look at this list.
fn is_explained(refusal: &Refusal) -> bool {
    match refusal {
        // Calls have them, too.
        Refusal::DeadlineExceeded
        | Refusal::Route(RouteError::NoVirtualHost | RouteError::NoRoute) => {
            reasons().any(|meaning| meaning.code == refusal.code())
        }
        Refusal::NoConnection
        | Refusal::OtherListener(_)
        | Refusal::NoListener
        | Refusal::ChainGone
        | Refusal::ConnectionOver
        | Refusal::NotHttp
        | Refusal::Host(_)
        | Refusal::Path(_)
        | Refusal::HeadTooLarge { .. }
        | Refusal::TooManyHeaders { .. }
        | Refusal::BodyTooLarge { .. }
        | Refusal::BodyBroken
        | Refusal::Timeout
        | Refusal::ContentType
        | Refusal::Route(_)
        | Refusal::Overloaded => {
            refusals().filter(|meaning| meaning.code == refusal.code()).count() == 1
        }
    }
}

#[test]
fn every_refusal_of_a_server_has_one_entry() {
    let all = [
        Refusal::NoConnection,
        Refusal::OtherListener("a".into()),
        Refusal::NoListener,
        Refusal::ChainGone,
        Refusal::ConnectionOver,
        Refusal::NotHttp,
        Refusal::Host(HostRefused::Missing),
        Refusal::Path(PathRefused::Null),
        Refusal::HeadTooLarge { found: 1, limit: 0 },
        Refusal::TooManyHeaders { found: 1, limit: 0 },
        Refusal::BodyTooLarge { limit: 0 },
        Refusal::BodyBroken,
        Refusal::Timeout,
        Refusal::ContentType,
        Refusal::Route(RouteError::NoVirtualHost),
        Refusal::Route(RouteError::NoRoute),
        Refusal::Route(RouteError::UnknownCluster),
        Refusal::DeadlineExceeded,
        Refusal::Overloaded,
    ];
    for refusal in &all {
        assert!(is_explained(refusal), "{refusal:?}");
    }
}

#[test]
fn every_event_has_one_entry() {
    let codes: Vec<_> = every_event().iter().map(Event::code).collect();
    for code in &codes {
        assert_eq!(events().filter(|meaning| meaning.code == *code).count(), 1, "{code}");
    }
    assert_eq!(events().count(), codes.len(), "an entry that is no event");
}

#[test]
fn every_flag_has_an_entry_and_each_reason_leads_back_to_its_flag() {
    let listed: Vec<_> = flags().map(|meaning| meaning.kind).collect();
    let all: Vec<_> = ResponseFlag::ALL.iter().map(|flag| CodeKind::Flag(*flag)).collect();
    assert_eq!(listed, all);
    for reason in every_reason() {
        let of_flag: Vec<_> = reasons_of(reason.flag()).map(|meaning| meaning.code).collect();
        assert!(of_flag.contains(&reason.code()), "{reason:?}: {of_flag:?}");
    }
}

#[test]
fn everything_that_stops_a_retry_has_one_entry() {
    let refused = [RetryRefused::Budget, RetryRefused::Concurrency, RetryRefused::MaxRetries];
    let mut all =
        vec![RetryStop::Limit, RetryStop::Server, RetryStop::NotReplayable, RetryStop::Deadline];
    all.extend(refused.map(RetryStop::Refused));
    for stop in &all {
        match stop {
            RetryStop::Limit
            | RetryStop::Refused(
                RetryRefused::Budget | RetryRefused::Concurrency | RetryRefused::MaxRetries,
            )
            | RetryStop::Server
            | RetryStop::NotReplayable
            | RetryStop::Deadline => {}
        }
        let found = find(stop.code());
        let entries = found.iter().filter(|meaning| meaning.kind == CodeKind::RetryStop(*stop));
        assert_eq!(entries.count(), 1, "{stop:?}");
    }
    assert_eq!(retry_stops().count(), all.len(), "an entry that stops nothing");
}

#[test]
fn texts_are_sentences() {
    for known in all() {
        for text in [known.meaning, known.causes, known.look_at] {
            assert!(text.ends_with('.'), "{}: {text}", known.code);
        }
    }
}

#[test]
fn codes_are_found_in_every_spelling_and_kind() {
    let kinds = |code: &str| find(code).iter().map(|m| m.kind.clone()).collect::<Vec<_>>();
    let flag = vec![CodeKind::Flag(ResponseFlag::NoHealthyUpstream)];
    assert_eq!(
        (kinds("UH"), kinds("uh"), kinds("no_healthy_upstream")),
        (flag.clone(), flag.clone(), flag)
    );
    assert_eq!(kinds("panic_left"), [CodeKind::Event]);
    assert_eq!(kinds("NO_ROUTE"), []);
    assert_eq!(kinds("unknown_cluster")[0], CodeKind::Reason(Reason::UnknownCluster));
    #[cfg(feature = "config")]
    assert_eq!(kinds("unknown_cluster")[1], CodeKind::Check { refuses: true });
}
