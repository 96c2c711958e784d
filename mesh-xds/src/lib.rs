//! Learning a configuration from an xDS control plane.
