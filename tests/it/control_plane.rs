//! `mesh proxy` whose names and clusters are a control plane's, and whose ports are its own.

use crate::ads::Ads;
use crate::proxy::{PATIENCE, Place, Running, ask, refused, routes, server};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const PORTS: &str = "outbound: { sock: { listen: \"unix:DIR/web.sock\" } }\n\
                     inbound: { app: { listen: \"unix:DIR/app.sock\", mtls: off, allow: [{ from: anyone, match: { prefix: / } }], forward: \"unix:DIR/own.sock\" } }\n";

/// A control plane that serves `file`, and its bootstrap.
fn control_plane(place: &Place, arguments: &[&str], file: &Path) -> Ads {
    let ads = Ads::start_with(arguments, file);
    let (listen, _) = ads.addresses();
    ads.says("serving ");
    let bootstrap = format!(
        "{{ \"xds_servers\": [{{ \"server_uri\": \"{listen}\", \"channel_creds\": [{{ \"type\": \"insecure\" }}], \"server_features\": [\"xds_v3\"] }}], \"node\": {{ \"id\": \"n\" }} }}"
    );
    fs::write(place.path("bootstrap.json"), bootstrap).unwrap();
    ads
}

fn served(place: &Place, name: &str, text: &str) -> std::path::PathBuf {
    let file = place.path(name);
    fs::write(&file, format!("version: 1\n{text}")).unwrap();
    file
}

fn answers(place: &Place, text: &str) {
    let until = Instant::now() + PATIENCE;
    while !place.ask("web.sock").ends_with(text) {
        assert!(Instant::now() < until, "{}", place.ask("web.sock"));
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The copy of what is in force, when it is another than `before`.
#[track_caller]
fn copied(place: &Place, before: &[u8]) -> Vec<u8> {
    let until = Instant::now() + PATIENCE;
    loop {
        match fs::read(place.path("good")) {
            Ok(copy) if copy != before => return copy,
            _ => assert!(Instant::now() < until, "there is no copy"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn its_names_are_the_control_planes_and_its_ports_its_own() {
    for wildcard in [false, true] {
        let place = Place::new(PORTS);
        let (one, two) = (server("one", Duration::ZERO), server("two", Duration::ZERO));
        let file = served(&place, "served.yaml", &routes(one));
        // For Envoy, a listener with a port.
        let envoys: &[&str] =
            if wildcard { &["--envoy-listener", "web=127.0.0.1:80"] } else { &[] };
        let ads = control_plane(&place, envoys, &file);
        let mut arguments = vec!["--xds", "bootstrap.json", "--last-good", "good"];
        arguments.extend(wildcard.then_some("--wildcard"));
        let mut running = Running::start(&mut place.proxy(&arguments));
        let lines = [running.line(), running.line()];
        assert!(lines[0].starts_with("app on ") && lines[1].starts_with("outbound|sock"));
        let answer = place.ask("web.sock");
        assert!(answer.ends_with("one"), "{wildcard} {answer}");
        assert!(ask(&place.path("app.sock")).starts_with("HTTP/1.1 503 "), "nobody is there");
        if wildcard {
            // By name it is known after 15 s that there is none (gRFC A88).
            let unknown = place.ask_for("web.sock", "b");
            assert!(unknown.starts_with("HTTP/1.1 404 "), "{unknown}");
        }
        let copy = copied(&place, &[]);
        // Other routes, too: a copy of other endpoints alone is made once a minute.
        let others = routes(two)
            .replace("cluster: a ", "cluster: b ")
            .replace("clusters: { a:", "clusters: { b:");
        served(&place, "served.yaml", &others);
        answers(&place, "two");
        assert!(ask(&place.path("app.sock")).starts_with("HTTP/1.1 503 "), "it is there still");
        // Killed, and started again without the control plane: what was in force is.
        copied(&place, &copy);
        drop(ads);
        running.child.kill().unwrap();
        running.ended();
        let mut running = Running::start(&mut place.proxy(&arguments));
        assert!(running.line().starts_with("app on ") && running.line().starts_with("outbound|"));
        let answer = place.ask("web.sock");
        assert!(answer.ends_with("two"), "{answer}");
        running.signal("TERM");
        assert_eq!(running.ended().code(), Some(0));
    }
}

/// Without a file: gRPC's variable, and a port by an argument.
#[test]
fn the_environment_may_name_the_control_plane() {
    let place = Place::new("");
    let file = served(&place, "served.yaml", &routes(server("one", Duration::ZERO)));
    let _ads = control_plane(&place, &[], &file);
    let proxy = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mesh"));
        command.arg("proxy").args(arguments).current_dir(place.0.path());
        command.env("GRPC_XDS_BOOTSTRAP", "bootstrap.json");
        command
    };
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let running = Running::start(&mut proxy(&["--outbound", &free.to_string()]));
    assert_eq!(running.line(), format!("outbound|argument-1 on {free}"));
    assert!(crate::proxy::page(&free.to_string(), "GET http://a/").contains("one"));
    refused(&mut proxy(&[]), "no_ports", "--outbound");
    refused(&mut proxy(&["--outbound", "0.0.0.0:1"]), "invalid_outbound", "lets others");
}

/// A port by an argument is one more: what the file says of unknown hosts holds.
#[test]
fn a_port_beside_those_of_a_file_changes_nothing_else() {
    let other = server("passed", Duration::ZERO);
    let text = routes(server("one", Duration::ZERO)) + "unknown_hosts: passthrough\n";
    let place = Place::new(&text);
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let running = Running::start(&mut place.proxy(&["--outbound", &free.to_string()]));
    running.line();
    let ask = |url: &str| crate::proxy::page(&free.to_string(), &format!("GET {url}"));
    assert!(ask("http://a/").contains("one"));
    assert!(
        ask(&format!("http://{other}/")).contains("passed"),
        "{}",
        ask(&format!("http://{other}/"))
    );
}

#[test]
fn what_the_control_plane_has_is_in_no_file() {
    let place = Place::new(&routes(server("one", Duration::ZERO)));
    fs::write(place.path("bootstrap.json"), "{}").unwrap();
    let xds = ["--xds", "bootstrap.json"];
    refused(&mut place.proxy(&xds), "hosts_beside_xds", "`a` is in a file");
    place.write(PORTS);
    refused(&mut place.proxy(&xds), "invalid_bootstrap", "xds_servers");
    let mut missing = place.proxy(&["--xds", "no-such-file"]);
    refused(&mut missing, "unreadable_file", "no-such-file");
}
