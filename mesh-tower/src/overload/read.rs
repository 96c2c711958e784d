//! [`Limits`]: what this process may use, and uses, as Linux tells it.
//!
//! Of memory there may be several limits, and the one that is nearest counts:
//!
//! | limit | is compared with |
//! |---|---|
//! | `memory.max` of the control group and of those around it (version 1: `memory.limit_in_bytes`) | what the group uses, without what the kernel can take back at once (`inactive_file`) |
//! | `RLIMIT_AS` | `VmSize` |
//! | what the program says | `VmRSS` |

use mesh_core::overload::{Reading, least_limit};
use std::fs;
use std::path::{Path, PathBuf};

/// Where control groups are mounted.
const GROUPS: &str = "/sys/fs/cgroup";

/// The limits of this process.
#[derive(Debug, Default)]
pub(super) struct Limits {
    /// What the program says of memory.
    memory: Option<u64>,
    groups: Vec<Group>,
}

/// A control group with a limit of memory.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Group {
    path: PathBuf,
    files: &'static Files,
}

/// How a version of control groups calls its files.
#[derive(Debug, PartialEq, Eq)]
struct Files {
    limit: &'static str,
    usage: &'static str,
    /// The line of `memory.stat` that is not in use.
    unused: &'static str,
}

static VERSION_2: Files =
    Files { limit: "memory.max", usage: "memory.current", unused: "inactive_file" };
static VERSION_1: Files = Files {
    limit: "memory.limit_in_bytes",
    usage: "memory.usage_in_bytes",
    unused: "total_inactive_file",
};

impl Limits {
    /// Those of this process; of memory also this many bytes.
    pub(super) fn of_this_process(memory: Option<u64>) -> Self {
        let text = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let mut groups = groups(&text, Path::new(GROUPS));
        groups.retain(|group| group.number(group.files.limit).is_some());
        Self { memory, groups }
    }

    /// The memory that is nearest to its limit; `None`: there is no limit.
    pub(super) fn memory(&self) -> Option<Reading> {
        let groups = self.groups.iter().filter_map(Group::read);
        let (own, space) = (self.memory, address_space());
        let status = (own.is_some() || space.is_some())
            .then(|| fs::read_to_string("/proc/self/status").ok())
            .flatten()
            .unwrap_or_default();
        let of = |limit: Option<u64>, line| {
            let limit = least_limit([limit])?;
            Some(Reading { used: kibibytes(&status, line)?, limit })
        };
        let own = [of(own, "VmRSS:"), of(space, "VmSize:")];
        groups.chain(own.into_iter().flatten()).max_by_key(|reading| reading.per_cent())
    }

    /// File descriptors; `None`: there is no limit.
    #[expect(clippy::unused_self, reason = "beside memory, which has limits that are kept")]
    pub(super) fn descriptors(&self) -> Option<Reading> {
        let limit = files()?;
        // Since Linux 6.2 the size of the directory is how many there are; before, it is 0, and they are counted.
        let size = fs::metadata("/proc/self/fd").ok()?.len();
        let used = match size {
            0 => u64::try_from(fs::read_dir("/proc/self/fd").ok()?.count()).ok()?,
            size => size,
        };
        Some(Reading { used, limit })
    }
}

impl Group {
    fn read(&self) -> Option<Reading> {
        let limit = least_limit([self.number(self.files.limit)])?;
        let usage = self.number(self.files.usage)?;
        let stat = fs::read_to_string(self.path.join("memory.stat")).unwrap_or_default();
        let unused = line(&stat, self.files.unused).unwrap_or(0);
        Some(Reading { used: usage.saturating_sub(unused), limit })
    }

    /// `None`: there is none, or it is `max`.
    fn number(&self, file: &str) -> Option<u64> {
        fs::read_to_string(self.path.join(file)).ok()?.trim().parse().ok()
    }
}

/// The groups of `/proc/self/cgroup` that hold memory, and those around them, up to the mount.
fn groups(text: &str, mount: &Path) -> Vec<Group> {
    let mut groups = Vec::new();
    for line in text.lines() {
        // `0::/a/b`, or `4:cpu,memory:/a/b`.
        let mut fields = line.splitn(3, ':');
        let (Some(id), Some(controllers), Some(path)) =
            (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let (mount, files) = if id == "0" && controllers.is_empty() {
            (mount.to_owned(), &VERSION_2)
        } else if controllers.split(',').any(|controller| controller == "memory") {
            (mount.join("memory"), &VERSION_1)
        } else {
            continue;
        };
        let path = Path::new(path.trim_start_matches('/'));
        let around = path.ancestors().filter(|path| !path.starts_with(".."));
        groups.extend(around.map(|path| Group { path: mount.join(path), files }));
    }
    groups
}

/// A line of `/proc/self/status`, in bytes.
fn kibibytes(status: &str, name: &str) -> Option<u64> {
    line(status, name)?.checked_mul(1024)
}

/// The number behind `name`.
fn line(text: &str, name: &str) -> Option<u64> {
    let found = text.lines().find_map(|line| {
        let (first, rest) = line.split_once(|c: char| c.is_ascii_whitespace())?;
        (first == name).then_some(rest)
    })?;
    found.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(unix)]
fn address_space() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::As).current
}

#[cfg(unix)]
fn files() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current
}

#[cfg(not(unix))]
const fn address_space() -> Option<u64> {
    None
}

#[cfg(not(unix))]
const fn files() -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_found_up_to_the_mount() {
        let mount = Path::new("/m");
        let paths = |text: &str| -> Vec<String> {
            groups(text, mount).iter().map(|group| group.path.display().to_string()).collect()
        };
        assert_eq!(paths("0::/a/b\n"), ["/m/a/b", "/m/a", "/m/"]);
        assert_eq!(paths("0::/\n"), ["/m/"]);
        assert_eq!(paths("3:cpu:/x\n4:cpu,memory:/a\n"), ["/m/memory/a", "/m/memory/"]);
        assert_eq!(paths("0::/../other\n"), ["/m/"]);
        assert_eq!(paths("what\n"), [""; 0]);
    }

    #[test]
    fn what_the_kernel_can_take_back_is_not_used() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            fs::write(directory.path().join(name), text).unwrap();
        };
        let group = Group { path: directory.path().to_owned(), files: &VERSION_2 };
        assert_eq!(group.read(), None);
        write("memory.max", "max\n");
        write("memory.current", "900\n");
        assert_eq!(group.read(), None);
        write("memory.max", "1000\n");
        assert_eq!(group.read(), Some(Reading { used: 900, limit: 1000 }));
        write("memory.stat", "anon 500\ninactive_file 300\nactive_file 100\n");
        let limits = Limits { memory: None, groups: vec![group] };
        assert_eq!(limits.groups[0].read(), Some(Reading { used: 600, limit: 1000 }));
        let own = Limits { memory: Some(1 << 20), ..limits }.memory().unwrap();
        assert!(own.limit == 1 << 20 && own.per_cent() > 100, "the nearest counts: {own:?}");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_has_descriptors() {
        let before = Limits::default().descriptors().unwrap();
        let files: Vec<_> = (0..50).map(|_| fs::File::open("/dev/null").unwrap()).collect();
        let after = Limits::default().descriptors().unwrap();
        // Other tests open and close some, too.
        assert!(after.used + 10 > before.used + 50, "{before:?} {after:?}");
        assert!(after.limit >= after.used);
        drop(files);
    }
}
