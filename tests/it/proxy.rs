//! `mesh proxy` as a process: it passes on, follows its file, wraps a command, and ends in order.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Answers each request with `text`, after `delay`; ends with the test.
pub(crate) fn server(text: &'static str, delay: Duration) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            thread::spawn(move || {
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut line = String::new();
                while reader.read_line(&mut line).is_ok_and(|read| read > 0) {
                    if line == "\r\n" {
                        thread::sleep(delay);
                        let length = text.len();
                        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
                        if stream.write_all(format!("{head}{text}").as_bytes()).is_err() {
                            return;
                        }
                    }
                    line.clear();
                }
            });
        }
    });
    address
}

/// A directory with a `mesh.yaml`, whose ports are sockets in it.
pub(crate) struct Place(pub(crate) TempDir);

/// The binary that is tested: `MESH_BINARY`, such as a release build to measure, or the one that was built with the tests.
pub(crate) fn binary() -> PathBuf {
    std::env::var_os("MESH_BINARY").map_or_else(|| env!("CARGO_BIN_EXE_mesh").into(), PathBuf::from)
}

impl Place {
    pub(crate) fn new(text: &str) -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        place.write(text);
        place
    }

    /// `DIR` in it is the directory.
    pub(crate) fn write(&self, text: &str) {
        let text = text.replace("DIR", &self.0.path().display().to_string());
        let (new, file) = (self.path("mesh.new"), self.path("mesh.yaml"));
        fs::write(&new, format!("version: 1\n{text}")).unwrap();
        fs::rename(new, file).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn proxy(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.arg("proxy").arg("--config").arg(self.path("mesh.yaml"));
        command.args(arguments).current_dir(self.0.path());
        command
    }

    /// The same to who asks for another host than `a`.
    pub(crate) fn ask_for(&self, name: &str, host: &str) -> String {
        ask_for(&self.path(name), host)
    }

    /// What the port at the socket `name` answers.
    pub(crate) fn ask(&self, name: &str) -> String {
        ask(&self.path(name))
    }
}

pub(crate) fn ask(socket: &Path) -> String {
    ask_for(socket, "a")
}

fn ask_for(socket: &Path, host: &str) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// A proxy that runs; killed when dropped.
pub(crate) struct Running {
    pub(crate) child: Child,
    pub(crate) lines: Receiver<String>,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        thread::spawn(move || {
            stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Self { child, lines }
    }

    /// The next line of standard output.
    #[track_caller]
    pub(crate) fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("a line")
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap();
        assert!(sent.success());
    }

    #[track_caller]
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            thread::sleep(Duration::from_millis(20));
        }
        panic!("it does not end");
    }
}

pub(crate) fn routes(to: SocketAddr) -> String {
    format!(
        "virtual_hosts: {{ a: {{ routes: [{{ cluster: a }}] }} }}\nclusters: {{ a: {{ endpoints: [\"{to}\"] }} }}\n"
    )
}

pub(crate) const WEB: &str = "outbound: { web: { listen: \"unix:DIR/web.sock\" } }\n";

#[test]
fn it_says_its_ports_and_passes_on_until_it_is_told_to_end() {
    let place = Place::new(&(routes(server("hello", Duration::from_millis(300))) + WEB));
    for workers in ["1", "2"] {
        let mut running = Running::start(&mut place.proxy(&["--workers", workers]));
        let line = running.line();
        assert!(line.starts_with("outbound|web on unix:"), "{line}");
        assert!(place.ask("web.sock").ends_with("hello"));
        // One that is in flight is let finish.
        let socket = place.path("web.sock");
        let asking = thread::spawn(move || ask(&socket));
        thread::sleep(Duration::from_millis(150));
        running.signal("TERM");
        assert!(asking.join().unwrap().ends_with("hello"));
        assert_eq!(running.ended().code(), Some(0));
    }
}

