//! Outlier detection.
