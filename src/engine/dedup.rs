//! dedup: written in its own step.
