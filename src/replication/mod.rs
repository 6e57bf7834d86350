//! What must hold before a report may leave a node.

pub mod commit;
