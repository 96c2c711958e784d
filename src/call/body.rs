//! Where the response's body goes.

use crate::cli::Failure;
use crate::output::Format;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The most bytes of a body that are kept for an object.
const MAX_KEPT: usize = 1 << 20;

/// What takes a body as it comes: whoever reads slowly slows the call.
#[derive(Debug)]
pub(super) enum Sink {
    /// Standard output; `false`: whoever reads it has seen enough.
    Stdout(bool),
    /// A file, which is made with the first bytes.
    File(PathBuf, Option<File>),
    /// It is kept, as far as there is room.
    Kept(Kept),
}

/// The beginning of a body, or all of it.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub(super) bytes: Vec<u8>,
    pub(super) is_cut: bool,
}

impl Sink {
    pub(super) fn new(output: &Path, format: Format) -> Self {
        match (output == Path::new("-"), format) {
            (false, _) => Self::File(output.to_owned(), None),
            (true, Format::Human) => Self::Stdout(true),
            (true, Format::Json) => Self::Kept(Kept::default()),
        }
    }

    /// The response begins; nothing is written where there is none.
    pub(super) fn open(&mut self) -> Result<(), Failure> {
        if let Self::File(path, file) = self {
            let made = File::create(&*path).map_err(|error| unwritable(path, &error))?;
            *file = Some(made);
        }
        Ok(())
    }

    pub(super) fn write(&mut self, data: &[u8]) -> Result<(), Failure> {
        match self {
            Self::Stdout(false) => Ok(()),
            Self::Stdout(wanted) => match io::stdout().lock().write_all(data) {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    *wanted = false;
                    Ok(())
                }
                written => Ok(written?),
            },
            Self::File(path, Some(file)) => {
                file.write_all(data).map_err(|error| unwritable(path, &error))
            }
            Self::File(_, None) => Ok(()),
            Self::Kept(kept) => {
                let room = MAX_KEPT.saturating_sub(kept.bytes.len()).min(data.len());
                kept.bytes.extend_from_slice(&data[..room]);
                kept.is_cut |= room < data.len();
                Ok(())
            }
        }
    }

    /// Whether nobody takes the rest.
    pub(super) const fn is_closed(&self) -> bool {
        matches!(self, Self::Stdout(false))
    }

    /// What was kept.
    pub(super) fn finish(self) -> Result<Option<Kept>, Failure> {
        match self {
            Self::Kept(kept) => Ok(Some(kept)),
            Self::Stdout(true) => match io::stdout().lock().flush() {
                Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
                _ => Ok(None),
            },
            Self::Stdout(false) | Self::File(..) => Ok(None),
        }
    }
}

fn unwritable(path: &Path, error: &io::Error) -> Failure {
    Failure::new("unwritable_file", format!("can't write `{}`: {error}", path.display()))
}
