//! gate: written in its own step.
