//! The mesh, in a process of its own, and what its changes cost.

use crate::Arguments;
use crate::measure;
use crate::world::{self, World};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Empty;
use mesh_core::model::Address;
use mesh_tower::source::{Bootstrap, Variant, XdsSource};
use mesh_tower::{CallOptions, Endpoint, Mesh, MeshBody, MeshLayer};
use parking_lot::Mutex;
use std::convert::Infallible;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tower::{Layer as _, ServiceExt as _, service_fn};

/// Changes whose time is taken one by one.
const TIMED: u32 = 100;

/// Measures one run.
pub(crate) fn run(arguments: &Arguments) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(measure(arguments));
}

async fn measure(arguments: &Arguments) {
    let only = arguments.only.as_deref().expect("a run");
    let variant = if only.starts_with("delta") { Variant::Delta } else { Variant::StateOfTheWorld };
    let world = arguments.world;
    let (mut server, address) = Server::start(arguments, only);
    let bootstrap = format!(
        r#"{{ "xds_servers": [{{ "server_uri": "{address}",
              "channel_creds": [{{ "type": "insecure" }}] }}], "node": {{ "id": "scale" }} }}"#
    );
    let bootstrap = Bootstrap::parse(&bootstrap).expect("a good bootstrap");
    let mut source = XdsSource::new(bootstrap).variant(variant);
    for authority in world.authorities() {
        source = source.authority(&authority);
    }
    let begun = Instant::now();
    let mesh = Mesh::builder().source(source).build().expect("a mesh");
    let caller = Caller { world, mesh: mesh.clone() };
    for number in 0..world.clusters {
        caller.call(number).await;
    }
    let first = begun.elapsed();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let [resident, highest] = measure::memory();
    let generation = mesh.configuration().generation;
    println!(
        "  client: first complete configuration after {:.2} s ({generation} applied), CPU {:.2} s, \
         {resident} MiB resident, at most {highest}",
        first.as_secs_f64(),
        measure::cpu().as_secs_f64()
    );
    let before = server.stat();
    println!(
        "  server: CPU {:.2} s, {} MiB resident, at most {}, {:.1} MB sent, {:.1} MB received",
        before.cpu.as_secs_f64(),
        before.resident,
        before.highest,
        before.down as f64 / 1e6,
        before.up as f64 / 1e6
    );
    timed(&caller, &mut server).await;
    many(&caller, &mut server, arguments.changes).await;
}

/// Single changes, each until a call goes to the new endpoint.
async fn timed(caller: &Caller, server: &mut Server) {
    let (mut times, mut published) = (Vec::new(), Vec::new());
    for change in 0..TIMED {
        let number = change * 97 % caller.world.clusters;
        let generation = caller.mesh.configuration().generation;
        server.ask(&format!("change {number}"));
        let wait = caller.mesh.applied(generation + 1);
        tokio::time::timeout(Duration::from_secs(60), wait)
            .await
            .expect("a change within a minute")
            .expect("a mesh that runs");
        let [at, micros, changed] = server.answer();
        let new = world::changed_address(u32::try_from(changed).expect("a small number"));
        while !caller.reaches(number, new).await {
            tokio::task::yield_now().await;
        }
        times.push(measure::wall().saturating_sub(at));
        published.push(micros * 1000);
        // The next one must not be merged with what is left of this one.
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    println!("  {TIMED} changed endpoints, to a call: {}", measure::percentiles(times));
    println!("    of that, encoding and publishing: {}", measure::percentiles(published));
}

/// Changes one after the other: CPU time and bytes.
async fn many(caller: &Caller, server: &mut Server, changes: u32) {
    let (before, begun) = (measure::cpu(), Instant::now());
    let there = server.stat();
    for change in 0..changes {
        let generation = caller.mesh.configuration().generation;
        server.ask(&format!("change {}", change * 61 % caller.world.clusters));
        caller.mesh.applied(generation + 1).await.expect("a mesh that runs");
        let [_, _, _] = server.answer();
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let (cpu, after) = (measure::cpu() - before, server.stat());
    let each = |total: u64, before: u64| (total - before) as f64 / f64::from(changes);
    println!(
        "  {changes} changed endpoints: client CPU {:.3} s, server CPU {:.3} s, {:.1} s by the clock; each \
         {:.0} bytes down, {:.0} up",
        cpu.as_secs_f64(),
        (after.cpu - there.cpu).as_secs_f64(),
        begun.elapsed().as_secs_f64(),
        each(after.down, there.down),
        each(after.up, there.up)
    );
    let [resident, highest] = measure::memory();
    println!("  client after that: {resident} MiB resident, at most {highest}");
}

/// Makes calls that go nowhere: what is looked at is the endpoint that was picked.
struct Caller {
    world: World,
    mesh: Mesh,
}

impl Caller {
    /// Where a call to a cluster goes.
    async fn call(&self, number: u32) -> Address {
        let went = Arc::new(Mutex::new(None));
        let transport = service_fn({
            let went = Arc::clone(&went);
            move |request: Request<MeshBody>| {
                let endpoint = request.extensions().get::<Endpoint>();
                *went.lock() = endpoint.map(|to| to.address.clone());
                std::future::ready(Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())))
            }
        });
        let mut request =
            Request::get(self.world.uri(number)).body(MeshBody::empty()).expect("a request");
        request.extensions_mut().insert(CallOptions::new().timeout(Duration::from_secs(600)));
        let service = MeshLayer::new(&self.mesh).layer(transport);
        service.oneshot(request).await.expect("an answer");
        let went = went.lock().take();
        went.expect("an endpoint")
    }

    /// Whether one of as many calls as there are endpoints goes to `address`.
    async fn reaches(&self, number: u32, address: std::net::SocketAddr) -> bool {
        for _ in 0..=self.world.endpoints {
            if self.call(number).await == Address::Socket(address) {
                return true;
            }
        }
        false
    }
}

/// The control plane's process.
struct Server {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

struct Stat {
    cpu: Duration,
    resident: u64,
    highest: u64,
    down: u64,
    up: u64,
}

impl Server {
    fn start(arguments: &Arguments, only: &str) -> (Self, String) {
        let mut command = arguments.command("--serve", only);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a server");
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take().expect("its output"));
        let mut server = Self { child, stdin, stdout: BufReader::new(stdout) };
        let line = server.line();
        let words: Vec<_> = line.split_whitespace().collect();
        let [address, built, encoded, resident] = words[..] else { panic!("{line}") };
        println!(
            "  server: configuration made in {built} ms, encoded in {encoded} ms, {resident} MiB \
             resident"
        );
        (server, address.to_owned())
    }

    fn ask(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("its input");
        writeln!(stdin, "{line}").expect("a server that runs");
    }

    fn answer<const N: usize>(&mut self) -> [u64; N] {
        let line = self.line();
        let numbers: Vec<u64> =
            line.split_whitespace().map(|word| word.parse().expect("a number")).collect();
        numbers.try_into().expect("as many numbers as are asked for")
    }

    fn stat(&mut self) -> Stat {
        self.ask("stat");
        let [cpu, resident, highest, down, up] = self.answer();
        Stat { cpu: Duration::from_micros(cpu), resident, highest, down, up }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("a server that runs");
        line
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Its input ends, and so does it.
        drop(self.stdin.take());
        let _ended = self.child.wait();
    }
}
