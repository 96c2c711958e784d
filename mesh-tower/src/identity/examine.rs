//! [`examine`]: what is wrong with a configured identity right now, for whoever asks before it is used; and
//! [`examine_roots`] with the roots that a cluster has of its own.
//!
//! The rules are those by which an identity is put into force ([`Identity::verify`]), and by which peers are verified,
//! told with the path that has to be mended; and what will be wrong soon.

use super::anchors::{Anchors, Listed};
use super::chain::{Lists, Unlisted};
use super::life::{long, when};
use super::material::Authorities;
use super::{
    Certificate, Identity, InvalidIdentity, Material, Roots, authorities, certificates,
    private_key, revocation_lists,
};
use crate::source::read::{MAX_BYTES, read_bytes};
use mesh_core::WallTime;
use mesh_core::config::{IdentityPart, IdentityTrouble, IdentityTroubleKind};
use mesh_core::identity::Validity;
use mesh_core::identity::rotation::Standing;
use mesh_core::model::{IdentityConfig, IdentityFiles};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use std::path::Path;
use x509_parser::prelude::FromDer as _;
use x509_parser::revocation_list::CertificateRevocationList;

/// The share of a life that is little: a tenth, as the last warning of a running mesh.
const LITTLE: u32 = 10;
const THE_CERTIFICATE: &str = "the certificate";

/// Looks at the files of a configured identity as of `now`: whether they can be read, fit together and
/// would be put into force, and whether they will be for long. What is issued by an agent is not looked at.
///
/// It blocks. No message holds a byte of a key.
#[must_use]
pub fn examine(config: &IdentityConfig, now: WallTime) -> Vec<IdentityTrouble> {
    let Some(files) = config.files() else { return Vec::new() };
    let mut found = Vec::new();
    let chain = part(&mut found, IdentityPart::Cert, &files.cert, |pem| {
        certificates(pem).map_err(|error| error.to_string())
    });
    let key = part(&mut found, IdentityPart::Key, &files.key, |pem| {
        private_key(pem).map_err(|error| error.to_string())
    });
    let roots = part(&mut found, IdentityPart::Roots, &files.roots, signers);
    let (roots, beside) = roots.unzip();
    let own = files
        .crl
        .as_ref()
        .map(|path| part(&mut found, IdentityPart::Crl, path, lists).unwrap_or_default());
    let mut revoked = Vec::new();
    let beside = beside.map(|lists| (&files.roots, lists));
    for (path, lists) in beside.into_iter().chain(files.crl.as_ref().zip(own)) {
        lists.iter().for_each(|list| outdated(&mut found, path, list, now));
        revoked.extend(lists);
    }
    for (index, certificate) in chain.iter().flatten().enumerate() {
        let name = if index == 0 { THE_CERTIFICATE } else { "an intermediate certificate" };
        ends(&mut found, (IdentityPart::Cert, &files.cert, name), certificate, now);
    }
    for root in roots.iter().flatten() {
        ends(&mut found, (IdentityPart::Roots, &files.roots, "a root"), root, now);
    }
    if let (Some(chain), Some(key), Some(roots)) = (chain, key, roots) {
        let material =
            Material::from_der(chain, key, Roots::Any(roots.into())).with_revoked(revoked);
        if let Err(error) = Identity::verify(material, config.spiffe_id.as_ref(), now) {
            found.extend(trouble(files, &error));
        }
    }
    found
}

/// Looks at the roots of a cluster as of `now`, by what is in their file: whether they can be read, whether one of them
/// may sign for a peer, and whether all of them will for long. `path` is for the words.
#[must_use]
pub fn examine_roots(path: &Path, pem: &str, now: WallTime) -> Vec<IdentityTrouble> {
    let mut found = Vec::new();
    let read = parsed(&mut found, IdentityPart::Roots, path, pem.as_bytes(), signers);
    let Some((roots, lists)) = read else { return found };
    lists.iter().for_each(|list| outdated(&mut found, path, list, now));
    match nobody_signs(&roots, now) {
        Some(why) => {
            let message = format!("`{}`: {why}", path.display());
            let trouble =
                IdentityTrouble::new(IdentityPart::Roots, IdentityTroubleKind::Invalid, message);
            found.push(trouble.suggest("put the roots into it that sign for the endpoints now"));
        }
        None => roots.iter().for_each(|root| {
            ends(&mut found, (IdentityPart::Roots, path, "a root"), root, now);
        }),
    }
    found
}

