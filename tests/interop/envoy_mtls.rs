//! Envoy as a client of a server of ours under mutual TLS: who gets in, as whom, and what is said of who doesn't.

use crate::client::{get, mesh, read, send};
use crate::envoy_parts::{address, cluster, envoy, listener, manager, tls, validation};
use crate::mtls::{LIFE, Served, document, id, known, write};
use crate::process::{Peer, Scratch, free_ports};
use crate::server_ca::{Ca, Pair};
use crate::xds::until;
use http::{StatusCode, Version};
use mesh_core::model::matcher::StringPattern;
use mesh_core::model::{SanMatcher, StringMatcher};
use mesh_core::update::ConfigUpdate;
use mesh_tower::Mesh;
use mesh_tower::server::{AcceptError, ClientRefusal, ServeError};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;

/// What a caller would like to be.
const FORGED: &str = "By=spiffe://mesh.example/server;URI=spiffe://mesh.example/admin";

/// Both versions of HTTP, each over one version of TLS.
const BOTH: [(&str, &str); 2] =
    [("http_protocol_options", "TLSv1_2"), ("http2_protocol_options", "TLSv1_3")];

/// Strict mutual TLS of mesh.example, which only `friend` passes.
fn configuration(directory: &Path, ca: &Ca) -> ConfigUpdate {
    let friend = id("friend");
    let port =
        format!("inbound: {{ web: {{ allow: [{{ name: friends, from: \"{friend}\" }}] }} }}\n");
    let mut update = read(&document(directory, ca, "server", &port));
    let listener = Arc::make_mut(update.listeners.get_mut("web").unwrap());
    for chain in &mut listener.filter_chains {
        let tls = Arc::make_mut(Arc::make_mut(chain).tls.as_mut().unwrap());
        let prefix = StringPattern::Prefix("spiffe://mesh.example/".into());
        tls.san = vec![SanMatcher::any(StringMatcher::new(prefix))];
    }
    update
}

/// An Envoy that calls `port` as each of `callers` by `/NAME/…`, and forges who it is.
fn caller(scratch: &Path, port: u16, callers: &[(&str, Option<Pair>, &str)]) -> (u16, Peer) {
    let [admin, outbound] = free_ports();
    let roots = json!({ "filename": scratch.join("ca.pem") });
    let (mut clusters, mut routes) = (Vec::new(), Vec::new());
    for (name, shows, expects) in callers {
        for (version, newest) in BOTH {
            let mut common = json!({
                "validation_context": validation(&roots, expects),
                "tls_params": { "tls_maximum_protocol_version": newest },
            });
            if let Some(pair) = shows {
                let [certificate, key] = write(scratch, name, pair).map(|path| json!(path));
                common["tls_certificates"] = json!([{
                    "certificate_chain": { "filename": certificate },
                    "private_key": { "filename": key },
                }]);
            }
            if version.starts_with("http2") {
                common["alpn_protocols"] = json!(["h2"]);
            }
            let name = format!("{name}-{version}");
            let socket = tls("Upstream", &common, json!({ "sni": "localhost" }));
            clusters.push(cluster(&name, port, version, &socket));
            routes.push(json!({
                "match": { "prefix": format!("/{name}") },
                "route": { "cluster": name },
                "request_headers_to_add": [{
                    "header": { "key": "x-forwarded-client-cert", "value": FORGED },
                }],
            }));
        }
    }
    let manager = manager(&json!(routes), &[], json!({}));
    let config = json!({
        "admin": { "address": address(admin) },
        "static_resources": {
            "listeners": [listener("outbound", outbound, &manager, None)],
            "clusters": clusters,
        },
    });
    let path = scratch.join("envoy.json");
    std::fs::write(&path, config.to_string()).unwrap();
    (outbound, envoy(&path, vec![admin, outbound]))
}

/// What is wrong with who came, and what is told of it: its serial number and name.
fn refusal(error: &ServeError) -> (String, &ClientRefusal, &str) {
    let ServeError::Accept(AcceptError::Client { refused, .. }) = error else {
        panic!("{error}");
    };
    assert_eq!(refused.roots.count, 1, "{error}");
    let came = refused.came.as_ref();
    let told = came.map(|came| format!("{} {}", came.serial, came.name)).unwrap_or_default();
    (told, &refused.reason, &refused.roots.origin)
}

const OUTSIDER: &str = "spiffe://other.example/friend";

