//! [`Watch`]: says that something happened to some files, as early as the system lets us know.
//!
//! Editors and Kubernetes don't write into a file: they rename another over it, or swap a symbolic
//! link somewhere on the way to it. So it is not the file that is watched but every directory in
//! which its path can change direction: the directory of each symbolic link on the way, and that of
//! the file itself, which need not exist. Only what happens to these names counts; a log file in the
//! same directory wakes nobody.
//!
//! ```text
//!   /etc/mesh/mesh.yaml ─▶ ..data/mesh.yaml     watched: /etc/mesh        {mesh.yaml, ..data}
//!   /etc/mesh/..data    ─▶ ..2026_10_03                  /etc/mesh/..2026_10_03 {mesh.yaml}
//! ```
//! A path that leads to a directory is watched like that, too; of what is in it, the names
//! [that count](super::directory) do, and where they lead through.
//!
//! What it doesn't do: promise anything. Network file systems and bind-mounted files send no events;
//! who needs to know reads now and then as well.

#[cfg(target_os = "linux")]
mod inotify;
#[cfg(not(target_os = "linux"))]
mod portable;

use super::directory::{MAX_FILES, is_listed};
#[cfg(target_os = "linux")]
use inotify::Watcher;
use parking_lot::Mutex;
#[cfg(not(target_os = "linux"))]
use portable::Watcher;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::OsString;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use tokio::sync::Notify;

/// Symbolic links that are followed on the way to one file (Linux: 40).
const MAX_LINKS: usize = 40;

/// Watches the places that some paths lead through.
pub(crate) struct Watch {
    /// `None`: the system has no more watches to give.
    watcher: Option<Watcher>,
    /// The directories that are watched, and which ones these were.
    directories: BTreeMap<PathBuf, Identity>,
    shared: Arc<Shared>,
}

/// What a watcher tells.
#[derive(Clone, Copy, Debug)]
enum Told<'a> {
    /// Of a name in a directory, or of a directory itself.
    Of(&'a Path),
    /// Something happened somewhere.
    Something,
}

#[derive(Debug, Default)]
struct Shared {
    places: Mutex<Places>,
    happened: Arc<Notify>,
}

/// What counts.
#[derive(Debug, Default)]
struct Places {
    /// Names in watched directories.
    names: BTreeSet<PathBuf>,
    /// Directories, without links on the way: what files there are in them.
    listed: BTreeSet<PathBuf>,
}

impl Watch {
    /// Watches nothing yet.
    pub(crate) fn new() -> Self {
        let shared = Arc::<Shared>::default();
        let seen = shared.clone();
        let watcher = Watcher::new(move |told| seen.handle(told));
        let watcher = watcher.map_err(|error| {
            tracing::warn!(%error, "files cannot be watched: changes are found by reading them");
        });
        Self { watcher: watcher.ok(), directories: BTreeMap::new(), shared }
    }

    /// A watch that never says anything.
    #[cfg(test)]
    pub(crate) fn blind() -> Self {
        Self { watcher: None, directories: BTreeMap::new(), shared: Arc::default() }
    }

    /// Wakes once for what happened since it woke last.
    pub(crate) fn happened(&self) -> Arc<Notify> {
        self.shared.happened.clone()
    }

    /// Watches where `paths` lead through now, and nothing else. Blocks shortly.
    ///
    /// To be called again before each reading: links change, and a watch ends with the directory
    /// that it was set on.
    pub(crate) fn follow(&mut self, paths: &[PathBuf]) {
        let Some(watcher) = &mut self.watcher else { return };
        let places = Places::of(paths);
        let wanted = places.directories();
        *self.shared.places.lock() = places;
        self.directories.retain(|directory, identity| {
            // One that was made again may have the number of the one that went.
            let same = wanted.contains(directory)
                && Identity::of(directory) == Some(*identity)
                && watcher.has(directory);
            if !same && let Err(error) = watcher.unwatch(directory) {
                tracing::trace!(%error, ?directory, "the watch was gone already");
            }
            same
        });
        for directory in wanted {
            let Some(identity) = Identity::of(&directory) else { continue };
            if self.directories.contains_key(&directory) {
                continue;
            }
            match watcher.watch(&directory) {
                Ok(()) => {
                    self.directories.insert(directory, identity);
                }
                Err(error) => tracing::debug!(%error, ?directory, "not watched"),
            }
        }
    }
}

impl Shared {
    /// Called on the watcher's own thread.
    fn handle(&self, told: Told<'_>) {
        let counts = match told {
            Told::Of(path) => self.places.lock().concern(path),
            Told::Something => true,
        };
        if counts {
            self.happened.notify_one();
        }
    }
}

impl Places {
    fn of(paths: &[PathBuf]) -> Self {
        let mut names = paths.iter().flat_map(|path| places(path)).collect::<BTreeSet<_>>();
        let directories = paths.iter().filter(|path| path.is_dir());
        let listed: BTreeSet<_> = directories.filter_map(|path| path.canonicalize().ok()).collect();
        for directory in &listed {
            let Ok(entries) = directory.read_dir() else { continue };
            let files = entries.flatten().filter(|entry| is_listed(&entry.file_name()));
            names.extend(files.take(MAX_FILES).flat_map(|file| places(&file.path())));
        }
        Self { names, listed }
    }

