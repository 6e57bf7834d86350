//! apply: written in its own step.