/// Why none of these signs for anybody at `now`, by the rules of [`Anchors`].
fn nobody_signs(roots: &[CertificateDer<'static>], now: WallTime) -> Option<String> {
    let anchors = match Anchors::new(&Roots::Any(roots.into()), &Listed::new()) {
        Ok(anchors) => anchors,
        Err(error) => return Some(error.to_string()),
    };
    let count = anchors.iter().count();
    if count == 0 {
        return Some("no certificate in it can be used as a root".to_owned());
    }
    if anchors.out_of_time(now) < count {
        return None;
    }
    let lives = roots.iter().filter_map(|root| Some(Certificate::parse(root).ok()?.validity));
    let coming = lives.clone().map(|life| life.not_before).filter(|start| *start > now).min();
    let last = lives.map(|life| life.not_after).max()?;
    Some(match coming {
        Some(start) => format!("no root in it is valid now: one begins {}", when(start, now)),
        None => format!("every root in it has ended, the last one {}", when(last, now)),
    })
}

/// Roots that can be read, and the lists beside them that can be used.
fn signers(pem: &[u8]) -> Result<Authorities, String> {
    let (roots, beside) = authorities(pem).map_err(|error| error.to_string())?;
    usable(beside).map(|beside| (roots, beside))
}

/// What is in a file; what is wrong with it goes to `found`.
fn part<T>(
    found: &mut Vec<IdentityTrouble>,
    part: IdentityPart,
    path: &Path,
    read: impl FnOnce(&[u8]) -> Result<T, String>,
) -> Option<T> {
    let bytes = match read_bytes(path, MAX_BYTES) {
        Ok(bytes) => bytes,
        Err(error) => {
            let message = format!("`{}` can't be read: {error}", path.display());
            let trouble = IdentityTrouble::new(part, IdentityTroubleKind::Unreadable, message);
            found.push(trouble.suggest("paths are relative to the file that names them"));
            return None;
        }
    };
    parsed(found, part, path, &bytes, read)
}

fn parsed<T>(
    found: &mut Vec<IdentityTrouble>,
    part: IdentityPart,
    path: &Path,
    bytes: &[u8],
    read: impl FnOnce(&[u8]) -> Result<T, String>,
) -> Option<T> {
    let read = match std::str::from_utf8(bytes) {
        _ if bytes.len() as u64 > MAX_BYTES => Err("the file is larger than 16 MiB".to_owned()),
        Err(error) => Err(format!("not UTF-8: {error}")),
        Ok(_) => read(bytes),
    };
    match read {
        Ok(content) => Some(content),
        Err(why) => {
            let message = format!("`{}`: {why}", path.display());
            found.push(IdentityTrouble::new(part, IdentityTroubleKind::Invalid, message));
            None
        }
    }
}

/// Lists of revoked certificates that can be used.
fn lists(pem: &[u8]) -> Result<Vec<CertificateRevocationListDer<'static>>, String> {
    usable(revocation_lists(pem).map_err(|error| error.to_string())?)
}

fn usable(
    lists: Vec<CertificateRevocationListDer<'static>>,
) -> Result<Vec<CertificateRevocationListDer<'static>>, String> {
    Lists::read(&lists, Unlisted::Good).map_err(|error| error.to_string())?;
    Ok(lists)
}

/// Tells of a list that has to be replaced; one without a date never has.
fn outdated(
    found: &mut Vec<IdentityTrouble>,
    path: &Path,
    list: &CertificateRevocationListDer<'_>,
    now: WallTime,
) {
    let Ok((_, list)) = CertificateRevocationList::from_der(list) else { return };
    let next = list.next_update().map(super::certificate::wall);
    let Some(next) = next.filter(|next| *next < now) else { return };
    let (path, ago) = (path.display(), long(now.saturating_duration_since(next)));
    let message = format!("the successor of a list in `{path}` was due on {next}, {ago} ago");
    let trouble = IdentityTrouble::new(IdentityPart::Crl, IdentityTroubleKind::EndsSoon, message);
    found.push(trouble.suggest("fetch the newest list: what was revoked since is not in this one"));
}

/// Tells of a certificate that is over, or nearly. The first one of the chain is an error by itself.
fn ends(
    found: &mut Vec<IdentityTrouble>,
    (part, path, name): (IdentityPart, &Path, &str),
    der: &CertificateDer<'_>,
    now: WallTime,
) {
    // What can't be read is told by whoever verifies.
    let Ok(Certificate { validity, .. }) = Certificate::parse(der) else { return };
    let path = path.display();
    let (kind, what) = match validity.standing(now) {
        Standing::Expired if name == THE_CERTIFICATE => (IdentityTroubleKind::Invalid, "ended"),
        Standing::Expired => (IdentityTroubleKind::EndsSoon, "ended"),
        Standing::Valid if is_little(validity, now) => {
            (IdentityTroubleKind::EndsSoon, "has less than a tenth of its life left: it ends")
        }
        Standing::Valid | Standing::NotYetValid => return,
    };
    let message = format!("{name} of `{path}` {what} {}", when(validity.not_after, now));
    found.push(IdentityTrouble::new(part, kind, message).suggest("issue a new one"));
}

fn is_little(validity: Validity, now: WallTime) -> bool {
    validity.not_after.saturating_duration_since(now) < validity.life() / LITTLE
}

/// What is not put into force, by the file that has to be mended.
fn trouble(files: &IdentityFiles, error: &InvalidIdentity) -> Option<IdentityTrouble> {
    let (part, path) = match error {
        InvalidIdentity::Revoked { .. } => match &files.crl {
            Some(path) => (IdentityPart::Crl, path),
            None => (IdentityPart::Cert, &files.cert),
        },
        // Told with its date.
        InvalidIdentity::Expired { .. } => return None,
        InvalidIdentity::KeyMismatch | InvalidIdentity::UnusableKey { .. } => {
            (IdentityPart::Key, &files.key)
        }
        InvalidIdentity::OtherId { .. } => (IdentityPart::SpiffeId, &files.cert),
        InvalidIdentity::NoRoots
        | InvalidIdentity::NoBundle(_)
        | InvalidIdentity::Unverified { .. } => (IdentityPart::Roots, &files.roots),
        _ => (IdentityPart::Cert, &files.cert),
    };
    let message = format!("`{}`: {error}", path.display());
    Some(IdentityTrouble::new(part, IdentityTroubleKind::Invalid, message))
}
