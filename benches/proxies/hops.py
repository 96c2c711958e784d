"""How each proxy is configured for each kind of traffic, and what is behind it."""

import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
PEERS = ROOT / "tests/interop/.peers"
DEBIAN = PEERS / "debian"
NAMES = ["mesh", "envoy", "nginx", "haproxy"]
LIMITS = "max_requests: 100000, max_pending_requests: 100000, max_connections: 100000"


def nginx(place, name, http="", stream=""):
    """An nginx of one worker with these parts."""
    config = place / f"{name}.conf"
    stream = f"stream {{ {stream} }}" if stream else ""
    config.write_text(f"""
daemon off; user root; worker_processes 1; worker_rlimit_nofile 65536; pid {place}/{name}.pid; error_log {place}/{name}.log crit;
events {{ worker_connections 32768; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 3600s;
  client_body_temp_path {place}/{name}-b; proxy_temp_path {place}/{name}-p; fastcgi_temp_path {place}/{name}-f;
  uwsgi_temp_path {place}/{name}-u; scgi_temp_path {place}/{name}-s;
  {http}
}}
{stream}""")
    modules = DEBIAN / "usr/lib/nginx/modules/ngx_stream_module.so"
    load = ["-g", f"load_module {modules};"] if stream and modules.exists() else []
    return [DEBIAN / "usr/sbin/nginx", "-p", place, "-c", config, "-e", place / f"{name}.log", *load]


def has_stream():
    """Whether this nginx carries bytes: Debian has that in a package of its own."""
    return (DEBIAN / "usr/lib/nginx/modules/ngx_stream_module.so").exists()


def certificates(place, mesh):
    """Identities for the proxy and the server, of one CA."""
    subprocess.run([mesh, "certs", "new", "--out", place / "certs", "hop", "server"], check=True, capture_output=True)
    both = (place / "certs/hop.pem").read_text() + (place / "certs/hop-key.pem").read_text()
    (place / "certs/hop-both.pem").write_text(both)


def behind(place, plain, http2, secured, secured_http2, closing):
    """The server: plaintext, the same over HTTP/2, both with mutual TLS, and one request for each connection."""
    site = f"root {place}; default_type text/plain;"
    tls = f"""ssl_certificate {place}/certs/server.pem; ssl_certificate_key {place}/certs/server-key.pem;
      ssl_client_certificate {place}/certs/ca.pem; ssl_verify_client on; ssl_verify_depth 2; ssl_protocols TLSv1.3;"""
    return nginx(place, "behind", f"""
  server {{ listen 127.0.0.1:{plain}; {site} }}
  server {{ listen 127.0.0.1:{http2} http2; {site} }}
  server {{ listen 127.0.0.1:{secured} ssl; {site} {tls} }}
  server {{ listen 127.0.0.1:{secured_http2} ssl http2; {site} {tls} }}
  server {{ listen 127.0.0.1:{closing}; keepalive_requests 1; {site} }}""")


def secures(kind):
    """Whether the proxy speaks mutual TLS to the server."""
    return kind.endswith("mtls")


def mesh_proxy(place, kind, port, server, mesh):
    protocol = {"tcp": "tcp", "tcp-mtls": "tcp", "grpc": "http2", "http2-mtls": "http2"}.get(kind, "http1")
    identity = "identity: { cert: certs/hop.pem, key: certs/hop-key.pem, roots: certs/ca.pem }" if secures(kind) else ""
    config = place / f"mesh-{kind}.yaml"
    config.write_text(f"""version: 1
{identity}
clusters: {{ site: {{ endpoints: ["127.0.0.1:{server}"], protocol: {protocol}, circuit_breakers: {{ {LIMITS} }} }} }}
outbound: {{ web: {{ listen: "127.0.0.1:{port}", cluster: site }} }}
""")
    return [mesh, "proxy", "--workers", "1", "--config", config]


