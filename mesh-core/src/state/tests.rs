//! Tests of the live state are in files by promise; see `mesh-core/tests`.
