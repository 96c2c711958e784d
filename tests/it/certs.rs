//! `mesh certs`: what it makes is good, and what is shown is so.

use std::path::Path;
use std::process::{Command, Output, Stdio};

fn mesh(directory: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mesh"))
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// What is printed, which must be all right.
#[track_caller]
fn good(directory: &Path, arguments: &[&str]) -> String {
    let output = mesh(directory, arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The failure that is printed.
#[track_caller]
fn bad(directory: &Path, arguments: &[&str], code: &str, part: &str) {
    let output = mesh(directory, arguments);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains(part) && text.ends_with(&format!("[{code}]\n")), "{text}");
}

#[track_caller]
fn holds(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "`{part}` is not in:\n{text}");
    }
}

const NEW: [&str; 6] =
    ["certs", "new", "--out", "tls", "web", "pages=spiffe://example.org/ns/shop/sa/pages"];

#[test]
fn what_is_made_is_good_and_is_shown_in_words() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let text = good(at, &NEW);
    let identity = "identity: { cert: tls/web.pem, key: tls/web-key.pem, roots: tls/ca.pem }";
    holds(
        &text,
        &["tls/web-key.pem  (private)", "# spiffe://example.org/web, for 90 days", identity],
    );
    std::fs::write(at.join("mesh.yaml"), format!("version: 1\n{identity}\n")).unwrap();
    assert_eq!(good(at, &["check", "mesh.yaml"]), "ok: 1 file\n");

    let shown = good(at, &["certs", "show", "tls/pages.pem"]);
    holds(
        &shown,
        &[
            "tls/pages.pem: certificate\n",
            "who         spiffe://example.org/ns/shop/sa/pages\n",
            "names       DNS pages, subject `CN=pages`\n",
            "issued by   `CN=example.org test CA`\n",
            "for 90 days; it ends on ",
            "key         ECDSA, 256 bits; signed with ECDSA and SHA-256\n",
            "for         servers and clients; signs handshakes\n",
            "SPIFFE      as it wants certificates (X.509-SVID)\n",
            "tls/pages-key.pem: its private key\n",
            "tls/ca.pem: its roots: they signed it\n",
        ],
    );
    assert!(!shown.contains("web"), "{shown}");
    let ca = good(at, &["certs", "show", "tls/ca.pem"]);
    holds(&ca, &["certificate of a CA", "spiffe://example.org\n", "itself: ", "for 10 years"]);

    let key = std::fs::read_to_string(at.join("tls/web-key.pem")).unwrap();
    let shown = good(at, &["certs", "show", "tls/web-key.pem"]);
    holds(
        &shown,
        &["private key\n", "ECDSA, as PKCS #8", "tls/web.pem: the certificate of this key"],
    );
    assert!(key.lines().skip(1).all(|line| !shown.contains(&line[..8])), "{shown}");
    let json = good(at, &["certs", "show", "--format", "json", "tls/web.pem"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["found"][0]["facts"][0]["fact"], "spiffe://example.org/web");
    assert_eq!(json["beside"].as_array().unwrap().len(), 2);
}

#[test]
#[cfg(unix)]
fn keys_are_their_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    good(directory.path(), &NEW);
    let mode = |name: &str| {
        let path = directory.path().join("tls").join(name);
        std::fs::metadata(path).unwrap().permissions().mode() & 0o077
    };
    for name in ["ca-key.pem", "web-key.pem", "pages-key.pem"] {
        assert_eq!(mode(name), 0, "{name}");
    }
}

