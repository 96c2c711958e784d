#!/usr/bin/env python3
"""What 10,000 idle connections cost a proxy, and whether a million requests leave something behind.

    tests/interop/install
    apt-get install nghttp2-client haproxy
    cargo build --release && cargo build --release --bench bare
    benches/proxies/idle.py [--connections 10000] [--requests 1000000]

Each connection makes one request, and is silent then. Memory for each connection: what the resident memory of the process
grew by. `bare` is a hyper server on one thread, without anything of ours. Over mutual TLS all of them take connections
(`inbound` of mesh), and ask the server in plaintext. One worker each, one after the other, in the same run.
"""

import argparse
import pathlib
import resource
import shutil
import socket
import ssl
import subprocess
import tempfile
import time

import hops
from compare import Running, ends_in_order, free_port, resident

REQUEST = b"GET /1k HTTP/1.1\r\nhost: a\r\n\r\n"
# Connections from one address: the system has some 28,000 ports for it.
PER_ADDRESS = 5000


def bare():
    """The newest build of benches/proxies/bare.rs."""
    found = [one for one in (hops.ROOT / "target/release/deps").glob("bare-*") if not one.suffix]
    if not found:
        raise SystemExit("there is no bare hyper server: cargo build --release --bench bare")
    return max(found, key=lambda one: one.stat().st_mtime)


def inbound(place, port, server, mesh):
    config = place / "mesh-inbound.yaml"
    config.write_text(f"""version: 1
identity: {{ cert: certs/hop.pem, key: certs/hop-key.pem, roots: certs/ca.pem }}
inbound: {{ app: {{ listen: "127.0.0.1:{port}", allow: [{{ from: "spiffe://example.org/server", match: {{ prefix: / }} }}], forward: "127.0.0.1:{server}" }} }}
""")
    return [mesh, "proxy", "--workers", "1", "--config", config]


def envoy_inbound(place, port, server):
    command = hops.envoy(place, "http1", port, server)
    text = command[2].read_text()
    command[2].write_text(text.replace("    - filters:", f"""    - transport_socket:
        name: tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          require_client_certificate: true
          common_tls_context:
            tls_certificates: [ {{ certificate_chain: {{ filename: {place}/certs/hop.pem }}, private_key: {{ filename: {place}/certs/hop-key.pem }} }} ]
            validation_context: {{ trusted_ca: {{ filename: {place}/certs/ca.pem }} }}
      filters:"""))
    return command


def nginx_inbound(place, port, server):
    return hops.nginx(place, "inbound", f"""upstream site {{ server 127.0.0.1:{server}; keepalive 256; }}
  server {{ listen 127.0.0.1:{port} ssl; ssl_certificate {place}/certs/hop.pem; ssl_certificate_key {place}/certs/hop-key.pem;
    ssl_client_certificate {place}/certs/ca.pem; ssl_verify_client on; ssl_verify_depth 2;
    location / {{ proxy_pass http://site; proxy_http_version 1.1; proxy_set_header Connection ""; }} }}""")


def context(place):
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.load_verify_locations(place / "certs/ca.pem")
    made.load_cert_chain(place / "certs/server.pem", place / "certs/server-key.pem")
    return made


def answered(stream):
    answer = b""
    while len(answer) < 1024 or b"\r\n\r\n" not in answer or len(answer.split(b"\r\n\r\n", 1)[1]) < 1024:
        part = stream.recv(8192)
        if not part:
            raise SystemExit(f"a connection ended: {answer[:100]!r}")
        answer += part
    if not answer.startswith(b"HTTP/1.1 200 "):
        raise SystemExit(f"the answer is {answer[:100]!r}")


def hold(port, count, tls):
    """So many connections, each of which has made a request."""
    held = []
    for at in range(count):
        stream = socket.create_connection(("127.0.0.1", port), 20, (f"127.0.1.{1 + at // PER_ADDRESS}", 0))
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            stream = tls.wrap_socket(stream)
        stream.sendall(REQUEST)
        answered(stream)
        held.append(stream)
    return held


def idle(name, command, port, count, tls):
    running = Running(command, port, 0)
    try:
        # What the first connections need once is not theirs.
        for stream in hold(port, 50, tls):
            stream.close()
        time.sleep(1)
        before = resident(running.process.pid)
        held = hold(port, count, tls)
        # They are idle, and not just silent for a moment.
        time.sleep(5)
        after = resident(running.process.pid)
        for stream in held:
            stream.close()
        time.sleep(2)
        left = resident(running.process.pid)
    finally:
        running.end()
    each = (after - before) * 1024 / count
    print(f"| {name} | {before:.1f} | {after:.1f} | {each:.1f} | {left:.1f} |", flush=True)
    return each


def growth(command, port, requests, parts):
    """Resident memory after each part of so many requests."""
    running = Running(command, port, 0)
    try:
        sizes = []
        for _ in range(parts):
            subprocess.run(["taskset", "-c", "1", "h2load", "--h1", "-c", "64", "-n", str(requests // parts),
                            f"http://127.0.0.1:{port}/1k"], check=True, capture_output=True, timeout=600)
            sizes.append(resident(running.process.pid))
    finally:
        running.end()
    print("| mesh |", " | ".join(f"{size:.1f}" for size in sizes), "|", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--connections", type=int, default=10_000)
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--mesh", type=pathlib.Path, default=hops.ROOT / "target/release/mesh")
    given = parser.parse_args()
    ends_in_order()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if most < given.connections + 1000:
        raise SystemExit(f"a process may have {most} descriptors, too few: raise `ulimit -Hn`")
    place = pathlib.Path(tempfile.mkdtemp(prefix="mesh-idle-"))
    behind = None
    try:
        (place / "1k").write_bytes(b"x" * 1024)
        hops.certificates(place, given.mesh)
        plain, http2, secured, secured_http2, closing = (free_port() for _ in range(5))
        behind = Running(hops.behind(place, plain, http2, secured, secured_http2, closing), plain, 1)
        print(f"\nHTTP/1.1, {given.connections} idle connections\n")
        head = "| who | before, MiB | with them, MiB | KiB each | after them, MiB |\n|---|--:|--:|--:|--:|"
        print(head)
        port = free_port()
        idle("bare", [bare(), port], port, given.connections, None)
        for name in ("mesh", "envoy", "nginx"):
            port = free_port()
            idle(name, hops.command(name, place, "http1", port, plain, given.mesh), port, given.connections, None)
        print(f"\nmutual TLS, {given.connections} idle connections\n\n{head}")
        tls = context(place)
        for name, command in (
            ("mesh", lambda port: inbound(place, port, plain, given.mesh)),
            ("envoy", lambda port: envoy_inbound(place, port, plain)),
            ("nginx", lambda port: nginx_inbound(place, port, plain)),
        ):
            port = free_port()
            idle(name, command(port), port, given.connections, tls)
        print(f"\n{given.requests} requests over 64 connections: resident memory after each tenth, MiB\n")
        port = free_port()
        growth(hops.command("mesh", place, "http1", port, plain, given.mesh), port, given.requests, 10)
    finally:
        if behind:
            behind.end()
        shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    main()
