use super::*;

#[test]
fn a_destination_is_told_once_and_again_when_it_changes() {
    let log = EgressLog::default();
    let refused = EgressVerdict::Refused(EgressRefusal::NotListed);
    let told = |verdict: EgressVerdict| {
        let before = log.version();
        log.called("a.example:443", verdict, Peer::default());
        log.version() != before
    };
    assert!(told(refused) && !told(refused));
    assert!(told(EgressVerdict::Allowed(Some(0))) && !told(EgressVerdict::Allowed(None)));
    let mut counts = Vec::new();
    log.visit(Metric::EgressCalls, |outcome, why, calls| {
        counts.push(format!("{outcome} {why} {calls}"))
    });
    assert_eq!(counts, ["allowed  2", "refused not_listed 2"]);
    assert_eq!(log.destinations()[0].calls, 4);
}

/// Callers that change between good calls and odd ones, and names that change where they lead, are told of once each.
#[test]
fn what_comes_and_goes_is_told_once() {
    let log = EgressLog::default();
    let [listed, odd] = [
        EgressVerdict::Logged(EgressRefusal::NotListed),
        EgressVerdict::Refused(EgressRefusal::AuthorityMismatch),
    ];
    log.called("a.example:443", listed, Peer::default());
    let version = log.version();
    let mut told = 0;
    for verdict in [odd, listed, odd, listed, odd] {
        let (_, refusal) = parts(verdict);
        let news = log.remember("a.example:443", refusal, Peer::default());
        told += u32::from(news == News::Told);
    }
    assert_eq!((told, log.version()), (1, version), "and nothing is written anew");
    assert!(!allow_list(&log.destinations()).contains("# -"), "one odd call spoils no list");
    let private = Some(EgressRefusal::PrivateAddress);
    let led = [private, None, private, None].map(|led| log.leads("a.example:443", led).is_some());
    assert_eq!(led, [true, true, false, false]);
}

/// One call, two verdicts: neither is news of the other.
#[test]
fn where_a_name_leads_is_counted_and_told_apart() {
    let log = EgressLog::default();
    let inward = EgressVerdict::Refused(EgressRefusal::PrivateAddress);
    let version = || log.version();
    let call = |against| {
        log.called("a.example", EgressVerdict::Allowed(Some(0)), Peer::default());
        log.connects("a.example", against);
        version()
    };
    let told = call(Some(inward));
    assert_eq!(call(Some(inward)), told);
    let known = log.destinations();
    assert_eq!((known.len(), known[0].calls), (1, 2));
    assert_eq!(known[0].refusal, Some(EgressRefusal::PrivateAddress));
    let counts = |metric| {
        let mut counts = Vec::new();
        log.visit(metric, |outcome, why, times| counts.push(format!("{outcome} {why} {times}")));
        counts
    };
    assert_eq!(counts(Metric::EgressCalls), ["allowed  2"]);
    assert_eq!(counts(Metric::EgressConnections), ["refused private_address 2"]);
    assert!(call(None) > told);
    assert_eq!(log.destinations()[0].refusal, None);
    // Nobody has called it.
    log.connects("b.example", Some(inward));
    assert_eq!(log.destinations().len(), 1);
}

#[test]
fn destinations_are_bounded() {
    let log = EgressLog::default();
    for at in 0..2 * MAX_DESTINATIONS {
        log.called(&at.to_string(), EgressVerdict::Allowed(None), Peer::default());
    }
    assert_eq!(log.destinations().len(), MAX_DESTINATIONS);
}

/// Whoever writes rules by the list has to know that it is not all.
#[test]
fn that_there_are_more_is_told_once() {
    let log = EgressLog::default();
    let news = |at: usize| log.remember(&at.to_string(), None, Peer::default());
    assert!((0..MAX_DESTINATIONS).all(|at| news(at) == News::Told));
    let version = log.version();
    let more = [0, 1, 0].map(|more| news(MAX_DESTINATIONS + more));
    assert_eq!(more, [News::TooMany, News::None, News::None]);
    assert_eq!(log.version(), version + 1);
    assert!(allow_list(&log.destinations()).contains("# These are 1024, as many as are"));
    assert!(!allow_list(&log.destinations()[1..]).contains("# These are"));
}

#[test]
fn who_called_is_told_of_where_it_leads() {
    let log = EgressLog::default();
    let plaintext = Peer { address: Some("10.0.0.7:4711".parse().unwrap()), identity: None };
    let proven = Peer { identity: Some("spiffe://a/x"), ..plaintext };
    let private = Some(EgressRefusal::PrivateAddress);
    let sources = [Peer::default(), plaintext, proven].map(|peer| {
        let name = format!("{}.example", Source::of(peer));
        log.called(&name, EgressVerdict::Allowed(Some(0)), plaintext);
        log.called(&name, EgressVerdict::Allowed(Some(0)), peer);
        log.leads(&name, private).unwrap().to_string()
    });
    assert_eq!(sources, ["this process", "10.0.0.7", "spiffe://a/x"]);
}

#[test]
fn the_list_that_would_be_needed() {
    let log = EgressLog::default();
    log.called("b.example", EgressVerdict::Logged(EgressRefusal::NotListed), Peer::default());
    log.called("10.0.0.1", EgressVerdict::Logged(EgressRefusal::AddressNotListed), Peer::default());
    assert_eq!(
        allow_list(&log.destinations()),
        "egress:\n  allow:\n    # - \"10.0.0.1\"  # 1 calls, address_not_listed\n    - \"b.example\"  # 1 calls, not_listed\n"
    );
}

#[test]
fn a_destination_is_one_however_it_is_written() {
    use mesh_core::egress::destination;
    let log = EgressLog::default();
    for written in ["Api.example.org", "api.example.org:443", "api.example.org."] {
        let verdict = EgressVerdict::Logged(EgressRefusal::NotListed);
        log.called(&destination(written, 443), verdict, Peer::default());
    }
    let known = log.destinations();
    let known: Vec<_> = known.iter().map(|known| (&*known.authority, known.calls)).collect();
    assert_eq!(known, [("api.example.org:443", 3)]);
}

/// What is pasted is read, and lets no more than what was called.
#[test]
fn what_is_no_rule_is_a_comment() {
    let listed = |authority: &str| {
        let log = EgressLog::default();
        log.called(authority, EgressVerdict::Logged(EgressRefusal::NotListed), Peer::default());
        !allow_list(&log.destinations()).contains("# -")
    };
    for good in ["b.example", "b.example:443", "B.Example.", "10.0.0.1:80", "[::1]:80"] {
        assert!(listed(good), "{good}");
    }
    for bad in [
        ".suf.test:21200",
        "10.9.1:21200",
        "[allowed.test]:21200",
        "allowed.test:",
        "allowed.test:0",
        "",
        "*.test:80",
        "10.0.0.0/8",
        "a\nb",
    ] {
        assert!(!listed(bad), "{bad}");
    }
}
