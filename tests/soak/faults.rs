//! What breaks, and how it is mended.

use crate::certificates::Ends;
use crate::lines::Pace;
use crate::place::{BACKENDS, LONG};
use crate::run::World;
use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    BackendKilled,
    BackendHangs,
    BackendSaysHalf,
    BackendRefuses,
    ControlPlaneKilled,
    ControlPlaneHangs,
    ControlPlaneHasGarbage,
    /// It is no fault that it has other endpoints, and must not look like one.
    ControlPlaneHasOthers,
    FileHasGarbage,
    CertificateRotated,
    CertificateExpired,
    CertificateEnds,
    CertificateGarbage,
    CertificateRemoved,
    SinkSlow,
    SinkNeverReads,
    ScrapersNeverRead,
    DiskFull,
    NetworkSwallows,
    NetworkPulled,
}

/// What a fault needs that is not everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Needs {
    Nothing,
    Namespaces,
}

impl Fault {
    pub(crate) const ALL: [Self; 20] = [
        Self::BackendKilled,
        Self::BackendHangs,
        Self::BackendSaysHalf,
        Self::BackendRefuses,
        Self::ControlPlaneKilled,
        Self::ControlPlaneHangs,
        Self::ControlPlaneHasGarbage,
        Self::ControlPlaneHasOthers,
        Self::FileHasGarbage,
        Self::CertificateRotated,
        Self::CertificateExpired,
        Self::CertificateEnds,
        Self::CertificateGarbage,
        Self::CertificateRemoved,
        Self::SinkSlow,
        Self::SinkNeverReads,
        Self::ScrapersNeverRead,
        Self::DiskFull,
        Self::NetworkSwallows,
        Self::NetworkPulled,
    ];

    pub(crate) fn name(self) -> String {
        let mut name = String::new();
        for letter in format!("{self:?}").chars() {
            if letter.is_uppercase() && !name.is_empty() {
                name.push('-');
            }
            name.push(letter.to_ascii_lowercase());
        }
        name
    }

    /// Whether it may cost a call. What is not on the way of calls may not.
    pub(crate) const fn may_cost(self) -> bool {
        match self {
            Self::BackendKilled
            | Self::BackendHangs
            | Self::BackendSaysHalf
            | Self::BackendRefuses
            | Self::CertificateEnds
            | Self::NetworkSwallows
            | Self::NetworkPulled => true,
            Self::ControlPlaneKilled
            | Self::ControlPlaneHangs
            | Self::ControlPlaneHasGarbage
            | Self::ControlPlaneHasOthers
            | Self::FileHasGarbage
            | Self::CertificateRotated
            | Self::CertificateExpired
            | Self::CertificateGarbage
            | Self::CertificateRemoved
            | Self::SinkSlow
            | Self::SinkNeverReads
            | Self::ScrapersNeverRead
            | Self::DiskFull => false,
        }
    }

    pub(crate) const fn needs(self) -> Needs {
        match self {
            Self::DiskFull | Self::NetworkSwallows | Self::NetworkPulled => Needs::Namespaces,
            _ => Needs::Nothing,
        }
    }
}

/// A fault that there is now.
pub(crate) struct Broken {
    fault: Fault,
    /// Which backend, or whose certificate.
    at: usize,
    held: Vec<TcpStream>,
}

/// Whose certificates.
const OWNERS: [&str; 2] = ["web", "app"];
/// How long a certificate lasts that ends while it is used.
const SOON: Ends = Ends::In(Duration::from_millis(1500));