    /// Where events come from.
    fn directories(&self) -> BTreeSet<PathBuf> {
        let parents = self.names.iter().filter_map(|name| name.parent());
        parents.map(Path::to_owned).chain(self.listed.iter().cloned()).collect()
    }

    fn concern(&self, path: &Path) -> bool {
        let in_listed = |path: &Path| {
            let parent = path.parent().is_some_and(|parent| self.listed.contains(parent));
            parent && path.file_name().is_some_and(is_listed)
        };
        // A name, or the directory of one (it was removed or renamed).
        self.names.contains(path)
            || in_listed(path)
            || self.listed.contains(path)
            || self.names.iter().any(|name| name.parent() == Some(path))
    }
}

/// Which directory it is, apart from its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity(u64, u64);

impl Identity {
    fn of(directory: &Path) -> Option<Self> {
        let metadata = fs::metadata(directory).ok().filter(fs::Metadata::is_dir)?;
        #[cfg(unix)]
        let identity = {
            use std::os::unix::fs::MetadataExt as _;
            Self(metadata.dev(), metadata.ino())
        };
        #[cfg(not(unix))]
        let identity = {
            drop(metadata);
            Self(0, 0)
        };
        Some(identity)
    }
}

/// The names on the way to `path` whose change can change what is read there: each symbolic link,
/// and at the end the file, or the first part that does not exist. Without links in their
/// directories' own paths.
fn places(path: &Path) -> BTreeSet<PathBuf> {
    let mut places = BTreeSet::new();
    let Ok(absolute) = std::path::absolute(path) else { return places };
    let mut rest = parts(&absolute);
    let mut at = PathBuf::new();
    let mut links = 0;
    while let Some(part) = rest.pop_front() {
        let next = match part {
            Part::Root(root) => {
                at = root;
                continue;
            }
            Part::Parent => {
                at.pop();
                continue;
            }
            Part::Name(name) => at.join(name),
        };
        match fs::symlink_metadata(&next) {
            Ok(metadata) if metadata.is_symlink() && links < MAX_LINKS => {
                links += 1;
                let mut target =
                    fs::read_link(&next).map(|target| parts(&target)).unwrap_or_default();
                target.append(&mut rest);
                rest = target;
                places.insert(next);
            }
            Ok(_) if !rest.is_empty() => at = next,
            Ok(_) | Err(_) => {
                places.insert(next);
                return places;
            }
        }
    }
    places
}

enum Part {
    /// The start of an absolute path.
    Root(PathBuf),
    Parent,
    Name(OsString),
}

fn parts(path: &Path) -> VecDeque<Part> {
    let mut parts = VecDeque::new();
    let mut root = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Prefix(_) | Component::RootDir => root.push(component),
            Component::CurDir => {}
            Component::ParentDir => parts.push_back(Part::Parent),
            Component::Normal(name) => parts.push_back(Part::Name(name.to_owned())),
        }
    }
    if !root.as_os_str().is_empty() {
        parts.push_front(Part::Root(root));
    }
    parts
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// The places of `path`, relative to the directory of the test.
    #[track_caller]
    fn check(directory: &Path, path: &str, expected: &[&str]) {
        let places = places(&directory.join(path));
        let shown = places.iter().map(|p| p.strip_prefix(directory).unwrap().to_str().unwrap());
        assert_eq!(shown.collect::<Vec<_>>(), expected, "{path}");
    }

    #[test]
    fn every_link_on_the_way_is_a_place() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("etc/..1")).unwrap();
        fs::write(root.join("etc/..1/mesh.yaml"), "x").unwrap();
        symlink("..1", root.join("etc/..data")).unwrap();
        symlink("..data/mesh.yaml", root.join("etc/mesh.yaml")).unwrap();
        symlink(root.join("etc"), root.join("absolute")).unwrap();
        symlink("nowhere/deep", root.join("dangling")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        check(&root, "etc/..1/mesh.yaml", &["etc/..1/mesh.yaml"]);
        let chain = ["etc/..1/mesh.yaml", "etc/..data", "etc/mesh.yaml"];
        check(&root, "etc/mesh.yaml", &chain);
        check(&root, "absolute/../etc/./mesh.yaml", &[&["absolute"], &chain[..]].concat());
        check(&root, "none/mesh.yaml", &["none"]);
        check(&root, "dangling", &["dangling", "nowhere"]);
        check(&root, "loop", &["loop"]);
    }

    #[test]
    fn only_changes_of_the_places_count() {
        let shared = Shared::default();
        shared.places.lock().names.insert("/etc/mesh/mesh.yaml".into());
        shared.places.lock().listed.insert("/etc/mesh.d".into());
        let heard = |told| {
            shared.handle(told);
            futures_util::FutureExt::now_or_never(shared.happened.notified()).is_some()
        };
        let of = |path| Told::Of(Path::new(path));
        assert!(heard(of("/etc/mesh/mesh.yaml")));
        assert!(heard(of("/etc/mesh")));
        assert!(heard(Told::Something));
        assert!(heard(of("/etc/mesh.d/new.yaml")));
        assert!(heard(of("/etc/mesh.d")));
        assert!(!heard(of("/etc/mesh.d/.new.yaml.swp")));
        assert!(!heard(of("/etc/mesh.d/below/new.yaml")));
        assert!(!heard(of("/etc/mesh/other.log")));
        assert!(!heard(of("/etc")));
    }
}
