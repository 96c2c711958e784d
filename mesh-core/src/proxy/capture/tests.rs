use super::*;
use crate::model::Capture;

fn listener(name: &str, address: &str, capture: Option<Capture>) -> Listener {
    let mut listener = Listener::new(name);
    listener.address = Some(Address::Socket(address.parse().unwrap()));
    listener.capture = capture;
    listener
}

fn rules(of: &[(&str, Option<Capture>)]) -> Result<Rules, NoRules> {
    let listeners: Vec<_> =
        of.iter().map(|(address, capture)| listener("p", address, capture.clone())).collect();
    Rules::new(&listeners, "1337")
}

fn lines(script: &str) -> Vec<&str> {
    script.lines().filter(|line| !line.starts_with('#') && *line != "set -eu").collect()
}

#[test]
fn ports_come_before_the_rest() {
    let rules = rules(&[
        ("127.0.0.1:15001", Some(Capture::Rest)),
        ("127.0.0.1:8080", None),
        ("127.0.0.1:15002", Some(Capture::Ports(vec![5432, 6379]))),
    ]);
    let script = rules.unwrap().apply();
    let made: Vec<_> =
        lines(&script).into_iter().take_while(|line| line.starts_with("iptables")).collect();
    let expected = [
        "iptables -w -t nat -N MESH_OUTPUT 2>/dev/null || iptables -w -t nat -F MESH_OUTPUT",
        "iptables -w -t nat -A MESH_OUTPUT -m owner --uid-owner 1337 -j RETURN",
        "iptables -w -t nat -A MESH_OUTPUT -o lo -j RETURN",
        "iptables -w -t nat -A MESH_OUTPUT -d 127.0.0.0/8 -j RETURN",
        "iptables -w -t nat -A MESH_OUTPUT -p tcp --dport 5432 -j REDIRECT --to-ports 15002",
        "iptables -w -t nat -A MESH_OUTPUT -p tcp --dport 6379 -j REDIRECT --to-ports 15002",
        "iptables -w -t nat -A MESH_OUTPUT -p tcp -j REDIRECT --to-ports 15001",
        "iptables -w -t nat -C OUTPUT -p tcp -j MESH_OUTPUT 2>/dev/null || iptables -w -t nat -A OUTPUT -p tcp -j MESH_OUTPUT",
    ];
    assert_eq!(made, expected);
    assert!(script.contains("# No port captures IPv6"), "{script}");
}

#[test]
fn each_family_has_its_own() {
    let mut both = rules(&[("[::]:15001", Some(Capture::Rest))]).unwrap();
    both.exclude = vec![
        Cidr::new("10.0.0.0".parse().unwrap(), 8).unwrap(),
        Cidr::new("fd00::".parse().unwrap(), 8).unwrap(),
    ];
    (both.exclude_ports, both.inbound) = (vec![22, 22], vec![(8080, 8443)]);
    let script = both.apply();
    for (table, has, has_not) in
        [("iptables", "10.0.0.0/8", "fd00::/8"), ("ip6tables", "fd00::/8", "10.0.0.0/8")]
    {
        let own: Vec<_> =
            lines(&script).into_iter().filter(|l| l.starts_with(&format!("{table} "))).collect();
        let own = own.join("\n");
        assert!(own.contains(&format!("-d {has} -j RETURN")) && !own.contains(has_not), "{own}");
        assert_eq!(own.matches("--dport 22 -j RETURN").count(), 1, "{own}");
        assert!(own.contains("-A MESH_INBOUND -p tcp --dport 8080 -j REDIRECT --to-ports 8443"));
        assert!(own.contains("REDIRECT --to-ports 15001"), "{own}");
    }
    let six = rules(&[("[::1]:15001", Some(Capture::Rest))]).unwrap().apply();
    assert!(six.contains("# No port captures IPv4"), "{six}");
}

#[test]
fn what_can_not_be_is_said() {
    assert_eq!(rules(&[("127.0.0.1:80", None)]), Err(NoRules::NothingCaptured));
    assert_eq!(rules(&[("127.0.0.1:0", Some(Capture::Rest))]), Err(NoRules::AnyPort("p".into())));
    let far = rules(&[("10.1.1.1:15001", Some(Capture::Rest))]).unwrap_err();
    assert!(far.to_string().contains("listen on `127.0.0.1:15001`"), "{far}");
    let one = [listener("p", "127.0.0.1:15001", Some(Capture::Rest))];
    for user in ["", "a b", "-x", "$(id)", "a;b", "a\n"] {
        assert_eq!(Rules::new(&one, user), Err(NoRules::User(user.into())), "{user}");
    }
    for user in ["0", "mesh-proxy", "a.b_c"] {
        assert!(Rules::new(&one, user).is_ok(), "{user}");
    }
}

#[test]
fn what_is_taken_away_is_what_was_made() {
    let mut rules = rules(&[("[::]:15001", Some(Capture::Rest))]).unwrap();
    rules.inbound = vec![(1, 2)];
    let (apply, undo) = (rules.apply(), rules.undo());
    for table in ["iptables", "ip6tables"] {
        for (from, chain) in [("OUTPUT", "MESH_OUTPUT"), ("PREROUTING", "MESH_INBOUND")] {
            assert!(apply.contains(&format!("{table} -w -t nat -A {from} -p tcp -j {chain}")));
            assert!(undo.contains(&format!("{table} -w -t nat -D {from} -p tcp -j {chain}")));
            assert!(undo.contains(&format!("{table} -w -t nat -X {chain}")));
        }
    }
}

#[test]
fn what_is_not_made_any_more_is_taken_away() {
    let of = |addresses: &[&str], inbound: &[(u16, u16)]| {
        let ports: Vec<_> =
            addresses.iter().map(|address| (*address, Some(Capture::Rest))).collect();
        let mut rules = rules(&ports).unwrap();
        rules.inbound = inbound.to_vec();
        rules.apply()
    };
    let (four, six) = ("127.0.0.1:15001", "[::1]:15001");
    for (script, gone) in [
        (of(&[four, six], &[(8080, 8443)]), [false; 4]),
        (of(&[four, six], &[]), [false, true, false, true]),
        (of(&[four], &[(8080, 8443)]), [false, false, true, true]),
        (of(&[six], &[]), [true, true, false, true]),
    ] {
        let ways = ["iptables", "ip6tables"].into_iter().flat_map(|table| {
            [("OUTPUT", "MESH_OUTPUT"), ("PREROUTING", "MESH_INBOUND")].map(|way| (table, way))
        });
        for ((table, (from, chain)), is_gone) in ways.zip(gone) {
            let has = |what: &str| script.contains(&format!("{table} -w -t nat {what}"));
            assert_eq!(has(&format!("-D {from} -p tcp -j {chain}")), is_gone, "{script}");
            assert_eq!(has(&format!("-X {chain}")), is_gone, "{script}");
            assert_eq!(has(&format!("-A {from} -p tcp -j {chain}")), !is_gone, "{script}");
        }
    }
}
