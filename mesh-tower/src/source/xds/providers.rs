//! The certificate providers of a bootstrap (gRFC A29) as sources of identities.

use crate::identity::{FileIdentity, IdentitySource};
use mesh_xds::bootstrap::{Bootstrap, CertificateFiles};
use std::sync::Arc;

/// One source for each provider that can be used, by its name.
pub(super) fn sources(bootstrap: &Bootstrap) -> Vec<(Arc<str>, Box<dyn IdentitySource>)> {
    let names = bootstrap.certificate_provider_names();
    let sources = names.filter_map(|name| {
        let source = watcher(bootstrap.certificate_provider(name).ok()?)?;
        Some((Arc::clone(name), Box::new(source) as Box<dyn IdentitySource>))
    });
    sources.collect()
}

/// `file_watcher`. Its refresh interval is how often files are read without an event; changes that the system
/// reports are read at once. Its roots are those of peers and need not be our issuer's, as in gRPC.
///
/// `None`: it has no file, which a bootstrap refuses.
fn watcher(files: &CertificateFiles) -> Option<FileIdentity> {
    let (map, ca) = (files.spiffe_trust_bundle_map(), files.ca_certificate());
    let source = match (files.identity(), map, ca) {
        (Some(pair), map, ca) => {
            let source = FileIdentity::pair(&*pair.certificate, &*pair.private_key);
            match (map, ca) {
                (Some(map), _) => source.and_trust_bundles(map),
                (None, Some(ca)) => source.and_roots(ca),
                (None, None) => source,
            }
        }
        // gRFC A87: the map comes before the certificates.
        (None, Some(map), _) => FileIdentity::trust_bundles(map),
        (None, None, Some(ca)) => FileIdentity::roots(ca),
        (None, None, None) => return None,
    };
    Some(source.with_foreign_roots().poll_interval(files.refresh_interval()))
}
