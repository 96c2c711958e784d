//! How `mesh proxy` begins, goes on and ends, with a command and without.

use crate::proxy::{PATIENCE, Place, Running, WEB, ask, page, routes, server};
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

#[test]
fn a_command_runs_once_the_ports_are_open_and_its_code_is_ours() {
    let place = Place::new(&(routes(server("hello", Duration::ZERO)) + WEB));
    let script = "test -S web.sock && echo opened; exit 7";
    let mut running = Running::start(&mut place.proxy(&["--", "sh", "-c", script]));
    assert!(running.line().starts_with("outbound|web"));
    assert_eq!(running.line(), "opened");
    assert_eq!(running.ended().code(), Some(7));
    let mut running = Running::start(&mut place.proxy(&["--", "sh", "-c", "kill -9 $$"]));
    assert_eq!(running.ended().code(), Some(128 + 9));
}

#[test]
fn signals_reach_the_command() {
    let place = Place::new(&(routes(server("hello", Duration::ZERO)) + WEB));
    let script = "trap 'echo hangup' HUP; trap 'echo user; ' USR1; trap 'echo end; exit 3' TERM; \
                  echo up; while true; do sleep 0.05; done";
    let mut running = Running::start(&mut place.proxy(&["--", "sh", "-c", script]));
    running.line();
    for (signal, said) in [("", "up"), ("HUP", "hangup"), ("USR1", "user"), ("TERM", "end")] {
        if !signal.is_empty() {
            running.signal(signal);
        }
        assert_eq!(running.line(), said);
    }
    assert_eq!(running.ended().code(), Some(3));
}

/// The command is a server that calls another through the proxy while it answers, and ends at SIGTERM at once.
#[test]
fn the_command_is_told_to_end_after_its_last_request() {
    let other = server("from the other", Duration::from_millis(500));
    let text = routes(other)
        + WEB
        + "inbound: { app: { listen: \"unix:DIR/app.sock\", mtls: off, allow: [{ from: anyone, match: { prefix: / } }], forward: \"unix:DIR/own.sock\" } }\n";
    let place = Place::new(&text);
    let program = place.path("app.py");
    fs::write(&program, APPLICATION).unwrap();
    let program = program.display().to_string();
    let mut running = Running::start(&mut place.proxy(&["--", "python3", &program]));
    let lines = [running.line(), running.line(), running.line()];
    assert_eq!(lines[2], "up", "{lines:?}");
    let socket = place.path("app.sock");
    let asking = thread::spawn(move || ask(&socket));
    assert_eq!(running.line(), "asked");
    running.signal("TERM");
    assert!(asking.join().unwrap().ends_with("from the other"));
    assert_eq!(running.line(), "told to end");
    assert_eq!(running.ended().code(), Some(0));
}

const APPLICATION: &str = r#"
import os, signal, socket, sys, threading
def end(*_):
    print("told to end", flush=True)
    os._exit(0)
signal.signal(signal.SIGTERM, end)
listener = socket.socket(socket.AF_UNIX)
listener.bind("own.sock")
listener.listen()
print("up", flush=True)
def serve(client):
    while b"\r\n\r\n" not in client.recv(65536): pass
    print("asked", flush=True)
    other = socket.socket(socket.AF_UNIX)
    other.connect("web.sock")
    other.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    answer = b""
    while chunk := other.recv(65536): answer += chunk
    client.sendall(answer)
    client.close()
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"#;

#[test]
fn a_second_signal_ends_it_at_once() {
    let place = Place::new(&(routes(server("late", PATIENCE)) + WEB));
    let mut running = Running::start(&mut place.proxy(&[]));
    running.line();
    let mut stream = UnixStream::connect(place.path("web.sock")).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    thread::sleep(Duration::from_millis(200));
    running.signal("TERM");
    thread::sleep(Duration::from_millis(200));
    assert!(running.child.try_wait().unwrap().is_none(), "it waits for what is in flight");
    running.signal("TERM");
    assert_eq!(running.ended().code(), Some(128 + 15));
}

#[test]
fn signals_reach_the_command_in_a_drain_too_and_it_may_end_by_itself() {
    let text = routes(server("late", PATIENCE))
        + WEB
        + "inbound: { app: { listen: \"unix:DIR/app.sock\", mtls: off, allow: [{ from: anyone, match: { prefix: / } }], forward: { cluster: a } } }\n";
    let place = Place::new(&text);
    let script = "trap 'echo user; exit 5' USR1; echo up; while true; do sleep 0.05; done";
    let arguments = ["--drain-timeout", "10m", "--", "sh", "-c", script];
    let mut running = Running::start(&mut place.proxy(&arguments));
    let lines = [running.line(), running.line(), running.line()];
    assert_eq!(lines[2], "up", "{lines:?}");
    let mut stream = UnixStream::connect(place.path("app.sock")).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    thread::sleep(Duration::from_millis(200));
    running.signal("TERM");
    thread::sleep(Duration::from_millis(300));
    assert!(running.child.try_wait().unwrap().is_none(), "it waits for what is in flight");
    running.signal("USR1");
    assert_eq!(running.line(), "user");
    thread::sleep(Duration::from_millis(300));
    drop(stream);
    assert_eq!(running.ended().code(), Some(5));
}

