//! Who must not be heard: each calls as the client does, with the same configuration, but for its certificate.

use super::BoxError;
use super::certificates::Certificates;
use super::events::sum;
use super::mtls::{self, CLIENT, Mtls, NOT_ALLOWED};
use http::{Request, StatusCode};
use mesh_tower::{Mesh, MeshBody};
use std::fmt;
use std::path::Path;
use tower::Service;

/// One that called.
#[derive(Clone, Debug)]
pub(crate) struct Stranger {
    pub(crate) who: &'static str,
    /// Where servers count why they refused it.
    counter: (&'static str, &'static str),
    /// What it got: the answer's status, or the error.
    pub(crate) got: Result<StatusCode, String>,
    /// How often servers refused it: each attempt counts.
    pub(crate) refused: u64,
}

impl Stranger {
    /// Whether servers refused it, and it got nothing.
    pub(crate) fn is_refused(&self) -> bool {
        let nothing = self.got.as_ref().map_or(true, |status| !status.is_success());
        nothing && self.refused > 0
    }
}

impl fmt::Display for Stranger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { who, counter: (_, reason), refused, .. } = self;
        let reason = reason.split('"').nth(1).unwrap_or_default();
        write!(f, "{who}: {reason} ×{refused}")
    }
}

/// All of them call, one after the other.
pub(crate) async fn call(mtls: &Mtls, configuration: &Path) -> Result<Vec<Stranger>, BoxError> {
    let elsewhere = tempfile::tempdir()?;
    // It calls itself as the client does, and believes the servers.
    let _others = Certificates::new(elsewhere.path(), &[CLIENT], &mtls.ca)?;
    let of_another_ca = mtls::mesh(&elsewhere.path().join(CLIENT), Some(configuration)).await?;
    let handshakes = "mesh_server_handshakes_failed_total";
    let with = |who, counter, got| Stranger { who, counter, got, refused: 0 };
    Ok(vec![
        with(
            "a certificate of another CA",
            (handshakes, "reason=\"unknown_issuer\""),
            one_call(&of_another_ca).await?,
        ),
        with(
            "no certificate, no TLS",
            (handshakes, "reason=\"not_tls\""),
            one_call(&Mesh::from_file(configuration)?).await?,
        ),
        with(
            "a good certificate that is not allowed",
            ("mesh_server_refused_total", "reason=\"rbac_denied\""),
            one_call(&mtls.mesh(NOT_ALLOWED, Some(configuration)).await?).await?,
        ),
    ])
}

/// With what the servers counted, in the text of their metrics.
pub(crate) fn with_reasons(mut strangers: Vec<Stranger>, servers: &str) -> Vec<Stranger> {
    for Stranger { counter: (metric, label), refused, .. } in &mut strangers {
        *refused = sum(servers, metric, label);
    }
    strangers
}

async fn one_call(mesh: &Mesh) -> Result<Result<StatusCode, String>, BoxError> {
    mesh.ready().await?;
    let request = Request::get("http://reviews/1").body(MeshBody::empty())?;
    let answer = mesh.client().call(request).await;
    Ok(answer.map(|answer| answer.status()).map_err(|error| error.to_string()))
}
