//! What a decision of 100 policies costs: at most 1 µs.
//!
//! `cargo bench -p mesh-tower --bench rbac`. The peers and paths differ from one decision to the next, in an
//! order that no predictor knows.
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a bench is a program that fails loudly and prints"
)]

#[path = "support/mod.rs"]
mod support;

use http::{HeaderMap, Method};
use mesh_core::head::RequestHead;
use mesh_core::identity::{Peer, PeerCertificate, SpiffeId};
use mesh_core::model::matcher::{HeaderMatcherKind, StringPattern};
use mesh_core::model::{
    Cidr, Permission, Policy, Principal, Rbac, RbacHeader, RbacHeaderName, StringMatcher,
};
use mesh_core::random::{Random, SplitMix64};
use mesh_core::rbac::{CompiledRbac, Connection, Request};
use std::hint::black_box;
use std::process::ExitCode;
use std::sync::Arc;
use support::Case;

fn main() -> ExitCode {
    support::main(
        "rbac",
        &[
            Case::new("100 policies, one for each principal", 2_000, || decide(100, by_principal)),
            Case::new("100 policies, one for each path", 2_000, || decide(100, by_path)),
            Case::new("100 policies, by prefix and namespace", 2_000, || decide(100, by_prefix)),
            Case::new("100 policies, by method and address", 2_000, || decide(100, by_address)),
            Case::new("10 policies, by prefix and namespace", 2_000, || decide(10, by_prefix)),
        ],
    )
}

fn id(at: u32) -> String {
    format!("spiffe://cluster.local/ns/n{at}/sa/caller")
}

fn path(at: u32) -> String {
    format!("/shop.v{at}.Reviews/Get")
}

fn by_principal(at: u32) -> Policy {
    policy(vec![post(), prefix("/shop.")], exact_id(at))
}

fn by_path(at: u32) -> Policy {
    policy(vec![post(), Permission::UrlPath(StringMatcher::exact(path(at)))], Principal::Any)
}

/// Nothing to find it by: each is looked at until one matches.
fn by_prefix(at: u32) -> Policy {
    let namespace = StringPattern::Prefix(format!("spiffe://cluster.local/ns/n{at}/").into());
    let namespace = Principal::Authenticated(Some(StringMatcher::new(namespace)));
    policy(vec![post(), prefix(&format!("/shop.v{at}."))], namespace)
}

fn by_address(at: u32) -> Policy {
    let block = |last: u32| {
        let address = [10, 0, u8::try_from(at).expect("few"), u8::try_from(last).expect("few")];
        Principal::DirectRemoteIp(Cidr::new(address.into(), 32).expect("a block"))
    };
    policy(vec![post()], Principal::Or((0..8).map(block).collect()))
}

/// As Istio writes it: every condition in an `and` of an `or`.
fn policy(permissions: Vec<Permission>, principal: Principal) -> Policy {
    let permissions = permissions.into_iter().map(|one| Permission::Or(vec![one])).collect();
    Policy {
        permissions: vec![Permission::And(permissions)],
        principals: vec![Principal::And(vec![Principal::Or(vec![principal])])],
        condition: None,
    }
}

fn post() -> Permission {
    let kind = HeaderMatcherKind::String(StringMatcher::exact("POST"));
    Permission::Header(RbacHeader::new(RbacHeaderName::METHOD, kind))
}

fn prefix(text: &str) -> Permission {
    Permission::UrlPath(StringMatcher::new(StringPattern::Prefix(text.into())))
}

fn exact_id(at: u32) -> Principal {
    Principal::Authenticated(Some(StringMatcher::exact(id(at))))
}

/// Decides about the request of one policy after the other.
fn decide(size: u32, policy: fn(u32) -> Policy) -> Box<dyn FnMut()> {
    let mut model = Rbac::default();
    model.policies.extend((0..size).map(|at| (Arc::from(format!("p{at:03}")), policy(at))));
    let rules = CompiledRbac::new(&model).expect("good policies");
    let mut order = SplitMix64::new(1);
    let requests: Vec<(Peer, [u8; 4], String)> = (0..256)
        .map(|_| {
            let at = u32::try_from(order.below(size.into())).expect("small");
            let spiffe = SpiffeId::parse(&id(at)).expect("an id");
            let peer = Peer::Certified(Arc::new(PeerCertificate::of(&spiffe)));
            (peer, [10, 0, u8::try_from(at).expect("few"), 3], path(at))
        })
        .collect();
    let headers = HeaderMap::new();
    let mut next = (0..requests.len()).cycle();
    Box::new(move || {
        let (peer, from, path) = &requests[next.next().unwrap_or_default()];
        let head = RequestHead::new(&Method::POST, "reviews", path, &headers);
        let connection = Connection::new(peer, (*from, 1).into(), ([10, 9, 9, 9], 80).into());
        let verdict = rules.evaluate(black_box(&Request::new(&head, &connection))).allowed;
        assert!(black_box(verdict), "each is allowed by its policy");
    })
}
