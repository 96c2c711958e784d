//! The verifier by tables, without a handshake.

mod ca;
mod client_material;
mod client_watch;
mod roots;
mod server_files;
mod told;
mod watch;

use super::client_verify::{Asked, Believed, Expected, Verifier};
use crate::clock;
use crate::identity::{Roots, certificates, crypto};
use ca::Ca;
use mesh_core::identity::TrustDomain;
use mesh_core::model::matcher::{StringMatcher, StringPattern};
use mesh_core::model::san::{SanKind, SanMatcher};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, ServerName};
use std::collections::BTreeMap;
use std::sync::Arc;

const SHOP: &str = "spiffe://mesh.example/shop";

/// Two authorities, of which `ours` is believed.
struct World {
    ours: Ca,
    theirs: Ca,
}

/// What a verifier believes beyond the first of the world's authorities, and what is asked for.
#[derive(Default)]
struct Asks {
    san: Vec<SanMatcher>,
    /// The names count only where no SNI was sent.
    unless_sent: bool,
    expected: Option<Expected>,
    revoked: Option<u64>,
    only_uris: bool,
    of_identity: bool,
    /// The authorities sign for these trust domains only: ours, theirs.
    domains: Option<[&'static str; 2]>,
}

fn der(pem: &str) -> Vec<CertificateDer<'static>> {
    certificates(pem.as_bytes()).unwrap()
}

impl World {
    fn new() -> Self {
        Self { ours: Ca::new("ours"), theirs: Ca::new("theirs") }
    }

    fn verifier(&self, asks: &Asks) -> Verifier {
        let roots = match asks.domains {
            None => Roots::Any(der(&self.ours.pem()).into()),
            Some([ours, theirs]) => {
                let domain = |text: &str| TrustDomain::parse(text).unwrap();
                let all = [(domain(ours), &self.ours), (domain(theirs), &self.theirs)];
                let all: BTreeMap<_, _> = all.map(|(d, ca)| (d, der(&ca.pem()))).into();
                Roots::ByTrustDomain(Arc::new(all))
            }
        };
        let revoked = asks.revoked.map(|serial| self.ours.revoke(serial));
        let revoked = revoked.into_iter().map(CertificateRevocationListDer::from).collect();
        let believed = Believed {
            roots,
            revoked,
            crl: None,
            listed: Arc::default(),
            origin: "a test".into(),
            only_uris: asks.only_uris,
            of_identity: asks.of_identity,
        };
        let algorithms = crypto::provider().unwrap().signature_verification_algorithms;
        let asked = Asked { names: &asks.san, unless_sent: asks.unless_sent };
        Verifier::new(believed, asked, algorithms, clock::wall()).unwrap()
    }

    /// `chain` is accepted, or refused by this code and a text with these words.
    #[track_caller]
    fn check(&self, chain: &str, asks: &Asks, expected: Result<(), (&str, &[&str])>) {
        let nobody = Expected::Nothing;
        let whom = asks.expected.as_ref().unwrap_or(&nobody);
        let found = self.verifier(asks).verify(&der(chain), whom, clock::wall());
        match (found, expected) {
            (Ok(_), Ok(())) => {}
            (Err(error), Err((code, words))) => {
                let text = error.to_string();
                let found = mesh_core::outcome::Failure::Connect(error.failure);
                assert_eq!(found.code(), code, "{text}");
                for word in words {
                    assert!(text.contains(word), "`{word}` is not in: {text}");
                }
            }
            (Ok(_), Err((code, _))) => panic!("it must be {code}"),
            (Err(error), Ok(())) => panic!("{error}"),
        }
    }
}

fn name(text: &str) -> Option<Expected> {
    Some(Expected::Name(ServerName::try_from(text.to_owned()).unwrap()))
}

fn address(text: &str) -> Option<Expected> {
    let address: std::net::IpAddr = text.parse().unwrap();
    Some(Expected::Address(ServerName::IpAddress(address.into())))
}

fn san(texts: &[&str]) -> Vec<SanMatcher> {
    texts.iter().map(|text| SanMatcher::uri(*text)).collect()
}