impl Broken {
    pub(crate) fn now(fault: Fault, world: &mut World, random: &mut fastrand::Rng) -> Self {
        let at = random.usize(..BACKENDS);
        let owner = OWNERS[at % 2];
        let mut broken = Self { fault, at, held: Vec::new() };
        let certificates = &world.place.certificates;
        match fault {
            Fault::BackendKilled => world.backends[at].take().unwrap().kill(),
            Fault::BackendHangs => world.backend(at).signal("STOP"),
            Fault::BackendSaysHalf => world.backend(at).tell("half"),
            Fault::BackendRefuses => world.backend(at).tell("refuse"),
            Fault::ControlPlaneKilled => world.ads.take().unwrap().kill(),
            Fault::ControlPlaneHangs => world.ads.as_ref().unwrap().signal("STOP"),
            Fault::ControlPlaneHasGarbage => world.place.write("served.yaml", "version: [\n"),
            Fault::ControlPlaneHasOthers => {
                let mut weights = [1; BACKENDS];
                weights[at] = 0;
                world.place.write("served.yaml", &world.place.served(weights));
            }
            Fault::FileHasGarbage => world.place.write("app.yaml", "version: 1\ninbound: 7\n"),
            Fault::CertificateRotated => certificates.issue(owner, LONG),
            Fault::CertificateExpired => certificates.issue(owner, Ends::Over),
            Fault::CertificateEnds => certificates.issue(owner, SOON),
            Fault::CertificateGarbage => certificates.put(&format!("{owner}.pem"), b"garbage\n"),
            Fault::CertificateRemoved => certificates.remove(&format!("{owner}-key.pem")),
            Fault::SinkSlow => world.near_log.pace(Pace::Slowly),
            Fault::SinkNeverReads => world.near_log.pace(Pace::Never),
            Fault::ScrapersNeverRead => broken.held = scrapers(world),
            Fault::DiskFull => fill(world),
            Fault::NetworkSwallows => world.network.swallow(),
            Fault::NetworkPulled => world.network.pull(),
        }
        broken
    }

    pub(crate) fn mend(self, world: &mut World) {
        match self.fault {
            Fault::BackendKilled => world.start_backend(self.at),
            Fault::BackendHangs => world.backend(self.at).signal("CONT"),
            Fault::BackendSaysHalf | Fault::BackendRefuses => world.backend(self.at).tell("well"),
            Fault::ControlPlaneKilled => world.start_ads(),
            Fault::ControlPlaneHangs => world.ads.as_ref().unwrap().signal("CONT"),
            Fault::ControlPlaneHasGarbage | Fault::ControlPlaneHasOthers => {
                world.place.write("served.yaml", &world.place.served([1; BACKENDS]));
            }
            Fault::FileHasGarbage => world.place.write("app.yaml", &world.place.app()),
            Fault::CertificateRotated => {}
            Fault::CertificateExpired
            | Fault::CertificateEnds
            | Fault::CertificateGarbage
            | Fault::CertificateRemoved => {
                world.place.certificates.issue(OWNERS[self.at % 2], LONG);
            }
            Fault::SinkSlow | Fault::SinkNeverReads => world.near_log.pace(Pace::AtOnce),
            Fault::ScrapersNeverRead => drop(self.held),
            Fault::DiskFull => {
                fs::remove_file(world.place.path("disk/filler")).unwrap();
                world.place.write("served.yaml", &world.place.served([1; BACKENDS]));
            }
            Fault::NetworkSwallows | Fault::NetworkPulled => world.network.mend(),
        }
    }
}

/// Who asks a proxy for all metrics again and again, and reads nothing.
fn scrapers(world: &World) -> Vec<TcpStream> {
    let ports = &world.place.ports;
    let ask = b"GET /stats HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(200);
    let mut held = Vec::new();
    for _ in 0..10 {
        let address = ports.near_admin;
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5)).unwrap();
        stream.set_write_timeout(Some(Duration::from_millis(20))).unwrap();
        // It is full at some point.
        let _written = stream.write_all(&ask);
        held.push(stream);
    }
    held
}

/// Leaves no byte free on the disk, and gives the proxies something to write on it.
fn fill(world: &World) {
    let filler = world.place.path("disk/filler");
    let mut command = Command::new("dd");
    command.arg("if=/dev/zero").arg(format!("of={}", filler.display())).arg("bs=4096");
    let output = command.output().unwrap();
    assert!(!output.status.success(), "the disk is not full: {output:?}");
    world.place.write("served.yaml", &world.place.served([2; BACKENDS]));
}
