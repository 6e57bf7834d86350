//! Tidegate.
#![forbid(unsafe_code)]
