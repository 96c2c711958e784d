//! Control planes over sockets: which one is asked, what is kept on disk, what is let go of.

mod everything;

use crate::fixture::{at, bounded, call, cluster, eventually, get, metric, over_h2, reply, text};
use http::Request;
use mesh_core::model::{Domain, ForwardAction, Route, VirtualHost};
use mesh_core::update::ConfigUpdate;
use mesh_tower::source::{
    Bootstrap, Sink, SinkReceiver, Source as _, SourceEvent, Variant, XdsSource,
};
use mesh_tower::testing::MemoryNetwork;
use mesh_tower::{Mesh, MeshBody};
use mesh_xds::encode::{Encoded, api_listener};
use mesh_xds::server::{AdsServer, Snapshot};
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A control plane, which can be stopped and started again at its address.
pub(crate) struct Plane {
    pub(crate) server: AdsServer,
    pub(crate) address: SocketAddr,
    running: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl Plane {
    /// One that does not listen yet.
    async fn down(snapshot: Snapshot) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        Self { server: AdsServer::new(snapshot), address, running: None }
    }

    pub(crate) async fn up(snapshot: Snapshot) -> Self {
        let mut plane = Self::down(snapshot).await;
        plane.start().await;
        plane
    }

    async fn start(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let server = self.server.clone();
        let serving = tokio::spawn(async move {
            server.serve(listener, async { stopped.await.unwrap_or_default() }).await.unwrap();
        });
        self.running = Some((stop, serving));
    }

    async fn stop(&mut self) {
        let (stop, serving) = self.running.take().unwrap();
        stop.send(()).unwrap();
        bounded(serving).await.unwrap();
    }

    fn streams(&self) -> usize {
        self.server.clients().connected().len()
    }
}

/// These authorities, all at one endpoint.
pub(crate) fn serving(authorities: &[&str], endpoint: u8) -> Snapshot {
    Snapshot::of(&update(authorities, endpoint), [])
}

pub(crate) fn update(authorities: &[&str], endpoint: u8) -> ConfigUpdate {
    let empty = ConfigUpdate::in_code().cluster(cluster(|_| {}), [at(endpoint)]);
    authorities.iter().fold(empty, |update, authority| {
        let host = VirtualHost::of(authority).unwrap();
        update.virtual_host(host.route(Route::forward(ForwardAction::to("a"))))
    })
}

/// Endpoint 1 answers `first`, 2 `second`.
fn network() -> MemoryNetwork {
    let network = MemoryNetwork::new();
    network.serve_fn(at(1), |_| async { reply(200, "first") });
    network.serve_fn(at(2), |_| async { reply(200, "second") });
    network
}

