//! outbox: written in its own step.
