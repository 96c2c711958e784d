//! Calls do not notice what becomes of the control plane: replicas that die, hang, come back with other
//! things to say, flap or lie. Not one call fails, and once it is well again an update goes live.
//!
//! The control plane is `mesh ads` as a process, ended and stopped by its own number. A process that starts
//! while its control plane is away is not among these.
#![cfg(unix)]

mod liar;
pub(crate) mod load;

use futures_util::FutureExt;
use liar::{Liar, Lie};
use load::{Load, PATIENCE, endpoint};
use mesh_tower::Mesh;
use mesh_tower::source::{Bootstrap, Variant, XdsSource};
use std::io::{Read, Write};
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};

const VARIANTS: [Variant; 2] = [Variant::StateOfTheWorld, Variant::Delta];

/// `mesh ads` on a port of its own choice or on one that it had before; killed when dropped.
struct Ads {
    child: Child,
    admin: u16,
}

impl Drop for Ads {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}

impl Ads {
    async fn start(port: u16, file: &Path) -> Self {
        let [admin] = free_ports();
        let child = Command::new(env!("CARGO_BIN_EXE_mesh"))
            .args(["ads", "--listen", &format!("127.0.0.1:{port}")])
            .args(["--admin", &format!("127.0.0.1:{admin}")])
            .arg(file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let ads = Self { child, admin };
        until("mesh ads listens", async || {
            TcpStream::connect(("127.0.0.1", port)).await.is_ok()
                && TcpStream::connect(("127.0.0.1", admin)).await.is_ok()
        })
        .await;
        ads
    }

    /// Sends it a signal, such as `-STOP`.
    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status();
        assert!(sent.unwrap().success(), "{signal}");
    }

    fn page(&self, path: &str) -> String {
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", self.admin)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    /// The sum of one of its counters over all types.
    fn counter(&self, name: &str) -> u64 {
        let page = self.page("/metrics");
        let counters = page.lines().filter(|line| line.starts_with(&format!("{name}{{type=")));
        counters.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    }

    fn has_a_client(&self) -> bool {
        self.page("/clients").contains("\"chaos\"")
    }
}

/// A `mesh.yaml` that sends `shop` to one of two endpoints, and the ports of two control planes.
struct World {
    directory: tempfile::TempDir,
    endpoints: [u16; 2],
    ports: [u16; 2],
}

impl World {
    async fn new() -> Self {
        let endpoints = [endpoint("one").await, endpoint("two").await];
        let world =
            Self { directory: tempfile::tempdir().unwrap(), endpoints, ports: free_ports() };
        world.leads_to(0);
        world
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("mesh.yaml")
    }

    /// From now on the file leads to this endpoint, through a cluster of its own.
    fn leads_to(&self, place: usize) {
        let (cluster, port) = (["one", "two"][place], self.endpoints[place]);
        let text = format!(
            "version: 1\nvirtual_hosts:\n  shop: {{ routes: [{{ cluster: {cluster} }}] }}\n\
             clusters:\n  {cluster}: {{ endpoints: [\"127.0.0.1:{port}\"] }}\n"
        );
        std::fs::write(self.file(), text).unwrap();
    }

    async fn ads(&self, replica: usize) -> Ads {
        Ads::start(self.ports[replica], &self.file()).await
    }

    /// A mesh that asks both replicas, the first one first.
    fn mesh(&self, variant: Variant) -> Mesh {
        let [one, two] = self.ports;
        let bootstrap = format!(
            r#"{{ "xds_servers": [{{ "server_uri": "ipv4:127.0.0.1:{one},127.0.0.1:{two}",
                                     "channel_creds": [{{ "type": "insecure" }}] }}],
                  "node": {{ "id": "chaos" }} }}"#
        );
        let source = XdsSource::new(Bootstrap::parse(&bootstrap).unwrap()).variant(variant);
        Mesh::builder().source(source).build().unwrap()
    }
}

/// Ports that nobody listens on now, and that no connection takes meanwhile: they are below those that the
/// system gives to connections.
fn free_ports<const N: usize>() -> [u16; N] {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    [(); N].map(|()| {
        loop {
            let next =
                std::process::id().wrapping_mul(101).wrapping_add(NEXT.fetch_add(1, Relaxed));
            let port = 20_000 + (next % 12_000) as u16;
            if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
                break port;
            }
        }
    })
}

