//! idle: written in its own step.
