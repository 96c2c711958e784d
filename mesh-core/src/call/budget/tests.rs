#[cfg(not(loom))]
mod pure;

/// `RUSTFLAGS="--cfg loom" cargo test -p mesh-core --lib loom`
#[cfg(loom)]
mod loom_tests;
