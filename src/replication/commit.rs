//! commit: written in its own step.
