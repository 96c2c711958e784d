//! `envoy.extensions.transport_sockets.tls.v3.Secret`: SDS, an identity or what a peer must prove.
//!
//! The bytes are in the message or in a file; a file is only named here. What is in the message must be PEM
//! that can be read ([`pem`]), and a key must be that of its certificate where there is crypto ([`pair`]), so that a
//! mistake is told at once, to the control plane. What only connections see leaves them the last pair that was good.
//! No error and no report has anything of a secret's content in it.
//!
//! What would make a check stricter than it can be made here is refused, as in clusters (gRFC A29).

mod pair;
mod pem;
#[cfg(test)]
mod tests;

use super::cluster::names;
use super::cluster::tls::{refuse_checks, spiffe};
use super::common::{self, Walk};
use super::{Context, Decoded};
use crate::resource::Resource;
use envoy_types::pb::envoy::config::core::v3::DataSource;
use envoy_types::pb::envoy::config::core::v3::data_source::Specifier;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3 as proto;
use mesh_core::model::Secret;
use mesh_core::model::secret::{
    SecretCertificate, SecretContent, SecretRoots, SecretSource, SecretValidation,
};
use proto::secret::Type;
use std::path::Path;
use std::sync::Arc;

const NOT_FOLLOWED: &str = "files are not watched by a directory here";

/// Decodes an SDS resource.
pub(super) fn decode(body: &[u8], _: &Context) -> Decoded {
    let message = match common::parse::<proto::Secret>(body) {
        Ok(message) => message,
        Err(broken) => return broken,
    };
    let mut walk = Walk::default();
    let name: Option<Arc<str>> = (!message.name.is_empty()).then(|| message.name.as_str().into());
    if name.is_none() {
        walk.error_at("name", "it is empty; it is the resource's name");
    }
    let content = content(&mut walk, message.r#type.as_ref());
    let resource = name.clone().zip(content);
    let resource =
        resource.map(|(name, content)| Resource::Secret(Arc::new(Secret::new(name, content))));
    walk.finish(name, resource)
}

fn content(walk: &mut Walk, kind: Option<&Type>) -> Option<SecretContent> {
    const NO_USE: &str = "it has no use here; serve a tls_certificate or a validation_context";
    match kind {
        Some(Type::TlsCertificate(message)) => {
            let found = walk.at("tls_certificate", |walk| certificate(walk, message));
            found.map(SecretContent::Certificate)
        }
        Some(Type::ValidationContext(message)) => {
            let found = walk.at("validation_context", |walk| validation(walk, message));
            found.map(SecretContent::Validation)
        }
        Some(Type::SessionTicketKeys(_)) => {
            walk.error_at("session_ticket_keys", NO_USE);
            None
        }
        Some(Type::GenericSecret(_)) => {
            walk.error_at("generic_secret", NO_USE);
            None
        }
        None => {
            walk.error("it is empty: serve a tls_certificate or a validation_context");
            None
        }
    }
}

/// A certificate and its key, of a secret or of a cluster.
pub(super) fn certificate(
    walk: &mut Walk,
    message: &proto::TlsCertificate,
) -> Option<SecretCertificate> {
    for (set, field, reason) in [
        (message.pkcs12.is_some(), "pkcs12", "use certificate_chain and private_key, in PEM"),
        (message.private_key_provider.is_some(), "private_key_provider", "use private_key"),
        (message.password.is_some(), "password", "serve a private key that is not encrypted"),
        (message.tls_params.is_some(), "tls_params", "leave it out (gRFC A29)"),
    ] {
        if set {
            walk.error_at(field, format_args!("it is not supported; {reason}"));
        }
    }
    for (set, field, reason) in [
        (message.watched_directory.is_some(), "watched_directory", NOT_FOLLOWED),
        (message.ocsp_staple.is_some(), "ocsp_staple", "no response is stapled"),
        (
            !message.signed_certificate_timestamp.is_empty(),
            "signed_certificate_timestamp",
            "Envoy has no use for it",
        ),
    ] {
        walk.ignored(set, field, reason);
    }
    let chain = required(walk, "certificate_chain", message.certificate_chain.as_ref(), is_chain);
    let key = required(walk, "private_key", message.private_key.as_ref(), is_key);
    let pair = SecretCertificate::new(chain?, key?);
    if pair::is_mismatch(&pair) {
        walk.error_at("private_key", pair::MISMATCH);
        return None;
    }
    Some(pair)
}

fn validation(
    walk: &mut Walk,
    message: &proto::CertificateValidationContext,
) -> Option<SecretValidation> {
    refuse_checks(walk, message);
    for (set, field, reason) in [
        (message.watched_directory.is_some(), "watched_directory", NOT_FOLLOWED),
        (message.suppress_client_ca_list, "suppress_client_ca_list", "it is for servers"),
    ] {
        walk.ignored(set, field, reason);
    }
    if message.ca_certificate_provider_instance.is_some() {
        walk.error_at(
            "ca_certificate_provider_instance",
            "a secret holds the roots itself: use trusted_ca",
        );
    }
    let san = names(walk, message);
    let crl = message.crl.as_ref().map(|source| walk.at("crl", |walk| revoked(walk, source)));
    let bundles = spiffe(walk, message);
    if bundles.is_none() && message.custom_validator_config.is_some() {
        return None;
    }
    let roots = match (bundles, &message.trusted_ca, &message.system_root_certs) {
        (Some(bundles), ..) => SecretRoots::Spiffe(Arc::new(bundles)),
        (None, Some(source), system) => {
            // Envoy: with both, `trusted_ca` counts.
            walk.ignored(system.is_some(), "system_root_certs", "trusted_ca counts (Envoy)");
            SecretRoots::Pem(required(walk, "trusted_ca", Some(source), is_roots)?)
        }
        (None, None, Some(_)) => SecretRoots::System,
        // Envoy: those of the context that it is merged into. Where that has none, no connection is made.
        (None, None, None) => SecretRoots::Unsaid,
    };
    let mut found = SecretValidation::new(roots);
    found.san = san;
    found.crl = crl.flatten();
    Some(found)
}

/// What is wrong with a text, if something is.
type Check = fn(&str) -> Result<(), &'static str>;

fn is_chain(text: &str) -> Result<(), &'static str> {
    const MISSING: &str = "it holds no PEM certificate: there is no `-----BEGIN CERTIFICATE-----`";
    pem::check(text, |label| label == "CERTIFICATE", MISSING)
}

