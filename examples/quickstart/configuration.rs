//! The configuration file: a copy of `quickstart.yaml` in a temporary directory, edited as it is used.
//!
//! A mesh follows it by itself, or learns from `mesh ads` which does. With mutual TLS there is a second file,
//! which says who the mesh is.

use super::BoxError;
use super::ads::Ads;
use super::mtls::{CLIENT, Mtls};
use mesh_tower::Mesh;
use mesh_tower::source::XdsSource;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const TEXT: &str = include_str!("../quickstart.yaml");

/// The file, and the control plane that serves it, if there is one. Gone when dropped.
pub(crate) struct Configuration {
    directory: TempDir,
    text: String,
    ads: Option<Ads>,
}

/// What became of the edits.
#[derive(Debug, Default)]
pub(crate) struct Edits {
    /// The text with which the edit that has a mistake was refused.
    pub(crate) refusal: Option<String>,
    /// From the good edit to its being in force.
    pub(crate) took: Duration,
}

impl Configuration {
    /// Writes the copy, with the addresses that the servers got.
    pub(crate) fn write(addresses: &[(&str, SocketAddr)]) -> Result<Self, BoxError> {
        let text = addresses.iter().fold(TEXT.to_owned(), fill_in);
        let configuration = Self { directory: tempfile::tempdir()?, text, ads: None };
        configuration.save(&configuration.text)?;
        Ok(configuration)
    }

    /// Has `mesh ads` of this `tool` serve the file.
    pub(crate) async fn serve(&mut self, tool: &Path) -> Result<(), BoxError> {
        self.ads = Some(Ads::start(tool, &self.path()).await?);
        Ok(())
    }

    /// A mesh that is configured by the control plane, or by the file.
    pub(crate) async fn mesh(&self, mtls: Option<&Mtls>) -> Result<Mesh, BoxError> {
        if let Some(mtls) = mtls {
            return mtls.mesh(CLIENT, Some(&self.path())).await;
        }
        Ok(match &self.ads {
            // Calls ask for what they need. Asked for from the start, the first one needs not wait for it.
            Some(ads) => {
                let source = XdsSource::new(ads.bootstrap()?).authority("reviews");
                Mesh::builder().source(source).build()?
            }
            None => Mesh::from_file(self.path())?,
        })
    }

    /// What the mesh learns from, in a word.
    pub(crate) const fn source(&self) -> &'static str {
        if self.ads.is_some() { "xds" } else { "file" }
    }

    /// The file.
    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("mesh.yaml")
    }

    /// Edits the file twice while calls are running: first with a mistake in a name, which must
    /// change nothing, then from 90/10 to 50/50. Ends when that is in force.
    pub(crate) async fn edit(&self, mesh: &Mesh) -> Result<Edits, BoxError> {
        let weights = "reviews-v1: 90, reviews-v2: 10";
        self.save(&self.text.replace(weights, "reviews-v1: 90, reviws-v2: 10"))?;
        let refusal = self.refusal(mesh).await;

        let next = mesh.configuration().generation + 1;
        let shifted = self.text.replace(weights, "reviews-v1: 50, reviews-v2: 50");
        let edited = Instant::now();
        self.save(&shifted.replace("90/10", "50/50"))?;
        tokio::time::timeout(Duration::from_secs(10), mesh.applied(next)).await??;
        Ok(Edits { refusal, took: edited.elapsed() })
    }

    /// The reason why the file is not used, by who reads it; `None` when none comes in time.
    async fn refusal(&self, mesh: &Mesh) -> Option<String> {
        let place = format!("{}:", self.path().display());
        for _ in 0..500 {
            let refused = match &self.ads {
                Some(ads) => ads.said(&place),
                None => mesh.configuration().refused.map(|why| why.to_string()),
            };
            if let Some(why) = refused {
                // The place of the mistake, without the path of a temporary directory before it.
                let why = why.rsplit(&place).next().unwrap_or(&why);
                return Some(why.split(" (version ").next().unwrap_or(why).to_owned());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        None
    }

    /// Replaces the file at once, as editors do: nobody reads half of it.
    fn save(&self, text: &str) -> std::io::Result<()> {
        let draft = self.directory.path().join("draft");
        std::fs::write(&draft, text)?;
        std::fs::rename(&draft, self.path())
    }
}

/// Puts an address in the place of `${VARIABLE:-default}`. A user would set the variable; a program
/// can't safely change its own environment.
fn fill_in(text: String, (variable, address): &(&str, SocketAddr)) -> String {
    let Some((before, rest)) = text.split_once(&format!("${{{variable}:-")) else { return text };
    let Some((_default, after)) = rest.split_once('}') else { return text };
    format!("{before}{address}{after}")
}
