//! A proxy, an application behind it, a client that behaves, and what is measured meanwhile.

use crate::proxy::{PATIENCE, Place, Running, binary, page};
use parking_lot::Mutex;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How long an attack goes on.
pub(super) fn time() -> Duration {
    match seconds() {
        Some(seconds) => Duration::from_secs(seconds),
        None => Duration::from_millis(300),
    }
}

/// Of the long form.
pub(super) fn seconds() -> Option<u64> {
    std::env::var("MESH_ABUSE_SECONDS").ok()?.parse().ok()
}

/// What `/big` answers with.
const BIG: usize = 8 * 1024 * 1024;

/// How often the application was asked for `/smuggled`, which nobody asks for.
pub(super) static SMUGGLED: AtomicU64 = AtomicU64::new(0);

/// The application: a thread for each connection. It reads bodies to their end, which may never come.
fn application() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            thread::spawn(move || answer(&stream));
        }
    });
    address
}

/// Until the connection breaks.
fn answer(mut stream: &TcpStream) -> Option<()> {
    // A head and what follows it are two pieces.
    stream.set_nodelay(true).ok()?;
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    loop {
        let (mut first, mut line, mut chunked, mut length) =
            (String::new(), String::new(), false, 0);
        reader.read_line(&mut first).ok().filter(|read| *read > 0)?;
        while reader.read_line(&mut line).ok().filter(|read| *read > 0).is_some() {
            let header = line.to_ascii_lowercase();
            chunked |= header.starts_with("transfer-encoding:");
            length = header
                .strip_prefix("content-length:")
                .map_or(length, |value| value.trim().parse().unwrap_or(0));
            if line == "\r\n" {
                break;
            }
            line.clear();
        }
        if first.contains("/smuggled") {
            SMUGGLED.fetch_add(1, Ordering::Relaxed);
        }
        if chunked {
            let mut rest = vec![0; 64 * 1024];
            let mut end = Vec::new();
            while !end.ends_with(b"0\r\n\r\n") {
                let read = reader.read(&mut rest).ok().filter(|read| *read > 0)?;
                end = rest[read.saturating_sub(5)..read].to_vec();
            }
        } else if length > 0 {
            std::io::copy(&mut Read::take(&mut reader, length), &mut std::io::sink()).ok()?;
        }
        let length = if first.contains("/big") { BIG } else { 2 };
        write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n").ok()?;
        // In pieces: it is the proxy whose memory is looked at.
        let piece = [b'x'; 16 * 1024];
        let mut left = length;
        while left > 0 {
            left -= stream.write(&piece[..left.min(piece.len())]).ok()?;
        }
    }
}

/// A proxy that runs, with its ports.
pub(super) struct World {
    /// Its lines are for one thread.
    _running: Mutex<Running>,
    process: u32,
    admin: String,
    pub(super) outbound: SocketAddr,
    pub(super) inbound: SocketAddr,
    /// Mutual TLS, with the same application.
    pub(super) secured: SocketAddr,
    /// Behind proxies that say who connects.
    pub(super) behind: SocketAddr,
    _place: Place,
}