fn is_key(text: &str) -> Result<(), &'static str> {
    const MISSING: &str = "it holds no PEM private key: there is no `-----BEGIN PRIVATE KEY-----`";
    if text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") || text.contains("ENCRYPTED\n") {
        return Err("it is encrypted: serve a private key that is not");
    }
    pem::check(text, |label| label.ends_with("PRIVATE KEY"), MISSING)
}

/// Who signs, and lists of revoked certificates beside them, which Envoy checks by, too.
fn is_roots(text: &str) -> Result<(), &'static str> {
    is_chain(text)?;
    match text.contains("-----BEGIN X509 CRL") {
        true => is_lists(text),
        false => Ok(()),
    }
}

fn is_lists(text: &str) -> Result<(), &'static str> {
    const MISSING: &str =
        "it holds no list of revoked certificates in PEM: there is no `-----BEGIN X509 CRL-----`";
    pem::check(text, |label| label == "X509 CRL", MISSING)
}

/// Roots, of a secret or of a cluster.
pub(super) fn authorities(walk: &mut Walk, source: &DataSource) -> Option<SecretSource> {
    read(walk, source, is_roots)
}

/// A SPIFFE trust bundle map.
pub(super) fn bundle_map(walk: &mut Walk, source: &DataSource) -> Option<SecretSource> {
    read(walk, source, |text| match text.contains("\"trust_domains\"") {
        true => Ok(()),
        false => Err("it holds no SPIFFE trust bundle map: there is no `trust_domains`"),
    })
}

/// Lists of revoked certificates.
pub(super) fn revoked(walk: &mut Walk, source: &DataSource) -> Option<SecretSource> {
    read(walk, source, is_lists)
}

fn required(
    walk: &mut Walk,
    field: &str,
    source: Option<&DataSource>,
    check: Check,
) -> Option<SecretSource> {
    walk.at(field, |walk| match source {
        Some(source) => read(walk, source, check),
        None => {
            walk.error("it is missing");
            None
        }
    })
}

fn read(walk: &mut Walk, source: &DataSource, check: Check) -> Option<SecretSource> {
    walk.ignored(source.watched_directory.is_some(), "watched_directory", NOT_FOLLOWED);
    let (field, bytes) = match &source.specifier {
        Some(Specifier::Filename(path)) if path.is_empty() => {
            walk.error_at("filename", "it is empty: name a file");
            return None;
        }
        Some(Specifier::Filename(path)) => {
            return Some(SecretSource::File(Path::new(path).into()));
        }
        Some(Specifier::InlineString(text)) => ("inline_string", text.as_bytes()),
        Some(Specifier::InlineBytes(bytes)) => ("inline_bytes", bytes.as_slice()),
        Some(Specifier::EnvironmentVariable(_)) => {
            walk.error_at("environment_variable", "it is not read; use filename or inline_string");
            return None;
        }
        None => {
            walk.error("nothing says where it is: use filename or inline_string");
            return None;
        }
    };
    let text = std::str::from_utf8(bytes).map_err(|_invalid| "it is no text, and so no PEM");
    match text.and_then(check) {
        Ok(()) => Some(SecretSource::Inline(bytes.into())),
        Err(wrong) => {
            walk.error_at(field, wrong);
            None
        }
    }
}