#[test]
fn nothing_is_overwritten_unless_it_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    good(at, &NEW);
    let read = |name: &str| std::fs::read_to_string(at.join("tls").join(name)).unwrap();
    let before = (read("ca.pem"), read("web.pem"));
    bad(at, &NEW, "file_exists", "is there already");
    assert_eq!((read("ca.pem"), read("web.pem")), before);
    good(at, &["certs", "new", "--out", "tls", "--ca", "tls", "--days", "1", "cart"]);
    assert_eq!(read("ca.pem"), before.0);
    let shown = good(at, &["certs", "show", "tls/cart.pem"]);
    holds(&shown, &["for 24 hours", "tls/ca.pem: its roots"]);
    good(at, &["certs", "new", "--out", "tls", "--force", "web"]);
    assert_ne!(read("ca.pem"), before.0);
    let mixed = |ca: &str, key: &str, why: &str| {
        let mixed = at.join("mixed");
        std::fs::create_dir_all(&mixed).unwrap();
        std::fs::write(mixed.join("ca.pem"), ca).unwrap();
        std::fs::write(mixed.join("ca-key.pem"), key).unwrap();
        let made = ["certs", "new", "--out", "new", "--ca", "mixed", "a"];
        bad(at, &made, "invalid_ca", why);
        assert!(!at.join("new").exists());
    };
    // The CA before, with the key of this one; and one that is none.
    mixed(&before.0, &read("ca-key.pem"), "does not lead to");
    mixed(&read("web.pem"), &read("web-key.pem"), "no certificate of a CA");
    bad(
        at,
        &["certs", "new", "--out", "other", "--ca", "nowhere", "a"],
        "unreadable_file",
        "nowhere",
    );
}

#[test]
fn files_of_others_in_the_directory_stay() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let tls = at.join("tls");
    std::fs::create_dir(&tls).unwrap();
    let mine = ["web-key.pem.new", "web.pem.new", "ca.pem.new"];
    mine.iter().for_each(|name| std::fs::write(tls.join(name), "mine").unwrap());
    let names = || {
        let files = std::fs::read_dir(&tls).unwrap();
        let mut names: Vec<_> =
            files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        names.sort_unstable();
        names
    };
    good(at, &["certs", "new", "--out", "tls", "web"]);
    for name in mine {
        assert_eq!(std::fs::read_to_string(tls.join(name)).unwrap(), "mine", "{name}");
    }
    let mut expected = vec!["ca-key.pem", "ca.pem", "web-key.pem", "web.pem"];
    expected.extend(mine);
    expected.sort_unstable();
    assert_eq!(names(), expected);
    // What can't be put in its place is not left beside it, whatever is a key in it.
    std::fs::create_dir(tls.join("shop-key.pem")).unwrap();
    bad(
        at,
        &["certs", "new", "--out", "tls", "--ca", "tls", "--force", "shop"],
        "unwritable_file",
        "shop-key.pem`",
    );
    expected.extend(["shop-key.pem", "shop.pem"]);
    expected.sort_unstable();
    assert_eq!(names(), expected);
}

#[test]
#[cfg(unix)]
fn a_link_that_leads_nowhere_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    std::fs::create_dir(at.join("tls")).unwrap();
    std::os::unix::fs::symlink("nowhere.pem", at.join("tls/web.pem")).unwrap();
    bad(at, &["certs", "new", "--out", "tls", "web"], "file_exists", "tls/web.pem`");
    assert!(at.join("tls/web.pem").is_symlink());
}

