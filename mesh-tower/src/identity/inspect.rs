//! [`inspect`]: what is in a file of certificates, keys or lists, in plain words.
//!
//! It judges nothing but SPIFFE's rules for certificates (X.509-SVID), and never shows a byte of a key.

use super::life::{long, when};
use super::material::{broken, is_encrypted};
use super::verify::leads_to;
use super::{Certificate, CertificateError, certificate, crypto};
use crate::source::read::read_bytes;
use mesh_core::WallTime;
use mesh_core::identity::SpiffeId;
use mesh_core::identity::rotation::Standing;
use rustls::pki_types::pem::{PemObject, SectionKind};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use std::fs;
use std::path::{Path, PathBuf};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::PublicKey;
use x509_parser::revocation_list::CertificateRevocationList;

/// The most files beside one that are looked at.
const NEIGHBOURS: usize = 256;
/// The largest of them, in bytes.
const LARGEST_NEIGHBOUR: u64 = 1 << 20;
/// The most serial numbers of a list that are told.
const SERIALS: usize = 10;

/// One thing in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Inspected {
    /// What it is: `certificate`, `private key`, `list of revoked certificates`, or something else.
    pub what: String,
    /// What there is to say of it: a word, and the fact.
    pub facts: Vec<(&'static str, String)>,
}

/// A file beside one that fits it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fitting {
    /// Its path.
    pub path: PathBuf,
    /// What it is to the other.
    pub how: &'static str,
}

/// Says what is in `bytes`, PEM or one certificate or list in DER, as of `now`.
///
/// # Errors
/// [`CertificateError`]: nothing of it can be read.
pub fn inspect(bytes: &[u8], now: WallTime) -> Result<Vec<Inspected>, CertificateError> {
    let mut found = Vec::new();
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(bytes) {
        let (kind, der) = section.map_err(|error| match is_encrypted(bytes) {
            true => CertificateError::EncryptedKey,
            false => broken(&error),
        })?;
        found.push(section_of(kind, &der, now));
    }
    if !found.is_empty() {
        return Ok(found);
    }
    match X509Certificate::from_der(bytes) {
        Ok(_) => Ok(vec![of_certificate(bytes, now)]),
        Err(_) => match CertificateRevocationList::from_der(bytes) {
            Ok((_, list)) => Ok(vec![of_list(&list, now)]),
            Err(_) if is_encrypted(bytes) => Err(CertificateError::EncryptedKey),
            Err(_) => Err(CertificateError::NoCertificate),
        },
    }
}

fn section_of(kind: SectionKind, der: &[u8], now: WallTime) -> Inspected {
    let form = match kind {
        SectionKind::Certificate => return of_certificate(der, now),
        SectionKind::Crl => {
            return match CertificateRevocationList::from_der(der) {
                Ok((_, list)) => of_list(&list, now),
                Err(error) => other("broken list of revoked certificates", error.to_string()),
            };
        }
        SectionKind::PrivateKey => "PKCS #8",
        SectionKind::RsaPrivateKey => "PKCS #1",
        SectionKind::EcPrivateKey => "SEC 1",
        SectionKind::PublicKey => return other("public key", "it proves nothing by itself".into()),
        SectionKind::Csr => {
            return other("request for a certificate", "a CA makes a certificate of it".into());
        }
        _ => return other("something else", "nothing of TLS's".into()),
    };
    let key = PrivateKeyDer::try_from(der).ok();
    let algorithm = key.map_or_else(|| "it can't be read".to_owned(), |key| algorithm_of(&key));
    Inspected {
        what: "private key".to_owned(),
        facts: vec![
            ("kind", format!("{algorithm}, as {form}, not encrypted")),
            ("care", "who has it is who its certificate names: keep it to its owner".to_owned()),
        ],
    }
}

fn other(what: &str, note: String) -> Inspected {
    Inspected { what: what.to_owned(), facts: vec![("note", note)] }
}

