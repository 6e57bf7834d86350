//! poll: written in its own step.
