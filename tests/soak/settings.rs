//! What the command line asks for.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// What this process is to do.
pub(crate) enum Asked {
    /// To be one of many tests, of which none was asked for.
    Nothing,
    /// To be a backend.
    Backend { name: String, http: SocketAddr, bytes: SocketAddr },
    /// To run.
    Soak(Settings),
}

/// How it runs.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// How long there is load and faults, or once through all faults in the short form.
    pub(crate) minutes: Option<u64>,
    /// What all choices are drawn by.
    pub(crate) seed: u64,
    /// The binary.
    pub(crate) mesh: PathBuf,
    /// Only faults whose names begin so.
    pub(crate) only: Option<String>,
    /// Only calls over what is called so.
    pub(crate) calls: Option<String>,
    /// Whether to do without namespaces.
    pub(crate) loopback: bool,
    /// Whether directories stay.
    pub(crate) keep: bool,
}

/// The short form's seed: CI runs the same one each time.
const SHORT_SEED: u64 = 5;

impl Settings {
    /// Load without faults before the first one.
    pub(crate) fn warm_up(&self) -> Duration {
        Duration::from_secs(if self.minutes.is_some() { 30 } else { 5 })
    }

    /// Time from one fault to the next.
    pub(crate) fn period(&self) -> Duration {
        if self.minutes.is_some() { Duration::from_secs(10) } else { Duration::from_millis(3_200) }
    }

    /// How long a fault lasts.
    pub(crate) fn lasts(&self) -> Duration {
        if self.minutes.is_some() { Duration::from_secs(5) } else { Duration::from_millis(1_800) }
    }

    pub(crate) fn from_arguments(arguments: impl Iterator<Item = String>) -> Asked {
        let arguments: Vec<_> = arguments.collect();
        if let [first, name, http, bytes] = &*arguments
            && first == "backend"
        {
            let (http, bytes) = (http.parse().unwrap(), bytes.parse().unwrap());
            return Asked::Backend { name: name.clone(), http, bytes };
        }
        let value = |name: &str| {
            let at = arguments.iter().position(|one| one == name)?;
            Some(arguments.get(at + 1).unwrap_or_else(|| panic!("{name} needs a value")).clone())
        };
        let has = |name: &str| arguments.iter().any(|one| one == name);
        let minutes = value("--minutes").map(|text| text.parse().expect("--minutes N"));
        if !has("--ignored") && !has("--short") && minutes.is_none() || has("--list") {
            return Asked::Nothing;
        }
        let seed = value("--seed").map(|text| text.parse().expect("--seed N"));
        let mesh = std::env::var_os("MESH_BIN");
        Asked::Soak(Self {
            minutes,
            seed: seed.unwrap_or(SHORT_SEED),
            mesh: mesh.map_or_else(|| env!("CARGO_BIN_EXE_mesh").into(), PathBuf::from),
            only: value("--only"),
            calls: value("--calls"),
            loopback: has("--loopback"),
            keep: has("--keep"),
        })
    }
}
