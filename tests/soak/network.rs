//! Two namespaces of the network with a cable between them, and a small disk: in namespaces of this process's own.
//!
//! Where the system does not permit that, both sides are on this machine's loopback, and the faults that need more are
//! left out, with the reason.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// Says to the second of two processes that it is in namespaces already.
const INSIDE: &str = "MESH_SOAK_INSIDE";
const NEAR: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const FAR: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
/// An address of the link that nobody has.
const NOBODY: &str = "02:00:00:00:00:01";

/// Whether to go on.
pub(crate) enum Entered {
    /// Yes; in namespaces, or why not.
    Now(Result<(), String>),
    /// No: what ran in there has ended.
    Child(ExitCode),
}

/// Starts this process again, in namespaces of its own: of mounts, of the network, and of processes, which end with it.
pub(crate) fn enter(loopback: bool) -> Entered {
    if loopback {
        return Entered::Now(Err("--loopback".to_owned()));
    }
    if std::env::var_os(INSIDE).is_some() {
        return Entered::Now(Ok(()));
    }
    let own = ["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"];
    let mut why = String::new();
    for user in [&[][..], &["--map-root-user"]] {
        let probe = "mount -t tmpfs none /mnt && ip link add soak0 type veth peer name soak1";
        let tried = Command::new("unshare").args(user).args(own).args(["sh", "-c", probe]).output();
        match tried {
            Ok(output) if output.status.success() => {
                let mut command = Command::new("unshare");
                command.args(user).args(own).arg(std::env::current_exe().unwrap());
                command.args(std::env::args_os().skip(1)).env(INSIDE, "1");
                println!("cannot start again in namespaces: {}", command.exec());
                return Entered::Child(ExitCode::FAILURE);
            }
            Ok(output) => why = String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            Err(error) => why = format!("unshare: {error}"),
        }
    }
    Entered::Now(Err(why))
}

/// What is between the two sides.
#[derive(Debug)]
pub(crate) struct Network {
    /// Who holds the far namespace open.
    holder: Option<Child>,
}

impl Drop for Network {
    fn drop(&mut self) {
        if let Some(holder) = &mut self.holder {
            let _gone = holder.kill();
            let _status = holder.wait();
        }
    }
}

impl Network {
    /// On loopback alone.
    pub(crate) const fn none() -> Self {
        Self { holder: None }
    }

    /// Makes the far namespace, and the cable.
    pub(crate) fn lay() -> Self {
        let mut command = Command::new("unshare");
        let holder = command.args(["--net", "sleep", "infinity"]).stdin(Stdio::null()).spawn();
        let network = Self { holder: Some(holder.unwrap()) };
        let own = fs::read_link("/proc/self/ns/net").unwrap();
        let until = Instant::now() + Duration::from_secs(10);
        while fs::read_link(network.namespace()).is_ok_and(|theirs| theirs == own) {
            assert!(Instant::now() < until, "the far namespace is not there");
            std::thread::sleep(Duration::from_millis(5));
        }
        let pid = network.holder.as_ref().unwrap().id().to_string();
        ip(&["link", "add", "soak0", "type", "veth", "peer", "name", "soak1", "netns", &pid]);
        ip(&["address", "add", &format!("{NEAR}/24"), "dev", "soak0"]);
        for name in ["lo", "soak0"] {
            ip(&["link", "set", name, "up"]);
        }
        for arguments in [
            &["address", "add", &format!("{FAR}/24"), "dev", "soak1"][..],
            &["link", "set", "lo", "up"],
            &["link", "set", "soak1", "up"],
        ] {
            run(network.far("ip").args(arguments));
        }
        network
    }

    fn namespace(&self) -> String {
        format!("/proc/{}/ns/net", self.holder.as_ref().unwrap().id())
    }

    /// The address of the far side.
    pub(crate) fn address(&self) -> IpAddr {
        match self.holder {
            Some(_) => FAR.into(),
            None => Ipv4Addr::LOCALHOST.into(),
        }
    }

    /// A program on the far side.
    pub(crate) fn far(&self, program: impl AsRef<Path>) -> Command {
        if self.holder.is_none() {
            return Command::new(program.as_ref());
        }
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.namespace())).arg(program.as_ref());
        command
    }

    /// From now on nothing arrives, and nobody is told.
    #[expect(clippy::unused_self, reason = "there is no cable without it")]
    pub(crate) fn swallow(&self) {
        let far = FAR.to_string();
        ip(&["neighbour", "replace", &far, "lladdr", NOBODY, "dev", "soak0", "nud", "permanent"]);
    }

    /// From now on there is no way.
    #[expect(clippy::unused_self, reason = "there is no cable without it")]
    pub(crate) fn pull(&self) {
        ip(&["link", "set", "soak0", "down"]);
    }

    /// Undoes both.
    #[expect(clippy::unused_self, reason = "there is no cable without it")]
    pub(crate) fn mend(&self) {
        ip(&["link", "set", "soak0", "up"]);
        ip(&["neighbour", "flush", "dev", "soak0", "nud", "all"]);
    }
}

/// A small disk, there until it is dropped: a directory that is one can't be removed.
#[derive(Debug)]
pub(crate) struct Disk(PathBuf);

impl Disk {
    /// A disk of `size` at `path`, which exists.
    pub(crate) fn mount(path: &Path, size: &str) -> Self {
        let size = format!("size={size}");
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "soak"]).arg(path));
        Self(path.to_owned())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Who writes on it may be ending still: it goes with its last file.
        let _unmounted = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

fn ip(arguments: &[&str]) {
    run(Command::new("ip").args(arguments));
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {output:?}");
}
