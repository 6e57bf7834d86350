//! refusals: written in its own step.