fn algorithm_of(key: &PrivateKeyDer<'_>) -> String {
    let Some(provider) = crypto::provider() else { return "a key".to_owned() };
    match provider.key_provider.load_private_key(key.clone_key()) {
        Ok(key) => format!("{:?}", key.algorithm()),
        Err(_) => "a kind that can't be used here".to_owned(),
    }
}

fn of_certificate(der: &[u8], now: WallTime) -> Inspected {
    let der = CertificateDer::from(der);
    let (read, raw) = (Certificate::parse(&der), X509Certificate::from_der(&der));
    let (read, raw) = match (read, raw) {
        (Ok(read), Ok((_, raw))) => (read, raw),
        (Err(error), _) => return other("broken certificate", error.to_string()),
        (_, Err(error)) => return other("broken certificate", error.to_string()),
    };
    let mut facts = vec![("who", who(&read))];
    let also = names(&read);
    if !also.is_empty() {
        facts.push(("names", also.join(", ")));
    }
    let issuer = match *read.issuer == *read.names.subject && !read.issuer.is_empty() {
        true => format!("itself: `{}`", read.issuer),
        false => format!("`{}`", read.issuer),
    };
    facts.push(("issued by", issuer));
    facts.push(("serial", read.serial.to_string()));
    facts.push(("valid", valid(&read, now)));
    facts.push(("key", public_key(&raw)));
    facts.push(("for", purposes(&read)));
    facts.extend(broken_rules(&read, &raw).into_iter().map(|rule| ("SPIFFE", rule)));
    let what = if read.is_ca { "certificate of a CA" } else { "certificate" };
    Inspected { what: what.to_owned(), facts }
}

fn who(certificate: &Certificate) -> String {
    let names = &certificate.names;
    let first = names.uris.first().or_else(|| names.dns_names.first());
    match first {
        Some(name) => name.to_string(),
        None if names.subject.is_empty() => "nobody: it has no name".to_owned(),
        None => format!("`{}`", names.subject),
    }
}

/// All names but those of [`who`].
fn names(certificate: &Certificate) -> Vec<String> {
    let names = &certificate.names;
    let uris = names.uris.iter().skip(1).map(|name| format!("URI {name}"));
    let skipped = usize::from(names.uris.is_empty());
    let dns = names.dns_names.iter().skip(skipped).map(|name| format!("DNS {name}"));
    let ips = names.ips.iter().map(|ip| format!("IP {ip}"));
    let emails = names.emails.iter().map(|email| format!("e-mail {email}"));
    let has_better = !names.uris.is_empty() || !names.dns_names.is_empty();
    let subject =
        (has_better && !names.subject.is_empty()).then(|| format!("subject `{}`", names.subject));
    uris.chain(dns).chain(ips).chain(emails).chain(subject).collect()
}

fn valid(certificate: &Certificate, now: WallTime) -> String {
    let validity = certificate.validity;
    let life = long(validity.life());
    let until = when(validity.not_after, now);
    match validity.standing(now) {
        Standing::Valid => format!("since {}, for {life}; it ends {until}", validity.not_before),
        Standing::Expired => format!("NO LONGER: it ended {until}, after {life}"),
        Standing::NotYetValid => {
            format!("NOT YET: it begins {}, for {life}", when(validity.not_before, now))
        }
    }
}

