//! liveness: written in its own step.