const PORTS: &str = "
identity: { cert: certs/web.pem, key: certs/web-key.pem, roots: certs/ca.pem }
virtual_hosts: { a: { routes: [{ cluster: a }] } }
clusters: { a: { endpoints: [\"APP\"], tls: off } }
outbound: { out: { listen: \"HOST:8004\" } }
inbound:
  behind: { listen: \"HOST:8001\", mtls: off, proxy_protocol: true, allow: ALL, forward: { address: \"APP\" } }
  open: { listen: \"HOST:8002\", mtls: off, allow: ALL, forward: { address: \"APP\" } }
  secured: { listen: \"HOST:8003\", allow: ALL, forward: { address: \"APP\" } }
";

/// An address of this machine that is nobody else's: a port that is free now may be a client's a moment later.
fn host() -> String {
    static WORLDS: AtomicU32 = AtomicU32::new(0);
    let (process, world) = (std::process::id(), WORLDS.fetch_add(1, Ordering::Relaxed));
    format!("127.{}.{}.{}", process % 250 + 1, process / 250 % 250, world % 250 + 1)
}

impl World {
    pub(super) fn new(arguments: &[&str]) -> Self {
        Self::with(|place| place.proxy(&[&["--admin", "127.0.0.1:0"], arguments].concat()))
    }

    /// With a command that begins it.
    pub(super) fn with(command: impl FnOnce(&Place) -> Command) -> Self {
        let app = application().to_string();
        let all = "[{ from: anyone, match: { prefix: / } }]";
        let text = PORTS.replace("APP", &app).replace("ALL", all).replace("HOST", &host());
        let place = Place::new(&text);
        let certs = Command::new(binary())
            .args(["certs", "new", "--out", "certs", "web"])
            .current_dir(place.0.path())
            .output()
            .unwrap();
        assert!(certs.status.success(), "{certs:?}");
        let running = Running::start(&mut command(&place));
        let line = running.line();
        let admin = line.strip_prefix("admin on http://").unwrap().trim_end_matches('/').to_owned();
        let port = |name: &str| -> SocketAddr {
            let line = running.line();
            let (found, address) = line.split_once(" on ").unwrap();
            assert_eq!(found, name);
            address.parse().unwrap()
        };
        let (behind, inbound) = (port("behind"), port("open"));
        let (outbound, secured) = (port("outbound|out"), port("secured"));
        let (process, running) = (running.child.id(), Mutex::new(running));
        Self {
            _running: running,
            process,
            admin,
            outbound,
            inbound,
            secured,
            behind,
            _place: place,
        }
    }

    /// Resident memory, in bytes.
    pub(super) fn resident(&self) -> u64 {
        let path = format!("/proc/{}/statm", self.process);
        let text = fs::read_to_string(path).unwrap();
        let pages: u64 = text.split(' ').nth(1).unwrap().parse().unwrap();
        pages * 4096
    }

    /// The sum of the series that begin with `name`, in which each of `parts` is.
    pub(super) fn metric(&self, name: &str, parts: &[&str]) -> u64 {
        let stats = page(&self.admin, "GET /stats");
        let of = stats
            .lines()
            .filter(|line| line.starts_with(name) && parts.iter().all(|part| line.contains(part)));
        of.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap() as u64).sum()
    }

    /// The page of the admin.
    pub(super) fn page(&self, path: &str) -> String {
        page(&self.admin, &format!("GET {path}"))
    }

    #[track_caller]
    pub(super) fn eventually(&self, what: &str, mut is: impl FnMut(&Self) -> bool) {
        let until = Instant::now() + PATIENCE;
        while !is(self) {
            assert!(Instant::now() < until, "{what}: {}", page(&self.admin, "GET /stats"));
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// A connection that is attacked over; nothing waits for ever.
pub(super) fn connect(port: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(port).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Asks for `/`, over a connection that is kept if `stream` is one. The status, or why there is none.
pub(super) fn get(port: SocketAddr, stream: &mut Option<TcpStream>) -> Result<u16, String> {
    let mut ask = || -> std::io::Result<u16> {
        let mut io = match stream.take() {
            Some(io) => io,
            None => {
                let io = TcpStream::connect(port)?;
                io.set_read_timeout(Some(PATIENCE))?;
                io
            }
        };
        io.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")?;
        let (mut answer, mut piece) = (Vec::new(), [0; 1024]);
        loop {
            let read = io.read(&mut piece)?;
            if read == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            answer.extend_from_slice(&piece[..read]);
            let text = String::from_utf8_lossy(&answer);
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let head = head.to_ascii_lowercase();
            let length = head
                .split("content-length: ")
                .nth(1)
                .and_then(|rest| rest.split("\r\n").next()?.parse::<usize>().ok());
            if length.is_some_and(|length| body.len() >= length) {
                if !head.contains("connection: close") {
                    *stream = Some(io);
                }
                return Ok(head[9..12].parse().unwrap());
            }
        }
    };
    ask().map_err(|error| error.to_string())
}

/// What an attack is allowed, and how it is seen.
pub(super) struct Case {
    pub(super) name: &'static str,
    /// How much memory it may cost, in MiB.
    pub(super) bound: u64,
    /// The metric in which it is seen, and what its labels say.
    pub(super) metric: (&'static str, &'static [&'static str]),
    /// How many attack at a time.
    pub(super) attackers: usize,
}

/// When an attack is to end, and how often it was made.
pub(super) struct Attack {
    until: Instant,
    rounds: AtomicU64,
    /// How often who behaves was served.
    served: AtomicU64,
}

impl Attack {
    /// Whether to go on; what is done until the next time is one round.
    pub(super) fn goes_on(&self) -> bool {
        let goes_on = !self.is_over();
        self.rounds.fetch_add(u64::from(goes_on), Ordering::Relaxed);
        goes_on
    }

    /// It has gone on long enough, for who behaves to be served a few times, too.
    fn is_over(&self) -> bool {
        let late = Instant::now().checked_duration_since(self.until);
        late.is_some_and(|late| late > PATIENCE || self.served.load(Ordering::Relaxed) >= 20)
    }

    pub(super) fn more(&self, rounds: u64) {
        self.rounds.fetch_add(rounds, Ordering::Relaxed);
    }

    /// Holds what is held until the end.
    pub(super) fn hold<T>(&self, held: T) {
        while !self.is_over() {
            thread::sleep(Duration::from_millis(20));
        }
        drop(held);
    }
}

/// Makes an attack at both kinds of port, and asks what becomes of others.
#[track_caller]
pub(super) fn check(case: &Case, attack: impl Fn(SocketAddr, &Attack) + Sync) {
    let world = World::new(&[]);
    at(&world, case, ("outbound", world.outbound), &attack);
    at(&world, case, ("inbound", world.inbound), &attack);
}

#[track_caller]
pub(super) fn at(
    world: &World,
    case: &Case,
    (side, port): (&str, SocketAddr),
    attack: &(impl Fn(SocketAddr, &Attack) + Sync),
) {
    let listener = if side == "outbound" { "listener=\"outbound|out\"" } else { "" };
    let (name, labels) = case.metric;
    let count = |world: &World| world.metric(name, &[labels, &[listener]].concat());
    // Whoever is asked first costs what stays.
    for _ in 0..20 {
        assert_eq!(get(port, &mut None), Ok(200));
    }
    let (seen_before, before) = (count(world), world.resident());
    let (begun, peak, seen) = (Instant::now(), AtomicU64::new(before), AtomicU64::new(0));
    let going =
        Attack { until: begun + time(), rounds: AtomicU64::new(0), served: AtomicU64::new(0) };
    let is_over = AtomicBool::new(false);
    let mut times = thread::scope(|scope| {
        let attackers: Vec<_> =
            (0..case.attackers).map(|_| scope.spawn(|| attack(port, &going))).collect();
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                peak.fetch_max(world.resident(), Ordering::Relaxed);
                thread::sleep(Duration::from_millis(5));
            }
        });
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                seen.fetch_max(count(world), Ordering::Relaxed);
                thread::sleep(Duration::from_millis(100));
            }
        });
        let good = scope.spawn(|| {
            let (mut kept, mut times) = (None, Vec::new());
            while !is_over.load(Ordering::Relaxed) {
                // Every fourth connects anew.
                if times.len().is_multiple_of(4) {
                    kept = None;
                }
                let asked = Instant::now();
                assert_eq!(get(port, &mut kept), Ok(200), "{}: a client that behaves", case.name);
                times.push(asked.elapsed());
                going.served.fetch_add(1, Ordering::Relaxed);
                thread::sleep(Duration::from_millis(2));
            }
            times
        });
        let attacked: Vec<_> = attackers.into_iter().map(thread::ScopedJoinHandle::join).collect();
        // Whatever became of the attack, who behaves is told to end.
        is_over.store(true, Ordering::Relaxed);
        attacked.into_iter().for_each(|attacked| attacked.unwrap());
        good.join().unwrap()
    });
    let rate = going.rounds.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64();
    let is_seen = |now: u64| now.max(seen.load(Ordering::Relaxed)) > seen_before;
    world.eventually(&format!("{} is seen in {name}", case.name), |world| is_seen(count(world)));
    assert!(times.len() >= 20, "{}: {} calls", case.name, times.len());
    times.sort();
    let (peak, after) = (peak.load(Ordering::Relaxed), world.resident());
    report(case, side, rate, (before, peak, after), &times);
    let grown = peak.saturating_sub(before) >> 20;
    assert!(grown <= case.bound, "{} at {side}: {grown} MiB, of {}", case.name, case.bound);
}

fn report(case: &Case, side: &str, rate: f64, memory: (u64, u64, u64), times: &[Duration]) {
    if seconds().is_none() {
        return;
    }
    let p99 = times[(times.len() - 1) * 99 / 100].as_secs_f64() * 1e3;
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let (before, peak, after) = (mib(memory.0), mib(memory.1), mib(memory.2));
    let mut metric = case.metric.0.to_owned();
    for label in case.metric.1 {
        write!(metric, " {label}").unwrap();
    }
    println!(
        "| {} | {side} | {rate:.0} | {before:.1} | {peak:.1} | {after:.1} | {} of {} | {p99:.1} | `{metric}` |",
        case.name,
        times.len(),
        times.len()
    );
}