fn public_key(raw: &X509Certificate<'_>) -> String {
    let key = match raw.public_key().parsed() {
        Ok(PublicKey::RSA(key)) => format!("RSA, {} bits", key.key_size()),
        // What is counted is the bytes of a point's coordinate: 66 for P-521.
        Ok(PublicKey::EC(point)) if point.key_size() == 528 => "ECDSA, 521 bits".to_owned(),
        Ok(PublicKey::EC(point)) => format!("ECDSA, {} bits", point.key_size()),
        _ => match raw.public_key().algorithm.algorithm.to_id_string().as_str() {
            "1.3.101.112" => "Ed25519".to_owned(),
            "1.3.101.113" => "Ed448".to_owned(),
            oid => format!("algorithm {oid}"),
        },
    };
    let oid = raw.signature_algorithm.algorithm.to_id_string();
    let signature = match oid.as_str() {
        "1.2.840.10045.4.3.2" => "ECDSA and SHA-256",
        "1.2.840.10045.4.3.3" => "ECDSA and SHA-384",
        "1.2.840.10045.4.3.4" => "ECDSA and SHA-512",
        "1.2.840.113549.1.1.11" => "RSA and SHA-256",
        "1.2.840.113549.1.1.12" => "RSA and SHA-384",
        "1.2.840.113549.1.1.13" => "RSA and SHA-512",
        "1.2.840.113549.1.1.10" => "RSA-PSS",
        "1.2.840.113549.1.1.5" => "RSA and SHA-1, which nobody believes any more",
        "1.3.101.112" => "Ed25519",
        oid => oid,
    };
    format!("{key}; signed with {signature}")
}

fn purposes(certificate: &Certificate) -> String {
    let mut purposes = Vec::new();
    if certificate.is_ca {
        purposes.push("issuing certificates");
    } else {
        purposes.push(match (certificate.for_servers, certificate.for_clients) {
            (true, true) => "servers and clients",
            (true, false) => "servers only",
            (false, true) => "clients only",
            (false, false) => "neither servers nor clients",
        });
    }
    if let Some(usage) = certificate.key_usage {
        let may = [
            (usage.digital_signature, "signs handshakes"),
            (usage.key_cert_sign, "signs certificates"),
            (usage.crl_sign, "signs lists of revoked ones"),
        ];
        purposes.extend(may.into_iter().filter_map(|(may, what)| may.then_some(what)));
    }
    purposes.join("; ")
}

/// What of X.509-SVID a certificate breaks; of one without a SPIFFE id, nothing but that.
fn broken_rules(read: &Certificate, raw: &X509Certificate<'_>) -> Vec<String> {
    let is_spiffe = read.names.uris.iter().any(|uri| uri.starts_with("spiffe:"));
    if !is_spiffe {
        return vec!["no SVID: it has no SPIFFE id".to_owned()];
    }
    let mut broken = Vec::new();
    match read.names.uris.as_slice() {
        [uri] => match SpiffeId::parse(uri) {
            Ok(id) if !read.is_ca && id.path().is_empty() => {
                broken.push("the id of a workload has a path (section 3.1)".to_owned());
            }
            Ok(id) if read.is_ca && !id.path().is_empty() => {
                broken.push("the id of a CA has no path (section 3.2)".to_owned());
            }
            Ok(_) => {}
            Err(error) => broken.push(error.to_string()),
        },
        several => broken.push(format!("one URI name, not {} (section 2)", several.len())),
    }
    broken.extend(broken_usage(read, raw));
    if broken.is_empty() {
        broken.push("as it wants certificates (X.509-SVID)".to_owned());
    }
    broken
}

fn broken_usage(read: &Certificate, raw: &X509Certificate<'_>) -> Vec<String> {
    let mut broken = Vec::new();
    let mut says = |is_broken: bool, rule: &str| {
        if is_broken {
            broken.push(format!("breaks a rule: {rule}"));
        }
    };
    let is_usage = |extension: &&x509_parser::extensions::X509Extension<'_>| {
        matches!(extension.parsed_extension(), ParsedExtension::KeyUsage(_))
    };
    match raw.extensions().iter().find(is_usage) {
        None => says(true, "the key usage must be said (section 4.3)"),
        Some(usage) => says(!usage.critical, "the key usage must be critical (section 4.3)"),
    }
    let usage = read.key_usage.unwrap_or_default();
    if read.is_ca {
        says(
            read.key_usage.is_some() && !usage.key_cert_sign,
            "a CA has keyCertSign (section 4.3)",
        );
        return broken;
    }
    says(
        read.key_usage.is_some() && !usage.digital_signature,
        "a workload has digitalSignature (section 4.3)",
    );
    says(usage.key_cert_sign, "a workload has no keyCertSign (section 4.3)");
    says(usage.crl_sign, "a workload has no cRLSign (section 4.3)");
    says(
        !read.for_servers || !read.for_clients,
        "an extended key usage names servers and clients (section 4.4)",
    );
    broken
}

