//! pin: written in its own step.