def envoy(place, kind, port, server):
    http = f"""
      - name: http
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: hop
          codec_type: AUTO
          http2_protocol_options: {{ max_concurrent_streams: 1000 }}
          route_config: {{ virtual_hosts: [ {{ name: a, domains: ["*"], routes: [ {{ match: {{ prefix: / }}, route: {{ cluster: site }} }} ] }} ] }}
          http_filters: [ {{ name: router, typed_config: {{ "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }} }} ]"""
    tcp = """
      - name: tcp
        typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: hop, cluster: site }"""
    more = ""
    if kind in ("grpc", "http2-mtls"):
        more = """
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: { http2_protocol_options: {} }"""
    if secures(kind):
        alpn = "alpn_protocols: [ h2 ]" if kind == "http2-mtls" else ""
        more += f"""
    transport_socket:
      name: tls
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
        common_tls_context:
          {alpn}
          tls_params: {{ tls_minimum_protocol_version: TLSv1_3, tls_maximum_protocol_version: TLSv1_3 }}
          tls_certificates: [ {{ certificate_chain: {{ filename: {place}/certs/hop.pem }}, private_key: {{ filename: {place}/certs/hop-key.pem }} }} ]
          validation_context: {{ trusted_ca: {{ filename: {place}/certs/ca.pem }} }}"""
    config = place / f"envoy-{kind}.yaml"
    config.write_text(f"""
static_resources:
  listeners:
  - address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }}
    filter_chains:
    - filters:{tcp if kind.startswith("tcp") else http}
  clusters:
  - name: site
    type: STATIC
    circuit_breakers: {{ thresholds: [ {{ {LIMITS} }} ] }}{more}
    load_assignment: {{ cluster_name: site, endpoints: [ {{ lb_endpoints: [ {{ endpoint: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {server} }} }} }} }} ] }} ] }}
""")
    return [PEERS / "venv/bin/envoy", "-c", config, "--concurrency", "1", "--use-dynamic-base-id", "-l", "off"]


def nginx_proxy(place, kind, port, server):
    name = f"proxy-{kind}"
    secured = f"""proxy_ssl_certificate {place}/certs/hop.pem; proxy_ssl_certificate_key {place}/certs/hop-key.pem; proxy_ssl_protocols TLSv1.3;
      proxy_ssl_trusted_certificate {place}/certs/ca.pem; proxy_ssl_verify on; proxy_ssl_verify_depth 2; proxy_ssl_name server;"""
    if kind.startswith("tcp"):
        secured = f"proxy_ssl on; {secured}" if secures(kind) else ""
        return nginx(place, name, stream=f"server {{ listen 127.0.0.1:{port}; {secured} proxy_pass 127.0.0.1:{server}; }}") if has_stream() else None
    passes = f"proxy_pass http://site; proxy_http_version 1.1; proxy_set_header Connection \"\";"
    listen = f"listen 127.0.0.1:{port};"
    if kind.startswith("http2"):
        return None  # nginx 1.22 asks servers over HTTP/1.1, and takes HTTP/2 without TLS at a port of its own.
    if kind == "grpc":
        listen, passes = f"listen 127.0.0.1:{port} http2;", "grpc_pass grpc://site;"
    if kind == "mtls":
        passes = f"""proxy_pass https://site; proxy_http_version 1.1; proxy_set_header Connection ""; {secured}"""
    return nginx(place, name, f"""upstream site {{ server 127.0.0.1:{server}; keepalive 256; keepalive_requests 1000000000; }}
  server {{ {listen} location / {{ {passes} }} }}""")


def haproxy(place, kind, port, server):
    if kind == "http2":
        return None  # Its HTTP/2 without TLS is a port of its own, whose server would be asked over HTTP/1.1.
    bind, to = "", ""
    if kind == "grpc":
        bind, to = " proto h2", " proto h2"
    if kind == "http2-mtls":
        bind, to = " proto h2", " alpn h2"
    if secures(kind):
        to += f" ssl crt {place}/certs/hop-both.pem ca-file {place}/certs/ca.pem verify required verifyhost server ssl-min-ver TLSv1.3"
    reuse = "" if kind.startswith("tcp") else "http-reuse always"
    config = place / f"haproxy-{kind}.cfg"
    config.write_text(f"""
global
  nbthread 1
  maxconn 4000
defaults
  mode {"tcp" if kind.startswith("tcp") else "http"}
  timeout connect 5s
  timeout client 3600s
  timeout server 3600s
  {reuse}
frontend f
  bind 127.0.0.1:{port}{bind}
  default_backend b
backend b
  server s 127.0.0.1:{server}{to}
""")
    return ["haproxy", "-db", "-f", config]


def command(name, place, kind, port, server, mesh):
    """How `name` is started before `server`; `None`: it can't carry that."""
    if name == "mesh":
        return mesh_proxy(place, kind, port, server, mesh)
    return {"envoy": envoy, "nginx": nginx_proxy, "haproxy": haproxy}[name](place, kind, port, server)
