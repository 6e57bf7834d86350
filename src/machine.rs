//! machine: written in its own step.