fn servers(planes: &[&Plane]) -> String {
    let creds = r#""channel_creds": [{ "type": "insecure" }]"#;
    let server = |plane: &&Plane| format!(r#"{{ "server_uri": "{}", {creds} }}"#, plane.address);
    planes.iter().map(server).collect::<Vec<_>>().join(", ")
}

fn bootstrap(planes: &[&Plane]) -> Bootstrap {
    let text =
        format!(r#"{{ "xds_servers": [{}], "node": {{ "id": "shop-1" }} }}"#, servers(planes));
    Bootstrap::parse(&text).unwrap()
}

pub(crate) fn mesh(source: XdsSource) -> Mesh {
    Mesh::builder().connector(network()).source(source).build().unwrap()
}

async fn answer(mesh: &Mesh, authority: &str) -> String {
    let mut request: Request<MeshBody> = over_h2(get("/"));
    *request.uri_mut() = format!("http://{authority}/").parse().unwrap();
    match call(mesh, request).await {
        Ok(response) => text(response).await,
        Err(error) => error.code().to_owned(),
    }
}

/// Calls until the answer is this one. No call may fail meanwhile.
async fn until(mesh: &Mesh, authority: &str, expected: &str) {
    let begun = Instant::now();
    loop {
        let answer = answer(mesh, authority).await;
        if answer == expected {
            return;
        }
        assert!(["first", "second"].contains(&&*answer), "{answer}");
        assert!(begun.elapsed() < Duration::from_secs(30), "never {expected}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn connected(mesh: &Mesh) -> bool {
    metric(mesh, "mesh_config_source_connected", &[]) == 1
}

/// gRFC A71.
async fn a_second_control_plane_stands_in(variant: Variant) {
    let mut first = Plane::up(serving(&["shop"], 1)).await;
    let second = Plane::up(serving(&["shop", "cart"], 2)).await;
    let mesh = mesh(XdsSource::new(bootstrap(&[&first, &second])).variant(variant));
    assert_eq!(answer(&mesh, "shop").await, "first");
    assert!(connected(&mesh));
    first.stop().await;
    eventually("the metric tells", || !connected(&mesh)).await;
    // Nothing is missing.
    assert_eq!(answer(&mesh, "shop").await, "first");
    assert_eq!(second.streams(), 0);
    // Now something is, and all that is watched is asked of the second.
    assert_eq!(answer(&mesh, "cart").await, "second");
    until(&mesh, "shop", "second").await;
    eventually("the metric tells", || connected(&mesh)).await;
    let source = mesh.configuration().source;
    assert_eq!(*source, *second.address.to_string());
    // The first is back, with what it had: the version that it had, too.
    first.server.publish(serving(&["shop", "cart"], 1));
    first.start().await;
    until(&mesh, "shop", "first").await;
    until(&mesh, "cart", "first").await;
    eventually("the second is left", || second.streams() == 0).await;
    assert_eq!(*mesh.configuration().source, *first.address.to_string());
}

#[tokio::test]
async fn a_second_control_plane_stands_in_if_something_is_missing() {
    a_second_control_plane_stands_in(Variant::StateOfTheWorld).await;
}

#[tokio::test]
async fn a_second_control_plane_stands_in_if_something_is_missing_in_delta() {
    a_second_control_plane_stands_in(Variant::Delta).await;
}

/// A server that comes back with the very content and versions that it had must be taken again.
#[tokio::test]
async fn a_control_plane_that_comes_back_unchanged_is_taken_again() {
    for variant in [Variant::StateOfTheWorld, Variant::Delta] {
        let mut first = Plane::up(serving(&["shop"], 1)).await;
        let second = Plane::up(serving(&["shop", "cart"], 2)).await;
        let mesh = mesh(XdsSource::new(bootstrap(&[&first, &second])).variant(variant));
        assert_eq!(answer(&mesh, "shop").await, "first");
        first.stop().await;
        eventually("the metric tells", || !connected(&mesh)).await;
        assert_eq!(answer(&mesh, "cart").await, "second");
        until(&mesh, "shop", "second").await;
        first.start().await;
        until(&mesh, "shop", "first").await;
    }
}

/// gRFC A47: the authority of the listener's name has a server of its own; what it names has not.
#[tokio::test]
async fn names_of_an_authority_are_asked_of_its_servers() {
    let top = Plane::up(serving(&["shop"], 1)).await;
    let name = "xdstp://x/envoy.config.listener.v3.Listener/shop";
    let listener = Encoded::listener(&api_listener(name, "mesh/shop"));
    let own = Plane::up(Snapshot::new([listener])).await;
    let text = format!(
        r#"{{ "xds_servers": [{}], "authorities": {{ "x": {{ "xds_servers": [{}] }} }},
             "client_default_listener_resource_name_template":
               "xdstp://x/envoy.config.listener.v3.Listener/%s" }}"#,
        servers(&[&top]),
        servers(&[&own]),
    );
    let by_default = XdsSource::new(Bootstrap::parse(&text).unwrap());
    let text = text.replace("client_default_", "unknown_");
    let chosen = XdsSource::new(Bootstrap::parse(&text).unwrap()).xds_authority("x");
    let of_hosts = XdsSource::new(Bootstrap::parse(&text).unwrap());
    let of_hosts = of_hosts.xds_authority_for(Domain::parse("sh*").unwrap(), "x");
    for source in [by_default, chosen, of_hosts] {
        let mesh = mesh(source);
        assert_eq!(answer(&mesh, "shop").await, "first");
        assert_eq!((top.streams(), own.streams()), (1, 1));
        drop(mesh);
        eventually("the streams end", || top.streams() + own.streams() == 0).await;
    }
}

/// gRFC A47: "unknown authority: an error for that watch", at once.
#[tokio::test]
async fn a_name_of_an_unknown_authority_is_refused_at_once() {
    let top = Plane::up(serving(&["shop"], 1)).await;
    let text = format!(
        r#"{{ "xds_servers": [{}],
             "client_default_listener_resource_name_template":
               "xdstp://nowhere/envoy.config.listener.v3.Listener/%s" }}"#,
        servers(&[&top]),
    );
    let by_default = XdsSource::new(Bootstrap::parse(&text).unwrap());
    let chosen = XdsSource::new(bootstrap(&[&top])).xds_authority("nowhere");
    for source in [by_default, chosen] {
        let mesh = mesh(source);
        let begun = Instant::now();
        let mut request = over_h2(get("/"));
        *request.uri_mut() = "http://shop/".parse().unwrap();
        let error = call(&mesh, request).await.unwrap_err();
        assert_eq!(error.code(), "no_virtual_host");
        let why = error.why().unwrap();
        assert!(why.contains("`nowhere` is not in the bootstrap"), "{why}");
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    }
}

// === The copy on disk ===

/// Waits until the copy is other than this one.
async fn written(path: &Path, before: Option<&[u8]>) {
    let is_written = || std::fs::read(path).ok().as_deref() != before;
    eventually("the copy is written", is_written).await;
}

