//! clock: written in its own step.