/// Writes a CA: its URI name, if it has one, and when it is valid, in seconds from now.
fn write_ca(directory: &Path, uri: Option<&str>, (from, to): (i64, i64)) {
    let now = std::time::SystemTime::now();
    let at = |seconds: i64| {
        let by = std::time::Duration::from_secs(seconds.unsigned_abs());
        if seconds < 0 { now - by } else { now + by }
    };
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.subject_alt_names =
        uri.into_iter().map(|uri| rcgen::SanType::URI(uri.try_into().unwrap())).collect();
    (params.not_before, params.not_after) = (at(from).into(), at(to).into());
    let key = rcgen::KeyPair::generate().unwrap();
    std::fs::create_dir_all(directory).unwrap();
    std::fs::write(directory.join("ca-key.pem"), key.serialize_pem()).unwrap();
    std::fs::write(directory.join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
}

#[test]
fn ids_are_of_the_trust_domain_of_the_ca() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    good(at, &["certs", "new", "--out", "d", "--trust-domain", "prod.example", "web"]);
    let of_ca = ["certs", "new", "--out", "d", "--ca", "d"];
    let with = |more: &[&'static str]| [&of_ca, more].concat();
    holds(&good(at, &with(&["api"])), &["# spiffe://prod.example/api, for 90 days"]);
    let shown = good(at, &["certs", "show", "d/api.pem"]);
    holds(&shown, &["spiffe://prod.example/api", "d/ca.pem: its roots"]);
    good(at, &with(&["--trust-domain", "prod.example", "b"]));
    let other = with(&["--trust-domain", "example.org", "c"]);
    bad(at, &other, "other_trust_domain", "the CA of `--ca` is that of `prod.example`");
    let other = with(&["c=spiffe://example.org/c"]);
    bad(at, &other, "invalid_spiffe_id", "give a CA of `example.org`");
    assert!(!at.join("d/c.pem").exists());
    // A CA need not say whose it is.
    write_ca(&at.join("pki"), None, (-60, 86_400 * 365));
    let of_pki = ["certs", "new", "--out", "e", "--ca", "pki"];
    holds(&good(at, &[&of_pki[..], &["a"]].concat()), &["# spiffe://example.org/a, "]);
    let named = [&of_pki[..], &["--force", "--trust-domain", "b.example", "a"]].concat();
    holds(&good(at, &named), &["# spiffe://b.example/a, "]);
}

#[test]
fn a_certificate_ends_with_its_ca_at_last() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let ends = |file: &str| {
        let shown = good(at, &["certs", "show", file]);
        let (_, end) = shown.split_once("it ends on ").unwrap();
        end.split_once(',').unwrap().0.to_owned()
    };
    write_ca(&at.join("old"), Some("spiffe://a.example"), (-60, 86_400 * 5));
    let of_old = ["certs", "new", "--out", "d", "--ca", "old"];
    let made = good(at, &[&of_old[..], &["web"]].concat());
    let end = ends("old/ca.pem");
    let life = format!("# spiffe://a.example/web, not for 90 days: until {end}, when its CA ends");
    holds(&made, &[&life]);
    assert_eq!(ends("d/web.pem"), end);
    let short = good(at, &[&of_old[..], &["--force", "--days", "4", "web"]].concat());
    holds(&short, &["# spiffe://a.example/web, for 4 days\n"]);
    // One that is made is as long as any certificate can be.
    let long = good(at, &["certs", "new", "--out", "long", "--days", "3650", "web"]);
    holds(&long, &["/web, for 3650 days\n"]);
    assert_eq!(ends("long/web.pem"), ends("long/ca.pem"));
    for (life, why) in [((-7200, -3600), "`ca.pem` ended on "), ((3600, 7200), "begins on ")] {
        write_ca(&at.join("old"), Some("spiffe://a.example"), life);
        let made = [&of_old[..], &["--force", "other"]].concat();
        bad(at, &made, "invalid_ca", why);
        assert!(!at.join("d/other.pem").exists());
    }
}

#[test]
fn names_that_can_not_be_are_refused_before_anything_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let refused = |name: &str, code: &str, part: &str| {
        bad(at, &["certs", "new", "--out", "tls", name], code, part);
    };
    refused("Web", "invalid_name", "a-z");
    refused("../web", "invalid_name", "a-z");
    refused("ca", "duplicate_name", "`ca` is taken");
    for names in [["web", "web-key"], ["web-key", "web"], ["web", "web"]] {
        let arguments = ["certs", "new", "--out", "tls", names[0], names[1]];
        bad(at, &arguments, "duplicate_name", &format!("`{}` is taken", names[1]));
    }
    refused("web=spiffe://other.org/web", "invalid_spiffe_id", "another trust domain");
    refused("web=spiffe://example.org", "invalid_spiffe_id", "no workload in it");
    refused("web=https://example.org/web", "invalid_spiffe_id", "https://example.org/web");
    assert!(!at.join("tls").exists());
}

