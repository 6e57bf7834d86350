//! decode: written in its own step.
