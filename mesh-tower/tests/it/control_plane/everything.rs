//! Control planes that are asked for everything, as Envoy asks.

use super::*;
use crate::server::world::get as hello;
use mesh_core::model::{
    Address, BodySizeLimit, FilterChain, HttpConnectionManager, HttpFilter, HttpFilterConfig,
    HttpFilterOverride, HttpFilterOverrides, Listener,
};
use mesh_tower::observe::ConfigurationOutcome;
use mesh_tower::server::ServingMode;
use mesh_tower::source::ResourceType;
use mesh_xds::encode::{ALL_ROUTES, route_configuration, server_listener, socket_listener};
use prost::Message as _;
use std::sync::Arc;
use tokio::net::TcpStream;

const BOTH: [Variant; 2] = [Variant::StateOfTheWorld, Variant::Delta];

/// A listener at a port, with these routes.
fn listener(name: &str, port: u16, routes: &str) -> Encoded {
    Encoded::listener(&socket_listener(name, SocketAddr::from(([0, 0, 0, 0], port)), routes))
}

/// These hosts behind one listener, all at one endpoint.
fn one_listener(hosts: &[&str], endpoint: u8) -> Snapshot {
    Snapshot::of(&update(hosts, endpoint), [listener("web", 80, ALL_ROUTES)])
}

/// `shop` and `cart`, each at a listener of its own; both at endpoint 1.
fn listeners(names: &[&str]) -> Snapshot {
    let own = names.iter().enumerate().flat_map(|(at, name)| {
        let port = 8080 + u16::try_from(at).unwrap();
        let routes = route_configuration(name, &update(&[name], 1).route_configuration);
        let kind = ResourceType::RouteConfiguration;
        [listener(name, port, name), Encoded::new(kind, *name, routes.encode_to_vec())]
    });
    Snapshot::of(&update(&["shop", "cart"], 1), own)
}

fn wildcard(planes: &[&Plane], variant: Variant) -> XdsSource {
    XdsSource::new(bootstrap(planes)).variant(variant).wildcard()
}

async fn ready(source: XdsSource) -> Mesh {
    let mesh = mesh(source);
    bounded(mesh.ready()).await.unwrap();
    mesh
}

