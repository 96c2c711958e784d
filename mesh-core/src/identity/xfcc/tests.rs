use super::*;
use crate::identity::PeerCertificate;
use proptest::prelude::*;
use std::sync::Arc;

fn peer(subject: &str, uris: &[&str], dns: &[&str]) -> Peer {
    let mut certificate = PeerCertificate::new(subject);
    certificate.uris = uris.iter().map(|name| Arc::from(*name)).collect();
    certificate.dns_names = dns.iter().map(|name| Arc::from(*name)).collect();
    Peer::Certified(Arc::new(certificate))
}

#[track_caller]
fn check_written(by: &[&str], peer: &Peer, expected: &str) {
    let element = XfccElement { by, hash: Some(&[0xab, 0x01]), peer };
    assert_eq!(element.to_string(), expected);
}

#[test]
fn an_element_is_written_as_envoy_writes_it() {
    let usual = peer("CN=a,O=b", &["spiffe://m/shop"], &["shop", "shop.m"]);
    check_written(
        &["spiffe://m/web"],
        &usual,
        r#"By=spiffe://m/web;Hash=ab01;Subject="CN=a,O=b";URI=spiffe://m/shop;DNS=shop;DNS=shop.m"#,
    );
    check_written(&[], &peer("", &[], &[]), r#"Hash=ab01;Subject="""#);
    check_written(&[], &Peer::Tls, r#"Hash=ab01;Subject="""#);
}

#[test]
fn no_name_can_be_read_as_another_pair() {
    for (name, written) in [
        ("u:a;URI=spiffe://m/admin", r#""u:a;URI=spiffe://m/admin""#),
        ("u:a,By=x", r#""u:a,By=x""#),
        (r#"u:a";URI=x"#, r#""u:a\";URI=x""#),
        (r#"u:a\";URI=x"#, r#""u:a\\\";URI=x""#),
        (r"u:a\", r#""u:a\\""#),
        ("u:a\r\nx: y", r#""u:a%0D%0Ax: y""#),
        ("u:ü", "u:%C3%BC"),
    ] {
        let peer = peer("", &[name], &[]);
        check_written(&[], &peer, &format!(r#"Hash=ab01;Subject="";URI={written}"#));
    }
}

#[track_caller]
fn check_read(value: &str, expected: &str) {
    let found = match parse(value) {
        Ok(elements) => {
            let elements = elements.iter().map(|one| {
                format!("{:?} {:?} {:?} {:?}", one.by, one.subject, one.uris, one.dns_names)
            });
            elements.collect::<Vec<_>>().join(" | ")
        }
        Err(error) => error.to_string(),
    };
    assert_eq!(found, expected, "{value}");
}

#[test]
fn what_is_written_is_read() {
    check_read("By=a;uri=b;URI=c", r#"["a"] None ["b", "c"] []"#);
    check_read(
        r#"URI=a,Subject="x=1,y;\"z\"";DNS=d"#,
        r#"[] None ["a"] [] | [] Some("x=1,y;\"z\"") [] ["d"]"#,
    );
    check_read(r#"Subject="O=a\, b""#, r#"[] Some("O=a\\, b") [] []"#);
    check_read("URI=", r#"[] None [""] []"#);
}

#[test]
fn what_cant_be_read_says_where() {
    let of = |text: &str| format!("x-forwarded-client-cert: {text}");
    for (value, expected) in [
        ("", "the pair at byte 0 has no `=`"),
        ("URI=a;", "the pair at byte 6 has no `=`"),
        ("URI=a,,URI=b", "the pair at byte 6 has no `=`"),
        ("Uri=a;Who=b", "the key at byte 6 is none of By, Hash, Cert, Chain, Subject, URI, DNS"),
        ("Hash=a;Hash=b", "the key at byte 7 is in its element already"),
        (r#"URI="a"#, "the quotes at byte 4 don't enclose a whole value"),
        (r#"URI="a"b"#, "the quotes at byte 4 don't enclose a whole value"),
        (r#"URI=a"b""#, "the quotes at byte 5 don't enclose a whole value"),
    ] {
        check_read(value, &of(expected));
    }
    let long = "a".repeat(MAX_XFCC + 1);
    assert_eq!(parse(&long), Err(XfccError::TooLong(MAX_XFCC + 1)));
}

#[test]
fn each_mode_does_what_envoy_does() {
    use ForwardClientCert as Mode;
    use XfccAction::{Append, Keep, Remove, Set};
    let certified = peer("", &["spiffe://m/a"], &[]);
    for (mode, plaintext, tls, mutual) in [
        (Mode::Sanitize, Remove, Remove, Remove),
        (Mode::ForwardOnly, Remove, Remove, Keep),
        (Mode::AppendForward, Remove, Remove, Append),
        (Mode::SanitizeSet, Remove, Remove, Set),
        (Mode::AlwaysForwardOnly, Keep, Keep, Keep),
    ] {
        let found =
            [&Peer::Plaintext, &Peer::Tls, &certified].map(|peer| XfccAction::of(mode, peer));
        assert_eq!(found, [plaintext, tls, mutual], "{mode:?}");
    }
}

proptest! {
    #[test]
    fn names_come_back_as_they_were(
        subject in "[ -~]{0,20}", uri in "[ -~]{1,20}", dns in "[ -~]{1,20}", by in "[ -~]{1,20}",
    ) {
        let peer = peer(&subject, &[&uri], &[&dns]);
        let element = XfccElement { by: &[&by], hash: None, peer: &peer };
        let value = format!("{element},{element}");
        let read = parse(&value).unwrap();
        prop_assert_eq!(read.len(), 2);
        for one in read {
            prop_assert_eq!(one.subject.as_deref(), Some(&*subject));
            prop_assert_eq!((&one.uris, &one.dns_names, &one.by), (&vec![uri.clone()], &vec![dns.clone()], &vec![by.clone()]));
        }
    }

    #[test]
    fn any_text_is_read_or_refused(value in "(By|URI|Hash|[=;,\"\\\\ aü]){0,12}") {
        let _read_or_refused = parse(&value);
    }
}
