//! frame: written in its own step.
