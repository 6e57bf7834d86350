//! logical: written in its own step.
