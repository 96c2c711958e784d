//! [`Watcher`] on Linux: inotify, asked for what changes names and contents, and for nothing else.
//!
//! Whoever only reads a file in a watched directory, or writes on and on into a log there, wakes nobody: not even this
//! thread. A file that is written in place counts once its writer closes it.

use super::Told;
use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::inotify::{
    CreateFlags, ReadFlags, Reader, WatchFlags, add_watch, init, remove_watch,
};
use rustix::io::Errno;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

const CHANGES: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::ONLYDIR);

/// Room for some events; one with the longest name has 272 bytes.
const BUFFER: usize = 4096;

/// Watches directories. Its thread ends with it.
#[derive(Debug)]
pub(super) struct Watcher {
    inotify: Arc<OwnedFd>,
    watched: Arc<Mutex<Watched>>,
    /// Dropped, it ends the thread.
    _alive: UnixStream,
}

/// By the number of a watch, the names of its directory: mounted twice, one has two.
type Watched = HashMap<i32, Vec<PathBuf>>;

impl Watcher {
    /// Calls `tell` on its own thread.
    pub(super) fn new(tell: impl Fn(Told<'_>) + Send + 'static) -> io::Result<Self> {
        let inotify = Arc::new(init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?);
        let (alive, ends) = UnixStream::pair()?;
        let watched = Arc::default();
        let of_thread = (Arc::clone(&inotify), Arc::clone(&watched));
        let listen = move || listen(&of_thread.0, &ends, &of_thread.1, &tell);
        thread::Builder::new().name("mesh-files".to_owned()).spawn(listen)?;
        Ok(Self { inotify, watched, _alive: alive })
    }

    pub(super) fn watch(&self, directory: &Path) -> io::Result<()> {
        // Whoever reads what happens there waits until it is known whose watch it is.
        let mut watched = self.watched.lock();
        let watch = add_watch(&*self.inotify, directory, CHANGES)?;
        watched.entry(watch).or_default().push(directory.to_owned());
        Ok(())
    }

    /// Whether it is watched still: a watch ends with its directory.
    pub(super) fn has(&self, directory: &Path) -> bool {
        self.watched.lock().values().flatten().any(|name| name == directory)
    }

    pub(super) fn unwatch(&self, directory: &Path) -> io::Result<()> {
        let mut watched = self.watched.lock();
        let mut found =
            watched.iter_mut().filter(|(_, names)| names.iter().any(|name| name == directory));
        let Some((&watch, names)) = found.next() else { return Ok(()) };
        names.retain(|name| name != directory);
        if names.is_empty() {
            watched.remove(&watch);
            remove_watch(&*self.inotify, watch)?;
        }
        Ok(())
    }
}

/// Tells what happens, until the other end of `ends` is gone.
fn listen(
    inotify: &OwnedFd,
    ends: &UnixStream,
    watched: &Mutex<Watched>,
    tell: &impl Fn(Told<'_>),
) {
    let mut buffer = [MaybeUninit::uninit(); BUFFER];
    loop {
        let mut both = [PollFd::new(inotify, PollFlags::IN), PollFd::new(ends, PollFlags::IN)];
        match poll(&mut both, None) {
            Ok(_) if both[1].revents().is_empty() => {}
            Err(Errno::INTR) => continue,
            Ok(_) | Err(_) => return,
        }
        let mut events = Reader::new(inotify, &mut buffer);
        loop {
            match events.next() {
                Ok(event) => {
                    let name = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()));
                    happened(event.wd(), event.events(), name, watched, tell);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(error) => {
                    tracing::warn!(%error, "files are watched no more: changes are found by reading them");
                    return;
                }
            }
        }
    }
}

fn happened(
    watch: i32,
    what: ReadFlags,
    name: Option<&OsStr>,
    watched: &Mutex<Watched>,
    tell: &impl Fn(Told<'_>),
) {
    if what.contains(ReadFlags::QUEUE_OVERFLOW) {
        return tell(Told::Something);
    }
    let mut watched = watched.lock();
    let names = match what.contains(ReadFlags::IGNORED) {
        // The directory is gone, and its watch with it.
        true => watched.remove(&watch),
        false => watched.get(&watch).cloned(),
    };
    drop(watched);
    for directory in names.unwrap_or_default() {
        match name {
            Some(name) => tell(Told::Of(&directory.join(name))),
            None => tell(Told::Of(&directory)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::io::Write as _;
    use std::sync::mpsc;
    use std::time::Duration;

    #[test]
    fn changes_are_told_and_reads_are_not() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        fs::write(at("old"), "x").unwrap();
        let (sender, told) = mpsc::channel();
        let tell = move |told: Told<'_>| {
            let Told::Of(path) = told else { return };
            drop(sender.send(path.file_name().unwrap().to_owned()));
        };
        let watcher = Watcher::new(tell).unwrap();
        watcher.watch(place.path()).unwrap();
        // What is told up to the making of a file that marks the end.
        let mut marks = 0;
        let mut until_mark = || {
            marks += 1;
            let mark = format!("mark{marks}");
            fs::create_dir(at(&mark)).unwrap();
            let mut names = Vec::new();
            loop {
                let name = told.recv_timeout(Duration::from_secs(10)).unwrap();
                if *name == *mark {
                    return names;
                }
                names.push(name.into_string().unwrap());
            }
        };
        fs::read(at("old")).unwrap();
        assert!(until_mark().is_empty());
        let mut log = File::options().append(true).open(at("old")).unwrap();
        log.write_all(b"a line").unwrap();
        assert!(until_mark().is_empty());
        drop(log);
        assert_eq!(until_mark(), ["old"]);
        fs::rename(at("old"), at("new")).unwrap();
        assert_eq!(until_mark(), ["old", "new"]);
        fs::remove_file(at("new")).unwrap();
        assert_eq!(until_mark(), ["new"]);
        watcher.unwatch(place.path()).unwrap();
        watcher.unwatch(place.path()).unwrap();
        fs::write(at("unseen"), "x").unwrap();
        drop(watcher);
        // The thread has ended, and what it told with is gone.
        assert!(told.recv_timeout(Duration::from_secs(10)).is_err());
    }

    #[test]
    fn a_directory_that_goes_is_told_and_may_come_again() {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("directory");
        let (sender, told) = mpsc::channel();
        let tell = move |told: Told<'_>| {
            let Told::Of(path) = told else { return };
            drop(sender.send(path.to_owned()));
        };
        let watcher = Watcher::new(tell).unwrap();
        for _ in 0..2 {
            fs::create_dir(&directory).unwrap();
            watcher.watch(&directory).unwrap();
            assert!(watcher.has(&directory));
            fs::remove_dir(&directory).unwrap();
            assert_eq!(told.recv_timeout(Duration::from_secs(10)).unwrap(), directory);
            // It may be told more than once.
            while told.recv_timeout(Duration::from_millis(100)).is_ok() {}
            assert!(watcher.watched.lock().is_empty() && !watcher.has(&directory));
        }
        assert!(watcher.watch(&directory).is_err());
    }
}
