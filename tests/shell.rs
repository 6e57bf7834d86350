//! A node over real loopback TCP: what a client sees when lines are slow, cut, half-open, hostile
//! or too many, and what the journal and the counters say of it.
//!
//! Everything happens on the test's thread (`common/node.rs`). What depends on seconds of silence
//! is tested in the sans-I/O halves; here time passes only where a tenth of a second is enough.

#![allow(clippy::unwrap_used, reason = "a bench that cannot be built ends the test")]

#[path = "common/node.rs"]
mod node;

#[path = "shell/bounds.rs"]
mod bounds;
#[path = "shell/endings.rs"]
mod endings;
#[path = "shell/limits.rs"]
mod limits;
#[path = "shell/lines.rs"]
mod lines;
#[path = "shell/restart.rs"]
mod restart;
#[path = "shell/slots.rs"]
mod slots;
#[path = "shell/stops.rs"]
mod stops;

use std::path::Path;

use journal::Reader;
use tidegate::replay;

/// The bodies of all records of a journal that a node left or still writes.
fn journaled(dir: &Path) -> Vec<String> {
    let mut reader = Reader::open(dir).unwrap();
    let mut bodies = Vec::new();
    while let Some((_, stored)) = reader.next().unwrap() {
        bodies.push(format!("{:?}", replay::read(&stored).unwrap().body));
    }
    bodies
}

/// How many records of a journal begin with `kind`.
fn journaled_count(dir: &Path, kind: &str) -> usize {
    journaled(dir).iter().filter(|body| body.starts_with(kind)).count()
}
