//! layout: written in its own step.
