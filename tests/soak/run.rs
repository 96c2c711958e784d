//! One run: everything is started, load and faults come and go, everything is ended.

use crate::calls::Calls;
use crate::faults::{Broken, Fault, Needs};
use crate::lines::{FORMAT, Filed, Piped};
use crate::load::Load;
use crate::network::{Disk, Network};
use crate::place::{BACKENDS, Place};
use crate::process::{Figures, PATIENCE, Process};
use crate::settings::Settings;
use crate::verdict::{Use, Verdict};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

const TICK: Duration = Duration::from_millis(200);
/// Room for some minutes of lines, and for a copy of the configuration.
const DISK: &str = "4m";

/// All processes, and what is between them.
pub(crate) struct World {
    pub(crate) near: Process,
    pub(crate) far: Process,
    pub(crate) ads: Option<Process>,
    pub(crate) backends: [Option<Process>; BACKENDS],
    pub(crate) near_log: Piped,
    pub(crate) far_log: Filed,
    pub(crate) network: Network,
    _disk: Option<Disk>,
    pub(crate) place: Place,
    settings: Settings,
}

impl World {
    fn start(settings: &Settings, namespaces: bool) -> Self {
        let network = if namespaces { Network::lay() } else { Network::none() };
        let place = Place::new(network.address(), settings.keep);
        println!("in {}", place.directory().display());
        let disk = namespaces.then(|| Disk::mount(&place.path("disk"), DISK));
        let backends = std::array::from_fn(|at| Some(backend(&network, &place, at)));
        let ads = ads(settings, &network, &place);
        let far_log = place.path("disk/app.log");
        let mut command = network.far(&settings.mesh);
        command.args(["proxy", "--config", "app.yaml", "--workers", "2", "--access-log"]);
        command.arg(&far_log).args(["--access-log-format", FORMAT]);
        command.args(["--admin", &place.ports.far_admin.to_string()]);
        let mut far = Process::start("app", command.current_dir(place.directory()), Stdio::null());
        far.listens(place.ports.far_admin);
        let mut command = Command::new(&settings.mesh);
        command.args([
            "proxy",
            "--config",
            "web.yaml",
            "--xds",
            "bootstrap.json",
            "--workers",
            "2",
        ]);
        command.args(["--last-good", "disk/last-good", "--access-log", "stdout"]);
        command.args(["--access-log-format", FORMAT]);
        command.args(["--admin", &place.ports.near_admin.to_string()]);
        command.current_dir(place.directory());
        let mut near = Process::start("web", &mut command, Stdio::piped());
        let near_log = Piped::new(near.take_output());
        for port in [place.ports.web, place.ports.bytes] {
            near.listens(port);
        }
        let (far_log, settings) = (Filed::new(&far_log), settings.clone());
        let ads = Some(ads);
        Self { near, far, ads, backends, near_log, far_log, network, _disk: disk, place, settings }
    }

    pub(crate) fn backend(&mut self, at: usize) -> &mut Process {
        self.backends[at].as_mut().unwrap()
    }

    pub(crate) fn start_backend(&mut self, at: usize) {
        self.backends[at] = Some(backend(&self.network, &self.place, at));
    }

    pub(crate) fn start_ads(&mut self) {
        self.ads = Some(ads(&self.settings, &self.network, &self.place));
    }

    /// Whoever has ended, and nobody told it to.
    fn gone(&mut self) -> Option<String> {
        let all = [&mut self.near, &mut self.far].into_iter();
        let all = all.chain(&mut self.ads).chain(self.backends.iter_mut().flatten());
        for process in all {
            if let Some(status) = process.ended() {
                let last = process.complaints().join("\n  ");
                return Some(format!("{} ended: {status}\n  {last}", process.name));
            }
        }
        None
    }

    fn figures(&self) -> [Figures; 2] {
        [self.near.figures(), self.far.figures()]
    }

    /// The log before the backends is moved away, and goes on in a new file.
    fn rotate(&self) {
        self.far_log.move_away();
        self.far.signal("HUP");
    }
}

fn backend(network: &Network, place: &Place, at: usize) -> Process {
    let [http, bytes] = place.ports.backend[at];
    let mut command = network.far(std::env::current_exe().unwrap());
    let name = format!("backend-{at}");
    command.args(["backend", &name]).args([http.to_string(), bytes.to_string()]);
    let mut process = Process::start(&name, &mut command, Stdio::null());
    process.listens(bytes);
    process
}

fn ads(settings: &Settings, network: &Network, place: &Place) -> Process {
    let mut command = network.far(&settings.mesh);
    command.args(["ads", "--listen", &place.ports.ads.to_string()]);
    command.args(["--admin", &place.ports.ads_admin.to_string(), "served.yaml"]);
    let mut process = Process::start("ads", command.current_dir(place.directory()), Stdio::null());
    process.listens(place.ports.ads);
    process
}

/// The faults that there are in this run, without end, each once before one comes again.
fn faults(settings: &Settings, namespaces: &Result<(), String>) -> Vec<Fault> {
    let wanted = |fault: &Fault| {
        settings.only.as_ref().is_none_or(|only| fault.name().starts_with(only.as_str()))
    };
    let mut there = Vec::new();
    for fault in Fault::ALL.into_iter().filter(wanted) {
        match (fault.needs(), namespaces) {
            (Needs::Namespaces, Err(why)) => println!("left out: {}: {why}", fault.name()),
            _ => there.push(fault),
        }
    }
    assert!(!there.is_empty(), "no fault is called so");
    there
}

