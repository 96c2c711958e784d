//! [`bundle_map()`]: the roots of each trust domain, from a SPIFFE trust bundle map (gRFC A87).
//!
//! ```json
//! { "trust_domains": { "a.example": { "spiffe_sequence": 3, "keys": [
//!     { "kty": "EC", "use": "x509-svid", "x5c": ["MIIB…"] } ] } } }
//! ```
//!
//! The rules, each with its source:
//!
//! | field | rule |
//! |---|---|
//! | `trust_domains` | must be there; it may be empty: then nobody is believed (gRFC A87) |
//! | its keys | trust domains as SPIFFE ids have them, not empty (SPIFFE-ID section 2.1) |
//! | `spiffe_sequence` | a whole number, if it is there (SPIFFE Trust Domain and Bundle section 4.1.1) |
//! | `keys` | must be there; it may be empty (SPIFFE Trust Domain and Bundle section 4.2) |
//! | `kty` | must be there: `EC`, `RSA` or `OKP` (RFC 7518, RFC 8037; gRFC A87) |
//! | `use` | `x509-svid`; keys for `jwt-svid` sign no certificates and are passed over, as go-spiffe does, for SPIRE writes both into one bundle |
//! | `x5c` | exactly one certificate, in base64 (X509-SVID section 6.1; gRFC A87) |
//!
//! One key that breaks a rule makes the whole map bad (gRFC A87): a root that is missing in silence would be
//! found when a peer is refused. Other fields are ignored.
//!
//! What it does not do: read files, or look at signatures and dates of roots.

use super::{Certificate, Roots};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mesh_core::identity::TrustDomain;
use rustls::pki_types::CertificateDer;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Why a text is no trust bundle map.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("trust bundle map: {place}: {rule}")]
#[non_exhaustive]
pub struct InvalidBundleMap {
    /// Where: a path of JSON names, or a line.
    pub place: String,
    /// The rule that is broken.
    pub rule: String,
}

/// Reads a trust bundle map.
///
/// # Errors
/// [`InvalidBundleMap`]: the first rule of the module's table that is broken, and where.
pub fn bundle_map(text: &str) -> Result<Roots, InvalidBundleMap> {
    let value: Value = serde_json::from_str(text).map_err(|error| {
        let place = format!("line {}, column {}", error.line(), error.column());
        invalid(&place, "it is no JSON: write it anew, whole (SPIFFE bundle map, gRFC A87)")
    })?;
    let domains = value.get("trust_domains").and_then(Value::as_object);
    let domains = domains.ok_or_else(|| {
        invalid("`trust_domains`", "it must be an object: bundles by trust domain (gRFC A87)")
    })?;
    let bundle = |(name, bundle): (&String, &Value)| {
        let place = format!("`trust_domains`.`{}`", shorten(name));
        let domain = TrustDomain::parse(name)
            .map_err(|error| invalid(&place, &format!("it is no trust domain: {error}")))?;
        Ok((domain, roots(bundle, &place)?))
    };
    let bundles: Result<BTreeMap<_, _>, _> = domains.iter().map(bundle).collect();
    Ok(Roots::ByTrustDomain(Arc::new(bundles?)))
}

/// The roots of one bundle.
fn roots(bundle: &Value, place: &str) -> Result<Vec<CertificateDer<'static>>, InvalidBundleMap> {
    if bundle.get("spiffe_sequence").is_some_and(|number| !number.is_u64()) {
        return Err(invalid(&format!("{place}.`spiffe_sequence`"), "it must be a whole number"));
    }
    let keys = bundle.get("keys").and_then(Value::as_array);
    let keys = keys.ok_or_else(|| {
        invalid(&format!("{place}.`keys`"), "it must be a list of keys (RFC 7517)")
    })?;
    let roots = keys.iter().enumerate();
    let roots = roots.map(|(at, key)| root(key, &format!("{place}.`keys`[{at}]")));
    roots.filter_map(Result::transpose).collect()
}

/// The certificate of one key; `None`: it signs something else.
fn root(key: &Value, place: &str) -> Result<Option<CertificateDer<'static>>, InvalidBundleMap> {
    let text = |name: &str| key.get(name).and_then(Value::as_str);
    if !matches!(text("kty"), Some("EC" | "RSA" | "OKP")) {
        return Err(invalid(&format!("{place}.`kty`"), "it must be `EC`, `RSA` or `OKP`"));
    }
    match text("use") {
        Some("x509-svid") => {}
        Some("jwt-svid") => return Ok(None),
        _ => return Err(invalid(&format!("{place}.`use`"), "it must be `x509-svid` (gRFC A87)")),
    }
    let place = format!("{place}.`x5c`");
    let certificates = key.get("x5c").and_then(Value::as_array).map(Vec::as_slice);
    let Some([Value::String(certificate)]) = certificates else {
        return Err(invalid(&place, "it must have exactly one certificate (gRFC A87)"));
    };
    let der = STANDARD.decode(certificate);
    let der = der.map_err(|error| invalid(&place, &format!("it is no base64: {error}")))?;
    let der = CertificateDer::from(der);
    Certificate::parse(&der).map_err(|error| invalid(&place, &error.to_string()))?;
    Ok(Some(der))
}

fn invalid(place: &str, rule: &str) -> InvalidBundleMap {
    InvalidBundleMap { place: place.to_owned(), rule: rule.to_owned() }
}

/// Enough of a name to find it.
fn shorten(name: &str) -> String {
    name.chars().take(TrustDomain::MAX_LEN).collect()
}
