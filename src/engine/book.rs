//! book: written in its own step.
