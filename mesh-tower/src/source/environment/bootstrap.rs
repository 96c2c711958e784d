//! Bootstraps that the environment names.

use super::super::XdsSource;
use super::super::read::read_bytes;
use super::{BOOTSTRAP, BOOTSTRAP_TEXT, EnvironmentError, First};
use mesh_xds::bootstrap::{Bootstrap, MAX_BYTES};
use std::io;
use std::path::{Path, PathBuf};

/// The control plane of the bootstrap file at `path`.
pub(super) fn file(path: &str) -> Result<First, EnvironmentError> {
    let unreadable = |error| EnvironmentError::Unreadable {
        variable: BOOTSTRAP,
        path: PathBuf::from(path),
        error,
    };
    let text = read(Path::new(path)).map_err(unreadable)?;
    parse(BOOTSTRAP, Some(path), &text)
}

/// The control plane of the bootstrap `text`.
pub(super) fn text(text: &str) -> Result<First, EnvironmentError> {
    parse(BOOTSTRAP_TEXT, None, text)
}

/// Where a bootstrap is, in words.
pub(super) fn place(variable: &str, path: Option<&Path>) -> String {
    match path {
        Some(path) => format!("the bootstrap file `{}` of `{variable}`", path.display()),
        None => format!("the bootstrap in `{variable}`"),
    }
}

fn parse(
    variable: &'static str,
    path: Option<&str>,
    text: &str,
) -> Result<First, EnvironmentError> {
    let wrong =
        |error| EnvironmentError::Bootstrap { variable, path: path.map(PathBuf::from), error };
    let bootstrap = Bootstrap::parse(text).map_err(wrong)?;
    Ok((None, Some(Box::new(XdsSource::new(bootstrap)))))
}

fn read(path: &Path) -> io::Result<String> {
    let most = MAX_BYTES as u64;
    let bytes = read_bytes(path, most)?;
    if bytes.len() as u64 > most {
        let why = format!("more than {MAX_BYTES} bytes: is it the right file?");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
    }
    String::from_utf8(bytes)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.utf8_error()))
}
