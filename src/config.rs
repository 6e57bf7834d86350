//! config: written in its own step.
