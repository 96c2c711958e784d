//! A CA that was made before: whose it is, how long it lasts, and whether it may sign.

use super::authority::{Authority, Issued};
use crate::cli::Failure;
use mesh_core::WallTime;
use mesh_core::identity::rotation::Standing;
use mesh_core::identity::{SpiffeId, TrustDomain};
use mesh_tower::identity::{Certificate, Material, Verified, certificates};
use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};

/// A CA that was made before.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) authority: Authority,
    /// What its certificate says.
    says: Certificate,
    directory: PathBuf,
}

impl Known {
    /// The CA of a directory, which is valid now. A mesh does not ask that of a root, but others do.
    pub(super) fn read(directory: &Path, now: WallTime) -> Result<Self, Failure> {
        let read = |name: &str| {
            let path = directory.join(name);
            fs::read_to_string(&path).map_err(|error| {
                let message = format!("can't read `{}`: {error}", path.display());
                Failure::new("unreadable_file", message)
            })
        };
        let (certificate, key) = (read("ca.pem")?, read("ca-key.pem")?);
        let says = first(&certificate).map_err(|why| unusable(directory, why))?;
        let authority = Authority::of(certificate, &key, says.validity.not_after);
        let authority = authority.map_err(|error| unusable(directory, error))?;
        let validity = says.validity;
        let why = match validity.standing(now) {
            Standing::Valid => {
                return Ok(Self { authority, says, directory: directory.to_owned() });
            }
            Standing::Expired => format!(
                "`ca.pem` ended on {}, and nothing that it signs is of use: leave `--ca` out to make another CA",
                validity.not_after
            ),
            Standing::NotYetValid => format!(
                "`ca.pem` begins on {}: wait until then, or look at the clock",
                validity.not_before
            ),
        };
        Err(unusable(directory, why))
    }

    /// Whose it is; `None`: it has no SPIFFE id, which a CA may go without (X.509-SVID section 3.2).
    pub(super) fn trust_domain(&self) -> Option<TrustDomain> {
        let [uri] = self.says.names.uris.as_slice() else { return None };
        SpiffeId::parse(uri).ok().map(|id| id.trust_domain())
    }

    /// Whether what it has signed is what it should be: its key may be another's, or its certificate no CA's.
    pub(super) fn vouch(
        &self,
        issued: &Issued,
        id: &SpiffeId,
        now: WallTime,
    ) -> Result<(), Failure> {
        let (chain, key) = (issued.certificate.as_bytes(), issued.key.as_bytes());
        let roots = self.authority.certificate.as_bytes();
        let verified = Material::from_pem(chain, key, roots)
            .and_then(|material| Verified::verify(material, Some(id), now));
        let why = match verified {
            Err(error) => format!("what `ca-key.pem` signs does not lead to `ca.pem`: {error}"),
            // Clients do not ask that of a root.
            Ok(_) if !self.says.is_ca => {
                "`ca.pem` is no certificate of a CA, and may not sign (RFC 5280 section 4.2.1.9)"
                    .to_owned()
            }
            Ok(_) => return Ok(()),
        };
        Err(unusable(&self.directory, why))
    }
}

/// What the first certificate of a PEM text says: it is the one that signs.
fn first(pem: &str) -> Result<Certificate, String> {
    let all = certificates(pem.as_bytes()).map_err(|error| error.to_string())?;
    let der = all.first().ok_or("`ca.pem` has no certificate")?;
    Certificate::parse(der).map_err(|error| error.to_string())
}

fn unusable(directory: &Path, why: impl Display) -> Failure {
    let message = format!("`{}` has no CA that can be used: {why}", directory.display());
    Failure::new("invalid_ca", message)
}
