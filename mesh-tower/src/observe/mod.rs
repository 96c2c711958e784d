//! What the mesh says about itself: trace context.

mod trace_context;

pub use trace_context::{TraceContext, TraceContextError, TraceState};
