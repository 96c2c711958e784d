//! What it costs to find a route, by the size of the table.

#[path = "support/mod.rs"]
mod support;
#[path = "support/tables.rs"]
mod tables;

use http::{HeaderMap, Method};
use mesh_core::Timestamp;
use mesh_core::head::RequestHead;
use mesh_core::model::{Domain, LbAlgorithm, PathMatcher, VirtualHost};
use mesh_core::random::SplitMix64;
use mesh_core::state::{Mesh, Updater};
use mesh_core::update::ConfigUpdate;
use std::hint::black_box;
use std::process::ExitCode;
use support::Case;

fn main() -> ExitCode {
    support::main(
        "route",
        &[
            Case::new("usual: 20 routes, split", 2_000, || {
                lookup(tables::usual(), "reviews", "/x")
            }),
            Case::new("exact hosts: 10", 2_000, || hosts(10, Kind::Exact)),
            Case::new("exact hosts: 10,000", 2_000, || hosts(10_000, Kind::Exact)),
            Case::new("suffix hosts: 10", 2_000, || hosts(10, Kind::Suffix)),
            Case::new("suffix hosts: 10,000", 2_000, || hosts(10_000, Kind::Suffix)),
            Case::new("prefix hosts: 10", 2_000, || hosts(10, Kind::Prefix)),
            Case::new("prefix hosts: 10,000", 2_000, || hosts(10_000, Kind::Prefix)),
            Case::new("exact paths: 10", 2_000, || paths(10, Kind::Exact)),
            Case::new("exact paths: 10,000", 2_000, || paths(10_000, Kind::Exact)),
            Case::new("prefix paths: 10", 2_000, || paths(10, Kind::Prefix)),
            Case::new("prefix paths: 10,000", 2_000, || paths(10_000, Kind::Prefix)),
        ],
    )
}

#[derive(Clone, Copy)]
enum Kind {
    Exact,
    Suffix,
    Prefix,
}

/// Looks up the middle one of `count` virtual hosts.
fn hosts(count: u32, kind: Kind) -> Box<dyn FnMut()> {
    let domain = |number: u32| match kind {
        Kind::Exact => Domain::Exact(format!("service-{number:05}.shop.internal").into()),
        Kind::Suffix => Domain::Suffix(format!(".service-{number:05}.shop.internal").into()),
        Kind::Prefix => Domain::Prefix(format!("service-{number:05}.shop.").into()),
    };
    let hosts = (0..count).map(|number| {
        let mut host = VirtualHost::new(format!("h{number}"), vec![domain(number)]);
        host.routes.push(tables::forward("all", PathMatcher::any(), "a"));
        host
    });
    let update = tables::update(hosts.collect(), [cluster()], 1);
    let authority = match kind {
        Kind::Suffix => format!("x.service-{:05}.shop.internal", count / 2),
        Kind::Exact | Kind::Prefix => format!("service-{:05}.shop.internal", count / 2),
    };
    lookup(update, &authority, "/reviews/1")
}

/// Looks up the middle one of `count` routes of one virtual host.
fn paths(count: u32, kind: Kind) -> Box<dyn FnMut()> {
    let mut host = VirtualHost::new("h", vec![Domain::Any]);
    for number in 0..count {
        let text = format!("/shop/service-{number:05}/list");
        let path = match kind {
            Kind::Exact | Kind::Suffix => PathMatcher::Path(text.into()),
            Kind::Prefix => PathMatcher::Prefix(text.into()),
        };
        host.routes.push(tables::forward(&format!("r{number}"), path, "a"));
    }
    let update = tables::update(vec![host], [cluster()], 1);
    let end = if matches!(kind, Kind::Prefix) { "/1" } else { "" };
    lookup(update, "reviews", &format!("/shop/service-{:05}/list{end}", count / 2))
}

fn cluster() -> mesh_core::update::ClusterUpdate {
    tables::cluster("a", LbAlgorithm::RoundRobin, 1)
}

fn lookup(update: ConfigUpdate, authority: &str, path: &str) -> Box<dyn FnMut()> {
    let (mut updater, mesh): (Updater<()>, Mesh<()>) = Updater::new(());
    updater.apply(update, Timestamp::ZERO).expect("a good configuration");
    let (authority, path) = (authority.to_owned(), path.to_owned());
    let (headers, mut random) = (HeaderMap::new(), SplitMix64::new(1));
    Box::new(move || {
        let _kept = &updater;
        let head = RequestHead::new(&Method::GET, &authority, &path, &headers);
        black_box(mesh.snapshot().route(black_box(&head), &mut random).expect("a route"));
    })
}
