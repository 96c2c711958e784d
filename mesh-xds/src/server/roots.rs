//! [`ClientRoots`]: whose word counts for which clients.
//!
//! A CA certificate that is named by a SPIFFE id says of which trust domain it is, and what it signs for another one is
//! not believed: whoever has two trust domains in one file does not want the one to make clients of the other. So a
//! client with a SPIFFE id needs a root of its trust domain, or one that is named by no SPIFFE id: of such a root it is
//! not known whose it is, and it vouches for all, as CAs do that know nothing of SPIFFE. One with names that begin like a
//! SPIFFE id and are none, or with names that can't be read, vouches for no id at all.
//!
//! A client without a SPIFFE id is one of any of the roots. One that means to have an id and has none that counts (two
//! URIs, as no workload has: X.509-SVID, section 2; a path with `..`; names that can't be read) is nobody's.
//!
//! What it does not do: look at the names of the CAs between a root and a client; the root decides.

use mesh_core::identity::{SpiffeId, SpiffeIdError, TrustDomain};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    SignatureScheme,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use x509_parser::asn1_rs::Tag;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;

type Verifier = Arc<dyn ClientCertVerifier>;

/// Verifies clients by the roots that may vouch for them.
#[derive(Debug)]
pub(super) struct ClientRoots {
    all: Verifier,
    /// By trust domain: the roots of it and those of none.
    of_domain: BTreeMap<TrustDomain, Verifier>,
    /// The roots of no trust domain, for all others; `None`: there is none.
    of_none: Option<Verifier>,
}

/// Of which trust domains a root is; `None`: it does not say. One whose names can't be read may be of any, and is of
/// none.
fn domains(root: &CertificateDer<'_>) -> Option<Vec<TrustDomain>> {
    let uris = match uris(root) {
        Ok(uris) => uris,
        Err(why) => {
            let subject = subject(root);
            tracing::warn!(
                target: "mesh::ads", subject, %why,
                "a CA certificate for clients vouches for no SPIFFE id"
            );
            return Some(Vec::new());
        }
    };
    let ids: Vec<_> = uris.into_iter().filter(|uri| is_spiffe(uri)).collect();
    if ids.is_empty() {
        return None;
    }
    let ids = ids.into_iter().filter_map(|id| SpiffeId::parse(id).ok());
    Some(ids.map(|id| id.trust_domain()).collect())
}

/// Why the names of a certificate are not gone by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum NamesRefused {
    #[error("it can't be read: it is no certificate of X.509")]
    Certificate,
    #[error("its subject alternative names can't be read, or are there twice")]
    Extension,
    #[error("a URI among its subject alternative names can't be read")]
    Uri,
    #[error(
        "it has {0} URIs, one of them a SPIFFE id: a workload's certificate has that one alone"
    )]
    Several(usize),
    #[error("its URI begins like a SPIFFE id and is none: {0}")]
    NoId(SpiffeIdError),
}

/// The SPIFFE id of a client: the only URI among the names of its certificate (X.509-SVID, section 2). `None`: it has
/// none, and no URI that means to be one.
fn workload<'c>(client: &'c CertificateDer<'_>) -> Result<Option<&'c str>, NamesRefused> {
    let uris = uris(client)?;
    if !uris.iter().any(|uri| is_spiffe(uri)) {
        return Ok(None);
    }
    match uris[..] {
        // By the id's own rules: a path with `..` or a query is none, whatever it begins with.
        [uri] => SpiffeId::parse(uri).map(|_| Some(uri)).map_err(NamesRefused::NoId),
        _ => Err(NamesRefused::Several(uris.len())),
    }
}

/// The SPIFFE id of a client, if it has one.
pub(super) fn spiffe_id(client: &CertificateDer<'_>) -> Option<Arc<str>> {
    workload(client).ok().flatten().map(Arc::from)
}

/// The URIs among the names of a certificate.
fn uris<'c>(certificate: &'c CertificateDer<'_>) -> Result<Vec<&'c str>, NamesRefused> {
    let read = X509Certificate::from_der(certificate);
    let (_, read) = read.ok().ok_or(NamesRefused::Certificate)?;
    let names = read.subject_alternative_name().ok().ok_or(NamesRefused::Extension)?;
    let mut uris = Vec::new();
    for name in names.iter().flat_map(|names| &names.value.general_names) {
        match name {
            GeneralName::URI(uri) => uris.push(*uri),
            GeneralName::Invalid(tag, _) if *tag == URI => return Err(NamesRefused::Uri),
            _ => {}
        }
    }
    Ok(uris)
}

/// The tag of a URI among names (RFC 5280, 4.2.1.6).
const URI: Tag = Tag(6);

