#!/usr/bin/env python3
"""mesh proxy beside Envoy, nginx and HAProxy, as a plain hop: one worker each, the same machine, the same run.

    tests/interop/install                                  # Envoy and nginx
    apt-get install nghttp2-client haproxy
    cargo build --release
    benches/proxies/compare.py [--rounds 5] [--seconds 3]

The proxy has one processor to itself; the client (h2load) and the server behind (nginx, one worker) share another. Rounds
are interleaved, and what is printed are medians: requests a second of the proxy's own processor time, that time for each
request, p50 and p99 as the client sees them, and the proxy's resident memory after its rounds. `none` is no proxy.
"""

import argparse
import os
import pathlib
import re
import shutil
import socket
import statistics
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
PEERS = ROOT / "tests/interop/.peers"
DEBIAN = PEERS / "debian"
TICKS = os.sysconf("SC_CLK_TCK")


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


def resident(pid):
    total = 0
    for one in processes(pid):
        for line in pathlib.Path(f"/proc/{one}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                total += int(line.split()[1])
    return total / 1024


class Running:
    def __init__(self, command, port, cpu):
        self.port = port
        self.process = subprocess.Popen(
            ["taskset", "-c", str(cpu), *map(str, command)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if port:
            listens(port, command)

    def end(self):
        for pid in reversed(processes(self.process.pid)):
            os.kill(pid, 15)
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def nginx(place, name, port, site):
    config = place / f"{name}.conf"
    config.write_text(f"""
daemon off; user root; worker_processes 1; pid {place}/{name}.pid; error_log {place}/{name}.log crit;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 1000000000;
  client_body_temp_path {place}/{name}-b; proxy_temp_path {place}/{name}-p; fastcgi_temp_path {place}/{name}-f;
  uwsgi_temp_path {place}/{name}-u; scgi_temp_path {place}/{name}-s;
  {site}
}}""")
    return [DEBIAN / "usr/sbin/nginx", "-p", place, "-c", config, "-e", place / f"{name}.log"]


def commands(place, server, mesh):
    """The proxies by name: how each is started, before `server`, and where it listens."""
    ports = {name: free_port() for name in ("mesh", "envoy", "nginx", "haproxy")}
    (place / "mesh.yaml").write_text(f"""version: 1
clusters: {{ site: {{ endpoints: ["127.0.0.1:{server}"], protocol: http1, circuit_breakers: {{ max_requests: 100000, max_pending_requests: 100000, max_connections: 100000 }} }} }}
outbound: {{ web: {{ listen: "127.0.0.1:{ports['mesh']}", cluster: site }} }}
""")
    (place / "envoy.yaml").write_text(f"""
static_resources:
  listeners:
  - address: {{ socket_address: {{ address: 127.0.0.1, port_value: {ports['envoy']} }} }}
    filter_chains:
    - filters:
      - name: http
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: hop
          codec_type: AUTO
          http2_protocol_options: {{ max_concurrent_streams: 1000 }}
          route_config: {{ virtual_hosts: [ {{ name: a, domains: ["*"], routes: [ {{ match: {{ prefix: / }}, route: {{ cluster: site }} }} ] }} ] }}
          http_filters: [ {{ name: router, typed_config: {{ "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }} }} ]
  clusters:
  - name: site
    type: STATIC
    circuit_breakers: {{ thresholds: [ {{ max_requests: 100000, max_pending_requests: 100000, max_connections: 100000 }} ] }}
    load_assignment: {{ cluster_name: site, endpoints: [ {{ lb_endpoints: [ {{ endpoint: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {server} }} }} }} }} ] }} ] }}
""")
    (place / "haproxy.cfg").write_text(f"""
global
  nbthread 1
  maxconn 4000
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  http-reuse always
frontend f
  bind 127.0.0.1:{ports['haproxy']}
  default_backend b
backend b
  server s 127.0.0.1:{server}
""")
    site = f"""upstream site {{ server 127.0.0.1:{server}; keepalive 256; }}
  server {{ listen 127.0.0.1:{ports['nginx']} http2; listen 127.0.0.1:{ports['nginx'] + 0}; location / {{
    proxy_pass http://site; proxy_http_version 1.1; proxy_set_header Connection ""; }} }}"""
    # nginx of Debian 12 speaks HTTP/2 or HTTP/1.1 at a port without TLS, not both.
    site = site.replace(f" http2; listen 127.0.0.1:{ports['nginx']};", ";")
    return {
        "mesh": ([mesh, "proxy", "--workers", "1", "--config", place / "mesh.yaml"], ports["mesh"]),
        "envoy": ([PEERS / "venv/bin/envoy", "-c", place / "envoy.yaml", "--concurrency", "1",
                   "--use-dynamic-base-id", "-l", "off"], ports["envoy"]),
        "nginx": (nginx(place, "proxy", ports["nginx"], site), ports["nginx"]),
        "haproxy": (["haproxy", "-db", "-f", place / "haproxy.cfg"],
                    ports["haproxy"]),
    }


def milliseconds(text):
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s)", text).groups()
    return float(number) * {"us": 1e-3, "ms": 1, "s": 1e3}[unit]


def load(h2load, port, connections, seconds, http2):
    """Requests a second, and the p50 and p99 of single requests in ms."""
    with tempfile.NamedTemporaryFile("r") as log:
        protocol = ["-m", "16"] if http2 else ["--h1"]
        command = ["taskset", "-c", "1", h2load, *protocol, "-c", connections, "-t", 1, "-D", seconds,
                   "--warm-up-time", "1", f"--log-file={log.name}", f"http://127.0.0.1:{port}/1k"]
        output = subprocess.run([str(part) for part in command], capture_output=True, text=True,
                                timeout=seconds + 30).stdout
        times = sorted(int(line.split("\t")[2]) for line in log if line.split("\t")[1] == "200")
    done, failed = re.search(r"requests: .*?(\d+) succeeded, (\d+) failed", output).groups()
    if int(failed) or not times:
        raise SystemExit(f"calls failed:\n{output}")
    rate = float(re.search(r"([\d.]+) req/s", output).group(1))
    return rate, times[len(times) // 2] / 1e3, times[len(times) * 99 // 100] / 1e3


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--mesh", default=ROOT / "target/release/mesh")
    parser.add_argument("--connections", type=int, nargs="*", default=[1, 16, 64, 256])
    given = parser.parse_args()
    h2load = "h2load"
    place = pathlib.Path(tempfile.mkdtemp(prefix="mesh-proxies-"))
    running = {}
    try:
        (place / "1k").write_bytes(b"x" * 1024)
        server = free_port()
        site = f"server {{ listen 127.0.0.1:{server}; root {place}; default_type text/plain; }}"
        behind = Running(nginx(place, "behind", server, site), server, 1)
        running["behind"] = behind
        hops = commands(place, server, given.mesh)
        for name, (command, port) in hops.items():
            running[name] = Running(command, port, 0)
        idle = {name: resident(running[name].process.pid) for name in hops}
        for http2 in (False, True):
            print(f"\n{'HTTP/2, 16 streams each' if http2 else 'HTTP/1.1'}, 1 KiB answers")
            print(f"{'proxy':8} {'conns':>5} {'req/s':>8} {'req/CPU s':>10} {'us CPU':>7} {'p50 ms':>7} {'p99 ms':>7} {'RSS MiB':>8}")
            for connections in given.connections:
                rows = {}
                for _ in range(given.rounds):
                    for name in ([] if http2 else ["none"]) + list(hops):
                        if http2 and name in ("nginx", "haproxy"):
                            continue  # Neither takes both versions at one port without TLS.
                        port = server if name == "none" else hops[name][1]
                        pid = None if name == "none" else running[name].process.pid
                        before = cpu_seconds(pid) if pid else 0
                        begun = time.monotonic()
                        rate, p50, p99 = load(h2load, port, connections, given.seconds, http2)
                        spent = (cpu_seconds(pid) - before) / (time.monotonic() - begun) if pid else 0
                        rows.setdefault(name, []).append((rate, spent, p50, p99))
                for name, rounds in rows.items():
                    rate, spent, p50, p99 = (statistics.median(column) for column in zip(*rounds))
                    own = "" if name == "none" else f"{rate / spent:10.0f} {spent / rate * 1e6:7.1f}"
                    memory = "" if name == "none" else f"{resident(running[name].process.pid):8.1f}"
                    print(f"{name:8} {connections:5} {rate:8.0f} {own:>18} {p50:7.2f} {p99:7.2f} {memory:>8}", flush=True)
        print("\nresident memory before the first request, MiB:",
              ", ".join(f"{name} {size:.1f}" for name, size in idle.items()))
    finally:
        for one in running.values():
            one.end()
        shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    main()
