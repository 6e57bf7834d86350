//! report_log: written in its own step.