#[test]
fn what_is_wrong_with_a_certificate_is_in_the_words() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/broken");
    let expired = good(&root, &["certs", "show", "tls/expired.pem"]);
    holds(&expired, &["NO LONGER: it ended on 2026-02-01T00:00:00Z", "serial      03"]);
    let list = good(&root, &["certs", "show", "tls/crl.pem"]);
    holds(&list, &["list of revoked certificates", "revoked     1: 0bad"]);
    bad(&root, &["certs", "show", "inbound_opened.yaml"], "no_certificate", "no certificate in it");
    bad(&root, &["certs", "show", "tls/nowhere.pem"], "unreadable_file", "nowhere.pem");
    bad(&root, &["certs", "show", "-"], "no_certificate", "standard input");
}

/// The end of a certificate that is made now is no time for a corpus.
#[test]
fn a_certificate_that_ends_soon_is_a_warning_of_check() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let mut params = rcgen::CertificateParams::default();
    params.subject_alt_names =
        vec![rcgen::SanType::URI("spiffe://example.org/web".try_into().unwrap())];
    let now = std::time::SystemTime::now();
    params.not_before = (now - std::time::Duration::from_secs(100_000)).into();
    params.not_after = (now + std::time::Duration::from_secs(5_000)).into();
    let mut ca = rcgen::CertificateParams::default();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca = rcgen::CertifiedIssuer::self_signed(ca, rcgen::KeyPair::generate().unwrap()).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    std::fs::write(at.join("web.pem"), params.signed_by(&key, &ca).unwrap().pem()).unwrap();
    std::fs::write(at.join("key.pem"), key.serialize_pem()).unwrap();
    std::fs::write(at.join("ca.pem"), ca.pem()).unwrap();
    let text = "version: 1\nidentity: { cert: web.pem, key: key.pem, roots: ca.pem }\n";
    std::fs::write(at.join("mesh.yaml"), text).unwrap();
    let found = good(at, &["check", "mesh.yaml"]);
    holds(
        &found,
        &[
            "warning: the certificate of `web.pem` has less than a tenth",
            "[identity_ends_soon]",
            "mesh.yaml:2:19",
        ],
    );
}

/// Roots of a cluster are looked at as those of an identity are: by what is in their file, now.
#[test]
fn roots_of_a_cluster_that_have_ended_are_an_error_of_check() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let root = |ends: std::time::SystemTime| {
        let mut ca = rcgen::CertificateParams::default();
        ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        ca.not_before = (ends - std::time::Duration::from_secs(100_000)).into();
        ca.not_after = ends.into();
        ca.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().pem()
    };
    let (now, hour) = (std::time::SystemTime::now(), std::time::Duration::from_secs(3_600));
    let (good, over) = (root(now + 20 * hour), root(now - hour));
    let text = "version: 1\nclusters: { a: { dns: \"a:443\", tls: { roots: ca.pem } } }\n";
    std::fs::write(at.join("mesh.yaml"), text).unwrap();
    let check = |pem: &str, code, parts: &[&str]| {
        std::fs::write(at.join("ca.pem"), pem).unwrap();
        let output = mesh(at, &["check", "mesh.yaml"]);
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        holds(&String::from_utf8(output.stdout).unwrap(), parts);
    };
    let ended = [
        "error: `ca.pem`: every root in it has ended, the last one on",
        "[invalid_roots]",
        "mesh.yaml:2:46",
        "put the roots into it that sign for the endpoints now",
    ];
    check(&over, 1, &ended);
    check(&good[..good.len() / 2], 1, &["error: `ca.pem`: ", "[invalid_roots]"]);
    let one = ["warning: a root of `ca.pem` ended on", "[identity_ends_soon]"];
    check(&format!("{good}{over}"), 0, &one);
}