#[test]
fn who_signed_and_when() {
    let world = World::new();
    let asks = || Asks { san: san(&[SHOP]), ..Asks::default() };
    let [good, over, early] = [(-60, 60), (-60, -30), (30, 60)];
    let ours = |life| world.ours.issue_for(SHOP, 0xabc, life).chain;
    world.check(&ours(good), &asks(), Ok(()));
    let who = [SHOP, "serial 0abc", "1 roots of a test", "0 s old"];
    world.check(
        &ours(over),
        &asks(),
        Err(("connect_tls_expired", &[&who[..], &["30 s ago"]].concat())),
    );
    let words = [&who[..], &["begins in", "clocks"]].concat();
    world.check(&ours(early), &asks(), Err(("connect_tls_not_yet_valid", &words)));
    let theirs = world.theirs.issue(SHOP, 0xabc).chain;
    let words = [&who[..], &["issued by", "theirs", "does not lead to a root"]].concat();
    world.check(&theirs, &asks(), Err(("connect_tls_untrusted", &words)));
    let revoked = Asks { revoked: Some(0xabc), ..asks() };
    world.check(&ours(good), &revoked, Err(("connect_tls_revoked", &["revoked", "serial 0abc"])));
    let other = Asks { revoked: Some(0xabd), ..asks() };
    world.check(&ours(good), &other, Ok(()));
}

#[test]
fn grfc_a29_any_of_the_names_takes_the_place_of_the_host() {
    let world = World::new();
    let chain = world.ours.issue(SHOP, 1).chain;
    let asks = |san, expected| Asks { san, expected, ..Asks::default() };
    world.check(
        &chain,
        &asks(san(&["spiffe://mesh.example/x", SHOP]), name("other.example")),
        Ok(()),
    );
    let path = "spiffe://mesh.example/cart";
    let words = [SHOP, path, "differ in the path", "expected"];
    world.check(&chain, &asks(san(&[path]), None), Err(("connect_tls_name", &words)));
    let domain = "spiffe://other.example/shop";
    let words = [SHOP, domain, "differ in the trust domain"];
    world.check(&chain, &asks(san(&[domain]), None), Err(("connect_tls_name", &words)));
    let prefix = StringMatcher::new(StringPattern::Prefix("spiffe://mesh.example/".into()));
    let prefix = vec![SanMatcher { kind: SanKind::Uri, matcher: prefix }];
    world.check(&chain, &asks(prefix, None), Ok(()));
}

#[test]
fn grfc_a101_without_names_the_sni_is_proven() {
    let world = World::new();
    let host = world.ours.issue("shop.example", 1).chain;
    let asks = |expected, of_identity| Asks { expected, of_identity, ..Asks::default() };
    let wrong =
        Err(("connect_tls_name", &["`shop.example`", "expected: `cart.example`", "sni"][..]));
    for of_identity in [false, true] {
        world.check(&host, &asks(name("shop.example"), of_identity), Ok(()));
        world.check(&host, &asks(name("cart.example"), of_identity), wrong);
    }
    // Nothing was sent: the endpoint's name, or its address, or whoever is of the mesh.
    let hostname = |text: &str| match name(text) {
        Some(Expected::Name(name)) => Some(Expected::Hostname(name)),
        other => other,
    };
    let wrong = Err(("connect_tls_name", &["expected: `cart.example`", "hostname"][..]));
    world.check(&host, &asks(hostname("cart.example"), false), wrong);
    world.check(&host, &asks(hostname("shop.example"), false), Ok(()));
    world.check(&host, &asks(hostname("cart.example"), true), Ok(()));
    let wrong = Err(("connect_tls_name", &["expected: `10.0.0.1`"][..]));
    world.check(&host, &asks(address("10.0.0.1"), false), wrong);
    world.check(&world.ours.issue("10.0.0.1", 1).chain, &asks(address("10.0.0.1"), false), Ok(()));
    world.check(&host, &asks(address("10.0.0.1"), true), Ok(()));
    world.check(&host, &asks(None, true), Ok(()));
    world.check(&host, &asks(None, false), Err(("connect_tls_name", &["`san`"])));
}

