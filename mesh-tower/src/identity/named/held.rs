//! [`Held`]: where the bytes are of what is named, and [`Texts`]: what was read there.
//!
//! This is the one place that reads them, for handshakes of both sides and for whoever watches over them: the whole
//! of a regular file of 16 MiB at most, off the threads that call.

use crate::identity::spiffe::{ORIGIN, SpiffeTexts};
use crate::source::read::{MAX_BYTES, finished, read_bytes};
use mesh_core::model::secret::{SecretCertificate, SecretSource};
use mesh_core::model::tls::SpiffeBundles;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Where the bytes are.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Held {
    Pair(SecretCertificate),
    Roots(SecretSource),
    Bundles(Arc<SpiffeBundles>),
    Lists(SecretSource),
}

/// What is there, as it was read.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Texts {
    /// A chain and its key, in PEM.
    Pair { chain: Arc<[u8]>, key: Arc<[u8]> },
    /// Roots in PEM, and lists beside them.
    Roots(Arc<[u8]>),
    /// Those of trust domains.
    Bundles(SpiffeTexts),
    /// Lists of revoked certificates, in PEM.
    Lists(Arc<[u8]>),
}

/// Why something can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unread {
    /// In words, with the path.
    pub(crate) why: String,
    /// There is no file of the name: what it held may have been withdrawn.
    pub(crate) is_gone: bool,
}

impl Unread {
    pub(super) fn because(why: impl Into<String>) -> Self {
        Self { why: why.into(), is_gone: false }
    }

    fn of(path: &Path, error: &io::Error) -> Self {
        let is_gone =
            matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory);
        Self { why: format!("{}: {error}", path.display()), is_gone }
    }
}

impl Held {
    /// Whether no file is to be read.
    pub(super) fn is_here(&self) -> bool {
        let is_here = |source: &SecretSource| matches!(source, SecretSource::Inline(_));
        match self {
            Self::Pair(pair) => is_here(&pair.chain) && is_here(&pair.private_key),
            Self::Roots(source) | Self::Lists(source) => is_here(source),
            Self::Bundles(bundles) => bundles.sources().all(|(_, source)| is_here(source)),
        }
    }

    /// What it is and where it comes from, in words.
    pub(crate) fn origin(&self) -> Arc<str> {
        match self {
            Self::Pair(pair) => origin_of_pair(pair),
            Self::Roots(source) => format!("the roots in {}", InWords(source)).into(),
            Self::Bundles(_) => ORIGIN.into(),
            Self::Lists(source) => format!("the revocation lists in {}", InWords(source)).into(),
        }
    }

    /// What is there.
    ///
    /// # Errors
    /// [`Unread`], of the first that can't be read.
    pub(super) async fn read(&self) -> Result<Texts, Unread> {
        Ok(match self {
            Self::Pair(pair) => {
                let chain = bytes(&pair.chain).await?;
                Texts::Pair { chain, key: bytes(&pair.private_key).await? }
            }
            Self::Roots(source) => Texts::Roots(bytes(source).await?),
            Self::Lists(source) => Texts::Lists(bytes(source).await?),
            Self::Bundles(bundles) => {
                let mut texts = SpiffeTexts::default();
                for (domain, source) in bundles.sources() {
                    texts.0.insert(domain.cloned(), bytes(source).await?);
                }
                Texts::Bundles(texts)
            }
        })
    }
}

/// Of both: whatever is wrong may be wrong with the key.
fn origin_of_pair(pair: &SecretCertificate) -> Arc<str> {
    let (chain, key) = (InWords(&pair.chain), InWords(&pair.private_key));
    match (&pair.chain, &pair.private_key) {
        (SecretSource::File(_), _) | (_, SecretSource::File(_)) => {
            format!("our certificate in {chain}, its key in {key}").into()
        }
        _ => format!("our certificate in {chain}").into(),
    }
}

struct InWords<'a>(&'a SecretSource);

impl fmt::Display for InWords<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            SecretSource::File(path) => path.display().fmt(f),
            _ => f.write_str("the configuration"),
        }
    }
}

async fn bytes(source: &SecretSource) -> Result<Arc<[u8]>, Unread> {
    let path = match source {
        SecretSource::Inline(bytes) => return Ok(Arc::clone(bytes)),
        SecretSource::File(path) => path,
        _ => {
            let why = "it is of a kind that is not known here: name a file, or put it into the configuration";
            return Err(Unread::because(why));
        }
    };
    let job = Arc::clone(path);
    let read = finished(tokio::task::spawn_blocking(move || read_bytes(&job, MAX_BYTES))).await;
    match read {
        Some(Ok(bytes)) if bytes.len() as u64 > MAX_BYTES => {
            let why = "the file is larger than 16 MiB: name one that holds certificates alone";
            Err(Unread::because(format!("{}: {why}", path.display())))
        }
        Some(Ok(bytes)) => Ok(bytes.into()),
        Some(Err(error)) => Err(Unread::of(path, &error)),
        None => {
            let why = format!("{}: reading it panicked; it is read again", path.display());
            Err(Unread::because(why))
        }
    }
}
