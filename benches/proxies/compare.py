#!/usr/bin/env python3
"""mesh proxy beside Envoy, nginx and HAProxy, as a hop: one worker each, the same machine, the same run.

    tests/interop/install                                  # Envoy, nginx, the gRPC server
    apt-get install nghttp2-client haproxy
    cargo build --release
    benches/proxies/compare.py [--rounds 5] [--seconds 3] [--only http1 mtls …] [--quick]

The proxy has one processor to itself; the client (h2load) and the server behind (nginx, one worker; for gRPC grpc-go)
share another. Rounds are interleaved, and what is printed are medians, as a table of Markdown: requests a second, those
for each second of the proxy's own processor, its time for each request, p50 and p99 over those without a proxy in the
same round, and the proxy's resident memory, in brackets what of it is its own, and not read from its program. `none` is no
proxy, `again` the same once more: how far they are apart is what the machine adds.

| kind | what |
|---|---|
| `http1` | HTTP/1.1, answers of 1 KiB |
| `http2` | HTTP/2 with 16 streams each, asked over HTTP/1.1 behind |
| `mtls` | HTTP/1.1 in plaintext to the proxy, mutual TLS 1.3 from there: a sidecar's outbound. `none` is plaintext |
| `http2-mtls` | HTTP/2 with 16 streams each in plaintext to the proxy, HTTP/2 over mutual TLS 1.3 from there. `none` is plaintext |
| `grpc` | unary calls of 1 KiB there and back, 16 streams each |
| `tcp` | bytes: the requests of `http1` over kept connections, of which the proxy knows nothing |
| `tcp-mtls` | the same, in mutual TLS 1.3 from the proxy on. `none` is plaintext |
| `tcp-new` | the same, a connection for each, by a client in Python: its rate is the client's, the time of the processor is the proxy's |
"""

import argparse
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

import hops

ROOT = hops.ROOT
KINDS = ["http1", "http2", "mtls", "http2-mtls", "grpc", "tcp", "tcp-mtls", "tcp-new"]
TICKS = os.sysconf("SC_CLK_TCK")


def ends_in_order():
    """SIGTERM ends what was started, too."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by a signal"))


def free_port():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return held.getsockname()[1]


def listens(port, command):
    until = time.monotonic() + 20
    while time.monotonic() < until:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit(f"nobody listens on {port}: {command}")


def processes(pid):
    """A process and its children."""
    found = [pid]
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += processes(int(child))
    return found


def cpu_seconds(pid):
    total = 0
    for one in processes(pid):
        fields = pathlib.Path(f"/proc/{one}/stat").read_text().rsplit(") ", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


def kibibytes(pid, what):
    """What the kernel counts of a process and its children: `Rss`, `Anonymous`."""
    total = 0
    for one in processes(pid):
        for line in pathlib.Path(f"/proc/{one}/smaps_rollup").read_text().splitlines():
            if line.startswith(f"{what}:"):
                total += int(line.split()[1])
    return total


def resident(pid):
    return kibibytes(pid, "Rss") / 1024


def memory(pid):
    """MiB that are resident, and in brackets those of them that are the process's own, and not read from its program."""
    return f"{resident(pid):.1f} ({kibibytes(pid, 'Anonymous') / 1024:.1f})"