/// Whether a name is a SPIFFE id, or means to be one.
fn is_spiffe(name: &str) -> bool {
    let scheme = name.get(.."spiffe:".len());
    scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case("spiffe:"))
}

/// How a certificate names itself.
fn subject(certificate: &CertificateDer<'_>) -> String {
    let read = X509Certificate::from_der(certificate);
    read.map_or_else(|_unreadable| "unreadable".to_owned(), |(_, read)| read.subject().to_string())
}

impl ClientRoots {
    /// # Errors
    /// There is no root, or the crypto can't be used.
    pub(super) fn new(
        roots: &[CertificateDer<'static>],
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, VerifierBuilderError> {
        let verifier = |roots: &[&CertificateDer<'static>]| {
            let mut store = RootCertStore::empty();
            store.add_parsable_certificates(roots.iter().copied().cloned());
            let builder =
                WebPkiClientVerifier::builder_with_provider(Arc::new(store), Arc::clone(provider));
            builder.build()
        };
        let said: Vec<_> = roots.iter().map(|root| (root, domains(root))).collect();
        let names: Vec<_> = said.iter().filter_map(|(_, of)| of.as_ref()).flatten().collect();
        let of = |domain: Option<&TrustDomain>| -> Vec<_> {
            let vouches = |of: &Option<Vec<TrustDomain>>| match (of, domain) {
                (None, _) => true,
                (Some(of), Some(domain)) => of.contains(domain),
                (Some(_), None) => false,
            };
            said.iter().filter(|(_, of)| vouches(of)).map(|(root, _)| *root).collect()
        };
        let mut of_domain = BTreeMap::new();
        for domain in names {
            if !of_domain.contains_key(domain) {
                of_domain.insert(domain.clone(), verifier(&of(Some(domain)))?);
            }
        }
        let none = of(None);
        let of_none = if none.is_empty() { None } else { Some(verifier(&none)?) };
        Ok(Self { all: verifier(&roots.iter().collect::<Vec<_>>())?, of_domain, of_none })
    }

    /// Who may vouch for it.
    fn of(&self, client: &CertificateDer<'_>) -> Result<Option<&Verifier>, NamesRefused> {
        let Some(id) = workload(client)? else { return Ok(Some(&self.all)) };
        let domain = SpiffeId::parse(id).map_err(NamesRefused::NoId)?.trust_domain();
        Ok(self.of_domain.get(&domain).or(self.of_none.as_ref()))
    }
}

impl ClientCertVerifier for ClientRoots {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.all.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        client: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let refused = |why| Err(Error::InvalidCertificate(why));
        match self.of(client) {
            Ok(Some(roots)) => roots.verify_client_cert(client, between, now),
            Ok(None) => refused(CertificateError::UnknownIssuer),
            Err(why) => {
                let subject = subject(client);
                tracing::info!(target: "mesh::ads", subject, %why, "client certificate refused");
                refused(CertificateError::ApplicationVerificationFailure)
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.all.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.all.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.all.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::provider;
    use rcgen::{
        BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, IsCa, KeyPair,
        SanType,
    };

    type Issuer = CertifiedIssuer<'static, KeyPair>;

    fn named(names: &[&str]) -> CertificateParams {
        let mut params = CertificateParams::default();
        let uri = |name: &&str| SanType::URI((*name).try_into().unwrap());
        params.subject_alt_names = names.iter().map(uri).collect();
        params
    }

    fn root(names: &[&str]) -> Issuer {
        root_of(named(names))
    }

    /// Names as they stand in the extension, whatever they are.
    fn written(names: &[u8]) -> CertificateParams {
        let mut params = CertificateParams::default();
        let names = CustomExtension::from_oid_content(&[2, 5, 29, 17], names.to_vec());
        params.custom_extensions = vec![names];
        params
    }

    fn root_of(mut params: CertificateParams) -> Issuer {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    }

    /// Whether a client of this name is believed that `by` has signed.
    fn believed(roots: &[&Issuer], by: &Issuer, client: &[&str]) -> bool {
        let roots: Vec<_> = roots.iter().map(|root| root.der().clone()).collect();
        let roots = ClientRoots::new(&roots, &provider().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let client = named(client).signed_by(&key, by).unwrap();
        roots.verify_client_cert(client.der(), &[], UnixTime::now()).is_ok()
    }

    #[test]
    fn a_root_with_a_spiffe_id_vouches_for_its_own_trust_domain() {
        let [a, b] = ["spiffe://a.org", "spiffe://b.org"].map(|id| root(&[id]));
        let any = root(&[]);
        let (of_a, of_b, of_c) = ("spiffe://a.org/x", "spiffe://b.org/x", "spiffe://c.org/x");
        let both = [&a, &b];
        assert!(believed(&both, &a, &[of_a]) && believed(&both, &b, &[of_b]));
        assert!(!believed(&both, &a, &[of_b]) && !believed(&both, &b, &[of_a]));
        assert!(!believed(&both, &a, &[of_c]), "nobody's");
        assert!(believed(&both, &a, &[]), "no id, no trust domain");
        // One that does not say of which it is vouches for all, and the others still for their own.
        let all = [&a, &any];
        assert!(believed(&all, &any, &[of_a]) && believed(&all, &any, &[of_c]));
        assert!(!believed(&all, &a, &[of_c]));
        let two = root(&["spiffe://a.org", "spiffe://b.org"]);
        assert!(believed(&[&two], &two, &[of_b]) && !believed(&[&two], &two, &[of_c]));
    }

    #[test]
    fn what_is_nearly_a_spiffe_id_vouches_for_none() {
        let broken = root(&["spiffe://A.org"]);
        assert!(!believed(&[&broken], &broken, &["spiffe://a.org/x"]));
        assert!(believed(&[&broken], &broken, &[]));
        let other = root(&["https://a.org"]);
        assert!(believed(&[&other], &other, &["spiffe://a.org/x"]), "a name like any other");
    }

    #[test]
    fn a_client_has_one_id_or_none() {
        let [a, b] = ["spiffe://a.org", "spiffe://b.org"].map(|id| root(&[id]));
        let any = root(&[]);
        let ids = ["spiffe://b.org/x", "spiffe://b.org/y"];
        assert!(!believed(&[&a, &b], &a, &ids) && !believed(&[&any], &any, &ids));
        assert!(!believed(&[&any], &any, &["https://a.org/x", "SPIFFE://a.org/x"]));
        assert!(!believed(&[&any], &any, &["spiffe://a.org/x/../y"]));
        assert!(believed(&[&any], &any, &["https://a.org/x", "https://a.org/y"]), "no id");
        let roots = ClientRoots::new(&[any.der().clone()], &provider().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let hidden = b"\x30\x22\x86\x10spiffe://a.org/x\x86\x0espiffe://\xe4.org";
        let client = written(hidden).signed_by(&key, &any).unwrap();
        assert_eq!(workload(client.der()), Err(NamesRefused::Uri));
        let verified = roots.verify_client_cert(client.der(), &[], UnixTime::now());
        let refused = CertificateError::ApplicationVerificationFailure;
        assert_eq!(verified.err(), Some(Error::InvalidCertificate(refused)));
    }

    #[test]
    fn the_only_uri_is_the_identity() {
        let uri = |uri: &str| SanType::URI(uri.try_into().unwrap());
        let dns = SanType::DnsName("a.example".try_into().unwrap());
        let key = KeyPair::generate().unwrap();
        for (names, expected) in [
            (vec![uri("spiffe://mesh.example/ns/a/sa/b")], Some("spiffe://mesh.example/ns/a/sa/b")),
            (vec![dns.clone(), uri("spiffe://mesh.example/a")], Some("spiffe://mesh.example/a")),
            (vec![uri("spiffe://mesh.example/a"), uri("spiffe://mesh.example/b")], None),
            (vec![uri("https://mesh.example/a")], None),
            (vec![uri("spiffe://mesh.example/ns/a/../b")], None),
            (vec![uri("spiffe://mesh.example/ns/a/?x")], None),
            (vec![dns], None),
            (vec![], None),
        ] {
            let mut params = CertificateParams::default();
            params.subject_alt_names = names.clone();
            let certificate = params.self_signed(&key).unwrap();
            assert_eq!(spiffe_id(certificate.der()).as_deref(), expected, "{names:?}");
        }
    }

    #[test]
    fn names_that_cannot_be_read_vouch_for_no_id() {
        // A sequence, and in it a URI, or what would be one.
        let latin = b"\x30\x0e\x86\x0cspiffe://\xe4.o";
        let cut_off = b"\x30\x10\x86\x20spiffe://a.org";
        for (names, why) in
            [(&latin[..], NamesRefused::Uri), (&cut_off[..], NamesRefused::Extension)]
        {
            let broken = root_of(written(names));
            assert_eq!(uris(broken.der()), Err(why));
            assert!(!believed(&[&broken], &broken, &["spiffe://a.org/x"]), "{why}");
        }
        assert_eq!(uris(&CertificateDer::from_slice(b"none")), Err(NamesRefused::Certificate));
        // A host's name that can't be read hides no id.
        let host = root_of(written(b"\x30\x04\x82\x02\xe4o"));
        assert!(believed(&[&host], &host, &["spiffe://a.org/x"]));
    }
}
