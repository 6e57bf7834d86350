//! history: written in its own step.
