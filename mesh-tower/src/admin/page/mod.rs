//! The pages, a file each.

pub(super) mod certs;
pub(super) mod clusters;
pub(super) mod config_dump;
pub(super) mod configurations;
pub(super) mod cpu_profile;
pub(super) mod drain;
pub(super) mod explain;
pub(super) mod listeners;
pub(super) mod logging;
pub(super) mod overview;
pub(super) mod ready;
pub(super) mod stats;
