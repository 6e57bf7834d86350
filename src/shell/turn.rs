//! turn: written in its own step.