/// Who came, why he was refused, and whose roots were tried.
fn check_refusal(name: &str, error: &ServeError, told: &str) {
    let (came, reason, origin) = refusal(error);
    assert_eq!(came, told, "{name}: {error}");
    assert!(origin.contains("identity"), "{error}");
    let is_right = match name {
        "stranger" => matches!(reason, ClientRefusal::UnknownIssuer),
        "outsider" => matches!(reason, ClientRefusal::Names(_)),
        "expired" => matches!(reason, ClientRefusal::Expired(_)),
        _ => matches!(reason, ClientRefusal::NoCertificate),
    };
    assert!(is_right, "{name}: {error}");
    if let ClientRefusal::Names(mismatch) = reason {
        let told = mismatch.to_string();
        assert!(told.contains("spiffe://mesh.example/") && told.contains(OUTSIDER), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Envoy: tests/interop/install"]
async fn envoy_mtls_client_is_let_in_with_the_right_certificate_only() {
    let (ca, scratch) = (Ca::new("interop"), Scratch::new("envoy-mtls"));
    let configuration = configuration(scratch.path(), &ca);
    let ours = Mesh::builder().config(configuration).build().unwrap();
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let served = Served::new(known(ours).await, "web", socket);

    let (friend, server) = (id("friend"), id("server"));
    let outsider = OUTSIDER;
    let callers = [
        ("friend", Some(ca.issue_for(&friend, LIFE, 0x1a)), &*server),
        ("guest", Some(ca.issue_for(&id("guest"), LIFE, 0x1b)), &server),
        ("stranger", Some(Ca::new("others").issue_for(&friend, LIFE, 0x1c)), &server),
        ("outsider", Some(ca.issue_for(outsider, LIFE, 0x1d)), &server),
        ("expired", Some(ca.issue_for(&friend, (-7200, -3600), 0x1e)), &server),
        ("nobody", None, &server),
        ("fussy", Some(ca.issue(&friend)), "spiffe://mesh.example/another"),
    ];
    let (outbound, _envoy) = caller(scratch.path(), served.port, &callers);
    let through = mesh(outbound, "");
    let ask = async |name: &str, version| {
        send(&through, get(Version::HTTP_11, &format!("/{name}-{version}/x"))).await
    };

    for (version, spoken) in [(BOTH[0].0, "HTTP/1.1"), (BOTH[1].0, "HTTP/2.0")] {
        let answer = ask("friend", version).await;
        assert_eq!(answer.status, StatusCode::OK, "{version}: {:?}", answer.body);
        let said = answer.json();
        assert_eq!((&said["peer"], &said["serial"]), (&json!(friend), &json!("1a")), "{said}");
        assert_eq!(said["version"], spoken, "{said}");
        let [Value::String(xfcc)] = &said["xfcc"].as_array().unwrap()[..] else { panic!("{said}") };
        assert!(xfcc.starts_with(&format!("By={server};Hash=")), "{xfcc}");
        assert!(xfcc.contains(&format!(";URI={friend}")) && !xfcc.contains("admin"), "{xfcc}");
        // Who is somebody, but not the one who is allowed.
        assert_eq!(ask("guest", version).await.status, StatusCode::FORBIDDEN, "{version}");
        assert!(served.refused.lock().is_empty(), "{:?}", served.refused.lock());

        for (name, told) in [
            ("stranger", format!("1c {friend}")),
            ("outsider", format!("1d {outsider}")),
            ("expired", format!("1e {friend}")),
            ("nobody", String::new()),
        ] {
            let answer = ask(name, version).await;
            assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{name} {version}");
            until("we say why", async || !served.refused.lock().is_empty()).await;
            let errors = std::mem::take(&mut *served.refused.lock());
            for error in &errors {
                check_refusal(name, error, &told);
            }
        }

        // Envoy does not believe us: it says so, and we say what it said.
        assert_eq!(ask("fussy", version).await.status, StatusCode::SERVICE_UNAVAILABLE);
        until("we hear of it", async || !served.refused.lock().is_empty()).await;
        for error in std::mem::take(&mut *served.refused.lock()) {
            let is_theirs = matches!(&error, ServeError::Accept(AcceptError::Handshake { reason, .. })
                if reason.contains("ertificate"));
            assert!(is_theirs, "{version}: {error}");
        }
    }
    let metrics = served.mesh.metrics().prometheus_text();
    for reason in ["unknown_issuer", "wrong_name", "expired", "no_certificate"] {
        let series =
            format!("mesh_server_handshakes_failed_total{{listener=\"web\",reason=\"{reason}\"}}");
        let count = metrics
            .lines()
            .find_map(|line| line.strip_prefix(&*series))
            .unwrap_or_else(|| panic!("no {series}: {metrics}"));
        assert!(count.trim().parse::<u64>().unwrap() >= 2, "{series}{count}");
    }
}