/// Listens where somebody did a moment ago.
async fn listen(port: u16) -> TcpListener {
    let begun = Instant::now();
    loop {
        match TcpListener::bind(("127.0.0.1", port)).await {
            Ok(listener) => return listener,
            Err(error) => assert!(begun.elapsed() < PATIENCE, "{port}: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < PATIENCE, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_dies_pushes_nothing_and_fails_nothing() {
    for variant in VARIANTS {
        let why = format!("{variant:?}");
        let world = World::new().await;
        let (first, second) = (world.ads(0).await, world.ads(1).await);
        let mesh = world.mesh(variant);
        let load = Load::start(&mesh, "one").await;
        assert!(first.has_a_client() && !second.has_a_client(), "{why}");
        let before = mesh.configuration();

        drop(first);
        until("it went to the other replica", async || second.has_a_client()).await;
        load.stays_at("one", Duration::from_millis(500), &why).await;
        assert_eq!(mesh.configuration(), before, "{why}: the same content is the same version");
        // Delta says what it holds, and hears that nothing is new. The state of the world is told again.
        let pushes = second.counter("mesh_ads_pushes_total");
        assert_eq!(pushes == 0, variant == Variant::Delta, "{why}: {pushes} pushes");
        assert_eq!(second.counter("mesh_ads_nacks_total"), 0, "{why}");

        // And back again, while the first one is up once more.
        let first = world.ads(0).await;
        drop(second);
        until("it went back", async || first.has_a_client()).await;
        load.stays_at("one", Duration::from_millis(500), &why).await;
        assert_eq!(mesh.configuration(), before, "{why}: the same content is the same version");

        world.leads_to(1);
        load.reaches("two", &why).await;
        load.end(&why);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_control_plane_that_comes_back_with_other_things_to_say() {
    for variant in VARIANTS {
        let why = format!("{variant:?}");
        let world = World::new().await;
        let ads = world.ads(0).await;
        let mesh = world.mesh(variant);
        let load = Load::start(&mesh, "one").await;

        // Newer, after a while without any; then the older one again.
        drop(ads);
        load.stays_at("one", Duration::from_millis(1_500), &why).await;
        world.leads_to(1);
        let ads = world.ads(0).await;
        load.reaches("two", &why).await;
        drop(ads);
        world.leads_to(0);
        let ads = world.ads(0).await;
        load.reaches("one", &why).await;

        // One that has nothing for us: what was learnt stays.
        drop(ads);
        std::fs::write(world.file(), "version: 1\n").unwrap();
        let ads = world.ads(0).await;
        until("it asked there", async || ads.has_a_client()).await;
        load.stays_at("one", Duration::from_millis(500), &why).await;
        world.leads_to(1);
        load.reaches("two", &why).await;
        load.end(&why);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_control_plane_that_hangs() {
    for variant in VARIANTS {
        let why = format!("{variant:?}");
        let world = World::new().await;
        let ads = world.ads(0).await;
        let mesh = world.mesh(variant);
        let load = Load::start(&mesh, "one").await;
        let before = mesh.configuration();

        ads.signal("-STOP");
        world.leads_to(1);
        load.stays_at("one", Duration::from_secs(3), &why).await;
        assert_eq!(mesh.configuration(), before, "{why}");
        ads.signal("-CONT");
        load.reaches("two", &why).await;

        // It hangs when it is asked anew, too: one that accepts and never says a word.
        ads.signal("-STOP");
        load.stays_at("two", Duration::from_millis(500), &why).await;
        ads.signal("-KILL");
        drop(ads);
        let silent = Liar::start(world.ports[0], Lie::Silence).await;
        until("it was asked", async || silent.told() > 0).await;
        load.stays_at("two", Duration::from_millis(500), &why).await;
        silent.end().await;
        world.leads_to(0);
        let _ads = world.ads(0).await;
        load.reaches("one", &why).await;
        load.end(&why);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_control_plane_that_flaps_fifty_times() {
    let world = World::new().await;
    let mut ads = Some(world.ads(0).await);
    let meshes = VARIANTS.map(|variant| world.mesh(variant));
    let loads = [Load::start(&meshes[0], "one").await, Load::start(&meshes[1], "one").await];
    let before = meshes.each_ref().map(Mesh::configuration);
    for flap in 0..50 {
        drop(ads.take());
        // From hardly away to away for as long as an attempt lasts.
        tokio::time::sleep(Duration::from_millis(flap % 5 * 40)).await;
        ads = Some(world.ads(0).await);
        tokio::time::sleep(Duration::from_millis(flap % 7 * 20)).await;
    }
    let after = meshes.each_ref().map(Mesh::configuration);
    assert_eq!(after, before, "the same content is the same version");
    world.leads_to(1);
    for (load, variant) in loads.iter().zip(VARIANTS) {
        load.reaches("two", &format!("{variant:?}")).await;
    }
    for (load, variant) in loads.into_iter().zip(VARIANTS) {
        load.end(&format!("{variant:?}"));
    }
}

/// One lie: the control plane goes away, a liar takes its place, and goes away again.
async fn survives(lie: Lie, variant: Variant) {
    let why = format!("{lie:?}, {variant:?}");
    let world = World::new().await;
    let ads = world.ads(0).await;
    let mesh = world.mesh(variant);
    let load = Load::start(&mesh, "one").await;
    drop(ads);
    let liar = Liar::start(world.ports[0], lie).await;
    until(&format!("{why}: it was lied to"), async || liar.told() > 0).await;
    load.stays_at("one", Duration::from_secs(2), &why).await;
    liar.end().await;
    world.leads_to(1);
    let _ads = world.ads(0).await;
    load.reaches("two", &why).await;
    load.end(&why);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_control_plane_that_lies() {
    let all = Lie::ALL.into_iter().flat_map(|lie| VARIANTS.map(|variant| (lie, variant)));
    // One that fails is not to hide the others.
    let all = all.map(|(lie, variant)| AssertUnwindSafe(survives(lie, variant)).catch_unwind());
    let ended = futures_util::future::join_all(all).await;
    let failed = ended.iter().filter(|ended| ended.is_err()).count();
    assert_eq!(failed, 0, "of {}; why is above", ended.len());
}