#[tokio::test]
async fn a_process_starts_while_its_control_plane_is_down() {
    const SINCE: &str = "mesh_config_stale_since_timestamp_seconds";
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("last-good");
    let mut plane = Plane::up(serving(&["shop", "cart"], 1)).await;
    let before = mesh(source_of(&plane, &path));
    assert_eq!(answer(&before, "shop").await, "first");
    assert_eq!(answer(&before, "cart").await, "first");
    assert_eq!(before.configuration().stale_since, None);
    written(&path, None).await;
    drop(before);
    plane.stop().await;

    for (variant, was, next, endpoint) in
        [(Variant::StateOfTheWorld, "first", "second", 2), (Variant::Delta, "second", "first", 1)]
    {
        let mut fastest = Duration::MAX;
        for _ in 0..5 {
            let begun = Instant::now();
            let mesh = mesh(source_of(&plane, &path).variant(variant));
            bounded(mesh.ready()).await.unwrap();
            assert_eq!(answer(&mesh, "shop").await, was);
            fastest = fastest.min(begun.elapsed());
            assert_eq!(answer(&mesh, "cart").await, was);
        }
        assert!(fastest < Duration::from_millis(100), "{fastest:?}");

        let mesh = mesh(source_of(&plane, &path).variant(variant));
        bounded(mesh.ready()).await.unwrap();
        eventually("its age is told", || metric(&mesh, SINCE, &[]) > 0).await;
        let configuration = mesh.configuration();
        assert!(configuration.stale_since.is_some());
        assert!(configuration.source.starts_with("a copy of "), "{configuration:?}");
        let copy = std::fs::read(&path).unwrap();

        plane.server.publish(serving(&["shop", "cart"], endpoint));
        plane.start().await;
        until(&mesh, "shop", next).await;
        until(&mesh, "cart", next).await;
        eventually("nothing is stale", || mesh.configuration().stale_since.is_none()).await;
        assert_eq!(metric(&mesh, SINCE, &[]), 0);
        assert_eq!(*mesh.configuration().source, *plane.address.to_string());
        // At once or by the end of the mesh: the last change is written.
        drop(mesh);
        written(&path, Some(&copy)).await;
        plane.stop().await;
    }
}

fn source_of(plane: &Plane, path: &Path) -> XdsSource {
    XdsSource::new(bootstrap(&[plane])).last_good(path)
}

#[cfg(unix)]
#[tokio::test]
async fn a_copy_that_is_damaged_or_foreign_is_reported_and_not_used() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("last-good");
    let plane = Plane::up(serving(&["shop"], 1)).await;
    let good = mesh(source_of(&plane, &path));
    assert_eq!(answer(&good, "shop").await, "first");
    written(&path, None).await;
    drop(good);
    let bytes = std::fs::read(&path).unwrap();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let other = bootstrap(&[&Plane::down(serving(&[], 1)).await]);
    let mut altered = bytes.clone();
    let middle = altered.len() / 2;
    altered[middle] ^= 1;
    let rejected =
        |mesh: &Mesh| metric(mesh, "mesh_config_updates_total", &[("outcome", "rejected")]);
    for (what, file) in [
        ("garbage", b"garbage".to_vec()),
        ("altered", altered),
        ("cut off", bytes[..bytes.len() - 1].to_vec()),
    ] {
        // Each in its place: the mesh before may be writing still.
        let path = directory.path().join(what);
        std::fs::write(&path, &file).unwrap();
        let mesh = mesh(source_of(&plane, &path));
        eventually(what, || rejected(&mesh) == 1).await;
        assert_eq!(answer(&mesh, "shop").await, "first", "{what}: the start goes on");
        written(&path, Some(&file)).await;
    }
    // Of another control plane, and too large.
    for source in
        [XdsSource::new(other).last_good(&path), source_of(&plane, &path).last_good_max_bytes(10)]
    {
        let mesh = mesh(source);
        eventually("it is reported", || rejected(&mesh) == 1).await;
        assert_eq!(mesh.configuration().stale_since, None);
    }
}

