//! Envoy's habits: the same requests through Envoy and through `mesh proxy`, to the same application.
//!
//! What the application gets and what the client is answered is compared name by name. In what the two differ is the
//! table of `docs/envoy-habits.md`, and nothing else.

mod ask;
mod backend;
mod cases;
mod facts;
mod hops;
mod table;
mod wire;

use crate::process::{Scratch, free_ports};
use backend::Backend;
use cases::Case;
use facts::Facts;
use hops::Hops;
use std::collections::BTreeSet;
use table::{Difference, NOTHING};

/// What is seen of a case on a port.
async fn seen(backend: &Backend, port: u16, case: &Case) -> Facts {
    backend.answer(&case.answers);
    let mut answered = Facts::default();
    ask::ask(port, &case.ask, &mut answered).await;
    let mut facts = if case.is_seen { backend.seen() } else { Facts::default() };
    facts.0.append(&mut answered.0);
    facts
}

/// What the two do not have in common. Where only one passes the request on, or where they answer another status, what
/// follows from that is left out.
fn differences(case: &str, envoy: &Facts, mesh: &Facts) -> Vec<Difference> {
    let differ = |name: &str| envoy.0.get(name) != mesh.0.get(name);
    let is_missing = |facts: &Facts| !facts.0.contains_key("request line");
    let one_passes = is_missing(envoy) != is_missing(mesh);
    let status = |facts: &Facts| {
        let line = facts.0.get("answer line").map_or("", String::as_str);
        line.split(' ').nth(1).unwrap_or_default().to_owned()
    };
    let follows = |name: &str| {
        let of_request = name.starts_with("request") && name != "request line";
        let of_answer = name.starts_with("answer") && name != "answer line";
        (of_request && one_passes)
            || (of_answer && status(envoy) != status(mesh))
            || (name == "answer `content-length`" && differ("answer body"))
    };
    let names: BTreeSet<_> = envoy.0.keys().chain(mesh.0.keys()).collect();
    let of =
        |facts: &Facts, name: &String| facts.0.get(name).map_or(NOTHING, String::as_str).to_owned();
    let difference = |name: &String| Difference {
        case: case.to_owned(),
        what: name.clone(),
        envoy: of(envoy, name),
        mesh: of(mesh, name),
    };
    let told = names.into_iter().filter(|name| differ(name) && !follows(name));
    told.map(difference).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Envoy: tests/interop/install"]
async fn what_differs_from_envoy_is_what_the_table_says() {
    let backend = Backend::start().await;
    let scratch = Scratch::new("habits");
    let [nobody] = free_ports();
    let envoy = Hops::envoy(&scratch, backend.port, nobody);
    let mesh = Hops::mesh(&scratch, backend.port, nobody);
    let (mut differ, mut compared) = (Vec::new(), 0);
    for case in cases::all() {
        for port in &case.ports {
            let by_envoy = seen(&backend, envoy.port(port), &case).await;
            let by_mesh = seen(&backend, mesh.port(port), &case).await;
            assert!(by_envoy.0.len() + by_mesh.0.len() > 1, "{port} {case:?}: nothing was seen");
            differ.extend(differences(&format!("{port} {}", case.name), &by_envoy, &by_mesh));
            compared += by_envoy.0.len().max(by_mesh.0.len());
        }
    }
    let complaints = table::complaints(&differ);
    assert!(complaints.is_empty(), "docs/envoy-habits.md is not true:\n{complaints}");
    assert!(compared > 1_000, "{compared}");
}
