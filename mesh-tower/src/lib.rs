//! A service mesh without proxies, as tower layers.

pub mod body;

pub use body::{BoxError, MeshBody};
