//! Work that is refused before the process is ended for what it uses: what `mesh_core::overload` decides, by readings
//! of the system.
//!
//! One task reads, four times a second and up to a hundred times near a limit. What it finds is in the metrics,
//! where servers look at each connection and each request: a load of a flag or two.
//!
//! | file | holds |
//! |---|---|
//! | `read.rs` | what Linux says of limits, and of what is used |
//!
//! Other systems say nothing here, and nothing is refused.

mod read;

use crate::clock;
use crate::net::Shared;
use mesh_core::overload::{Overload, Resource, Thresholds};
use read::Limits;
use std::sync::{Arc, Weak};

/// When servers of a mesh refuse work, so that their process is not ended for what it uses
/// ([`Builder::overload`](crate::Builder::overload)).
///
/// # Examples
/// ```no_run
/// # fn example() -> Result<(), mesh_tower::BuildError> {
/// use mesh_tower::{Mesh, OverloadLimits};
///
/// let limits = OverloadLimits::new().memory(512 * 1024 * 1024);
/// let mesh = Mesh::builder().file("mesh.yaml").overload(limits).build()?;
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[must_use]
pub struct OverloadLimits {
    thresholds: Thresholds,
    memory: Option<u64>,
}

impl OverloadLimits {
    /// From 90 % of a limit on, until less than 85 % of it is used: memory of the control group and of the process,
    /// and file descriptors of the process.
    pub fn new() -> Self {
        Self::default()
    }

    /// The process may use so many bytes of memory that is in RAM, whatever the system allows.
    pub const fn memory(mut self, bytes: u64) -> Self {
        self.memory = Some(bytes);
        self
    }

    /// Refuses from `refuse` per cent of a limit on, until less than `resume` per cent are used.
    pub const fn thresholds(mut self, refuse: u8, resume: u8) -> Self {
        self.thresholds = Thresholds { refuse, resume };
        self
    }
}

/// Reads until the mesh is gone.
pub(crate) async fn watch(mesh: Weak<Shared>, limits: OverloadLimits) {
    let mut overload = Overload::new(limits.thresholds);
    let known = Limits::of_this_process(limits.memory);
    loop {
        {
            let Some(mesh) = mesh.upgrade() else { return };
            look(&mesh, &known, &mut overload);
        }
        tokio::time::sleep(overload.again()).await;
    }
}

fn look(mesh: &Arc<Shared>, limits: &Limits, overload: &mut Overload) {
    let cells = mesh.registry.mesh().overload();
    // What is accepted meanwhile is of the next reading.
    let descriptors = limits.descriptors();
    for resource in Resource::ALL {
        let reading = match resource {
            Resource::Memory => limits.memory(),
            Resource::Descriptors => descriptors,
        };
        let change = overload.handle_reading(resource, reading, clock::now());
        cells.read(resource, reading);
        let Some(change) = change else { continue };
        cells.turn(resource, change.refuses);
        if change.refuses {
            tracing::warn!(target: "mesh::overload", resource = resource.as_str(), "{change}");
        } else {
            tracing::info!(target: "mesh::overload", resource = resource.as_str(), "{change}");
        }
    }
    cells.room(overload.room());
}
