//! Between processes.
fn main() {}
