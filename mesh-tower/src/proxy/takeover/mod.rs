//! How another process goes on with the sockets of this one: [`Handover`] gives them, [`Takeover`] takes them.
//!
//! ```text
//!  the one that runs                                the one that takes over
//!    Handover::listen(path)
//!                          <── "takeover", version ── Takeover::ask(path)
//!                           ── a socket of each port ──>   has its configuration, and opens its ports
//!                          <── "done" ──────────────── Takeover::done
//!    drains, ends           ── "ends" ──>             Handover::listen(path)
//! ```
//!
//! Both have the same sockets, with the same queue of connections that wait to be accepted: nobody who connects finds
//! nobody, and who was accepted is let finish. A process that asks and does not say that it is done changes nothing.
//!
//! Only who runs as the same user, or as root, is given anything.

mod descriptors;
mod wire;

use super::bind::is_left_behind;
use super::{Proxy, Sockets};
use std::fs;
use std::io;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;
use wire::{Frame, Handed, Reader};

/// What the two say to each other; another version says something else.
const VERSION: u64 = 1;

/// How long one waits for a word of the other that is to come at once.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why sockets are not handed over.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TakeoverError {
    /// The socket can't be used.
    #[error("`{path}`: {source}")]
    Io {
        /// The socket where they are handed over.
        path: Arc<Path>,
        /// What the system said.
        source: io::Error,
    },
    /// The other did not say what it should have said.
    #[error("who runs at `{path}` {said}; end it, and start this one without it")]
    Other {
        /// The socket where they are handed over.
        path: Arc<Path>,
        /// What is wrong.
        said: Arc<str>,
    },
    /// Something is there that is no socket.
    #[error("`{0}` is there and is no socket; choose another path")]
    NoSocket(Arc<Path>),
}

/// The side of who takes over.
#[derive(Debug)]
pub struct Takeover {
    path: Arc<Path>,
    stream: UnixStream,
    reader: Reader,
    handed: Vec<Handed>,
}

impl Takeover {
    /// Asks who [hands over](Handover) at `path`; `None`: nobody is there.
    ///
    /// # Errors
    /// [`TakeoverError`], after 5 s at most.
    ///
    /// # Cancel safety
    /// Dropping it changes nothing for the other.
    pub async fn ask(path: impl AsRef<Path>) -> Result<Option<Self>, TakeoverError> {
        let path: Arc<Path> = path.as_ref().into();
        let stream = match UnixStream::connect(&path).await {
            Ok(stream) => stream,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
                ) =>
            {
                return Ok(None);
            }
            Err(source) => return Err(TakeoverError::Io { path, source }),
        };
        let mut this = Self { path, stream, reader: Reader::default(), handed: Vec::new() };
        let asked = timeout(PATIENCE, this.exchange()).await;
        asked.map_err(|_late| this.other("says nothing"))??;
        Ok(Some(this))
    }

    async fn exchange(&mut self) -> Result<(), TakeoverError> {
        let asked = wire::send(&self.stream, &Frame::Takeover(VERSION), None).await;
        asked.map_err(|error| self.broken(error))?;
        loop {
            let next = self.reader.next(&self.stream).await;
            match next.map_err(|error| self.broken(error))? {
                Some(Frame::Socket(place)) => {
                    let descriptor = self.reader.descriptor();
                    let descriptor =
                        descriptor.ok_or_else(|| self.other("names a socket and gives none"))?;
                    let socket = descriptors::listening(descriptor).map_err(|why| {
                        self.other(&format!("gives `{}`, which {why}", place.name))
                    })?;
                    self.handed.push(Handed { place, socket });
                }
                Some(Frame::All) => return Ok(()),
                Some(Frame::Refused(why)) => return Err(self.other(&format!("refuses: {why}"))),
                Some(_) => return Err(self.other("says what is not to be said now")),
                None => return Err(self.other("has closed the connection")),
            }
        }
    }

    /// The sockets of its ports, for [`Proxy::open_with`]. Once.
    ///
    /// # Errors
    /// [`TakeoverError::Other`]: one is of a kind that no port has.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn sockets(&mut self) -> Result<Sockets, TakeoverError> {
        let (ports, others) =
            std::mem::take(&mut self.handed).into_iter().partition(|handed| handed.place.is_port);
        self.handed = others;
        let kept: io::Result<_> = Vec::into_iter(ports).map(Handed::into_port).collect();
        kept.map(Sockets).map_err(|error| self.broken(error))
    }

    /// The other socket that is called so, as who hands over called it. Once.
    pub fn listener(&mut self, name: &str) -> Option<TcpListener> {
        let is_it = |handed: &Handed| !handed.place.is_port && &*handed.place.name == name;
        let at = self.handed.iter().position(is_it)?;
        Some(self.handed.swap_remove(at).socket.into())
    }

    /// Tells the other that this one accepts: it drains, and ends. Where it listened for this, one can
    /// [listen](Handover::listen) after it.
    ///
    /// # Errors
    /// [`TakeoverError`]: the other is gone, or has handed over to a third; within 5 s. Whoever accepts goes on.
    ///
    /// # Cancel safety
    /// Once polled, it may have been told.
    pub async fn done(mut self) -> Result<(), TakeoverError> {
        let told = async {
            wire::send(&self.stream, &Frame::Done, None).await?;
            self.reader.next(&self.stream).await
        };
        let told = timeout(PATIENCE, told).await.map_err(|_late| self.other("does not answer"))?;
        match told.map_err(|error| self.broken(error))? {
            Some(Frame::Ends) => Ok(()),
            Some(_) => Err(self.other("says what is not to be said now")),
            None => Err(self.other("has closed the connection")),
        }
    }

    fn broken(&self, source: io::Error) -> TakeoverError {
        if matches!(source.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) {
            return self.other("has closed the connection");
        }
        TakeoverError::Io { path: Arc::clone(&self.path), source }
    }

    fn other(&self, said: &str) -> TakeoverError {
        TakeoverError::Other { path: Arc::clone(&self.path), said: said.into() }
    }
}