#[test]
fn grfc_a101_an_sni_that_is_sent_counts_instead_of_names() {
    let world = World::new();
    let host = world.ours.issue("shop.example", 1).chain;
    let shop = world.ours.issue(SHOP, 1).chain;
    let asks = |expected, of_identity| Asks {
        san: san(&[SHOP]),
        unless_sent: true,
        expected,
        of_identity,
        ..Asks::default()
    };
    for of_identity in [false, true] {
        let sent = || asks(name("shop.example"), of_identity);
        world.check(&host, &sent(), Ok(()));
        let wrong = Err(("connect_tls_name", &["expected: `shop.example`"][..]));
        world.check(&shop, &sent(), wrong);
        // RFC 6066 section 3: an address is not sent, and is proven alike.
        let unsent = || asks(name("10.0.0.1"), of_identity);
        world.check(&world.ours.issue("10.0.0.1", 1).chain, &unsent(), Ok(()));
        let wrong = Err(("connect_tls_name", &["expected: `10.0.0.1`"][..]));
        world.check(&shop, &unsent(), wrong);
        // None was sent: the names count.
        for expected in [None, address("10.0.0.1")] {
            world.check(&shop, &asks(expected.clone(), of_identity), Ok(()));
            let wrong = Err(("connect_tls_name", &["expected: `spiffe://mesh.example/shop`"][..]));
            world.check(&host, &asks(expected, of_identity), wrong);
        }
    }
}

#[test]
fn grfc_a87_roots_sign_for_their_own_trust_domain() {
    let world = World::new();
    let asks = |domains| Asks { domains: Some(domains), of_identity: true, ..Asks::default() };
    let both = || asks(["mesh.example", "other.example"]);
    let ours = world.ours.issue(SHOP, 1).chain;
    let other = "spiffe://other.example/shop";
    world.check(&ours, &both(), Ok(()));
    world.check(&world.theirs.issue(other, 1).chain, &both(), Ok(()));
    // Our authority is none of theirs.
    let stolen = world.ours.issue(other, 1).chain;
    world.check(&stolen, &both(), Err(("connect_tls_untrusted", &["does not lead to a root"])));
    let unknown = world.ours.issue("spiffe://third.example/shop", 1).chain;
    let words = ["no roots of the peer's trust domain `third.example`"];
    world.check(&unknown, &both(), Err(("connect_tls_untrusted", &words)));
    let nobody = world.ours.issue("shop.example", 1).chain;
    world.check(&nobody, &both(), Err(("connect_tls_name", &["no URI name"])));
}

/// SPIFFE restricts no other names, so they prove nothing. Envoy (`SPIFFEValidator`) drops matchers of other kinds.
#[test]
fn by_spiffes_validator_names_are_uris() {
    let world = World::new();
    let chain = world.ours.issue(&format!("{SHOP} shop.example"), 1).chain;
    let dns = || {
        let mut asked = SanMatcher::any(StringMatcher::exact("shop.example"));
        asked.kind = SanKind::Dns;
        vec![asked]
    };
    for (san, only_uris, is_good) in
        [(dns(), false, true), (dns(), true, false), (san(&[SHOP]), true, true)]
    {
        let domains = Some(["mesh.example", "other.example"]);
        let asks = Asks { domains, san, only_uris, of_identity: true, ..Asks::default() };
        let refused = Err(("connect_tls_name", &["`shop.example`"][..]));
        world.check(&chain, &asks, if is_good { Ok(()) } else { refused });
    }
}

/// X509-SVID section 5.2: leaves sign nothing. Of roots that are nobody's bundle that is no rule.
#[test]
fn who_signs_others_is_no_member_of_a_trust_domain() {
    use rcgen::KeyUsagePurpose::{CrlSign, DigitalSignature, KeyCertSign};
    let world = World::new();
    let domains = Some(["mesh.example", "other.example"]);
    let asks = |domains| Asks { domains, of_identity: true, ..Asks::default() };
    for (usages, is_leaf) in [
        (&[DigitalSignature][..], true),
        (&[DigitalSignature, KeyCertSign], false),
        (&[DigitalSignature, CrlSign], false),
    ] {
        let chain = world.ours.issue_with(SHOP, usages).chain;
        let refused = Err(("connect_tls", &["keyCertSign", SHOP][..]));
        world.check(&chain, &asks(domains), if is_leaf { Ok(()) } else { refused });
        world.check(&chain, &asks(None), Ok(()));
    }
}

