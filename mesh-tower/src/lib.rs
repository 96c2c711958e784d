//! A service mesh without proxies, as tower layers.

pub mod body;
pub mod dns;

pub use body::{BoxError, MeshBody};
