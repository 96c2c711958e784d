//! From a response of the Workload API to [`Material`]: which SVID, and whose roots. Pure.

use super::message::{Response, Svid};
use crate::identity::{Certificate, CertificateError, Material, Roots};
use bytes::Bytes;
use mesh_core::identity::{SpiffeId, SpiffeIdError, TrustDomain};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivatePkcs8KeyDer};
use std::collections::BTreeMap;
use std::sync::Arc;
use x509_parser::asn1_rs::FromDer as _;
use x509_parser::certificate::X509Certificate;

/// Which of several SVIDs is ours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Choice {
    /// The first: the default identity (SPIFFE Workload API, section 5.3).
    #[default]
    First,
    /// The first with this hint.
    Hint(Arc<str>),
    /// The one with this id.
    Id(SpiffeId),
}

/// Why a response can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadResponse {
    /// It has no SVID, or not ours.
    #[error("none of the {} SVIDs ({}) is that with {wanted}", .ids.len(), .ids.join(", "))]
    NotThere { wanted: String, ids: Vec<String> },
    /// An id breaks a rule.
    #[error("`{text}` is no SPIFFE id: {error}")]
    Id { text: String, error: SpiffeIdError },
    /// Certificates can't be read.
    #[error("{part} of `{of}`: {error}")]
    Certificates { part: &'static str, of: String, error: CertificateError },
    /// The certificate is not for the id beside it.
    #[error("the SVID of `{said}` has a certificate for {found}")]
    OtherId { said: SpiffeId, found: String },
}

/// How many ids are named in an error.
const MAX_NAMED: usize = 8;

/// The material of the SVID that is chosen: roots of its own trust domain and of those it is federated with.
///
/// # Errors
/// [`BadResponse`]: nothing of it is used. A federated bundle that can't be read is an error, too: peers of that
/// domain would be refused, and nobody would know why.
pub(super) fn material(response: Response, choice: &Choice) -> Result<Material, BadResponse> {
    let Response { svids, crl, federated_bundles } = response;
    let Svid { spiffe_id, x509_svid, x509_svid_key, bundle, .. } = choice.of(svids)?;
    let id = SpiffeId::parse(&spiffe_id)
        .map_err(|error| BadResponse::Id { text: spiffe_id.clone(), error })?;
    let chain = split("the certificates", &spiffe_id, &x509_svid)?;
    let mut bundles = BTreeMap::new();
    for (of, bundle) in federated_bundles {
        let domain = trust_domain(&of)?;
        bundles.insert(domain, split("the federated bundle", &of, &bundle)?);
    }
    // After the others: of its own domain an SVID says itself who signs.
    bundles.insert(id.trust_domain(), split("the bundle", &spiffe_id, &bundle)?);
    is_for(&id, &chain)?;
    let key = PrivatePkcs8KeyDer::from(Vec::from(x509_svid_key)).into();
    let roots = Roots::ByTrustDomain(Arc::new(bundles));
    Ok(Material::from_der(chain, key, roots).with_revoked(lists(crl)))
}

/// The lists of revoked certificates of a response.
pub(super) fn lists(crl: Vec<Bytes>) -> Vec<CertificateRevocationListDer<'static>> {
    crl.into_iter().map(|list| Vec::from(list).into()).collect()
}

impl Choice {
    fn of(&self, svids: Vec<Svid>) -> Result<Svid, BadResponse> {
        let named = svids.iter().take(MAX_NAMED).map(|svid| format!("`{}`", svid.spiffe_id));
        let ids: Vec<String> = named.collect();
        let wanted = |svid: &Svid| match self {
            Self::First => true,
            Self::Hint(hint) => svid.hint == **hint,
            Self::Id(id) => svid.spiffe_id == id.as_str(),
        };
        let found = svids.into_iter().find(wanted);
        found.ok_or_else(|| {
            let wanted = match self {
                Self::First => "an id".to_owned(),
                Self::Hint(hint) => format!("the hint `{hint}`"),
                Self::Id(id) => format!("the id `{id}`"),
            };
            BadResponse::NotThere { wanted, ids }
        })
    }
}

/// The standard writes a trust domain as its SPIFFE id; agents that leave the scheme out are understood.
fn trust_domain(text: &str) -> Result<TrustDomain, BadResponse> {
    let name = text.strip_prefix("spiffe://").unwrap_or(text);
    TrustDomain::parse(name).map_err(|error| BadResponse::Id { text: text.to_owned(), error })
}

/// Certificates that stand one after the other.
fn split(
    part: &'static str,
    of: &str,
    mut bytes: &[u8],
) -> Result<Vec<CertificateDer<'static>>, BadResponse> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let (rest, _) = X509Certificate::from_der(bytes).map_err(|error| {
            let error = CertificateError::NotX509 { reason: error.to_string() };
            BadResponse::Certificates { part, of: of.to_owned(), error }
        })?;
        let (this, rest) = bytes.split_at(bytes.len() - rest.len());
        found.push(CertificateDer::from(this.to_vec()));
        bytes = rest;
    }
    Ok(found)
}

/// Whether the certificate is that of the id: a mix-up must not make us somebody else.
fn is_for(id: &SpiffeId, chain: &[CertificateDer<'_>]) -> Result<(), BadResponse> {
    let error =
        |error| BadResponse::Certificates { part: "the certificates", of: id.to_string(), error };
    let first = chain.first().ok_or_else(|| error(CertificateError::NoCertificate))?;
    let found = Certificate::parse(first).map_err(error)?.names.spiffe_id();
    let found = match found {
        Ok(found) if found == *id => return Ok(()),
        Ok(found) => format!("`{found}`"),
        Err(none) => format!("nobody: {none}"),
    };
    Err(BadResponse::OtherId { said: id.clone(), found })
}
