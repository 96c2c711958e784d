//! Health probes at a port of mutual TLS: who probes proves nothing, and reaches what it is to reach, and nothing else.

use super::detect::{Application, get};
use super::kit::Ports;
use super::secured::{CLIENT, SHOP, identity, known};
use crate::server::ca::Ca;

#[tokio::test]
async fn what_probes_ask_for_is_open_and_nothing_else() {
    let (ca, directory) = (Ca::new("ca"), tempfile::tempdir().unwrap());
    let application = Application::start().await;
    let to = application.address;
    let own = identity(&ca, directory.path(), SHOP);
    let rules = format!(
        "[{{ from: anyone, match: {{ path: /healthz, method: GET }} }}, {{ from: \"{CLIENT}\", match: {{ prefix: / }} }}]"
    );
    let server = Ports::open(&format!(
        "{own}inbound: {{ web: {{ listen: \"127.0.0.1:1\", mtls: permissive, allow: {rules}, forward: \"{to}\" }} }}\n"
    ));
    known(&server.mesh).await;
    for (request, expected) in [
        (get("/healthz"), "200"),
        (get("/healthz?full"), "200"),
        (get("/"), "403"),
        (get("/healthz/../orders"), "403"),
        (get("/healthz/"), "403"),
        (get("/HEALTHZ"), "403"),
        (get("/healthz").replace("GET", "POST"), "403"),
    ] {
        let answer = server.ask("web", &request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {expected} ")), "{request}: {answer}");
    }
    let own = identity(&ca, directory.path(), CLIENT);
    let port = server.port("web");
    let client = Ports::open(&format!(
        "{own}clusters: {{ web: {{ endpoints: [\"{port}\"], tls: {{ san: [\"{SHOP}\"] }} }} }}\noutbound: {{ web: {{ listen: \"127.0.0.1:1\", cluster: web }} }}\n"
    ));
    known(&client.mesh).await;
    for path in ["/healthz", "/orders"] {
        let answer = client.ask("outbound|web", &get(path)).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{path}: {answer}");
    }
}