fn of_list(list: &CertificateRevocationList<'_>, now: WallTime) -> Inspected {
    let mut facts = vec![("issued by", format!("`{}`", list.issuer()))];
    facts.push(("made", when(certificate::wall(list.last_update()), now)));
    facts.push(match list.next_update() {
        Some(next) => ("successor", when(certificate::wall(next), now)),
        None => ("successor", "never".to_owned()),
    });
    let revoked: Vec<_> = list.iter_revoked_certificates().collect();
    let serials: Vec<_> = revoked
        .iter()
        .take(SERIALS)
        .map(|one| certificate::hexadecimal(one.raw_serial()))
        .collect();
    let more = revoked.len().saturating_sub(SERIALS);
    let more = if more > 0 { format!(", and {more} more") } else { String::new() };
    let serials =
        if serials.is_empty() { String::new() } else { format!(": {}", serials.join(", ")) };
    facts.push(("revoked", format!("{}{serials}{more}", revoked.len())));
    Inspected { what: "list of revoked certificates".to_owned(), facts }
}

/// Which files in the same directory fit the certificates or the key of `path`: keys, roots, certificates.
/// At most 256 files of at most 1 MiB are looked at. It blocks.
#[must_use]
pub fn beside(path: &Path) -> Vec<Fitting> {
    let Ok(bytes) = read_bytes(path, LARGEST_NEIGHBOUR) else { return Vec::new() };
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let listed = fs::read_dir(directory.unwrap_or_else(|| Path::new(".")));
    let mut neighbours: Vec<_> = listed.into_iter().flatten().filter_map(Result::ok).collect();
    neighbours.sort_by_key(fs::DirEntry::file_name);
    let own = path.file_name();
    let others = neighbours.iter().filter(|entry| Some(&*entry.file_name()) != own);
    let fitting = others.take(NEIGHBOURS).filter_map(|entry| {
        let other = read_bytes(&entry.path(), LARGEST_NEIGHBOUR).ok()?;
        fits(&bytes, &other).map(|how| Fitting { path: entry.path(), how })
    });
    fitting.collect()
}

/// What `other` is to `own`.
fn fits(own: &[u8], other: &[u8]) -> Option<&'static str> {
    let (chain, roots) = (super::certificates(own).ok(), super::certificates(other).ok());
    let (key, other_key) = (super::private_key(own).ok(), super::private_key(other).ok());
    if let (Some(chain), Some(key)) = (&chain, other_key) {
        return is_key_of(chain, key).then_some("its private key");
    }
    if let (Some(key), Some(chain)) = (key, &roots) {
        return is_key_of(chain, key).then_some("the certificate of this key");
    }
    let (chain, roots) = (chain?, roots?);
    let certificate = Certificate::parse(chain.first()?).ok()?;
    let root = Certificate::parse(roots.first()?).ok()?;
    if !root.is_ca || certificate.is_ca {
        return None;
    }
    // Whether it signed, not whether it would be believed now.
    let both = certificate.validity.not_before.max(root.validity.not_before);
    leads_to(&chain, &certificate, (&roots, &[]), both)
        .is_ok()
        .then_some("its roots: they signed it")
}

fn is_key_of(chain: &[CertificateDer<'static>], key: PrivateKeyDer<'static>) -> bool {
    let Some(provider) = crypto::provider() else { return false };
    CertifiedKey::from_der(chain.to_vec(), key, &provider).is_ok()
}
