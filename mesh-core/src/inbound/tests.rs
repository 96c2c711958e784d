use super::*;
use crate::model::filter_chain::{SourceType, TransportProtocol};
use crate::model::{Cidr, FilterChainMatch};

fn chain(name: &str, set: impl FnOnce(&mut FilterChainMatch)) -> Arc<FilterChain> {
    let mut chain = FilterChain::new(name, None);
    set(&mut chain.matcher);
    Arc::new(chain)
}

fn range(text: &str) -> Vec<Cidr> {
    let (address, prefix) = text.split_once('/').unwrap();
    vec![Cidr::new(address.parse().unwrap(), prefix.parse().unwrap()).unwrap()]
}

/// Envoy's order of steps, and the longest answer of each.
fn listener() -> CompiledListener {
    let mut listener = Listener::new("l");
    listener.filter_chains = vec![
        chain("any", |_| {}),
        chain("net", |m| m.prefix_ranges = range("10.0.0.0/8")),
        chain("host", |m| m.prefix_ranges = range("10.1.1.1/32")),
        chain("tls", |m| m.transport_protocol = Some(TransportProtocol::Tls)),
        chain("name", |m| m.server_names = vec!["a.example".into()]),
        chain("wild", |m| m.server_names = vec!["*.example".into()]),
        chain("h2", |m| m.application_protocols = vec!["istio".into()]),
        chain("local", |m| m.source_type = SourceType::SameIpOrLoopback),
        chain("port", |m| m.source_ports = vec![99]),
    ];
    CompiledListener::compile(&Arc::new(listener), None).unwrap()
}

#[track_caller]
fn check(from: &str, to: &str, hello: Option<(&str, &[&str])>, expected: &str) {
    let (source, destination) = (from.parse().unwrap(), to.parse().unwrap());
    let (server_name, application_protocols) = hello.unwrap_or(("", &[]));
    let transport_protocol = match hello {
        Some(_) => TransportProtocol::Tls,
        None => TransportProtocol::RawBuffer,
    };
    let facts = ConnectionFacts {
        destination: Some(destination),
        direct_source: Some(source),
        source: Some(source),
        transport_protocol,
        server_name,
        application_protocols,
    };
    let listener = listener();
    let found = listener.select(&facts).map(|chain| &*chain.model().name);
    assert_eq!(found.unwrap_or("none"), expected, "{facts:?}");
}

#[test]
fn the_most_specific_answer_of_each_step() {
    check("9.9.9.9:1", "8.8.8.8:80", None, "any");
    check("9.9.9.9:1", "10.9.9.9:80", None, "net");
    check("9.9.9.9:1", "10.1.1.1:80", None, "host");
    check("9.9.9.9:1", "8.8.8.8:80", Some(("", &[])), "tls");
    check("9.9.9.9:1", "8.8.8.8:80", Some(("a.example", &[])), "name");
    check("9.9.9.9:1", "8.8.8.8:80", Some(("b.c.example", &[])), "wild");
    check("9.9.9.9:1", "8.8.8.8:80", Some(("example", &[])), "tls");
    check("127.0.0.1:1", "8.8.8.8:80", None, "local");
    check("8.8.8.8:1", "8.8.8.8:80", None, "local");
    check("9.9.9.9:99", "8.8.8.8:80", None, "port");
    // An earlier step decides, whatever later ones would say.
    check("127.0.0.1:99", "10.1.1.1:80", None, "host");
    check("9.9.9.9:1", "8.8.8.8:80", Some(("", &["istio", "h2"])), "tls");
}

#[test]
fn chains_for_the_same_connections_are_refused() {
    let mut listener = Listener::new("l");
    listener.filter_chains = vec![chain("a", |_| {}), chain("b", |_| {})];
    let errors = CompiledListener::compile(&Arc::new(listener), None).unwrap_err();
    assert_eq!(
        errors[0].to_string(),
        "the filter chains `a` and `b` are for the same connections: change the match of one"
    );
}

#[test]
fn the_first_protocol_of_the_client_that_a_chain_has_decides() {
    let mut listener = Listener::new("l");
    let of = |name, protocols: &[&str]| {
        let protocols = protocols.iter().map(|&name| name.into()).collect();
        chain(name, |m| m.application_protocols = protocols)
    };
    listener.filter_chains =
        vec![of("1", &["http/1.1", "http/1.0"]), of("2", &["h2"]), of("any", &[])];
    let listener = CompiledListener::compile(&Arc::new(listener), None).unwrap();
    for (offered, expected) in [
        (&["h2", "http/1.1"][..], "2"),
        (&["http/1.1", "h2"], "1"),
        (&["other", "h2", "http/1.0"], "2"),
        (&["other", "http/1.0", "h2"], "1"),
        (&["other"], "any"),
        (&[], "any"),
    ] {
        let facts = ConnectionFacts {
            destination: None,
            direct_source: None,
            source: None,
            transport_protocol: TransportProtocol::Tls,
            server_name: "",
            application_protocols: offered,
        };
        let found = listener.select(&facts).map(|chain| &*chain.model().name);
        assert_eq!(found, Some(expected), "{offered:?}");
    }
}

/// Envoy: there is no way back. A chain that asks for what is never detected has by its address left no other.
#[test]
fn a_chain_for_what_is_never_detected_narrows_like_any_other() {
    let undetected = |m: &mut FilterChainMatch| {
        m.prefix_ranges = range("10.1.0.0/16");
        m.transport_protocol = Some(TransportProtocol::Undetected);
    };
    let mut listener = Listener::new("l");
    let chains = [chain("quic", undetected), chain("more", undetected), chain("any", |_| {})];
    listener.filter_chains = chains.into();
    let find = |listener: &Listener, to: &str| {
        let listener = CompiledListener::compile(&Arc::new(listener.clone()), None).unwrap();
        let facts = ConnectionFacts {
            destination: Some(to.parse().unwrap()),
            direct_source: None,
            source: None,
            transport_protocol: TransportProtocol::RawBuffer,
            server_name: "",
            application_protocols: &[],
        };
        listener.select(&facts).map(|chain| chain.model().name.to_string())
    };
    assert_eq!(find(&listener, "10.1.0.5:80"), None);
    listener.default_filter_chain = Some(chain("default", |_| {}));
    assert_eq!(find(&listener, "10.1.0.5:80").as_deref(), Some("default"));
    assert_eq!(find(&listener, "10.2.0.5:80").as_deref(), Some("any"));
}