/// The terminal gives Ctrl-C to the command itself.
#[test]
fn ctrl_c_reaches_the_command_once() {
    let place = Place::new(&(routes(server("hello", Duration::ZERO)) + WEB));
    let program = place.path("counts.sh");
    let script = "n=0; trap 'n=$((n+1))' INT; echo up; i=0; while [ $i -lt 30 ]; do sleep 0.05; i=$((i+1)); done; \
                  echo \"interrupted $n\"; exit 4";
    fs::write(&program, script).unwrap();
    let mesh = env!("CARGO_BIN_EXE_mesh");
    // A shell of the terminal's own would have Ctrl-C too; some end with 130 then, whatever the proxy ends with.
    let line = format!("exec {mesh} proxy --config mesh.yaml -- sh counts.sh");
    let mut terminal = Command::new("script");
    terminal.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
    terminal.env("SHELL", "/bin/sh").current_dir(place.0.path()).stdin(Stdio::piped());
    let mut running = Running::start(&mut terminal);
    let mut said = Vec::new();
    let mut until = |end: &str, is_end: fn(&str) -> bool| {
        while said.last().is_none_or(|line: &String| !is_end(line)) {
            match running.lines.recv_timeout(PATIENCE) {
                Ok(line) => said.push(line),
                Err(error) => panic!("no `{end}`: {error}; it said {said:?}"),
            }
        }
        said.clone()
    };
    until("up", |line| line.trim() == "up");
    running.child.stdin.as_mut().unwrap().write_all(b"\x03").unwrap();
    let said = until("interrupted", |line| line.contains("interrupted"));
    assert!(said.last().unwrap().trim().ends_with("interrupted 1"), "{said:?}");
    assert_eq!(running.ended().code(), Some(4));
}

/// Who calls without an end, over new connections and kept ones; how many calls there were, and what failed.
fn callers(
    to: SocketAddr,
    ends: &Arc<AtomicBool>,
) -> Vec<thread::JoinHandle<(usize, Vec<String>)>> {
    let kept_or_new = [true, true, false, false];
    let callers = kept_or_new.map(|keeps| {
        let ends = Arc::clone(ends);
        thread::spawn(move || {
            let (mut calls, mut failed, mut kept) = (0, Vec::new(), None);
            while !ends.load(Ordering::SeqCst) {
                calls += 1;
                match call(to, kept.take(), keeps) {
                    Ok(stream) => kept = stream,
                    Err(error) => failed.push(format!("call {calls}, kept: {keeps}: {error}")),
                }
            }
            (calls, failed)
        })
    });
    callers.into_iter().collect()
}

/// One call; the connection, if it stays.
fn call(
    to: SocketAddr,
    kept: Option<TcpStream>,
    keeps: bool,
) -> std::io::Result<Option<TcpStream>> {
    let mut stream = kept.map_or_else(|| TcpStream::connect(to), Ok)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let close = if keeps { "" } else { "Connection: close\r\n" };
    stream.write_all(format!("GET / HTTP/1.1\r\nHost: a\r\n{close}\r\n").as_bytes())?;
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    while !answer.ends_with(b"hello") {
        match stream.read(&mut piece)? {
            0 => return Err(std::io::Error::other(String::from_utf8_lossy(&answer).into_owned())),
            read => answer.extend_from_slice(&piece[..read]),
        }
    }
    let stays =
        keeps && !String::from_utf8_lossy(&answer).to_lowercase().contains("connection: close");
    Ok(stays.then_some(stream))
}

#[test]
fn a_new_process_takes_over_and_no_call_fails() {
    let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (web, admin) = (free(), free());
    let port = format!(
        "outbound: {{ web: {{ listen: \"{web}\" }}, sock: {{ listen: \"unix:DIR/web.sock\" }} }}\n"
    );
    let place = Place::new(&(routes(server("hello", Duration::from_millis(1))) + &port));
    let admin = admin.to_string();
    let start = || {
        let arguments = ["--takeover", "t.sock", "--admin", &admin, "--drain-timeout", "10s"];
        let running = Running::start(&mut place.proxy(&arguments));
        let lines = [running.line(), running.line(), running.line()];
        assert!(lines[2].starts_with("outbound|web on "), "{lines:?}");
        running
    };
    let mut running = start();
    let ends = Arc::new(AtomicBool::new(false));
    let callers = callers(web, &ends);
    for _ in 0..4 {
        thread::sleep(Duration::from_millis(200));
        let next = start();
        assert_eq!(running.ended().code(), Some(0));
        running = next;
        assert!(ask(&place.path("web.sock")).ends_with("hello"));
        assert!(page(&admin, "GET /ready").starts_with("HTTP/1.1 200 "));
    }
    ends.store(true, Ordering::SeqCst);
    for caller in callers {
        let (calls, failed) = caller.join().unwrap();
        assert!(calls > 20 && failed.is_empty(), "{} of {calls}: {failed:?}", failed.len());
    }
    running.signal("TERM");
    assert_eq!(running.ended().code(), Some(0));
    // What is left of it is no process.
    let again = start();
    drop(again);
}
