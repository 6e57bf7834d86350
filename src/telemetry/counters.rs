//! counters: written in its own step.
