//! [`OverloadView`]: how near a limit the process is.

use crate::mesh::Mesh;
use mesh_core::overload::Resource;

/// A resource that has a limit, at one moment.
#[derive(Clone, Copy, Debug)]
pub(in crate::admin) struct OverloadView {
    pub(in crate::admin) resource: Resource,
    /// How much of the limit is used, in per cent.
    pub(in crate::admin) used: u64,
    /// Whether work is refused for want of it.
    pub(in crate::admin) refuses: bool,
}

/// Those that are read and have a limit.
pub(in crate::admin) fn overload(mesh: &Mesh) -> Vec<OverloadView> {
    let cells = mesh.shared().registry.mesh().overload();
    let view = |resource| {
        let used = cells.used(resource)?;
        Some(OverloadView { resource, used, refuses: cells.refuses(resource) })
    };
    Resource::ALL.into_iter().filter_map(view).collect()
}
