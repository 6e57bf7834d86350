//! orders: written in its own step.
