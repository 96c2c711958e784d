//! Over any text.

use super::*;
use crate::ResourceType;
use proptest::prelude::*;

/// Pieces of a bootstrap, so that texts come close to one.
fn nearly() -> impl Strategy<Value = String> {
    let pieces = [
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "\"xds_servers\"",
        "\"server_uri\"",
        "\"channel_creds\"",
        "\"a:1\"",
        "\"type\"",
        "\"tls\"",
        "\"insecure\"",
        "\"config\"",
        "\"node\"",
        "\"authorities\"",
        "null",
        "1",
        "true",
        " ",
        "\n",
        "\"ü\\u00e9\"",
        "\"certificate_providers\"",
        "\"\\ud800\"",
        "\"",
    ];
    prop::collection::vec(prop::sample::select(pieces.to_vec()), 0..40).prop_map(|p| p.concat())
}

proptest! {
    #[test]
    fn no_text_panics(text in prop_oneof![nearly(), ".{0,60}"]) {
        if let Err(error) = Bootstrap::parse(&text) {
            prop_assert!(!error.problems.is_empty());
            prop_assert!(error.problems.iter().all(|p| p.line >= 1 && p.column >= 1));
        }
    }

    #[test]
    fn no_cut_panics(at in 0..1000_usize) {
        let text = beside_server(r#", "node": {"metadata": {"a": [1.5, "ü"]}}, "authorities": {}"#);
        let cut: String = text.chars().take(at).collect();
        prop_assert_eq!(Bootstrap::parse(&cut).is_ok(), cut.len() == text.len());
    }

    #[test]
    fn targets_read_back(text in "(dns:|unix:|ipv4:|ipv6:|unix-abstract:)?/{0,3}[a-z0-9.:,\\[\\]%_-]{0,20}") {
        if let Ok(target) = Target::parse(&text) {
            prop_assert_eq!(Target::parse(&target.to_string()), Ok(target));
        }
    }

    #[test]
    fn canonical_names_are_their_own(rest in "[a-c/%0-9A-F?&=# ü\\[]{0,40}") {
        let text = format!("xdstp://{rest}/envoy.config.cluster.v3.Cluster/{rest}");
        let text = if rest.contains(['/', '?', '#']) {
            format!("xdstp://a/envoy.config.cluster.v3.Cluster/{rest}")
        } else {
            text
        };
        if let Ok(name) = ResourceName::parse(ResourceType::Cluster, &text) {
            prop_assert_eq!(ResourceName::parse(ResourceType::Cluster, name.canonical()), Ok(name));
        }
    }

    #[test]
    fn every_service_gives_a_name_of_an_authority(service in "\\PC{1,20}", authority in "\\PC{0,20}") {
        // Whatever the service, its name is one; a service that ends at once has none.
        let server = Server::new("a:1", ChannelCreds::Insecure).unwrap();
        let bootstrap = Bootstrap::new(server).with_authority(Authority::new(&authority));
        let name = bootstrap.client_listener_name(Some(&authority), &service).unwrap();
        let name = ResourceName::parse(ResourceType::Listener, &name).unwrap();
        prop_assert!(bootstrap.authority_of(&name).unwrap().is_some());
    }
}
