//! In-process benches.
fn main() {}
