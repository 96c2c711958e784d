//! A service mesh without proxies, as tower layers.

pub mod body;
pub mod dns;
pub mod observe;
pub mod source;

pub use body::{BoxError, MeshBody};