class Running:
    def __init__(self, command, port, cpu):
        self.port = port
        self.process = subprocess.Popen(
            ["taskset", "-c", str(cpu), *map(str, command)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            listens(port, command)
        except SystemExit:
            self.end()
            raise

    def end(self):
        for pid in reversed(processes(self.process.pid)):
            os.kill(pid, 15)
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Failed(Exception):
    """Calls were answered with errors."""


def load(port, connections, seconds, kind, place):
    """Requests a second, and the p50 and p99 of single requests in ms."""
    if kind == "tcp-new":
        return load_of_connections(port, connections, seconds)
    with tempfile.NamedTemporaryFile("r") as log:
        protocol = ["-m", "16"] if kind in ("http2", "http2-mtls", "grpc") else ["--h1"]
        path = "1k"
        if kind == "grpc":
            protocol += ["-d", place / "message", "-H", "content-type: application/grpc", "-H", "te: trailers"]
            path = "mesh.interop.Peer/Unary"
        command = ["taskset", "-c", "1", "h2load", *protocol, "-c", connections, "-t", 1, "-D", seconds,
                   "--warm-up-time", "1", f"--log-file={log.name}", f"http://127.0.0.1:{port}/{path}"]
        output = subprocess.run([str(part) for part in command], capture_output=True, text=True,
                                timeout=seconds + 30).stdout
        times = sorted(int(line.split("\t")[2]) for line in log if line.split("\t")[1] == "200")
    done, failed = re.search(r"requests: .*?(\d+) succeeded, (\d+) failed", output).groups()
    if int(failed) or not times:
        raise Failed(f"{failed} of {int(failed) + int(done)} calls failed")
    rate = float(re.search(r"([\d.]+) req/s", output).group(1))
    return rate, times[len(times) // 2] / 1e3, times[len(times) * 99 // 100] / 1e3


def load_of_connections(port, connections, seconds):
    """The same with a connection for each request, which h2load does not make."""
    client = pathlib.Path(__file__).with_name("connect.py")
    command = ["taskset", "-c", "1", "python3", client, port, connections, seconds]
    output = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=seconds + 60)
    if output.returncode or output.stderr:
        raise SystemExit(f"connections failed:\n{output.stderr}")
    times = sorted(json.loads(output.stdout))
    return len(times) / seconds, times[len(times) // 2] / 1e3, times[len(times) * 99 // 100] / 1e3


class Section:
    """All proxies for one kind of traffic, running."""

    def __init__(self, kind, place, server, mesh):
        self.kind, self.place, self.running = kind, place, {}
        server, self.direct = server
        carried = "tcp" if kind == "tcp-new" else kind
        try:
            for name in hops.NAMES:
                port = free_port()
                command = hops.command(name, place, carried, port, server, mesh)
                if command:
                    self.running[name] = Running(command, port, 0)
        except SystemExit:
            self.end()
            raise
        self.idle = {name: memory(one.process.pid) for name, one in self.running.items()}

    def end(self):
        for one in self.running.values():
            one.end()

    def turn(self, name, connections, seconds):
        one = self.running.get(name)
        if not one:
            return (*load(self.direct, connections, seconds, self.kind, self.place), 0)
        before, begun = cpu_seconds(one.process.pid), time.monotonic()
        measured = load(one.port, connections, seconds, self.kind, self.place)
        spent = (cpu_seconds(one.process.pid) - before) / (time.monotonic() - begun)
        return (*measured, spent)

    def measure(self, connections, rounds, seconds):
        turns = {name: [] for name in ["none", *self.running, "again"]}
        failed = {}
        for _ in range(rounds):
            for name, taken in turns.items():
                try:
                    taken.append(self.turn(name, connections, seconds))
                except Failed as why:
                    if name not in self.running:
                        raise
                    failed[name] = why
        for name, taken in turns.items():
            if name in failed:
                print("|", name, "|", connections, "|", failed[name], "| | | | | | |", flush=True)
                continue
            rate, p50, p99, spent = (statistics.median(column) for column in zip(*taken))
            added = [[mine[at] - none[at] for mine, none in zip(taken, turns["none"])] for at in (1, 2)]
            cells = [name, connections, f"{rate:.0f}"]
            if name in self.running:
                cells += [f"{rate / spent:.0f}", f"{spent / rate * 1e6:.1f}"]
                cells += [f"{statistics.median(one):+.2f}" for one in added]
                cells += [self.idle[name], memory(self.running[name].process.pid)]
            else:
                cells += ["", "", f"{p50:.2f}", f"{p99:.2f}", "", ""]
            print("|", " | ".join(map(str, cells)), "|", flush=True)


def grpc_server():
    """grpc-go's, and the port of its gRPC."""
    server = subprocess.Popen(["taskset", "-c", "1", hops.PEERS / "go-peer"], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, text=True)
    return server, int(server.stdout.readline().split()[2])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one round of a second with 16 connections")
    parser.add_argument("--only", nargs="*", default=KINDS, choices=KINDS)
    parser.add_argument("--mesh", type=pathlib.Path, default=ROOT / "target/release/mesh")
    parser.add_argument("--connections", type=int, nargs="*", default=[1, 16, 64, 256])
    given = parser.parse_args()
    ends_in_order()
    if given.quick:
        given.rounds, given.seconds, given.connections = 1, 1, [16]
    place = pathlib.Path(tempfile.mkdtemp(prefix="mesh-proxies-"))
    go = None
    behind = None
    try:
        (place / "1k").write_bytes(b"x" * 1024)
        (place / "message").write_bytes(b"\0" + (1027).to_bytes(4, "big") + b"\x0a\x80\x08" + b"x" * 1024)
        hops.certificates(place, given.mesh)
        plain, http2, secured, secured_http2, closing = (free_port() for _ in range(5))
        behind = Running(hops.behind(place, plain, http2, secured, secured_http2, closing), plain, 1)
        go, rpc = grpc_server()
        for kind in given.only:
            # What is asked through a proxy, and what without one.
            servers = {"http2": (plain, http2), "mtls": (secured, plain), "http2-mtls": (secured_http2, http2), "grpc": (rpc, rpc),
                       "tcp-mtls": (secured, plain), "tcp-new": (closing, closing)}
            section = Section(kind, place, servers.get(kind, (plain, plain)), given.mesh)
            try:
                print(f"\n{kind}\n\n| proxy | connections | req/s | req/CPU s | µs CPU | p50, ms | p99, ms | idle, MiB (own) | after, MiB (own) |")
                print("|---|--:|--:|--:|--:|--:|--:|--:|--:|")
                for connections in given.connections:
                    section.measure(connections, given.rounds, given.seconds)
            finally:
                section.end()
    finally:
        if behind:
            behind.end()
        if go:
            go.kill()
            go.wait()
        shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    main()