/// Runs, and says what it found.
pub(crate) fn soak(settings: &Settings, namespaces: &Result<(), String>) -> ExitCode {
    println!("seed {}", settings.seed);
    let mut random = fastrand::Rng::with_seed(settings.seed);
    let faults = faults(settings, namespaces);
    let runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = { runtime }.worker_threads(2).enable_all().build().unwrap();
    let mut world = World::start(settings, namespaces.is_ok());
    let mut verdict = Verdict::new(world.figures());
    let calls = Arc::new(Calls::new());
    let ports = [world.place.ports.web, world.place.ports.bytes];
    let load = runtime.block_on(async { Load::start(&calls, ports, settings) });

    let begun = Instant::now();
    watch(&mut world, &mut verdict, settings.warm_up());
    verdict.warm = world.figures();
    let end = settings.minutes.map(|minutes| begun + Duration::from_secs(60 * minutes));
    'all: loop {
        let mut order = faults.clone();
        random.shuffle(&mut order);
        for fault in order {
            if verdict.crashed.is_some() || end.is_some_and(|end| Instant::now() > end) {
                break 'all;
            }
            one(settings, &mut world, &mut verdict, &calls, fault, &mut random);
        }
        if end.is_none() {
            break;
        }
    }
    calls.during("none, at the end", false);
    runtime.block_on(load.end());
    settle(&mut world, &mut verdict);
    verdict.seconds = begun.elapsed().as_secs();
    finish(&mut world, &mut verdict);
    let explained = calls.explained(&world.near_log.lines, &world.far_log.lines);
    let all: Vec<_> =
        explained.iter().map(|(failed, why)| format!("{why:?} {failed:?}\n")).collect();
    world.place.write("failed", &all.concat());
    for (name, lines) in [("web", &*world.near_log.lines), ("app", &world.far_log.lines)] {
        world.place.write(&format!("{name}.flags"), &lines.text());
    }
    verdict.tell(&calls, &explained, [world.near_log.lines.count(), world.far_log.lines.count()])
}

/// A fault, and the time until the next one.
fn one(
    settings: &Settings,
    world: &mut World,
    verdict: &mut Verdict,
    calls: &Calls,
    fault: Fault,
    random: &mut fastrand::Rng,
) {
    let begun = Instant::now();
    let name = fault.name();
    let [web, app] = world.figures();
    println!("{:4} s  {name:26} web {web}; app {app}", verdict.begun.elapsed().as_secs());
    calls.during(
        &name,
        !fault.may_cost() && !std::mem::replace(&mut verdict.costly, fault.may_cost()),
    );
    let before = calls.count();
    let broken = Broken::now(fault, world, random);
    watch(world, verdict, settings.lasts());
    broken.mend(world);
    calls.mended(&name);
    world.rotate();
    watch(world, verdict, settings.period().saturating_sub(begun.elapsed()));
    world.far_log.take();
    verdict.fault(&name, calls.count() - before);
}

/// Looks what everybody uses, and whether everybody is there, for so long.
fn watch(world: &mut World, verdict: &mut Verdict, time: Duration) {
    let until = Instant::now() + time;
    while Instant::now() < until && verdict.crashed.is_none() {
        thread::sleep(TICK.min(until.saturating_duration_since(Instant::now())));
        verdict.crashed = world.gone();
        verdict.sample(world.figures());
    }
}

/// Without load, everything is given back: connections that nobody uses are closed after some seconds.
fn settle(world: &mut World, verdict: &mut Verdict) {
    let until = Instant::now() + PATIENCE;
    while verdict.crashed.is_none() {
        verdict.after = world.figures();
        if verdict.leaks().is_empty() || Instant::now() > until {
            break;
        }
        thread::sleep(TICK);
        verdict.crashed = world.gone();
    }
}

/// Ends both proxies, and reads their logs to the end.
fn finish(world: &mut World, verdict: &mut Verdict) {
    let admins = [world.place.ports.near_admin, world.place.ports.far_admin];
    verdict.pages = admins.map(|address| page(address).unwrap_or_default());
    for (name, page) in ["web", "app"].into_iter().zip(&verdict.pages) {
        world.place.write(&format!("{name}.stats"), page);
    }
    for process in [&mut world.near, &mut world.far] {
        if process.ended().is_none() {
            process.signal("TERM");
        }
        match process.wait(PATIENCE * 2) {
            Some(status) if status.success() => {}
            status => verdict.ended_badly.push(format!("{}: {status:?}", process.name)),
        }
        let complaints = process.complaints();
        let panics = complaints.iter().filter(|line| line.contains("panicked"));
        verdict.ended_badly.extend(panics.map(|line| format!("{}: {line}", process.name)));
        verdict.complaints.push(Use { name: process.name.clone(), lines: complaints });
    }
    world.near_log.end();
    world.far_log.end();
}

/// All metrics.
fn page(address: SocketAddr) -> std::io::Result<String> {
    use std::io::{Read, Write};
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET /stats HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    assert!(text.starts_with("HTTP/1.1 200 "), "{address}: {text}");
    Ok(text)
}