/// Good is what the mesh works with, and not what came a while ago.
#[tokio::test]
async fn only_what_is_in_force_goes_to_disk() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("last-good");
    let plane = Plane::up(serving(&["shop"], 1)).await;
    let (sink, mut mesh) = Sink::channel();
    let source = Box::new(source_of(&plane, &path).authority("shop"));
    let running = tokio::spawn(async move {
        tokio::select! {
            () = sink.closed() => {}
            () = source.start(sink.clone()) => {}
        }
    });
    let served = |update: &ConfigUpdate| !update.clusters.is_empty() && !update.is_partial;
    let first = bounded(next_update(&mut mesh, served)).await;
    // Longer than a change waits for others.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!path.exists(), "nobody said that it is in force");
    mesh.refused(first.origin.clone());
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!path.exists(), "it is refused");
    mesh.in_force(first.origin.clone());
    written(&path, None).await;
    let copy = std::fs::read(&path).unwrap();

    // What comes then is refused, and the end does not write it.
    plane.server.publish(serving(&["shop"], 2));
    let event = bounded(mesh.next()).await;
    let second = match event {
        SourceEvent::Endpoints(update) => update.origin,
        other => panic!("{other:?}"),
    };
    mesh.refused(second);
    tokio::time::sleep(Duration::from_millis(100)).await;
    drop(mesh);
    bounded(running).await.unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), copy);
}

/// The next configuration of this kind.
async fn next_update(
    mesh: &mut SinkReceiver,
    is_it: impl Fn(&ConfigUpdate) -> bool,
) -> ConfigUpdate {
    loop {
        if let SourceEvent::Update(update) = mesh.next().await
            && is_it(&update)
        {
            return update;
        }
    }
}

#[tokio::test]
async fn a_copy_that_can_not_be_written_is_counted_and_changes_no_call() {
    const WRITES: &str = "mesh_xds_copy_writes_total";
    let directory = tempfile::tempdir().unwrap();
    let plane = Plane::up(serving(&["shop"], 1)).await;
    let without = mesh(XdsSource::new(bootstrap(&[&plane])));
    assert_eq!(answer(&without, "shop").await, "first");
    assert!(!without.metrics().prometheus_text().contains(WRITES));

    // A directory that vanishes, and one that never was.
    let gone = directory.path().join("gone");
    std::fs::create_dir(&gone).unwrap();
    for place in [gone.join("last-good"), directory.path().join("no/such/last-good")] {
        let of = |mesh: &Mesh, outcome| metric(mesh, WRITES, &[("outcome", outcome)]);
        let mesh = mesh(source_of(&plane, &place));
        let _removed = std::fs::remove_dir(&gone);
        assert_eq!(answer(&mesh, "shop").await, "first");
        eventually("it is counted", || of(&mesh, "failed") == 1).await;
        assert_eq!(of(&mesh, "written"), 0);
        assert_eq!(mesh.configuration().refused, None);
        assert_eq!(answer(&mesh, "shop").await, "first");
    }
}

// === What is let go of ===

#[tokio::test]
async fn an_authority_that_no_call_uses_is_let_go_of_and_asked_for_again() {
    let plane = Plane::up(serving(&["shop", "cart"], 1)).await;
    let source = XdsSource::new(bootstrap(&[&plane])).idle_timeout(Duration::from_secs(1));
    let mesh = mesh(source);
    // What leaves the configuration leaves the metrics.
    let shop = || metric(&mesh, "mesh_calls_total", &[("virtual_host", "shop")]);
    for _ in 0..2 {
        assert_eq!(answer(&mesh, "shop").await, "first");
        assert_eq!((plane.streams(), shop()), (1, 1));
        let begun = Instant::now();
        while shop() > 0 {
            assert!(begun.elapsed() < Duration::from_secs(20), "it is never let go of");
            assert_eq!(answer(&mesh, "cart").await, "first", "the one that is used stays");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(begun.elapsed() >= Duration::from_secs(1));
        eventually("nothing is asked for, and there is no stream", || plane.streams() == 0).await;
    }
}

#[tokio::test]
async fn what_the_program_asked_for_stays() {
    let plane = Plane::up(serving(&["shop"], 1)).await;
    let source = XdsSource::new(bootstrap(&[&plane])).idle_timeout(Duration::from_secs(1));
    let mesh = mesh(source.authority("shop"));
    bounded(mesh.ready()).await.unwrap();
    let generation = mesh.configuration().generation;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!((plane.streams(), mesh.configuration().generation), (1, generation));
}

// === Ready ===

#[tokio::test]
async fn ready_waits_for_what_is_asked_for_from_the_start() {
    let mut plane = Plane::down(serving(&["shop"], 1)).await;
    let mesh = mesh(XdsSource::new(bootstrap(&[&plane])).authority("shop"));
    let early = tokio::time::timeout(Duration::from_millis(500), mesh.ready()).await;
    assert!(early.is_err(), "nothing is known yet");
    plane.start().await;
    bounded(mesh.ready()).await.unwrap();
    let begun = Instant::now();
    assert_eq!(answer(&mesh, "shop").await, "first");
    assert!(begun.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn ready_waits_for_nothing_when_nothing_is_asked_for() {
    let plane = Plane::down(serving(&[], 1)).await;
    let mesh = mesh(XdsSource::new(bootstrap(&[&plane])));
    bounded(mesh.ready()).await.unwrap();
    assert_eq!(plane.streams(), 0);
}
