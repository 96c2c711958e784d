//! [`Variables`]: where the process's environment says that the configuration is.
//!
//! Who starts a program knows where it runs, and the program need not: in a pod of Istio the agent has
//! written a bootstrap and set its variable, on a desk `MESH_CONFIG` names a file.
//!
//! | variable | holds |
//! |---|---|
//! | `GRPC_XDS_BOOTSTRAP` | the path of gRPC's bootstrap file (gRFC A27) |
//! | `GRPC_XDS_BOOTSTRAP_CONFIG` | the text of one (gRFC A27) |
//! | `MESH_CONFIG` | the path of a `mesh.yaml`, or several, separated as `PATH` is; they unite by name |
//!
//! Rules:
//!
//! - The first one in this order that is set counts. If it can't be used, that is the error: the others
//!   are no second chance (gRFC A27).
//! - An empty value is as good as none (grpc-go), and so is an empty path among several.
//! - The environment is read once, when a mesh is built; the files of `MESH_CONFIG` are followed.
//!
//! What it doesn't do: guess a path when nothing is set.

#[cfg(feature = "xds")]
mod bootstrap;
#[cfg(test)]
mod tests;

use super::{Rejected, Source, mesh_yaml};
use mesh_core::ConfigUpdate;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

/// Holds the path of a bootstrap file.
const BOOTSTRAP: &str = "GRPC_XDS_BOOTSTRAP";
/// Holds the text of a bootstrap.
const BOOTSTRAP_TEXT: &str = "GRPC_XDS_BOOTSTRAP_CONFIG";
/// Holds the paths of `mesh.yaml` files.
const FILES: &str = "MESH_CONFIG";

/// The configuration to begin with, and the source that goes on.
pub(crate) type First = (Option<ConfigUpdate>, Option<Box<dyn Source>>);

/// The values of the variables; `None` for those that are unset or empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Variables {
    bootstrap: Option<OsString>,
    bootstrap_text: Option<OsString>,
    files: Option<OsString>,
}

/// What counts of them.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Choice {
    /// The bootstrap file at this path.
    #[cfg(feature = "xds")]
    Bootstrap(String),
    /// The bootstrap with this text.
    #[cfg(feature = "xds")]
    BootstrapText(String),
    /// One at least.
    Files(Vec<PathBuf>),
    Nothing,
}

impl Variables {
    /// Those of this process: the one place where they are read.
    pub(crate) fn of_process() -> Self {
        Self::read(|name| std::env::var_os(name))
    }

    fn read(value: impl Fn(&str) -> Option<OsString>) -> Self {
        let value = |name| value(name).filter(|value| !value.is_empty());
        Self {
            bootstrap: value(BOOTSTRAP),
            bootstrap_text: value(BOOTSTRAP_TEXT),
            files: value(FILES),
        }
    }

    /// Opens what they name; `None` when they name nothing. Files may use what is `known` of the program.
    ///
    /// # Errors
    /// [`EnvironmentError`] when what counts can't be used.
    pub(crate) fn open(&self, known: &mesh_yaml::Known) -> Result<Option<First>, EnvironmentError> {
        match self.choose()? {
            #[cfg(feature = "xds")]
            Choice::Bootstrap(path) => bootstrap::file(&path).map(Some),
            #[cfg(feature = "xds")]
            Choice::BootstrapText(text) => bootstrap::text(&text).map(Some),
            Choice::Files(files) => match mesh_yaml::open(&files, known) {
                Ok((update, source)) => Ok(Some((Some(update), Some(Box::new(source))))),
                Err(rejected) => Err(EnvironmentError::Files { variable: FILES, rejected }),
            },
            Choice::Nothing => Ok(None),
        }
    }

    fn choose(&self) -> Result<Choice, EnvironmentError> {
        if let Some(choice) = self.control_plane()? {
            return Ok(choice);
        }
        let paths = self.files.iter().flat_map(std::env::split_paths);
        let files: Vec<_> = paths.filter(|path| !path.as_os_str().is_empty()).collect();
        Ok(if files.is_empty() { Choice::Nothing } else { Choice::Files(files) })
    }

    #[cfg(feature = "xds")]
    fn control_plane(&self) -> Result<Option<Choice>, EnvironmentError> {
        use mesh_xds::bootstrap::{Choice as Place, choose};
        let path = text(BOOTSTRAP, self.bootstrap.as_ref())?;
        // What does not count may be anything.
        let inline = self.bootstrap_text.as_ref().filter(|_| path.is_none());
        Ok(match choose(path, text(BOOTSTRAP_TEXT, inline)?) {
            Place::File(path) => Some(Choice::Bootstrap(path.to_owned())),
            Place::Inline(text) => Some(Choice::BootstrapText(text.to_owned())),
            Place::Nothing => None,
        })
    }

    #[cfg(not(feature = "xds"))]
    fn control_plane(&self) -> Result<Option<Choice>, EnvironmentError> {
        match (&self.bootstrap, &self.bootstrap_text) {
            (Some(_), _) => Err(EnvironmentError::WithoutXds { variable: BOOTSTRAP }),
            (None, Some(_)) => Err(EnvironmentError::WithoutXds { variable: BOOTSTRAP_TEXT }),
            (None, None) => Ok(None),
        }
    }
}

/// The value of `variable`, which has to be a text.
#[cfg(feature = "xds")]
fn text<'a>(
    variable: &'static str,
    value: Option<&'a OsString>,
) -> Result<Option<&'a str>, EnvironmentError> {
    let text = |value: &'a OsString| value.to_str().ok_or(EnvironmentError::NotUtf8 { variable });
    value.map(text).transpose()
}

/// Why the environment names no configuration that can be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnvironmentError {
    /// No variable is set, and the program gave nothing itself.
    #[error(
        "no configuration is named: set `{BOOTSTRAP}` to the path of a gRPC bootstrap file, \
         `{BOOTSTRAP_TEXT}` to the text of one, or `{FILES}` to the path of a mesh.yaml"
    )]
    Nothing,
    /// A path or a text is not UTF-8.
    #[error("the value of `{variable}` is not UTF-8: correct it or unset it")]
    NotUtf8 {
        /// The variable.
        variable: &'static str,
    },
    /// The file can't be read.
    #[error("`{variable}` names the bootstrap file `{}`: {error}", .path.display())]
    Unreadable {
        /// The variable.
        variable: &'static str,
        /// Its value.
        path: PathBuf,
        /// What the system says, or that the file is too large or no text.
        #[source]
        error: io::Error,
    },
    /// The text is no bootstrap; every problem is told with its field, line and column.
    #[cfg(feature = "xds")]
    #[error("{}: {error}", bootstrap::place(.variable, .path.as_deref()))]
    Bootstrap {
        /// The variable.
        variable: &'static str,
        /// The file, if it is in one.
        path: Option<PathBuf>,
        /// What is wrong.
        #[source]
        error: mesh_xds::bootstrap::BootstrapError,
    },
    /// A control plane is named, and the feature `xds` is off.
    #[error(
        "`{variable}` names a control plane, and this program was built without the feature `xds` of \
         mesh-tower: switch it on or unset the variable"
    )]
    WithoutXds {
        /// The variable.
        variable: &'static str,
    },
    /// The files can't be read, or are wrong; the text names every mistake with its place.
    #[error("`{variable}`: {rejected}")]
    Files {
        /// The variable.
        variable: &'static str,
        /// What is wrong.
        #[source]
        rejected: Rejected,
    },
}
