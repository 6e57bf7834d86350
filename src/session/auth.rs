//! auth: written in its own step.