/// Calls until the answer is this one, whatever it is before.
async fn becomes(mesh: &Mesh, authority: &str, expected: &str) {
    let begun = Instant::now();
    loop {
        let answer = answer(mesh, authority).await;
        if answer == expected {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "never {expected}: {answer}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn hosts_are_served_by_their_domains_and_others_refused() {
    for variant in BOTH {
        let plane = Plane::up(one_listener(&["shop", "*.cart"], 1)).await;
        let source = wildcard(&[&plane], variant);
        let status = source.status();
        let mesh = ready(source).await;
        for host in ["shop", "shop:80", "a.cart", "b.cart:99"] {
            assert_eq!(answer(&mesh, host).await, "first", "{host}");
        }
        let begun = Instant::now();
        for host in ["unknown", "cart", "web"] {
            assert_eq!(answer(&mesh, host).await, "no_virtual_host", "{host}");
        }
        assert!(begun.elapsed() < Duration::from_secs(5), "nobody is asked: {:?}", begun.elapsed());
        let mut known: Vec<_> = status.resources().iter().map(|one| one.kind).collect();
        known.sort_unstable();
        let expected = [
            ResourceType::Listener,
            ResourceType::RouteConfiguration,
            ResourceType::Cluster,
            ResourceType::Endpoints,
        ];
        assert_eq!(known, expected, "the status knows them");
        assert_eq!(*mesh.configuration().source, *plane.address.to_string());
    }
}

#[tokio::test]
async fn ready_waits_for_the_first_complete_configuration() {
    for variant in BOTH {
        let mut plane = Plane::down(one_listener(&["shop"], 1)).await;
        let mesh = mesh(wildcard(&[&plane], variant));
        let early = tokio::time::timeout(Duration::from_millis(300), mesh.ready()).await;
        assert!(early.is_err(), "nothing is known yet");
        assert_eq!(answer(&mesh, "shop").await, "not_configured");
        plane.start().await;
        bounded(mesh.ready()).await.unwrap();
        assert_eq!(answer(&mesh, "shop").await, "first");
    }
}

#[tokio::test]
async fn a_listener_that_is_removed_serves_no_more() {
    for variant in BOTH {
        let plane = Plane::up(listeners(&["shop", "cart"])).await;
        let mesh = ready(wildcard(&[&plane], variant)).await;
        for host in ["shop", "shop:8080", "cart", "cart:8081"] {
            assert_eq!(answer(&mesh, host).await, "first", "{host}");
        }
        plane.server.publish(listeners(&["shop"]));
        becomes(&mesh, "cart", "no_virtual_host").await;
        assert_eq!(answer(&mesh, "shop").await, "first", "the other one goes on");
        plane.server.publish(listeners(&[]));
        becomes(&mesh, "shop", "no_virtual_host").await;
        plane.server.publish(listeners(&["shop", "cart"]));
        becomes(&mesh, "shop", "first").await;
        becomes(&mesh, "cart", "first").await;
    }
}

#[tokio::test]
async fn other_endpoints_go_live_without_a_lost_call() {
    for variant in BOTH {
        let plane = Plane::up(one_listener(&["shop"], 1)).await;
        let mesh = ready(wildcard(&[&plane], variant)).await;
        for endpoint in [2, 1, 2] {
            plane.server.publish(one_listener(&["shop"], endpoint));
            until(&mesh, "shop", ["first", "second"][usize::from(endpoint) - 1]).await;
        }
    }
}

/// Everything behind a host is replaced at once: routes lead to another cluster, and the old one is gone.
#[tokio::test]
async fn a_host_moves_to_another_cluster_without_a_lost_call() {
    let at_cluster = |name: &str, endpoint| {
        let moved = cluster(|cluster| cluster.name = name.into());
        let route = Route::forward(ForwardAction::to(name));
        let update = ConfigUpdate::in_code()
            .cluster(moved, [at(endpoint)])
            .virtual_host(VirtualHost::of("shop").unwrap().route(route));
        Snapshot::of(&update, [listener("web", 80, ALL_ROUTES)])
    };
    for variant in BOTH {
        let plane = Plane::up(at_cluster("a", 1)).await;
        let mesh = ready(wildcard(&[&plane], variant)).await;
        for round in 0..10 {
            plane.server.publish(at_cluster(&format!("b{round}"), 2));
            until(&mesh, "shop", "second").await;
            plane.server.publish(at_cluster("a", 1));
            until(&mesh, "shop", "first").await;
        }
    }
}

/// Calls go on all the time, and none of them fails.
#[tokio::test]
async fn a_control_plane_that_is_killed_and_comes_back_costs_no_call() {
    for variant in BOTH {
        let mut plane = Plane::up(one_listener(&["shop"], 1)).await;
        let mesh = ready(wildcard(&[&plane], variant)).await;
        // It comes back with the same, with other endpoints, and with more hosts.
        let next = [
            (one_listener(&["shop"], 1), "first"),
            (one_listener(&["shop"], 2), "second"),
            (one_listener(&["shop", "cart"], 1), "first"),
        ];
        for (snapshot, expected) in next {
            plane.stop().await;
            eventually("the metric tells", || !connected(&mesh)).await;
            for _ in 0..20 {
                assert!(["first", "second"].contains(&&*answer(&mesh, "shop").await));
            }
            plane.server.publish(snapshot);
            plane.start().await;
            eventually("it is asked again", || plane.streams() == 1).await;
            until(&mesh, "shop", expected).await;
        }
        eventually("the metric tells", || connected(&mesh)).await;
        becomes(&mesh, "cart", "first").await;
    }
}

/// gRFC A71: all of it comes from one server or from the other.
#[tokio::test]
async fn a_second_control_plane_stands_in_for_everything() {
    for variant in BOTH {
        let mut first = Plane::down(one_listener(&["shop"], 1)).await;
        let second = Plane::up(one_listener(&["shop", "cart"], 2)).await;
        let mesh = ready(wildcard(&[&first, &second], variant)).await;
        assert_eq!(answer(&mesh, "shop").await, "second");
        assert_eq!(answer(&mesh, "cart").await, "second");
        first.start().await;
        until(&mesh, "shop", "first").await;
        eventually("the second is left", || second.streams() == 0).await;
        if variant == Variant::StateOfTheWorld {
            // In delta nothing says that this was all: it takes 15 s (`client/wildcards.rs`).
            becomes(&mesh, "cart", "no_virtual_host").await;
        }
    }
}

#[tokio::test]
async fn everything_is_kept_on_disk_too() {
    let directory = tempfile::tempdir().unwrap();
    for (variant, name) in BOTH.into_iter().zip(["world", "delta"]) {
        let path = directory.path().join(name);
        let mut plane = Plane::up(one_listener(&["shop", "cart"], 1)).await;
        let source = || wildcard(&[&plane], variant).last_good(&path);
        let before = ready(source()).await;
        written(&path, None).await;
        drop(before);
        let mesh = {
            let source = source();
            plane.stop().await;
            ready(source).await
        };
        for host in ["shop", "cart"] {
            assert_eq!(answer(&mesh, host).await, "first", "{host}");
        }
        assert_eq!(answer(&mesh, "unknown").await, "no_virtual_host");
        assert!(mesh.configuration().source.starts_with("a copy of "));
        let copy = std::fs::read(&path).unwrap();
        // It is back, with something else, and what it has no more is gone.
        plane.server.publish(one_listener(&["shop"], 2));
        plane.start().await;
        until(&mesh, "shop", "second").await;
        becomes(&mesh, "cart", "no_virtual_host").await;
        eventually("nothing is stale", || mesh.configuration().stale_since.is_none()).await;
        drop(mesh);
        written(&path, Some(&copy)).await;
    }
}

/// What was asked for by name is a part, and no start for a mesh of everything.
#[tokio::test]
async fn a_copy_of_what_was_asked_for_by_name_is_not_used() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("last-good");
    let mut plane = Plane::up(one_listener(&["shop"], 1)).await;
    let by_name = mesh(source_of(&plane, &path));
    assert_eq!(answer(&by_name, "shop").await, "first");
    written(&path, None).await;
    drop(by_name);
    plane.stop().await;
    let mesh = mesh(wildcard(&[&plane], Variant::Delta).last_good(&path));
    let early = tokio::time::timeout(Duration::from_millis(300), mesh.ready()).await;
    assert!(early.is_err(), "nothing is known yet");
    plane.start().await;
    bounded(mesh.ready()).await.unwrap();
    assert_eq!(answer(&mesh, "shop").await, "first");
}

/// A server is served by what it asks with, and no more once the control plane takes its listener away.
#[tokio::test]
async fn servers_are_served_by_name_and_by_address() {
    for variant in BOTH {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let mut inbound = Listener::new("inbound");
        inbound.address = Some(Address::Socket(address));
        let http = Arc::new(HttpConnectionManager::serving(Vec::new()));
        inbound.filter_chains = vec![Arc::new(FilterChain::new("plain", Some(http)))];
        // As a control plane of Envoys has it: for whoever asks for everything.
        let inbound = Encoded::listener(&server_listener(&inbound));
        let both = Snapshot::of(&update(&["shop"], 1), [listener("web", 80, ALL_ROUTES), inbound]);
        let plane = Plane::up(both.clone()).await;
        let mesh = ready(wildcard(&[&plane], variant)).await;
        let (by_address, by_name) = (mesh.server(address.to_string()), mesh.server("inbound"));
        let service = tower::service_fn(|_| async {
            Ok::<_, std::convert::Infallible>(http::Response::new(String::from("served")))
        });
        let serving = by_address.clone();
        tokio::spawn(async move { serving.serve(socket, service).await });
        eventually("it serves by its address", || by_address.is_serving()).await;
        eventually("it serves by its name", || by_name.is_serving()).await;
        let io = TcpStream::connect(address).await.unwrap();
        assert_eq!(hello(io, false).await.as_deref(), Ok("served"));
        assert_eq!(answer(&mesh, "shop").await, "first", "calls go on beside it");
        plane.server.publish(one_listener(&["shop"], 1));
        eventually("it serves no more", || !by_address.is_serving()).await;
        let ServingMode::NotServing(why) = by_address.mode() else { panic!() };
        assert!(why.contains("no listener of the control plane"), "{why}");
        plane.server.publish(both);
        eventually("it serves again", || by_address.is_serving()).await;
    }
}

/// A listener at `address` whose routes say this of filters, of which it has `guard`; `shop` is at `endpoint`.
fn inbound(address: SocketAddr, said: HttpFilterOverrides, endpoint: u8) -> Snapshot {
    let guard = HttpFilter::new("guard", HttpFilterConfig::HeaderMutation(Arc::default()));
    let mut http = HttpConnectionManager::serving(vec![guard]);
    let routes = Arc::make_mut(&mut http.route_configuration);
    Arc::make_mut(&mut routes.virtual_hosts[0]).filters = said;
    let mut inbound = Listener::new("inbound");
    inbound.address = Some(Address::Socket(address));
    inbound.filter_chains = vec![Arc::new(FilterChain::new("plain", Some(Arc::new(http))))];
    let inbound = Encoded::listener(&server_listener(&inbound));
    Snapshot::of(&update(&["shop"], endpoint), [listener("web", 80, ALL_ROUTES), inbound])
}

/// What can't be of a server's listener, which calls have nothing to do with, holds up nothing else, and the last good
/// one serves on, whatever its server asks with.
#[tokio::test]
async fn a_servers_listener_that_can_not_be_holds_up_nothing() {
    let address = SocketAddr::from(([127, 0, 0, 1], 8443));
    let off = || HttpFilterOverrides::from([("nobody".into(), HttpFilterOverride::Disabled)]);
    let limit = HttpFilterConfig::BodySizeLimit(Arc::new(BodySizeLimit::new(9)));
    let other = HttpFilterOverrides::from([("guard".into(), HttpFilterOverride::Config(limit))]);
    for variant in BOTH {
        let plane = Plane::up(inbound(address, off(), 1)).await;
        let mesh = ready(wildcard(&[&plane], variant)).await;
        let servers = [mesh.server("inbound"), mesh.server(address.to_string())];
        for server in &servers {
            eventually("it serves", || server.is_serving()).await;
        }
        for endpoint in [2, 1] {
            plane.server.publish(inbound(address, other.clone(), endpoint));
            becomes(&mesh, "shop", ["first", "second"][usize::from(endpoint) - 1]).await;
            assert!(servers.iter().all(|server| server.is_serving()));
        }
        let refused = mesh.configurations().iter().any(|one| {
            matches!(&one.outcome, ConfigurationOutcome::Refused(why) if why.contains("guard"))
        });
        assert!(refused, "why is told");
        plane.server.publish(inbound(address, off(), 2));
        becomes(&mesh, "shop", "second").await;
        assert!(servers.iter().all(|server| server.is_serving()));
    }
}
