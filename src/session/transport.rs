//! transport: written in its own step.
