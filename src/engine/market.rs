//! market: written in its own step.
