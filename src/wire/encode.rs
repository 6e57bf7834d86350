//! encode: written in its own step.