/// What a page of the admin answers.
pub(crate) fn page(admin: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(admin).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
        .write_all(
            format!("{request} HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n").as_bytes(),
        )
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn its_pages_say_how_it_is_and_end_it() {
    let place = Place::new(&(routes(server("hello", Duration::ZERO)) + WEB));
    let mut running = Running::start(&mut place.proxy(&["--admin", "127.0.0.1:0"]));
    let line = running.line();
    let admin = line.strip_prefix("admin on http://").unwrap().trim_end_matches('/');
    running.line();
    assert!(page(admin, "GET /ready").starts_with("HTTP/1.1 200 "));
    place.ask("web.sock");
    let stats = page(admin, "GET /stats");
    for metric in
        ["mesh_calls_total{", "mesh_server_requests_total{", "process_resident_memory_bytes"]
    {
        assert!(stats.contains(metric), "{metric}: {stats}");
    }
    assert!(page(admin, "GET /config_dump").contains("outbound|web"));
    assert!(page(admin, "POST /logging?level=mesh%3Ddebug").starts_with("HTTP/1.1 200 "));
    assert!(page(admin, "GET /logging").contains("mesh=debug"));
    assert!(page(admin, "POST /drain").starts_with("HTTP/1.1 202 "));
    assert_eq!(running.ended().code(), Some(0));
}

/// Both sides of a request have a line, and share the id that the proxy gave it; a log that was moved is begun anew.
#[test]
fn each_request_has_its_lines() {
    let place = Place::new(&(routes(server("hello", Duration::ZERO)) + WEB));
    let format =
        "%MESH(side)% %REQ(X-REQUEST-ID)% %RESPONSE_CODE% %RESPONSE_FLAGS% %UPSTREAM_CLUSTER%";
    let arguments = ["--access-log", "access.log", "--access-log-format", format];
    let mut running = Running::start(&mut place.proxy(&arguments));
    running.line();
    assert!(place.ask("web.sock").ends_with("hello"));
    let lines = |name: &str| {
        let until = Instant::now() + PATIENCE;
        loop {
            let text = fs::read_to_string(place.path(name)).unwrap_or_default();
            let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
            if lines.len() == 2 || Instant::now() > until {
                lines.sort();
                return lines;
            }
            thread::sleep(Duration::from_millis(20));
        }
    };
    let first = lines("access.log");
    let fields: Vec<Vec<_>> = first.iter().map(|line| line.split(' ').collect()).collect();
    let [client, server] = &fields[..] else { panic!("{first:?}") };
    assert_eq!((client[0], server[0]), ("client", "server"));
    assert_eq!((client[1], client[1].len()), (server[1], 36));
    assert_eq!(client[2..], ["200", "-", "a"]);
    assert_eq!(server[2..4], ["200", "-"]);
    fs::rename(place.path("access.log"), place.path("old.log")).unwrap();
    running.signal("HUP");
    let until = Instant::now() + PATIENCE;
    while !place.path("access.log").exists() {
        assert!(Instant::now() < until, "it is not begun anew");
        thread::sleep(Duration::from_millis(20));
    }
    place.ask("web.sock");
    assert_eq!(lines("access.log").len(), 2);
    // What has not been written is, at the end.
    place.ask("web.sock");
    running.signal("TERM");
    assert_eq!(running.ended().code(), Some(0));
    assert_eq!(fs::read_to_string(place.path("access.log")).unwrap().lines().count(), 4);
}

#[test]
fn its_file_is_followed_and_read_at_sighup() {
    let (one, two) = (server("one", Duration::ZERO), server("two", Duration::ZERO));
    let place = Place::new(&(routes(one) + WEB));
    let running = Running::start(&mut place.proxy(&[]));
    running.line();
    assert!(place.ask("web.sock").ends_with("one"));
    place.write(&(routes(two) + WEB));
    running.signal("HUP");
    let until = Instant::now() + PATIENCE;
    while !place.ask("web.sock").ends_with("two") {
        assert!(Instant::now() < until, "it is not followed");
        thread::sleep(Duration::from_millis(20));
    }
}

#[track_caller]
pub(crate) fn refused(command: &mut Command, code: &str, part: &str) {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains(&format!("[{code}]")) && said.contains(part), "{said}");
}

#[test]
fn what_can_not_be_is_told_at_once() {
    let to = server("hello", Duration::ZERO);
    refused(&mut Place::new(&routes(to)).proxy(&[]), "no_ports", "add `outbound`");
    let wrong = "outbound: { web: { listen: \"0.0.0.0:1\" } }\n";
    refused(&mut Place::new(wrong).proxy(&[]), "outbound_opened", "open: true");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let port = format!("outbound: {{ web: {{ listen: \"{address}\" }} }}\n");
    let place = Place::new(&(routes(to) + &port));
    refused(
        &mut place.proxy(&[]),
        "listener",
        &format!("`outbound|web` can't listen at {address}"),
    );
    let place = Place::new(&(routes(to) + WEB));
    refused(&mut place.proxy(&["--", "./no-such-program"]), "command", "no-such-program");
    let mut nothing = Command::new(env!("CARGO_BIN_EXE_mesh"));
    refused(nothing.arg("proxy").env_clear(), "wrong_configuration", "MESH_CONFIG");
    let time = place.proxy(&["--drain-timeout", "30"]).output().unwrap();
    assert!(String::from_utf8_lossy(&time.stderr).contains("a number and a unit"), "{time:?}");
}