/// The side of who is taken over.
#[derive(Debug)]
pub struct Handover {
    listener: UnixListener,
}

impl Handover {
    /// Listens at `path` for who takes over, from now on in place of whoever did: a process that has been taken over
    /// needs no longer be asked.
    ///
    /// # Errors
    /// [`TakeoverError`]: no socket can be there.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn listen(path: impl AsRef<Path>) -> Result<Self, TakeoverError> {
        let path: Arc<Path> = path.as_ref().into();
        match fs::symlink_metadata(&path) {
            Ok(there) if !descriptors::is_socket(&there) => {
                return Err(TakeoverError::NoSocket(path));
            }
            Ok(_) | Err(_) => {}
        }
        let listener = listen(&path).map_err(|source| TakeoverError::Io { path, source })?;
        Ok(Self { listener })
    }

    /// Waits until another process has taken over from `proxy`: it has its sockets, and `others` by their names, and
    /// accepts. The last one that asked is who does.
    ///
    /// # Cancel safety
    /// Cancel safe: nobody has taken over then.
    pub async fn taken(&self, proxy: &Proxy, others: &[(&str, &TcpListener)]) {
        let mut asking = None;
        loop {
            let given = async {
                match &mut asking {
                    Some(asking) => give(asking, proxy, others).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                next = self.accepted() => asking = Some(next),
                taken = given => {
                    asking = None;
                    match taken {
                        Ok(true) => return,
                        Ok(false) => {}
                        Err(error) => {
                            tracing::warn!(target: "mesh::proxy", "sockets are not handed over: {error}");
                        }
                    }
                }
            }
        }
    }

    async fn accepted(&self) -> Asking {
        loop {
            match self.listener.accept().await {
                Ok((stream, _unnamed)) if descriptors::may_take(&stream) => {
                    return Asking { stream, reader: Reader::default(), is_given: false };
                }
                Ok(_) => {
                    tracing::warn!(target: "mesh::proxy", "another user asks for the sockets, and gets none");
                }
                Err(error) => {
                    tracing::warn!(target: "mesh::proxy", "nobody can take over now: {error}");
                    tokio::time::sleep(PATIENCE).await;
                }
            }
        }
    }
}

/// Who asks.
struct Asking {
    stream: UnixStream,
    reader: Reader,
    /// Whether it has the sockets.
    is_given: bool,
}

/// Gives the sockets, and waits for the word that they are accepted from; `false`: it went away.
async fn give(
    asking: &mut Asking,
    proxy: &Proxy,
    others: &[(&str, &TcpListener)],
) -> io::Result<bool> {
    let Asking { stream, reader, is_given } = asking;
    if !*is_given {
        let given = async {
            match reader.next(stream).await? {
                Some(Frame::Takeover(VERSION)) => all(stream, proxy, others).await,
                Some(Frame::Takeover(other)) => {
                    let why = format!("it speaks version {VERSION}, and not {other}");
                    wire::send(stream, &Frame::Refused(why.into()), None).await
                }
                Some(_) => Err(io::ErrorKind::InvalidData.into()),
                None => Err(io::ErrorKind::UnexpectedEof.into()),
            }
        };
        timeout(PATIENCE, given)
            .await
            .map_err(|_late| io::Error::from(io::ErrorKind::TimedOut))??;
        *is_given = true;
    }
    match reader.next(stream).await? {
        Some(Frame::Done) => wire::send(stream, &Frame::Ends, None).await.map(|()| true),
        Some(_) => Err(io::ErrorKind::InvalidData.into()),
        None => Ok(false),
    }
}

async fn all(
    stream: &UnixStream,
    proxy: &Proxy,
    others: &[(&str, &TcpListener)],
) -> io::Result<()> {
    for kept in proxy.sockets().0 {
        let frame = Frame::Socket(wire::Place::of(&kept));
        wire::send(stream, &frame, Some(kept.socket.as_fd())).await?;
    }
    for (name, listener) in others {
        let frame = Frame::Socket(wire::Place::other(name, listener.local_addr()?));
        wire::send(stream, &frame, Some(listener.as_fd())).await?;
    }
    wire::send(stream, &Frame::All, None).await
}

/// A socket at `path`, which takes the place of another at once, so that nobody finds none.
fn listen(path: &Path) -> io::Result<UnixListener> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}", std::process::id()));
    let beside = PathBuf::from(beside);
    if fs::symlink_metadata(&beside).is_ok() && is_left_behind(&beside)? {
        fs::remove_file(&beside)?;
    }
    let listener = UnixListener::bind(&beside)?;
    let placed = descriptors::only_for_us(&beside).and_then(|()| fs::rename(&beside, path));
    if placed.is_err() {
        // What it says is why.
        let _gone = fs::remove_file(&beside);
    }
    placed.map(|()| listener)
}

#[cfg(test)]
mod tests;
