//! The configuration file: a copy of `quickstart.yaml` in a temporary directory, edited as it is used.

use super::BoxError;
use mesh_tower::Mesh;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const TEXT: &str = include_str!("../quickstart.yaml");

/// The file that the mesh follows. Gone when dropped.
pub(crate) struct Configuration {
    directory: TempDir,
    text: String,
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
        let configuration = Self { directory: tempfile::tempdir()?, text };
        configuration.save(&configuration.text)?;
        Ok(configuration)
    }

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

    /// The reason why the file is not used; `None` when none comes in time.
    async fn refusal(&self, mesh: &Mesh) -> Option<String> {
        let place = format!("{}:", self.path().display());
        for _ in 0..500 {
            if let Some(why) = mesh.configuration().refused {
                // The place of the mistake, without the path of a temporary directory before it.
                return Some(why.rsplit(&place).next().unwrap_or(&why).to_owned());
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
