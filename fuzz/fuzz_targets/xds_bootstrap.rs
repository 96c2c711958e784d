//! The bootstrap of gRPC: whatever the text, there is a bootstrap or an error with its place, and every
//! listener's name that it gives can be read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mesh_xds::ResourceType;
use mesh_xds::bootstrap::{Bootstrap, MAX_PROBLEMS, ResourceName, Target};

fuzz_target!(|text: &str| {
    for kind in ResourceType::ALL {
        if let Ok(name) = ResourceName::parse(kind, text) {
            let again = ResourceName::parse(kind, name.canonical());
            assert_eq!(again, Ok(name), "a canonical name is its own");
        }
    }
    if let Ok(target) = Target::parse(text) {
        assert_eq!(Target::parse(&target.to_string()), Ok(target));
    }
    let bootstrap = match Bootstrap::parse(text) {
        Ok(bootstrap) => bootstrap,
        Err(error) => {
            assert!((1..=MAX_PROBLEMS).contains(&error.problems.len()));
            assert!(error.problems.iter().all(|problem| problem.line >= 1 && problem.column >= 1));
            return;
        }
    };
    assert!(!bootstrap.servers().is_empty());
    let _node = bootstrap.node().to_proto();
    let _server = bootstrap.server_listener_name(([0, 0, 0, 0], 80).into());
    let name = bootstrap.client_listener_name(None, "reviews:80").expect("it names no authority");
    if let Ok(name) = ResourceName::parse(ResourceType::Listener, &name) {
        match bootstrap.servers_of(&name) {
            Ok(servers) => assert!(!servers.is_empty()),
            Err(_unknown) => assert!(name.authority().is_some()),
        }
    }
    for authority in bootstrap.authorities() {
        assert!(authority.client_listener_template().as_str().starts_with("xdstp://"));
    }
});