/// RFC 5280 section 4.2.1.10: constraints of URIs are not supported, which the message says.
#[test]
fn an_authority_with_constraints_of_uris_signs_for_no_spiffe_id() {
    let world = World { ours: Ca::constrained("ours"), theirs: Ca::new("theirs") };
    let asks = || Asks { of_identity: true, ..Asks::default() };
    let words = ["name constraints", "URIs", "not supported", SHOP];
    world.check(&world.ours.issue(SHOP, 1).chain, &asks(), Err(("connect_tls", &words)));
    world.check(&world.ours.issue("shop.example", 1).chain, &asks(), Ok(()));
}

/// What lists make of a certificate of one of two authorities of one name: that has a new key.
#[test]
fn what_was_revoked_is_said_by_who_signed_it() {
    let (old, new, other) = (Ca::new("ours"), Ca::new("ours"), Ca::new("other"));
    let both: Arc<[_]> = [old.pem(), new.pem()].iter().flat_map(|pem| der(pem)).collect();
    let algorithms = crypto::provider().unwrap().signature_verification_algorithms;
    let check = |chain: &str, revoked: &[Vec<u8>], crl: Option<&[Vec<u8>]>, expected: &str| {
        let lists = |lists: &[Vec<u8>]| {
            lists.iter().cloned().map(CertificateRevocationListDer::from).collect()
        };
        let believed = Believed {
            roots: Roots::Any(Arc::clone(&both)),
            revoked: lists(revoked),
            crl: crl.map(lists),
            listed: Arc::default(),
            origin: "a test".into(),
            only_uris: false,
            of_identity: true,
        };
        let now = clock::wall();
        let asked = Asked { names: &[], unless_sent: false };
        let verifier = Verifier::new(believed, asked, algorithms, now).unwrap();
        let found = verifier.verify(&der(chain), &Expected::Nothing, now);
        let found = match found {
            Ok(_) => "good",
            Err(error) => mesh_core::outcome::Failure::Connect(error.failure).code(),
        };
        assert_eq!(found, expected);
    };
    let revoked = "connect_tls_revoked";
    for (issuer, sister) in [(&old, &new), (&new, &old)] {
        let chain = issuer.issue(SHOP, 5).chain;
        let (bad, fine) = (issuer.revoke(5), issuer.revoke(6));
        let (of_sister, of_other) = (sister.revoke(5), other.revoke(5));
        // gRFC A69: who is on no list is good. Each order, for a reader that takes the first of a name.
        check(&chain, &[], None, "good");
        check(&chain, std::slice::from_ref(&of_sister), None, "good");
        check(&chain, std::slice::from_ref(&of_other), None, "good");
        check(&chain, &[of_sister.clone(), fine.clone()], None, "good");
        check(&chain, &[of_sister.clone(), bad.clone()], None, revoked);
        check(&chain, &[bad.clone(), of_sister.clone()], None, revoked);
        // Envoy: each issuer needs a list that is not over.
        let crl = |lists: &[&Vec<u8>], expected| {
            let lists: Vec<_> = lists.iter().map(|list| (*list).clone()).collect();
            check(&chain, &[], Some(&lists), expected);
        };
        let over = issuer.revoke_long_ago(6);
        crl(&[&fine], "good");
        crl(&[&of_sister, &fine], "good");
        crl(&[&fine, &of_sister], "good");
        crl(&[&of_sister, &bad], revoked);
        let unknown = "connect_tls_revocation_unknown";
        crl(&[&of_sister], unknown);
        crl(&[&of_other], unknown);
        crl(&[&over], unknown);
        crl(&[&over, &fine], "good");
        // Time takes no revocation back.
        crl(&[&issuer.revoke_long_ago(5), &fine], revoked);
        check(&chain, &[issuer.revoke_long_ago(5)], None, revoked);
    }
}
