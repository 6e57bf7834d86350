//! session: written in its own step.
